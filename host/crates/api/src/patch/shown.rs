//! Values as Go prints them (`%v`): upstream's messages about patches and custom objects show them so.

use serde_json::Value;

pub fn shown(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| key.as_str());
            let fields: Vec<String> = sorted.into_iter().map(|(key, value)| format!("{key}:{}", shown(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        // Without the ".0" of a whole one.
        Value::Number(number) if number.is_f64() => number.as_f64().unwrap_or_default().to_string(),
        other => other.to_string(),
    }
}

/// The type that Go's decoder gives a value (`%T`).
pub fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Object(_) => "map[string]interface {}",
        Value::Array(_) => "[]interface {}",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Null => "<nil>",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
    }
}

/// Go's decoder about a JSON text that is no object where one is wanted.
pub fn no_object(value: &Value) -> String {
    let found = match value {
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::Null | Value::Object(_) => "null",
    };
    format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}")
}
