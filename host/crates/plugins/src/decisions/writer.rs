//! The thread that writes the decision log: gathers records into blocks, keeps each object's version once a segment, begins segments with
//! the sessions and a checkpoint of what schedulers know, and drops the oldest segments.
//!
//! Every segment stands alone. A checkpoint is folded from the segment before, so that no state is held in memory. What the disk refuses is
//! dropped and counted; the log begins anew after a pause.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::Delta;
use sha2::{Digest, Sha256};

use super::fold::State;
use super::log::{Counters, Deltas, Gaps, Message, encoded};
use super::record::{Content, Decision, Fed, Feed, Heard, Record, Ref, Session, What};
use super::redact::{self, Salt};
use super::segment::{Draft, EXTENSION, LogError, SegmentReader, segments, write_header};
use super::splice::splice;
use super::tape::Recording;
use crate::load::World;
use crate::pieces::some_of;

/// On disk, all segments together: hours of a busy cluster, days of a quiet one.
pub const MAX_LOG_BYTES: u64 = 64 << 20;
pub const MAX_SEGMENTS: usize = 8;
/// A segment ends here, not counting its checkpoint.
pub const SEGMENT_BYTES: u64 = MAX_LOG_BYTES / MAX_SEGMENTS as u64;
/// Unpacked: what a search for one decision may have to read.
const SEGMENT_UNPACKED_BYTES: u64 = 64 << 20;
/// So the log holds at most [`MAX_SEGMENTS`] times as many.
pub const SEGMENT_DECISIONS: u32 = 50_000;
/// Records are packed together up to here.
const BLOCK_BYTES: usize = 256 << 10;
/// Deltas of one record, so that no block is long.
const FEED_CHUNK: usize = 64;
/// What a decision may add in versions of objects; with more it cannot be replayed.
const MAX_DECISION_BYTES: usize = 32 << 20;
/// A record is on disk so long after its decision, at the latest.
const FLUSH_AFTER: Duration = Duration::from_secs(1);
/// After the disk refused.
const RETRY: Duration = Duration::from_secs(30);

/// How large the log may become.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub log_bytes: u64,
    pub segments: usize,
    pub segment_bytes: u64,
    pub segment_decisions: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { log_bytes: MAX_LOG_BYTES, segments: MAX_SEGMENTS, segment_bytes: SEGMENT_BYTES, segment_decisions: SEGMENT_DECISIONS }
    }
}

pub fn start(folder: PathBuf, bounds: Bounds, receiver: Receiver<Message>, queued: Arc<AtomicUsize>, counters: Arc<Counters>) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let mut salt = Salt::default();
    rand::fill(&mut salt);
    let writer = Writer { folder, bounds, counters, salt, sessions: BTreeMap::new(), current: None, block: Draft::default(), rests_until: None };
    std::thread::Builder::new().name("decisions".to_owned()).spawn(move || writer.run(&receiver, &queued)).map(drop)
}

struct Writer {
    folder: PathBuf,
    bounds: Bounds,
    counters: Arc<Counters>,
    salt: Salt,
    /// Those that may still decide.
    sessions: BTreeMap<u64, Live>,
    current: Option<Segment>,
    block: Draft,
    rests_until: Option<Instant>,
}

struct Live {
    session: Session,
    gaps: Arc<Gaps>,
    /// Digest of all that was fed, in order.
    chain: [u8; 32],
    /// Ingress: the versions of the last compilation in this segment.
    objects: Vec<Ref>,
}

struct Segment {
    path: PathBuf,
    file: File,
    /// Behind the checkpoint.
    bytes: u64,
    unpacked: u64,
    decisions: u32,
    contents: HashSet<u64>,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Message>, queued: &AtomicUsize) {
        loop {
            let message =
                if self.block.is_empty() { receiver.recv().map_err(|_| RecvTimeoutError::Disconnected) } else { receiver.recv_timeout(FLUSH_AFTER) };
            match message {
                Ok(message) => {
                    let weight = message.weight();
                    self.take(message);
                    queued.fetch_sub(weight, Ordering::Relaxed);
                }
                Err(RecvTimeoutError::Timeout) => self.write_block(),
                Err(RecvTimeoutError::Disconnected) => return self.write_block(),
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Open(session, gaps) => self.open(session, gaps),
            Message::Close(session) => drop(self.sessions.remove(&session)),
            Message::Fed { fed, recording, .. } => self.fed(fed, recording),
            Message::Everything { session, recording, deltas, .. } => self.fed_everything(session, recording, deltas),
            Message::Decided { decision, recording, tried, .. } => self.decided(decision, recording, tried),
            Message::Flush(done) => {
                self.write_block();
                let _ = done.try_send(());
            }
        }
        if self.block.raw.len() >= BLOCK_BYTES {
            self.write_block();
        }
    }

    fn open(&mut self, session: Session, gaps: Arc<Gaps>) {
        self.push(&Record::Session(session.clone()));
        self.sessions.insert(session.id, Live { session, gaps, chain: [0; 32], objects: Vec::new() });
    }

    fn fed(&mut self, fed: Fed, recording: Recording) {
        let Some(live) = self.sessions.get_mut(&fed.session) else { return };
        if fed.feed.is_whole() {
            live.gaps.set_in_writer(false);
        } else if live.gaps.is_in_writer() {
            return;
        }
        let before = if fed.feed.is_whole() { [0; 32] } else { live.chain };
        live.chain = Sha256::new().chain_update(before).chain_update(encoded(&fed.deltas)).finalize().into();
        self.keep(recording.contents);
        let Fed { session, feed, heard, deltas } = fed;
        self.feed(session, feed, heard, deltas);
    }

    /// However much it is, only a piece of it is in memory at a time.
    fn fed_everything(&mut self, session: u64, mut recording: Recording, mut deltas: Deltas) {
        let heard = std::mem::take(&mut recording.heard);
        let first = some_of(&mut deltas, FEED_CHUNK);
        self.fed(Fed { session, feed: Feed::Fresh, heard, deltas: first }, recording);
        loop {
            if self.block.raw.len() >= BLOCK_BYTES {
                self.write_block();
            }
            let piece = some_of(&mut deltas, FEED_CHUNK);
            if piece.is_empty() {
                return;
            }
            self.fed(Fed { session, feed: Feed::More, heard: Vec::new(), deltas: piece }, Recording::default());
        }
    }

    fn feed(&mut self, session: u64, feed: Feed, heard: Vec<Heard>, mut deltas: Vec<Delta>) {
        let mut first = Some((feed, heard));
        while !deltas.is_empty() || first.is_some() {
            let rest = deltas.split_off(deltas.len().min(FEED_CHUNK));
            let goes_on = if matches!(feed, Feed::Checkpoint) { Feed::CheckpointGoesOn } else { Feed::More };
            let (feed, heard) = first.take().unwrap_or((goes_on, Vec::new()));
            self.push(&Record::Fed(Fed { session, feed, heard, deltas }));
            deltas = rest;
            // What is gathered keeps its memory for ever: a checkpoint of a large cluster has megabytes.
            if matches!(goes_on, Feed::CheckpointGoesOn) && self.block.raw.len() >= BLOCK_BYTES {
                self.write_block_of_checkpoint();
            }
        }
    }

    fn decided(&mut self, mut decision: Box<Decision>, recording: Recording, tried: Option<Recording>) {
        let Some(live) = self.sessions.get_mut(&decision.session) else { return };
        let world = live.session.world;
        decision.intact &= !live.gaps.is_in_writer();
        decision.inputs = inputs(&decision, &live.chain);
        if let What::Compile(compile) = &mut decision.what {
            splice(compile, &mut live.objects);
        }
        for heard in &mut decision.heard {
            if let Heard::Asked(question, _) = heard
                && question.is_about_secrets()
                && !question.body.is_empty()
            {
                question.body = redact::secret(&question.body, &self.salt);
            }
        }
        let mut contents = recording.contents;
        contents.extend(tried.into_iter().flat_map(|t| t.contents));
        decision.intact &= self.keep(contents);
        self.push(&Record::Decision(decision));
        if self.current.is_some() {
            self.counters.decided(world);
        } else {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes the versions that the segment does not hold yet; false when they are too much.
    fn keep(&mut self, contents: Vec<(u64, bytes::Bytes, bool)>) -> bool {
        if contents.is_empty() {
            return true;
        }
        let Some(segment) = self.segment() else { return false };
        let fresh: Vec<_> = contents.into_iter().filter(|(id, ..)| segment.contents.insert(*id)).collect();
        if fresh.iter().map(|(_, json, _)| json.len()).sum::<usize>() > MAX_DECISION_BYTES {
            for (id, ..) in &fresh {
                segment.contents.remove(id);
            }
            return false;
        }
        for (id, json, secret) in fresh {
            let json = if secret { redact::secret(&json, &self.salt) } else { json };
            self.push(&Record::Content(Content { id, json }));
        }
        true
    }

    fn push(&mut self, record: &Record) {
        if self.segment().is_none() {
            return;
        }
        if let Err(error) = self.block.push(record) {
            tracing::error!(%error, "a decision cannot be encoded");
        }
    }

    /// The segment to write to, made when there is none.
    fn segment(&mut self) -> Option<&mut Segment> {
        if self.current.is_none() {
            if self.rests_until.is_some_and(|until| Instant::now() < until) {
                return None;
            }
            self.begin(HashMap::new());
        }
        self.current.as_mut()
    }

    fn write_block(&mut self) {
        let Some(segment) = &mut self.current else { return };
        let (unpacked, decisions) = (self.block.raw.len() as u64, self.block.decisions);
        match self.block.flush(&mut segment.file) {
            Ok(bytes) => {
                self.counters.bytes_written.fetch_add(bytes, Ordering::Relaxed);
                self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
                segment.bytes += bytes;
                segment.unpacked += unpacked;
                segment.decisions += decisions;
                let Bounds { segment_bytes, segment_decisions, .. } = self.bounds;
                if segment.bytes >= segment_bytes || segment.unpacked >= SEGMENT_UNPACKED_BYTES || segment.decisions >= segment_decisions {
                    self.rotate();
                }
            }
            Err(error) => {
                let error = LogError::Io(segment.path.clone(), error);
                self.refused(&error);
            }
        }
    }

    /// The disk does not take it: what was gathered is lost, and nothing that follows can be replayed before all is fed anew.
    fn refused(&mut self, error: &LogError) {
        tracing::warn!(%error, "the decision log cannot be written; trying again in {} s", RETRY.as_secs());
        self.counters.dropped.fetch_add(u64::from(self.block.decisions), Ordering::Relaxed);
        self.block = Draft::default();
        self.current = None;
        self.rests_until = Some(Instant::now() + RETRY);
        self.sessions.values().for_each(|live| live.gaps.set_in_writer(true));
    }

    fn rotate(&mut self) {
        let Some(closed) = self.current.take() else { return };
        let states = self.fold(&closed.path).unwrap_or_else(|error| {
            tracing::warn!(%error, "the decision log cannot be read back");
            HashMap::new()
        });
        self.begin(states);
    }

    /// A new segment: the sessions, then what each scheduler knows.
    fn begin(&mut self, states: HashMap<u64, State>) {
        match create(&self.folder) {
            Ok((path, file)) => self.current = Some(Segment { path, file, bytes: 0, unpacked: 0, decisions: 0, contents: HashSet::new() }),
            Err(error) => return self.refused(&error),
        }
        let sessions: Vec<Session> = self.sessions.values().map(|live| live.session.clone()).collect();
        for session in sessions {
            self.push(&Record::Session(session));
        }
        let schedulers = self.sessions.values().filter(|live| live.session.world == World::Scheduler);
        schedulers.filter(|live| !states.contains_key(&live.session.id)).for_each(|live| live.gaps.set_in_writer(true));
        self.sessions.values_mut().for_each(|live| live.objects.clear());
        for (session, state) in states {
            self.feed(session, Feed::Checkpoint, Vec::new(), state.into_deltas());
        }
        self.write_block_of_checkpoint();
        self.prune();
    }

    fn write_block_of_checkpoint(&mut self) {
        let Some(segment) = &mut self.current else { return };
        match self.block.flush(&mut segment.file) {
            Ok(bytes) => drop(self.counters.bytes_written.fetch_add(bytes, Ordering::Relaxed)),
            Err(error) => {
                let error = LogError::Io(segment.path.clone(), error);
                self.refused(&error);
            }
        }
    }

    /// What each scheduler that may still decide knew at the end of a segment.
    fn fold(&self, path: &Path) -> Result<HashMap<u64, State>, LogError> {
        let is_live = |id: u64| self.sessions.get(&id).is_some_and(|live| live.session.world == World::Scheduler && !live.gaps.is_in_writer());
        let mut states: HashMap<u64, State> = HashMap::new();
        let mut reader = SegmentReader::open(path)?;
        while let Some(block) = reader.next_block() {
            for record in reader.feeds(&block, is_live)? {
                if let Record::Fed(fed) = record
                    && (fed.feed.is_whole() || states.contains_key(&fed.session))
                {
                    states.entry(fed.session).or_default().apply(fed.feed.is_whole(), fed.deltas);
                }
            }
        }
        Ok(states)
    }

    /// Drops the oldest segments beyond the limits, and counts what is there.
    fn prune(&self) {
        let Ok(mut all) = segments(&self.folder) else { return };
        let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |m| m.len());
        let mut total: u64 = all.iter().map(size).sum();
        while all.len() > self.bounds.segments || (total > self.bounds.log_bytes && all.len() > 1) {
            let oldest = all.remove(0);
            total -= size(&oldest);
            if let Err(error) = std::fs::remove_file(&oldest) {
                tracing::warn!(path = %oldest.display(), %error, "an old segment of the decision log stays");
            }
        }
        self.counters.bytes.store(total, Ordering::Relaxed);
        self.counters.segments.store(all.len() as u64, Ordering::Relaxed);
    }
}

fn create(folder: &Path) -> Result<(PathBuf, File), LogError> {
    let last = segments(folder)?.pop();
    let number = last.and_then(|path| path.file_stem()?.to_str()?.parse::<u64>().ok()).unwrap_or(0) + 1;
    let path = folder.join(format!("{number:012}.{EXTENSION}"));
    let fault = |e| LogError::Io(path.clone(), e);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(fault)?;
    write_header(&mut file).map_err(fault)?;
    Ok((path, file))
}

fn inputs(decision: &Decision, chain: &[u8; 32]) -> [u8; 16] {
    let mut hasher = Sha256::new();
    match &decision.what {
        What::Placement(placement) => {
            hasher.update(chain);
            hasher.update(&placement.pod);
            hasher.update(encoded(&placement.scope));
        }
        What::Ranking(ranking) => {
            hasher.update(chain);
            hasher.update(&ranking.pod);
            hasher.update(encoded(&ranking.nodes));
        }
        What::Reconcile(_) => hasher.update(encoded(&decision.subject)),
        What::Compile(compile) => hasher.update(encoded(&(&compile.kinds, &compile.objects))),
    }
    hasher.update(encoded(&decision.heard));
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize()[..16]);
    short
}
