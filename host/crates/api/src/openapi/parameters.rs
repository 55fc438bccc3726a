//! The parameters of requests, read from the table that `schema-gen` records of upstream. Version 2 has most of them once for the whole document.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Value, json};

use super::Dialect;
use super::definitions::unescape;
use super::paths::META_PACKAGE;

const TEXT: &str = include_str!("parameters.txt");
/// Some sixty, by their sets.
static TABLE: LazyLock<Vec<(&str, Parameter)>> = LazyLock::new(|| read().collect());
/// How version 2 refers to one.
pub(super) const SHARED: &str = "#/parameters/";

/// One parameter of an operation, but for its body.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Parameter {
    name: &'static str,
    place: Place,
    kind: &'static str,
    description: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Path,
    Query,
}

impl Parameter {
    pub(super) fn name(of: &str) -> Self {
        Self { name: "name", place: Place::Path, kind: "string", description: format!("name of the {of}") }
    }

    pub(super) fn namespace() -> Option<Self> {
        find("any", "namespace").map(|found| Self { place: Place::Path, ..found })
    }

    /// What follows a proxy's own path.
    pub(super) fn rest_of_path() -> Option<Self> {
        find("any", "path").map(|found| Self { place: Place::Path, ..found })
    }

    pub(super) fn pretty() -> Option<Self> {
        find("any", "pretty")
    }

    pub(super) fn json(&self, dialect: Dialect) -> Value {
        match dialect {
            Dialect::V2 if self.is_shared() => json!({"$ref": format!("{SHARED}{}", self.shared_name())}),
            Dialect::V2 => self.inline(),
            Dialect::V3 => {
                let mut parameter = self.head();
                parameter["schema"] = json!({"type": self.kind, "uniqueItems": true});
                parameter
            }
        }
    }

    fn head(&self) -> Value {
        let mut parameter = json!({"in": self.place.name(), "name": self.name, "description": self.description});
        if self.place == Place::Path {
            parameter["required"] = true.into();
        }
        parameter
    }

    fn inline(&self) -> Value {
        let mut parameter = self.head();
        parameter["type"] = self.kind.into();
        parameter["uniqueItems"] = true.into();
        parameter
    }

    /// A name tells the kind; kubectl until 1.27 looks for the others where they are taken.
    fn is_shared(&self) -> bool {
        !["name", "dryRun", "fieldValidation"].contains(&self.name)
    }

    fn shared_name(&self) -> String {
        let required = if self.place == Place::Path { r#","required":true"# } else { "" };
        let (kind, place, description) = (self.kind, self.place.name(), as_go_writes(&self.description));
        let text = format!(r#"{{"uniqueItems":true,"type":"{kind}","description":{description},"name":"{}","in":"{place}"{required}}}"#, self.name);
        shared_name(self.name, &text)
    }
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
        }
    }
}

/// The body of a version 2 operation.
pub(super) fn body(definition: &str, required: bool) -> Value {
    match is_shared_body(definition) {
        true => json!({"$ref": format!("{SHARED}{}", shared_body_name(definition, required))}),
        false => inline_body(definition, required),
    }
}

/// All that version 2 may refer to, by name.
pub(super) fn shared() -> BTreeMap<String, Value> {
    let parameters = TABLE.iter().map(|(_, parameter)| parameter.clone()).chain(Parameter::namespace()).chain(Parameter::rest_of_path());
    let mut all: BTreeMap<String, Value> =
        parameters.filter(Parameter::is_shared).map(|parameter| (parameter.shared_name(), parameter.inline())).collect();
    let bodies = [("DeleteOptions", false), ("Patch", true)].map(|(kind, required)| (format!("{META_PACKAGE}.{kind}"), required));
    all.extend(bodies.iter().map(|(definition, required)| (shared_body_name(definition, *required), inline_body(definition, *required))));
    all
}

fn inline_body(definition: &str, required: bool) -> Value {
    let mut parameter = json!({"in": "body", "name": "body", "schema": {"$ref": Dialect::V2.reference(definition)}});
    if required {
        parameter["required"] = true.into();
    }
    parameter
}

fn is_shared_body(definition: &str) -> bool {
    definition.starts_with("io.k8s.apimachinery")
}

fn shared_body_name(definition: &str, required: bool) -> String {
    let required = if required { r#","required":true"# } else { "" };
    let reference = Dialect::V2.reference(definition);
    shared_name("body", &format!(r#"{{"name":"body","in":"body"{required},"schema":{{"$ref":"{reference}"}}}}"#))
}

/// `limit-1NfNmdNH`: the end is a hash (FNV-1) of the parameter as Go writes it.
fn shared_name(name: &str, text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
    format!("{name}-{}", URL_SAFE.encode(&hash.to_be_bytes()[..6]))
}

fn as_go_writes(text: &str) -> String {
    Value::from(text).to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// Those of one sort of operation: `list`, `write`, `PodExecOptions`. None for an unknown sort.
pub(super) fn of_set(wanted: &str) -> Vec<Parameter> {
    TABLE.iter().filter(|(set, _)| *set == wanted).map(|(_, parameter)| parameter.clone()).collect()
}

fn find(wanted: &str, name: &str) -> Option<Parameter> {
    TABLE.iter().find(|(set, parameter)| *set == wanted && parameter.name == name).map(|(_, parameter)| parameter.clone())
}

/// `SET NAME TYPE<tab>DESCRIPTION`; an empty description is the one above of the same name.
fn read() -> impl Iterator<Item = (&'static str, Parameter)> {
    let mut above: Vec<(&str, &str)> = Vec::new();
    TEXT.lines().filter_map(move |line| {
        let (head, description) = line.split_once('\t')?;
        let mut words = head.split(' ');
        let (set, name, kind) = (words.next()?, words.next()?, words.next()?);
        let description = match above.iter_mut().find(|(known, _)| *known == name) {
            Some((_, kept)) if description.is_empty() => *kept,
            Some((_, kept)) => {
                *kept = description;
                description
            }
            None => {
                above.push((name, description));
                description
            }
        };
        Some((set, Parameter { name, place: Place::Query, kind, description: unescape(description) }))
    })
}
