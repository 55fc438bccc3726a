//! `pintle plugin replay`: a candidate over recorded decisions, in this process, without a cluster.
//!
//! Deterministic: instructions are counted instead of time, and the component hears what was heard then; the same log and component give
//! the same answers to the bit, and [`Report::answers`] is their digest. Each decision is made in the situation that was recorded, whatever the
//! candidate decided before. Refuses a log without the candidate's world.

mod controller;
mod ingress;
mod scheduler;
mod words;

pub use words::time;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::log::encoded;
use super::offline::Maker;
use super::read::each;
use super::record::{Decision, Record, Session, Subject, What};
use super::segment::LogError;
use crate::engine::{EngineError, Machine, hex};
use crate::load::{LoadError, Loaded, World, detect};

/// Changes that a report lists; all are counted.
const MAX_CHANGES: usize = 1000;

pub struct Request {
    /// A file that `pintle plugin decisions export` wrote, a folder of segments, or a data folder.
    pub log: PathBuf,
    pub component: Vec<u8>,
    /// Needed when the log has several plugins of the candidate's world.
    pub plugin: Option<String>,
    /// In place of the recorded configuration.
    pub config: Option<String>,
    /// Where the compiled component is kept.
    pub cache: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the candidate: {0}")]
    Load(#[from] LoadError),
    #[error("the log holds no decisions of a {0}")]
    OtherWorld(World),
    #[error("the log holds decisions of several plugins; name one of them: {0}")]
    Several(String),
    #[error("the log holds no decisions of {0:?}, only of: {1}")]
    NoSuchPlugin(String, String),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub plugin: String,
    /// Digests of the revisions that decided.
    pub recorded: BTreeSet<String>,
    pub candidate: String,
    /// In the log.
    pub decisions: u64,
    /// To the bit.
    pub identical: u64,
    /// The same in effect, with other scores or reasons.
    pub same: u64,
    pub changed: u64,
    /// The log does not hold their inputs.
    pub skipped: u64,
    /// Calls that the candidate did not return from.
    pub faults: u64,
    /// Changes by kind.
    pub kinds: BTreeMap<String, u64>,
    /// The first of them.
    pub changes: Vec<Change>,
    /// Digest of all answers, in order.
    pub answers: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    pub time: String,
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub kind: String,
    pub before: String,
    pub after: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// What became of one decision.
enum Outcome {
    Identical,
    Same,
    Changed { kind: &'static str, before: String, after: String, reasons: Vec<String> },
    Skipped,
}

/// What each world's replay has to do.
struct Replay {
    report: Report,
    hasher: Sha256,
    sessions: HashMap<u64, Arc<Session>>,
    contents: HashMap<u64, Bytes>,
}

pub async fn replay(request: Request) -> Result<Report, ReplayError> {
    let log = log_of(&request.log);
    let machine = Machine::deterministic(request.cache)?;
    let loaded = detect(&machine, &request.component)?;
    let plugin = choose(&log, loaded.world, request.plugin)?;
    let mut replay = Replay {
        report: Report { plugin, candidate: loaded.digest.to_string(), ..Report::default() },
        hasher: Sha256::new(),
        sessions: HashMap::new(),
        contents: HashMap::new(),
    };
    let makers = Makers { machine, loaded, config: request.config.map(Into::into) };
    match makers.loaded.world {
        World::Scheduler => replay.run(&log, &makers, scheduler::Player::default()).await?,
        World::Controller => replay.run(&log, &makers, controller::Player::default()).await?,
        World::Admission => return Err(ReplayError::OtherWorld(World::Admission)),
        World::Ingress => replay.run(&log, &makers, ingress::Player::default()).await?,
    }
    replay.report.answers = format!("sha256:{}", hex(&replay.hasher.finalize()));
    Ok(replay.report)
}

/// The folder of segments in a data folder, or what was named.
fn log_of(path: &Path) -> PathBuf {
    let inner = ["server/plugins/decisions", "plugins/decisions", "decisions"].into_iter().map(|p| path.join(p)).find(|p| p.is_dir());
    inner.unwrap_or_else(|| path.to_owned())
}

fn choose(log: &Path, world: World, asked: Option<String>) -> Result<String, ReplayError> {
    let (mut plugins, mut sessions) = (BTreeSet::new(), HashMap::new());
    each(log, |record| {
        match record {
            Some(Record::Session(session)) if session.world == world => drop(sessions.insert(session.id, session.plugin)),
            Some(Record::Decision(decision)) => plugins.extend(sessions.get(&decision.session).map(|plugin| plugin.to_string())),
            _ => {}
        }
        Ok(())
    })?;
    let names = || plugins.iter().cloned().collect::<Vec<_>>().join(", ");
    match asked {
        Some(asked) if plugins.contains(&asked) => Ok(asked),
        Some(_) | None if plugins.is_empty() => Err(ReplayError::OtherWorld(world)),
        Some(asked) => Err(ReplayError::NoSuchPlugin(asked, names())),
        None if plugins.len() == 1 => Ok(plugins.into_iter().next().unwrap_or_default()),
        None => Err(ReplayError::Several(names())),
    }
}

struct Makers {
    machine: Machine,
    loaded: Loaded,
    config: Option<Arc<str>>,
}

impl Makers {
    fn of(&self, session: &Session) -> Maker {
        Maker::new(&self.machine, self.loaded.clone(), self.config.clone().unwrap_or_else(|| session.config.clone()))
    }
}

/// A world's way of replaying. Given each record of the plugin in order.
trait WorldPlayer {
    async fn fed(&mut self, _makers: &Makers, _session: &Session, _fed: super::record::Fed) {}
    /// Makes the decision again and puts what was answered into the digest.
    async fn decide(
        &mut self,
        makers: &Makers,
        session: &Session,
        decision: Decision,
        contents: &mut HashMap<u64, Bytes>,
        digest: &mut Digested,
    ) -> Outcome;
}

/// What goes into the digest of a decision.
#[derive(Default)]
struct Digested {
    bytes: Vec<u8>,
    fault: bool,
}

impl Digested {
    fn add<T: Serialize>(&mut self, value: &T) {
        self.bytes.extend_from_slice(&encoded(value));
    }
    fn fault(&mut self, fault: &crate::guest::Fault) {
        self.fault = true;
        self.add(&fault.to_string());
    }
}

impl Replay {
    async fn run(&mut self, log: &Path, makers: &Makers, mut player: impl WorldPlayer) -> Result<(), ReplayError> {
        // One record at a time: what is read is not kept.
        for path in super::segment::segments(log)? {
            self.contents.clear();
            let mut reader = super::segment::SegmentReader::open(&path)?;
            while let Some(block) = reader.next_block() {
                for record in reader.records(&block)? {
                    self.take(makers, &mut player, record).await;
                }
            }
        }
        Ok(())
    }

    async fn take(&mut self, makers: &Makers, player: &mut impl WorldPlayer, record: Record) {
        match record {
            Record::Session(session) if *session.plugin == *self.report.plugin => {
                self.sessions.entry(session.id).or_insert_with(|| Arc::new(session));
            }
            Record::Session(_) => {}
            Record::Content(content) => drop(self.contents.insert(content.id, content.json)),
            Record::Fed(fed) => {
                if let Some(session) = self.sessions.get(&fed.session) {
                    player.fed(makers, session, fed).await;
                }
            }
            Record::Decision(decision) => {
                let Some(session) = self.sessions.get(&decision.session).cloned() else { return };
                self.report.recorded.insert(session.digest.to_string());
                let (number, subject) = (decision.number, decision.subject.clone());
                let mut digested = Digested::default();
                let outcome = player.decide(makers, &session, *decision, &mut self.contents, &mut digested).await;
                self.hasher.update(Sha256::digest(&digested.bytes));
                self.report.faults += u64::from(digested.fault);
                self.note(number, &subject, outcome);
            }
        }
    }

    fn note(&mut self, number: u64, subject: &Subject, outcome: Outcome) {
        let report = &mut self.report;
        report.decisions += 1;
        match outcome {
            Outcome::Identical => report.identical += 1,
            Outcome::Same => report.same += 1,
            Outcome::Skipped => report.skipped += 1,
            Outcome::Changed { kind, before, after, reasons } => {
                report.changed += 1;
                *report.kinds.entry(kind.to_owned()).or_default() += 1;
                if report.changes.len() < MAX_CHANGES {
                    let [resource, namespace, name] = [&subject.resource, &subject.namespace, &subject.name].map(|t| t.to_string());
                    let kind = kind.to_owned();
                    report.changes.push(Change { time: words::time(number), resource, namespace, name, kind, before, after, reasons });
                }
            }
        }
    }
}

impl What {
    fn reconcile(self) -> Option<super::record::Reconcile> {
        if let Self::Reconcile(reconcile) = self { Some(reconcile) } else { None }
    }
    fn compile(self) -> Option<super::record::Compile> {
        if let Self::Compile(compile) = self { Some(compile) } else { None }
    }
}
