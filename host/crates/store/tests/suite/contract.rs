//! What the trait promises. Each test gets a fresh, empty store.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use pintle_store::{Change, Error, Expect, MAX_TRANSACTION_BYTES, MAX_TRANSACTION_OPS, Op, Result, Revision, Store};

use crate::{delete, key, put, write, write_if};

type Changes = BoxStream<'static, Result<Vec<Change>>>;

const WAIT: Duration = Duration::from_secs(30);

pub async fn all<F: Future<Output = Arc<dyn Store>>>(open: impl Fn(&'static str) -> F) {
    reads(&*open("reads").await).await;
    conditions(&*open("conditions").await).await;
    refusals(&*open("refusals").await).await;
    pages(&*open("pages").await).await;
    watches(&*open("watches").await).await;
    watch_races(open("races").await).await;
    compaction(&*open("compaction").await).await;
    snapshots(open("snapshots").await).await;
    one_winner(open("winner").await).await;
    let closed = open("closed").await;
    closed.commit(write([put("/a", "1")])).await.unwrap();
    closed.close().await.unwrap();
    closed.close().await.unwrap();
}

async fn reads(store: &dyn Store) {
    let before = store.revision().await.unwrap();
    assert!(before >= 1, "an empty store stands above zero");
    assert_eq!(store.get(b"/a").await.unwrap(), None);

    let first = store.commit(write([put("/a", "1"), put("/b", "")])).await.unwrap();
    assert_eq!(first, before + 1);
    let second = store.commit(write([put("/a", "2")])).await.unwrap();
    assert_eq!(second, first + 1);
    assert_eq!(store.revision().await.unwrap(), second);

    let a = store.get(b"/a").await.unwrap().unwrap();
    assert_eq!((a.value, a.revision), (key("2"), second));
    let b = store.get(b"/b").await.unwrap().unwrap();
    assert_eq!((b.value, b.revision), (Bytes::new(), first));

    assert_eq!(store.commit(write([])).await.unwrap(), second);
    assert_eq!(store.commit(write([delete("/nothing")])).await.unwrap(), second);
    let third = store.commit(write([delete("/b"), put("/c", "3")])).await.unwrap();
    assert_eq!(third, second + 1);
    assert_eq!(store.get(b"/b").await.unwrap(), None);
}

async fn conditions(store: &dyn Store) {
    let made = store.commit(write_if([("/a", Expect::Absent)], [put("/a", "1")])).await.unwrap();
    let changed = store.commit(write_if([("/a", Expect::At(made))], [put("/a", "2")])).await.unwrap();
    assert_eq!(store.commit(write_if([("/a", Expect::Present)], [])).await.unwrap(), changed);

    for (expected, k, found) in [
        (Expect::Absent, "/a", Some(changed)),
        (Expect::At(made), "/a", Some(changed)),
        (Expect::At(made), "/none", None),
        (Expect::Present, "/none", None),
    ] {
        // The first condition holds: the answer must name the one that does not.
        let refused = store.commit(write_if([("/a", Expect::At(changed)), (k, expected)], [put("/a", "lost"), put("/b", "lost")])).await;
        match refused {
            Err(Error::Conflict { key, expected: e, found: f }) => assert_eq!((key.as_str(), e, f), (k, expected, found)),
            other => panic!("{expected:?} on {k}: {other:?}"),
        }
    }
    assert_eq!(store.get(b"/a").await.unwrap().unwrap().value, "2");
    assert_eq!(store.get(b"/b").await.unwrap(), None);
    assert_eq!(store.revision().await.unwrap(), changed);
    store.commit(write_if([("/a", Expect::At(changed))], [delete("/a")])).await.unwrap();
    store.commit(write_if([("/a", Expect::Absent)], [put("/a", "3")])).await.unwrap();
}

async fn refusals(store: &dyn Store) {
    let largest = MAX_TRANSACTION_BYTES - "/big".len();
    let big = |size| write([Op::Put { key: key("/big"), value: vec![7; size].into() }]);
    match store.commit(big(largest + 1)).await {
        Err(Error::TooLarge { limit, .. }) => assert_eq!(limit, MAX_TRANSACTION_BYTES),
        other => panic!("{other:?}"),
    }
    store.commit(big(largest)).await.unwrap();
    assert_eq!(store.get(b"/big").await.unwrap().unwrap().value.len(), largest);

    assert!(matches!(store.commit(write([put("/a", "1"), delete("/a")])).await, Err(Error::Refused(_))));
    assert!(matches!(store.commit(write([put("", "1")])).await, Err(Error::Refused(_))));
    let many = |n: usize| write((0..n).map(|n| put(&format!("/n{n}"), "")));
    assert!(matches!(store.commit(many(MAX_TRANSACTION_OPS + 1)).await, Err(Error::Refused(_))));
    store.commit(many(MAX_TRANSACTION_OPS)).await.unwrap();
}

async fn pages(store: &dyn Store) {
    for start in (0..1200).step_by(100) {
        store.commit(write((start..start + 100).map(|n| put(&format!("/p/{n:04}"), "x")))).await.unwrap();
    }
    let newest = store.commit(write([put("/q", "x"), put("/o", "x")])).await.unwrap();

    let everything = store.range(b"/p/", b"/p0", 0).await.unwrap();
    assert_eq!((everything.entries.len(), everything.revision, everything.more), (1200, newest, false));
    assert!(everything.entries.is_sorted_by_key(|entry| entry.key.clone()));

    let page = store.range(b"/p/", b"/p0", 700).await.unwrap();
    assert_eq!((page.entries.len(), page.more), (700, true));
    let rest = store.range(b"/p/0700", b"/p0", 500).await.unwrap();
    assert_eq!((rest.entries.len(), rest.more), (500, false));
    assert_eq!(rest.entries[0].key, "/p/0700");
    assert_eq!(store.range(b"/p/1199", b"", 10).await.unwrap().entries.len(), 2);
    assert_eq!(store.range(b"/z", b"/a", 0).await.unwrap().entries.len(), 0);
}

async fn watches(store: &dyn Store) {
    let start = store.revision().await.unwrap();
    let r1 = store.commit(write([put("/w/a", "1")])).await.unwrap();
    let r2 = store.commit(write([put("/w/a", "2"), put("/w/b", "1"), put("/x", "1")])).await.unwrap();
    let mut all = store.watch(b"/w/", start).await.unwrap();
    let mut late = store.watch(b"/w/", r1).await.unwrap();
    let expected = ["1: /w/a = 1 (none)", "2: /w/a = 2 (1)", "2: /w/b = 1 (none)"];
    assert_eq!(take(&mut all, 3, start).await, expected);
    assert_eq!(take(&mut late, 2, start).await, expected[1..]);

    store.commit(write([put("/x", "2")])).await.unwrap();
    let r4 = store.commit(write([delete("/w/a")])).await.unwrap();
    assert_eq!(r4, r2 + 2);
    assert_eq!(take(&mut all, 1, start).await, ["4: /w/a = none (2)"]);
    assert_eq!(take(&mut late, 1, start).await, ["4: /w/a = none (2)"]);
    assert!(all.next().now_or_never().is_none(), "nothing else came");

    let asked = r4 + 1000;
    match store.watch(b"", asked).await.map(|_| ()) {
        Err(Error::Future { asked: a, newest }) => assert_eq!((a, newest), (asked, r4)),
        other => panic!("{other:?}"),
    }
}

/// A watch from the revision of a range, opened while others write, misses nothing and repeats nothing.
async fn watch_races(store: Arc<dyn Store>) {
    const WRITERS: usize = 4;
    const WRITES: usize = 50;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..WRITES {
                    store.commit(write([put(&format!("/r/{writer}/{n}"), "")])).await.unwrap();
                }
            })
        })
        .collect();
    for _ in 0..10 {
        let seen = store.range(b"/r/", b"/r0", 0).await.unwrap();
        let mut changes = store.watch(b"/r/", seen.revision).await.unwrap();
        let mut last = seen.revision;
        let mut count = seen.entries.len();
        while count < WRITERS * WRITES {
            let batch = tokio::time::timeout(WAIT, changes.next()).await.unwrap().unwrap().unwrap();
            for change in batch {
                assert_eq!(change.revision, last + 1, "in order, none missed, none twice");
                last = change.revision;
                count += 1;
            }
        }
        assert_eq!(count, WRITERS * WRITES);
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

async fn compaction(store: &dyn Store) {
    let r1 = store.commit(write([put("/a", "1")])).await.unwrap();
    let r2 = store.commit(write([put("/a", "2")])).await.unwrap();
    let r3 = store.commit(write([put("/a", "3")])).await.unwrap();
    assert!(matches!(store.compact(r3 + 1000).await, Err(Error::Future { .. })));
    store.compact(r3).await.unwrap();
    store.compact(r2).await.unwrap();

    assert_eq!(store.get(b"/a").await.unwrap().unwrap().revision, r3);
    // An engine may know at once or after asking its server.
    let refused = match store.watch(b"/a", r1).await {
        Ok(mut changes) => tokio::time::timeout(WAIT, changes.next()).await.unwrap().unwrap().map(drop),
        Err(error) => Err(error),
    };
    match refused {
        Err(Error::Compacted { asked, oldest }) => assert_eq!((asked, oldest), (r1, r3)),
        other => panic!("{other:?}"),
    }
    let mut kept = store.watch(b"/a", r2).await.unwrap();
    assert_eq!(tokio::time::timeout(WAIT, kept.next()).await.unwrap().unwrap().unwrap()[0].revision, r3);
}

/// A snapshot has one revision, whatever is written and deleted while it is read.
async fn snapshots(store: Arc<dyn Store>) {
    let value = "x".repeat(4000);
    for start in (0..1200).step_by(100) {
        store.commit(write((start..start + 100).map(|n| put(&format!("/s/{n:04}"), &value)))).await.unwrap();
    }
    let snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.revision, store.revision().await.unwrap());
    let overwriting = {
        let store = store.clone();
        tokio::spawn(async move {
            for start in (0..1200).step_by(100) {
                store.commit(write((start..start + 50).map(|n| put(&format!("/s/{n:04}"), "new")))).await.unwrap();
                store.commit(write((start + 50..start + 100).map(|n| delete(&format!("/s/{n:04}"))))).await.unwrap();
            }
        })
    };
    let pages: Vec<Vec<pintle_store::Entry>> = snapshot.pages.map(|page| page.unwrap()).collect().await;
    overwriting.await.unwrap();
    assert!(pages.len() > 1);
    let entries = pages.concat();
    assert_eq!(entries.len(), 1200);
    assert!(entries.is_sorted_by_key(|entry| entry.key.clone()));
    assert!(entries.iter().all(|entry| entry.value == value && entry.revision <= snapshot.revision));
    assert_eq!(store.snapshot().await.unwrap().pages.map(|page| page.unwrap().len()).collect::<Vec<_>>().await.iter().sum::<usize>(), 600);
}

/// Of many who write from the same revision one wins.
async fn one_winner(store: Arc<dyn Store>) {
    let made = store.commit(write([put("/a", "0")])).await.unwrap();
    let racers = (0..20).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.commit(write_if([("/a", Expect::At(made))], [put("/a", &n.to_string())])).await })
    });
    let mut winners = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        match racer.await.unwrap() {
            Ok(revision) => winners.push(revision),
            Err(Error::Conflict { found, .. }) => assert!(found > Some(made)),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(winners, [made + 1]);
}

/// `revision: key = value (previous)`, revisions counted from `start`.
async fn take(changes: &mut Changes, count: usize, start: Revision) -> Vec<String> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let batch = tokio::time::timeout(WAIT, changes.next()).await.expect("changes come").expect("goes on").unwrap();
        taken.extend(batch.iter().map(|change| {
            let show = |bytes: &Option<Bytes>| bytes.as_ref().map_or("none".into(), |b| String::from_utf8_lossy(b).into_owned());
            let (key, revision) = (String::from_utf8_lossy(&change.key), change.revision - start);
            format!("{revision}: {key} = {} ({})", show(&change.value), show(&change.previous))
        }));
    }
    taken
}
