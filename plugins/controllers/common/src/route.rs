//! From a changed object to the keys of its owners: the controller that it names, before and after, or for an orphan all that would
//! adopt it.

use pintle_sdk::controller::{Api, Key, Query, Resource};
use pintle_sdk::selector::Selector;
use serde_json::Value;

use crate::fields::Fields;

/// The owners' kind and how they select.
pub struct Owners {
    pub resource: Resource,
    pub kind: &'static str,
    pub selector: fn(&Value) -> Option<Selector>,
}

/// `spec.selector` as most kinds have it.
pub fn spec_selector(owner: &Value) -> Option<Selector> {
    Selector::from_object(owner.at(&["spec", "selector"]))
}

impl Owners {
    pub fn of(&self, api: &dyn Api, before: Option<&Value>, after: Option<&Value>) -> Vec<Key> {
        let mut keys: Vec<Key> = [before, after].into_iter().flatten().flat_map(|object| self.of_one(api, object)).collect();
        keys.dedup();
        keys
    }

    fn of_one(&self, api: &dyn Api, object: &Value) -> Vec<Key> {
        match object.controller() {
            Some(owner) if owner.text(&["kind"]) == self.kind => {
                vec![Key { namespace: object.namespace().to_owned(), name: owner.text(&["name"]).to_owned() }]
            }
            Some(_) => Vec::new(),
            None => self.adopters(api, object),
        }
    }

    pub fn adopters(&self, api: &dyn Api, orphan: &Value) -> Vec<Key> {
        let namespace = orphan.namespace();
        let all = api.list(self.resource, &Query { namespace, ..Query::default() }).unwrap_or_default();
        let adopts = |owner: &&Value| (self.selector)(owner).is_some_and(|s| !s.is_empty() && s.matches(orphan.labels()));
        all.iter().filter(adopts).map(|o| Key { namespace: namespace.to_owned(), name: o.name().to_owned() }).collect()
    }
}
