//! The loop of one scheduler name: take in what changed, feed it, decide the next pod, check the decision, assume it, bind it aside.
//!
//! Everything here runs in one task, so cluster, queue and instance need no locks and a plugin is exchanged between two decisions.
//! A fault costs the instance: the pod backs off, and a spare that was fed beside it goes on, or else the next instance is fed everything again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use pintle_api::{GroupVersionResource, Reason, Status};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::cluster::{Cluster, Uid};
use super::commit::{Committer, Report};
use super::desk::Desk;
use super::inbox::{Inbox, Topic};
use super::queue::{ANYTHING, POD_GONE, Queue};
use super::spread::{Defaults, SERVICES};
use super::volumes::{CLAIMS, CLASSES, VOLUMES, Volumes};
use super::{Extenders, Team};
use crate::events::{PluginRecorder, Recorder};
use crate::index::{Informer, Listener, Subject};
use crate::shared::Shared;

mod decide;
mod intake;
mod profile;

#[cfg(test)]
pub use intake::budget;

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
    recorder: PluginRecorder,
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
        recorder: PluginRecorder::default(),
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
        let client = (shared.clients)(&revision.plugin);
        let recorder = self.recorder.of(&revision.plugin, || Recorder::new(client.clone(), &self.scheduler));
        let committer = Committer::new(client, recorder, self.scheduler.clone(), self.report.clone());
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
}
