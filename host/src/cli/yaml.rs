//! JSON values as YAML in the layout that Kubernetes tools print: keys in order, lists not indented, text of several lines as a block.

use serde_json::Value;

pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => object(map, 0, &mut out),
        Value::Array(list) if !list.is_empty() => array(list, 0, &mut out),
        scalar => {
            out.push_str(&flow(scalar, 0));
            out.push('\n');
        }
    }
    out
}

fn object(map: &serde_json::Map<String, Value>, indent: usize, out: &mut String) {
    for (index, (key, value)) in map.iter().enumerate() {
        // The first key of an object in a list stands behind the dash.
        if index > 0 || indent == 0 || out.ends_with('\n') {
            pad(indent, out);
        }
        out.push_str(&quoted(key));
        out.push(':');
        child(value, indent, false, out);
    }
}

fn array(list: &[Value], indent: usize, out: &mut String) {
    for (index, value) in list.iter().enumerate() {
        if index > 0 || out.ends_with('\n') || out.is_empty() {
            pad(indent, out);
        }
        out.push('-');
        child(value, indent, true, out);
    }
}

fn child(value: &Value, indent: usize, in_list: bool, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() && in_list => {
            out.push(' ');
            object(map, indent + 2, out);
        }
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            object(map, indent + 2, out);
        }
        Value::Array(list) if !list.is_empty() && in_list => {
            out.push(' ');
            array(list, indent + 2, out);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            array(list, indent, out);
        }
        scalar => {
            out.push(' ');
            out.push_str(&flow(scalar, indent + 2));
            out.push('\n');
        }
    }
}

fn flow(value: &Value, indent: usize) -> String {
    match value {
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        Value::String(text) if is_block(text) => literal(text, indent),
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// Text of several lines that a literal block can hold.
fn is_block(text: &str) -> bool {
    text.contains('\n')
        && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t')
        && !text.lines().any(|l| l.ends_with(' ') && l.trim().is_empty())
}

fn literal(text: &str, indent: usize) -> String {
    let mut out = String::from("|");
    if text.starts_with([' ', '\n', '\t']) {
        out.push('2');
    }
    let body = text.trim_end_matches('\n');
    match text.len() - body.len() {
        0 => out.push('-'),
        1 => {}
        _ => out.push('+'),
    }
    let kept = if text.len() - body.len() > 1 { &text[..text.len() - 1] } else { body };
    for line in kept.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(indent, &mut out);
            out.push_str(line);
        }
    }
    out
}

fn quoted(text: &str) -> String {
    if text.chars().any(|c| c.is_control()) {
        return serde_json::to_string(text).unwrap_or_default();
    }
    if is_taken_for_another_type(text) {
        return format!("{text:?}");
    }
    let first_is_special = text.starts_with(['-', '?', ':', ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`', ' ']);
    let dash_word = text.len() > 1 && text.starts_with(['-', '?', ':']) && !text[1..].starts_with(' ');
    let is_special =
        (first_is_special && !dash_word) || text.contains(": ") || text.contains(" #") || text.ends_with([':', ' ']) || text.starts_with("---");
    if is_special { format!("'{}'", text.replace('\'', "''")) } else { text.to_owned() }
}

fn is_taken_for_another_type(text: &str) -> bool {
    const WORDS: &[&str] = &["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "=", "<<", ".nan", ".inf", "-.inf", "+.inf"];
    let lower = text.to_lowercase();
    if WORDS.contains(&lower.as_str()) {
        return true;
    }
    let digits = lower.trim_start_matches(['-', '+']).replace('_', "");
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && digits.parse::<f64>().is_ok();
    let is_radix =
        [("0x", 16), ("0o", 8), ("0b", 2)].iter().any(|(p, radix)| digits.strip_prefix(p).is_some_and(|d| u64::from_str_radix(d, *radix).is_ok()));
    is_number || is_radix || is_time(text)
}

/// A date, or a date and a time: another type to YAML.
fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_date = bytes.len() >= 10
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && bytes[..4].iter().chain(&bytes[5..7]).chain(&bytes[8..10]).all(u8::is_ascii_digit);
    is_date && (bytes.len() == 10 || text.parse::<jiff::Timestamp>().is_ok())
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_as_written() {
        let value = json!({"a": [{"b": "1", "c": [1, [2, 3]]}, "x: y"], "t": "l1\nl2\n", "e": {}, "l": [], "nil": null, "d": "2026-01-01T00:00:00Z"});
        let text = to_string(&value);
        assert_eq!(
            text,
            "a:\n- b: \"1\"\n  c:\n  - 1\n  - - 2\n    - 3\n- 'x: y'\nd: \"2026-01-01T00:00:00Z\"\ne: {}\nl: []\nnil: null\nt: |\n  l1\n  l2\n"
        );
        assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), value);
    }
}
