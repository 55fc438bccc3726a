//! Turns changes into keys, without asking the component where the relation says it all.

use std::sync::Arc;

use pintle_plugin_bindings::controller::pintle::controller::types::Relation;

use super::queue::{Key, Queue};
use super::watch::Watch;
use crate::index::{Entry, Listener};
use crate::stages::share::Share;

pub struct Router {
    queue: Arc<Queue>,
    watches: Arc<[Watch]>,
    /// The number of the first watch.
    first: usize,
    /// Only keys of this share.
    share: Option<Share>,
}

impl Router {
    pub fn new(queue: Arc<Queue>, watches: Arc<[Watch]>) -> Self {
        Self { queue, watches, first: 0, share: None }
    }

    /// For a canary's own watches, which are numbered from `first`.
    pub fn of_share(queue: Arc<Queue>, watches: Arc<[Watch]>, first: usize, share: Share) -> Self {
        Self { queue, watches, first, share: Some(share) }
    }

    fn add(&self, key: Key) {
        if self.share.as_ref().is_none_or(|share| share.holds(&key.namespace, &id_of(&key))) {
            self.queue.add(key);
        }
    }

    fn add_owners(&self, kind: &str, before: Option<&Arc<Entry>>, after: Option<&Arc<Entry>>) {
        let owner = |entry: &Arc<Entry>| owner_key(entry, kind);
        let (old, new) = (before.and_then(owner), after.and_then(owner));
        if old != new {
            old.into_iter().for_each(|key| self.add(key));
        }
        new.into_iter().for_each(|key| self.add(key));
    }
}

impl Listener for Router {
    fn changed(&self, tag: usize, before: Option<&Arc<Entry>>, after: Option<&Arc<Entry>>) {
        let Some(entry) = after.or(before) else { return };
        match &self.watches[tag].relation {
            Relation::Primary => self.add(key_of(entry)),
            Relation::Owned(kind) => self.add_owners(kind, before, after),
            Relation::Claimed(kind) => {
                self.add_owners(kind, before, after);
                if [before, after].into_iter().flatten().any(|e| e.meta.controller.is_none()) {
                    self.queue.change(self.first + tag, key_of(entry), before.cloned(), after.cloned());
                }
            }
            Relation::Routed | Relation::Local => self.queue.change(self.first + tag, key_of(entry), before.cloned(), after.cloned()),
            Relation::Indexed => {}
        }
    }
}

pub fn key_of(entry: &Arc<Entry>) -> Key {
    Key { namespace: entry.meta.namespace.clone(), name: entry.meta.name.clone() }
}

/// What a share goes by.
pub fn id_of(key: &Key) -> String {
    format!("{}/{}", key.namespace, key.name)
}

fn owner_key(entry: &Arc<Entry>, kind: &str) -> Option<Key> {
    let owner = entry.meta.controller.as_ref().filter(|o| *o.kind == *kind)?;
    Some(Key { namespace: entry.meta.namespace.clone(), name: owner.name.clone() })
}
