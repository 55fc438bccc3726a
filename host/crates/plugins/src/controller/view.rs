//! The cluster as a candidate in the shadow sees it during one reconciliation: what the live revision saw, before it wrote, and on top of
//! that what the candidate would have written.
//!
//! A write that the live revision made as well gets the answer that it got, refusals included. Any other is answered as if it had
//! happened ([`super::emulate`]), without the server's defaults and admission. What the live revision did not read is read from the
//! present state, with the live revision's own writes taken back: other writers' changes in between show.

use std::collections::HashMap;
use std::sync::Arc;

use pintle_api::client::{Served, Target};
use pintle_plugin_bindings::controller::pintle::controller::objects::Object;
use serde_json::Value;

use super::compare::is_same_write;
use super::emulate;
use super::record::{Asked, Id, Record, Verb, Write};
use super::world::Answer;
use crate::index::Entry;

pub struct View {
    record: Record,
    /// Which of the record's writes the candidate made, too.
    matched: Vec<bool>,
    own: HashMap<Id, Option<Arc<Entry>>>,
    writes: Vec<Write>,
    made: u64,
}

impl View {
    pub fn new(record: Record) -> Self {
        let matched = vec![false; record.writes.len()];
        Self { record, matched, own: HashMap::new(), writes: Vec::new(), made: 0 }
    }

    /// What both wrote: the live revision first.
    pub fn into_writes(self) -> (Vec<Write>, Vec<Write>) {
        (self.record.writes, self.writes)
    }

    /// `None`: the view says nothing of it.
    pub fn get(&self, id: &Id) -> Option<Option<Arc<Entry>>> {
        self.own.get(id).or_else(|| self.record.seen.get(id)).cloned()
    }

    pub fn get_live(&self, id: &Id) -> Option<Answer<Object>> {
        if let Some(own) = self.own.get(id) {
            return Some(own.as_ref().map(|e| object(e)).ok_or_else(|| id.not_found()));
        }
        if let Some(answer) = self.record.live.get(id) {
            return Some(answer.clone());
        }
        let seen = self.record.seen.get(id)?;
        Some(seen.as_ref().map(|e| object(e)).ok_or_else(|| id.not_found()))
    }

    /// A list that the live revision asked for, too.
    pub fn listed(&self, asked: &Asked) -> Option<Vec<Arc<Entry>>> {
        let (_, ids) = self.record.lists.iter().find(|(known, _)| known.is_same(asked))?;
        let found = ids.iter().filter(|id| !self.own.contains_key(id)).filter_map(|id| self.record.seen.get(id).cloned().flatten()).collect();
        Some(self.with_own(asked, found))
    }

    /// A list of the present state, turned back.
    pub fn as_it_was(&self, asked: &Asked, present: Vec<Arc<Entry>>) -> Vec<Arc<Entry>> {
        let mut found: Vec<Arc<Entry>> = Vec::with_capacity(present.len());
        for entry in present {
            let id = Id::of(&asked.resource, &entry);
            match (self.own.contains_key(&id), self.record.seen.get(&id)) {
                (true, _) => {}
                (false, None) => found.push(entry),
                (false, Some(before)) => found.extend(before.iter().filter(|e| asked.filter.passes(&e.meta)).cloned()),
            }
        }
        // Those that the live revision deleted or changed so that the filter no longer lets them pass.
        let listed: Vec<Id> = found.iter().map(|e| Id::of(&asked.resource, e)).collect();
        for (id, before) in &self.record.seen {
            let missing = id.resource == asked.resource && !listed.contains(id) && !self.own.contains_key(id);
            if let Some(before) = before.as_ref().filter(|b| missing && asked.filter.passes(&b.meta)) {
                found.push(before.clone());
            }
        }
        self.with_own(asked, found)
    }

    /// An object's present state, before the candidate changes it.
    pub fn take_in(&mut self, id: Id, entry: Option<Arc<Entry>>) {
        self.record.seen.entry(id).or_insert(entry);
    }

    pub fn write(&mut self, verb: Verb, target: Target, body: Value, now: jiff::Timestamp) -> Answer<Option<Object>> {
        let answer = match self.as_the_live_one(verb, &target, &body) {
            Some(answer) => answer,
            None => self.emulated(verb, &target, &body, now),
        };
        self.take_answer(verb, &target, &answer);
        self.writes.push(Write { verb, target, body, answer: answer.clone() });
        answer
    }

    pub fn note(&mut self, write: Write) {
        self.writes.push(write);
    }

    /// The same write was made by the live revision; or one to the same place, which was refused.
    fn as_the_live_one(&mut self, verb: Verb, target: &Target, body: &Value) -> Option<Answer<Option<Object>>> {
        let live = || self.record.writes.iter().enumerate().filter(|(at, w)| !self.matched[*at] && w.verb == verb && w.target == *target);
        let same = live().find(|(_, w)| is_same_write(&w.body, body));
        let refused = || live().find(|(_, w)| w.answer.is_err());
        let (at, write) = same.or_else(refused)?;
        let answer = write.answer.clone();
        self.matched[at] = true;
        Some(answer)
    }

    fn emulated(&mut self, verb: Verb, target: &Target, body: &Value, now: jiff::Timestamp) -> Answer<Option<Object>> {
        self.made += 1;
        let id = |name: &str| Id::new(&target.resource, target.namespace.as_deref().unwrap_or_default(), name);
        let before = target.name.as_deref().and_then(|name| self.get(&id(name)).flatten());
        let after = match verb {
            Verb::Create => {
                let made = emulate::create(target, body, before.as_deref(), self.made, now)?;
                let name = made["metadata"]["name"].as_str().unwrap_or_default();
                if target.subresource.is_none() && self.get(&id(name)).flatten().is_some() {
                    return Err(emulate::already_exists(target, name));
                }
                Some(made)
            }
            _ => emulate::change(verb, target, body, before.as_deref(), self.made, now)?,
        };
        let revision = before.as_ref().map_or(0, |b| b.revision) + self.made;
        Ok(after.map(|value| Object { json: value.to_string().into_bytes(), revision }))
    }

    /// What the candidate wrote is what it reads.
    fn take_answer(&mut self, verb: Verb, target: &Target, answer: &Answer<Option<Object>>) {
        let Ok(answer) = answer else { return };
        let evicts = target.subresource.as_deref() == Some("eviction");
        if !matches!(target.subresource.as_deref(), None | Some("status")) && !evicts {
            return;
        }
        let gone = answer.is_none() || evicts;
        if let (true, Some(name)) = (gone, &target.name) {
            self.own.insert(Id::new(&target.resource, target.namespace.as_deref().unwrap_or_default(), name), None);
        } else if let Some(object) = answer
            && verb != Verb::Event
            && let Some(entry) = Entry::parse(Served { json: object.json.clone().into(), revision: object.revision })
        {
            self.own.insert(Id::of(&target.resource, &entry), Some(entry));
        }
    }

    fn with_own(&self, asked: &Asked, mut found: Vec<Arc<Entry>>) -> Vec<Arc<Entry>> {
        let own = self.own.iter().filter(|(id, _)| id.resource == asked.resource).filter_map(|(_, entry)| entry.as_ref());
        found.extend(own.filter(|e| asked.filter.passes(&e.meta)).cloned());
        found.sort_by(|a, b| (&a.meta.namespace, &a.meta.name).cmp(&(&b.meta.namespace, &b.meta.name)));
        found
    }
}

fn object(entry: &Entry) -> Object {
    Object { json: entry.json.to_vec(), revision: entry.revision }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Filter;
    use pintle_api::GroupVersionResource;
    use pintle_plugin_bindings::controller::pintle::controller::types::ApiError;
    use serde_json::json;

    const PODS: GroupVersionResource = GroupVersionResource::constant("", "v1", "pods");

    fn entry(name: &str, revision: u64) -> Arc<Entry> {
        let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "uid": format!("u-{name}"),
            "resourceVersion": revision.to_string()}, "spec": {"replicas": 1}, "status": {"phase": "Running"}});
        Entry::parse(Served { json: value.to_string().into(), revision }).expect("an object")
    }
    fn id(name: &str) -> Id {
        Id::new(&PODS, "n", name)
    }
    fn target(name: &str) -> Target {
        Target { resource: PODS, namespace: Some("n".to_owned()), name: (!name.is_empty()).then(|| name.to_owned()), subresource: None }
    }
    fn asked() -> Asked {
        Asked { resource: PODS, filter: Filter { namespace: "n".to_owned(), ..Filter::default() }, labels: String::new(), fields: String::new() }
    }
    fn names(entries: &[Arc<Entry>]) -> Vec<String> {
        entries.iter().map(|e| e.meta.name.to_string()).collect()
    }
    fn now() -> jiff::Timestamp {
        jiff::Timestamp::from_second(1_700_000_000).expect("a time")
    }
    fn value(answer: Answer<Option<Object>>) -> Value {
        serde_json::from_slice(&answer.expect("an answer").expect("an object").json).expect("JSON")
    }
    /// The live revision listed `a`, created a pod that became `web-x1y2z`, and had its update of `b` refused.
    fn view() -> View {
        let mut record = Record::default();
        record.listed(asked(), &[entry("a", 5)]);
        let answer = |json: Value| Ok(Some(Object { json: json.to_string().into_bytes(), revision: 9 }));
        let created = json!({"metadata": {"name": "web-x1y2z", "namespace": "n", "uid": "u-9"}});
        record.wrote(Write { verb: Verb::Create, target: target(""), body: json!({"metadata": {"generateName": "web-"}}), answer: answer(created) });
        record.saw(&id("b"), Some(&entry("b", 6)));
        let refused = Err(ApiError::Conflict("modified".to_owned()));
        record.wrote(Write { verb: Verb::Update, target: target("b"), body: json!({"spec": {"replicas": 2}}), answer: refused });
        View::new(record)
    }

    #[test]
    fn the_live_ones_own_writes_are_not_there_yet() {
        let view = view();
        assert_eq!(view.get(&id("web-x1y2z")).map(|e| e.is_none()), Some(true));
        assert_eq!(names(&view.listed(&asked()).expect("was listed")), ["a"]);
        let other = Asked { labels: "app=web".to_owned(), ..asked() };
        assert!(view.listed(&other).is_none());
        let present = vec![entry("a", 8), entry("c", 7), entry("web-x1y2z", 9)];
        let turned_back = view.as_it_was(&other, present);
        assert_eq!(names(&turned_back), ["a", "b", "c"]);
        assert_eq!(turned_back[0].revision, 5);
    }

    #[test]
    fn the_same_write_has_the_same_answer_and_another_is_made_up() {
        let mut view = view();
        let body = json!({"metadata": {"generateName": "web-"}});
        let first = value(view.write(Verb::Create, target(""), body.clone(), now()));
        assert_eq!(first["metadata"]["name"], "web-x1y2z");
        let second = value(view.write(Verb::Create, target(""), body, now()));
        assert_eq!((second["metadata"]["uid"].as_str(), second["metadata"]["namespace"].as_str()), (Some("shadow-1"), Some("n")));
        assert_eq!(names(&view.listed(&asked()).expect("was listed")).len(), 3, "it reads its own writes");
    }

    #[test]
    fn a_refusal_is_passed_on_and_a_stale_update_refused() {
        let mut view = view();
        let body = json!({"spec": {"replicas": 7}});
        assert!(matches!(view.write(Verb::Update, target("b"), body.clone(), now()), Err(ApiError::Conflict(_))), "as the live one's");
        let again = value(view.write(Verb::Update, target("b"), body, now()));
        assert_eq!((again["spec"]["replicas"].clone(), again["status"]["phase"].clone()), (json!(7), json!("Running")));
        let stale = json!({"metadata": {"name": "b", "resourceVersion": "6"}});
        assert!(matches!(view.write(Verb::Update, target("b"), stale, now()), Err(ApiError::Conflict(_))));
        let taken = json!({"metadata": {"name": "a"}});
        assert!(matches!(view.write(Verb::Create, target(""), taken, now()), Err(ApiError::AlreadyExists(_))));
    }

    #[test]
    fn what_it_deleted_is_gone_and_what_has_finalizers_is_not() {
        let mut view = view();
        assert!(view.write(Verb::Delete, target("a"), json!({"uid": ""}), now()).expect("deleted").is_none());
        assert_eq!(names(&view.listed(&asked()).expect("was listed")), [""; 0]);
        assert!(matches!(view.write(Verb::Delete, target("a"), json!({}), now()), Err(ApiError::NotFound(_))));
        view.write(Verb::MergePatch, target("b"), json!({"metadata": {"finalizers": ["f"]}}), now()).expect("patched");
        let left = value(view.write(Verb::Delete, target("b"), json!({"uid": "u-b"}), now()));
        assert_eq!(left["metadata"]["deletionTimestamp"], "2023-11-14T22:13:20Z");
        let other = view.write(Verb::Delete, target("b"), json!({"uid": "other"}), now());
        assert!(matches!(other, Err(ApiError::Conflict(_))));
    }
}
