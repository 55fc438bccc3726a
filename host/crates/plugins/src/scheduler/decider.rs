//! One revision of a scheduler that decides or will: its instance, the spare that would stand in for it, and where its decisions are
//! written down. Feeds the instance what changed; without one, has one brought up. Called by the desk, and by whoever asks it something.

use std::sync::Arc;
use std::time::Duration;

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Assumption, Delta, Ranked};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::nursery::{Look, Misfortune, News, Nursery, Raised};
use super::spare::Spare;
use super::{Holder, Instance};
use crate::decisions::record::Feed;
use crate::decisions::tape::Recording;
use crate::decisions::{Log, Stream};
use crate::guest::{Call, Fault, Moment};
use crate::loader::retire;

/// For one batch of changes.
const FEED_DEADLINE: Duration = Duration::from_secs(10);
/// Changes that cross in one call, so that no call is long, and of what is read from objects for it no more than some 100 KB lies around.
pub const FEED_BATCH: usize = 100;

/// One revision and its instance.
pub struct Decider {
    pub holder: Arc<Holder>,
    /// Where its decisions are written down; `None` before it decides.
    pub decisions: Option<Stream>,
    /// `None` before the first decision, after a fault, and while it decides.
    pub instance: Option<Instance>,
    pub spare: Spare,
    /// Where its next instance is brought up.
    nursery: Option<Nursery>,
    /// The pod that the instance was asked about last, where its answer was taken as it was asked: it need not be told of it again in full.
    assumed: Option<String>,
    pub rest_until: Option<Instant>,
}

/// One call, for which the instance is away from its decider.
pub struct Question {
    pub instance: Instance,
    pub moment: Moment,
    call: Call,
    begun: Instant,
}

/// What came of it.
pub struct Asked<T> {
    pub answer: Result<T, Fault>,
    pub took: Duration,
    pub recording: Recording,
}

/// What an instance was fed, and what it heard meanwhile.
pub enum Told {
    /// It rests after a fault, or is still brought up.
    Nothing,
    News(Recording),
    /// With how many changes it was fed while it was waited for.
    Everything(Recording, usize),
}

impl Decider {
    pub fn new(holder: Arc<Holder>) -> Self {
        Self { holder, decisions: None, instance: None, spare: Spare::default(), nursery: None, assumed: None, rest_until: None }
    }

    /// One whose decisions count from the first.
    pub fn serving(holder: Arc<Holder>, log: &Log, scheduler: &str) -> Self {
        let mut decider = Self::new(holder);
        decider.open(log, scheduler);
        decider
    }

    /// It decides from now on, in the place of whoever did.
    pub fn open(&mut self, log: &Log, scheduler: &str) {
        self.decisions = Some(log.open(&self.holder.revision, scheduler));
    }

    /// `cluster` is what the instance knows now.
    pub fn write_down(&self, told: Told, news: impl FnOnce() -> Vec<Delta>, cluster: &mut Cluster) {
        let Some(decisions) = &self.decisions else { return };
        match told {
            Told::Nothing => {}
            Told::News(recording) => decisions.fed(Feed::More, recording, news()),
            Told::Everything(recording, _) => {
                // Spelled out by the log's thread: with thousands of pods that takes as long as feeding them.
                let everything = cluster.snapshot();
                let count = everything.len();
                decisions.fed_everything(recording, count, everything.deltas());
            }
        }
    }

    /// Begins a call; `None` while there is no instance.
    pub fn question(&mut self, moment: Moment) -> Option<Question> {
        let mut instance = self.instance.take()?;
        let begun = Instant::now();
        instance.store.data_mut().tape.start();
        let call = instance.begin_at(self.holder.revision.limits.deadline, moment);
        Some(Question { instance, moment, call, begun })
    }

    /// Ends it with what the component returned. A fault costs the instance, and so does an answer in which `wrong` finds something; that it
    /// counts is the caller's to see to.
    pub fn answered<T>(&mut self, question: Question, answer: wasmtime::Result<T>, wrong: impl FnOnce(&T) -> Option<String>) -> Asked<T> {
        let Question { mut instance, call, begun, .. } = question;
        let answer = instance.end(call, answer).and_then(|given| match wrong(&given) {
            Some(why) => Err(Fault::Answer(why)),
            None => Ok(given),
        });
        let took = begun.elapsed();
        let recording = instance.store.data_mut().tape.stop();
        if answer.is_ok() {
            self.holder.revision.health.returned();
            self.instance = Some(instance);
        } else {
            retire(instance);
        }
        Asked { answer, took, recording }
    }

    /// The next instance waits as long as it must.
    pub fn failed(&mut self, fault: &Fault, what: &str) {
        let revision = &self.holder.revision;
        revision.log.write("error", &format!("{what}: {fault}"));
        let pause = revision.health.failed(fault);
        self.rest_until = (!pause.is_zero()).then(|| Instant::now() + pause);
    }

    /// The pod that was asked about last is taken to run on a node, with nothing else said of it than when it was asked about. To be
    /// said before the cluster's placement is fed.
    pub fn assumes(&mut self, uid: &str) {
        self.assumed = self.instance.is_some().then(|| uid.to_owned());
    }

    pub fn log_is_broken(&self) -> bool {
        self.instance.is_some() && self.decisions.as_ref().is_some_and(Stream::is_broken)
    }

    pub fn rests(&mut self) -> bool {
        let rests = self.rest_until.is_some_and(|until| Instant::now() < until);
        if !rests {
            self.rest_until = None;
        }
        rests
    }

    /// Without an instance, it is to be told what changes all the same.
    pub fn is_coming(&self) -> bool {
        self.nursery.is_some() || self.spare.is_there()
    }

    pub fn keep_spare(&mut self, cluster: &mut Cluster, may_begin: bool, wake: &Arc<Notify>) {
        self.spare.keep(&self.holder, cluster, may_begin, wake);
    }

    /// Feeds what changed; without an instance, has one brought up and takes it once it is.
    pub async fn tell(&mut self, news: &News, cluster: &mut Cluster, wake: &Arc<Notify>) -> Result<Told, Misfortune> {
        self.spare.tell(news);
        let assumed = self.assumed.take();
        if self.rests() {
            return Ok(Told::Nothing);
        }
        if let Some(mut instance) = self.instance.take() {
            instance.store.data_mut().tape.start();
            feed_to_decider(&mut instance, news, assumed).await.map_err(|fault| (fault, "feed"))?;
            let recording = instance.store.data_mut().tape.stop();
            self.instance = Some(instance);
            return Ok(Told::News(recording));
        }
        if let Some(nursery) = &mut self.nursery {
            nursery.tell(news);
        } else if let Some(nursery) = self.spare.take(&self.holder) {
            if !nursery.is_growing() {
                self.holder.revision.meter.spared();
            }
            self.nursery = Some(nursery);
        }
        if let Some(nursery) = self.nursery.take() {
            match nursery.look().await? {
                Look::Growing(nursery) => {
                    self.nursery = Some(nursery);
                    return Ok(Told::Nothing);
                }
                Look::Raised(raised) => {
                    let Raised { instance, recording, fed } = *raised;
                    self.instance = Some(instance);
                    return Ok(Told::Everything(recording, fed));
                }
                Look::Behind => {}
            }
        }
        self.nursery = Some(Nursery::start(self.holder.clone(), cluster.snapshot(), wake.clone()));
        Ok(Told::Nothing)
    }
}

/// Why ranked nodes cannot be an answer: one of them is `foreign`, or stands there twice. `is_new` says once of each that it may be there.
pub fn nonsense(ranked: &[Ranked], mut is_new: impl FnMut(u32) -> bool, may_be: impl Fn(u32) -> bool, foreign: &str) -> Option<String> {
    let node = ranked.iter().map(|r| r.node).find(|node| !is_new(*node))?;
    Some(if may_be(node) { format!("the node {node} is ranked more than once") } else { format!("the node {node} {foreign}") })
}

/// Feeds an instance the placement of the pod that it was asked about last without spelling the pod out.
async fn feed_to_decider(instance: &mut Instance, deltas: &[Delta], assumed: Option<String>) -> Result<(), Fault> {
    let placement = |uid: &String| {
        let at = deltas.iter().position(|delta| matches!(delta, Delta::Place(placement) if placement.pod.uid == *uid))?;
        let Delta::Place(placement) = &deltas[at] else { return None };
        Some((at, placement.node))
    };
    let Some((at, node)) = assumed.as_ref().and_then(placement) else { return feed(instance, deltas).await };
    feed(instance, &deltas[..at]).await?;
    feed(instance, &[Delta::Assume(Assumption { uid: assumed.unwrap_or_default(), node })]).await?;
    feed(instance, &deltas[at + 1..]).await
}

pub async fn feed(instance: &mut Instance, deltas: &[Delta]) -> Result<(), Fault> {
    for batch in deltas.chunks(FEED_BATCH) {
        let call = instance.begin(FEED_DEADLINE);
        let answer = instance.exports.call_feed(&mut instance.store, batch).await;
        instance.end(call, answer)?;
    }
    Ok(())
}
