//! Columns of `kubectl get` for custom resources: `additionalPrinterColumns` and the part of JSONPath that they use.

use pintle_api::Object;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::print;

pub struct PrinterColumn {
    pub definition: Value,
    path: Vec<Step>,
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    /// `[?(@.type=="Ready")]`
    Where(Vec<String>, String),
}

impl PrinterColumn {
    /// Name, then the definition's own columns, or Age where it has none.
    pub fn all(columns: &[Value]) -> Vec<Self> {
        let name = json!({"name": "Name", "type": "string", "format": "name", "jsonPath": ".metadata.name", "description": "Name must be unique within a namespace."});
        let age = json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": "CreationTimestamp is a timestamp representing the server time when this object was created."});
        let own = if columns.is_empty() { vec![age] } else { columns.to_vec() };
        std::iter::once(name).chain(own).map(|c| Self::new(&c)).collect()
    }

    fn new(column: &Value) -> Self {
        let text = |key: &str| column.str_at(&[key]).to_owned();
        let path = text("jsonPath");
        let description = if text("description").is_empty() {
            format!("Custom resource definition column (in JSONPath format): {path}")
        } else {
            text("description")
        };
        let priority = column.i64_at(&["priority"]).unwrap_or(0);
        let kind = text("type");
        let definition = json!({"name": text("name"), "type": kind, "format": text("format"), "description": description, "priority": priority});
        Self { definition, path: parse(&path), kind }
    }

    pub fn cell(&self, object: &Object, now: jiff::Timestamp) -> Value {
        let Some(value) = find(object, &self.path) else { return Value::Null };
        match (self.kind.as_str(), value) {
            (_, Value::Null) => Value::Null,
            ("date", Value::String(at)) if at.parse::<jiff::Timestamp>().is_ok() => json!(print::since(at, now)),
            ("date", Value::String(_)) => json!("<invalid>"),
            ("integer", Value::Number(_)) | ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) | ("string", Value::String(_)) => {
                value.clone()
            }
            ("string", other) => json!(other.to_string()),
            _ => Value::Null,
        }
    }
}

fn find<'a>(value: &'a Value, path: &[Step]) -> Option<&'a Value> {
    let Some((step, rest)) = path.split_first() else { return Some(value) };
    match step {
        Step::Field(name) => find(value.get(name)?, rest),
        Step::Index(index) => {
            let list = value.as_array()?;
            let at = if *index < 0 { list.len().checked_sub(index.unsigned_abs() as usize)? } else { *index as usize };
            find(list.get(at)?, rest)
        }
        Step::All => value.as_array()?.iter().find_map(|item| find(item, rest)),
        Step::Where(field, wanted) => {
            let matches = |item: &&Value| item.at(&field.iter().map(String::as_str).collect::<Vec<_>>()).is_some_and(|v| v == wanted.as_str());
            value.as_array()?.iter().filter(matches).find_map(|item| find(item, rest))
        }
    }
}

fn parse(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path.trim().trim_start_matches('{').trim_end_matches('}');
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = inner.find(']').unwrap_or(inner.len());
            steps.push(bracket(&inner[..end]));
            rest = inner.get(end + 1..).unwrap_or("");
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let mut name = String::new();
            let mut chars = rest.char_indices().peekable();
            let mut end = rest.len();
            while let Some((at, c)) = chars.next() {
                match c {
                    '\\' => name.extend(chars.next().map(|(_, c)| c)),
                    '.' | '[' => {
                        end = at;
                        break;
                    }
                    c => name.push(c),
                }
            }
            rest = &rest[end..];
            if !name.is_empty() {
                steps.push(Step::Field(name));
            } else if end == 0 && !rest.starts_with(['.', '[']) {
                break;
            }
        }
    }
    steps
}

fn bracket(inside: &str) -> Step {
    let unquoted = |s: &str| s.trim().trim_matches(|c| c == '\'' || c == '"').to_owned();
    if inside == "*" {
        return Step::All;
    }
    if let Some(condition) = inside.strip_prefix("?(@.").and_then(|c| c.strip_suffix(')'))
        && let Some((field, wanted)) = condition.split_once("==")
    {
        return Step::Where(field.trim().split('.').map(str::to_owned).collect(), unquoted(wanted));
    }
    match inside.parse() {
        Ok(index) => Step::Index(index),
        Err(_) => Step::Field(unquoted(inside)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_values() {
        let object = json!({"spec": {"a.b": {"c": 1}, "list": [{"n": "x"}, {"n": "y"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let check = |path: &str| find(&object, &parse(path)).cloned().unwrap_or(Value::Null);
        assert_eq!(check(".spec['a.b'].c"), json!(1));
        assert_eq!(check(".spec.a\\.b.c"), json!(1));
        assert_eq!(check("{.spec.list[1].n}"), json!("y"));
        assert_eq!(check(".spec.list[-1].n"), json!("y"));
        assert_eq!(check(".spec.list[*].n"), json!("x"));
        assert_eq!(check(".status.conditions[?(@.type==\"Ready\")].status"), json!("True"));
        assert_eq!(check(".spec.none.c"), Value::Null);
    }
}
