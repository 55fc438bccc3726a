//! Schemas of definitions as upstream shows its internal type for them: every field, in the type's order, the empty ones too.
//!
//! Called by the validation of definitions. The type nests in ways that the other types of `internal_types.txt` do not: maps of itself,
//! and a schema or something else.

use std::fmt::Write as _;

use pintle_api::object::ObjectExt;
use serde_json::Value;

/// A field's name in Go and in JSON, and what it holds.
struct Field(&'static str, &'static str, Holds);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Text,
    Truth,
    /// Shown as it is, `null` where it is not there.
    Plain,
    Schema,
    Schemas,
    SchemaMap,
    /// One schema or a list of them.
    OneOrMore,
    /// A schema or true or false.
    SchemaOrBool,
    Documents,
    Rules,
}

use Holds::{Documents, OneOrMore, Plain, Rules, Schema, SchemaMap, SchemaOrBool, Schemas, Text, Truth};

const FIELDS: [Field; 44] = [
    Field("ID", "id", Text),
    Field("Schema", "$schema", Text),
    Field("Ref", "$ref", Plain),
    Field("Description", "description", Text),
    Field("Type", "type", Text),
    Field("Nullable", "nullable", Truth),
    Field("Format", "format", Text),
    Field("Title", "title", Text),
    Field("Default", "default", Plain),
    Field("Maximum", "maximum", Plain),
    Field("ExclusiveMaximum", "exclusiveMaximum", Truth),
    Field("Minimum", "minimum", Plain),
    Field("ExclusiveMinimum", "exclusiveMinimum", Truth),
    Field("MaxLength", "maxLength", Plain),
    Field("MinLength", "minLength", Plain),
    Field("Pattern", "pattern", Text),
    Field("MaxItems", "maxItems", Plain),
    Field("MinItems", "minItems", Plain),
    Field("UniqueItems", "uniqueItems", Truth),
    Field("MultipleOf", "multipleOf", Plain),
    Field("Enum", "enum", Plain),
    Field("MaxProperties", "maxProperties", Plain),
    Field("MinProperties", "minProperties", Plain),
    Field("Required", "required", Plain),
    Field("Items", "items", OneOrMore),
    Field("AllOf", "allOf", Schemas),
    Field("OneOf", "oneOf", Schemas),
    Field("AnyOf", "anyOf", Schemas),
    Field("Not", "not", Schema),
    Field("Properties", "properties", SchemaMap),
    Field("AdditionalProperties", "additionalProperties", SchemaOrBool),
    Field("PatternProperties", "patternProperties", SchemaMap),
    Field("Dependencies", "dependencies", Plain),
    Field("AdditionalItems", "additionalItems", SchemaOrBool),
    Field("Definitions", "definitions", SchemaMap),
    Field("ExternalDocs", "externalDocs", Documents),
    Field("Example", "example", Plain),
    Field("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields", Plain),
    Field("XEmbeddedResource", "x-kubernetes-embedded-resource", Truth),
    Field("XIntOrString", "x-kubernetes-int-or-string", Truth),
    Field("XListMapKeys", "x-kubernetes-list-map-keys", Plain),
    Field("XListType", "x-kubernetes-list-type", Plain),
    Field("XMapType", "x-kubernetes-map-type", Plain),
    Field("XValidations", "x-kubernetes-validations", Rules),
];

/// Names in Go of the fields that a schema sets, in the type's order.
pub fn set_fields(schema: &Value) -> impl Iterator<Item = &'static str> {
    FIELDS.iter().filter(|Field(_, json, holds)| is_set(schema.get(*json), *holds)).map(|Field(name, _, _)| *name)
}

pub fn schema(schema: &Value) -> String {
    let mut out = String::new();
    write(schema, &mut out);
    out
}

/// A rule in CEL.
pub fn rule(rule: &Value) -> String {
    let text = |field: &str| escaped(&Value::from(rule.str_at(&[field])));
    let or_null = |field: &str| rule.get(field).map_or("null".to_owned(), Value::to_string);
    format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
        text("rule"),
        text("message"),
        text("messageExpression"),
        or_null("reason"),
        text("fieldPath"),
        or_null("optionalOldSelf"),
    )
}

fn is_set(value: Option<&Value>, holds: Holds) -> bool {
    match (value, holds) {
        (None | Some(Value::Null), _) => false,
        (Some(Value::String(text)), Text) => !text.is_empty(),
        (Some(Value::Bool(truth)), Truth) => *truth,
        (Some(_), _) => true,
    }
}

fn write(schema: &Value, out: &mut String) {
    let mut comma = "{";
    for Field(name, json, holds) in &FIELDS {
        let _ = write!(out, "{comma}\"{name}\":");
        comma = ",";
        write_field(schema.get(*json).unwrap_or(&Value::Null), *holds, out);
    }
    out.push('}');
}

fn write_field(value: &Value, holds: Holds, out: &mut String) {
    match (holds, value) {
        (Text, Value::Null) => out.push_str("\"\""),
        (Truth, Value::Null) => out.push_str("false"),
        (_, Value::Null) => out.push_str("null"),
        (Schema, value) => write(value, out),
        (Schemas, Value::Array(all)) => write_list(all, out),
        (SchemaMap, Value::Object(all)) => {
            let mut comma = "{";
            for (name, schema) in all {
                let _ = write!(out, "{comma}{}:", escaped(&Value::from(name.as_str())));
                comma = ",";
                write(schema, out);
            }
            out.push_str(if all.is_empty() { "{}" } else { "}" });
        }
        (OneOrMore, Value::Array(all)) => {
            out.push_str("{\"Schema\":null,\"JSONSchemas\":");
            write_list(all, out);
            out.push('}');
        }
        (OneOrMore, one) => {
            out.push_str("{\"Schema\":");
            if one.is_object() {
                write(one, out)
            } else {
                out.push_str("null")
            }
            out.push_str(",\"JSONSchemas\":null}");
        }
        (SchemaOrBool, Value::Bool(allows)) => {
            let _ = write!(out, "{{\"Allows\":{allows},\"Schema\":null}}");
        }
        (SchemaOrBool, one) => {
            out.push_str("{\"Allows\":true,\"Schema\":");
            write(one, out);
            out.push('}');
        }
        (Documents, of) => {
            let text = |field: &str| escaped(&Value::from(of.str_at(&[field])));
            let _ = write!(out, "{{\"Description\":{},\"URL\":{}}}", text("description"), text("url"));
        }
        (Rules, Value::Array(all)) => {
            let shown: Vec<String> = all.iter().map(rule).collect();
            let _ = write!(out, "[{}]", shown.join(","));
        }
        (_, value) => out.push_str(&escaped(value)),
    }
}

fn write_list(all: &[Value], out: &mut String) {
    out.push('[');
    for (i, one) in all.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write(one, out);
    }
    out.push(']');
}

/// Go's encoder escapes what HTML would read.
fn escaped(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    /// Without the fields that are empty.
    fn short(value: serde_json::Value) -> String {
        let mut shown = super::schema(&value);
        for field in super::FIELDS {
            for empty in ["\"\"", "null", "false"] {
                shown = shown.replace(&format!("\"{}\":{empty},", field.0), "").replace(&format!(",\"{}\":{empty}}}", field.0), "}");
            }
        }
        shown
    }

    #[test]
    fn schemas_nest_in_maps_lists_and_choices() {
        let nested = json!({
            "type": "object", "additionalProperties": false, "externalDocs": {"url": "a&b"},
            "properties": {"list": {"type": "array", "items": {"type": "string", "default": "x"}}, "map": {"additionalProperties": {"nullable": true}}},
            "anyOf": [{"not": {"required": ["a"]}}], "x-kubernetes-validations": [{"rule": "self.a < 1"}],
        });
        expect![[r#"{"Type":"object","AnyOf":[{"Not":{"Required":["a"]}}],"Properties":{"list":{"Type":"array","Items":{"Schema":{"Type":"string","Default":"x"},"JSONSchemas":null}},"map":{"AdditionalProperties":{"Allows":true,"Schema":{"Nullable":true}}}},"AdditionalProperties":{"Allows":false},"ExternalDocs":{"URL":"a\u0026b"},"XValidations":[{"Rule":"self.a \u003c 1","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}]}"#]].assert_eq(&short(nested));
    }
}
