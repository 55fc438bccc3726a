//! Changes from the informers on their way to a scheduler's driver. Several changes of one object become one, from the first state to the
//! last, so the inbox holds each object at most once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::index::{Entry, Listener};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    Pods,
    Nodes,
    Namespaces,
    Budgets,
    Volumes,
    Services,
}

pub struct Change {
    pub topic: Topic,
    pub before: Option<Arc<Entry>>,
    pub after: Option<Arc<Entry>>,
}

/// A listener whose tags are places in `topics`.
pub struct Inbox {
    topics: Vec<Topic>,
    changes: Mutex<Changes>,
    pub arrived: Notify,
}

#[derive(Default)]
struct Changes {
    order: Vec<Change>,
    places: HashMap<(usize, Arc<str>, Arc<str>), usize>,
}

impl Inbox {
    pub fn new(topics: Vec<Topic>) -> Arc<Self> {
        Arc::new(Self { topics, changes: Mutex::default(), arrived: Notify::new() })
    }

    /// Everything since the last call, in order of each object's first change.
    pub fn take(&self) -> Vec<Change> {
        let mut changes = self.changes.lock().unwrap_or_else(|e| e.into_inner());
        changes.places.clear();
        std::mem::take(&mut changes.order)
    }
}

impl Listener for Inbox {
    fn changed(&self, tag: usize, before: Option<&Arc<Entry>>, after: Option<&Arc<Entry>>) {
        let Some(entry) = after.or(before) else { return };
        let mut changes = self.changes.lock().unwrap_or_else(|e| e.into_inner());
        let place = (tag, entry.meta.namespace.clone(), entry.meta.name.clone());
        match changes.places.get(&place).copied() {
            Some(at) => changes.order[at].after = after.cloned(),
            None => {
                let at = changes.order.len();
                changes.order.push(Change { topic: self.topics[tag], before: before.cloned(), after: after.cloned() });
                changes.places.insert(place, at);
            }
        }
        drop(changes);
        self.arrived.notify_one();
    }
}
