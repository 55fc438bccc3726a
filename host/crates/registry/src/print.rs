//! Words for the tables of `kubectl get`: column definitions and the cells that many kinds share.
//!
//! Called by the resources' `cells`. Ages and counts read as upstream's printers write them.

use jiff::Timestamp;
use pintle_api::object::ObjectExt;
use serde_json::{Map, Value};

use super::strategy::Column;

pub const NONE: &str = "<none>";
pub const UNSET: &str = "<unset>";
pub const UNKNOWN: &str = "<unknown>";

pub const NAME: Column =
    Column { name: "Name", kind: "string", format: "name", description: "Name of the object, unique in its namespace.", priority: 0 };
pub const AGE: Column = text("Age", "Time since the object was made.");

pub const fn text(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format: "", description, priority: 0 }
}
pub const fn number(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "integer", format: "", description, priority: 0 }
}
pub const fn boolean(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "boolean", format: "", description, priority: 0 }
}
/// Shown with `-o wide` only.
pub const fn wide(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format: "", description, priority: 1 }
}

pub const CONTAINERS: Column = wide("Containers", "Names of the template's containers.");
pub const IMAGES: Column = wide("Images", "Images of the template's containers.");
pub const SELECTOR: Column = wide("Selector", "Labels that the object's pods carry.");

/// The table of a kind that has no columns of its own.
pub const PLAIN: &[Column] = &[NAME, Column { name: "Created At", kind: "date", format: "", description: "When the object was made.", priority: 0 }];

pub fn plain_cells(object: &Value, _now: Timestamp) -> Vec<Value> {
    vec![object.name().into(), object.str_at(&["metadata", "creationTimestamp"]).into()]
}

pub const NAME_AND_AGE: &[Column] = &[NAME, AGE];

pub fn name_and_age(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![object.name().into(), age(object, now)]
}

pub fn age(object: &Value, now: Timestamp) -> Value {
    since(object.str_at(&["metadata", "creationTimestamp"]), now).into()
}

/// In place of the present: durations are left as marks, for texts that are kept.
pub const MARKED: Timestamp = Timestamp::MIN;
/// Around the nanoseconds since 1970 that a duration counts from; a character that no column's text has.
const MARK: char = '\u{1}';
/// The same in a JSON string.
pub const MARK_JSON: &[u8] = b"\\u0001";

/// Time since an RFC 3339 timestamp.
pub fn since(timestamp: &str, now: Timestamp) -> String {
    match timestamp.parse::<Timestamp>() {
        Ok(then) if now == MARKED => format!("{MARK}{}{MARK}", then.as_nanosecond()),
        Ok(then) => since_moment(then.as_nanosecond(), now),
        Err(_) => UNKNOWN.to_owned(),
    }
}

/// Time since a moment in nanoseconds since 1970, in whole seconds.
pub fn since_moment(nanoseconds: i128, now: Timestamp) -> String {
    duration(seconds_since(nanoseconds, now))
}

/// The whole seconds since a moment.
pub fn seconds_since(nanoseconds: i128, now: Timestamp) -> i64 {
    const SECOND: i64 = 1_000_000_000;
    match i64::try_from(now.as_nanosecond() - nanoseconds) {
        Ok(elapsed) => elapsed.div_euclid(SECOND),
        Err(_) => i64::try_from((now.as_nanosecond() - nanoseconds).div_euclid(i128::from(SECOND))).unwrap_or(i64::MIN),
    }
}

/// Time between two timestamps.
pub fn between(start: &str, end: &str) -> String {
    end.parse().map_or_else(|_| UNKNOWN.to_owned(), |end| since(start, end))
}

/// Seconds in at most two units, as coarse as is useful.
pub fn duration(seconds: i64) -> String {
    let mut out = Vec::new();
    write_duration(&mut out, seconds);
    String::from_utf8(out).unwrap_or_default()
}

/// The same behind a text.
pub fn write_duration(out: &mut Vec<u8>, seconds: i64) {
    let mut put = |count: i64, unit: u8| {
        out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
        out.push(unit);
    };
    let mut two = |big: i64, unit: u8, small: i64, small_unit: u8| {
        put(big, unit);
        if small != 0 {
            put(small, small_unit);
        }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    match () {
        () if seconds < -1 => out.extend_from_slice(b"<invalid>"),
        () if seconds < 0 => out.extend_from_slice(b"0s"),
        () if seconds < 120 => two(seconds, b's', 0, b's'),
        () if minutes < 10 => two(minutes, b'm', seconds % 60, b's'),
        () if minutes < 180 => two(minutes, b'm', 0, b's'),
        () if hours < 8 => two(hours, b'h', minutes % 60, b'm'),
        () if hours < 48 => two(hours, b'h', 0, b'm'),
        () if hours < 192 => two(days, b'd', hours % 24, b'h'),
        () if days < 730 => two(days, b'd', 0, b'h'),
        () if days < 2920 => two(days / 365, b'y', days % 365, b'd'),
        () => two(days / 365, b'y', 0, b'd'),
    }
}

/// A field's number, zero when missing.
pub fn count(object: &Value, path: &[&str]) -> Value {
    object.i64_at(path).unwrap_or(0).into()
}

/// A field's text, or `otherwise` when it is empty.
pub fn text_or(object: &Value, path: &[&str], otherwise: &str) -> Value {
    match object.str_at(path) {
        "" => otherwise.into(),
        found => found.into(),
    }
}

/// Names and images of a list of containers, each joined with commas.
pub fn containers(template: &Value) -> [Value; 2] {
    let list = template.list_at(&["spec", "containers"]);
    let joined = |field: &str| Value::from(list.iter().map(|c| c.str_at(&[field])).collect::<Vec<_>>().join(","));
    [joined("name"), joined("image")]
}

pub fn template_containers(object: &Value) -> [Value; 2] {
    containers(object.at(&["spec", "template"]).unwrap_or(&Value::Null))
}

/// `a=1,b=2`, or `<none>`.
pub fn labels(map: Option<&Map<String, Value>>) -> Value {
    let joined = join_labels(map);
    if joined.is_empty() { NONE.into() } else { joined.into() }
}

fn join_labels(map: Option<&Map<String, Value>>) -> String {
    let mut pairs: Vec<String> = map.into_iter().flatten().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or(""))).collect();
    pairs.sort_unstable();
    pairs.join(",")
}

/// A `LabelSelector` in the words of `-l`, empty when it picks all.
pub fn selector_text(selector: Option<&Value>) -> String {
    let Some(selector) = selector else { return String::new() };
    let mut parts: Vec<(String, String)> = selector
        .map_at(&["matchLabels"])
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), format!("{key}={}", value.as_str().unwrap_or(""))))
        .collect();
    for expression in selector.list_at(&["matchExpressions"]) {
        let key = expression.str_at(&["key"]);
        let mut values: Vec<&str> = expression.list_at(&["values"]).iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        parts.push((
            key.to_owned(),
            match expression.str_at(&["operator"]) {
                "In" => format!("{key} in ({values})"),
                "NotIn" => format!("{key} notin ({values})"),
                "Exists" => key.to_owned(),
                _ => format!("!{key}"),
            },
        ));
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

pub fn selector(selector: Option<&Value>) -> Value {
    let text = selector_text(selector);
    if text.is_empty() { NONE.into() } else { text.into() }
}

/// The first `max` words and how many more there are.
pub fn shortened(words: &[String], max: usize) -> String {
    let shown = words.iter().take(max).map(String::as_str).collect::<Vec<_>>().join(",");
    if words.len() > max { format!("{shown} + {} more...", words.len() - max) } else { shown }
}

pub fn bool_or(object: &Value, path: &[&str], otherwise: bool) -> Value {
    object.at(path).and_then(Value::as_bool).unwrap_or(otherwise).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_kubectl_prints_them() {
        let shown: Vec<String> = [0, 119, 120, 200, 599, 3600, 10_800, 12_000, 90_000, 180_000, 800_000, 70_000_000, -5].map(duration).into();
        assert_eq!(shown, ["0s", "119s", "2m", "3m20s", "9m59s", "60m", "3h", "3h20m", "25h", "2d2h", "9d", "2y80d", "<invalid>"]);
    }
}
