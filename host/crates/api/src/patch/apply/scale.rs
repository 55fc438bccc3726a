//! Server-side apply to the `scale` subresource: one number, whose owners are those of the number in the parent.
//!
//! What is applied is an `autoscaling/v1 Scale`; what is owned afterwards is the replicas' path of the parent, at the parent's version.

use serde_json::{Map, Value, json};

use super::managers::{Conflict, Entry, ManagerId, Managers, Operation, conflict_status};
use super::set::{self, FieldSet};
use super::{MANAGED_FIELDS, Write, check_config, failed, store};
use crate::object::ObjectExt;
use crate::{GroupVersionKind, Status};

/// As conflicts name it.
const PATH_IN_SCALE: &str = ".spec.replicas";

/// The parent with the number that `config` asks for. `write` is about the parent, `path` leads to the number in it.
pub fn apply_scale(parent: &Value, config: &Value, force: bool, write: &Write<'_>, path: &[&str]) -> Result<Value, Status> {
    let scale = GroupVersionKind::new("autoscaling", "v1", "Scale");
    let schema = crate::schema::builtin().for_kind(&scale).unwrap_or(write.schema);
    check_config(config, &Write { kind: &scale, schema, ..*write })?;
    let list = parent.at(MANAGED_FIELDS).cloned().unwrap_or(Value::Null);
    let mut managers = Managers::decode(list).ok_or_else(|| failed("failed to decode managed fields".to_owned()))?;
    let number = set_of(path);
    let id = ManagerId::new(write.manager, Operation::Apply, "", write.subresource);
    let before = managers.remove(&id);
    let mut object = parent.clone();
    let asked = config.i64_at(&["spec", "replicas"]);
    if let Some(asked) = asked.filter(|asked| parent.i64_at(path).unwrap_or(0) != *asked) {
        let owns = |entry: &&Entry| !set::intersection(&entry.fields, &number).is_empty();
        let conflict = |entry: &Entry| Conflict { owner: entry.id.clone(), path: PATH_IN_SCALE.to_owned() };
        let conflicts: Vec<Conflict> = managers.entries.iter().filter(owns).map(conflict).collect();
        if !force && !conflicts.is_empty() {
            return Err(conflict_status(conflicts));
        }
        for entry in &mut managers.entries {
            set::subtract(&mut entry.fields, &number);
        }
        object.set_at(path, json!(asked));
    }
    if asked.is_some() {
        let unchanged = before.filter(|_| object == *parent).map(|before| before.time);
        let time = unchanged.unwrap_or_else(|| write.now.to_owned());
        managers.entries.push(Entry { id, api_version: write.kind.api_version(), time, fields: number });
    }
    store(&mut object, managers);
    Ok(object)
}

fn set_of(path: &[&str]) -> FieldSet {
    let mut found = FieldSet::new();
    if let Some((first, rest)) = path.split_first() {
        found.insert(set::field_key(first), if rest.is_empty() { Value::Object(Map::new()) } else { Value::Object(set_of(rest)) });
    }
    found
}
