//! The keys that all servers of a cluster have in common: the certificate authority, and the key that signs service account
//! tokens. They live in the store, made once, so that what one server issues another one takes, and a restored backup is
//! the same cluster.
//!
//! The server calls [`agree`] before it reads its `pki` folder; afterwards the folder has the cluster's keys. A folder with
//! other keys than a cluster of several servers is refused: it belongs to another cluster, whose clients trust nobody here.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use pintle_store::{Error as StoreError, Expect, Op, Store, Transaction};

use super::pki::{self, Pki, PkiError};

/// Outside of what the cache holds: no API request reaches it.
const KEY: &[u8] = b"/keys/shared";
const FILES: [(&str, u32); 3] = [("ca.crt", 0o644), ("ca.key", 0o600), ("sa.key", 0o600)];

#[derive(Debug, thiserror::Error)]
pub enum AgreeError {
    #[error("storage: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("{0} differs from the cluster's: this data folder belongs to another cluster; take another one, or remove the file")]
    Foreign(String),
    #[error("the keys in the store cannot be read: {0}")]
    Unreadable(serde_json::Error),
}

/// PEM by the name of its file.
type Keys = BTreeMap<String, String>;

/// Brings the store's keys and those of the folder together; makes them where neither has any.
pub async fn agree(store: &dyn Store, data_dir: &Path) -> Result<(), AgreeError> {
    let folder = data_dir.join("pki");
    loop {
        let (kept, at) = match store.get(KEY).await? {
            Some(entry) => (serde_json::from_slice::<Keys>(&entry.value).map_err(AgreeError::Unreadable)?, Expect::At(entry.revision)),
            None => (Keys::new(), Expect::Absent),
        };
        let mut here = read(&folder)?;
        let made_now = kept.is_empty() && here.is_empty();
        if kept.is_empty() {
            Pki::create_shared_keys(data_dir)?;
            here = read(&folder)?;
        } else if let Some(name) = here.iter().find(|(name, text)| kept.get(*name) != Some(*text)).map(|(name, _)| name)
            && store.is_shared()
        {
            return Err(AgreeError::Foreign(folder.join(name).display().to_string()));
        }
        // What an administrator put into the folder of a single server counts; what is missing there comes from the store.
        let mut together = kept.clone();
        together.extend(here.clone());
        if together != kept {
            match store.commit(transaction(&together, at)).await {
                Err(StoreError::Conflict { .. }) if made_now => {
                    remove(&folder)?;
                    continue;
                }
                Err(StoreError::Conflict { .. }) => continue,
                other => other?,
            };
        }
        return write_missing(&folder, &together, &here);
    }
}

fn transaction(keys: &Keys, expect: Expect) -> Transaction {
    let key = Bytes::from_static(KEY);
    let value = serde_json::to_vec(keys).expect("plain data").into();
    Transaction { expect: vec![(key.clone(), expect)], ops: vec![Op::Put { key, value }] }
}

fn read(folder: &Path) -> Result<Keys, PkiError> {
    let mut keys = Keys::new();
    for (name, _) in FILES {
        if let Some(text) = pki::read(&folder.join(name))? {
            keys.insert(name.to_owned(), text);
        }
    }
    Ok(keys)
}

fn write_missing(folder: &Path, keys: &Keys, here: &Keys) -> Result<(), AgreeError> {
    std::fs::create_dir_all(folder).map_err(|source| PkiError::Io { path: folder.to_owned(), source })?;
    for (name, mode) in FILES {
        if let Some(text) = keys.get(name).filter(|_| !here.contains_key(name)) {
            pki::write(&folder.join(name), text, mode)?;
        }
    }
    Ok(())
}

/// Of keys that were made a moment ago and that another server's came before.
fn remove(folder: &Path) -> Result<(), PkiError> {
    for (name, _) in FILES {
        let path = folder.join(name);
        std::fs::remove_file(&path).map_err(|source| PkiError::Io { path, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_who_share_a_store_get_the_same_keys() {
        let store = pintle_store::embedded::memory();
        let folders: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
        let all = folders.iter().map(|folder| agree(&*store, folder.path()));
        futures::future::try_join_all(all).await.unwrap();
        let keys: Vec<Keys> = folders.iter().map(|folder| read(&folder.path().join("pki")).unwrap()).collect();
        assert_eq!(keys[0].len(), FILES.len());
        assert!(keys.iter().all(|k| *k == keys[0]));
    }

    #[tokio::test]
    async fn what_is_in_a_single_servers_folder_counts_and_what_is_lost_comes_back() {
        let (store, folder) = (pintle_store::embedded::memory(), tempfile::tempdir().unwrap());
        agree(&*store, folder.path()).await.unwrap();
        let before = read(&folder.path().join("pki")).unwrap();
        std::fs::remove_dir_all(folder.path().join("pki")).unwrap();
        agree(&*store, folder.path()).await.unwrap();
        assert_eq!(read(&folder.path().join("pki")).unwrap(), before);

        let other = tempfile::tempdir().unwrap();
        Pki::create_shared_keys(other.path()).unwrap();
        let theirs = read(&other.path().join("pki")).unwrap();
        agree(&*store, other.path()).await.unwrap();
        std::fs::remove_dir_all(other.path().join("pki")).unwrap();
        agree(&*store, other.path()).await.unwrap();
        assert_eq!(read(&other.path().join("pki")).unwrap(), theirs);
    }
}
