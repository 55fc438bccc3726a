//! Reads the JSON of a schema into [`Schema`] nodes. Words that the API does not know are passed over, as a typed decoder does.

use serde_json::{Map, Value};

use super::{Additional, Bound, Kind, ListType, Pattern, Rules, Schema, invariants};
use crate::{Cause, CauseKind, regexes};

/// A schema may not be deeper: both this reader and everything that walks the result recurse.
const MAX_DEPTH: usize = 200;

/// Faults of the words themselves, and what keeps the whole from being structural.
pub(super) fn parse(schema: &Value, path: &str) -> (Schema, Vec<Cause>) {
    let mut reader = Reader { causes: Vec::new(), unsupported: false };
    let root = reader.schema(schema, path, 0);
    if !reader.unsupported {
        reader.causes.extend(invariants::check(&root, schema, path));
    }
    (root, reader.causes)
}

/// Of a type that something else asks for.
pub(super) fn wrong_kind(place: String, kind: &str, why: &str) -> Cause {
    if kind.is_empty() { Cause::required(place, why) } else { Cause::invalid(place, &kind.into(), why) }
}

struct Reader {
    causes: Vec<Cause>,
    /// A word was there that upstream's structural form has no place for: whether the rest is structural is not asked then.
    unsupported: bool,
}

impl Reader {
    fn schema(&mut self, value: &Value, path: &str, depth: usize) -> Schema {
        let Some(fields) = value.as_object() else {
            self.causes.push(Cause::new(CauseKind::FieldValueTypeInvalid, path, "Invalid value: must be an object"));
            return Schema::default();
        };
        if depth > MAX_DEPTH {
            self.causes.push(Cause::forbidden(path, &format!("schemas deeper than {MAX_DEPTH} levels are not supported")));
            return Schema::default();
        }
        let flag = |name: &str| fields.get(name).is_some_and(|v| v == true);
        let mut schema = Schema {
            kind: self.kind(fields, path),
            nullable: flag("nullable"),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            default: fields.get("default").filter(|v| !v.is_null()).cloned(),
            required: texts(fields.get("required")),
            list_map_keys: texts(fields.get("x-kubernetes-list-map-keys")),
            atomic_map: fields.get("x-kubernetes-map-type").is_some_and(|v| v == "atomic"),
            ..Schema::default()
        };
        schema.list_type = self.list_type(fields, path);
        for (name, property) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let read = self.schema(property, &format!("{path}.properties[{name}]"), depth + 1);
            schema.properties.insert(name.as_str().into(), read);
        }
        // What is neither a schema nor a list of them is none.
        if let Some(items) = fields.get("items").filter(|v| v.is_object() || v.is_array()) {
            schema.items = Some(Box::new(self.schema(items, &format!("{path}.items"), depth + 1)));
        }
        schema.additional = match fields.get("additionalProperties") {
            None | Some(Value::Null) => Additional::Unsaid,
            Some(Value::Bool(true)) => Additional::Open,
            Some(Value::Bool(false)) => {
                self.causes.push(Cause::forbidden(format!("{path}.additionalProperties"), "additionalProperties cannot be set to false"));
                Additional::Unsaid
            }
            Some(values) => Additional::Values(Box::new(self.schema(values, &format!("{path}.additionalProperties"), depth + 1))),
        };
        self.map_type(fields, path);
        self.refuse_unsupported(fields, path);
        schema.rules = self.rules(fields, path, depth).map(Box::new);
        schema
    }

    fn kind(&mut self, fields: &Map<String, Value>, path: &str) -> Option<Kind> {
        let text = fields.get("type")?.as_str().filter(|text| !text.is_empty())?;
        let kind = Kind::parse(text);
        if kind.is_none() {
            let known = ["array", "boolean", "integer", "number", "object", "string"];
            self.causes.push(Cause::not_supported(format!("{path}.type"), &text.into(), &known));
        }
        kind
    }

    fn list_type(&mut self, fields: &Map<String, Value>, path: &str) -> Option<ListType> {
        match fields.get("x-kubernetes-list-type")?.as_str()? {
            "atomic" => Some(ListType::Atomic),
            "set" => Some(ListType::Set),
            "map" => Some(ListType::Map),
            other => {
                let known = ["atomic", "set", "map"];
                self.causes.push(Cause::not_supported(format!("{path}.x-kubernetes-list-type"), &other.into(), &known));
                None
            }
        }
    }

    fn map_type(&mut self, fields: &Map<String, Value>, path: &str) {
        let Some(text) = fields.get("x-kubernetes-map-type").and_then(Value::as_str) else { return };
        let known = ["atomic", "granular"];
        if !known.contains(&text) {
            self.causes.push(Cause::not_supported(format!("{path}.x-kubernetes-map-type"), &text.into(), &known));
        }
        let kind = fields.get("type").and_then(Value::as_str).unwrap_or("");
        if kind != "object" {
            self.causes.push(wrong_kind(format!("{path}.type"), kind, "must be object if x-kubernetes-map-type is specified"));
        }
    }

    fn refuse_unsupported(&mut self, fields: &Map<String, Value>, path: &str) {
        const UNSUPPORTED: [&str; 4] = ["$ref", "definitions", "dependencies", "patternProperties"];
        for word in UNSUPPORTED.into_iter().filter(|word| fields.get(*word).is_some_and(|v| !v.is_null() && v != "")) {
            self.causes.push(Cause::forbidden(format!("{path}.{word}"), &format!("{word} is not supported")));
            self.unsupported = true;
        }
        if fields.get("uniqueItems").is_some_and(|v| v == true) {
            let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.causes.push(Cause::forbidden(format!("{path}.uniqueItems"), why));
        }
        let has = |word: &str| fields.get(word).is_some_and(|v| !v.is_null() && v.as_object().is_none_or(|object| !object.is_empty()));
        if has("properties") && has("additionalProperties") && fields["additionalProperties"] != true {
            self.causes.push(Cause::forbidden(format!("{path}.additionalProperties"), "additionalProperties and properties are mutual exclusive"));
        }
    }

    fn rules(&mut self, fields: &Map<String, Value>, path: &str, depth: usize) -> Option<Rules> {
        const WORDS: [&str; 17] = [
            "format",
            "enum",
            "pattern",
            "minimum",
            "maximum",
            "multipleOf",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "uniqueItems",
            "minProperties",
            "maxProperties",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
        ];
        if !WORDS.iter().any(|word| fields.contains_key(*word)) {
            return None;
        }
        let count = |name: &str| fields.get(name).and_then(Value::as_u64);
        let bound = |name: &str, exclusive: &str| {
            let limit = fields.get(name)?.as_f64()?;
            Some(Bound { limit, exclusive: fields.get(exclusive).is_some_and(|v| v == true) })
        };
        Some(Rules {
            format: fields.get("format").and_then(Value::as_str).filter(|f| super::is_supported_format(f)).map(Box::from),
            values: fields.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            pattern: self.pattern(fields, path),
            minimum: bound("minimum", "exclusiveMinimum"),
            maximum: bound("maximum", "exclusiveMaximum"),
            multiple_of: fields.get("multipleOf").and_then(Value::as_f64),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            min_items: count("minItems"),
            max_items: count("maxItems"),
            unique_items: fields.get("uniqueItems").is_some_and(|v| v == true),
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            all_of: self.branches(fields, "allOf", path, depth),
            any_of: self.branches(fields, "anyOf", path, depth),
            one_of: self.branches(fields, "oneOf", path, depth),
            not: fields.get("not").filter(|v| !v.is_null()).map(|not| Box::new(self.schema(not, &format!("{path}.not"), depth + 1))),
        })
    }

    fn branches(&mut self, fields: &Map<String, Value>, word: &str, path: &str, depth: usize) -> Vec<Schema> {
        let listed = fields.get(word).and_then(Value::as_array).into_iter().flatten();
        listed.enumerate().map(|(index, branch)| self.schema(branch, &format!("{path}.{word}[{index}]"), depth + 1)).collect()
    }

    fn pattern(&mut self, fields: &Map<String, Value>, path: &str) -> Option<Pattern> {
        let text = fields.get("pattern")?.as_str().filter(|text| !text.is_empty())?;
        // Only the syntax: compiling waits until a value is matched.
        if let Err(error) = regexes::translate(text) {
            let why = format!("must be a valid regular expression, but isn't: {error}");
            self.causes.push(Cause::invalid(format!("{path}.pattern"), &text.into(), &why));
        }
        Some(Pattern::new(text))
    }
}

fn texts(value: Option<&Value>) -> Vec<Box<str>> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(Box::from).collect()
}
