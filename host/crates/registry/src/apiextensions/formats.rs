//! Formats in the schemas of definitions that nobody knows: taken, and warned of.

use pintle_api::object::ObjectExt;
use pintle_api::schema::structural::is_supported_format;
use serde_json::Value;

const NUMBER_FORMATS: [&str; 4] = ["double", "float", "int32", "int64"];

/// Of those that an update brings.
pub fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let before = old.map(unknown_formats).unwrap_or_default();
    let fresh = unknown_formats(new).into_iter().filter(|format| !before.contains(format));
    fresh.map(|format| format!("unrecognized format {format:?}")).collect()
}

/// Formats in its schemas that are of no value, or not of their type's.
fn unknown_formats(definition: &Value) -> Vec<String> {
    fn collect(schema: &Value, found: &mut Vec<String>) {
        let format = schema.str_at(&["format"]);
        if !format.is_empty() && !is_known_format(schema.str_at(&["type"]), format) {
            found.push(format.to_owned());
        }
        for one in ["items", "additionalProperties", "additionalItems", "not"] {
            match schema.get(one) {
                Some(below @ Value::Object(_)) => collect(below, found),
                Some(Value::Array(several)) => several.iter().for_each(|below| collect(below, found)),
                _ => {}
            }
        }
        for list in ["allOf", "anyOf", "oneOf"] {
            schema.list_at(&[list]).iter().for_each(|below| collect(below, found));
        }
        for map in ["properties", "patternProperties", "definitions", "dependencies"] {
            schema.map_at(&[map]).into_iter().flatten().for_each(|(_, below)| collect(below, found));
        }
    }
    let mut found = Vec::new();
    for version in definition.list_at(&["spec", "versions"]) {
        collect(version.at(&["schema", "openAPIV3Schema"]).unwrap_or(&Value::Null), &mut found);
    }
    found
}

fn is_known_format(kind: &str, format: &str) -> bool {
    match kind {
        "" | "string" => !NUMBER_FORMATS.contains(&format) && is_supported_format(format),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formats_are_known_by_type_and_warned_of_once() {
        let with = |properties: Value| json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {"properties": properties}}}]}});
        let old = with(json!({"a": {"type": "string", "format": "nope"}}));
        let new = with(json!({
            "a": {"type": "string", "format": "nope"}, "b": {"type": "integer", "format": "date"}, "c": {"type": "string", "format": "int32"},
            "d": {"items": {"format": "date-time"}}, "e": {"anyOf": [{"type": "object", "format": "x"}]},
        }));
        expect_test::expect![[r#"
            unrecognized format "date"
            unrecognized format "int32"
            unrecognized format "x""#]]
        .assert_eq(&warnings(&new, Some(&old)).join("\n"));
        assert_eq!(warnings(&old, None), ["unrecognized format \"nope\""]);
    }
}
