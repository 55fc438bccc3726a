//! An object in versions that only a webhook knows how to make.
//!
//! They lie with the object (`stored`), so whoever holds it and had it converted finds them, however many others there are. Upstream keeps as much: one
//! cache for each served version. Filled and read by `resources`.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

/// Takes a word until something is kept.
#[derive(Debug, Default)]
pub struct Forms(OnceLock<Box<Mutex<Kept>>>);

#[derive(Debug, Default)]
struct Kept {
    /// Of which conversion: definitions change.
    conversion: u64,
    /// By `apiVersion`.
    json: Vec<(String, Bytes)>,
}

impl Forms {
    pub fn get(&self, conversion: u64, api_version: &str) -> Option<Bytes> {
        let kept = lock(self.0.get()?);
        let json = kept.json.iter().find(|(version, _)| version == api_version).map(|(_, json)| json.clone());
        json.filter(|_| kept.conversion == conversion)
    }

    /// Those of an earlier conversion are forgotten.
    pub fn keep(&self, conversion: u64, api_version: &str, json: Bytes) {
        let mut kept = lock(self.0.get_or_init(Box::default));
        if kept.conversion != conversion {
            *kept = Kept { conversion, json: Vec::new() };
        }
        kept.json.retain(|(version, _)| version != api_version);
        kept.json.push((api_version.to_owned(), json));
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
