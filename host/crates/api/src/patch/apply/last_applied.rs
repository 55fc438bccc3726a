//! The way from client-side apply to server-side apply: the annotation in which kubectl kept the last configuration.
//!
//! Only the manager `kubectl` is helped over: what the annotation says it applied, and what is still so, is its own.

use serde_json::Value;

use super::set::{self, FieldSet};
use super::walk;
use crate::object::ObjectExt;
use crate::schema::kinds::TypeRef;

pub const MANAGER: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Fields that the annotation claims and whose value nobody changed since.
pub fn claimed(live: &Value, api_version: &str, schema: TypeRef<'_>) -> Option<FieldSet> {
    let applied: Value = serde_json::from_str(live.annotation(ANNOTATION)?).ok()?;
    if applied.api_version() != api_version {
        return None;
    }
    let mut fields = walk::mentioned(&applied, schema);
    let delta = walk::compare(&applied, live, schema);
    for changed in [&delta.modified, &delta.added, &delta.removed] {
        set::subtract(&mut fields, changed);
    }
    Some(fields)
}

/// Keeps an existing annotation in step, for people who go back to client-side apply.
pub fn refresh(object: &mut Value, config: &Value) {
    if object.annotation(ANNOTATION).is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    config.remove_at(&["metadata", "annotations", ANNOTATION]);
    object.set_at(&["metadata", "annotations", ANNOTATION], Value::String(format!("{config}\n")));
}
