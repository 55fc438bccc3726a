//! The schema of a custom resource: read from its definition, then pruning, defaulting, validating and typing its objects.
//!
//! The API server keeps one [`Structural`] for each served version. On a write it calls [`Structural::prune`],
//! [`Structural::default`], then [`Structural::validate`] or [`Structural::validate_update`]; patches and server-side apply walk
//! [`Structural::type_ref`]. Rules in CEL (`x-kubernetes-validations`) are not evaluated here.

mod formats;
mod invariants;
mod lists;
mod oversized;
mod parse;
mod prune;
mod types;
mod validate;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;

pub use formats::{is_supported_format, matches as matches_format};
pub use oversized::oversized_patterns;

use super::check::Findings;
use super::kinds::{NodeId, TypeRef, Types};
use crate::{Cause, regexes};

/// How much memory a compiled `pattern` may take: enough for some letter of any script, 253 times.
const MAX_COMPILED_PATTERN_BYTES: usize = 16 << 20;

#[derive(Debug)]
pub struct Structural {
    root: Schema,
    types: Types,
    root_type: NodeId,
}

impl Structural {
    /// Reads an `openAPIV3Schema`. `path` is where it stands in the definition (`spec.versions[0].schema.openAPIV3Schema`); the
    /// causes name faults below it, among them everything that keeps a schema from being structural.
    pub fn from_json(schema: &Value, path: &str) -> Result<Self, Vec<Cause>> {
        let (root, mut causes) = parse::parse(schema, path);
        if !causes.is_empty() {
            causes.sort_by(|a, b| (&a.field, &a.message).cmp(&(&b.field, &b.message)));
            causes.dedup();
            return Err(causes);
        }
        let (types, root_type) = types::compile(&root);
        Ok(Self { root, types, root_type })
    }

    pub fn type_ref(&self) -> TypeRef<'_> {
        self.types.at(self.root_type)
    }

    /// Removes fields that the schema does not name, and tells their paths; `metadata` is treated as the built-in type.
    pub fn prune(&self, object: &mut Value) -> Findings {
        prune::prune_object(&self.root, object)
    }

    /// Drops nulls where the schema allows none, then fills in defaults. Idempotent.
    pub fn default(&self, object: &mut Value) {
        prune::drop_nulls(Some(&self.root), object);
        prune::fill_defaults(&self.root, object);
    }

    pub fn validate(&self, object: &Value) -> Vec<Cause> {
        validate::validate(&self.root, object, None)
    }

    /// The same of the status alone, as it is written by itself: messages name places below it.
    pub fn validate_status(&self, new: &Value, old: &Value) -> Vec<Cause> {
        let (Some(schema), Some(status)) = (self.root.properties.get("status"), new.get("status")) else { return Vec::new() };
        let mut causes = validate::validate(schema, status, old.get("status"));
        for cause in &mut causes {
            cause.field = if cause.field == validate::NO_FIELD { "status".to_owned() } else { format!("status.{}", cause.field) };
        }
        causes
    }

    /// Faults in parts that did not change are tolerated, so that a stricter schema does not lock old objects.
    pub fn validate_update(&self, new: &Value, old: &Value) -> Vec<Cause> {
        validate::validate(&self.root, new, Some(old))
    }
}

/// One node of a schema.
#[derive(Debug, Default)]
struct Schema {
    kind: Option<Kind>,
    nullable: bool,
    preserve_unknown: bool,
    embedded: bool,
    int_or_string: bool,
    default: Option<Value>,
    properties: BTreeMap<Box<str>, Schema>,
    additional: Additional,
    items: Option<Box<Schema>>,
    required: Vec<Box<str>>,
    list_type: Option<ListType>,
    list_map_keys: Vec<Box<str>>,
    atomic_map: bool,
    /// Most nodes have none.
    rules: Option<Box<Rules>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListType {
    Atomic,
    Set,
    Map,
}

#[derive(Debug, Default)]
enum Additional {
    #[default]
    Unsaid,
    Open,
    Values(Box<Schema>),
}

/// What a value must satisfy beyond its type.
#[derive(Debug, Default)]
struct Rules {
    format: Option<Box<str>>,
    values: Vec<Value>,
    pattern: Option<Pattern>,
    minimum: Option<Bound>,
    maximum: Option<Bound>,
    multiple_of: Option<f64>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    unique_items: bool,
    min_properties: Option<u64>,
    max_properties: Option<u64>,
    all_of: Vec<Schema>,
    any_of: Vec<Schema>,
    one_of: Vec<Schema>,
    not: Option<Box<Schema>>,
}

#[derive(Debug)]
struct Bound {
    limit: f64,
    exclusive: bool,
}

/// Compiled when it is first needed: a definition may have hundreds.
#[derive(Debug)]
struct Pattern {
    text: Box<str>,
    compiled: OnceLock<Option<regex::Regex>>,
}

impl Kind {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "array" => Self::Array,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "object" => Self::Object,
            "string" => Self::String,
            _ => return None,
        })
    }
    fn name(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Object => "object",
            Self::String => "string",
        }
    }
}

impl Pattern {
    fn new(text: &str) -> Self {
        Self { text: text.into(), compiled: OnceLock::new() }
    }
    /// A pattern that cannot be compiled matches nothing; definitions with one are refused.
    fn matches(&self, text: &str) -> bool {
        self.compiled.get_or_init(|| compile(&self.text)).as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

fn compile(pattern: &str) -> Option<regex::Regex> {
    let mut builder = regex::RegexBuilder::new(&regexes::translate(pattern).ok()?);
    builder.size_limit(MAX_COMPILED_PATTERN_BYTES).build().ok()
}

impl Schema {
    /// The schema of a member of an object.
    fn member(&self, name: &str) -> Option<&Schema> {
        self.properties.get(name).or(match &self.additional {
            Additional::Values(values) => Some(values),
            Additional::Unsaid | Additional::Open => None,
        })
    }
}

#[cfg(test)]
mod tests;
