//! Objects as upstream shows them where a fault is about a whole one: its internal type's fields, in their order, the empty ones too.
//!
//! Called by validations. The types are those of `internal_types.txt`, named as there (`core.Taint`); what stands in no field of its type is
//! not shown.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::diff;

/// One line, as upstream marshals its type.
pub fn shown(object: &Value, kind: &str) -> String {
    let mut out = String::new();
    match TYPES.get(kind) {
        Some(fields) if object.is_object() => write_fields(object, fields, &mut out),
        _ => write_plain(object, &mut out),
    }
    out
}

/// What changed between two objects of a type: a unified diff of them, written over many lines.
pub fn difference(old: &Value, new: &Value, kind: &str) -> String {
    let lines = |object: &Value| indented(&shown(object, kind));
    diff::unified(&lines(old), &lines(new))
}

/// Upstream keeps what a pod shares with its host in the security context.
pub fn pod_spec(spec: &Value) -> Value {
    let mut moved = spec.clone();
    for field in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"] {
        if let Some(value) = spec.get(field) {
            moved.set_at(&["securityContext", field], value.clone());
        }
    }
    moved
}

struct Field {
    name: &'static str,
    json: &'static str,
    kind: &'static str,
    list: bool,
    pointer: bool,
    omitted: bool,
}

static TYPES: LazyLock<HashMap<&'static str, Vec<Field>>> = LazyLock::new(|| {
    let mut types: HashMap<&str, Vec<Field>> = HashMap::new();
    let mut holder = "";
    for line in include_str!("internal_types.txt").lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("> ") {
            holder = name;
            types.entry(name).or_default();
        } else {
            types.entry(holder).or_default().extend(field(line));
        }
    }
    types
});

fn field(line: &'static str) -> Option<Field> {
    let mut words = line.split(' ');
    let (name, json, kind) = (words.next()?, words.next()?, words.next()?);
    let flags = words.next().unwrap_or_default();
    Some(Field { name, json, kind, list: flags.contains('r'), pointer: flags.contains('p'), omitted: flags.contains('o') })
}

fn write_fields(object: &Value, fields: &[Field], out: &mut String) {
    out.push('{');
    let mut comma = "";
    for field in fields {
        let value = object.get(field.json).filter(|value| !value.is_null());
        if field.omitted && value.is_none_or(super::fields::is_zero) {
            continue;
        }
        let _ = write!(out, "{comma}\"{}\":", field.name);
        comma = ",";
        write_field(value, field, out);
    }
    out.push('}');
}

fn write_field(value: Option<&Value>, field: &Field, out: &mut String) {
    let inner = TYPES.get(field.kind);
    match (value, inner) {
        (Some(Value::Array(items)), Some(inner)) if field.list => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_fields(item, inner, out);
            }
            out.push(']');
        }
        (Some(value), Some(inner)) if !field.list => write_fields(value, inner, out),
        (Some(value), _) => write_plain(value, out),
        // A struct that is no pointer is always there.
        (None, Some(inner)) if !field.list && !field.pointer => write_fields(&Value::Null, inner, out),
        (None, _) => out.push_str(match field.kind {
            "s" => "\"\"",
            "i" => "0",
            "z" => "false",
            "q" => "\"0\"",
            _ => "null",
        }),
    }
}

/// Go's encoder escapes what HTML would read.
fn write_plain(value: &Value, out: &mut String) {
    for character in value.to_string().chars() {
        match character {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            other => out.push(other),
        }
    }
}

/// JSON of one line with a line for each value, a blank deeper for each level.
fn indented(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let mut characters = text.chars().peekable();
    let end_line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth));
    };
    while let Some(character) = characters.next() {
        if in_text {
            out.push(character);
            in_text = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        match character {
            '{' | '[' => {
                out.push(character);
                if let Some(close) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    end_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                end_line(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(',');
                end_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            other => {
                in_text = other == '"';
                out.push(other);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn empty_fields_are_shown_and_unknown_ones_are_not() {
        let shown = |value, kind| super::shown(&value, kind);
        expect![[r#"{"Key":"k","Value":"","Effect":"NoSchedule","TimeAdded":null}"#]]
            .assert_eq(&shown(json!({"key": "k", "effect": "NoSchedule", "other": 1}), "core.Taint"));
        expect![[r#"{"Attacher":"a\u003cb","Source":{"PersistentVolumeName":null,"InlineVolumeSpec":null},"NodeName":""}"#]]
            .assert_eq(&shown(json!({"attacher": "a<b"}), "storage.VolumeAttachmentSpec"));
        expect![[r#"{"MinAvailable":"1%","Selector":{"matchLabels":{"a":"b"}},"MaxUnavailable":null,"UnhealthyPodEvictionPolicy":null}"#]]
            .assert_eq(&shown(json!({"minAvailable": "1%", "selector": {"matchLabels": {"a": "b"}}}), "policy.PodDisruptionBudgetSpec"));
    }

    #[test]
    fn a_difference_names_lines_of_the_whole_object() {
        let old = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "{\"}"});
        let mut new = old.clone();
        new["storageClassName"] = Value::Null;
        new["accessModes"] = json!([]);
        expect![[r#"
            @@ -1,7 +1,5 @@
             {
            - "AccessModes": [
            -  "ReadWriteOnce"
            - ],
            + "AccessModes": [],
              "Selector": null,
              "Resources": {
               "Limits": null,
            @@ -10,7 +8,7 @@
               }
              },
              "VolumeName": "",
            - "StorageClassName": "{\"}",
            + "StorageClassName": null,
              "VolumeMode": null,
              "DataSource": null,
              "DataSourceRef": null,
        "#]]
        .assert_eq(&difference(&old, &new, "core.PersistentVolumeClaimSpec"));
    }

    #[test]
    fn what_a_pod_shares_with_its_host_stands_in_its_security_context() {
        let shown = shown(&pod_spec(&json!({"hostNetwork": true, "containers": []})), "core.PodSpec");
        assert!(shown.contains(r#""SecurityContext":{"HostNetwork":true,"HostPID":false,"#), "{shown}");
    }
}
