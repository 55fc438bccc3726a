//! What a reconciliation of the live revision read and wrote, so that a candidate can be asked the same question. Bounded: a reconciliation
//! that reads or writes more than this is not compared.

use std::collections::HashMap;
use std::sync::Arc;

use pintle_api::client::Target;
use pintle_api::{GroupVersionResource, Status};
use pintle_plugin_bindings::controller::pintle::controller::objects::{Object, PatchType};
use pintle_plugin_bindings::controller::pintle::controller::types::ApiError;
use serde_json::Value;

use super::world::Answer;
use crate::index::{Entry, Filter};

/// Objects that are kept of one reconciliation; they are shared with the index, so only what changes meanwhile takes memory.
const MAX_OBJECTS: usize = 20_000;
const MAX_WRITES: usize = 2_000;

/// An object's resource, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    pub resource: GroupVersionResource,
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Create,
    Update,
    JsonPatch,
    MergePatch,
    StrategicPatch,
    Apply,
    Delete,
    Event,
}

/// One write and what the API said to it.
#[derive(Clone, Debug)]
pub struct Write {
    pub verb: Verb,
    pub target: Target,
    pub body: Value,
    pub answer: Answer<Option<Object>>,
}

/// A list as it was asked for; the selectors as text, for they are compared.
#[derive(Clone, Debug)]
pub struct Asked {
    pub resource: GroupVersionResource,
    pub filter: Filter,
    pub labels: String,
    pub fields: String,
}

#[derive(Default)]
pub struct Record {
    /// The first state in which each object was seen, before the reconciliation wrote to it. `None`: it was not there.
    pub seen: HashMap<Id, Option<Arc<Entry>>>,
    pub lists: Vec<(Asked, Vec<Id>)>,
    /// Reads past the caches.
    pub live: HashMap<Id, Answer<Object>>,
    pub writes: Vec<Write>,
    pub too_large: bool,
}

impl Id {
    pub fn new(resource: &GroupVersionResource, namespace: &str, name: &str) -> Self {
        Self { resource: resource.clone(), namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub fn of(resource: &GroupVersionResource, entry: &Entry) -> Self {
        Self::new(resource, &entry.meta.namespace, &entry.meta.name)
    }

    pub fn not_found(&self) -> ApiError {
        ApiError::NotFound(Status::not_found(&self.resource.group, &self.resource.resource, &self.name).message)
    }
}

impl Verb {
    pub fn of_patch(kind: PatchType) -> Self {
        match kind {
            PatchType::Json => Self::JsonPatch,
            PatchType::Merge => Self::MergePatch,
            PatchType::Strategic => Self::StrategicPatch,
            PatchType::Apply => Self::Apply,
        }
    }

    /// The verb that a grant must name.
    pub fn granted(self) -> &'static str {
        match self {
            Self::Create | Self::Event => "create",
            Self::Update => "update",
            Self::JsonPatch | Self::MergePatch | Self::StrategicPatch | Self::Apply => "patch",
            Self::Delete => "delete",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Event => "event",
            other => other.granted(),
        }
    }
}

impl Asked {
    pub fn is_same(&self, other: &Self) -> bool {
        let of = |a: &Self| (a.resource.clone(), a.filter.namespace.clone(), a.filter.owner_uid.clone());
        of(self) == of(other) && self.labels == other.labels && self.fields == other.fields
    }
}

impl Record {
    pub fn saw(&mut self, id: &Id, entry: Option<&Arc<Entry>>) {
        if self.seen.len() >= MAX_OBJECTS {
            self.too_large = true;
        } else if !self.seen.contains_key(id) {
            self.seen.insert(id.clone(), entry.cloned());
        }
    }

    pub fn listed(&mut self, asked: Asked, found: &[Arc<Entry>]) {
        for entry in found {
            self.saw(&Id::of(&asked.resource, entry), Some(entry));
        }
        if !self.lists.iter().any(|(known, _)| known.is_same(&asked)) {
            let ids = found.iter().map(|e| Id::of(&asked.resource, e)).collect();
            self.lists.push((asked, ids));
        }
    }

    pub fn fetched(&mut self, id: Id, answer: &Answer<Object>) {
        self.live.entry(id).or_insert_with(|| answer.clone());
    }

    /// `before`: the object in the index, where its resource has one.
    pub fn before_write(&mut self, target: &Target, before: Option<Option<Arc<Entry>>>) {
        if let (Some(name), Some(before)) = (&target.name, before) {
            self.saw(&Id::new(&target.resource, target.namespace.as_deref().unwrap_or_default(), name), before.as_ref());
        }
    }

    pub fn wrote(&mut self, write: Write) {
        // What it made itself was not there before.
        if let (Verb::Create, Ok(Some(object)), None) = (write.verb, &write.answer, &write.target.subresource)
            && let Some(made) = Entry::parse(pintle_api::client::Served { json: object.json.clone().into(), revision: object.revision })
        {
            self.saw(&Id::of(&write.target.resource, &made), None);
        }
        if self.writes.len() >= MAX_WRITES {
            self.too_large = true;
        } else {
            self.writes.push(write);
        }
    }
}
