//! What a CustomResourceDefinition says, with its defaults filled in, and the status that it should have.

use pintle_api::metadata::seconds;
use pintle_api::object::ObjectExt;
use pintle_api::{Object, Scope};
use serde_json::{Value, json};

pub struct Definition {
    pub object: Object,
    pub group: String,
    pub plural: String,
    pub scope: Scope,
    /// Why its names cannot be served: reason and message.
    conflict: Option<(&'static str, String)>,
}

impl Definition {
    pub fn read(object: Object, conflict: Option<(&'static str, String)>) -> Self {
        Self {
            group: object.str_at(&["spec", "group"]).to_owned(),
            plural: object.str_at(&["spec", "names", "plural"]).to_owned(),
            scope: if object.str_at(&["spec", "scope"]) == "Cluster" { Scope::Cluster } else { Scope::Namespaced },
            conflict,
            object,
        }
    }
    pub fn is_served(&self) -> bool {
        self.conflict.is_none() && !self.group.is_empty() && !self.plural.is_empty()
    }
    pub fn kind(&self) -> &str {
        self.object.str_at(&["spec", "names", "kind"])
    }
    pub fn singular(&self) -> String {
        let own = self.object.str_at(&["spec", "names", "singular"]);
        if own.is_empty() { self.kind().to_lowercase() } else { own.to_owned() }
    }
    pub fn strings(&self, field: &str) -> Vec<String> {
        self.object.list_at(&["spec", "names", field]).iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    }
    pub fn versions(&self) -> &[Value] {
        self.object.list_at(&["spec", "versions"])
    }
    pub fn storage_version(&self) -> &str {
        self.versions().iter().find(|v| v.bool_at(&["storage"])).map_or("", |v| v.str_at(&["name"]))
    }

    /// The status as it should be; equal to the present one when nothing is to be done.
    pub fn status(&self) -> Value {
        let mut status = self.object.at(&["status"]).cloned().unwrap_or_else(|| json!({}));
        let mut names = self.object.at(&["spec", "names"]).cloned().unwrap_or_else(|| json!({}));
        names["singular"] = json!(self.singular());
        if names.str_at(&["listKind"]).is_empty() {
            names["listKind"] = json!(format!("{}List", self.kind()));
        }
        let mut stored: Vec<Value> = status.list_at(&["storedVersions"]).to_vec();
        if !stored.iter().any(|v| v == self.storage_version()) {
            stored.push(json!(self.storage_version()));
        }
        status.set_at(&["storedVersions"], Value::Array(stored));
        match &self.conflict {
            None => {
                status.set_at(&["acceptedNames"], names);
                self.set_condition(&mut status, "NamesAccepted", true, "NoConflicts", "no conflicts found");
                self.set_condition(&mut status, "Established", true, "InitialNamesAccepted", "the initial names have been accepted");
            }
            Some((reason, message)) => {
                if status.get("acceptedNames").is_none() {
                    status.set_at(&["acceptedNames"], json!({"kind": "", "plural": ""}));
                }
                self.set_condition(&mut status, "NamesAccepted", false, reason, message);
                self.set_condition(&mut status, "Established", false, "NotAccepted", "not all names are accepted");
            }
        }
        status
    }

    /// A condition that says the same already keeps its time.
    fn set_condition(&self, status: &mut Value, kind: &str, is_true: bool, reason: &str, message: &str) {
        let mut conditions = status.list_at(&["conditions"]).to_vec();
        let wanted = if is_true { "True" } else { "False" };
        let place = conditions.iter().position(|c| c["type"] == kind);
        if let Some(place) = place
            && conditions[place]["status"] == wanted
            && (kind == "Established" || conditions[place]["message"] == message)
        {
            return;
        }
        let new = condition(kind, is_true, reason, message, &seconds(jiff::Timestamp::now()));
        match place {
            Some(place) => conditions[place] = new,
            None => conditions.push(new),
        }
        status.set_at(&["conditions"], Value::Array(conditions));
    }
}

/// Whether an earlier definition of the group has one of the names.
pub fn conflict(object: &Object, earlier: &[Definition]) -> Option<(&'static str, String)> {
    let mine = Definition::read(object.clone(), None);
    let list_kind = |d: &Definition| {
        let own = d.object.str_at(&["spec", "names", "listKind"]);
        if own.is_empty() { format!("{}List", d.kind()) } else { own.to_owned() }
    };
    for other in earlier.iter().filter(|d| d.group == mine.group && d.is_served()) {
        let resources: Vec<String> = [vec![other.plural.clone(), other.singular()], other.strings("shortNames")].concat();
        let in_use = |name: &str| format!("{name:?} is already in use");
        if resources.contains(&mine.plural) {
            return Some(("PluralConflict", in_use(&mine.plural)));
        }
        if resources.contains(&mine.singular()) {
            return Some(("SingularConflict", in_use(&mine.singular())));
        }
        if let Some(short) = mine.strings("shortNames").iter().find(|s| resources.contains(s)) {
            return Some(("ShortNamesConflict", in_use(short)));
        }
        if [other.kind(), &list_kind(other)].contains(&mine.kind()) {
            return Some(("KindConflict", in_use(mine.kind())));
        }
        if [other.kind(), &list_kind(other)].contains(&list_kind(&mine).as_str()) {
            return Some(("ListKindConflict", in_use(&list_kind(&mine))));
        }
    }
    None
}

/// `{"type": ..., "status": ...}` as conditions are written.
fn condition(kind: &str, is_true: bool, reason: &str, message: &str, since: &str) -> Value {
    json!({"type": kind, "status": if is_true { "True" } else { "False" }, "reason": reason, "message": message, "lastTransitionTime": since})
}
