//! JSONPath templates as `-o jsonpath` and `wait --for=jsonpath` take them: text with `{...}` in it; fields, indexes, slices, unions,
//! `*`, `..name`, filters by one comparison, and `{range}`...`{end}`.

use anyhow::{Result, anyhow, bail};
use serde_json::Value;

pub struct Template(Vec<Part>);

enum Part {
    Text(String),
    Path(Vec<Step>),
    Range(Vec<Step>, Vec<Part>),
}

#[derive(Clone, Debug)]
enum Step {
    Field(String),
    Recursive(String),
    Wildcard,
    Slice(Option<i64>, Option<i64>, i64),
    Union(Vec<i64>),
    Names(Vec<String>),
    Filter(Operand, Option<(String, Operand)>),
}

#[derive(Clone, Debug)]
enum Operand {
    Path(Vec<Step>),
    Literal(Value),
}

impl Template {
    pub fn parse(text: &str) -> Result<Self> {
        let mut reader = Reader { rest: text };
        let parts = reader.parts(false)?;
        Ok(Self(parts))
    }

    /// A lone path, braces and leading dot optional: `.metadata.name`, `{.status.phase}`, `metadata.name`.
    pub fn relaxed(text: &str) -> Result<Self> {
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let dotted = if inner.starts_with(['.', '[', '$', '@']) { inner.to_owned() } else { format!(".{inner}") };
        Self::parse(&format!("{{{dotted}}}"))
    }

    pub fn render(&self, value: &Value) -> Result<String> {
        let mut out = String::new();
        render(&self.0, value, &mut out)?;
        Ok(out)
    }

    /// What the paths find; text is left out. A missing field is nothing.
    pub fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let paths = self.0.iter().filter_map(|p| if let Part::Path(steps) = p { Some(steps) } else { None });
        paths.flat_map(|steps| walk(steps, vec![value]).unwrap_or_default()).collect()
    }
}

fn render(parts: &[Part], here: &Value, out: &mut String) -> Result<()> {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Path(steps) => {
                let shown: Vec<String> = walk(steps, vec![here])?.into_iter().map(show).collect();
                out.push_str(&shown.join(" "));
            }
            Part::Range(steps, body) => {
                for item in walk(steps, vec![here])? {
                    render(body, item, out)?;
                }
            }
        }
    }
    Ok(())
}

/// Text as it is, anything else as JSON.
pub fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn walk<'v>(steps: &[Step], start: Vec<&'v Value>) -> Result<Vec<&'v Value>> {
    let mut here = start;
    for step in steps {
        let mut next = Vec::new();
        for value in here {
            take(step, value, &mut next)?;
        }
        here = next;
    }
    Ok(here)
}

fn take<'v>(step: &Step, value: &'v Value, out: &mut Vec<&'v Value>) -> Result<()> {
    match (step, value) {
        (Step::Field(name), Value::Object(map)) => out.extend(map.get(name)),
        // A field of a list is that of its elements.
        (Step::Field(_), Value::Array(list)) => list.iter().try_for_each(|item| take(step, item, out))?,
        (Step::Names(names), Value::Object(map)) => out.extend(names.iter().filter_map(|n| map.get(n))),
        (Step::Recursive(name), _) => recurse(name, value, out),
        (Step::Wildcard, Value::Object(map)) => out.extend(map.values()),
        (Step::Wildcard, Value::Array(list)) => out.extend(list),
        (Step::Slice(from, to, by), Value::Array(list)) => {
            let clamp = |at: i64| (if at < 0 { at + list.len() as i64 } else { at }).clamp(0, list.len() as i64) as usize;
            let (from, to) = (from.map_or(0, clamp), to.map_or(list.len(), clamp));
            out.extend(list.iter().take(to).skip(from).step_by((*by).max(1) as usize));
        }
        (Step::Union(indexes), Value::Array(list)) => {
            for index in indexes {
                let at = if *index < 0 { *index + list.len() as i64 } else { *index };
                match usize::try_from(at).ok().and_then(|at| list.get(at)) {
                    Some(item) => out.push(item),
                    None => bail!("array index out of bounds: index {index}, length {}", list.len()),
                }
            }
        }
        (Step::Filter(left, test), Value::Array(list)) => out.extend(list.iter().filter(|item| holds(left, test.as_ref(), item))),
        (Step::Filter(left, test), Value::Object(map)) => out.extend(map.values().filter(|item| holds(left, test.as_ref(), item))),
        _ => {}
    }
    Ok(())
}

fn recurse<'v>(name: &str, value: &'v Value, out: &mut Vec<&'v Value>) {
    match value {
        Value::Object(map) => {
            out.extend(map.get(name));
            map.values().for_each(|v| recurse(name, v, out));
        }
        Value::Array(list) => list.iter().for_each(|v| recurse(name, v, out)),
        _ => {}
    }
}

fn holds(left: &Operand, test: Option<&(String, Operand)>, item: &Value) -> bool {
    let operand = |o: &Operand| match o {
        Operand::Literal(value) => Some(value.clone()),
        Operand::Path(steps) => walk(steps, vec![item]).ok().and_then(|found| found.first().map(|v| (*v).clone())),
    };
    let left = operand(left);
    let Some((op, right)) = test else { return left.is_some() };
    let (Some(left), Some(right)) = (left, operand(right)) else { return false };
    let order = match (left.as_f64(), right.as_f64()) {
        (Some(a), Some(b)) => a.partial_cmp(&b),
        _ => Some(show(&left).cmp(&show(&right))),
    };
    match op.as_str() {
        "==" => order.is_some_and(|o| o.is_eq()),
        "!=" => order.is_some_and(|o| o.is_ne()),
        "<" => order.is_some_and(|o| o.is_lt()),
        "<=" => order.is_some_and(|o| o.is_le()),
        ">" => order.is_some_and(|o| o.is_gt()),
        _ => order.is_some_and(|o| o.is_ge()),
    }
}

struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn parts(&mut self, in_range: bool) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        loop {
            let (text, rest) = self.rest.split_at(self.rest.find('{').unwrap_or(self.rest.len()));
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned()));
            }
            self.rest = rest;
            let Some(inside) = self.rest.strip_prefix('{') else {
                if in_range {
                    bail!("unmatched range: no {{end}}");
                }
                return Ok(parts);
            };
            let end = closing(inside, '}').ok_or_else(|| anyhow!("unclosed action"))?;
            let action = inside[..end].trim();
            self.rest = &inside[end + 1..];
            match action.split_once(char::is_whitespace) {
                _ if action == "end" && in_range => return Ok(parts),
                _ if action == "end" => bail!("not in range, nothing to end"),
                Some(("range", path)) => {
                    let steps = path_steps(path.trim())?;
                    parts.push(Part::Range(steps, self.parts(true)?));
                }
                _ => parts.extend(action_parts(action)?),
            }
        }
    }
}

fn action_parts(action: &str) -> Result<Vec<Part>> {
    if action.starts_with('"') {
        let text: String = serde_json::from_str(action).map_err(|_| anyhow!("unterminated quoted string"))?;
        return Ok(vec![Part::Text(text)]);
    }
    if let Some(text) = action.strip_prefix('\'').and_then(|a| a.strip_suffix('\'')) {
        return Ok(vec![Part::Text(text.replace("\\n", "\n").replace("\\t", "\t"))]);
    }
    Ok(vec![Part::Path(path_steps(action)?)])
}

/// Where the bracket that is open at the start closes, quotes and nested brackets skipped.
fn closing(text: &str, end: char) -> Option<usize> {
    let (mut quote, mut depth) = (None, 0);
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, c) if c == end && depth == 0 => return Some(at),
            (None, '[' | '{' | '(') => depth += 1,
            (None, ']' | '}' | ')') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn path_steps(path: &str) -> Result<Vec<Step>> {
    let mut rest = path.trim_start_matches(['$', '@']);
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("..") {
            let (name, left) = field_name(after);
            steps.push(if name == "*" || name.is_empty() { Step::Wildcard } else { Step::Recursive(name) });
            rest = left;
        } else if let Some(after) = rest.strip_prefix('[') {
            let end = closing(after, ']').ok_or_else(|| anyhow!("unterminated array"))?;
            steps.push(bracket(after[..end].trim())?);
            rest = &after[end + 1..];
        } else {
            let (name, left) = field_name(rest.strip_prefix('.').unwrap_or(rest));
            if left.len() == rest.len() {
                bail!("unrecognized character in action: {rest:?}");
            }
            match name.as_str() {
                "" => {}
                "*" => steps.push(Step::Wildcard),
                _ => steps.push(Step::Field(name)),
            }
            rest = left;
        }
    }
    Ok(steps)
}

/// A name up to the next dot or bracket; `\.` is a dot inside.
fn field_name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => return (name, &text[at..]),
            c => name.push(c),
        }
    }
    (name, "")
}

fn bracket(inner: &str) -> Result<Step> {
    if inner == "*" {
        return Ok(Step::Wildcard);
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|f| f.strip_suffix(')')) {
        return filter_step(filter);
    }
    if inner.starts_with(['\'', '"']) {
        return Ok(Step::Names(inner.split(',').map(|n| n.trim().trim_matches(['\'', '"']).to_owned()).collect()));
    }
    let number = |t: &str| t.trim().parse::<i64>().map_err(|_| anyhow!("invalid array index {inner}"));
    let optional = |t: Option<&str>| t.filter(|t| !t.trim().is_empty()).map(number).transpose();
    if inner.contains(':') {
        let mut bounds = inner.split(':');
        return Ok(Step::Slice(optional(bounds.next())?, optional(bounds.next())?, optional(bounds.next())?.unwrap_or(1)));
    }
    Ok(Step::Union(inner.split(',').map(number).collect::<Result<_>>()?))
}

fn filter_step(filter: &str) -> Result<Step> {
    for op in ["==", "!=", "<=", ">=", "<", ">"] {
        if let Some((left, right)) = filter.split_once(op) {
            return Ok(Step::Filter(operand(left)?, Some((op.to_owned(), operand(right)?))));
        }
    }
    Ok(Step::Filter(operand(filter)?, None))
}

fn operand(text: &str) -> Result<Operand> {
    let text = text.trim();
    if text.starts_with(['@', '$']) {
        return Ok(Operand::Path(path_steps(text)?));
    }
    let unquoted = text.trim_matches(['\'', '"']);
    Ok(Operand::Literal(if unquoted.len() < text.len() {
        unquoted.into()
    } else {
        serde_json::from_str(text).map_err(|_| anyhow!("unrecognized filter operand {text:?}"))?
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn templates() {
        let pods = json!({"items": [
            {"metadata": {"name": "a", "labels": {"app.io/x": "1"}}, "status": {"conditions": [{"type": "Ready", "status": "True"}], "n": 3}},
            {"metadata": {"name": "b"}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}},
        ]});
        let cases = [
            ("{.items[*].metadata.name}", "a b"),
            ("{range .items[*]}{.metadata.name}={.status.conditions[?(@.type==\"Ready\")].status}{\"\\n\"}{end}", "a=True\nb=False\n"),
            ("{.items[-1].metadata.name}", "b"),
            ("{.items[0].metadata.labels.app\\.io/x}", "1"),
            ("{.items[0].metadata.labels['app.io/x']}", "1"),
            ("x{.items[0:1]..name}y{.none}", "xay"),
            ("{.items[?(@.status.n>2)].metadata.name}", "a"),
            ("{.items[0].status.n}", "3"),
            ("{@.items[1].metadata}", "{\"name\":\"b\"}"),
        ];
        for (template, expected) in cases {
            assert_eq!(Template::parse(template).unwrap().render(&pods).unwrap(), expected, "{template}");
        }
        assert!(Template::parse("{range .items[*]}").is_err());
        assert!(Template::parse("{.items[5]}").unwrap().render(&pods).is_err());
        assert_eq!(Template::relaxed("items[0].metadata.name").unwrap().find(&pods), vec![&json!("a")]);
    }
}
