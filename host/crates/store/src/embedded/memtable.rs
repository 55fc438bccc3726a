//! What the journal has and the tree has not yet, as readers and the writer see it: laid over the tree.
//!
//! Two layers: `active` has the journal's present generation, `frozen` the one before, while it goes to the tree. As long as a key is
//! in both a layer and the tree, the layer is right: it is as new as the tree or newer.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Change, Entry, Result, Revision};

/// A key's state since a revision. No value: it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub revision: Revision,
    pub value: Option<Bytes>,
}

impl Written {
    pub fn entry(self, key: Bytes) -> Option<Entry> {
        let revision = self.revision;
        self.value.map(|value| Entry { key, value, revision })
    }
}

pub(super) type Layer = BTreeMap<Bytes, Written>;

/// What goes to the tree in one transaction.
pub(super) struct Checkpoint {
    pub layer: Layer,
    /// What the tree stands at then, and the first generation of the journal that it has not.
    pub revision: Revision,
    pub next_generation: u64,
}

pub(super) struct Memtable {
    active: Layer,
    frozen: Option<Arc<Checkpoint>>,
    newest: Revision,
}

impl Memtable {
    pub fn new(newest: Revision) -> Self {
        Self { active: Layer::new(), frozen: None, newest }
    }

    /// The store's revision.
    pub fn newest(&self) -> Revision {
        self.newest
    }

    /// `None`: what the tree says holds.
    pub fn find(&self, key: &[u8]) -> Option<&Written> {
        self.active.get(key).or_else(|| self.frozen.as_ref()?.layer.get(key))
    }

    /// All keys from `start` to before `end` (empty: to the last), in order.
    pub fn range(&self, start: &[u8], end: &[u8]) -> Layer {
        let bounds = (Bound::Included(start), if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) });
        let owned = |(key, written): (&Bytes, &Written)| (key.clone(), written.clone());
        let mut found: Layer = self.frozen.iter().flat_map(|frozen| frozen.layer.range::<[u8], _>(bounds)).map(owned).collect();
        found.extend(self.active.range::<[u8], _>(bounds).map(owned));
        found
    }

    pub fn insert(&mut self, changes: &[Change]) {
        let written = |change: &Change| Written { revision: change.revision, value: change.value.clone() };
        self.take(changes.iter().map(|change| (change.key.clone(), written(change))));
    }

    /// In the order of their revisions.
    pub fn take(&mut self, changes: impl IntoIterator<Item = (Bytes, Written)>) {
        for (key, written) in changes {
            self.newest = written.revision;
            self.active.insert(key, written);
        }
    }

    /// What is to go to the tree.
    pub fn frozen(&self) -> Option<Arc<Checkpoint>> {
        self.frozen.clone()
    }

    /// The present layer is to go to the tree. The one before must have gone.
    pub fn freeze(&mut self, next_generation: u64) {
        debug_assert!(self.frozen.is_none());
        if !self.active.is_empty() {
            let layer = std::mem::take(&mut self.active);
            self.frozen = Some(Arc::new(Checkpoint { layer, revision: self.newest, next_generation }));
        }
    }

    /// The tree has it. Gives it back, so that no lock is held while it is dropped.
    #[must_use]
    pub fn settle(&mut self) -> Option<Arc<Checkpoint>> {
        self.frozen.take()
    }
}

/// The tree's entries with a layer's over them.
pub(super) struct Merged<T: Iterator<Item = Result<Entry>>> {
    tree: Peekable<T>,
    layer: Peekable<std::collections::btree_map::IntoIter<Bytes, Written>>,
}

impl<T: Iterator<Item = Result<Entry>>> Merged<T> {
    pub fn new(tree: T, layer: Layer) -> Self {
        Self { tree: tree.peekable(), layer: layer.into_iter().peekable() }
    }
}

impl<T: Iterator<Item = Result<Entry>>> Iterator for Merged<T> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        loop {
            let Some((key, _)) = self.layer.peek() else { return self.tree.next() };
            match self.tree.peek() {
                Some(Err(_)) => return self.tree.next(),
                Some(Ok(entry)) if entry.key < *key => return self.tree.next(),
                Some(Ok(entry)) if entry.key == *key => drop(self.tree.next()),
                _ => {}
            }
            if let Some(entry) = self.layer.next().and_then(|(key, written)| written.entry(key)) {
                return Some(Ok(entry));
            }
        }
    }
}
