//! Server-side apply: who owns which field, and what follows when somebody applies a configuration.
//!
//! [`apply`] merges a configuration into the stored object, refuses to take fields from other owners unless forced, and
//! removes what the applier owned and no longer mentions. [`track_update`] does the bookkeeping of every other write.
//! Both work on versioned JSON; entries of managers at another version of the kind are kept and compared by path.
//! The caller fills in defaults and validates afterwards, and does not write when the outcome equals the stored object.

mod check;
mod created;
mod last_applied;
mod managers;
mod merge;
mod scale;
mod set;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashSet;

use serde_json::{Value, json};

pub use self::created::track_create;
use self::managers::{Conflict, Entry, ManagerId, Managers, Operation, asks_to_forget, conflict_status};
pub use self::scale::apply_scale;
use self::set::FieldSet;
use self::walk::Delta;
use crate::object::ObjectExt;
use crate::schema::kinds::TypeRef;
use crate::{GroupVersionKind, Reason, Status};

const MANAGED_FIELDS: &[&str] = &["metadata", "managedFields"];
/// Stands for all writes before the first one that was tracked.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// One write: by whom, to what, when.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    pub kind: &'a GroupVersionKind,
    pub schema: TypeRef<'a>,
    /// The request's `fieldManager`, or what its user agent gives.
    pub manager: &'a str,
    /// Empty for the main resource.
    pub subresource: &'a str,
    /// RFC 3339, UTC, whole seconds.
    pub now: &'a str,
    /// Paths that this endpoint resets (`status` on the main resource): a write there gives no ownership.
    pub reset_fields: &'a [&'a [&'a str]],
}

/// The object to store after an apply. `live` is `None` when it is created by this.
pub fn apply(live: Option<&Value>, config: Value, force: bool, write: &Write<'_>) -> Result<Value, Status> {
    check_config(&config, write)?;
    let nothing = json!({"apiVersion": write.kind.api_version(), "kind": write.kind.kind, "metadata": {}});
    let mut managers = stored_managers(live, write)?;
    let live = live.unwrap_or(&nothing);
    let id = ManagerId::new(write.manager, Operation::Apply, "", write.subresource);
    let before = managers.remove(&id);
    let fields = write.counted(walk::mentioned(&config, write.schema));

    let kept_config = (write.manager == last_applied::MANAGER).then(|| config.clone());
    let merged = merge::merge(live, config, write.schema);
    let mut object = match &before {
        Some(before) if !set::contains(&fields, &before.fields) => prune(merged, &before.fields, &fields, &managers, write),
        _ => merged,
    };

    let delta = write.counted_delta(walk::compare(live, &object, write.schema));
    let unchanged = delta.is_empty();
    let touched = Touched::from(delta);
    if !force {
        let conflicts = unclaimed(managers.conflicts(&touched.changed), live, write);
        if !conflicts.is_empty() {
            return Err(conflict_status(conflicts));
        }
    }
    managers.give_up(&touched);
    let time = match before {
        Some(before) if unchanged => before.time,
        _ => write.now.to_owned(),
    };
    managers.entries.push(Entry { id, api_version: write.kind.api_version(), time, fields });
    if let Some(config) = kept_config {
        last_applied::refresh(&mut object, &config);
    }
    store(&mut object, managers);
    Ok(object)
}

/// Notes in `new` which fields this write changed. `old` is `None`, or has no uid, for a creation.
///
/// A write that changes no field leaves the list as it is. An object that was not tracked so far stays untracked: its
/// first apply begins with what is there.
pub fn track_update(old: Option<&Value>, new: &mut Value, write: &Write<'_>) {
    if !new.get("metadata").is_some_and(Value::is_object) {
        return;
    }
    let delta = match old {
        Some(old) => walk::compare(old, new, write.schema),
        None => walk::compare(&Value::Object(serde_json::Map::new()), new, write.schema),
    };
    let delta = write.counted_delta(delta);
    if delta.is_empty() && old.is_some_and(|old| old.at(MANAGED_FIELDS) == new.at(MANAGED_FIELDS)) {
        return;
    }
    let mut managers = managers_for_update(old, new, write);
    let exists = old.is_some_and(|old| !old.uid().is_empty());
    let untracked = exists && managers.is_empty();
    if !delta.is_empty() && !untracked {
        reconcile(&mut managers, write);
        let touched = Touched::from(delta);
        managers.give_up(&touched);
        managers.take(ManagerId::new(write.manager, Operation::Update, &write.kind.api_version(), write.subresource), touched.changed, write);
        managers.cap_updates();
    }
    store(new, managers);
}

/// What one write does to the owners.
struct Touched {
    /// Added or modified: the writer's now.
    changed: FieldSet,
    removed: FieldSet,
}

impl From<Delta> for Touched {
    fn from(delta: Delta) -> Self {
        let mut changed = delta.modified;
        set::union(&mut changed, delta.added);
        Self { changed, removed: delta.removed }
    }
}

impl Write<'_> {
    fn counted(&self, mut fields: FieldSet) -> FieldSet {
        for path in self.reset_fields {
            set::remove_below(&mut fields, path);
        }
        fields
    }
    fn counted_delta(&self, delta: Delta) -> Delta {
        Delta { removed: self.counted(delta.removed), modified: self.counted(delta.modified), added: self.counted(delta.added) }
    }
}

impl Managers {
    /// Fields of others among the changed ones.
    fn conflicts(&self, changed: &FieldSet) -> Vec<Conflict> {
        let theirs = |entry: &Entry| set::paths(&set::intersection(&entry.fields, changed));
        let conflict = |entry: &Entry, path| Conflict { owner: entry.id.clone(), path };
        self.entries.iter().flat_map(|entry| theirs(entry).into_iter().map(|path| conflict(entry, path))).collect()
    }
    fn give_up(&mut self, touched: &Touched) {
        for entry in &mut self.entries {
            set::subtract(&mut entry.fields, &touched.changed);
            set::subtract(&mut entry.fields, &touched.removed);
        }
    }
    fn take(&mut self, id: ManagerId, fields: FieldSet, write: &Write<'_>) {
        if fields.is_empty() {
            return;
        }
        match self.get_mut(&id) {
            Some(entry) => {
                set::union(&mut entry.fields, fields);
                entry.time = write.now.to_owned();
            }
            None => self.entries.push(Entry { id, api_version: write.kind.api_version(), time: write.now.to_owned(), fields }),
        }
    }
}

fn check_config(config: &Value, write: &Write<'_>) -> Result<(), Status> {
    if !config.is_object() {
        return Err(Status::bad_request("error decoding YAML: the configuration is not an object"));
    }
    let (asked, expected) = (config.api_version(), write.kind.api_version());
    let shown = || {
        let (group, version) = asked.split_once('/').unwrap_or(("", asked));
        format!("{group}/{version}, Kind={}", config.kind())
    };
    if asked != expected || config.kind() != write.kind.kind {
        return Err(Status::bad_request(format!("invalid object type: {}", shown())));
    }
    if config.at(MANAGED_FIELDS).is_some_and(|list| !list.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    check::check(config, write.schema)
        .map_err(|why| failed(format!("failed to create typed patch object ({}/{}; {}): {why}", config.namespace(), config.name(), shown())))
}

/// The owners of the stored object. One that was never tracked belongs to a manager that stands for its past.
fn stored_managers(live: Option<&Value>, write: &Write<'_>) -> Result<Managers, Status> {
    let Some(live) = live else { return Ok(Managers::default()) };
    let list = live.at(MANAGED_FIELDS).cloned().unwrap_or(Value::Null);
    let mut managers = Managers::decode(list).ok_or_else(|| failed("failed to decode managed fields".to_owned()))?;
    if managers.is_empty() {
        let id = ManagerId::new(BEFORE_FIRST_APPLY, Operation::Update, &write.kind.api_version(), write.subresource);
        managers.take(id, write.counted(walk::everything(live, write.schema)), write);
    }
    reconcile(&mut managers, write);
    Ok(managers)
}

/// The owners before an update: those in the request, unless it is silent, malformed or to a subresource.
fn managers_for_update(old: Option<&Value>, new: &mut Value, write: &Write<'_>) -> Managers {
    let stored = old.and_then(|old| old.at(MANAGED_FIELDS));
    let from_stored = || stored.cloned().and_then(Managers::decode).unwrap_or_default();
    let forget = asks_to_forget(new);
    let sent = new.remove_at(MANAGED_FIELDS);
    // Most requests send back what they read: then the parsed list need not be copied.
    if !write.subresource.is_empty() && sent.as_ref() != stored {
        return from_stored();
    }
    if forget {
        return Managers::default();
    }
    match sent.and_then(Managers::decode) {
        Some(managers) if !managers.is_empty() => managers,
        _ => from_stored(),
    }
}

fn reconcile(managers: &mut Managers, write: &Write<'_>) {
    for entry in &mut managers.entries {
        merge::reconcile(&mut entry.fields, write.schema);
    }
}

/// Removes what the applier owned, no longer mentions and nobody else owns.
fn prune(merged: Value, last: &FieldSet, now: &FieldSet, others: &Managers, write: &Write<'_>) -> Value {
    let schema = write.schema;
    let named = |set: &FieldSet| merge::with_named_fields(set, schema);
    let fields_of = |value: &Value| named(&walk::mentioned(value, schema));
    let without = |gone: &FieldSet| merge::remove(merged.clone(), gone, schema).unwrap_or_else(|| json!({}));
    let last = named(last);
    let present = fields_of(&merged);

    // First without all that was applied last, then with what somebody owns put back.
    let mut owned = fields_of(&without(&last));
    let mut managed = now.clone();
    for entry in &others.entries {
        set::union(&mut managed, entry.fields.clone());
    }
    set::union(&mut owned, named(&managed));
    let mut unowned = present.clone();
    set::subtract(&mut unowned, &owned);

    // Of what nobody owns, only that goes which this applier had brought.
    let mut gone = present;
    set::subtract(&mut gone, &fields_of(&without(&unowned)));
    let gone = set::intersection(&gone, &last);
    merge::remove(merged, &gone, schema).unwrap_or_else(|| json!({}))
}

/// The conflicts without those that kubectl caused itself by client-side apply.
fn unclaimed(mut conflicts: Vec<Conflict>, live: &Value, write: &Write<'_>) -> Vec<Conflict> {
    if conflicts.is_empty() || write.manager != last_applied::MANAGER {
        return conflicts;
    }
    if let Some(claimed) = last_applied::claimed(live, &write.kind.api_version(), write.schema) {
        let claimed: HashSet<String> = set::paths(&claimed).into_iter().collect();
        conflicts.retain(|conflict| !claimed.contains(&conflict.path));
    }
    conflicts
}

fn store(object: &mut Value, mut managers: Managers) {
    managers.drop_empty();
    match managers.encode() {
        Some(list) => object.set_at(MANAGED_FIELDS, list),
        None => {
            object.remove_at(MANAGED_FIELDS);
        }
    }
}

/// A fault that upstream does not class: it answers 500 without a reason.
fn failed(message: String) -> Status {
    Status::new(500, Reason::Unknown, message)
}
