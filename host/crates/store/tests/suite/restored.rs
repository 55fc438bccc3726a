//! From a store that is written to, through a backup, into a store of the embedded engine.

use futures::StreamExt;
use pintle_store::backup::{BackupError, Reader, Writer};
use pintle_store::{Error, Store, embedded};

use crate::{delete, put, write};

async fn backup(store: &dyn Store) -> Vec<u8> {
    let mut snapshot = store.snapshot().await.unwrap();
    let (mut writer, first) = Writer::begin(snapshot.revision);
    let mut file = first.to_vec();
    while let Some(page) = snapshot.pages.next().await {
        file.extend_from_slice(&writer.entries(&page.unwrap()));
    }
    file.extend_from_slice(&writer.end());
    file
}

#[tokio::test]
async fn a_restored_store_is_as_it_was_and_no_revision_comes_twice() {
    let (store, directory) = (embedded::memory(), tempfile::tempdir().unwrap());
    store.commit(write((0..100).map(|n| put(&format!("/k{n}"), &"v".repeat(n * 300))))).await.unwrap();
    let kept = store.commit(write([put("/k1", "changed"), delete("/k2")])).await.unwrap();
    let before = store.range(b"", b"", 0).await.unwrap();
    let file = backup(&*store).await;
    let lost = store.commit(write([put("/k1", "after the backup")])).await.unwrap();

    let path = directory.path().join("store");
    let revision = embedded::restore(&path, Reader::open(&file[..]).unwrap()).unwrap();
    assert!(revision > lost && revision == kept + embedded::RESTORE_GAP);
    let restored = embedded::open(&path, embedded::Options::default()).unwrap();
    let after = restored.range(b"", b"", 0).await.unwrap();
    assert_eq!((after.entries, after.revision), (before.entries, revision));
    assert!(matches!(restored.watch(b"", lost).await.map(drop), Err(Error::Compacted { .. })), "what clients remember is refused");
    assert_eq!(restored.commit(write([put("/k1", "on")])).await.unwrap(), revision + 1);

    let again = embedded::restore(&path, Reader::open(&file[..]).unwrap());
    assert!(matches!(again, Err(BackupError::Store(Error::Unusable(_)))), "{again:?}");
}

#[tokio::test]
async fn a_damaged_backup_leaves_nothing() {
    let (store, directory) = (embedded::memory(), tempfile::tempdir().unwrap());
    store.commit(write((0..100).map(|n| put(&format!("/k{n}"), &"v".repeat(n * 300))))).await.unwrap();
    let mut file = backup(&*store).await;
    let last = file.len() - 1;
    file[last] ^= 1;
    let path = directory.path().join("store");
    let damaged = embedded::restore(&path, Reader::open(&file[..]).unwrap());
    assert!(matches!(damaged, Err(BackupError::Damaged(_))), "{damaged:?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
