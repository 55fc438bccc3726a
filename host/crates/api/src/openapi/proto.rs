//! The protobuf form of a version 2 document: `openapi.v2.Document` of gnostic's OpenAPIv2.proto.
//!
//! client-go takes nothing else from `/openapi/v2`. Only the fields that our documents have are written; each function
//! names its message, and the numbers are those of the schema. Vendor extensions travel as YAML texts, of which JSON is one kind.

use serde_json::{Map, Value};

/// The bytes of one message.
#[derive(Default)]
struct Message(Vec<u8>);

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

pub(super) struct DocumentWriter {
    info: Message,
    paths: Message,
    definitions: Message,
    parameters: Message,
}

impl DocumentWriter {
    pub(super) fn new(info: &Value) -> Self {
        let mut message = Message::default();
        message.text(1, &info["title"]);
        message.text(2, &info["version"]);
        Self { info: message, paths: Message::default(), definitions: Message::default(), parameters: Message::default() }
    }
    pub(super) fn path(&mut self, name: &str, item: &Value) {
        self.paths.message(2, named(name, &path_item(item)));
    }
    pub(super) fn definition(&mut self, name: &str, definition: &Value) {
        self.definitions.message(1, named(name, &schema(definition)));
    }
    pub(super) fn parameter(&mut self, name: &str, value: &Value) {
        self.parameters.message(1, named(name, &parameter(value)));
    }
    pub(super) fn finish(self) -> Vec<u8> {
        let mut document = Message::default();
        document.string(1, "2.0");
        document.message(2, self.info);
        document.message(8, self.paths);
        document.message(9, self.definitions);
        document.message(10, self.parameters);
        document.0
    }
}

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value as u8) | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
    fn tag(&mut self, field: u64, wire: u64) {
        self.varint(field << 3 | wire);
    }
    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.tag(field, BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
    fn message(&mut self, field: u64, message: Message) {
        self.bytes(field, &message.0);
    }
    fn string(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }
    /// Nothing for a value that is no text: an absent field is the empty one.
    fn text(&mut self, field: u64, value: &Value) {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            self.string(field, text);
        }
    }
    fn texts(&mut self, field: u64, values: &Value) {
        for text in values.as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.string(field, text);
        }
    }
    fn flag(&mut self, field: u64, value: &Value) {
        if value == true {
            self.tag(field, VARINT);
            self.varint(1);
        }
    }
    fn integer(&mut self, field: u64, value: &Value) {
        if let Some(number) = value.as_i64().filter(|number| *number != 0) {
            self.tag(field, VARINT);
            self.varint(number as u64);
        }
    }
    fn double(&mut self, field: u64, value: &Value) {
        if let Some(number) = value.as_f64().filter(|number| *number != 0.0) {
            self.tag(field, FIXED64);
            self.0.extend_from_slice(&number.to_le_bytes());
        }
    }
    /// `Any` holds a YAML text.
    fn any(&mut self, field: u64, value: &Value) {
        let mut any = Message::default();
        any.string(2, &value.to_string());
        self.message(field, any);
    }
    fn extensions(&mut self, field: u64, of: &Map<String, Value>) {
        for (name, value) in of.iter().filter(|(name, _)| name.starts_with("x-")) {
            let mut any = Message::default();
            any.string(2, &value.to_string());
            self.message(field, named(name, &any));
        }
    }
}

/// Any of the `Named...` messages.
fn named(name: &str, value: &Message) -> Message {
    let mut message = Message::default();
    message.string(1, name);
    message.bytes(2, &value.0);
    message
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn schema(value: &Value) -> Message {
    let mut message = Message::default();
    let Some(fields) = value.as_object() else { return message };
    for (name, value) in fields {
        match name.as_str() {
            "$ref" => message.text(1, value),
            "format" => message.text(2, value),
            "title" => message.text(3, value),
            "description" => message.text(4, value),
            "default" => message.any(5, value),
            "multipleOf" => message.double(6, value),
            "maximum" => message.double(7, value),
            "exclusiveMaximum" => message.flag(8, value),
            "minimum" => message.double(9, value),
            "exclusiveMinimum" => message.flag(10, value),
            "maxLength" => message.integer(11, value),
            "minLength" => message.integer(12, value),
            "pattern" => message.text(13, value),
            "maxItems" => message.integer(14, value),
            "minItems" => message.integer(15, value),
            "uniqueItems" => message.flag(16, value),
            "maxProperties" => message.integer(17, value),
            "minProperties" => message.integer(18, value),
            "required" => message.texts(19, value),
            "enum" => value.as_array().into_iter().flatten().for_each(|item| message.any(20, item)),
            "additionalProperties" => message.message(21, additional_properties(value)),
            "type" => message.message(22, type_item(value)),
            "items" => {
                let mut items = Message::default();
                items.message(1, schema(value));
                message.message(23, items);
            }
            "allOf" => value.as_array().into_iter().flatten().for_each(|item| message.message(24, schema(item))),
            "properties" => {
                let mut properties = Message::default();
                members(value).for_each(|(name, field)| properties.message(1, named(name, &schema(field))));
                message.message(25, properties);
            }
            "example" => message.any(30, value),
            _ => {}
        }
    }
    message.extensions(31, fields);
    message
}

fn additional_properties(value: &Value) -> Message {
    let mut message = Message::default();
    match value.as_bool() {
        // A member of a oneof is written even when it is false.
        Some(allowed) => {
            message.tag(2, VARINT);
            message.varint(u64::from(allowed));
        }
        None => message.message(1, schema(value)),
    }
    message
}

fn type_item(value: &Value) -> Message {
    let mut message = Message::default();
    match value {
        Value::Array(_) => message.texts(1, value),
        _ => message.text(1, value),
    }
    message
}

fn path_item(value: &Value) -> Message {
    let mut message = Message::default();
    const METHODS: [(&str, u64); 7] = [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("options", 6), ("head", 7), ("patch", 8)];
    for (method, field) in METHODS {
        if value[method].is_object() {
            message.message(field, operation(&value[method]));
        }
    }
    parameters(&mut message, 9, &value["parameters"]);
    message
}

fn operation(value: &Value) -> Message {
    let mut message = Message::default();
    message.texts(1, &value["tags"]);
    message.text(3, &value["description"]);
    message.text(5, &value["operationId"]);
    message.texts(6, &value["produces"]);
    message.texts(7, &value["consumes"]);
    parameters(&mut message, 8, &value["parameters"]);
    let mut responses = Message::default();
    for (code, response) in members(&value["responses"]) {
        let mut choice = Message::default();
        choice.message(1, response_message(response));
        responses.message(1, named(code, &choice));
    }
    message.message(9, responses);
    message.texts(10, &value["schemes"]);
    if let Some(fields) = value.as_object() {
        message.extensions(13, fields);
    }
    message
}

fn response_message(value: &Value) -> Message {
    let mut message = Message::default();
    message.text(1, &value["description"]);
    if value["schema"].is_object() {
        let mut choice = Message::default();
        choice.message(1, schema(&value["schema"]));
        message.message(2, choice);
    }
    message
}

/// Each is a parameter or a reference to one.
fn parameters(message: &mut Message, field: u64, values: &Value) {
    for value in values.as_array().into_iter().flatten() {
        if value["$ref"].is_string() {
            let mut reference = Message::default();
            reference.text(1, &value["$ref"]);
            message.message(field, wrapped(2, reference));
        } else {
            message.message(field, wrapped(1, parameter(value)));
        }
    }
}

fn parameter(value: &Value) -> Message {
    let mut parameter = Message::default();
    match value["in"].as_str() {
        Some("body") => parameter.message(1, body_parameter(value)),
        Some("path") => parameter.message(2, wrapped(4, path_parameter(value))),
        _ => parameter.message(2, wrapped(3, query_parameter(value))),
    }
    parameter
}

fn wrapped(field: u64, inner: Message) -> Message {
    let mut message = Message::default();
    message.message(field, inner);
    message
}

fn body_parameter(value: &Value) -> Message {
    let mut message = Message::default();
    message.text(1, &value["description"]);
    message.text(2, &value["name"]);
    message.text(3, &value["in"]);
    message.flag(4, &value["required"]);
    message.message(5, schema(&value["schema"]));
    message
}

fn query_parameter(value: &Value) -> Message {
    let mut message = Message::default();
    message.flag(1, &value["required"]);
    message.text(2, &value["in"]);
    message.text(3, &value["description"]);
    message.text(4, &value["name"]);
    message.text(6, &value["type"]);
    message.flag(20, &value["uniqueItems"]);
    message
}

fn path_parameter(value: &Value) -> Message {
    let mut message = Message::default();
    message.flag(1, &value["required"]);
    message.text(2, &value["in"]);
    message.text(3, &value["description"]);
    message.text(4, &value["name"]);
    message.text(5, &value["type"]);
    message.flag(19, &value["uniqueItems"]);
    message
}
