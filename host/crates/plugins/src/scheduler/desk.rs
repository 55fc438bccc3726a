//! Who decides a scheduler name's pods: the live revision, a canary for its share, and a shadow that looks on. Keeps each one's instance
//! fed, and makes fresh ones after faults.

use std::sync::Arc;
use std::time::Duration;

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Delta, Pod};
use tokio::time::Instant;

use super::cluster::Cluster;
use super::commit::Committer;
use super::members::{self, Member};
use super::shadow::Shadow;
use super::{Extender, Holder, Instance, Team};
use crate::decisions::record::Feed;
use crate::decisions::tape::Recording;
use crate::decisions::{Log, Stream};
use crate::guest::Fault;
use crate::stages::Trial;
use crate::stages::spec::{Difference, Stage};

/// For one batch of changes.
const FEED_DEADLINE: Duration = Duration::from_secs(10);
/// Changes that cross in one call, so that no call is long.
const FEED_BATCH: usize = 500;

/// Who decides, and how what is decided is carried out.
pub struct Desk {
    pub live: Decider,
    /// Of the live revision's scores, where there are extenders.
    pub weight: u32,
    pub extenders: Vec<Member>,
    canary: Option<Canary>,
    pub shadow: Option<Shadow>,
    trial: Option<Arc<Trial<Arc<Holder>>>>,
    pub committer: Committer,
    log: Log,
    scheduler: Arc<str>,
}

/// One revision and its instance.
pub struct Decider {
    pub holder: Arc<Holder>,
    /// Where its decisions are written down; a shadow's are not.
    pub decisions: Stream,
    /// `None` before the first decision, after a fault, and while it decides.
    pub instance: Option<Instance>,
    rest_until: Option<Instant>,
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
    pub fn new(team: &Team, extenders: &[Arc<Extender>], committer: Committer, log: Log, scheduler: Arc<str>) -> Self {
        let live = Decider::new(team.live.clone(), &log, &scheduler);
        let mut desk = Self { live, weight: team.weight, extenders: Vec::new(), canary: None, shadow: None, trial: None, committer, log, scheduler };
        desk.set_trial(team);
        desk.set_extenders(extenders);
        desk
    }

    pub fn set_extenders(&mut self, extenders: &[Arc<Extender>]) {
        members::renew(&mut self.extenders, extenders, &self.log, &self.scheduler);
    }

    pub fn serves(&self, team: &Team) -> bool {
        Arc::ptr_eq(&self.live.holder, &team.live) && self.weight == team.weight
    }

    /// Takes the team's candidate, where it is another than before.
    pub fn set_trial(&mut self, team: &Team) {
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
        self.canary = of(Stage::Canary).map(|trial| {
            let decider = Decider::new(trial.holder.clone(), &self.log, &self.scheduler);
            Canary { trial: trial.clone(), decider }
        });
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

    pub fn rests_until(&self) -> Option<Instant> {
        let needed = self.extenders.iter().filter(|m| m.is_needed()).filter_map(|m| m.decider.rest_until);
        needed.chain(self.live.rest_until).max()
    }

    /// Everybody knows what changed. False when the live revision cannot decide for now.
    pub async fn tell(&mut self, cluster: &mut Cluster) -> bool {
        if self.live.rests() {
            return false;
        }
        let news = Arc::new(std::mem::take(&mut cluster.untold));
        if let Some(shadow) = &mut self.shadow {
            shadow.feed(&news, || cluster.everything());
        }
        if let Some(canary) = &mut self.canary {
            match canary.decider.tell(&news, cluster).await {
                Ok(told) => canary.decider.write_down(told, || (*news).clone()),
                Err((fault, what)) => self.fault(Who::Canary, &fault, what),
            }
        }
        let mut complete = true;
        for member in &mut self.extenders {
            let told = match member.decider.tell(&news, cluster).await {
                Ok(Told::Nothing) => false,
                Ok(told) => {
                    member.decider.write_down(told, || (*news).clone());
                    true
                }
                Err((fault, what)) => {
                    member.decider.failed(&fault, what);
                    false
                }
            };
            complete &= told || !member.is_needed();
        }
        match self.live.tell(&news, cluster).await {
            Ok(told) => {
                let ready = complete && !matches!(told, Told::Nothing);
                self.live.write_down(told, || Arc::try_unwrap(news).unwrap_or_else(|shared| (*shared).clone()));
                ready
            }
            Err((fault, what)) => {
                self.fault(Who::Live, &fault, what);
                false
            }
        }
    }

    /// The decision log missed a change that the live revision was fed.
    pub fn log_is_broken(&self) -> bool {
        self.recorded().any(Decider::log_is_broken)
    }

    pub fn heal_log(&self, cluster: &mut Cluster) {
        for decider in self.recorded().filter(|d| d.log_is_broken()) {
            decider.decisions.fed(Feed::Fresh, Recording::default(), cluster.everything());
        }
    }

    fn recorded(&self) -> impl Iterator<Item = &Decider> {
        std::iter::once(&self.live).chain(self.extenders.iter().map(|m| &m.decider))
    }

    /// Counts a fault; the next instance waits as long as it must.
    pub fn fault(&mut self, who: Who, fault: &Fault, what: &str) {
        self.decider(who).failed(fault, what);
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

/// What an instance was fed, and what it heard meanwhile.
enum Told {
    /// It rests after a fault.
    Nothing,
    News(Recording),
    Everything(Recording, Vec<Delta>),
}

impl Decider {
    pub fn new(holder: Arc<Holder>, log: &Log, scheduler: &str) -> Self {
        let decisions = log.open(&holder.revision, scheduler);
        Self { holder, decisions, instance: None, rest_until: None }
    }

    fn write_down(&self, told: Told, news: impl FnOnce() -> Vec<Delta>) {
        match told {
            Told::Nothing => {}
            Told::News(recording) => self.decisions.fed(Feed::More, recording, news()),
            Told::Everything(recording, all) => self.decisions.fed(Feed::Fresh, recording, all),
        }
    }

    /// The next instance waits as long as it must.
    pub fn failed(&mut self, fault: &Fault, what: &str) {
        let revision = &self.holder.revision;
        revision.log.write("error", &format!("{what}: {fault}"));
        let pause = revision.health.failed(fault);
        self.rest_until = (!pause.is_zero()).then(|| Instant::now() + pause);
    }

    fn log_is_broken(&self) -> bool {
        self.instance.is_some() && self.decisions.is_broken()
    }

    fn rests(&mut self) -> bool {
        let rests = self.rest_until.is_some_and(|until| Instant::now() < until);
        if !rests {
            self.rest_until = None;
        }
        rests
    }

    /// Feeds what changed, or everything to a fresh instance.
    async fn tell(&mut self, news: &[Delta], cluster: &mut Cluster) -> Result<Told, (Fault, &'static str)> {
        if self.rests() {
            return Ok(Told::Nothing);
        }
        let (mut instance, everything) = match self.instance.take() {
            Some(instance) => (instance, None),
            None => {
                let fresh = self.holder.instantiate().await.map_err(|error| (Fault::Trap(error.to_string()), "start"))?;
                (fresh, Some(cluster.everything()))
            }
        };
        instance.store.data_mut().tape.start();
        feed(&mut instance, everything.as_deref().unwrap_or(news)).await.map_err(|fault| (fault, "feed"))?;
        let recording = instance.store.data_mut().tape.stop();
        self.instance = Some(instance);
        Ok(match everything {
            Some(all) => Told::Everything(recording, all),
            None => Told::News(recording),
        })
    }
}

pub async fn feed(instance: &mut Instance, deltas: &[Delta]) -> Result<(), Fault> {
    for batch in deltas.chunks(FEED_BATCH) {
        let call = instance.begin(FEED_DEADLINE);
        let answer = instance.exports.call_feed(&mut instance.store, batch).await;
        instance.end(call, answer)?;
    }
    Ok(())
}
