//! A candidate scheduler that looks on: fed what the live one is fed, in the same order, and asked for the same pods under the same
//! moment, in a task of its own so that no pod waits for it. What it chooses is compared and never done. An extender's is asked for the
//! same nodes.
//!
//! Where it is too slow, decisions are skipped and counted; changes never are: when too many wait, it is fed everything again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Attempt, Choice, Delta, Outcome, Pod, Ranking, Reason, Scope};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::cluster::Snapshot;
use super::compare::{FEASIBLE, best, differ, explained, rankings_differ, rejected, same_preemption};
use super::decider::feed;
use super::members::wrong;
use super::nursery::spell_out;
use super::{Holder, Instance};
use crate::guest::{Fault, Moment};
use crate::stages::Trial;
use crate::stages::spec::Difference;

/// Decisions that wait for the shadow; more are skipped.
const MAX_WAITING: usize = 512;
/// Changes that wait for it; more, and it is fed everything once it has time.
const MAX_CHANGES: usize = 50_000;
/// Names in a text about victims.
const MAX_NAMED: usize = 5;

/// The driver's end.
pub struct Shadow {
    trial: Arc<Trial<Arc<Holder>>>,
    messages: mpsc::UnboundedSender<Message>,
    load: Arc<Load>,
}

#[derive(Default)]
struct Load {
    decisions: AtomicUsize,
    changes: AtomicUsize,
    /// It knows nothing, or lost the thread: the next that it is told must be everything.
    lost: AtomicBool,
}

enum Message {
    Everything(Snapshot),
    Feed(Arc<Vec<Delta>>),
    Decided(Box<Decided>),
    Preempted(Box<Preempted>),
    Ranked(Box<Ranked>),
}

struct Decided {
    pod: Pod,
    scope: Scope,
    moment: Moment,
    live: Result<Outcome, String>,
}

struct Preempted {
    pod: Pod,
    among: Option<Vec<u32>>,
    moment: Moment,
    live: Result<Attempt, String>,
}

struct Ranked {
    pod: Pod,
    nodes: Vec<u32>,
    moment: Moment,
    live: Result<Ranking, String>,
}

impl Shadow {
    pub fn start(trial: Arc<Trial<Arc<Holder>>>) -> Self {
        let (messages, received) = mpsc::unbounded_channel();
        let load = Arc::new(Load { lost: true.into(), ..Load::default() });
        let follower = Follower { trial: trial.clone(), load: load.clone(), instance: None, rest_until: None, nodes: HashMap::new() };
        tokio::spawn(follower.run(received));
        Self { trial, messages, load }
    }

    pub fn feed(&mut self, news: &Arc<Vec<Delta>>, everything: impl FnOnce() -> Snapshot) {
        let waiting = self.load.changes.load(Ordering::Relaxed);
        if self.load.lost.load(Ordering::Acquire) {
            if waiting == 0 {
                self.load.lost.store(false, Ordering::Release);
                let everything = everything();
                self.load.changes.fetch_add(everything.len() + 1, Ordering::Relaxed);
                let _ = self.messages.send(Message::Everything(everything));
            }
        } else if waiting + news.len() > MAX_CHANGES {
            self.load.lost.store(true, Ordering::Release);
        } else if !news.is_empty() {
            self.load.changes.fetch_add(news.len(), Ordering::Relaxed);
            let _ = self.messages.send(Message::Feed(news.clone()));
        }
    }

    pub fn decided(&self, pod: &Pod, scope: Scope, moment: Moment, live: &Result<Outcome, String>) {
        if self.has_room() {
            let _ = self.messages.send(Message::Decided(Box::new(Decided { pod: pod.clone(), scope, moment, live: live.clone() })));
        }
    }

    pub fn preempted(&self, pod: &Pod, among: Option<Vec<u32>>, moment: Moment, live: &Result<Attempt, String>) {
        if self.has_room() {
            let _ = self.messages.send(Message::Preempted(Box::new(Preempted { pod: pod.clone(), among, moment, live: live.clone() })));
        }
    }

    pub fn ranked(&self, pod: &Pod, nodes: &[u32], moment: Moment, live: Result<Ranking, String>) {
        if self.has_room() {
            let _ = self.messages.send(Message::Ranked(Box::new(Ranked { pod: pod.clone(), nodes: nodes.to_vec(), moment, live })));
        }
    }

    fn has_room(&self) -> bool {
        let room = !self.load.lost.load(Ordering::Acquire) && self.load.decisions.load(Ordering::Relaxed) < MAX_WAITING;
        if room {
            self.load.decisions.fetch_add(1, Ordering::Relaxed);
        } else {
            self.trial.tally.skipped();
        }
        room
    }
}

/// The task's end.
struct Follower {
    trial: Arc<Trial<Arc<Holder>>>,
    load: Arc<Load>,
    instance: Option<Instance>,
    rest_until: Option<Instant>,
    /// Names of the nodes, for the words of a difference.
    nodes: HashMap<u32, String>,
}

impl Follower {
    async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        while let Some(message) = messages.recv().await {
            match message {
                Message::Everything(snapshot) => {
                    let told = snapshot.len() + 1;
                    self.nodes.clear();
                    self.restart(snapshot).await;
                    self.load.changes.fetch_sub(told, Ordering::Relaxed);
                }
                Message::Feed(news) => {
                    self.learn(&news);
                    if let Some(mut instance) = self.instance.take() {
                        match feed(&mut instance, &news).await {
                            Ok(()) => self.instance = Some(instance),
                            Err(fault) => self.fault(&fault, "feed"),
                        }
                    }
                    self.load.changes.fetch_sub(news.len(), Ordering::Relaxed);
                }
                Message::Decided(decided) => {
                    self.decide(*decided).await;
                    self.load.decisions.fetch_sub(1, Ordering::Relaxed);
                }
                Message::Preempted(preempted) => {
                    self.preempt(*preempted).await;
                    self.load.decisions.fetch_sub(1, Ordering::Relaxed);
                }
                Message::Ranked(ranked) => {
                    self.rank(*ranked).await;
                    self.load.decisions.fetch_sub(1, Ordering::Relaxed);
                }
            }
            // After its pause it asks for everything, unless that is on its way; the messages of the pause are of no use.
            let rested = self.rest_until.is_none_or(|until| Instant::now() >= until);
            if self.instance.is_none() && rested && self.load.changes.load(Ordering::Relaxed) == 0 {
                self.load.lost.store(true, Ordering::Release);
            }
        }
    }

    /// Without an instance in the end the nodes' names are known all the same.
    async fn restart(&mut self, snapshot: Snapshot) {
        let mut batches = spell_out(snapshot);
        let mut fresh = match self.trial.holder.instantiate().await {
            Ok(fresh) => Some(fresh),
            Err(error) => {
                self.fault(&Fault::Trap(error.to_string()), "start");
                None
            }
        };
        while let Some(batch) = batches.recv().await {
            self.learn(&batch);
            if let Some(instance) = &mut fresh
                && let Err(fault) = feed(instance, &batch).await
            {
                self.fault(&fault, "feed");
                fresh = None;
            }
        }
        self.instance = fresh;
    }

    fn learn(&mut self, deltas: &[Delta]) {
        for delta in deltas {
            match delta {
                Delta::UpsertNode(node) => drop(self.nodes.insert(node.id, node.name.clone())),
                Delta::RemoveNode(id) => drop(self.nodes.remove(id)),
                _ => {}
            }
        }
    }

    async fn decide(&mut self, decided: Decided) {
        let Decided { pod, scope, moment, live } = decided;
        let Some(mut instance) = self.instance.take() else { return self.trial.tally.skipped() };
        let call = instance.begin_at(self.deadline(), moment);
        let answer = instance.exports.call_schedule(&mut instance.store, &pod, scope).await;
        let candidate = match instance.end(call, answer) {
            Ok(answer) => answer,
            Err(fault) => return self.fault(&fault, &subject(&pod)),
        };
        self.trial.holder.revision.health.returned();
        self.trial.tally.fuel(instance.fuel());
        let Some(kind) = differ(&live, &candidate) else {
            self.instance = Some(instance);
            return self.trial.tally.agreed();
        };
        let shown: Vec<u32> = [best(&live), best(&candidate)].into_iter().flatten().collect();
        let mut reasons = self.reasons(instance, &pod, &shown).await;
        for (side, outcome) in [("the live revision", &live), ("the candidate", &candidate)] {
            if let Ok(Outcome::None(rejections)) = outcome {
                reasons.extend(rejections.iter().map(|r| rejected(side, r)));
            }
        }
        let difference = Difference {
            subject: subject(&pod),
            kind: kind.to_owned(),
            live: self.outcome(&live),
            candidate: self.outcome(&candidate),
            reasons,
            ..Difference::default()
        };
        if kind == FEASIBLE {
            self.trial.tally.agreed();
            self.trial.tally.feasible_differs(difference);
        } else {
            self.trial.tally.disagreed(difference);
        }
    }

    async fn preempt(&mut self, preempted: Preempted) {
        let Preempted { pod, among, moment, live } = preempted;
        let Some(mut instance) = self.instance.take() else { return self.trial.tally.skipped() };
        let call = instance.begin_at(self.deadline(), moment);
        let answer = instance.exports.call_preempt(&mut instance.store, &pod, among.as_deref()).await;
        let candidate = match instance.end(call, answer) {
            Ok(answer) => answer,
            Err(fault) => return self.fault(&fault, &subject(&pod)),
        };
        self.trial.holder.revision.health.returned();
        self.instance = Some(instance);
        if same_preemption(&live, &candidate) {
            return self.trial.tally.agreed();
        }
        self.trial.tally.disagreed(Difference {
            subject: subject(&pod),
            kind: "Preemption".to_owned(),
            live: self.victims(&live),
            candidate: self.victims(&candidate),
            ..Difference::default()
        });
    }

    async fn rank(&mut self, ranked: Ranked) {
        let Ranked { pod, nodes, moment, live } = ranked;
        let Some(mut instance) = self.instance.take() else { return self.trial.tally.skipped() };
        let call = instance.begin_at(self.deadline(), moment);
        let answer = instance.exports.call_rank(&mut instance.store, &pod, &nodes).await;
        let candidate = match instance.end(call, answer) {
            Ok(answer) => answer,
            Err(fault) => return self.fault(&fault, &subject(&pod)),
        };
        if let Some(why) = candidate.as_ref().ok().and_then(|ranking| wrong(ranking, &nodes)) {
            return self.fault(&Fault::Answer(why), &subject(&pod));
        }
        self.trial.holder.revision.health.returned();
        self.trial.tally.fuel(instance.fuel());
        let Some((kind, shown)) = rankings_differ(&live, &candidate) else {
            self.instance = Some(instance);
            return self.trial.tally.agreed();
        };
        let mut reasons = self.reasons(instance, &pod, &shown).await;
        for (side, ranking) in [("the live revision", &live), ("the candidate", &candidate)] {
            reasons.extend(ranking.iter().flat_map(|r| &r.rejections).map(|r| rejected(side, r)));
        }
        self.trial.tally.disagreed(Difference {
            subject: subject(&pod),
            kind: kind.to_owned(),
            live: self.ranking(&live, nodes.len()),
            candidate: self.ranking(&candidate, nodes.len()),
            reasons,
            ..Difference::default()
        });
    }

    /// The candidate's word on the nodes that show the difference: what it rejects, and the criteria that it scores differently.
    async fn reasons(&mut self, mut instance: Instance, pod: &Pod, shown: &[u32]) -> Vec<String> {
        let mut told: Vec<(String, Vec<Reason>)> = Vec::new();
        for node in shown.iter().copied() {
            let name = self.node(node);
            if told.iter().any(|(known, _)| *known == name) {
                continue;
            }
            let call = instance.begin(self.deadline());
            let answer = instance.exports.call_explain(&mut instance.store, pod, node).await;
            match instance.end(call, answer) {
                Ok(reasons) => told.push((name, reasons)),
                Err(fault) => {
                    self.fault(&fault, &format!("explain {}", subject(pod)));
                    return Vec::new();
                }
            }
        }
        self.instance = Some(instance);
        explained(&told)
    }

    fn fault(&mut self, fault: &Fault, subject: &str) {
        let revision = &self.trial.holder.revision;
        revision.log.write("error", &format!("candidate: {subject}: {fault}"));
        self.instance = None;
        self.rest_until = Some(Instant::now() + revision.health.failed(fault));
        self.trial.tally.fault(Difference {
            subject: subject.to_owned(),
            kind: "Fault".to_owned(),
            candidate: fault.to_string(),
            ..Difference::default()
        });
    }

    fn deadline(&self) -> std::time::Duration {
        self.trial.holder.revision.limits.deadline
    }

    fn node(&self, id: u32) -> String {
        self.nodes.get(&id).cloned().unwrap_or_else(|| format!("unknown node {id}"))
    }

    fn outcome(&self, outcome: &Result<Outcome, String>) -> String {
        match outcome {
            Ok(Outcome::Fits(Choice { ranked, feasible, looked_at, .. })) => {
                let nodes: Vec<String> = ranked.iter().map(|r| format!("{} ({})", self.node(r.node), r.score)).collect();
                format!("{}; {feasible} of {looked_at} nodes feasible", nodes.join(", "))
            }
            Ok(Outcome::None(_)) => "no node".to_owned(),
            Err(why) => format!("error: {why}"),
        }
    }

    fn ranking(&self, ranking: &Result<Ranking, String>, asked: usize) -> String {
        let ranking = match ranking {
            Ok(ranking) => ranking,
            Err(why) => return format!("error: {why}"),
        };
        let mut best: Vec<(i64, String)> = ranking.ranked.iter().map(|r| (r.score, self.node(r.node))).collect();
        best.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.cmp(other)));
        let named: Vec<String> = best.iter().take(MAX_NAMED).map(|(score, node)| format!("{node} ({score})")).collect();
        format!("keeps {} of {asked} nodes: {}", ranking.ranked.len(), named.join(", "))
    }

    fn victims(&self, answer: &Result<Attempt, String>) -> String {
        match answer {
            Ok(Attempt::Evict(p)) => {
                let named: Vec<&str> = p.victims.iter().take(MAX_NAMED).map(String::as_str).collect();
                format!("{} victims on {}: {}", p.victims.len(), self.node(p.node), named.join(", "))
            }
            Ok(Attempt::None(_)) => "nobody".to_owned(),
            Err(why) => format!("error: {why}"),
        }
    }
}

fn subject(pod: &Pod) -> String {
    format!("pod {}/{}", pod.namespace, pod.name)
}
