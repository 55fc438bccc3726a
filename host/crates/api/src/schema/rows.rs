//! Reads the text tables of built-in types (`types.txt`, made by `schema-gen`, and the hand-kept `merge.txt`).
//!
//! Every name is a slice of the embedded text, so reading allocates only the vectors of rows. Both users, the compiled
//! types and the OpenAPI documents, come through here; nothing else knows the form of the files. A malformed line is
//! a fault of the build and caught by the tests: at run time it reads as a field of unknown type.

use std::collections::HashMap;

use super::kinds::{ListKind, MapKind, PatchStrategy, Presence};
use crate::protobuf;

pub const TYPES: &str = include_str!("types.txt");
pub const MERGE: &str = include_str!("merge.txt");
/// All definitions begin with it; the tables leave it out.
pub const NAME_PREFIX: &str = "io.k8s.";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape<'a> {
    String,
    Int32,
    Int64,
    Double,
    Boolean,
    Time,
    MicroTime,
    Bytes,
    Quantity,
    IntOrString,
    /// An object whose fields are nobody's business (RawExtension, FieldsV1).
    Object,
    /// Anything (JSON, JSONSchemaPropsOrBool).
    Any,
    List(&'a str),
    Map(&'a str),
    Named(&'a str),
}

#[derive(Clone, Debug)]
pub struct Definition {
    /// Without `io.k8s.`.
    pub name: &'static str,
    /// `apiVersion` and kind.
    pub kind: Option<(&'static str, &'static str)>,
    /// `None`: a struct with fields.
    pub shape: Option<Shape<'static>>,
    pub fields: Vec<Field>,
    pub atomic: bool,
    /// Which line of the file: the description has the same one.
    pub line: usize,
}

#[derive(Clone, Debug)]
pub struct Field {
    pub name: &'static str,
    pub required: bool,
    pub shape: Shape<'static>,
    pub line: usize,
    pub merge: MergeFacts,
    pub presence: Presence,
}

/// What `merge.txt` says of one field.
#[derive(Clone, Debug, Default)]
pub struct MergeFacts {
    pub list: Option<ListKind>,
    pub map: Option<MapKind>,
    pub key: Option<&'static str>,
    pub strategy: Option<&'static str>,
    /// JSON text.
    pub default: Option<&'static str>,
    required: Option<bool>,
}

impl Shape<'static> {
    pub fn parse(text: &'static str) -> Self {
        if let Some(item) = text.strip_prefix("[]") {
            return Shape::List(item);
        }
        if let Some(value) = text.strip_prefix("{}") {
            return Shape::Map(value);
        }
        match text {
            "string" => Shape::String,
            "int32" => Shape::Int32,
            "int64" => Shape::Int64,
            "double" => Shape::Double,
            "boolean" => Shape::Boolean,
            "time" => Shape::Time,
            "micro-time" => Shape::MicroTime,
            "bytes" => Shape::Bytes,
            "quantity" => Shape::Quantity,
            "int-or-string" => Shape::IntOrString,
            "object" => Shape::Object,
            "any" | "" => Shape::Any,
            name => Shape::Named(name),
        }
    }
}

impl MergeFacts {
    pub fn strategy(&self) -> PatchStrategy {
        self.strategy.map_or_else(PatchStrategy::default, PatchStrategy::parse)
    }
    fn parse(words: &'static str) -> Self {
        let mut facts = Self::default();
        for word in words.split(' ') {
            match word {
                "atomic" => (facts.list, facts.map) = (Some(ListKind::Atomic), Some(MapKind::Atomic)),
                "granular" => facts.map = Some(MapKind::Granular),
                "set" => facts.list = Some(ListKind::Set),
                "required" => facts.required = Some(true),
                "optional" => facts.required = Some(false),
                _ => facts.read_value(word),
            }
        }
        facts
    }
    fn read_value(&mut self, word: &'static str) {
        if let Some(keys) = word.strip_prefix("map(").and_then(|rest| rest.strip_suffix(')')) {
            self.list = Some(ListKind::Map { keys: keys.split(',').map(Box::from).collect() });
        } else if let Some((name, value)) = word.split_once('=') {
            match name {
                "key" => self.key = Some(value),
                "patch" => self.strategy = Some(value),
                "default" => self.default = Some(value),
                _ => {}
            }
        }
    }
}

/// All definitions, sorted by name as the file is.
pub fn read() -> Vec<Definition> {
    let mut facts = read_merge_facts();
    let presence = protobuf::presence_of_fields();
    let mut present = None;
    let mut definitions: Vec<Definition> = Vec::with_capacity(800);
    for (line, text) in TYPES.lines().enumerate() {
        let Some(field) = text.strip_prefix(' ') else {
            let mut definition = read_definition(text, line);
            definition.atomic = facts.contains_key(&(definition.name, ""));
            present = presence.get(format!("k8s.io.{}", definition.name.replace('-', "_")).as_str());
            definitions.push(definition);
            continue;
        };
        let Some(definition) = definitions.last_mut() else { continue };
        let (name, shape) = field.split_once(' ').unwrap_or((field, ""));
        let bare = name.strip_suffix('!').unwrap_or(name);
        let merge = facts.remove(&(definition.name, bare)).unwrap_or_default();
        let required = merge.required.unwrap_or(bare.len() < name.len());
        let presence = present.and_then(|fields| fields.get(bare)).copied().unwrap_or_default();
        definition.fields.push(Field { name: bare, required, shape: Shape::parse(shape), line, merge, presence });
    }
    definitions
}

fn read_definition(text: &'static str, line: usize) -> Definition {
    let (head, kind) = match text.split_once(" = ") {
        Some((head, kind)) => (head, kind.split_once(' ')),
        None => (text, None),
    };
    let (name, shape) = match head.split_once(" : ") {
        Some((name, shape)) => (name, Some(Shape::parse(shape))),
        None => (head, None),
    };
    Definition { name, kind, shape, fields: Vec::new(), atomic: false, line }
}

/// By definition and field; an atomic definition itself has the empty field.
fn read_merge_facts() -> HashMap<(&'static str, &'static str), MergeFacts> {
    let mut facts = HashMap::with_capacity(1024);
    let mut definition = "";
    for line in MERGE.lines().filter(|line| !line.starts_with('#')) {
        if let Some(field) = line.strip_prefix(' ') {
            let (name, words) = field.split_once(' ').unwrap_or((field, ""));
            facts.insert((definition, name), MergeFacts::parse(words));
        } else {
            let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
            definition = name;
            if rest == "atomic" {
                facts.insert((definition, ""), MergeFacts::default());
            }
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A renamed field or a mistyped row would silently merge in the wrong way.
    #[test]
    fn every_merge_row_names_a_field_and_keys_that_exist() {
        let definitions = read();
        let find = |name: &str| definitions.iter().find(|d| d.name == name);
        let mut faults = Vec::new();
        for (definition, field) in read_merge_facts().keys() {
            match find(definition) {
                None => faults.push(format!("no type {definition}")),
                Some(found) if !field.is_empty() && !found.fields.iter().any(|f| f.name == *field) => {
                    faults.push(format!("no field {definition}.{field}"));
                }
                Some(_) => {}
            }
        }
        for (definition, field) in definitions.iter().flat_map(|d| d.fields.iter().map(move |f| (d, f))) {
            let keys: Vec<&str> = match &field.merge.list {
                Some(ListKind::Map { keys }) => keys.iter().map(AsRef::as_ref).collect(),
                _ => Vec::new(),
            };
            for key in keys.into_iter().chain(field.merge.key) {
                let Shape::List(item) = field.shape else { panic!("{}.{} is no list", definition.name, field.name) };
                if !find(item).is_some_and(|item| item.fields.iter().any(|f| f.name == key)) {
                    faults.push(format!("{}.{}: no key {key} in {item}", definition.name, field.name));
                }
            }
        }
        assert_eq!(faults, Vec::<String>::new());
    }

    #[test]
    fn every_reference_resolves() {
        let definitions = read();
        assert!(definitions.is_sorted_by_key(|d| d.name));
        let resolves = |mut text: &'static str| loop {
            match Shape::parse(text) {
                Shape::List(inner) | Shape::Map(inner) => text = inner,
                Shape::Named(name) => return definitions.iter().any(|d| d.name == name),
                _ => return true,
            }
        };
        for field in definitions.iter().flat_map(|d| &d.fields) {
            if let Shape::List(text) | Shape::Map(text) | Shape::Named(text) = field.shape {
                assert!(resolves(text), "{text}");
            }
        }
    }
}
