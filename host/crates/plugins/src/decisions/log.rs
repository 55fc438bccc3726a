//! The drivers' side of the decision log: hands over what was decided and goes on. What does not fit into the queue is dropped and counted:
//! a decision never waits for its record.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::Delta;

use super::record::{Decision, Fed, Feed, Session, Subject, What};
use super::tape::Recording;
use super::writer::{self, Bounds};
use crate::load::World;
use crate::revision::Revision;

/// Records on their way to the writer.
const MAX_QUEUED: usize = 8192;
/// About how many bytes these may keep alive. One message more may pass, however large: everything that a fresh instance is fed.
const MAX_QUEUED_BYTES: usize = 32 << 20;
/// What a delta weighs, about: a node with its images, a pod with its labels.
const DELTA_BYTES: usize = 1 << 10;
/// What one weighs that is still to be spelled out of an object that others hold as well.
const SHARED_DELTA_BYTES: usize = 64;
/// What a node of a ranking weighs: its id, and its score.
const RANKED_BYTES: usize = 24;

/// Where decisions go. A clone is the same log.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    sender: SyncSender<Message>,
    queued_bytes: Arc<AtomicUsize>,
    counters: Arc<Counters>,
    last: AtomicU64,
}

#[derive(Default)]
pub struct Counters {
    /// Decisions written: schedulers', controllers', ingress controllers'.
    pub decisions: [AtomicU64; 3],
    /// That were not written, because the queue was full or the disk refused.
    pub dropped: AtomicU64,
    pub bytes_written: AtomicU64,
    /// On disk now.
    pub bytes: AtomicU64,
    pub segments: AtomicU64,
}

/// Spelled out while they are written down.
pub type Deltas = Box<dyn Iterator<Item = Delta> + Send>;

pub enum Message {
    Open(Session, Arc<Gaps>),
    Fed {
        fed: Fed,
        recording: Recording,
        weight: usize,
    },
    /// A scheduler knows all this and nothing else.
    Everything {
        session: u64,
        recording: Recording,
        deltas: Deltas,
        weight: usize,
    },
    Decided {
        decision: Box<Decision>,
        recording: Recording,
        tried: Option<Recording>,
        weight: usize,
    },
    /// A session decides no more.
    Close(u64),
    /// Everything before it shall be readable. Answered when it is.
    Flush(SyncSender<()>),
}

/// One session's way into the log.
pub struct Stream {
    log: Log,
    session: u64,
    gaps: Arc<Gaps>,
}

/// Whether the log misses something that a scheduler was fed; a whole feed heals it. Each side raises and lowers its own flag.
#[derive(Default)]
pub struct Gaps {
    sender: AtomicBool,
    writer: AtomicBool,
}

impl Log {
    /// Starts the writer, which ends when the last clone is gone. Files are made when there is something to write.
    pub fn start(folder: PathBuf, bounds: Bounds) -> std::io::Result<Self> {
        let (sender, receiver): (_, Receiver<Message>) = sync_channel(MAX_QUEUED);
        let (queued_bytes, counters) = (Arc::new(AtomicUsize::new(0)), Arc::new(Counters::default()));
        writer::start(folder.clone(), bounds, receiver, queued_bytes.clone(), counters.clone())?;
        Ok(Self(Arc::new(Inner { folder, sender, queued_bytes, counters, last: AtomicU64::new(0) })))
    }

    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// A revision begins to decide. `task`: see [`Session::task`].
    pub fn open(&self, revision: &Revision, task: &str) -> Stream {
        let session = Session {
            id: self.now(),
            plugin: revision.plugin.clone(),
            digest: revision.loaded.digest.clone(),
            revision: revision.number,
            world: revision.loaded.world,
            config: revision.config.clone(),
            task: task.into(),
        };
        self.open_session(session)
    }

    pub fn open_session(&self, session: Session) -> Stream {
        let (id, gaps) = (session.id, Arc::new(Gaps::default()));
        // Without its session nothing of it can be read; a few bytes are worth the wait for a place in the queue.
        let _ = self.0.sender.send(Message::Open(session, gaps.clone()));
        Stream { log: self.clone(), session: id, gaps }
    }

    /// Blocks until everything before is on its way to the disk, or for the time given.
    pub fn flush(&self, patience: Duration) {
        let (done, told) = sync_channel(1);
        if self.0.sender.send(Message::Flush(done)).is_ok() {
            let _ = told.recv_timeout(patience);
        }
    }

    fn send(&self, message: Message, weight: usize) -> bool {
        let inner = &self.0;
        if inner.queued_bytes.load(Ordering::Relaxed) > MAX_QUEUED_BYTES {
            return false;
        }
        inner.queued_bytes.fetch_add(weight, Ordering::Relaxed);
        let sent = inner.sender.try_send(message).is_ok();
        if !sent {
            inner.queued_bytes.fetch_sub(weight, Ordering::Relaxed);
        }
        sent
    }

    /// Microseconds since 1970, but no number twice: also names instances.
    pub fn now(&self) -> u64 {
        let now = u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap_or_default();
        let next = |last: u64| Some(now.max(last + 1));
        match self.0.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(last) | Err(last) => now.max(last + 1),
        }
    }
}

impl Stream {
    /// The log misses something that was fed: it needs everything anew before decisions can be replayed.
    pub fn is_broken(&self) -> bool {
        self.gaps.sender.load(Ordering::Acquire) || self.gaps.is_in_writer()
    }

    pub fn fed(&self, feed: Feed, mut recording: Recording, deltas: Vec<Delta>) {
        let whole = feed.is_whole();
        if deltas.is_empty() && !whole {
            return;
        }
        if !whole && self.is_broken() {
            return self.gaps.sender.store(true, Ordering::Release);
        }
        let weight = recording.weight + deltas.len() * DELTA_BYTES;
        let heard = std::mem::take(&mut recording.heard);
        let fed = Fed { session: self.session, feed, heard, deltas };
        let sent = self.log.send(Message::Fed { fed, recording, weight }, weight);
        if whole || !sent {
            self.gaps.sender.store(!sent, Ordering::Release);
        }
    }

    /// It knows `count` changes and nothing else: it was fed them, or the log missed some.
    pub fn fed_everything(&self, recording: Recording, count: usize, deltas: impl Iterator<Item = Delta> + Send + 'static) {
        let weight = recording.weight + count * SHARED_DELTA_BYTES;
        let message = Message::Everything { session: self.session, recording, deltas: Box::new(deltas), weight };
        let sent = self.log.send(message, weight);
        self.gaps.sender.store(!sent, Ordering::Release);
    }

    /// `tried`: what was heard when it was asked whom to evict.
    pub fn decided(&self, subject: Subject, took: Duration, mut recording: Recording, mut tried: Option<Recording>, mut what: What) {
        let heard = std::mem::take(&mut recording.heard);
        let mut weight = size_of::<Decision>() + recording.weight;
        if let What::Placement(placement) = &mut what {
            weight += placement.pod.len();
            if let (Some(recording), Some(tried)) = (&mut tried, &mut placement.preemption) {
                tried.heard = std::mem::take(&mut recording.heard);
                weight += recording.weight;
            }
        }
        if let What::Ranking(ranking) = &what {
            weight += ranking.pod.len() + ranking.nodes.len() * RANKED_BYTES;
        }
        let decision = Box::new(Decision {
            number: self.log.now(),
            session: self.session,
            took_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            inputs: [0; 16],
            intact: !self.gaps.sender.load(Ordering::Acquire),
            subject,
            heard,
            what,
        });
        if !self.log.send(Message::Decided { decision, recording, tried, weight }, weight) {
            self.log.0.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // As with its beginning: checkpoints would repeat for ever what it was fed.
        let _ = self.log.0.sender.send(Message::Close(self.session));
    }
}

impl Gaps {
    pub fn is_in_writer(&self) -> bool {
        self.writer.load(Ordering::Acquire)
    }
    pub fn set_in_writer(&self, gap: bool) {
        self.writer.store(gap, Ordering::Release);
    }
}

impl Message {
    pub fn weight(&self) -> usize {
        match self {
            Self::Fed { weight, .. } | Self::Everything { weight, .. } | Self::Decided { weight, .. } => *weight,
            Self::Open(..) | Self::Close(_) | Self::Flush(_) => 0,
        }
    }
}

impl Counters {
    pub fn decided(&self, world: World) {
        let place = match world {
            World::Scheduler => 0,
            World::Controller => 1,
            World::Ingress => 2,
            // What policies admit is not recorded.
            World::Admission => return,
        };
        self.decisions[place].fetch_add(1, Ordering::Relaxed);
    }

    /// As Prometheus text.
    pub fn render(&self) -> String {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut out =
            "# HELP pintle_decision_log_decisions_total Decisions written to the decision log.\n# TYPE pintle_decision_log_decisions_total counter\n"
                .to_owned();
        for (world, count) in ["scheduler", "controller", "ingress"].iter().zip(&self.decisions) {
            out.push_str(&format!("pintle_decision_log_decisions_total{{world=\"{world}\"}} {}\n", value(count)));
        }
        let rows = [
            ("dropped_total", "counter", "Decisions that were not written: the queue was full, or the disk refused.", &self.dropped),
            ("written_bytes_total", "counter", "Bytes written to the decision log.", &self.bytes_written),
            ("bytes", "gauge", "Bytes that the decision log takes on disk.", &self.bytes),
            ("segments", "gauge", "Files of the decision log.", &self.segments),
        ];
        for (name, kind, help, counter) in rows {
            let name = format!("pintle_decision_log_{name}");
            out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {}\n", value(counter)));
        }
        out
    }
}

/// A value of the WIT, encoded. They always can be.
pub fn encoded<T: serde::Serialize>(value: &T) -> Bytes {
    postcard::to_stdvec(value).unwrap_or_default().into()
}
