//! The text form of the tables. `types.txt`: a line for a type, then one for each of its fields, indented:
//!
//! ```text
//! api.core.v1.ServicePort
//!  port! int32
//!  targetPort apimachinery.pkg.util.intstr.IntOrString
//! api.core.v1.ServiceList = v1 ServiceList
//!  items! []api.core.v1.Service
//! apimachinery.pkg.apis.meta.v1.Time : time
//! ```
//!
//! All names lack their `io.k8s.`; `!` marks a required field; `[]` and `{}` lists and maps; `: shape` a type that is no struct.
//! The descriptions have a line for each line of `types.txt`, with line ends escaped; `published.rs` puts upstream's in their place.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::kinds::Collected;

const COMMON_PREFIX: &str = "io.k8s.";
/// k8s-openapi calls it required because its struct is no `Option`; the API takes an object without.
const METADATA: &str = "metadata";

pub fn render(collected: &Collected) -> Result<(String, String)> {
    let (mut types, mut descriptions) = (String::new(), String::new());
    for (name, schema) in &collected.definitions {
        let short = shorten(name)?;
        let shape = whole_shape(name, schema)?;
        types.push_str(short);
        if let Some(shape) = shape {
            types.push_str(" : ");
            types.push_str(shape);
        }
        if let Some((api_version, kind)) = collected.kinds.get(name) {
            types.push_str(&format!(" = {api_version} {kind}"));
        }
        types.push('\n');
        describe(&mut descriptions, schema);
        if shape.is_none() {
            fields(name, schema, &mut types, &mut descriptions)?;
        }
    }
    Ok((types, descriptions))
}

fn fields(name: &str, schema: &Value, types: &mut String, descriptions: &mut String) -> Result<()> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let required: Vec<&str> = required.into_iter().filter(|field| *field != METADATA).collect();
    let mut properties: Vec<_> = schema["properties"].as_object().into_iter().flatten().collect();
    properties.sort_by(|a, b| a.0.cmp(b.0));
    for (field, property) in properties {
        let mark = if required.contains(&field.as_str()) { "!" } else { "" };
        let shape = field_shape(property).with_context(|| format!("{name}.{field}"))?;
        types.push_str(&format!(" {field}{mark} {shape}\n"));
        describe(descriptions, property);
    }
    Ok(())
}

/// The shape of a type that is no struct.
fn whole_shape(name: &str, schema: &Value) -> Result<Option<&'static str>> {
    let short = name.rsplit('.').next().unwrap_or(name);
    Ok(Some(match short {
        "IntOrString" => "int-or-string",
        "Quantity" => "quantity",
        "Time" => "time",
        "MicroTime" => "micro-time",
        "RawExtension" | "FieldsV1" | "Patch" => "object",
        "JSON" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray" => "any",
        _ if schema["type"] == "object" => return Ok(None),
        _ => bail!("{name}: a type of unknown shape: {schema}"),
    }))
}

fn field_shape(schema: &Value) -> Result<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.strip_prefix("#/$defs/").context("a reference elsewhere")?;
        return Ok(shorten(name)?.to_owned());
    }
    let format = schema["format"].as_str().unwrap_or("");
    Ok(match (schema["type"].as_str().unwrap_or(""), format) {
        ("array", _) => format!("[]{}", field_shape(&schema["items"])?),
        ("object", _) if schema["additionalProperties"].is_object() => format!("{{}}{}", field_shape(&schema["additionalProperties"])?),
        ("object", _) => "object".to_owned(),
        ("string", "") => "string".to_owned(),
        ("string", "byte") => "bytes".to_owned(),
        ("string", "date-time") => "time".to_owned(),
        ("integer", "int32") => "int32".to_owned(),
        ("integer", "int64") => "int64".to_owned(),
        ("number", "double") => "double".to_owned(),
        ("boolean", "") => "boolean".to_owned(),
        _ => bail!("a field of unknown shape: {schema}"),
    })
}

fn describe(descriptions: &mut String, schema: &Value) {
    let text = schema["description"].as_str().unwrap_or("");
    descriptions.push_str(&escape(text));
    descriptions.push('\n');
}

/// One line of whatever text.
pub fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn shorten(name: &str) -> Result<&str> {
    name.strip_prefix(COMMON_PREFIX).with_context(|| format!("{name} does not begin with {COMMON_PREFIX}"))
}
