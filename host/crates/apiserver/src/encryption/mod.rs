//! Values encrypted at rest: a layer between the cache and the store, by upstream's EncryptionConfiguration.
//!
//! Above it everything is plain, below it the named resources are ciphertext: in the engine's file, in etcd, in backups. Without a
//! configuration there is no such layer. The file is read again when it changes; one that is wrong, or by which something stored could no longer be
//! read, is refused and the one before holds. It does not rewrite values by itself: a value gets the first key when it is next
//! written, and an update that changes nothing counts as one if the value's key is not the first any more.

mod config;
mod provider;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use pintle_store::{BoxFuture, Change, Entry, Error, Op, Range, Result, Revision, Snapshot, Store, Transaction, prefix_end};

pub use config::{ConfigError, Sealing};
use provider::{Provider, SEALED};

use crate::storage::ROOT;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Values read at a time when everything is looked through.
const PAGE: usize = 1000;

/// What an installation chooses.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// An EncryptionConfiguration; none: nothing is encrypted.
    pub file: Option<PathBuf>,
    /// Whether the file is read again when it changes.
    pub reload: bool,
}

/// The store with the layer over it that the settings ask for.
pub fn layer(store: Arc<dyn Store>, settings: &Settings) -> std::result::Result<Arc<dyn Store>, ConfigError> {
    let Some(file) = &settings.file else { return Ok(store) };
    let sealed = Arc::new(Sealed { inner: store, sealing: Arc::new(ArcSwap::from_pointee(Sealing::load(file)?)) });
    if settings.reload {
        sealed.follow(file.clone());
    }
    Ok(sealed)
}

/// What comes up through no layer must be plain.
pub fn refuse_sealed(entry: &Entry) -> Result<()> {
    if entry.value.starts_with(SEALED) {
        let key = String::from_utf8_lossy(&entry.key);
        return Err(Error::Corrupt(format!("{key:?} is encrypted, and there is no encryption configuration")));
    }
    Ok(())
}

/// A store whose values are encrypted as the configuration says.
pub struct Sealed {
    inner: Arc<dyn Store>,
    /// Shared with the watches, which read each change with the keys of its time.
    sealing: Arc<ArcSwap<Sealing>>,
}

impl Sealed {
    /// Follows the file until the layer is dropped.
    pub fn follow(self: &Arc<Self>, path: PathBuf) {
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut seen = std::fs::read(&path).unwrap_or_default();
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let Some(sealed) = weak.upgrade() else { return };
                let Ok(present) = std::fs::read(&path) else { continue };
                if present == seen {
                    continue;
                }
                match sealed.change(&present).await {
                    Ok(()) => tracing::info!(path = %path.display(), "the encryption configuration changed"),
                    Err(why) => tracing::error!(path = %path.display(), why, "the new encryption configuration is refused; the one before holds"),
                }
                seen = present;
            }
        });
    }

    async fn change(&self, text: &[u8]) -> std::result::Result<(), String> {
        let text = std::str::from_utf8(text).map_err(|why| why.to_string())?;
        let sealing = Sealing::parse(text).map_err(|why| why.to_string())?;
        match unreadable(&*self.inner, &sealing).await {
            Ok(None) => {
                self.sealing.store(Arc::new(sealing));
                Ok(())
            }
            Ok(Some(key)) => Err(format!("{key:?} could not be read any more: rewrite what the old key wrote before it goes")),
            Err(why) => Err(why.to_string()),
        }
    }

    fn open(&self, entry: Entry) -> Result<Entry> {
        let value = open_own(&self.sealing.load(), &entry.key, entry.value)?;
        Ok(Entry { value, ..entry })
    }
}

impl Store for Sealed {
    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }
    fn revision(&self) -> BoxFuture<'_, Result<Revision>> {
        self.inner.revision()
    }
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Entry>>> {
        Box::pin(async move { self.inner.get(key).await?.map(|entry| self.open(entry)).transpose() })
    }
    fn range<'a>(&'a self, start: &'a [u8], end: &'a [u8], limit: usize) -> BoxFuture<'a, Result<Range>> {
        Box::pin(async move {
            let range = self.inner.range(start, end, limit).await?;
            let entries = range.entries.into_iter().map(|entry| self.open(entry)).collect::<Result<_>>()?;
            Ok(Range { entries, ..range })
        })
    }
    /// As it lies: a backup is as secret as the store.
    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot>> {
        self.inner.snapshot()
    }
    fn commit(&self, mut transaction: Transaction) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(async move {
            let sealing = self.sealing.load_full();
            for op in &mut transaction.ops {
                let Op::Put { key, value } = op else { continue };
                let Some(first) = providers(&sealing, key).and_then(<[Provider]>::first) else { continue };
                let sealed = first.seal(key, value).ok_or_else(|| Error::Refused(format!("{} cannot be encrypted", key.escape_ascii())))?;
                *value = Bytes::from(sealed);
            }
            self.inner.commit(transaction).await
        })
    }
    fn watch<'a>(&'a self, prefix: &'a [u8], after: Revision) -> BoxFuture<'a, Result<BoxStream<'static, Result<Vec<Change>>>>> {
        Box::pin(async move {
            let changes = self.inner.watch(prefix, after).await?;
            let sealing = self.sealing.clone();
            let opened = move |batch: Vec<Change>| {
                let sealing = sealing.load();
                batch.into_iter().map(|change| open_change(&sealing, change)).collect::<Result<Vec<_>>>()
            };
            Ok(changes.map(move |batch| batch.and_then(&opened)).boxed())
        })
    }
    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>> {
        self.inner.compact(revision)
    }
    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.close()
    }
    fn is_stale<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let sealing = self.sealing.load_full();
            let Some(first) = providers(&sealing, key).and_then(<[Provider]>::first) else {
                return Ok(false);
            };
            Ok(self.inner.get(key).await?.is_some_and(|entry| !first.reads(&entry.value)))
        })
    }
}

/// `/registry/GROUP/RESOURCE/...`
fn providers<'a>(sealing: &'a Sealing, key: &[u8]) -> Option<&'a [Provider]> {
    let mut parts = std::str::from_utf8(key).ok()?.strip_prefix(ROOT)?.split('/');
    let (group, resource) = (parts.next()?, parts.next()?);
    sealing.of(if group == "core" { "" } else { group }, resource)
}

fn open_own(sealing: &Sealing, key: &[u8], value: Bytes) -> Result<Bytes> {
    open(sealing, key, key, value)
}

/// What was written as `key`; `bound_to` is the key under which it was encrypted, which is the same but for values of other servers.
pub fn open(sealing: &Sealing, key: &[u8], bound_to: &[u8], value: Bytes) -> Result<Bytes> {
    let Some(providers) = providers(sealing, key) else {
        // Of a resource that was encrypted once and is not named any more.
        return if value.starts_with(SEALED) { Err(unreadable_value(key, "it is encrypted")) } else { Ok(value) };
    };
    let provider = providers.iter().find(|provider| provider.reads(&value)).ok_or_else(|| unreadable_value(key, "no matching prefix found"))?;
    provider.open(bound_to, &value).map(Bytes::from).ok_or_else(|| unreadable_value(key, "message authentication failed"))
}

fn open_change(sealing: &Sealing, change: Change) -> Result<Change> {
    let value = change.value.map(|value| open_own(sealing, &change.key, value)).transpose()?;
    // What was before may have been written with a key that is gone.
    let previous = change.previous.and_then(|previous| open_own(sealing, &change.key, previous).ok());
    Ok(Change { value, previous, ..change })
}

fn unreadable_value(key: &[u8], why: &str) -> Error {
    Error::Corrupt(format!("unable to transform key {:?}: {why}", String::from_utf8_lossy(key)))
}

/// The key of a value that could not be read by this configuration, if there is one. Nothing is decrypted for it.
async fn unreadable(store: &dyn Store, sealing: &Sealing) -> Result<Option<String>> {
    let end = prefix_end(ROOT.as_bytes());
    let mut start = ROOT.as_bytes().to_vec();
    loop {
        let range = store.range(&start, end.as_ref(), PAGE).await?;
        for entry in &range.entries {
            let readable = match providers(sealing, &entry.key) {
                Some(providers) => providers.iter().any(|provider| provider.reads(&entry.value)),
                None => !entry.value.starts_with(SEALED),
            };
            if !readable {
                return Ok(Some(String::from_utf8_lossy(&entry.key).into_owned()));
            }
        }
        let Some(last) = range.entries.last().filter(|_| range.more) else { return Ok(None) };
        start = [&last.key[..], &[0]].concat();
    }
}

#[cfg(test)]
mod tests;
