//! An object as it travels: a JSON value with `apiVersion`, `kind` and `metadata`.
//!
//! Built-in and custom objects are handled alike, so these helpers read and write fields by path and never
//! parse the whole. Code that needs many fields of one kind parses that part into a struct of its own.

use serde_json::{Map, Value};

/// Levels of lists and maps in an object that is stored. Readers in Rust go down 128 levels, and an object also stands inside events, lists and reviews.
pub const MAX_DEPTH: usize = 120;

/// Any API object. Field access goes through [`ObjectExt`].
pub type Object = Value;

/// Reads and writes the metadata that all objects share. A missing field reads as empty.
pub trait ObjectExt {
    fn at(&self, path: &[&str]) -> Option<&Value>;
    fn str_at(&self, path: &[&str]) -> &str;
    fn i64_at(&self, path: &[&str]) -> Option<i64>;
    fn bool_at(&self, path: &[&str]) -> bool;
    fn list_at(&self, path: &[&str]) -> &[Value];
    fn map_at(&self, path: &[&str]) -> Option<&Map<String, Value>>;
    /// Sets a field, making the objects on the way. A non-object on the way is replaced.
    fn set_at(&mut self, path: &[&str], value: Value);
    fn remove_at(&mut self, path: &[&str]) -> Option<Value>;

    fn api_version(&self) -> &str {
        self.str_at(&["apiVersion"])
    }
    fn kind(&self) -> &str {
        self.str_at(&["kind"])
    }
    fn name(&self) -> &str {
        self.str_at(&["metadata", "name"])
    }
    fn namespace(&self) -> &str {
        self.str_at(&["metadata", "namespace"])
    }
    fn uid(&self) -> &str {
        self.str_at(&["metadata", "uid"])
    }
    fn resource_version(&self) -> &str {
        self.str_at(&["metadata", "resourceVersion"])
    }
    fn label(&self, key: &str) -> Option<&str> {
        self.map_at(&["metadata", "labels"])?.get(key)?.as_str()
    }
    fn annotation(&self, key: &str) -> Option<&str> {
        self.map_at(&["metadata", "annotations"])?.get(key)?.as_str()
    }
    fn is_being_deleted(&self) -> bool {
        self.at(&["metadata", "deletionTimestamp"]).is_some_and(|v| !v.is_null())
    }
    /// The owner reference with `controller: true`.
    fn controller_ref(&self) -> Option<&Value> {
        self.list_at(&["metadata", "ownerReferences"]).iter().find(|r| r.bool_at(&["controller"]))
    }
}

impl ObjectExt for Value {
    fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(self, |v, key| v.as_object()?.get(*key))
    }
    fn str_at(&self, path: &[&str]) -> &str {
        self.at(path).and_then(Value::as_str).unwrap_or("")
    }
    fn i64_at(&self, path: &[&str]) -> Option<i64> {
        self.at(path).and_then(Value::as_i64)
    }
    fn bool_at(&self, path: &[&str]) -> bool {
        self.at(path).and_then(Value::as_bool).unwrap_or(false)
    }
    fn list_at(&self, path: &[&str]) -> &[Value] {
        self.at(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
    fn map_at(&self, path: &[&str]) -> Option<&Map<String, Value>> {
        self.at(path).and_then(Value::as_object)
    }
    fn set_at(&mut self, path: &[&str], value: Value) {
        let Some((last, way)) = path.split_last() else { return };
        let mut here = self;
        for key in way {
            here = as_map(here).entry(*key).or_insert_with(|| Value::Object(Map::new()));
        }
        as_map(here).insert((*last).to_owned(), value);
    }
    fn remove_at(&mut self, path: &[&str]) -> Option<Value> {
        let (last, way) = path.split_last()?;
        let mut here = self;
        for key in way {
            here = here.as_object_mut()?.get_mut(*key)?;
        }
        here.as_object_mut()?.remove(*last)
    }
}

/// Whether lists and maps are nested in more levels.
pub fn is_deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| is_deeper_than(item, levels - 1)),
        Value::Object(fields) => levels == 0 || fields.values().any(|field| is_deeper_than(field, levels - 1)),
        _ => false,
    }
}

fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("made an object above")
}
