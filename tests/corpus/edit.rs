//! Edits of an object at JSON pointers, and the values that a case may compute instead of spelling them out.
//!
//! A value `{"$repeat": "a", "times": 254}` is that text repeated; `{"$list": X, "times": 20}` a list of copies, in whose texts `%` is the
//! index; `{"$copy": "/spec/containers/0"}` what the object holds there; `{"$drop": true}` takes the place away.

use serde_json::{Map, Value};

use super::Result;

/// Puts `value` at `pointer`; objects on the way are made, `-` appends to a list.
pub fn set(object: &mut Value, pointer: &str, value: &Value) -> Result<()> {
    if value.get("$drop").is_some() {
        return drop(object, pointer);
    }
    let value = computed(value, object)?;
    let Some((parent, last)) = pointer.rsplit_once('/') else {
        *object = value;
        return Ok(());
    };
    let parent = place(object, parent)?;
    let last = plain(last);
    match parent {
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => *items.get_mut(last.parse::<usize>()?).ok_or_else(|| format!("{pointer}: no such item"))? = value,
        Value::Object(fields) => {
            fields.insert(last, value);
        }
        other => return Err(format!("{pointer}: inside {other}").into()),
    }
    Ok(())
}

pub fn drop(object: &mut Value, pointer: &str) -> Result<()> {
    let (parent, last) = pointer.rsplit_once('/').ok_or("the whole object cannot be dropped")?;
    match object.pointer_mut(parent) {
        Some(Value::Object(fields)) => {
            fields.remove(&plain(last));
        }
        Some(Value::Array(items)) => {
            items.remove(last.parse()?);
        }
        _ => {}
    }
    Ok(())
}

/// The pointers of everything below the object, the parts that only identify it left out.
pub fn pointers(object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(object, "", &mut found);
    found.retain(|p| p != "/apiVersion" && p != "/kind");
    found
}

fn walk(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let here = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                found.push(here.clone());
                walk(value, &here, found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                let here = format!("{at}/{index}");
                found.push(here.clone());
                walk(value, &here, found);
            }
        }
        _ => {}
    }
}

fn place<'a>(object: &'a mut Value, pointer: &str) -> Result<&'a mut Value> {
    let mut here = object;
    for step in pointer.split('/').skip(1).map(plain) {
        if here.is_null() {
            *here = Value::Object(Map::new());
        }
        here = match here {
            Value::Object(fields) => fields.entry(step).or_insert(Value::Null),
            Value::Array(items) => items.get_mut(step.parse::<usize>()?).ok_or_else(|| format!("{pointer}: no item {step}"))?,
            other => return Err(format!("{pointer}: {step} inside {other}").into()),
        };
    }
    if here.is_null() {
        *here = Value::Object(Map::new());
    }
    Ok(here)
}

fn computed(value: &Value, object: &Value) -> Result<Value> {
    let Some(fields) = value.as_object() else {
        return Ok(match value {
            Value::Array(items) => Value::Array(items.iter().map(|v| computed(v, object)).collect::<Result<_>>()?),
            other => other.clone(),
        });
    };
    let times = || usize::try_from(value["times"].as_u64().unwrap_or(0)).unwrap_or(0);
    if let Some(text) = fields.get("$repeat").and_then(Value::as_str) {
        return Ok(format!("{}{}{}", value["before"].as_str().unwrap_or(""), text.repeat(times()), value["after"].as_str().unwrap_or("")).into());
    }
    if let Some(item) = fields.get("$list") {
        return Ok(Value::Array((0..times()).map(|i| numbered(item, i)).collect()));
    }
    if let Some(item) = fields.get("$map") {
        let of = |i: usize| (format!("{}{i}", fields.get("key").and_then(Value::as_str).unwrap_or("k")), numbered(item, i));
        return Ok(Value::Object((0..times()).map(of).collect()));
    }
    if let Some(from) = fields.get("$copy").and_then(Value::as_str) {
        let mut copied = object.pointer(from).cloned().ok_or_else(|| format!("{from}: nothing to copy"))?;
        for (pointer, value) in fields.get("with").and_then(Value::as_object).into_iter().flatten() {
            set(&mut copied, pointer, value)?;
        }
        return Ok(copied);
    }
    Ok(Value::Object(fields.iter().map(|(k, v)| Ok((k.clone(), computed(v, object)?))).collect::<Result<_>>()?))
}

fn numbered(value: &Value, index: usize) -> Value {
    match value {
        Value::String(text) => text.replace('%', &index.to_string()).into(),
        Value::Array(items) => items.iter().map(|v| numbered(v, index)).collect(),
        Value::Object(fields) => Value::Object(fields.iter().map(|(k, v)| (k.clone(), numbered(v, index))).collect()),
        other => other.clone(),
    }
}

fn plain(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}
