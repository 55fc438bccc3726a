//! Definitions of custom resources: their own schema, with the fields that all objects have.
//!
//! Version 2 knows less than a custom resource's schema may say, and kubectl trips over some of it, so that dialect
//! gets what upstream publishes there: no alternatives, no nullable or open types.

use serde_json::{Map, Value, json};

use super::Dialect;
use super::definitions::reference;
use crate::ResourceDef;
use crate::schema::structural::is_supported_format;

const API_VERSION_DOC: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND_DOC: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA_DOC: &str =
    "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA_DOC: &str =
    "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const OBJECT_META: &str = "apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "apimachinery.pkg.apis.meta.v1.ListMeta";

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";

/// `com.example.stable.v1.CronTab`: the group's parts in reverse.
pub(super) fn definition_name(def: &ResourceDef) -> String {
    let group: Vec<&str> = def.group.rsplit('.').collect();
    format!("{}.{}.{}", group.join("."), def.version, def.kind)
}

pub(super) fn list_kind(def: &ResourceDef) -> String {
    format!("{}List", def.kind)
}

pub(super) fn schema(def: &ResourceDef, own: Option<&Value>, dialect: Dialect) -> Value {
    let mut schema = match own {
        None => json!({"type": "object"}),
        // Any field at all would make kubectl refuse the others.
        Some(own) if dialect == Dialect::V2 && own[PRESERVE] == true => json!({"type": "object"}),
        Some(own) => {
            let mut schema = convert(own, dialect);
            add_object_fields(&mut schema, dialect);
            schema
        }
    };
    schema["x-kubernetes-group-version-kind"] = json!([{"group": def.group, "version": def.version, "kind": def.kind}]);
    schema
}

pub(super) fn list_schema(def: &ResourceDef, dialect: Dialect) -> Value {
    let item = dialect.reference(&definition_name(def));
    json!({
        "type": "object",
        "description": format!("{} is a list of {}", list_kind(def), def.kind),
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": API_VERSION_DOC},
            "items": {"type": "array", "items": {"$ref": item}, "description": format!("List of {}.", def.resource)},
            "kind": {"type": "string", "description": KIND_DOC},
            "metadata": described_reference(LIST_META, LIST_METADATA_DOC, dialect),
        },
        "x-kubernetes-group-version-kind": [{"group": def.group, "version": def.version, "kind": list_kind(def)}],
    })
}

fn add_object_fields(schema: &mut Value, dialect: Dialect) {
    schema["properties"]["apiVersion"] = json!({"type": "string", "description": API_VERSION_DOC});
    schema["properties"]["kind"] = json!({"type": "string", "description": KIND_DOC});
    schema["properties"]["metadata"] = described_reference(OBJECT_META, METADATA_DOC, dialect);
}

fn described_reference(short_name: &str, description: &str, dialect: Dialect) -> Value {
    let mut field = match dialect {
        Dialect::V2 => reference(short_name, dialect),
        Dialect::V3 => json!({"allOf": [reference(short_name, dialect)]}),
    };
    field["description"] = description.into();
    field
}

fn convert(own: &Value, dialect: Dialect) -> Value {
    let Some(own) = own.as_object() else { return own.clone() };
    let mut out = Map::new();
    for (key, value) in own {
        match key.as_str() {
            "properties" | "patternProperties" => {
                let fields = value.as_object().into_iter().flatten().map(|(name, field)| (name.clone(), convert(field, dialect)));
                out.insert(key.clone(), Value::Object(fields.collect()));
            }
            "items" | "additionalProperties" | "not" => {
                out.insert(key.clone(), convert(value, dialect));
            }
            "allOf" | "anyOf" | "oneOf" => {
                out.insert(key.clone(), value.as_array().into_iter().flatten().map(|branch| convert(branch, dialect)).collect());
            }
            "format" if value.as_str().is_some_and(|format| !is_supported_format(format)) => {}
            // An empty default is a default.
            _ if is_empty(value) && key != "default" => {}
            _ => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    match dialect {
        Dialect::V2 => simplify(&mut out, own),
        Dialect::V3 if own.get(INT_OR_STRING) == Some(&true.into()) && !out.contains_key("anyOf") => {
            out.insert("anyOf".to_owned(), json!([{"type": "integer"}, {"type": "string"}]));
        }
        Dialect::V3 => {}
    }
    let mut schema = Value::Object(out);
    if schema[EMBEDDED] == true && !(dialect == Dialect::V2 && schema[PRESERVE] == true) {
        add_object_fields(&mut schema, dialect);
        require(&mut schema, &["kind", "apiVersion"]);
    }
    schema
}

/// Values that a typed encoder leaves out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn simplify(schema: &mut Map<String, Value>, own: &Map<String, Value>) {
    for alternatives in ["allOf", "anyOf", "oneOf", "not"] {
        schema.remove(alternatives);
    }
    let nullable = schema.remove("nullable").is_some();
    let open = schema.get(PRESERVE) == Some(&true.into());
    if nullable || open {
        schema.remove("items");
        schema.remove("properties");
    }
    let object_or_array = |schema: &Map<String, Value>, kind: &str| schema.get("type").is_some_and(|t| t == kind);
    let untyped = nullable || (object_or_array(schema, "array") && !schema.contains_key("items")) || (open && object_or_array(schema, "object"));
    if untyped {
        schema.remove("type");
    }
    relax_required(schema, own);
}

/// A nullable field has no type in this dialect, so it cannot be required either.
fn relax_required(schema: &mut Map<String, Value>, own: &Map<String, Value>) {
    let is_nullable = |field: Option<&Value>| field.is_some_and(|field| field["nullable"] == true);
    if is_nullable(own.get("additionalProperties")) {
        schema.remove("required");
    }
    let Some(Value::Array(required)) = schema.get_mut("required") else { return };
    let properties = own.get("properties").and_then(Value::as_object);
    required.retain(|name| !is_nullable(name.as_str().and_then(|name| properties?.get(name))));
    if required.is_empty() {
        schema.remove("required");
    }
}

fn require(schema: &mut Value, fields: &[&str]) {
    let mut required: Vec<Value> = schema["required"].as_array().cloned().unwrap_or_default();
    for field in fields {
        if !required.iter().any(|known| known == field) {
            required.push((*field).into());
        }
    }
    schema["required"] = required.into();
}
