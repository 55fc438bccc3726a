//! The same trait over etcd, for several API servers: a revision is etcd's, a transaction is one of etcd's.
//!
//! All keys live below a prefix of the cluster's own. A call that got no answer is [`Error::Unknown`] when it writes
//! (etcd may have done it) and [`Error::Unavailable`] when it reads. Nothing is tried again here: the API
//! server knows whether a second try is right. A watch that loses its connection ends with an error; its owner resumes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, EventType, GetOptions, GetResponse, KeyValue, KvClient, ResponseHeader, Txn, TxnOp, TxnOpResponse,
    WatchClient, WatchOptions, WatchResponse, WatchStream,
};
use futures::stream::{self, BoxStream, StreamExt};

use crate::{
    BoxFuture, Change, Entry, Error, Expect, MAX_TRANSACTION_BYTES, Op, Range, Result, Revision, Snapshot, Store, Transaction, limits, prefix_end,
};

/// An answer that takes longer is given up. etcd itself gives up on a proposal after five seconds and an election.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A dead peer is noticed after the sum of both, also by a watch that waits for nothing else.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Entries fetched by one request; a longer range is read page by page at one revision.
const PAGE_ENTRIES: usize = 500;
/// One answer: a page of values of the largest size.
const MAX_ANSWER_BYTES: usize = PAGE_ENTRIES * (MAX_TRANSACTION_BYTES + 4096);

#[derive(Clone, Debug)]
pub struct Options {
    /// `http://host:2379`, one or more members of one cluster.
    pub endpoints: Vec<String>,
    /// Put before every key, so that several clusters can share one etcd. Not empty.
    pub prefix: String,
    pub user: Option<(String, String)>,
}

impl Options {
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { endpoints: endpoints.into_iter().map(Into::into).collect(), prefix: "/pintle".into(), user: None }
    }
}

/// Connects, and asks once so that a wrong address is known now.
pub async fn open(options: Options) -> Result<Arc<Etcd>> {
    if options.prefix.is_empty() {
        return Err(Error::Unusable("the prefix of the keys is empty".into()));
    }
    let mut connect = ConnectOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_keep_alive(KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT)
        .with_keep_alive_while_idle(true)
        .with_require_leader(true);
    if let Some((name, password)) = options.user {
        connect = connect.with_user(name, password);
    }
    let client = reading(Client::connect(&options.endpoints, Some(connect))).await?;
    let store = Etcd {
        kv: client.kv_client().max_decoding_message_size(MAX_ANSWER_BYTES),
        watch: client.watch_client().max_decoding_message_size(MAX_ANSWER_BYTES),
        prefix: options.prefix.into_bytes(),
    };
    store.revision().await?;
    Ok(Arc::new(store))
}

pub struct Etcd {
    kv: KvClient,
    watch: WatchClient,
    prefix: Vec<u8>,
}

impl Etcd {
    fn key(&self, key: &[u8]) -> Vec<u8> {
        [self.prefix.as_slice(), key].concat()
    }

    fn end(&self, end: &[u8]) -> Vec<u8> {
        if end.is_empty() { prefix_end(&self.prefix) } else { self.key(end) }
    }

    async fn read_range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Range> {
        let (mut start, end) = (self.key(start), self.end(end));
        let mut range = Range { entries: Vec::new(), revision: 0, more: false };
        loop {
            let wanted = if limit == 0 { PAGE_ENTRIES } else { PAGE_ENTRIES.min(limit - range.entries.len()) };
            // Zero reads the newest; the following pages read what the first one saw.
            let mut answer = Self::page(self.kv.clone(), start, end.clone(), wanted, range.revision).await?;
            if range.revision == 0 {
                range.revision = header_revision(answer.header())?;
            }
            range.more = answer.more();
            let page = answer.take_kvs();
            start = page.last().map_or(Vec::new(), |last| [last.key(), b"\0"].concat());
            for found in page {
                range.entries.push(entry(found, self.prefix.len())?);
            }
            if !range.more || range.entries.len() == limit {
                return Ok(range);
            }
        }
    }

    /// A page of the newest, or of an earlier revision, and whether more follow.
    async fn page(kv: KvClient, start: Vec<u8>, end: Vec<u8>, limit: usize, at: Revision) -> Result<GetResponse> {
        let options =
            GetOptions::new().with_range(end).with_limit(i64::try_from(limit).unwrap_or(i64::MAX)).with_revision(i64::try_from(at).unwrap_or(0));
        let mut kv = kv;
        reading(kv.get(start, Some(options))).await
    }

    async fn freeze(&self) -> Result<Snapshot> {
        let revision = self.revision().await?;
        let (kv, prefix, end) = (self.kv.clone(), self.prefix.len(), prefix_end(&self.prefix));
        let pages = stream::unfold(Some(self.prefix.clone()), move |start| {
            let (kv, end) = (kv.clone(), end.clone());
            async move {
                let mut answer = match Self::page(kv, start?, end, PAGE_ENTRIES, revision).await {
                    Ok(answer) => answer,
                    Err(error) => return Some((Err(error), None)),
                };
                let more = answer.more();
                let found = answer.take_kvs();
                let next = found.last().filter(|_| more).map(|last| [last.key(), b"\0"].concat());
                Some((found.into_iter().map(|kv| entry(kv, prefix)).collect(), next))
            }
        });
        Ok(Snapshot { revision, pages: pages.boxed() })
    }

    async fn transact(&self, transaction: Transaction) -> Result<Revision> {
        limits::check(&transaction)?;
        let compares: Vec<Compare> = transaction.expect.iter().map(|(key, expected)| compare(self.key(key), *expected)).collect();
        // Where a condition fails, the same transaction tells what was found instead.
        let keys_only = GetOptions::new().with_keys_only();
        let looks: Vec<TxnOp> = transaction.expect.iter().map(|(key, _)| TxnOp::get(self.key(key), Some(keys_only.clone()))).collect();
        let ops: Vec<TxnOp> = transaction
            .ops
            .iter()
            .map(|op| match op {
                Op::Put { key, value } => TxnOp::put(self.key(key), value.as_ref(), None),
                Op::Delete { key } => TxnOp::delete(self.key(key), None),
            })
            .collect();
        let mut kv = self.kv.clone();
        let answer = writing(kv.txn(Txn::new().when(compares).and_then(ops).or_else(looks))).await?;
        if answer.succeeded() {
            return header_revision(answer.header());
        }
        let found = answer.op_responses().into_iter().map(|response| match response {
            TxnOpResponse::Get(mut get) => get.take_kvs().first().map(KeyValue::mod_revision),
            _ => None,
        });
        for ((key, expected), found) in transaction.expect.iter().zip(found) {
            let found = found.map(revision).transpose()?;
            if !expected.holds(found) {
                return Err(Error::Conflict { key: String::from_utf8_lossy(key).into_owned(), expected: *expected, found });
            }
        }
        Err(Error::Corrupt("etcd refused a transaction whose conditions all hold".into()))
    }

    async fn open_watch(&self, prefix: &[u8], after: Revision) -> Result<BoxStream<'static, Result<Vec<Change>>>> {
        let start = i64::try_from(after).ok().and_then(|n| n.checked_add(1)).ok_or(Error::Future { asked: after, newest: 0 })?;
        // Progress answers keep the connection proven alive; they carry no change and are dropped.
        let options = WatchOptions::new().with_prefix().with_start_revision(start).with_prev_key().with_progress_notify();
        let mut client = self.watch.clone();
        let mut changes = reading(client.watch(self.key(prefix), Some(options))).await?;
        let created = reading(changes.message()).await?.ok_or_else(|| Error::Unavailable("the watch was not opened".into()))?;
        refuse_cancelled(&created, after)?;
        let newest = header_revision(created.header())?;
        if after > newest {
            return Err(Error::Future { asked: after, newest });
        }
        let first = (!created.events().is_empty()).then_some(created);
        let watcher = Watcher { changes, first, asked: after, strip: self.prefix.len(), done: false };
        Ok(stream::unfold(watcher, Watcher::next).boxed())
    }
}

struct Watcher {
    changes: WatchStream,
    first: Option<WatchResponse>,
    asked: Revision,
    strip: usize,
    done: bool,
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<Vec<Change>>, Self)> {
        while !self.done {
            let answer = match self.first.take() {
                Some(first) => Ok(Some(first)),
                None => self.changes.message().await,
            };
            let batch = match answer {
                Err(error) => Err(failed(error, Error::Unavailable)),
                Ok(None) => Err(Error::Unavailable("etcd ended the watch".into())),
                Ok(Some(answer)) => refuse_cancelled(&answer, self.asked).and_then(|()| self.read(&answer)),
            };
            match batch {
                Ok(changes) if changes.is_empty() => continue,
                Ok(changes) => return Some((Ok(changes), self)),
                Err(error) => {
                    self.done = true;
                    return Some((Err(error), self));
                }
            }
        }
        None
    }

    fn read(&mut self, answer: &WatchResponse) -> Result<Vec<Change>> {
        let mut changes = Vec::with_capacity(answer.events().len());
        for event in answer.events() {
            let kv = event.kv().ok_or_else(|| Error::Corrupt("an event without a key".into()))?;
            let change = Change {
                revision: revision(kv.mod_revision())?,
                key: Bytes::copy_from_slice(kv.key().get(self.strip..).unwrap_or_default()),
                value: (event.event_type() == EventType::Put).then(|| Bytes::copy_from_slice(kv.value())),
                previous: event.prev_kv().map(|previous| Bytes::copy_from_slice(previous.value())),
            };
            self.asked = self.asked.max(change.revision);
            changes.push(change);
        }
        Ok(changes)
    }
}

impl Store for Etcd {
    fn is_shared(&self) -> bool {
        true
    }

    /// Linearizable, as every read here: etcd's leader is asked.
    fn revision(&self) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(async {
            let options = GetOptions::new().with_count_only();
            let mut kv = self.kv.clone();
            header_revision(reading(kv.get(self.prefix.clone(), Some(options))).await?.header())
        })
    }

    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Entry>>> {
        Box::pin(async move {
            let mut kv = self.kv.clone();
            let found = reading(kv.get(self.key(key), None)).await?.take_kvs().pop();
            found.map(|kv| entry(kv, self.prefix.len())).transpose()
        })
    }

    fn range<'a>(&'a self, start: &'a [u8], end: &'a [u8], limit: usize) -> BoxFuture<'a, Result<Range>> {
        Box::pin(self.read_range(start, end, limit))
    }

    /// Held together by its revision: a compaction on the way ends it with an error.
    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot>> {
        Box::pin(self.freeze())
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(self.transact(transaction))
    }

    fn watch<'a>(&'a self, prefix: &'a [u8], after: Revision) -> BoxFuture<'a, Result<BoxStream<'static, Result<Vec<Change>>>>> {
        Box::pin(self.open_watch(prefix, after))
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let newest = self.revision().await?;
            let asked = i64::try_from(revision).unwrap_or(i64::MAX);
            if revision > newest {
                return Err(Error::Future { asked: revision, newest });
            }
            let mut kv = self.kv.clone();
            match reading(kv.compact(asked, None)).await {
                // Another server was faster.
                Err(Error::Compacted { .. }) => Ok(()),
                other => other.map(drop),
            }
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

fn entry(found: KeyValue, prefix: usize) -> Result<Entry> {
    let revision = revision(found.mod_revision())?;
    let (key, value) = found.into_key_value();
    Ok(Entry { key: strip(key, prefix), value: value.into(), revision })
}

fn compare(key: Vec<u8>, expected: Expect) -> Compare {
    match expected {
        Expect::Absent => Compare::create_revision(key, CompareOp::Equal, 0),
        Expect::Present => Compare::create_revision(key, CompareOp::Greater, 0),
        Expect::At(revision) => Compare::mod_revision(key, CompareOp::Equal, i64::try_from(revision).unwrap_or(i64::MAX)),
    }
}

fn refuse_cancelled(answer: &WatchResponse, asked: Revision) -> Result<()> {
    if answer.compact_revision() != 0 {
        return Err(Error::Compacted { asked, oldest: revision(answer.compact_revision())? });
    }
    if answer.canceled() {
        return Err(Error::Unavailable(format!("etcd ended the watch: {}", answer.cancel_reason())));
    }
    Ok(())
}

async fn reading<T>(call: impl Future<Output = std::result::Result<T, etcd_client::Error>>) -> Result<T> {
    timed(call, Error::Unavailable).await
}

async fn writing<T>(call: impl Future<Output = std::result::Result<T, etcd_client::Error>>) -> Result<T> {
    timed(call, Error::Unknown).await
}

async fn timed<T>(call: impl Future<Output = std::result::Result<T, etcd_client::Error>>, unanswered: fn(String) -> Error) -> Result<T> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(|error| failed(error, unanswered)),
        Err(_) => Err(unanswered(format!("no answer within {CALL_TIMEOUT:?}"))),
    }
}

/// etcd tells its refusals apart by their text.
fn failed(error: etcd_client::Error, unanswered: fn(String) -> Error) -> Error {
    let etcd_client::Error::GRpcStatus(status) = &error else { return unanswered(error.to_string()) };
    let text = status.message();
    let refused = |known: &str| text.contains(known);
    if refused("required revision has been compacted") {
        Error::Compacted { asked: 0, oldest: 0 }
    } else if refused("request is too large") {
        Error::TooLarge { size: MAX_TRANSACTION_BYTES, limit: MAX_TRANSACTION_BYTES }
    } else if refused("duplicate key given") || refused("too many operations") {
        Error::Refused(text.to_owned())
    } else if refused("database space exceeded") || refused("permission denied") {
        Error::Unavailable(text.to_owned())
    } else {
        unanswered(text.to_owned())
    }
}

fn header_revision(header: Option<&ResponseHeader>) -> Result<Revision> {
    revision(header.ok_or_else(|| Error::Corrupt("an answer without a header".into()))?.revision())
}

fn revision(n: i64) -> Result<Revision> {
    Revision::try_from(n).map_err(|_| Error::Corrupt(format!("revision {n}")))
}

fn strip(key: Vec<u8>, prefix: usize) -> Bytes {
    let mut key = Bytes::from(key);
    key.split_off(prefix.min(key.len()))
}
