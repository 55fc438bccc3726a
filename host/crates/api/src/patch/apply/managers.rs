//! `metadata.managedFields`: who owns which fields, and the conflicts that follow from it.

use serde_json::{Map, Value, json};

use super::set::{self, FieldSet};
use crate::object::ObjectExt;
use crate::status::{Cause, CauseKind};
use crate::{Reason, Status};

/// Entries of updates that an object keeps; beyond it the oldest are put together.
pub const MAX_UPDATE_MANAGERS: usize = 10;
const MERGED_UPDATES: &str = "ancient-changes";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub id: ManagerId,
    /// Of the last write; for an applier not part of its identity.
    pub api_version: String,
    /// RFC 3339 in whole seconds and UTC, so that texts sort as times; empty when unknown.
    pub time: String,
    pub fields: FieldSet,
}

/// What makes two writes the same manager's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManagerId {
    pub manager: String,
    pub operation: Operation,
    /// Empty for appliers.
    pub api_version: String,
    pub subresource: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Managers {
    pub entries: Vec<Entry>,
}

/// A field that somebody else owns.
pub struct Conflict {
    pub owner: ManagerId,
    pub path: String,
}

impl ManagerId {
    pub fn new(manager: &str, operation: Operation, api_version: &str, subresource: &str) -> Self {
        Self {
            manager: if manager.is_empty() { "unknown" } else { manager }.to_owned(),
            operation,
            api_version: if operation == Operation::Update { api_version.to_owned() } else { String::new() },
            subresource: subresource.to_owned(),
        }
    }
    fn shown(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

impl Managers {
    /// `None` when the list is malformed: the caller then falls back to what was stored.
    pub fn decode(list: Value) -> Option<Self> {
        let Value::Array(list) = list else { return list.is_null().then(Self::default) };
        let mut managers = Self::default();
        for entry in list {
            let entry = Entry::decode(entry)?;
            match managers.get_mut(&entry.id) {
                Some(same) => *same = entry,
                None => managers.entries.push(entry),
            }
        }
        Some(managers)
    }

    /// The list in upstream's order: appliers first, then by time.
    pub fn encode(mut self) -> Option<Value> {
        if self.entries.is_empty() {
            return None;
        }
        fn order(entry: &Entry) -> impl Ord + '_ {
            (entry.id.operation, &entry.time, &entry.id.manager, &entry.api_version, &entry.id.subresource)
        }
        self.entries.sort_by(|a, b| order(a).cmp(&order(b)));
        Some(Value::Array(self.entries.into_iter().map(Entry::encode).collect()))
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
    pub fn get_mut(&mut self, id: &ManagerId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id == *id)
    }
    pub fn remove(&mut self, id: &ManagerId) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.id == *id)?;
        Some(self.entries.swap_remove(at))
    }
    pub fn drop_empty(&mut self) {
        self.entries.retain(|entry| !entry.fields.is_empty());
    }

    /// Puts the oldest updates of one API version together until few enough are left.
    pub fn cap_updates(&mut self) {
        let mut updates = self.entries.iter().filter(|entry| entry.id.operation == Operation::Update).count();
        if updates <= MAX_UPDATE_MANAGERS {
            return;
        }
        self.entries.sort_by(|a, b| (a.id.operation, &a.time, &a.id).cmp(&(b.id.operation, &b.time, &b.id)));
        let all = std::mem::take(&mut self.entries);
        let (oldest_first, mut rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|entry| entry.id.operation == Operation::Update);
        let mut merged: Vec<Entry> = Vec::new();
        for entry in oldest_first {
            let bucket = merged.iter_mut().find(|bucket| bucket.api_version == entry.api_version);
            match bucket.filter(|_| updates > MAX_UPDATE_MANAGERS) {
                Some(bucket) => {
                    bucket.id = ManagerId::new(MERGED_UPDATES, Operation::Update, &entry.api_version, "");
                    bucket.time = entry.time;
                    set::union(&mut bucket.fields, entry.fields);
                    updates -= 1;
                }
                None => merged.push(entry),
            }
        }
        rest.append(&mut merged);
        self.entries = rest;
    }
}

impl Entry {
    fn decode(entry: Value) -> Option<Self> {
        let Value::Object(mut entry) = entry else { return None };
        let mut text = |field: &str| match entry.remove(field) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let operation = match text("operation").as_str() {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        let (api_version, subresource, manager, time) = (text("apiVersion"), text("subresource"), text("manager"), text("time"));
        if api_version.is_empty() || text("fieldsType") != "FieldsV1" {
            return None;
        }
        let fields = match entry.remove("fieldsV1") {
            Some(Value::Object(fields)) if set::is_well_formed(&fields) => fields,
            None | Some(Value::Null) => FieldSet::new(),
            _ => return None,
        };
        let id = ManagerId {
            manager,
            operation,
            api_version: if operation == Operation::Update { api_version.clone() } else { String::new() },
            subresource,
        };
        Some(Self { id, api_version, time, fields })
    }

    fn encode(self) -> Value {
        let mut entry = Map::new();
        let mut put = |field: &str, text: String| {
            if !text.is_empty() {
                entry.insert(field.to_owned(), Value::String(text));
            }
        };
        put("manager", self.id.manager);
        put("operation", if self.id.operation == Operation::Apply { "Apply" } else { "Update" }.to_owned());
        put("apiVersion", self.api_version);
        put("time", self.time);
        put("fieldsType", "FieldsV1".to_owned());
        put("subresource", self.id.subresource);
        entry.insert("fieldsV1".to_owned(), Value::Object(self.fields));
        Value::Object(entry)
    }
}

/// Whether a client asks to forget all owners: an empty list, or one empty entry.
pub fn asks_to_forget(object: &Value) -> bool {
    match object.at(&["metadata", "managedFields"]) {
        Some(Value::Array(list)) => list.is_empty() || (list.len() == 1 && list[0] == json!({})),
        _ => false,
    }
}

/// The answer to an apply that would take fields from others.
pub fn conflict_status(mut conflicts: Vec<Conflict>) -> Status {
    conflicts.sort_by(|a, b| a.owner.cmp(&b.owner));
    let message = match &conflicts[..] {
        [one] => format!("Apply failed with 1 conflict: conflict with {}: {}", one.owner.shown(), one.path),
        many => {
            let mut lines = Vec::new();
            let mut last = None;
            for conflict in many {
                if last != Some(&conflict.owner) {
                    lines.push(format!("conflicts with {}:", conflict.owner.shown()));
                    last = Some(&conflict.owner);
                }
                lines.push(format!("- {}", conflict.path));
            }
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    let cause = |conflict: &Conflict| {
        Cause::new(CauseKind::FieldManagerConflict, conflict.path.as_str(), format!("conflict with {}", conflict.owner.shown()))
    };
    let mut status = Status::new(409, Reason::Conflict, message);
    status.details_mut().causes = conflicts.iter().map(cause).collect();
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, time: &str, field: &str) -> Value {
        json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "time": time, "fieldsType": "FieldsV1", "fieldsV1": {field: {}}})
    }

    #[test]
    fn the_oldest_updates_are_put_together() {
        let list: Vec<Value> = (0..12).map(|n| entry(&format!("m{n:02}"), &format!("2026-01-01T00:00:{n:02}Z"), &format!("f:a{n}"))).collect();
        let mut managers = Managers::decode(Value::Array(list)).unwrap();
        managers.cap_updates();
        let encoded = managers.encode().unwrap();
        assert_eq!(encoded.as_array().unwrap().len(), MAX_UPDATE_MANAGERS);
        assert_eq!(encoded[0]["manager"], "ancient-changes");
        assert_eq!(encoded[0]["time"], "2026-01-01T00:00:02Z");
        assert_eq!(encoded[0]["fieldsV1"], json!({"f:a0": {}, "f:a1": {}, "f:a2": {}}));
        assert_eq!(encoded[1]["manager"], "m03");
    }

    #[test]
    fn malformed_lists_are_refused() {
        assert!(Managers::decode(json!([{"operation": "Guess"}])).is_none());
        assert!(Managers::decode(json!([{"operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV2"}])).is_none());
        assert!(Managers::decode(json!([{"operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"x": 1}}])).is_none());
        assert!(asks_to_forget(&json!({"metadata": {"managedFields": [{}]}})));
    }
}
