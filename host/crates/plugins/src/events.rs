//! `events.k8s.io/v1` Events: what happened to an object, for people. Repeated ones become a series that is counted; their rate is
//! limited for each object. Best effort: an event that cannot be written is lost, a queue that is full drops the newest.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use pintle_api::GroupVersionResource;
use pintle_api::client::{Client, Patch, Target, WriteOptions};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Events waiting to be written.
const QUEUE: usize = 4096;
/// Writes under way at a time.
const IN_FLIGHT: usize = 8;
/// Events of one object at once, and how often another is let through after that; upstream's figures.
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);
/// A series ends when nothing was added for so long.
const SERIES_IDLE: Duration = Duration::from_secs(360);
/// The count of a series is written at most so often.
const SERIES_WRITE: Duration = Duration::from_secs(10);
/// Series and buckets that are remembered.
const MAX_REMEMBERED: usize = 2_000;
/// Upstream refuses longer notes.
const MAX_NOTE_BYTES: usize = 1024;

pub const EVENTS: GroupVersionResource = GroupVersionResource::constant("events.k8s.io", "v1", "events");

/// The object that an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Regarding {
    pub api_version: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    pub regarding: Regarding,
    /// `Normal` or `Warning`.
    pub kind: &'static str,
    pub reason: String,
    /// What was done or tried: `Binding`, `Scheduling`.
    pub action: String,
    pub note: String,
}

/// Cheap to clone; records from anywhere.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Event>,
}

impl Recorder {
    /// Writes as `client`; events name `controller` as the reporter.
    pub fn new(client: Arc<dyn Client>, controller: &str) -> Self {
        let (queue, events) = mpsc::channel(QUEUE);
        tokio::spawn(Writer::new(client, controller).run(events));
        Self { queue }
    }

    pub fn record(&self, event: Event) {
        if self.queue.try_send(event).is_err() {
            tracing::debug!("an event is dropped: too many wait");
        }
    }
}

/// The recorder of the plugin that acts at present. Its revisions have the same one: series and rates outlive a reload.
#[derive(Default)]
pub struct PluginRecorder(Option<(Arc<str>, Recorder)>);

impl PluginRecorder {
    pub fn of(&mut self, plugin: &Arc<str>, make: impl FnOnce() -> Recorder) -> Recorder {
        match &self.0 {
            Some((known, recorder)) if known == plugin => recorder.clone(),
            _ => self.0.insert((plugin.clone(), make())).1.clone(),
        }
    }
}

struct Writer {
    client: Arc<dyn Client>,
    controller: String,
    instance: String,
    /// By hashes: the events themselves would be a kilobyte each, and most are never repeated.
    series: HashMap<u64, Series>,
    buckets: Buckets,
    hasher: RandomState,
    in_flight: Arc<tokio::sync::Semaphore>,
}

struct Series {
    /// Of its Event object's name.
    suffix: u64,
    count: u64,
    seen: Instant,
    written: Instant,
}

/// Of each object, whatever its revision.
#[derive(Default)]
struct Buckets {
    by_object: HashMap<u64, Bucket>,
    hasher: RandomState,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Writer {
    fn new(client: Arc<dyn Client>, controller: &str) -> Self {
        let instance = format!("{controller}-pintle");
        let in_flight = Arc::new(tokio::sync::Semaphore::new(IN_FLIGHT));
        let (series, buckets, hasher) = (HashMap::new(), Buckets::default(), RandomState::new());
        Self { client, controller: controller.to_owned(), instance, series, buckets, hasher, in_flight }
    }

    async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            self.forget_old();
            if self.continues(&event).await || !self.buckets.take(&event.regarding, Instant::now()) {
                continue;
            }
            let now = Instant::now();
            let suffix = rand::random();
            let body = self.body(&event, &event_name(&event.regarding.name, suffix));
            let target = Target::collection(EVENTS, Some(namespace_of(&event.regarding)));
            self.series.insert(self.hasher.hash_one(&event), Series { suffix, count: 1, seen: now, written: now });
            let client = self.client.clone();
            self.spawn(async move {
                if let Err(status) = client.create(&target, body, &WriteOptions::default()).await {
                    tracing::debug!(%status, "an event was not written");
                }
            })
            .await;
        }
    }

    /// Counts the event into its series, when it has one.
    async fn continues(&mut self, event: &Event) -> bool {
        let Some(series) = self.series.get_mut(&self.hasher.hash_one(event)) else { return false };
        let now = Instant::now();
        series.count += 1;
        series.seen = now;
        if series.count > 2 && now - series.written < SERIES_WRITE {
            return true;
        }
        series.written = now;
        let patch = json!({"series": {"count": series.count, "lastObservedTime": micro_time()}});
        let target = Target::object(EVENTS, Some(namespace_of(&event.regarding)), &event_name(&event.regarding.name, series.suffix));
        let client = self.client.clone();
        self.spawn(async move {
            if let Err(status) = client.patch(&target, Patch::Merge(patch), &WriteOptions::default()).await {
                tracing::debug!(%status, "an event's series was not written");
            }
        })
        .await;
        true
    }

    async fn spawn(&self, write: impl Future<Output = ()> + Send + 'static) {
        let Ok(permit) = self.in_flight.clone().acquire_owned().await else { return };
        tokio::spawn(async move {
            write.await;
            drop(permit);
        });
    }

    fn forget_old(&mut self) {
        let buckets = &mut self.buckets.by_object;
        if self.series.len() < MAX_REMEMBERED && buckets.len() < MAX_REMEMBERED {
            return;
        }
        let now = Instant::now();
        self.series.retain(|_, s| now - s.seen < SERIES_IDLE);
        buckets.retain(|_, b| now - b.filled < REFILL);
        if self.series.len() >= MAX_REMEMBERED || buckets.len() >= MAX_REMEMBERED {
            self.series.clear();
            buckets.clear();
        }
    }

    fn body(&self, event: &Event, name: &str) -> Value {
        let r = &event.regarding;
        let mut regarding = json!({"apiVersion": r.api_version, "kind": r.kind, "name": r.name});
        for (field, text) in [("namespace", &r.namespace), ("uid", &r.uid), ("resourceVersion", &r.resource_version)] {
            if !text.is_empty() {
                regarding[field] = text.as_str().into();
            }
        }
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": name, "namespace": namespace_of(r)},
            "eventTime": micro_time(),
            "reportingController": self.controller, "reportingInstance": self.instance,
            "action": event.action, "reason": event.reason, "type": event.kind,
            "note": &event.note[..event.note.floor_char_boundary(MAX_NOTE_BYTES)],
            "regarding": regarding,
        })
    }
}

impl Buckets {
    /// Whether one more event about the object may be written.
    fn take(&mut self, regarding: &Regarding, now: Instant) -> bool {
        let Regarding { api_version, kind, namespace, name, uid, resource_version: _ } = regarding;
        let object = self.hasher.hash_one((api_version, kind, namespace, name, uid));
        let bucket = self.by_object.entry(object).or_insert(Bucket { tokens: BURST, filled: now });
        let refilled = (now - bucket.filled).as_secs_f64() / REFILL.as_secs_f64();
        (bucket.tokens, bucket.filled) = ((bucket.tokens + refilled).min(BURST), now);
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

/// Events about cluster-scoped objects lie in `default`.
fn namespace_of(regarding: &Regarding) -> &str {
    if regarding.namespace.is_empty() { "default" } else { &regarding.namespace }
}

fn event_name(object: &str, suffix: u64) -> String {
    let end = object.floor_char_boundary(200);
    format!("{}.{suffix:016x}", &object[..end])
}

/// RFC 3339 with microseconds, as `MicroTime` is written.
pub fn micro_time() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// RFC 3339 with seconds, as `Time` is written.
pub fn time() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_one_bucket_through_all_its_revisions() {
        let mut buckets = Buckets::default();
        let now = Instant::now();
        let mut written = |name: &str, revisions: std::ops::Range<u32>, now: Instant| {
            let regarding = |revision: u32| Regarding { name: name.to_owned(), resource_version: revision.to_string(), ..Regarding::default() };
            revisions.filter(|revision| buckets.take(&regarding(*revision), now)).count()
        };
        assert_eq!([written("a", 0..30, now), written("b", 0..3, now), written("a", 30..40, now)], [25, 3, 0]);
        assert_eq!(written("a", 40..50, now + REFILL), 1);
    }
}
