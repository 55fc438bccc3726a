//! From values to sets of fields: which fields an object mentions, and which differ between two objects.
//!
//! Fields that nobody may own (`apiVersion`, `kind` and the server's metadata) are left out from the start.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::set::{self, FieldSet};
use crate::schema::kinds::{ListKind, MapKind, TypeRef};
use crate::schema::presence::{self, there};

/// Where in an object a map stands: the outermost levels have fields that are never owned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Root,
    Metadata,
    Inner,
}

impl Level {
    pub fn skips(self, field: &str) -> bool {
        match self {
            Self::Root => matches!(field, "apiVersion" | "kind"),
            Self::Metadata => matches!(
                field,
                "name" | "namespace" | "creationTimestamp" | "selfLink" | "uid" | "clusterName" | "generation" | "managedFields" | "resourceVersion"
            ),
            Self::Inner => false,
        }
    }
    pub fn below(self, field: &str) -> Self {
        if self == Self::Root && field == "metadata" { Self::Metadata } else { Self::Inner }
    }
}

/// How a value is walked under its type.
pub enum Shape<'v, 't> {
    /// Owned as a whole.
    Leaf,
    Map(&'v Map<String, Value>),
    /// Elements with their keys. Elements that have no key are not tracked.
    List(&'v [Value], Keys<'t>),
}

/// What tells the elements of a list apart.
#[derive(Clone, Copy)]
pub struct Keys<'t> {
    list: TypeRef<'t>,
}

#[derive(Default)]
pub struct Delta {
    pub removed: FieldSet,
    pub modified: FieldSet,
    pub added: FieldSet,
}

/// The fields that an applied configuration mentions.
pub fn mentioned(value: &Value, schema: TypeRef<'_>) -> FieldSet {
    mentioned_below(value, schema, Level::Root).0
}

/// What comes to be with a new object: every field and every parent but those that an empty object has already.
pub fn everything(value: &Value, schema: TypeRef<'_>) -> FieldSet {
    let Delta { mut modified, added, .. } = compare(&Value::Object(Map::new()), value, schema);
    set::union(&mut modified, added);
    modified
}

pub fn compare(old: &Value, new: &Value, schema: TypeRef<'_>) -> Delta {
    let mut delta = Delta::default();
    compare_nodes(old, new, schema, Level::Root, &mut delta);
    delta
}

pub fn shape<'v, 't>(value: &'v Value, schema: TypeRef<'t>) -> Shape<'v, 't> {
    match value {
        Value::Object(fields) if (schema.is_unknown() || schema.is_object()) && schema.map_kind() == MapKind::Granular => Shape::Map(fields),
        Value::Array(items) if schema.is_list() && *schema.list_kind() != ListKind::Atomic => Shape::List(items, Keys { list: schema }),
        _ => Shape::Leaf,
    }
}

pub fn child_type<'t>(schema: TypeRef<'t>, field: &str) -> TypeRef<'t> {
    schema.child(field).unwrap_or_else(TypeRef::unknown)
}

/// A field of a struct, not an entry of a map.
pub fn is_named_field(schema: TypeRef<'_>, field: &str) -> bool {
    schema.is_object() && schema.field(field).is_some()
}

impl<'t> Keys<'t> {
    pub fn item_type(self) -> TypeRef<'t> {
        self.list.items().unwrap_or_else(TypeRef::unknown)
    }
    /// The step that names an element; `Err` tells why there is none.
    pub fn of(self, item: &Value) -> Result<String, String> {
        match self.list.list_kind() {
            ListKind::Map { keys } => self.by_fields(item, keys),
            _ => match item {
                Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
                Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
                Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
                scalar => Ok(format!("v:{scalar}")),
            },
        }
    }
    fn by_fields(self, item: &Value, names: &[Box<str>]) -> Result<String, String> {
        let fields = match item {
            Value::Object(fields) => fields,
            Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
            _ => return Err("associative list with keys may not have non-map elements".to_owned()),
        };
        let item_type = self.item_type();
        let mut found: Vec<(&str, &Value)> = Vec::with_capacity(names.len());
        for name in names {
            if let Some(value) = fields.get(name.as_ref()).or_else(|| item_type.field(name)?.default_value()) {
                found.push((name, value));
            }
        }
        if found.is_empty() {
            let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
            let names = names.join(" ");
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{names}] (and doesn't have default values for any key fields)"
            ));
        }
        found.sort_unstable_by_key(|(name, _)| *name);
        let mut step = String::from("k:{");
        for (index, (name, value)) in found.into_iter().enumerate() {
            if index > 0 {
                step.push(',');
            }
            push_quoted(&mut step, name);
            step.push(':');
            match value {
                Value::String(text) => push_quoted(&mut step, text),
                other => step.push_str(&other.to_string()),
            }
        }
        step.push('}');
        Ok(step)
    }
}

/// As JSON. Nearly all keys are plain words, which need no writer.
fn push_quoted(out: &mut String, text: &str) {
    if text.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        return out.push_str(&Value::from(text).to_string());
    }
    out.push('"');
    out.push_str(text);
    out.push('"');
}

/// The set below a node, and whether the node itself is a leaf that belongs to it.
fn mentioned_below(value: &Value, schema: TypeRef<'_>, level: Level) -> (FieldSet, bool) {
    let mut found = FieldSet::new();
    match shape(value, schema) {
        // A null where a granular container belongs mentions nothing but the field itself, which the parent adds.
        Shape::Leaf => return (found, true),
        Shape::Map(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| !level.skips(name)) {
                let inner = level.below(name);
                let (below, leaf) = mentioned_below(value, child_type(schema, name), inner);
                let empty = value.as_object().is_some_and(Map::is_empty);
                let member = leaf || empty || !is_named_field(schema, name);
                set::insert(&mut found, set::field_key(name), below, member && inner != Level::Metadata);
            }
        }
        Shape::List(items, keys) => {
            for (key, items) in keyed(items, keys) {
                let below = if let [item] = items[..] { mentioned_below(item, keys.item_type(), Level::Inner).0 } else { FieldSet::new() };
                set::insert(&mut found, key, below, true);
            }
        }
    }
    (found, false)
}

fn everything_below(value: &Value, schema: TypeRef<'_>, level: Level) -> FieldSet {
    let mut found = FieldSet::new();
    match shape(value, schema) {
        Shape::Leaf => {}
        Shape::Map(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| !level.skips(name)) {
                let (child, inner) = (child_type(schema, name), level.below(name));
                let Some(value) = there(Some(value), child) else { continue };
                set::insert(&mut found, set::field_key(name), everything_below(value, child, inner), inner != Level::Metadata);
            }
            for (name, child) in presence::unwritten(fields, schema) {
                let zero = presence::zero(child);
                set::insert(&mut found, set::field_key(name), everything_below(zero, child, Level::Inner), true);
            }
        }
        Shape::List(items, keys) => {
            for (key, items) in keyed(items, keys) {
                let below = if let [item] = items[..] { everything_below(item, keys.item_type(), Level::Inner) } else { FieldSet::new() };
                set::insert(&mut found, key, below, true);
            }
        }
    }
    found
}

/// Fills the sets below a node; true when the node itself was modified.
fn compare_nodes(old: &Value, new: &Value, schema: TypeRef<'_>, level: Level, delta: &mut Delta) -> bool {
    match (shape(old, schema), shape(new, schema)) {
        (Shape::Map(old), Shape::Map(new)) => {
            compare_maps(old, new, schema, level, delta);
            false
        }
        (Shape::List(old, keys), Shape::List(new, _)) => {
            if old != new {
                compare_lists(old, new, keys, delta);
            }
            false
        }
        (Shape::Leaf, Shape::Leaf) => !same_scalar(old, new),
        // Null and empty are told apart as scalars are.
        _ if presence::is_bare(old) && presence::is_bare(new) => old != new,
        // A container that was, or becomes, null or of another type.
        _ => {
            delta.removed = everything_below(old, schema, level);
            delta.added = everything_below(new, schema, level);
            !(old.is_null() || new.is_null())
        }
    }
}

fn compare_maps(old: &Map<String, Value>, new: &Map<String, Value>, schema: TypeRef<'_>, level: Level, delta: &mut Delta) {
    let mut compare = |name: &str, old: Option<&Value>, new: Option<&Value>| {
        let (child, inner) = (child_type(schema, name), level.below(name));
        let member = inner != Level::Metadata;
        match (there(old, child), there(new, child)) {
            (Some(old), Some(new)) => delta.nest(|| set::field_key(name), |below| compare_nodes(old, new, child, inner, below)),
            (None, Some(new)) => set::insert(&mut delta.added, set::field_key(name), everything_below(new, child, inner), member),
            (Some(old), None) => set::insert(&mut delta.removed, set::field_key(name), everything_below(old, child, inner), member),
            (None, None) => {}
        }
    };
    for (name, new) in new.iter().filter(|(name, _)| !level.skips(name)) {
        compare(name, old.get(name), Some(new));
    }
    for (name, old) in old.iter().filter(|(name, _)| !level.skips(name) && !new.contains_key(*name)) {
        compare(name, Some(old), None);
    }
}

fn compare_lists(old: &[Value], new: &[Value], keys: Keys<'_>, delta: &mut Delta) {
    let mut pairs: BTreeMap<String, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    for item in old {
        if let Ok(key) = keys.of(item) {
            pairs.entry(key).or_default().0.push(item);
        }
    }
    for item in new {
        if let Ok(key) = keys.of(item) {
            pairs.entry(key).or_default().1.push(item);
        }
    }
    let item_type = keys.item_type();
    let all = |item: &Value| everything_below(item, item_type, Level::Inner);
    for (key, (old, new)) in pairs {
        match (&old[..], &new[..]) {
            ([old], [new]) => delta.nest(|| key, |below| compare_nodes(old, new, item_type, Level::Inner, below)),
            ([], [new]) => set::insert(&mut delta.added, key, all(new), true),
            ([old], []) => set::insert(&mut delta.removed, key, all(old), true),
            // Duplicates have one owner together: the key, without what is below.
            ([], _) => set::insert(&mut delta.added, key, FieldSet::new(), true),
            (_, []) => set::insert(&mut delta.removed, key, FieldSet::new(), true),
            ([old], _) => {
                set::insert(&mut delta.removed, key.clone(), all(old), false);
                set::insert(&mut delta.added, key, FieldSet::new(), true);
            }
            (_, [new]) => {
                set::insert(&mut delta.removed, key.clone(), FieldSet::new(), true);
                set::insert(&mut delta.added, key, all(new), true);
            }
            _ if old != new => set::insert(&mut delta.modified, key, FieldSet::new(), true),
            _ => {}
        }
    }
}

impl Delta {
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }
    /// Runs a comparison one step down and hangs its outcome under the key, which is made only when something differs.
    fn nest(&mut self, key: impl FnOnce() -> String, compare: impl FnOnce(&mut Delta) -> bool) {
        let mut below = Delta::default();
        let modified = compare(&mut below);
        if !modified && below.is_empty() {
            return;
        }
        let key = key();
        if !below.removed.is_empty() {
            set::insert(&mut self.removed, key.clone(), below.removed, false);
        }
        if !below.added.is_empty() {
            set::insert(&mut self.added, key.clone(), below.added, false);
        }
        set::insert(&mut self.modified, key, below.modified, modified);
    }
}

fn keyed<'v>(items: &'v [Value], keys: Keys<'_>) -> BTreeMap<String, Vec<&'v Value>> {
    let mut found: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for item in items {
        if let Ok(key) = keys.of(item) {
            found.entry(key).or_default().push(item);
        }
    }
    found
}

/// `1` and `1.0` are the same number.
pub fn same_scalar(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Number(a), Value::Number(b)) => a == b || ((a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64()),
        _ => old == new,
    }
}
