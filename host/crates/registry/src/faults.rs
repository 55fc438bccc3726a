//! Collects validation faults with their paths, without building a path before there is a fault.
//!
//! A [`Path`] is a chain of borrowed steps on the stack; it becomes text only when a fault is noted, so a valid object costs no
//! allocation here. Messages are upstream's, as clients match on them.

use std::fmt;

use pintle_api::{Cause, CauseKind};
use serde_json::Value;

#[derive(Default)]
pub struct Faults {
    causes: Vec<Cause>,
    told_alone: bool,
}

#[derive(Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    /// May hold several, joined with dots.
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    pub const fn root(field: &'a str) -> Path<'a> {
        Path { parent: None, step: Step::Field(field) }
    }
    pub const fn field(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Field(name) }
    }
    pub const fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }
    pub const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Field("") => Ok(()),
            Step::Field(name) if self.parent.is_none() => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

impl Faults {
    pub fn into_causes(self) -> Vec<Cause> {
        self.causes
    }
    pub fn is_empty(&self) -> bool {
        self.causes.is_empty()
    }
    /// Some checks run only where the ones before found nothing: what stands is all that is told, and checks to come keep silent.
    pub fn tell_alone(&mut self) {
        self.told_alone = true;
    }
    pub fn are_told_alone(&self) -> bool {
        self.told_alone
    }
    pub fn push(&mut self, cause: Cause) {
        self.causes.push(cause);
    }
    /// Before all that were found so far.
    pub fn push_first(&mut self, cause: Cause) {
        self.causes.insert(0, cause);
    }
    pub fn required(&mut self, path: &Path<'_>, detail: &str) {
        self.push(Cause::required(path.to_string(), detail));
    }
    pub fn invalid(&mut self, path: &Path<'_>, value: &Value, detail: &str) {
        self.push(Cause::invalid(path.to_string(), value, detail));
    }
    /// A value that is printed as `shown` says.
    pub fn invalid_shown(&mut self, path: &Path<'_>, shown: &str, detail: &str) {
        self.push(Cause::invalid_shown(path.to_string(), shown, detail));
    }
    /// Of what has no value to show.
    pub fn invalid_without_value(&mut self, path: &Path<'_>, detail: &str) {
        self.push(Cause::new(CauseKind::FieldValueInvalid, path.to_string(), format!("Invalid value: {detail}")));
    }
    pub fn invalid_str(&mut self, path: &Path<'_>, value: &str, detail: &str) {
        self.push(Cause::invalid(path.to_string(), &Value::from(value), detail));
    }
    /// Notes each message about a text, as `pintle_api::names` gives them.
    pub fn texts(&mut self, path: &Path<'_>, value: &str, messages: Vec<String>) {
        for message in messages {
            self.invalid_str(path, value, &message);
        }
    }
    /// Notes each message about any other value.
    pub fn values(&mut self, path: &Path<'_>, value: &Value, messages: Vec<String>) {
        for message in messages {
            self.invalid(path, value, &message);
        }
    }
    pub fn forbidden(&mut self, path: &Path<'_>, detail: &str) {
        self.push(Cause::forbidden(path.to_string(), detail));
    }
    pub fn duplicate(&mut self, path: &Path<'_>, value: &Value) {
        self.push(Cause::duplicate(path.to_string(), value));
    }
    pub fn not_found(&mut self, path: &Path<'_>, value: &Value) {
        self.push(Cause::not_found(path.to_string(), value));
    }
    pub fn not_supported(&mut self, path: &Path<'_>, value: &str, supported: &[&str]) {
        self.push(Cause::not_supported(path.to_string(), &Value::from(value), supported));
    }
    /// A whole object, printed as `shown` says.
    pub fn not_supported_shown(&mut self, path: &Path<'_>, shown: &str, supported: &[&str]) {
        let words: Vec<String> = supported.iter().map(|word| format!("{word:?}")).collect();
        let message = format!("Unsupported value: {shown}: supported values: {}", words.join(", "));
        self.push(Cause::new(CauseKind::FieldValueNotSupported, path.to_string(), message));
    }
    /// The same of one that stands twice.
    pub fn duplicate_shown(&mut self, path: &Path<'_>, shown: &str) {
        self.push(Cause::new(CauseKind::FieldValueDuplicate, path.to_string(), format!("Duplicate value: {shown}")));
    }
    pub fn too_long(&mut self, path: &Path<'_>, max_bytes: usize) {
        self.push(Cause::too_long(path.to_string(), max_bytes));
    }
    pub fn too_many(&mut self, path: &Path<'_>, actual: usize, max: usize) {
        let message = format!("Too many: {actual}: must have at most {max} items");
        self.push(Cause::new(CauseKind::FieldValueTooMany, path.to_string(), message));
    }
}
