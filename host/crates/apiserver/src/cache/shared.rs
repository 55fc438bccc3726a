//! What the cache does because other servers write to the same store: it catches up before a read that must not be
//! older than what somebody has seen elsewhere, finds out what became of a write that got no answer, and lets the store forget.
//!
//! A store that one process alone writes to needs neither: its writes return only when the cache has them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pintle_api::Status;
use pintle_store::{Error, Op, Revision, Store, Transaction};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::{Cache, lock};

/// How long readers and writers wait for a store that elects a leader or whose members come and go.
const STORE_LIMIT: Duration = Duration::from_secs(10);
/// Before a store that gave no answer is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// The store's revision comes through its watch within this, unless it counts writes that are not ours.
const NUDGE_AFTER: Duration = Duration::from_millis(100);
/// How long a shared store remembers what was overwritten, as upstream has it.
const HISTORY: Duration = Duration::from_secs(300);
/// Written where the store shares its counter with others: its echo tells that nothing of ours came before it.
const NUDGE: &[u8] = b"/progress";

/// Readers that wait until the cache is as new as the store. Those who come while the store is being asked share the
/// next question: the answer to a question that was put before a reader came may be older than what the reader knows.
/// As many as there are requests in flight.
#[derive(Default)]
pub(super) struct Rounds {
    running: bool,
    waiting: Vec<oneshot::Sender<Result<(), Status>>>,
}

impl Cache {
    /// Returns when every write that was acknowledged before the call, by whatever server, can be read here.
    pub async fn catch_up(self: &Arc<Self>) -> Result<(), Status> {
        if !self.store.is_shared() {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        let begins = {
            let mut rounds = lock(&self.rounds);
            rounds.waiting.push(reply);
            !std::mem::replace(&mut rounds.running, true)
        };
        if begins {
            // A task of its own: the reader who begins it may go away, and others wait for it.
            tokio::spawn(self.clone().answer_readers());
        }
        answer.await.unwrap_or_else(|_| Err(Status::unavailable("the server is shutting down")))
    }

    async fn answer_readers(self: Arc<Self>) {
        loop {
            let asking = {
                let mut rounds = lock(&self.rounds);
                if rounds.waiting.is_empty() {
                    rounds.running = false;
                    return;
                }
                std::mem::take(&mut rounds.waiting)
            };
            let reached = tokio::time::timeout(STORE_LIMIT, self.reach_the_store()).await;
            let outcome = reached.unwrap_or_else(|_| Err(unavailable(&format!("the store's newest state did not come within {STORE_LIMIT:?}"))));
            for reader in asking {
                let _ = reader.send(outcome.clone());
            }
        }
    }

    async fn reach_the_store(&self) -> Result<(), Status> {
        let newest = loop {
            match self.store.revision().await {
                Ok(newest) => break newest,
                Err(Error::Unavailable(_)) => tokio::time::sleep(ASK_AGAIN).await,
                Err(other) => return Err(unavailable(&other.to_string())),
            }
        };
        if tokio::time::timeout(NUDGE_AFTER, self.applied(newest)).await.is_err() && self.revision() < newest {
            if let Err(why) = self.nudge().await {
                tracing::debug!(%why, "the store was not nudged");
            }
            self.applied(newest).await;
        }
        Ok(())
    }

    /// A write of ours that says nothing; its revision comes through the watch.
    async fn nudge(&self) -> Result<Revision, Error> {
        let op = Op::Put { key: Bytes::from_static(NUDGE), value: Bytes::new() };
        self.store.commit(Transaction { expect: Vec::new(), ops: vec![op] }).await
    }

    /// Commits what touches one object under a condition. Where a shared store gives no answer (its leader died, the
    /// connection broke) the same is asked again: the condition lets it happen at most once, and what is found
    /// afterwards tells whether it did.
    pub(super) async fn settle(&self, transaction: Transaction) -> Result<Revision, Error> {
        if !self.store.is_shared() {
            return self.store.commit(transaction).await;
        }
        let end = Instant::now() + STORE_LIMIT;
        let mut in_doubt = false;
        loop {
            match self.store.commit(transaction.clone()).await {
                Err(Error::Unknown(why)) if Instant::now() < end => {
                    tracing::debug!(%why, "a write got no answer; asking again");
                    in_doubt = true;
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                Err(Error::Conflict { .. }) if in_doubt => return self.what_became_of(&transaction).await,
                outcome => return outcome,
            }
        }
    }

    async fn what_became_of(&self, transaction: &Transaction) -> Result<Revision, Error> {
        let unknown = |why: &str| Error::Unknown(why.to_owned());
        let Some(op) = transaction.ops.first() else { return Err(unknown("nothing was written")) };
        let (Op::Put { key, .. } | Op::Delete { key }) = op;
        let found = self.store.get(key).await.map_err(|why| unknown(&why.to_string()))?;
        match (op, found) {
            (Op::Put { value, .. }, Some(found)) if found.value == value => Ok(found.revision),
            (Op::Delete { .. }, None) => self.nudge().await,
            _ => Err(unknown("the write got no answer, and the object was written since")),
        }
    }
}

/// Keeps a shared store from growing with every write: what is older than [`HISTORY`] is compacted, by the server that leads. A store
/// of its own bounds its history by itself.
pub async fn forget_history(store: Arc<dyn Store>, leads: watch::Receiver<bool>) {
    if !store.is_shared() {
        return;
    }
    let mut old: Option<Revision> = None;
    loop {
        if let Some(revision) = old.filter(|_| *leads.borrow())
            && let Err(why) = store.compact(revision).await
        {
            tracing::warn!(%why, revision, "the store was not compacted");
        }
        // Everybody remembers, so that the next one to lead goes on at once.
        old = store.revision().await.ok().or(old);
        tokio::time::sleep(HISTORY).await;
    }
}

/// Nothing was done: a client may ask again.
fn unavailable(why: &str) -> Status {
    let mut status = Status::unavailable(format!("storage unavailable: {why}"));
    status.details_mut().retry_after_seconds = 1;
    status
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use futures::stream::BoxStream;
    use pintle_store::{BoxFuture, Change, Entry, Expect, Range, embedded};

    use super::super::{Fields, Limits};
    use super::*;

    /// One store under two caches, as two servers see it; what happens to commits is written down beforehand.
    struct Common {
        store: Arc<embedded::Embedded>,
        asked: Mutex<usize>,
        fates: Mutex<VecDeque<Fate>>,
        /// What the next watches tell instead of the store's changes.
        watches: Mutex<VecDeque<BoxStream<'static, pintle_store::Result<Vec<Change>>>>>,
        /// Counts as etcd's revision does when others write to the same etcd.
        foreign: Revision,
    }

    enum Fate {
        /// Done, but the answer is lost.
        Done,
        NotDone,
    }

    impl Common {
        fn new(foreign: Revision, fates: impl IntoIterator<Item = Fate>) -> Arc<Self> {
            let fates = Mutex::new(fates.into_iter().collect());
            Arc::new(Self { store: embedded::memory(), asked: Mutex::default(), fates, watches: Mutex::default(), foreign })
        }
    }

    impl Store for Common {
        fn is_shared(&self) -> bool {
            true
        }
        fn revision(&self) -> BoxFuture<'_, pintle_store::Result<Revision>> {
            *lock(&self.asked) += 1;
            Box::pin(async { Ok(self.store.revision().await? + self.foreign) })
        }
        fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, pintle_store::Result<Option<Entry>>> {
            self.store.get(key)
        }
        fn range<'a>(&'a self, start: &'a [u8], end: &'a [u8], limit: usize) -> BoxFuture<'a, pintle_store::Result<Range>> {
            self.store.range(start, end, limit)
        }
        fn snapshot(&self) -> BoxFuture<'_, pintle_store::Result<pintle_store::Snapshot>> {
            self.store.snapshot()
        }
        fn commit(&self, transaction: Transaction) -> BoxFuture<'_, pintle_store::Result<Revision>> {
            let fate = lock(&self.fates).pop_front();
            Box::pin(async move {
                match fate {
                    None => self.store.commit(transaction).await,
                    Some(Fate::NotDone) => Err(Error::Unknown("lost before".into())),
                    Some(Fate::Done) => self.store.commit(transaction).await.and(Err(Error::Unknown("lost after".into()))),
                }
            })
        }
        fn watch<'a>(
            &'a self,
            prefix: &'a [u8],
            after: Revision,
        ) -> BoxFuture<'a, pintle_store::Result<BoxStream<'static, pintle_store::Result<Vec<Change>>>>> {
            match lock(&self.watches).pop_front() {
                Some(told) => Box::pin(async { Ok(told) }),
                None => self.store.watch(prefix, after),
            }
        }
        fn compact(&self, revision: Revision) -> BoxFuture<'_, pintle_store::Result<()>> {
            self.store.compact(revision)
        }
        fn close(&self) -> BoxFuture<'_, pintle_store::Result<()>> {
            self.store.close()
        }
    }

    fn object(value: &str) -> Arc<pintle_api::Object> {
        Arc::new(serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": value}}))
    }

    #[tokio::test]
    async fn readers_share_questions_and_see_what_another_server_wrote() {
        let store = Common::new(0, []);
        let (here, there) =
            (Cache::open(store.clone(), Limits::default()).await.unwrap(), Cache::open(store.clone(), Limits::default()).await.unwrap());
        let (slot, other) = (here.slot("", "configmaps", Some(Fields::none())), there.slot("", "configmaps", Some(Fields::none())));
        for n in 0..50 {
            let expect = if n == 0 { Expect::Absent } else { Expect::Present };
            there.commit(&other, "n/a", expect, Some(&object(&n.to_string()))).await.unwrap();
            let written = there.get(&other, "n/a").unwrap().revision;
            let before = *lock(&store.asked);
            let readers = (0..20).map(|_| async {
                here.catch_up().await.unwrap();
                here.get(&slot, "n/a").unwrap().revision
            });
            assert!(futures::future::join_all(readers).await.iter().all(|seen| *seen == written));
            assert!(*lock(&store.asked) - before <= 2, "twenty readers at once ask at most twice");
        }
    }

    #[tokio::test]
    async fn a_counter_that_others_move_is_caught_up_with_by_a_write() {
        let store = Common::new(1, []);
        let cache = Cache::open(store.clone(), Limits::default()).await.unwrap();
        cache.catch_up().await.unwrap();
        assert!(store.get(NUDGE).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn observers_hear_of_what_changed_while_the_store_forgot() {
        use pintle_api::object::ObjectExt;

        let store = Common::new(0, []);
        let there = Cache::open(store.clone(), Limits::default()).await.unwrap();
        let other = there.slot("", "configmaps", Some(Fields::none()));
        for name in ["kept", "changed", "gone"] {
            there.commit(&other, &format!("n/{name}"), Expect::Absent, Some(&object("before"))).await.unwrap();
        }
        let (forget, forgotten) = tokio::sync::oneshot::channel();
        let ends = futures::stream::once(async move { forgotten.await.unwrap_or_else(|_| Err(Error::Unknown("the test ended".into()))) });
        lock(&store.watches).push_back(Box::pin(ends));
        let here = Cache::open(store.clone(), Limits::default()).await.unwrap();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = heard.clone();
        let observer = move |_: &str, name: &str, object: Option<&pintle_api::Object>| {
            lock(&told).push(format!("{name} {}", object.map_or("is gone", |object| object.str_at(&["data", "k"]))));
        };
        here.observe(&here.slot("", "configmaps", Some(Fields::none())), Arc::new(observer));
        lock(&heard).clear();

        there.commit(&other, "n/added", Expect::Absent, Some(&object("new"))).await.unwrap();
        there.commit(&other, "n/changed", Expect::Present, Some(&object("after"))).await.unwrap();
        there.commit(&other, "n/gone", Expect::Present, None).await.unwrap();
        forget.send(Err(Error::Compacted { asked: 0, oldest: there.revision() })).unwrap();
        here.wait_for(there.revision()).await.unwrap();
        assert_eq!(*lock(&heard), ["gone is gone", "added new", "changed after"]);
    }

    #[tokio::test]
    async fn a_write_without_an_answer_happens_once() {
        let fates = [Fate::NotDone, Fate::NotDone, Fate::Done, Fate::Done, Fate::Done];
        let store = Common::new(0, fates);
        let cache = Cache::open(store.clone(), Limits::default()).await.unwrap();
        let slot = cache.slot("", "configmaps", Some(Fields::none()));
        let made = cache.commit(&slot, "n/a", Expect::Absent, Some(&object("1"))).await.unwrap().unwrap();
        let changed = cache.commit(&slot, "n/a", Expect::At(made.revision), Some(&object("2"))).await.unwrap().unwrap();
        assert_eq!(changed.revision, made.revision + 1, "made and changed once each, though asked three times and twice");
        assert!(cache.commit(&slot, "n/a", Expect::At(changed.revision), None).await.unwrap().is_none());
        assert!(cache.get(&slot, "n/a").is_none());

        lock(&store.fates).push_back(Fate::NotDone);
        let lost = cache.commit(&slot, "n/a", Expect::At(made.revision), Some(&object("3"))).await;
        assert!(matches!(lost, Err(Error::Unknown(_))), "somebody else may have been faster, or this write may have been overwritten: {lost:?}");
    }
}
