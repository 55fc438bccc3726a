//! The informer over a client that plays a script, with the clock standing still unless everybody waits.

use std::collections::VecDeque;
use std::sync::Mutex;

use expect_test::{Expect, expect};
use futures::FutureExt;
use pintle_api::GroupVersionResource;
use pintle_api::client::{BoxFuture, DeleteOptions, ListOptions, Listed, Patch, WriteOptions};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;

type Feed = mpsc::UnboundedSender<Result<WatchEvent>>;

/// Each watch takes the next place of the script; beyond its end they wait.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Result<mpsc::UnboundedReceiver<Result<WatchEvent>>>>>,
    opened: Mutex<Vec<String>>,
}

impl Script {
    fn refuse(&self, status: Status) {
        self.answers.lock().unwrap().push_back(Err(status));
    }
    fn answer(&self) -> Feed {
        let (feed, events) = mpsc::unbounded_channel();
        self.answers.lock().unwrap().push_back(Ok(events));
        feed
    }
}

impl Client for Script {
    fn watch<'a>(&'a self, _: &'a Target, options: &'a WatchOptions) -> BoxFuture<'a, Result<BoxStream<'static, Result<WatchEvent>>>> {
        Box::pin(async move {
            let next = self.answers.lock().unwrap().pop_front();
            let from = options.from_revision.map_or("start".into(), |r| r.to_string());
            self.opened.lock().unwrap().push(from);
            match next {
                None => Ok(stream::pending().boxed()),
                Some(Err(status)) => Err(status),
                Some(Ok(mut events)) => Ok(stream::poll_fn(move |cx| events.poll_recv(cx)).boxed()),
            }
        })
    }
    fn get<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, Result<Served>> {
        unreachable!("an informer only watches")
    }
    fn list<'a>(&'a self, _: &'a Target, _: &'a ListOptions) -> BoxFuture<'a, Result<Listed>> {
        unreachable!("an informer only watches")
    }
    fn create<'a>(&'a self, _: &'a Target, _: Value, _: &'a WriteOptions) -> BoxFuture<'a, Result<Served>> {
        unreachable!("an informer only watches")
    }
    fn update<'a>(&'a self, _: &'a Target, _: Value, _: &'a WriteOptions) -> BoxFuture<'a, Result<Served>> {
        unreachable!("an informer only watches")
    }
    fn patch<'a>(&'a self, _: &'a Target, _: Patch, _: &'a WriteOptions) -> BoxFuture<'a, Result<Served>> {
        unreachable!("an informer only watches")
    }
    fn delete<'a>(&'a self, _: &'a Target, _: &'a DeleteOptions) -> BoxFuture<'a, Result<Option<Served>>> {
        unreachable!("an informer only watches")
    }
}

fn object(name: &str, uid: &str, revision: u64) -> Served {
    let json = json!({"metadata": {"namespace": "n", "name": name, "uid": uid, "resourceVersion": revision.to_string()}});
    Served { json: json.to_string().into(), revision }
}

fn start(script: &Arc<Script>) -> Informer {
    let pods = GroupVersionResource::constant("", "v1", "pods");
    Informer::start(script.clone(), Target::collection(pods, None), Selectors::default())
}

async fn check(changes: &mut BoxStream<'static, Change>, count: usize, expected: Expect) {
    let mut lines = String::new();
    for _ in 0..count {
        let line = match changes.next().await.expect("the subscription goes on") {
            Change::Added(new) => format!("added {}\n", shown(&new)),
            Change::Modified { old, new } => format!("modified {} -> {}\n", shown(&old), shown(&new)),
            Change::Deleted(old) => format!("deleted {}\n", shown(&old)),
        };
        lines.push_str(&line);
    }
    assert!(changes.next().now_or_never().is_none(), "nothing else came");
    expected.assert_eq(&lines);
}

fn shown(served: &Served) -> String {
    let value = served.parse().unwrap();
    format!("{}@{}", value["metadata"]["name"].as_str().unwrap(), served.revision)
}

#[tokio::test(start_paused = true)]
async fn it_follows_resumes_and_starts_anew() {
    let script = Arc::new(Script::default());
    let feed = script.answer();
    let informer = start(&script);
    let mut changes = informer.subscribe();
    feed.send(Ok(WatchEvent::Added(object("a", "1", 3)))).unwrap();
    feed.send(Ok(WatchEvent::Added(object("b", "2", 4)))).unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(1), changes.next()).await.is_err(), "half a state is not shown");
    assert!(!informer.is_synced() && informer.snapshot().is_empty());

    feed.send(Ok(WatchEvent::Synced { revision: 5 })).unwrap();
    assert!(informer.wait_synced().await);
    check(
        &mut changes,
        2,
        expect![[r#"
        added a@3
        added b@4
    "#]],
    )
    .await;

    // The connection breaks: on from the last revision, the bookmark's.
    let resumed = script.answer();
    feed.send(Ok(WatchEvent::Modified(object("a", "1", 6)))).unwrap();
    feed.send(Ok(WatchEvent::Bookmark { revision: 9 })).unwrap();
    feed.send(Err(Status::unavailable("lost"))).unwrap();
    check(
        &mut changes,
        1,
        expect![[r#"
        modified a@3 -> a@6
    "#]],
    )
    .await;
    resumed.send(Ok(WatchEvent::Deleted(object("b", "2", 10)))).unwrap();
    check(
        &mut changes,
        1,
        expect![[r#"
        deleted b@4
    "#]],
    )
    .await;

    // The server has forgotten: everything again, and only the difference is told. `a` was made anew meanwhile.
    let anew = script.answer();
    resumed.send(Err(Status::expired("too old"))).unwrap();
    anew.send(Ok(WatchEvent::Added(object("a", "3", 20)))).unwrap();
    anew.send(Ok(WatchEvent::Added(object("c", "4", 21)))).unwrap();
    anew.send(Ok(WatchEvent::Synced { revision: 22 })).unwrap();
    check(
        &mut changes,
        3,
        expect![[r#"
        deleted a@6
        added a@20
        added c@21
    "#]],
    )
    .await;
    assert_eq!(*script.opened.lock().unwrap(), ["start", "9", "start"]);
    assert_eq!(informer.get("n", "c").unwrap().revision, 21);
    assert_eq!(informer.snapshot().namespace("n").count(), 2);
    assert_eq!(informer.snapshot().namespace("m").count(), 0);

    drop(informer);
    assert!(changes.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn failures_are_spaced_and_a_slow_subscriber_sees_the_end_state() {
    let script = Arc::new(Script::default());
    for _ in 0..6 {
        script.refuse(Status::unavailable("down"));
    }
    let feed = script.answer();
    let started = tokio::time::Instant::now();
    let informer = start(&script);
    let mut changes = informer.subscribe();
    feed.send(Ok(WatchEvent::Added(object("a", "1", 1)))).unwrap();
    feed.send(Ok(WatchEvent::Synced { revision: 1 })).unwrap();
    assert!(informer.wait_synced().await);
    // 0 + 0.1 + 0.2 + 0.4 + 0.8 + 1.6 seconds, each by half at least.
    assert!(started.elapsed() >= Duration::from_millis(1550), "{:?}", started.elapsed());
    assert_eq!(script.opened.lock().unwrap().len(), 7);

    for revision in 2..1000 {
        feed.send(Ok(WatchEvent::Modified(object("a", "1", revision)))).unwrap();
    }
    feed.send(Ok(WatchEvent::Added(object("z", "2", 1000)))).unwrap();
    let mut present = informer.present.clone();
    present.wait_for(|snapshot| snapshot.revision() == 1000).await.unwrap();
    check(
        &mut changes,
        2,
        expect![[r#"
        added a@999
        added z@1000
    "#]],
    )
    .await;
}
