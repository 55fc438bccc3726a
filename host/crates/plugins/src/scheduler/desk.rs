//! Who decides a scheduler name's pods: the live revision, a canary for its share, and a shadow that looks on. Keeps each one's instance
//! fed, and has fresh ones brought up: for the next revision while the one before decides, and after faults.

use std::sync::Arc;

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Delta, Pod};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::commit::Committer;
use super::decider::{Decider, Told};
use super::members::{self, Member};
use super::shadow::Shadow;
use super::{Extender, Holder, Team};
use crate::decisions::Log;
use crate::decisions::tape::Recording;
use crate::guest::Fault;
use crate::loader::retire;
use crate::stages::Trial;
use crate::stages::spec::{Difference, Stage};

/// Who decides, and how what is decided is carried out.
pub struct Desk {
    pub live: Decider,
    /// Of the live revision's scores, where there are extenders.
    pub weight: u32,
    pub extenders: Vec<Member>,
    /// Who decides next, once it knows everything.
    heir: Option<Heir>,
    canary: Option<Canary>,
    pub shadow: Option<Shadow>,
    trial: Option<Arc<Trial<Arc<Holder>>>>,
    pub committer: Committer,
    log: Log,
    scheduler: Arc<str>,
    /// Told when an instance was brought up.
    wake: Arc<Notify>,
    /// Since when no pod can be decided.
    idle_since: Option<Instant>,
}

struct Heir {
    team: Arc<Team>,
    decider: Decider,
    committer: Committer,
}

struct Canary {
    trial: Arc<Trial<Arc<Holder>>>,
    decider: Decider,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Live,
    Canary,
}

impl Desk {
    pub fn new(team: &Arc<Team>, extenders: &[Arc<Extender>], committer: Committer, log: Log, scheduler: Arc<str>, wake: Arc<Notify>) -> Self {
        let live = Decider::serving(team.live.clone(), &log, &scheduler);
        let mut desk = Self {
            live,
            weight: team.weight,
            extenders: Vec::new(),
            heir: None,
            canary: None,
            shadow: None,
            trial: None,
            committer,
            log,
            scheduler,
            wake,
            idle_since: None,
        };
        desk.set_trial(team);
        desk.set_extenders(extenders);
        team.takes_over();
        desk
    }

    pub fn set_extenders(&mut self, extenders: &[Arc<Extender>]) {
        members::renew(&mut self.extenders, extenders, &self.log, &self.scheduler);
    }

    pub fn serves(&self, team: &Team) -> bool {
        Arc::ptr_eq(&self.live.holder, &team.live)
    }

    /// There is an instance that decides.
    pub fn can_decide(&self) -> bool {
        self.live.instance.is_some()
    }

    /// There is a revision that can decide until the next one can.
    pub fn can_wait(&self) -> bool {
        self.can_decide() || self.live.spare.is_there()
    }

    /// The team takes over as soon as its live revision knows everything.
    pub fn expect(&mut self, team: Arc<Team>, committer: Committer) {
        self.live.spare.make_room();
        match &mut self.heir {
            Some(heir) if Arc::ptr_eq(&heir.decider.holder, &team.live) => heir.team = team,
            _ => self.heir = Some(Heir { decider: Decider::new(team.live.clone()), team, committer }),
        }
    }

    /// The one who decides goes on.
    pub fn stay(&mut self, team: &Team) {
        self.heir = None;
        self.weight = team.weight;
        self.set_trial(team);
    }

    /// Takes the team's candidate, where it is another than before.
    fn set_trial(&mut self, team: &Team) {
        let same = match (&self.trial, &team.trial) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        let of = |stage: Stage| team.trial.as_ref().filter(|t| t.stage == stage);
        self.shadow = of(Stage::Shadow).map(|trial| Shadow::start(trial.clone()));
        let canary = of(Stage::Canary).map(|trial| {
            let decider = Decider::serving(trial.holder.clone(), &self.log, &self.scheduler);
            Canary { trial: trial.clone(), decider }
        });
        retire(std::mem::replace(&mut self.canary, canary));
        self.trial.clone_from(&team.trial);
    }

    /// Whose pod this is.
    pub fn who(&self, pod: &Pod) -> Who {
        match &self.canary {
            Some(canary) if canary.decider.instance.is_some() && canary.trial.share.holds(&pod.namespace, &pod.uid) => Who::Canary,
            _ => Who::Live,
        }
    }

    pub fn decider(&mut self, who: Who) -> &mut Decider {
        match (who, &mut self.canary) {
            (Who::Canary, Some(canary)) => &mut canary.decider,
            _ => &mut self.live,
        }
    }

    /// When somebody who rests after a fault goes on.
    pub fn rests_until(&self) -> Option<Instant> {
        let needed = self.extenders.iter().filter(|m| m.is_needed()).filter_map(|m| m.decider.rest_until);
        let decides = needed.chain(self.live.rest_until).max();
        decides.into_iter().chain(self.heir.as_ref().and_then(|heir| heir.decider.rest_until)).min()
    }

    /// When a spare is to be looked after.
    pub fn spares_due(&self) -> Option<Instant> {
        self.recorded().filter(|d| d.instance.is_some()).filter_map(|d| d.spare.due()).min()
    }

    /// Everybody knows what changed. False when the live revision cannot decide for now.
    pub async fn tell(&mut self, cluster: &mut Cluster) -> bool {
        let news = Arc::new(std::mem::take(&mut cluster.untold));
        if let Some(shadow) = &mut self.shadow {
            shadow.feed(&news, || cluster.snapshot());
        }
        if let Some(canary) = &mut self.canary {
            match canary.decider.tell(&news, cluster, &self.wake).await {
                Ok(told) => canary.decider.write_down(told, || (*news).clone(), cluster),
                Err((fault, what)) => self.fault(Who::Canary, &fault, what),
            }
        }
        let complete = self.tell_extenders(&news, cluster).await;
        if self.pass_on(&news, cluster).await {
            return complete;
        }
        // It comes up for the heir already: two would take longer.
        if !self.can_decide() && !self.live.is_coming() && self.heir.as_mut().is_some_and(|heir| !heir.decider.rests()) {
            return false;
        }
        match self.live.tell(&news, cluster, &self.wake).await {
            Ok(told) => {
                let ready = complete && !matches!(told, Told::Nothing);
                if let (Told::Everything(_, fed), true) = (&told, self.idle_since.is_some()) {
                    self.live.holder.revision.meter.recovered(*fed);
                }
                if matches!(told, Told::News(_)) {
                    self.live.keep_spare(cluster, self.heir.is_none(), &self.wake);
                }
                self.live.write_down(told, || Arc::unwrap_or_clone(news), cluster);
                self.decides_again(ready);
                ready
            }
            Err((fault, what)) => {
                self.fault(Who::Live, &fault, what);
                false
            }
        }
    }

    /// False while one that pods wait for cannot answer.
    async fn tell_extenders(&mut self, news: &Arc<Vec<Delta>>, cluster: &mut Cluster) -> bool {
        let mut complete = true;
        for member in &mut self.extenders {
            if let Some(understudy) = &mut member.understudy {
                understudy.tell(news, cluster, &self.wake).await;
            }
            let told = match member.decider.tell(news, cluster, &self.wake).await {
                Ok(Told::Nothing) => false,
                Ok(told) => {
                    match &told {
                        Told::Everything(_, fed) => member.is_back(*fed),
                        Told::News(_) => member.decider.keep_spare(cluster, member.is_needed(), &self.wake),
                        Told::Nothing => {}
                    }
                    member.decider.write_down(told, || (**news).clone(), cluster);
                    true
                }
                Err((fault, what)) => {
                    member.decider.failed(&fault, what);
                    member.lost();
                    false
                }
            };
            complete &= told || !member.is_needed();
        }
        complete
    }

    /// Lets the heir take over if it knows everything; true then.
    async fn pass_on(&mut self, news: &Arc<Vec<Delta>>, cluster: &mut Cluster) -> bool {
        let Some(heir) = &mut self.heir else { return false };
        let begun = Instant::now();
        match heir.decider.tell(news, cluster, &self.wake).await {
            Ok(Told::Nothing | Told::News(_)) => false,
            Ok(told) => {
                let Some(Heir { team, mut decider, committer }) = self.heir.take() else { return false };
                decider.open(&self.log, &self.scheduler);
                decider.write_down(told, Vec::new, cluster);
                retire(std::mem::replace(&mut self.live, decider));
                (self.committer, self.weight) = (committer, team.weight);
                self.idle_since.get_or_insert(begun);
                self.decides_again(true);
                self.set_trial(&team);
                team.takes_over();
                true
            }
            Err((fault, what)) => {
                heir.decider.failed(&fault, what);
                // It is the live revision for the manager, which judges by its health.
                heir.team.takes_over();
                false
            }
        }
    }

    fn decides_again(&mut self, ready: bool) {
        if ready && let Some(since) = self.idle_since.take() {
            self.live.holder.revision.meter.paused(since.elapsed());
        }
    }

    /// The decision log missed a change that the live revision was fed.
    pub fn log_is_broken(&self) -> bool {
        self.recorded().any(Decider::log_is_broken)
    }

    pub fn heal_log(&self, cluster: &mut Cluster) {
        for decider in self.recorded().filter(|d| d.log_is_broken()) {
            decider.write_down(Told::Everything(Recording::default(), 0), Vec::new, cluster);
        }
    }

    fn recorded(&self) -> impl Iterator<Item = &Decider> {
        std::iter::once(&self.live).chain(self.extenders.iter().map(|m| &m.decider))
    }

    /// Counts a fault; the next instance waits as long as it must.
    pub fn fault(&mut self, who: Who, fault: &Fault, what: &str) {
        self.decider(who).failed(fault, what);
        if who == Who::Live {
            self.idle_since.get_or_insert(Instant::now());
        }
        if let (Who::Canary, Some(canary)) = (who, &self.canary) {
            canary.trial.tally.fault(Difference {
                subject: what.to_owned(),
                kind: "Fault".to_owned(),
                candidate: fault.to_string(),
                ..Difference::default()
            });
        }
    }

    /// How a decision that returned ended: the plugin's own error counts against it, not a pod that fits nowhere.
    pub fn decided(&mut self, who: Who, failed: bool) {
        let revision = &self.decider(who).holder.revision;
        revision.health.decided(failed);
        if failed {
            revision.meter.failed();
        }
        if let (Who::Canary, Some(canary)) = (who, &self.canary) {
            let tally = &canary.trial.tally;
            if failed { tally.failed() } else { tally.agreed() }
        }
    }
}
