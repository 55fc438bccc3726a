//! The loop of one scheduler name: take in what changed, feed it, decide the next pod, check the decision, assume it, bind it aside.
//!
//! Everything here runs in one task, so cluster, queue and instance need no locks and a plugin is exchanged between two decisions.
//! A fault costs the instance: the pod backs off, the next instance is fed everything again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use pintle_api::{GroupVersionResource, Reason, Status};
use pintle_plugin_bindings::common::types::Pair;
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Attempt, Budget, Choice, Namespace, Outcome, Pod, Rejection, Scope};
use serde::Deserialize;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::cluster::{Cluster, Uid};
use super::commit::{Committer, Report, Victim};
use super::desk::{Desk, Who};
use super::inbox::{Change, Inbox, Topic};
use super::message::{self, Preemption};
use super::nursery::retire;
use super::podspec::{self, LabelSelector};
use super::spread::{Defaults, SERVICES};
use super::queue::{ANYTHING, Happened, NODE_CHANGED, POD_CHANGED, POD_GONE, Queue, VOLUME_CHANGED};
use super::volumes::{CLAIMS, CLASSES, Needs, VOLUMES, Volumes};
use super::wish::wish;
use super::{Extenders, Team};
use crate::decisions::notes::PlacementNote;
use crate::decisions::record::Verdict;
use crate::guest::Fault;
use crate::index::{Entry, Informer, Listener, Subject};
use crate::shared::Shared;

mod profile;

/// A decision that takes longer is written to the plugin's log.
const SLOW: Duration = Duration::from_millis(100);
/// Nodes that the component gives back, best first: the next ones stand in when the host refuses the best.
const TOP: u32 = 3;
/// More ranked nodes than this, and than there are, are no answer to the question.
const MAX_RANKED: usize = 1000;
/// Below so many nodes every one is looked at; above, a share that shrinks from half to a twentieth. Upstream's figures.
const LOOK_AT_ALL: u32 = 100;
/// Everything is given to the decision log anew at most so often: it takes as long as feeding a fresh instance.
const HEAL_PAUSE: Duration = Duration::from_secs(10);
/// Decisions before the task lets others run.
const DECISIONS_IN_A_ROW: u32 = 16;

pub const PODS: GroupVersionResource = GroupVersionResource::constant("", "v1", "pods");
const NODES: GroupVersionResource = GroupVersionResource::constant("", "v1", "nodes");
const NAMESPACES: GroupVersionResource = GroupVersionResource::constant("", "v1", "namespaces");
const BUDGETS: GroupVersionResource = GroupVersionResource::constant("policy", "v1", "poddisruptionbudgets");

struct Driver {
    shared: Weak<Shared>,
    scheduler: Arc<str>,
    serving: watch::Receiver<Option<Arc<Team>>>,
    extenders: watch::Receiver<Extenders>,
    inbox: Arc<Inbox>,
    volumes: Volumes,
    budgets: Arc<Informer>,
    defaults: Defaults,
    cluster: Cluster,
    queue: Queue,
    desk: Option<Desk>,
    /// Told when an instance was brought up.
    raised: Arc<Notify>,
    results: mpsc::UnboundedReceiver<Report>,
    report: mpsc::UnboundedSender<Report>,
    /// Where the next decision begins to look, so that sampling is fair.
    start: u32,
    /// Victims of a pod that are still there.
    evicting: HashMap<Uid, HashSet<String>>,
    /// When the decision log last got everything outside of a feed.
    healed: Option<Instant>,
}

/// Runs for as long as the process's plugins do.
pub async fn drive(shared: Weak<Shared>, scheduler: Arc<str>, serving: watch::Receiver<Option<Arc<Team>>>, extenders: watch::Receiver<Extenders>) {
    let Some(strong) = shared.upgrade() else { return };
    let informer = |resource: GroupVersionResource| strong.informers.informer(&Subject::all(resource));
    // In this order, so that nodes are known before the pods on them.
    let fed = [
        (Topic::Nodes, informer(NODES)),
        (Topic::Namespaces, informer(NAMESPACES)),
        (Topic::Budgets, informer(BUDGETS)),
        (Topic::Volumes, informer(CLAIMS)),
        (Topic::Volumes, informer(VOLUMES)),
        (Topic::Volumes, informer(CLASSES)),
        (Topic::Services, informer(SERVICES)),
        (Topic::Pods, informer(PODS)),
    ];
    drop(strong);
    let inbox = Inbox::new(fed.iter().map(|(topic, _)| *topic).collect());
    let listener: Arc<dyn Listener> = inbox.clone();
    for (tag, (_, informer)) in fed.iter().enumerate() {
        informer.synced().await;
        informer.subscribe(tag, &listener);
    }
    let [_, _, (_, budgets), (_, claims), (_, volumes), (_, classes), _services, _pods] = &fed;
    let (report, results) = mpsc::unbounded_channel();
    let driver = Driver {
        volumes: Volumes { claims: claims.clone(), volumes: volumes.clone(), classes: classes.clone() },
        budgets: budgets.clone(),
        defaults: Defaults::default(),
        shared,
        scheduler,
        serving,
        extenders,
        inbox,
        cluster: Cluster::default(),
        queue: Queue::default(),
        desk: None,
        raised: Arc::default(),
        results,
        report,
        start: 0,
        evicting: HashMap::new(),
        healed: None,
    };
    driver.run().await;
    drop(fed);
}

impl Driver {
    async fn run(mut self) {
        self.serving.mark_changed();
        let mut decisions = 0;
        loop {
            self.take_changes();
            while let Ok(report) = self.results.try_recv() {
                self.settle(report);
            }
            if self.serving.has_changed().is_err() || self.shared.strong_count() == 0 {
                return;
            }
            self.exchange();
            let ready = self.ready().await;
            match self.next(ready) {
                Some(uid) => self.decide(uid).await,
                None => {
                    self.wait().await;
                    continue;
                }
            }
            decisions += 1;
            if decisions % DECISIONS_IN_A_ROW == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// The next pod, when there is somebody to decide it and room to bind it.
    fn next(&mut self, ready: bool) -> Option<Uid> {
        let may = ready && self.desk.as_ref().is_some_and(|d| d.committer.has_room());
        if may { self.queue.pop(Instant::now()) } else { None }
    }

    async fn wait(&mut self) {
        self.heal_log();
        // What is due while nobody can decide waits for that.
        let due = match &self.desk {
            Some(desk) if !desk.can_decide() => desk.rests_until(),
            Some(desk) => desk.rests_until().into_iter().chain(desk.spares_due()).chain(self.queue.next_due()).min(),
            None => self.queue.next_due(),
        };
        let sleep = async {
            match due {
                // Never at once: what is due but cannot be decided must not spin.
                Some(due) => tokio::time::sleep_until(due.max(Instant::now() + Duration::from_millis(1))).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.inbox.arrived.notified() => {}
            () = self.raised.notified() => {}
            report = self.results.recv() => if let Some(report) = report { self.settle(report) },
            _ = self.serving.changed() => self.serving.mark_changed(),
            _ = self.extenders.changed() => self.extenders.mark_changed(),
            () = sleep => {}
        }
    }

    /// The log missed a change while it was flooded: in a quiet moment it gets everything anew.
    fn heal_log(&mut self) {
        let Some(desk) = self.desk.as_ref().filter(|d| d.log_is_broken()) else { return };
        if self.cluster.untold.is_empty() && self.healed.is_none_or(|at| at.elapsed() > HEAL_PAUSE) {
            self.healed = Some(Instant::now());
            desk.heal_log(&mut self.cluster);
        }
    }

    /// Puts whoever serves now at the desk, or in the place of who decides next.
    fn exchange(&mut self) {
        if self.extenders.has_changed().unwrap_or(false) {
            let extenders = self.extenders.borrow_and_update().clone();
            if let Some(desk) = &mut self.desk {
                desk.set_extenders(&extenders);
                // Who was refused by one that left, or could not be decided without one that came.
                self.queue.happened(ANYTHING, Instant::now());
            }
        }
        if !self.serving.has_changed().unwrap_or(false) {
            return;
        }
        let team = self.serving.borrow_and_update().clone();
        let Some((team, shared)) = team.zip(self.shared.upgrade()) else {
            self.desk = None;
            return;
        };
        if let Some(desk) = self.desk.as_mut().filter(|desk| desk.serves(&team)) {
            return desk.stay(&team);
        }
        let revision = &team.live.revision;
        self.defaults.grant(&shared.informers, &revision.grants);
        let committer = Committer::new((shared.clients)(&revision.plugin), self.scheduler.clone(), self.report.clone());
        match self.desk.as_mut().filter(|desk| desk.can_wait()) {
            Some(desk) => desk.expect(team, committer),
            None => {
                let extenders = self.extenders.borrow_and_update().clone();
                let (decisions, scheduler) = (shared.decisions.clone(), self.scheduler.clone());
                self.desk = Some(Desk::new(&team, &extenders, committer, decisions, scheduler, self.raised.clone()));
            }
        }
    }

    /// True when the live revision's instance knows everything.
    async fn ready(&mut self) -> bool {
        match &mut self.desk {
            Some(desk) => desk.tell(&mut self.cluster).await,
            None => false,
        }
    }

    async fn decide(&mut self, uid: Uid) {
        let Some(waiting) = self.queue.get(&uid) else { return };
        let (pod, needs) = match wish(&waiting.spec, &waiting.entry, &self.cluster, &self.volumes, &self.defaults) {
            Ok(asked) => asked,
            Err(why) => return self.hold_back(&uid, message::blocked(self.cluster.nodes(), &why), VOLUME_CHANGED | NODE_CHANGED, None),
        };
        let scope = self.scope();
        let Some(desk) = &mut self.desk else { return };
        let who = desk.who(&pod);
        let decider = desk.decider(who);
        let (Some(mut instance), revision) = (decider.instance.take(), decider.holder.revision.clone()) else { return };
        let mut note = PlacementNote::new(&pod, scope, self.cluster.nodes());
        let begun = Instant::now();
        instance.store.data_mut().tape.start();
        let call = instance.begin(revision.limits.deadline);
        let moment = call.moment;
        let outcome = instance.exports.call_schedule(&mut instance.store, &pod, scope).await;
        let outcome = instance.end(call, outcome);
        let took = begun.elapsed();
        note.answered(took, instance.store.data_mut().tape.stop(), &outcome, |id| self.cluster.name(id));
        if took > SLOW {
            let line = format!("{}/{} took {} ms to decide", pod.namespace, pod.name, took.as_millis());
            revision.log.write("warn", &line);
        }
        match outcome {
            Err(fault) => {
                retire(instance);
                desk.fault(who, &fault, &format!("schedule {}/{}", pod.namespace, pod.name));
                self.note(who, note, Verdict::Failed(fault.to_string()));
                self.queue.back_off(&uid, Instant::now());
            }
            Ok(answer) => {
                revision.health.returned();
                desk.decider(who).instance = Some(instance);
                if let (Who::Live, Some(shadow)) = (who, &desk.shadow) {
                    shadow.decided(&pod, scope, moment, &answer);
                }
                let alone = desk.extenders.is_empty();
                let answer = match answer {
                    Ok(Outcome::Fits(choice)) if !alone && self.nonsense(&choice).is_none() => {
                        match self.weigh(who, &pod, moment, choice, &mut note).await {
                            Ok(weighed) => Ok(weighed),
                            Err(why) => {
                                let verdict = self.could_not_decide(&uid, who, why);
                                return self.note(who, note, verdict);
                            }
                        }
                    }
                    other => other,
                };
                let Some(desk) = &mut self.desk else { return };
                let verdict = match answer {
                    Ok(Outcome::Fits(choice)) => match self.nonsense(&choice) {
                        None => self.fits(uid, who, pod, needs, choice),
                        Some(why) => self.spent(&uid, who, &Fault::Answer(why), &format!("schedule {}/{}", pod.namespace, pod.name)),
                    },
                    Ok(Outcome::None(rejections)) => {
                        desk.decided(who, false);
                        self.fits_nowhere(uid, who, pod, rejections, &mut note).await
                    }
                    Err(why) => {
                        desk.decided(who, true);
                        self.could_not_decide(&uid, who, why)
                    }
                };
                self.note(who, note, verdict);
            }
        }
    }

    fn note(&mut self, who: Who, note: PlacementNote, verdict: Verdict) {
        if let Some(decisions) = self.desk.as_mut().and_then(|desk| desk.decider(who).decisions.as_ref()) {
            note.finish(decisions, verdict);
        }
    }

    /// Whether a choice cannot come from what was fed. That the host finds no room on a node is not that: sums may differ.
    fn nonsense(&self, choice: &Choice) -> Option<String> {
        if choice.ranked.len() > MAX_RANKED.max(self.cluster.nodes()) {
            return Some(format!("{} ranked nodes", choice.ranked.len()));
        }
        if let Some(unknown) = choice.ranked.iter().find(|r| self.cluster.name(r.node).is_none()) {
            return Some(format!("the node {} was never fed", unknown.node));
        }
        let mut seen = HashSet::new();
        choice.ranked.iter().find(|r| !seen.insert(r.node)).map(|r| format!("the node {} is ranked more than once", r.node))
    }

    /// An instance that answers nonsense has lost its state: it goes as after a trap.
    fn spent(&mut self, uid: &Uid, who: Who, fault: &Fault, what: &str) -> Verdict {
        if let Some(desk) = &mut self.desk {
            retire(desk.decider(who).instance.take());
            desk.fault(who, fault, what);
        }
        self.queue.back_off(uid, Instant::now());
        Verdict::Failed(fault.to_string())
    }

    fn scope(&self) -> Scope {
        // Extenders have a say in all nodes that fit.
        let top = if self.desk.as_ref().is_none_or(|desk| desk.extenders.is_empty()) { TOP } else { u32::MAX };
        Scope { start: self.start, limit: enough(u32::try_from(self.cluster.nodes()).unwrap_or(u32::MAX)), top }
    }

    fn fits(&mut self, uid: Uid, who: Who, pod: Pod, needs: Needs, choice: Choice) -> Verdict {
        self.start = choice.next_start;
        let Some(desk) = &mut self.desk else { return Verdict::NoRoom };
        let node = choice.ranked.iter().map(|r| r.node).find(|id| self.cluster.admits(*id, &pod));
        desk.decided(who, node.is_none());
        let Some(node) = node else {
            let line = format!("{}/{}: the host knows none of the chosen nodes to have room; the pod is tried again", pod.namespace, pod.name);
            desk.decider(who).holder.revision.log.write("warn", &line);
            self.queue.back_off(&uid, Instant::now());
            return Verdict::NoRoom;
        };
        let (Some(name), Some(waiting)) = (self.cluster.name(node).map(str::to_owned), self.queue.get(&uid)) else { return Verdict::NoRoom };
        if needs.to_select.is_empty() {
            desk.committer.bind(waiting.entry.clone(), name.clone());
            let (scored_milli_cpu, scored_memory) = waiting.spec.scored_in_place;
            self.cluster.assume(Pod { scored_milli_cpu, scored_memory, ..pod }, node);
            Verdict::Placed(name)
        } else {
            // The claims are bound near the node first; the pod comes back when they are.
            desk.committer.select_node(&pod.namespace, needs.to_select, name.clone());
            self.queue.park(&uid, VOLUME_CHANGED, Instant::now());
            Verdict::BindsVolumes(name)
        }
    }

    async fn fits_nowhere(&mut self, uid: Uid, who: Who, pod: Pod, rejections: Vec<Rejection>, note: &mut PlacementNote) -> Verdict {
        let (preemption, victims) = self.preempt(&uid, who, &pod, &rejections, note).await;
        let nodes = self.cluster.nodes();
        let mut nominated = None;
        if let Some((node, victims)) = victims
            && let Some(name) = self.cluster.name(node).map(str::to_owned)
            && let Some(desk) = &self.desk
        {
            self.evicting.insert(uid.clone(), victims.iter().map(|v| v.uid.clone()).collect());
            note.evicts(&name, victims.iter().map(|v| format!("{}/{}", v.namespace, v.name)).collect());
            self.cluster.nominate(&pod, node);
            desk.committer.evict(victims, &pod, &name);
            nominated = Some(name);
        }
        // Nobody is evicted for it: it waits for no certain node any more.
        if nominated.is_none() && matches!(preemption, Preemption::NoVictims(_)) {
            nominated = Some(String::new());
        }
        let why = message::unschedulable(nodes, &rejections, &preemption);
        self.hold_back(&uid, why.clone(), what_helps(&rejections), nominated);
        Verdict::Unschedulable(why)
    }

    /// Asks whom to evict, and checks that each may be.
    async fn preempt(
        &mut self,
        uid: &Uid,
        who: Who,
        pod: &Pod,
        rejections: &[Rejection],
        note: &mut PlacementNote,
    ) -> (Preemption, Option<(u32, Vec<Victim>)>) {
        if !pod.may_preempt {
            return (Preemption::Never, None);
        }
        if let Some(victims) = self.evicting.get(uid)
            && victims.iter().any(|v| self.cluster.is_placed(v))
        {
            return (Preemption::Terminating, None);
        }
        self.evicting.remove(uid);
        self.cluster.withdraw(uid);
        let nobody = || (Preemption::NoVictims(Vec::new()), None);
        if !rejections.iter().any(|r| r.resolvable) {
            return nobody();
        }
        let among = match self.permitted(pod).await {
            Ok(Some(none)) if none.is_empty() => return nobody(),
            Ok(among) => among,
            Err(why) => {
                tracing::debug!(pod = %pod.name, why, "nobody is evicted: an extender could not be asked");
                return nobody();
            }
        };
        let Some(desk) = &mut self.desk else { return nobody() };
        let decider = desk.decider(who);
        let (Some(mut instance), revision) = (decider.instance.take(), decider.holder.revision.clone()) else { return nobody() };
        instance.store.data_mut().tape.start();
        let call = instance.begin(revision.limits.deadline);
        let moment = call.moment;
        let answer = instance.exports.call_preempt(&mut instance.store, pod, among.as_deref()).await;
        let answer = instance.end(call, answer);
        note.preempted(instance.store.data_mut().tape.stop(), among.clone(), &answer);
        match answer {
            Err(fault) => {
                retire(instance);
                desk.fault(who, &fault, &format!("preempt for {}/{}", pod.namespace, pod.name));
                nobody()
            }
            Ok(answer) => {
                revision.health.returned();
                desk.decider(who).instance = Some(instance);
                if let (Who::Live, Some(shadow)) = (who, &desk.shadow) {
                    shadow.preempted(pod, among, moment, &answer);
                }
                let log = revision.log.clone();
                match answer {
                    Ok(Attempt::Evict(choice)) => match self.cluster.victims(&choice, pod.priority) {
                        Some(victims) => (Preemption::NotTried, Some((choice.node, victims))),
                        None => {
                            log.write("warn", &format!("{}/{}: the chosen victims may not be evicted for it", pod.namespace, pod.name));
                            nobody()
                        }
                    },
                    Ok(Attempt::None(tried)) => (Preemption::NoVictims(tried), None),
                    Err(why) => {
                        log.write("warn", &format!("preempt for {}/{}: {why}", pod.namespace, pod.name));
                        nobody()
                    }
                }
            }
        }
    }

    fn could_not_decide(&mut self, uid: &Uid, who: Who, why: String) -> Verdict {
        let now = Instant::now();
        if let (Some(desk), Some(waiting)) = (&mut self.desk, self.queue.get_mut(uid)) {
            desk.decider(who).holder.revision.log.write("warn", &format!("{}/{}: {why}", waiting.spec.pod.namespace, waiting.spec.pod.name));
            desk.committer.not_scheduled(waiting, "SchedulerError", why.clone(), None);
        }
        self.queue.back_off(uid, now);
        Verdict::Failed(why)
    }

    /// Says why and waits for what helps.
    fn hold_back(&mut self, uid: &Uid, why: String, helps: Happened, nominated: Option<String>) {
        if let (Some(desk), Some(waiting)) = (&self.desk, self.queue.get_mut(uid)) {
            desk.committer.not_scheduled(waiting, "Unschedulable", why, nominated);
        }
        self.queue.park(uid, helps, Instant::now());
    }

    fn settle(&mut self, report: Report) {
        match report {
            Report::Bound { uid, outcome: Ok(()) } => {
                self.queue.remove(&uid);
                self.evicting.remove(&uid);
            }
            Report::Bound { uid, outcome: Err(status) } => self.not_bound(&uid, &status),
            Report::NotEvicted { preemptor } => self.not_evicted(&preemptor),
        }
    }

    fn not_bound(&mut self, uid: &Uid, status: &Status) {
        // The watch has shown it on a node already: another's binding, or ours whose answer was lost.
        if self.cluster.placed_entry(uid).is_some() {
            self.queue.remove(uid);
            return;
        }
        self.cluster.forget(uid);
        if status.is(Reason::NotFound) {
            self.queue.remove(uid);
        } else {
            if let (Some(desk), Some(waiting)) = (&self.desk, self.queue.get(uid)) {
                let pod = &waiting.spec.pod;
                desk.live.holder.revision.log.write("warn", &format!("{}/{} was not bound: {status}", pod.namespace, pod.name));
            }
            self.queue.back_off(uid, Instant::now());
        }
        // Its room is another's now.
        self.queue.happened(POD_GONE, Instant::now());
    }

    /// Who waits for a victim that stays looks for others.
    fn not_evicted(&mut self, preemptor: &Uid) {
        if self.evicting.remove(preemptor).is_some() && !self.cluster.is_placed(preemptor) {
            self.cluster.withdraw(preemptor);
            self.queue.back_off(preemptor, Instant::now());
        }
    }

    fn take_changes(&mut self) {
        let changes = self.inbox.take();
        if changes.is_empty() {
            return;
        }
        let mut happened = 0;
        let mut budgets = false;
        for change in changes {
            happened |= match change.topic {
                Topic::Pods => self.pod_changed(change),
                Topic::Nodes => self.node_changed(change),
                Topic::Namespaces => self.namespace_changed(change),
                Topic::Volumes => VOLUME_CHANGED,
                Topic::Services => {
                    self.defaults.service_changed(change.before.as_ref(), change.after.as_ref());
                    0
                }
                Topic::Budgets => {
                    budgets = true;
                    0
                }
            };
        }
        if budgets {
            self.cluster.set_budgets(self.budgets.all().iter().filter_map(budget).collect());
        }
        if happened != 0 {
            self.queue.happened(happened, Instant::now());
        }
    }

    fn pod_changed(&mut self, change: Change) -> Happened {
        let mut happened = 0;
        if let Some(before) = &change.before
            && change.after.as_ref().is_none_or(|after| after.meta.uid != before.meta.uid)
        {
            happened |= self.pod_gone(&before.meta.uid);
        }
        let Some(after) = change.after else { return happened };
        let uid = after.meta.uid.clone();
        let finished = matches!(&*after.meta.phase, "Succeeded" | "Failed");
        if finished {
            return happened | self.pod_gone(&uid);
        }
        if after.meta.node.is_empty() {
            self.pending(after);
            return happened;
        }
        self.queue.remove(&uid);
        self.evicting.remove(&uid);
        let known = self.cluster.placed_entry(&uid);
        let changed = known.is_none_or(|k| k.meta.labels != after.meta.labels || k.meta.generation != after.meta.generation);
        if let Err(error) = self.cluster.observe(&after) {
            tracing::error!(pod = %after.meta.name, %error, "a pod that cannot be read takes no room");
        }
        if changed { happened | POD_CHANGED } else { happened }
    }

    fn pending(&mut self, entry: Arc<Entry>) {
        if entry.meta.deleting {
            self.queue.remove(&entry.meta.uid);
            return;
        }
        // Bound already; this state is older than that.
        if self.cluster.is_placed(&entry.meta.uid) && self.queue.get(&entry.meta.uid).is_none() {
            return;
        }
        match podspec::parse(&entry.json) {
            Ok(spec) if *spec.scheduler == *self.scheduler => {
                match self.cluster.id(&spec.nominated) {
                    Some(node) => self.cluster.nominate(&spec.pod, node),
                    None => self.cluster.withdraw(&spec.pod.uid),
                }
                self.queue.upsert(entry, spec, Instant::now());
            }
            Ok(_) => {}
            Err(error) => tracing::error!(pod = %entry.meta.name, %error, "a pod that cannot be read is not scheduled"),
        }
    }

    fn pod_gone(&mut self, uid: &Uid) -> Happened {
        self.queue.remove(uid);
        self.evicting.remove(uid);
        let held_room = self.cluster.is_placed(uid);
        self.cluster.forget(uid);
        if held_room { POD_GONE } else { 0 }
    }

    fn node_changed(&mut self, change: Change) -> Happened {
        match change.after {
            Some(after) => match self.cluster.upsert_node(&after.json) {
                Ok(true) => NODE_CHANGED,
                Ok(false) => 0,
                Err(error) => {
                    tracing::error!(node = %after.meta.name, %error, "a node that cannot be read gets no pods");
                    0
                }
            },
            None => {
                if let Some(before) = change.before {
                    self.cluster.remove_node(&before.meta.name);
                }
                // A spread or an affinity may hold without it.
                NODE_CHANGED
            }
        }
    }

    fn namespace_changed(&mut self, change: Change) -> Happened {
        let Some(after) = change.after else {
            if let Some(before) = change.before {
                self.cluster.remove_namespace(&before.meta.name);
            }
            return 0;
        };
        let labels = after.meta.labels.iter().map(|(key, value)| Pair { key: key.to_string(), value: value.to_string() }).collect();
        let changed = self.cluster.upsert_namespace(Namespace { name: after.meta.name.to_string(), labels });
        if changed { POD_CHANGED } else { 0 }
    }
}

/// How many nodes that fit are enough, of so many; 0 for all.
fn enough(nodes: u32) -> u32 {
    if nodes <= LOOK_AT_ALL {
        return 0;
    }
    let percent = 50u32.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(LOOK_AT_ALL)
}

/// What could make the filters that refused pass.
fn what_helps(rejections: &[Rejection]) -> Happened {
    let of = |filter: &str| match filter {
        "NodeResourcesFit" | "NodePorts" => NODE_CHANGED | POD_GONE,
        "NodeAffinity" | "NodeName" | "NodeUnschedulable" | "TaintToleration" => NODE_CHANGED,
        "VolumeBinding" | "VolumeZone" => NODE_CHANGED | VOLUME_CHANGED,
        "InterPodAffinity" | "PodTopologySpread" => NODE_CHANGED | POD_GONE | POD_CHANGED,
        _ => ANYTHING,
    };
    // Without nodes only a node helps.
    rejections.iter().fold(NODE_CHANGED, |all, r| all | of(&r.filter))
}

pub fn budget(entry: &Arc<Entry>) -> Option<Budget> {
    #[derive(Deserialize)]
    struct Object {
        #[serde(default)]
        spec: Spec,
        #[serde(default)]
        status: State,
    }
    #[derive(Default, Deserialize)]
    struct Spec {
        #[serde(default)]
        selector: Option<LabelSelector>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct State {
        #[serde(default)]
        disruptions_allowed: i32,
        #[serde(default)]
        disrupted_pods: Option<HashMap<String, serde::de::IgnoredAny>>,
    }
    let object: Object = serde_json::from_slice(&entry.json).ok()?;
    Some(Budget {
        namespace: entry.meta.namespace.to_string(),
        name: entry.meta.name.to_string(),
        selector: object.spec.selector.map(LabelSelector::lift),
        allowed: object.status.disruptions_allowed,
        disrupted: object.status.disrupted_pods.unwrap_or_default().into_keys().collect(),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn sampling_looks_at_all_of_few_and_at_a_share_of_many() {
        assert_eq!([50, 100, 101, 1000, 5000, 15000].map(super::enough), [0, 0, 100, 420, 500, 750]);
    }
}
