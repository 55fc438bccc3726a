//! Validation of a custom object, with upstream's messages.

use serde_json::Value;

use super::{Bound, Kind, Rules, Schema, formats, lists};
use crate::{Cause, CauseKind};

/// Upstream names no field in faults that concern alternatives, and its empty path prints so.
pub(super) const NO_FIELD: &str = "<nil>";

pub(super) fn validate(root: &Schema, value: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut outcome = Outcome::default();
    outcome.node(root, value, old, &Place::Root);
    outcome.causes
}

#[derive(Default)]
struct Outcome {
    causes: Vec<Cause>,
    /// How many checks were made: of several failed alternatives the one that got farthest is reported.
    checks: usize,
}

enum Place<'a> {
    Root,
    Field(&'a Place<'a>, &'a str),
    Index(&'a Place<'a>, usize),
}

impl Place<'_> {
    fn path(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Field(before, name) => {
                let mut path = before.path();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                path
            }
            Self::Index(before, index) => format!("{}[{index}]", before.path()),
        }
    }
}

impl Outcome {
    fn node(&mut self, schema: &Schema, value: &Value, old: Option<&Value>, place: &Place<'_>) {
        self.checks += 1;
        if old == Some(value) {
            return;
        }
        // What is of another type is still held against all that concerns the type that it has.
        self.check_type(schema, value, place);
        if value.is_null() {
            return;
        }
        if let Some(rules) = &schema.rules {
            self.rules(rules, schema, value, old, place);
        }
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    let Some(below) = schema.member(name) else { continue };
                    let before = old.and_then(|old| old.get(name));
                    self.node(below, member, before, &Place::Field(place, name));
                }
                for name in schema.required.iter().filter(|name| !members.contains_key(name.as_ref())) {
                    self.causes.push(Cause::required(Place::Field(place, name).path(), ""));
                }
            }
            Value::Array(items) => self.items(schema, items, old, place),
            _ => {}
        }
    }

    fn items(&mut self, schema: &Schema, items: &[Value], old: Option<&Value>, place: &Place<'_>) {
        lists::check_list(schema, items, |index| Place::Index(place, index).path(), &mut self.causes);
        let Some(below) = &schema.items else { return };
        for (index, item) in items.iter().enumerate() {
            let before = old.and_then(|old| matching(schema, item, old));
            self.node(below, item, before, &Place::Index(place, index));
        }
    }

    fn check_type(&mut self, schema: &Schema, value: &Value, place: &Place<'_>) {
        let wanted = match (schema.kind, schema.int_or_string) {
            (_, true) => "integer,string",
            (Some(kind), false) => kind.name(),
            (None, false) => return,
        };
        let fits = match value {
            Value::Null => schema.nullable,
            Value::Bool(_) => wanted == "boolean",
            Value::String(_) => wanted == "string" || schema.int_or_string,
            Value::Array(_) => wanted == "array",
            Value::Object(_) => wanted == "object",
            Value::Number(number) => {
                let whole = number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|f| f.fract() == 0.0);
                wanted == "number" || (whole && (wanted == "integer" || schema.int_or_string))
            }
        };
        if !fits {
            let found = match value {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
                Value::Number(number) if number.is_f64() => "number",
                Value::Number(_) => "integer",
            };
            // A format is told in the type's stead, unless the value is a text or a list.
            let format = schema.rules.as_ref().and_then(|rules| rules.format.as_deref()).filter(|_| !schema.int_or_string);
            let (wanted, found) = match (format, value) {
                (Some(format), Value::Number(number)) => (format, if number.is_f64() { "float64" } else { "int64" }),
                (Some(format), Value::Bool(_) | Value::Object(_)) => (format, ""),
                _ => (wanted, found),
            };
            let path = place.path();
            let message = format!("Invalid value: {found:?}: {path} in body must be of type {wanted}: {found:?}");
            self.causes.push(Cause::new(CauseKind::FieldValueTypeInvalid, named(path), message));
        }
    }

    fn rules(&mut self, rules: &Rules, schema: &Schema, value: &Value, old: Option<&Value>, place: &Place<'_>) {
        if !rules.values.is_empty() && !rules.values.iter().any(|allowed| same(allowed, value)) {
            self.not_listed(rules, value, place);
        }
        match value {
            Value::String(text) => self.string(rules, text, place),
            Value::Number(number) => self.number(rules, schema.kind, number, place),
            Value::Array(items) => self.array(rules, items, place),
            Value::Object(members) => self.object(rules, members.len() as u64, place),
            _ => {}
        }
        self.alternatives(rules, value, old, place);
    }

    fn not_listed(&mut self, rules: &Rules, value: &Value, place: &Place<'_>) {
        let listed: Vec<String> = rules.values.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
        let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
        self.causes.push(Cause::not_supported(named(place.path()), value, &listed));
    }

    fn string(&mut self, rules: &Rules, text: &str, place: &Place<'_>) {
        let length = || text.chars().count() as u64;
        if let Some(most) = rules.max_length.filter(|most| length() > *most) {
            self.causes.push(Cause::too_long(named(place.path()), usize::try_from(most).unwrap_or(usize::MAX)));
        } else if let Some(least) = rules.min_length.filter(|least| length() < *least) {
            self.fault(&text.into(), place, &format!("should be at least {least} chars long"));
        } else if let Some(pattern) = rules.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
            self.fault(&text.into(), place, &format!("should match '{}'", pattern.text));
        }
        if let Some(format) = rules.format.as_ref().filter(|format| !formats::matches(format, text)) {
            let path = place.path();
            let message = format!("Invalid value: {text:?}: {path} in body must be of type {format}: {text:?}");
            self.causes.push(Cause::new(CauseKind::FieldValueTypeInvalid, named(path), message));
        }
    }

    fn number(&mut self, rules: &Rules, kind: Option<Kind>, number: &serde_json::Number, place: &Place<'_>) {
        let value = Value::Number(number.clone());
        let Some(float) = number.as_f64() else { return };
        if kind == Some(Kind::Integer) && rules.format.as_deref() == Some("int32") && !is_int32(float) {
            let message = format!("Invalid value: \"\": Checked value must be of type integer with format int32 in {}", place.path());
            self.causes.push(Cause::new(CauseKind::FieldValueInvalid, NO_FIELD, message));
        }
        if let Some(Bound { limit, exclusive }) = rules.minimum.as_ref().filter(|b| float < b.limit || (b.exclusive && float == b.limit)) {
            let words = if *exclusive { "greater than" } else { "greater than or equal to" };
            self.fault(&value, place, &format!("should be {words} {limit}"));
        }
        if let Some(Bound { limit, exclusive }) = rules.maximum.as_ref().filter(|b| float > b.limit || (b.exclusive && float == b.limit)) {
            let words = if *exclusive { "less than" } else { "less than or equal to" };
            self.fault(&value, place, &format!("should be {words} {limit}"));
        }
        if let Some(factor) = rules.multiple_of.filter(|factor| *factor > 0.0 && (float / factor).fract() != 0.0) {
            self.fault(&value, place, &format!("should be a multiple of {factor}"));
        }
    }

    fn array(&mut self, rules: &Rules, items: &[Value], place: &Place<'_>) {
        let length = items.len() as u64;
        if let Some(least) = rules.min_items.filter(|least| length < *least) {
            self.fault(&length.into(), place, &format!("should have at least {least} items"));
        }
        self.too_many(rules.max_items, length, place);
        if rules.unique_items && (1..items.len()).any(|index| items[..index].contains(&items[index])) {
            self.fault(&"".into(), place, "shouldn't contain duplicates");
        }
    }

    fn object(&mut self, rules: &Rules, length: u64, place: &Place<'_>) {
        if let Some(least) = rules.min_properties.filter(|least| length < *least) {
            self.fault(&length.into(), place, &format!("should have at least {least} properties"));
        }
        self.too_many(rules.max_properties, length, place);
    }

    fn too_many(&mut self, most: Option<u64>, length: u64, place: &Place<'_>) {
        if let Some(most) = most.filter(|most| length > *most) {
            let items = if most == 1 { "item" } else { "items" };
            let message = format!("Too many: {length}: must have at most {most} {items}");
            self.causes.push(Cause::new(CauseKind::FieldValueTooMany, named(place.path()), message));
        }
    }

    fn alternatives(&mut self, rules: &Rules, value: &Value, old: Option<&Value>, place: &Place<'_>) {
        let attempt = |schema: &Schema| {
            let mut outcome = Outcome::default();
            outcome.node(schema, value, old, place);
            outcome
        };
        if !rules.any_of.is_empty() {
            let (valid, best) = attempts(rules.any_of.iter().map(attempt));
            if valid == 0 {
                self.alternative_fault(place, "must validate at least one schema (anyOf)");
                self.causes.extend(best);
            }
        }
        if !rules.one_of.is_empty() {
            let (valid, best) = attempts(rules.one_of.iter().map(attempt));
            if valid != 1 {
                let found = if valid == 0 { "Found none valid".to_owned() } else { format!("Found {valid} valid alternatives") };
                self.alternative_fault(place, &format!("must validate one and only one schema (oneOf). {found}"));
                self.causes.extend(best);
            }
        }
        let all: Vec<Outcome> = rules.all_of.iter().map(attempt).collect();
        let valid = all.iter().filter(|outcome| outcome.causes.is_empty()).count();
        if valid < all.len() {
            let none = if valid == 0 { ". None validated" } else { "" };
            self.causes.extend(all.into_iter().flat_map(|outcome| outcome.causes));
            self.alternative_fault(place, &format!("must validate all the schemas (allOf){none}"));
        }
        if rules.not.as_ref().is_some_and(|not| attempt(not).causes.is_empty()) {
            self.alternative_fault(place, "must not validate the schema (not)");
        }
    }

    fn alternative_fault(&mut self, place: &Place<'_>, words: &str) {
        let message = format!("Invalid value: \"\": {:?} {words}", place.path());
        self.causes.push(Cause::new(CauseKind::FieldValueInvalid, NO_FIELD, message));
    }

    fn fault(&mut self, value: &Value, place: &Place<'_>, words: &str) {
        let path = place.path();
        let detail = format!("{path} in body {words}");
        self.causes.push(Cause::invalid(named(path), value, &detail));
    }
}

fn is_int32(float: f64) -> bool {
    (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&float) && float.fract() == 0.0
}

/// How many alternatives hold, and the faults of the best one when none does.
fn attempts(outcomes: impl Iterator<Item = Outcome>) -> (usize, Vec<Cause>) {
    let mut valid = 0;
    let mut best: Option<Outcome> = None;
    for outcome in outcomes {
        if outcome.causes.is_empty() {
            valid += 1;
            best = None;
        } else if valid == 0 && best.as_ref().is_none_or(|best| outcome.checks > best.checks) {
            best = Some(outcome);
        }
    }
    (valid, best.map(|outcome| outcome.causes).unwrap_or_default())
}

fn named(path: String) -> String {
    if path.is_empty() { NO_FIELD.to_owned() } else { path }
}

/// Numbers are equal by value: `1` and `1.0` are one enumeration value.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// The old element with the same keys. Elements of other lists have no identity, so they count as new.
fn matching<'a>(schema: &Schema, item: &Value, old: &'a Value) -> Option<&'a Value> {
    if schema.list_map_keys.is_empty() {
        return None;
    }
    old.as_array()?.iter().find(|before| schema.list_map_keys.iter().all(|key| before.get(key.as_ref()) == item.get(key.as_ref())))
}
