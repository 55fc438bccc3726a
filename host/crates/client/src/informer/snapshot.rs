//! All objects of a collection at one moment, and what differs between two moments.

use std::cmp::Ordering;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use pintle_api::client::Served;

use super::machine::Effect;

pub type Objects = OrdMap<Key, Item>;

#[derive(Clone, Debug)]
pub enum Change {
    Added(Served),
    Modified {
        old: Served,
        new: Served,
    },
    /// The last state that was known.
    Deleted(Served),
}

/// Cheap to clone; parts that two snapshots share are held once.
#[derive(Clone, Default)]
pub struct Snapshot {
    objects: Objects,
    revision: u64,
    synced: bool,
}

/// Namespace, then name.
#[derive(Clone, Debug)]
pub struct Key(Arc<KeyParts>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct KeyParts {
    namespace: String,
    name: String,
}

#[derive(Clone, Debug)]
pub struct Item(Arc<ItemParts>);

#[derive(Debug)]
struct ItemParts {
    served: Served,
    uid: String,
}

impl Snapshot {
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Of the newest change in it.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn len(&self) -> usize {
        self.objects.len()
    }

    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<&Served> {
        self.objects.get(&Key::new(namespace, name)).map(Item::served)
    }

    /// By namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Served> {
        self.objects.values().map(Item::served)
    }

    pub fn namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Served> {
        let first = Key::new(namespace, "");
        self.objects.range(first..).take_while(move |(key, _)| key.0.namespace == namespace).map(|(_, item)| item.served())
    }

    /// What led from the older snapshot to this one, deletions first.
    pub fn changes_since(&self, older: &Snapshot) -> Vec<Change> {
        let (mut deleted, mut others) = (Vec::new(), Vec::new());
        for difference in older.objects.diff(&self.objects) {
            match difference {
                DiffItem::Add(_, new) => others.push(Change::Added(new.served().clone())),
                DiffItem::Remove(_, old) => deleted.push(Change::Deleted(old.served().clone())),
                DiffItem::Update { old: (_, old), new: (_, new) } => {
                    let (was, is) = (old.served().clone(), new.served().clone());
                    if old.0.uid == new.0.uid {
                        others.push(Change::Modified { old: was, new: is });
                    } else {
                        deleted.push(Change::Deleted(was));
                        others.push(Change::Added(is));
                    }
                }
            }
        }
        deleted.append(&mut others);
        deleted
    }

    pub(super) fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Put(key, item) => {
                self.revision = self.revision.max(item.revision());
                self.objects.insert(key, item);
            }
            Effect::Remove(key, revision) => {
                self.revision = self.revision.max(revision);
                self.objects.remove(&key);
            }
            Effect::Replace(objects, revision) => {
                self.objects = objects;
                self.revision = revision;
                self.synced = true;
            }
        }
    }
}

impl Change {
    /// The object that the change is about, in its newest known state.
    pub fn object(&self) -> &Served {
        match self {
            Change::Added(served) | Change::Deleted(served) | Change::Modified { new: served, .. } => served,
        }
    }
}

impl Key {
    pub fn new(namespace: &str, name: &str) -> Self {
        Self(Arc::new(KeyParts { namespace: namespace.to_owned(), name: name.to_owned() }))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl Item {
    pub fn new(served: Served, uid: String) -> Self {
        Self(Arc::new(ItemParts { served, uid }))
    }

    pub fn served(&self) -> &Served {
        &self.0.served
    }
}

/// Two states of one object are the same where their revision is.
impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.revision() == other.revision() && self.0.uid == other.0.uid)
    }
}
