//! What an informer does next, as a pure step: no clock, no connection.

use std::time::Duration;

use pintle_api::Status;
use pintle_api::client::{Result, Served, WatchEvent};

use super::snapshot::{Item, Key, Objects};

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(10);

pub enum Machine {
    /// A watch from nothing: what came so far. Nothing is published before it is complete.
    Collecting { objects: Objects, failures: u32 },
    /// All is known up to the revision.
    Following { revision: u64, failures: u32 },
}

pub enum Input {
    Put(Key, Item),
    Removed(Key, u64),
    Synced(u64),
    Bookmark(u64),
}

/// A change to the published snapshot.
pub enum Effect {
    /// Everything at once, after which the snapshot counts as synced.
    Replace(Objects, u64),
    Put(Key, Item),
    Remove(Key, u64),
}

impl Input {
    /// Reads no more of an object than its name.
    pub fn read(event: WatchEvent) -> Result<Self> {
        Ok(match event {
            WatchEvent::Added(served) | WatchEvent::Modified(served) => {
                let (key, item) = Item::read(served)?;
                Input::Put(key, item)
            }
            WatchEvent::Deleted(served) => {
                let revision = served.revision;
                Input::Removed(Item::read(served)?.0, revision)
            }
            WatchEvent::Synced { revision } => Input::Synced(revision),
            WatchEvent::Bookmark { revision } => Input::Bookmark(revision),
        })
    }
}

impl Machine {
    pub fn new() -> Self {
        Self::Collecting { objects: Objects::new(), failures: 0 }
    }

    /// Where the next watch begins.
    pub fn resume_from(&self) -> Option<u64> {
        match self {
            Self::Collecting { .. } => None,
            Self::Following { revision, .. } => Some(*revision),
        }
    }

    pub fn step(&mut self, input: Input) -> Option<Effect> {
        match self {
            Self::Collecting { objects, .. } => match input {
                Input::Put(key, item) => drop(objects.insert(key, item)),
                Input::Removed(key, _) => drop(objects.remove(&key)),
                Input::Bookmark(_) => {}
                Input::Synced(revision) => {
                    let objects = std::mem::take(objects);
                    *self = Self::Following { revision, failures: 0 };
                    return Some(Effect::Replace(objects, revision));
                }
            },
            Self::Following { revision, failures } => {
                *failures = 0;
                match input {
                    Input::Put(key, item) => {
                        *revision = item.revision().max(*revision);
                        return Some(Effect::Put(key, item));
                    }
                    Input::Removed(key, at) => {
                        *revision = at.max(*revision);
                        return Some(Effect::Remove(key, at));
                    }
                    Input::Bookmark(at) | Input::Synced(at) => *revision = at.max(*revision),
                }
            }
        }
        None
    }

    /// The watch is over, `None` in peace: how long to wait before the next one.
    pub fn ended(&mut self, failure: Option<Status>) -> Duration {
        let is_expired = failure.is_some_and(|status| status.code == 410);
        let (Self::Collecting { failures, .. } | Self::Following { failures, .. }) = self;
        *failures = failures.saturating_add(1);
        let failures = *failures;
        if is_expired || self.resume_from().is_none() {
            *self = Self::Collecting { objects: Objects::new(), failures };
        }
        // A watch that worked and then ended is opened again at once: servers end them every few minutes.
        if failures <= 1 { Duration::ZERO } else { (FIRST_DELAY * 2u32.saturating_pow((failures - 2).min(10))).min(MAX_DELAY) }
    }
}

impl Item {
    pub fn revision(&self) -> u64 {
        self.served().revision
    }

    fn read(served: Served) -> Result<(Key, Self)> {
        #[derive(serde::Deserialize)]
        struct Named {
            metadata: Metadata,
        }
        #[derive(serde::Deserialize)]
        struct Metadata {
            #[serde(default)]
            namespace: String,
            name: String,
            #[serde(default)]
            uid: String,
        }
        let Named { metadata } = served.parse_as()?;
        Ok((Key::new(&metadata.namespace, &metadata.name), Item::new(served, metadata.uid)))
    }
}
