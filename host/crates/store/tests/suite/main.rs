//! The store's suite: what every engine promises, run against each, and what the embedded engine promises when it is
//! killed or loses power.

mod contract;
mod crashes;
mod etcd_faults;
mod etcd_process;
mod killed;
mod line;
mod restored;
mod throughput;

use std::sync::Arc;

use bytes::Bytes;
use pintle_store::{Expect, Op, Store, Transaction, embedded};

pub fn key(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub fn put(k: &str, v: &str) -> Op {
    Op::Put { key: key(k), value: key(v) }
}

pub fn delete(k: &str) -> Op {
    Op::Delete { key: key(k) }
}

pub fn write(ops: impl IntoIterator<Item = Op>) -> Transaction {
    Transaction { expect: Vec::new(), ops: ops.into_iter().collect() }
}

pub fn write_if<'a>(expect: impl IntoIterator<Item = (&'a str, Expect)>, ops: impl IntoIterator<Item = Op>) -> Transaction {
    let expect = expect.into_iter().map(|(k, expected)| (key(k), expected)).collect();
    Transaction { expect, ops: ops.into_iter().collect() }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    contract::all(|_| async { embedded::memory() as Arc<dyn Store> }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    contract::all(|name| {
        let path = directory.path().join(name);
        async move { embedded::open(path, embedded::Options::default()).unwrap() as Arc<dyn Store> }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_keeps_the_contract() {
    let etcd = etcd_process::start().await;
    contract::all(|name| {
        let options = pintle_store::etcd::Options { prefix: format!("/{name}"), ..pintle_store::etcd::Options::new([&etcd.url]) };
        async move { pintle_store::etcd::open(options).await.unwrap() as Arc<dyn Store> }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_etcd_leaves_writes_in_doubt_and_ends_watches() {
    use futures::StreamExt;
    use pintle_store::Error;

    let mut etcd = etcd_process::start().await;
    let store = pintle_store::etcd::open(pintle_store::etcd::Options::new([&etcd.url])).await.unwrap();
    let revision = store.commit(write([put("/a", "1")])).await.unwrap();
    let mut changes = store.watch(b"", revision).await.unwrap();
    etcd.kill();
    assert!(matches!(changes.next().await, Some(Err(Error::Unavailable(_)))));
    assert!(changes.next().await.is_none());
    assert!(matches!(store.commit(write([put("/a", "2")])).await, Err(Error::Unknown(_))));
    assert!(matches!(store.get(b"/a").await, Err(Error::Unavailable(_))));
}
