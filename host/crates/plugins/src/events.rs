//! `events.k8s.io/v1` Events: what happened to an object, for people. Repeated ones become a series that is counted; their rate is
//! limited for each object. Best effort: an event that cannot be written is lost, a queue that is full drops the newest.

use std::collections::HashMap;
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

struct Writer {
    client: Arc<dyn Client>,
    controller: String,
    instance: String,
    series: HashMap<Event, Series>,
    buckets: HashMap<Regarding, Bucket>,
    in_flight: Arc<tokio::sync::Semaphore>,
}

struct Series {
    name: String,
    count: u64,
    seen: Instant,
    written: Instant,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Writer {
    fn new(client: Arc<dyn Client>, controller: &str) -> Self {
        let instance = format!("{controller}-pintle");
        let in_flight = Arc::new(tokio::sync::Semaphore::new(IN_FLIGHT));
        Self { client, controller: controller.to_owned(), instance, series: HashMap::new(), buckets: HashMap::new(), in_flight }
    }

    async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            self.forget_old();
            if self.continues(&event).await || !self.has_token(&event.regarding) {
                continue;
            }
            let now = Instant::now();
            let name = event_name(&event.regarding.name);
            let body = self.body(&event, &name);
            let target = Target::collection(EVENTS, Some(namespace_of(&event.regarding)));
            self.series.insert(event, Series { name, count: 1, seen: now, written: now });
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
        let Some(series) = self.series.get_mut(event) else { return false };
        let now = Instant::now();
        series.count += 1;
        series.seen = now;
        if series.count > 2 && now - series.written < SERIES_WRITE {
            return true;
        }
        series.written = now;
        let patch = json!({"series": {"count": series.count, "lastObservedTime": micro_time()}});
        let target = Target::object(EVENTS, Some(namespace_of(&event.regarding)), &series.name);
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

    fn has_token(&mut self, regarding: &Regarding) -> bool {
        let now = Instant::now();
        let bucket = self.buckets.entry(regarding.clone()).or_insert(Bucket { tokens: BURST, filled: now });
        let refilled = (now - bucket.filled).as_secs_f64() / REFILL.as_secs_f64();
        (bucket.tokens, bucket.filled) = ((bucket.tokens + refilled).min(BURST), now);
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }

    fn forget_old(&mut self) {
        if self.series.len() < MAX_REMEMBERED && self.buckets.len() < MAX_REMEMBERED {
            return;
        }
        let now = Instant::now();
        self.series.retain(|_, s| now - s.seen < SERIES_IDLE);
        self.buckets.retain(|_, b| now - b.filled < REFILL);
        if self.series.len() >= MAX_REMEMBERED || self.buckets.len() >= MAX_REMEMBERED {
            self.series.clear();
            self.buckets.clear();
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

/// Events about cluster-scoped objects lie in `default`.
fn namespace_of(regarding: &Regarding) -> &str {
    if regarding.namespace.is_empty() { "default" } else { &regarding.namespace }
}

fn event_name(object: &str) -> String {
    let end = object.floor_char_boundary(200);
    format!("{}.{:016x}", &object[..end], rand::random::<u64>())
}

/// RFC 3339 with microseconds, as `MicroTime` is written.
pub fn micro_time() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// RFC 3339 with seconds, as `Time` is written.
pub fn time() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
