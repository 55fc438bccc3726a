//! A candidate controller that looks on: after the live revision has reconciled a key it is given the same key, under the same moment, over
//! the state that the live one saw ([`super::view`]). Its writes are captured and compared, and nothing is sent.
//!
//! It runs in a task of its own, so no key waits for it; where it is too slow, reconciliations are skipped and counted. Not compared: the
//! `route` calls that turn changes into keys, for the keys are the live revision's, and when a key shall come again.

use std::sync::Arc;

use pintle_plugin_bindings::controller::{Failure, Key as WitKey};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::compare::{Contrast, compare};
use super::queue::Key;
use super::record::Record;
use super::view::View;
use super::world::Witness;
use super::{IDLE, Instance, Member};
use crate::guest::{Fault, Moment};
use crate::index::Informer;
use crate::stages::spec::Difference;
use crate::stages::tally::Tally;

/// Reconciliations that wait for the shadow; each holds on to the states that it read.
const MAX_WAITING: usize = 128;

/// The crew's end.
pub struct Shadow {
    tally: Arc<Tally>,
    messages: mpsc::Sender<Reconciled>,
}

struct Reconciled {
    key: Key,
    moment: Moment,
    record: Record,
    outcome: Ended,
}

#[derive(Clone, PartialEq)]
enum Ended {
    Done,
    Retry(String),
    Terminal(String),
}

impl Shadow {
    /// `informers` are kept running for as long as it looks on.
    pub fn start(member: Member, tally: Arc<Tally>, informers: Vec<Arc<Informer>>) -> Self {
        let (messages, received) = mpsc::channel(MAX_WAITING);
        let follower = Follower { member, tally: tally.clone(), instance: None, rest_until: None, _informers: informers };
        tokio::spawn(follower.run(received));
        Self { tally, messages }
    }

    pub fn reconciled(&self, key: Key, moment: Moment, record: Record, outcome: &Result<Option<u64>, Failure>) {
        let outcome = Ended::from(outcome);
        if record.too_large || self.messages.try_send(Reconciled { key, moment, record, outcome }).is_err() {
            self.tally.skipped();
        }
    }
}

/// A note that the candidate watches what the live revision does not.
pub fn other_watch(resource: &str) -> Difference {
    Difference {
        subject: resource.to_owned(),
        kind: "Watches".to_owned(),
        live: "another relation or reading, or no watch".to_owned(),
        candidate: "watches it".to_owned(),
        reasons: vec!["in the shadow its keys are the live revision's: what this watch would add shows in a canary".to_owned()],
        ..Difference::default()
    }
}

/// The task's end.
struct Follower {
    member: Member,
    tally: Arc<Tally>,
    instance: Option<Instance>,
    rest_until: Option<Instant>,
    _informers: Vec<Arc<Informer>>,
}

impl Follower {
    async fn run(mut self, mut messages: mpsc::Receiver<Reconciled>) {
        loop {
            let message = match tokio::time::timeout(IDLE, messages.recv()).await {
                Ok(message) => message,
                Err(_) => {
                    self.instance = None;
                    messages.recv().await
                }
            };
            let Some(message) = message else { return };
            if self.rest_until.is_some_and(|until| Instant::now() < until) {
                self.tally.skipped();
                continue;
            }
            let instance = match self.instance.take() {
                Some(instance) => instance,
                None => match self.member.instantiate().await {
                    Ok(instance) => instance,
                    Err(fault) => {
                        self.fault("instantiate", &fault);
                        continue;
                    }
                },
            };
            self.follow(instance, message).await;
        }
    }

    async fn follow(&mut self, mut instance: Instance, message: Reconciled) {
        let Reconciled { key, moment, record, outcome: live } = message;
        let subject = super::router::id_of(&key);
        instance.store.data_mut().world.witness = Witness::Answers(Box::new(View::new(record)));
        let wit = WitKey { namespace: key.namespace.to_string(), name: key.name.to_string() };
        let call = instance.begin_at(self.member.revision.limits.deadline, moment);
        let answer = instance.exports.call_reconcile(&mut instance.store, &wit).await;
        let outcome = match instance.end(call, answer) {
            Ok(outcome) => outcome,
            Err(fault) => return self.fault(&subject, &fault),
        };
        self.member.revision.health.returned();
        self.tally.fuel(instance.fuel());
        let witness = std::mem::take(&mut instance.store.data_mut().world.witness);
        self.instance = Some(instance);
        let Witness::Answers(view) = witness else { return };
        let (ours, theirs) = view.into_writes();
        let candidate = Ended::from(&outcome);
        if let Some(Contrast { live, candidate, reasons }) = compare(&ours, &theirs) {
            self.tally.disagreed(Difference { subject, kind: "Writes".to_owned(), live, candidate, reasons, ..Difference::default() });
        } else if live.name() != candidate.name() {
            let (live, candidate) = (live.to_string(), candidate.to_string());
            self.tally.disagreed(Difference { subject, kind: "Outcome".to_owned(), live, candidate, ..Difference::default() });
        } else {
            self.tally.agreed();
        }
    }

    fn fault(&mut self, subject: &str, fault: &Fault) {
        let pause = self.member.failed(&format!("candidate: {subject}"), fault);
        self.instance = None;
        self.rest_until = Some(Instant::now() + pause);
        self.tally.fault(Difference { subject: subject.to_owned(), kind: "Fault".to_owned(), candidate: fault.to_string(), ..Difference::default() });
    }
}

impl Ended {
    fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry(_) => "retry",
            Self::Terminal(_) => "terminal",
        }
    }
}

impl From<&Result<Option<u64>, Failure>> for Ended {
    fn from(outcome: &Result<Option<u64>, Failure>) -> Self {
        match outcome {
            Ok(_) => Self::Done,
            Err(Failure::Retry(why)) => Self::Retry(why.clone()),
            Err(Failure::Terminal(why)) => Self::Terminal(why.clone()),
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Retry(why) | Self::Terminal(why) => write!(f, "{}: {why}", self.name()),
        }
    }
}
