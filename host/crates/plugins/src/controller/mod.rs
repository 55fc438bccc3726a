//! Runs a controller component: informers turn changes into keys, a queue holds them, workers hand them to instances one at a time.
//!
//! A worker owns one instance, made when there is work for it and dropped when there was none for a while. What an instance does wrong costs
//! its call and itself; the key goes back to the queue and the worker makes a fresh one. Replacing a revision means preparing the new one,
//! letting the old one finish its calls, and starting the new one with every primary object in its queue, as a restarted controller does,
//! and with what the old one left undone: of what is gone nothing else would tell. A candidate beside it looks on in the shadow
//! ([`shadow`]) or reconciles its share of the keys ([`canary`]). Called by the manager.

mod canary;
pub mod compare;
mod emulate;
mod older;
pub mod queue;
mod reading;
mod record;
mod router;
mod shadow;
pub mod versions;
mod view;
mod watch;
pub mod world;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pintle_api::GroupVersionResource;
use pintle_plugin_bindings::controller::pintle::controller::types::Relation;
use pintle_plugin_bindings::controller::{Failure, Key as WitKey};
use tokio::sync::watch as signal;
use tokio::task::JoinSet;

use crate::decisions::Stream;
use crate::decisions::record::{self as logged, qualified};
use crate::decisions::tap::Tapped;
use crate::events::Recorder;
use crate::grants::allows;
use crate::guest::{self, Fault, Guest, HostState};
use crate::index::{Informer, Listener, Subject};
use crate::load::{LoadError, World};
use crate::revision::Revision;
use crate::shared::{Shared, raised};
use crate::stages::Trial;
use crate::stages::spec::Stage;
use canary::Canary;
use queue::{Change, Key, Left, Queue, Work};
use reading::States;
use router::{Router, key_of};
use shadow::Shadow;
use versions::{Exports, Linked};
use watch::Watch;
use world::{ControllerWorld, Witness};

/// For one call, when the Plugin names none.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// Watches from here on are a canary's own, which the live revision does not have.
const CANARY_WATCHES: usize = 1 << 16;
/// For calls under way when the revision is stopped.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// For the first full state of everything that it watches. Longer means that a resource is not served.
const SYNC_TIMEOUT: Duration = Duration::from_secs(20);
/// An instance that had no work for so long is dropped with its memory; a fresh one takes about a millisecond.
const IDLE: Duration = Duration::from_secs(60);

type Instance = Guest<ControllerWorld, Exports>;

/// A revision that is compiled, linked, and has said what it watches.
pub struct Prepared {
    revision: Arc<Revision>,
    exports: Linked<ControllerWorld>,
    watches: Arc<[Watch]>,
    informers: Vec<Arc<Informer>>,
}

/// Hears of every change and reconciles nothing yet.
pub struct Listening {
    prepared: Prepared,
    queue: Arc<Queue>,
    listener: Arc<dyn Listener>,
}

/// What a revision that was stopped has not done.
pub struct Undone {
    watches: Arc<[Watch]>,
    left: Left,
    /// The plugin's: its next revision goes on with it.
    recorder: Recorder,
}

/// Runs until stopped.
pub struct Running {
    crew: Arc<Crew>,
    stop: signal::Sender<bool>,
    workers: JoinSet<()>,
    watches: Arc<[Watch]>,
    informers: Vec<Arc<Informer>>,
    _listener: Arc<dyn Listener>,
}

/// A revision as its instances are made.
struct Member {
    shared: Arc<Shared>,
    revision: Arc<Revision>,
    exports: Linked<ControllerWorld>,
    watches: Arc<[Watch]>,
    /// Of everything it reconciles; none before it runs.
    primary: Option<Arc<Informer>>,
    watched: Arc<[(GroupVersionResource, Arc<Informer>)]>,
    recorder: Recorder,
    /// The resource that it reconciles, as `replicasets.apps`.
    task: Arc<str>,
    /// `None` while it is only asked what it watches.
    decisions: Option<Stream>,
}

/// Everything that the workers have in common.
struct Crew {
    live: Member,
    queue: Arc<Queue>,
    shadow: Mutex<Option<Arc<Shadow>>>,
    canary: Mutex<Option<Arc<Canary>>>,
    stop: signal::Receiver<bool>,
}

/// Work that an instance is needed for.
enum Job {
    Reconcile(Key),
    Route(Change, States),
}

/// Links the component and asks what it watches; refuses watches that its grants do not cover.
pub async fn prepare(shared: &Arc<Shared>, revision: Arc<Revision>) -> Result<Prepared, LoadError> {
    let exports =
        versions::link::<_, Tapped>(&revision.machine, &revision.loaded).map_err(|e| LoadError::Mismatch(World::Controller, format!("{e:#}")))?;
    let member = Member {
        shared: shared.clone(),
        revision: revision.clone(),
        exports: exports.clone(),
        watches: Arc::new([]),
        primary: None,
        watched: Arc::new([]),
        recorder: shared.recorder.clone(),
        task: "".into(),
        decisions: None,
    };
    let mut instance = member.instantiate().await.map_err(|f| LoadError::Start(f.to_string()))?;
    let call = instance.begin(revision.limits.deadline);
    let answer = instance.exports.call_watches(&mut instance.store).await;
    let asked = instance.end(call, answer).map_err(|f| LoadError::Start(format!("`watches` {f}")))?;
    if !matches!(asked.first().map(|w| &w.relation), Some(Relation::Primary)) {
        return Err(LoadError::Start("`watches` must begin with the primary resource".to_owned()));
    }
    let watches: Arc<[Watch]> = asked.into_iter().map(Watch::new).collect::<Result<_, _>>().map_err(LoadError::Start)?;
    for watch in watches.iter() {
        require_grants(&revision, &watch.subject.resource)?;
    }
    let informers: Vec<Arc<Informer>> = watches.iter().map(|w| shared.informers.informer(&w.subject)).collect();
    // Whole before the first key: a controller that sees half of its objects makes the other half again.
    for (watch, informer) in watches.iter().zip(&informers) {
        tokio::time::timeout(SYNC_TIMEOUT, informer.synced())
            .await
            .map_err(|_| LoadError::Start(format!("{} is not served, but it watches it", watch.subject.resource)))?;
    }
    Ok(Prepared { revision, exports, watches, informers })
}

impl Prepared {
    /// `logged`: what it decides is done, and goes into the decision log.
    fn member(&self, shared: &Arc<Shared>, recorder: Recorder, logged: bool) -> Member {
        let whole = self.watches.iter().zip(&self.informers).filter(|(w, _)| w.subject == Subject::all(w.subject.resource.clone()));
        let primary = self.watches.first().map(|w| &w.subject.resource);
        let task: Arc<str> = primary.map(|r| qualified(&r.group, &r.resource)).unwrap_or_default().into();
        Member {
            decisions: logged.then(|| shared.decisions.open(&self.revision, &task)),
            task,
            shared: shared.clone(),
            revision: self.revision.clone(),
            exports: self.exports.clone(),
            watches: self.watches.clone(),
            primary: self.informers.first().cloned(),
            watched: whole.map(|(w, i)| (w.subject.resource.clone(), i.clone())).collect(),
            recorder,
        }
    }

    /// The caller stops the revision before, which hears of changes until then: so there is no moment in which nobody does.
    pub fn listen(self) -> Listening {
        let queue = Arc::new(Queue::default());
        let listener: Arc<dyn Listener> = Arc::new(Router::new(queue.clone(), self.watches.clone()));
        for (tag, informer) in self.informers.iter().enumerate() {
            informer.subscribe(tag, &listener);
        }
        Listening { prepared: self, queue, listener }
    }
}

impl Listening {
    /// Begins to reconcile, also what the revision before has not.
    pub fn start(self, shared: &Arc<Shared>, undone: Option<Undone>) -> Running {
        let Self { prepared, queue, listener } = self;
        let plugin = &prepared.revision.plugin;
        let recorder = undone.as_ref().map_or_else(|| Recorder::new((shared.clients)(plugin), plugin), |undone| undone.recorder.clone());
        let live = prepared.member(shared, recorder, true);
        let Prepared { watches, informers, .. } = prepared;
        if let Some(undone) = undone {
            undone.hand_over(&queue, &watches);
        }
        let (stop, stopped) = signal::channel(false);
        let crew = Arc::new(Crew { live, queue, shadow: Mutex::default(), canary: Mutex::default(), stop: stopped });
        let mut workers = JoinSet::new();
        for _ in 0..crew.live.revision.instances.max(1) {
            workers.spawn(work(crew.clone()));
        }
        Running { crew, stop, workers, watches, informers, _listener: listener }
    }
}

impl Undone {
    /// Changes of what the next revision does not watch in the same way mean nothing to it.
    fn hand_over(self, queue: &Queue, watches: &[Watch]) {
        let Left { keys, later, changes } = self.left;
        for (key, change) in changes {
            let same = self.watches.get(change.watch).and_then(|watch| watches.iter().position(|w| w.hears_the_same(watch)));
            if let Some(watch) = same {
                queue.put_back(key, Change { watch, ..change });
            }
        }
        keys.into_iter().for_each(|key| queue.add(key));
        for (due, key) in later {
            queue.add_after(key, due.saturating_duration_since(tokio::time::Instant::now()));
        }
    }
}

impl Running {
    /// Lets calls under way finish, and takes no more. One that does not finish is cut off: what it wrote is written.
    pub async fn stop(mut self) -> Undone {
        self.stop.send_replace(true);
        self.crew.queue.close();
        let finish = async { while self.workers.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_GRACE, finish).await.is_err() {
            self.workers.shutdown().await;
        }
        Undone { left: self.crew.queue.take_left(), watches: self.watches, recorder: self.crew.live.recorder.clone() }
    }

    /// Puts a candidate beside the live revision, in place of another, or takes it away. The keys that change hands, and those that a
    /// shadow should see, come again.
    pub fn set_trial(&mut self, shared: &Arc<Shared>, trial: Option<Trial<Prepared>>) {
        *lock(&self.crew.shadow) = None;
        let before = lock(&self.crew.canary).take();
        if let Some(before) = before {
            self.again(|key| before.holds(key));
        }
        let Some(Trial { stage, share, tally, holder }) = trial else { return };
        let extra: Vec<usize> = (0..holder.watches.len()).filter(|at| !self.watches.contains(&holder.watches[*at])).collect();
        let member = holder.member(shared, self.crew.live.recorder.clone(), stage == Stage::Canary);
        match stage {
            Stage::Canary => {
                let canary = Arc::new(Canary::new(member, share, tally, &self.crew.queue, &holder, &extra));
                *lock(&self.crew.canary) = Some(canary.clone());
                self.again(|key| canary.holds(key));
            }
            Stage::Shadow | Stage::Live => {
                for watch in extra.iter().map(|at| &holder.watches[*at]) {
                    tally.note(shadow::other_watch(&watch.subject.resource.to_string()));
                }
                *lock(&self.crew.shadow) = Some(Arc::new(Shadow::start(member, tally, holder.informers)));
                self.again(|_| true);
            }
        }
    }

    fn again(&self, picks: impl Fn(&Key) -> bool) {
        let Some(primary) = self.informers.first() else { return };
        primary.all().iter().map(key_of).filter(picks).for_each(|key| self.crew.queue.add(key));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

fn require_grants(revision: &Revision, resource: &GroupVersionResource) -> Result<(), LoadError> {
    for verb in ["list", "watch"] {
        if !allows(&revision.grants, verb, resource, "", "") {
            return Err(LoadError::MissingGrant { verb, resource: resource.to_string(), why: "it watches".to_owned() });
        }
    }
    Ok(())
}

async fn work(crew: Arc<Crew>) {
    let mut live: Option<Instance> = None;
    let mut canary: Option<(Arc<Canary>, Instance)> = None;
    let mut idle_from = tokio::time::Instant::now();
    loop {
        let next = match tokio::time::timeout_at(idle_from + IDLE, crew.queue.next()).await {
            Ok(next) => next,
            Err(_) => {
                (live, canary) = (None, None);
                crew.queue.next().await
            }
        };
        let Some(work) = next else { return };
        let canary_of = crew.canary_for(&work);
        let member = canary_of.as_ref().map_or(&crew.live, |canary| canary.member());
        let Some(job) = member.job(work, canary_of.is_some()) else {
            // Nothing else here waits, however many changes there are.
            tokio::task::consume_budget().await;
            continue;
        };
        match canary_of {
            Some(of) => {
                let kept = canary.take().filter(|(known, _)| Arc::ptr_eq(known, &of)).map(|(_, instance)| instance);
                canary = of.serve(&crew, kept, job).await.map(|instance| (of, instance));
            }
            None => {
                let ready = match live.take() {
                    Some(ready) => ready,
                    None => match crew.fresh().await {
                        Some(fresh) => fresh,
                        None => return crew.give_back(job),
                    },
                };
                live = crew.serve(&crew.live, ready, job, None).await;
            }
        }
        idle_from = tokio::time::Instant::now();
    }
}

impl Member {
    async fn instantiate(&self) -> Result<Instance, Fault> {
        let world = ControllerWorld {
            plugin: self.revision.plugin.clone(),
            client: (self.shared.clients)(&self.revision.plugin),
            informers: self.shared.informers.clone(),
            watched: self.watched.clone(),
            grants: self.revision.grants.clone(),
            recorder: self.recorder.clone(),
            instance: self.shared.decisions.now(),
            writes: self.revision.writes.clone(),
            writes_in_call: 0,
            witness: Witness::None,
        };
        let Revision { config, log, limits, machine, meter, .. } = &*self.revision;
        let mut store = HostState::new(world, config.clone(), log.clone(), *limits).metered(meter).into_store(machine);
        let call = guest::begin(machine, &mut store, limits.deadline);
        let exports = self.exports.instantiate_async(&mut store).await;
        let exports = guest::end(&store, call, exports)?;
        Ok(Guest::new(machine, store, exports))
    }

    fn failed(&self, what: &str, fault: &Fault) -> Duration {
        self.revision.log.write("error", &format!("{what}: {fault}"));
        self.revision.health.failed(fault)
    }

    fn note(&self, key: &Key, instance: &mut Instance, took: Duration, outcome: &Result<Result<Option<u64>, Failure>, Fault>) {
        let state = instance.store.data_mut();
        let recording = state.tape.stop();
        let Some(stream) = &self.decisions else { return };
        let subject = logged::Subject { resource: self.task.clone(), namespace: key.namespace.clone(), name: key.name.clone(), uid: "".into() };
        stream.reconciled(subject, state.world.instance, took, recording, outcome);
    }

    /// `None`: there is nothing to do.
    fn job(&self, work: Work, canary: bool) -> Option<Job> {
        let change = match work {
            Work::Reconcile(key) => return Some(Job::Reconcile(key)),
            Work::Route(change) => change,
        };
        // None: a canary's own watch, and the canary is gone.
        let watch = self.watches.get(own_place(&change, canary))?;
        if self.is_not_concerned(watch, &change) {
            return None;
        }
        let states = watch.reading.of(&change, matches!(watch.relation, Relation::Claimed(_)))?;
        Some(Job::Route(change, states))
    }

    /// Most changes of Pods are in namespaces where a given controller has nothing: parsing them there is its largest cost.
    fn is_not_concerned(&self, watch: &Watch, change: &Change) -> bool {
        let stays = matches!(watch.relation, Relation::Local | Relation::Claimed(_));
        let Some(entry) = change.after.as_ref().or(change.before.as_ref()) else { return true };
        stays && !self.primary.as_ref().is_none_or(|p| p.holds_any_in(&entry.meta.namespace))
    }
}

impl Crew {
    /// A new instance, however long it takes; `None` when the crew is stopped.
    async fn fresh(&self) -> Option<Instance> {
        loop {
            if *self.stop.borrow() {
                return None;
            }
            match self.live.instantiate().await {
                Ok(instance) => return Some(instance),
                Err(fault) => self.rest(self.live.failed("instantiate", &fault)).await,
            }
        }
    }

    /// What nobody is there for any more: the next revision finds it.
    fn give_back(&self, job: Job) {
        match job {
            // It counts as being reconciled until it is settled.
            Job::Reconcile(_) => {}
            Job::Route(change, _) => self.put_back(change),
        }
    }

    fn put_back(&self, change: Change) {
        if let Some(entry) = change.after.as_ref().or(change.before.as_ref()) {
            self.queue.put_back(key_of(entry), change);
        }
    }

    /// One piece of work. The instance comes back unless the call cost it; then the worker rests, but for a canary, which does not hold
    /// up the others.
    async fn serve(&self, member: &Member, instance: Instance, job: Job, canary: Option<&Canary>) -> Option<Instance> {
        match job {
            Job::Reconcile(key) => self.reconcile(member, instance, key, canary).await,
            Job::Route(change, states) => self.route(member, instance, change, states, canary).await,
        }
    }

    async fn reconcile(&self, member: &Member, mut instance: Instance, key: Key, canary: Option<&Canary>) -> Option<Instance> {
        let wit = WitKey { namespace: key.namespace.to_string(), name: key.name.to_string() };
        let shadow = lock(&self.shadow).clone().filter(|_| canary.is_none());
        if shadow.is_some() {
            instance.store.data_mut().world.witness = Witness::Records(Box::default());
        }
        let begun = Instant::now();
        instance.store.data_mut().tape.start();
        instance.store.data_mut().world.writes_in_call = 0;
        let call = instance.begin(member.revision.limits.deadline);
        let moment = call.moment;
        let outcome = instance.exports.call_reconcile(&mut instance.store, &wit).await;
        let outcome = instance.end(call, outcome);
        let witness = std::mem::take(&mut instance.store.data_mut().world.witness);
        member.note(&key, &mut instance, begun.elapsed(), &outcome);
        match outcome {
            Ok(outcome) => {
                let failed = outcome.is_err();
                member.revision.health.returned();
                member.revision.health.decided(failed);
                if failed {
                    member.revision.meter.failed();
                }
                if let (Some(shadow), Witness::Records(record)) = (shadow, witness) {
                    shadow.reconciled(key.clone(), moment, *record, &outcome);
                }
                if let Some(canary) = canary {
                    canary.decided(failed);
                }
                self.settle(member, key, outcome);
                Some(instance)
            }
            Err(fault) => {
                drop(instance);
                let what = format!("reconcile {}/{}", key.namespace, key.name);
                let pause = member.failed(&what, &fault);
                self.queue.done(key, true);
                self.after_fault(canary, &what, &fault, pause).await;
                None
            }
        }
    }

    fn settle(&self, member: &Member, key: Key, outcome: Result<Option<u64>, Failure>) {
        match outcome {
            Ok(after) => {
                self.queue.done(key.clone(), false);
                if let Some(after) = after {
                    self.queue.add_after(key, Duration::from_millis(after));
                }
            }
            Err(Failure::Retry(why)) => {
                member.revision.log.write("debug", &format!("{}/{} again: {why}", key.namespace, key.name));
                self.queue.done(key, true);
            }
            Err(Failure::Terminal(why)) => {
                member.revision.log.write("warn", &format!("{}/{}: {why}", key.namespace, key.name));
                self.queue.done(key, false);
            }
        }
    }

    async fn route(&self, member: &Member, mut instance: Instance, change: Change, states: States, canary: Option<&Canary>) -> Option<Instance> {
        let call = instance.begin(member.revision.limits.deadline);
        let index = u32::try_from(own_place(&change, canary.is_some())).unwrap_or(u32::MAX);
        let outcome = instance.exports.call_route(&mut instance.store, index, &states.before, &states.after).await;
        match instance.end(call, outcome) {
            Ok(keys) => {
                member.revision.health.returned();
                let keys = keys.into_iter().map(|k| Key { namespace: k.namespace.into(), name: k.name.into() });
                keys.filter(|key| canary.is_none_or(|c| c.holds(key))).for_each(|key| self.queue.add(key));
                Some(instance)
            }
            Err(fault) => {
                drop(instance);
                let pause = member.failed("route", &fault);
                self.put_back(change);
                self.after_fault(canary, "route", &fault, pause).await;
                None
            }
        }
    }

    /// Who else does the work, if it is not the live revision's.
    fn canary_for(&self, work: &Work) -> Option<Arc<Canary>> {
        let canary = lock(&self.canary).clone()?;
        let its = match work {
            Work::Reconcile(key) => canary.holds(key),
            Work::Route(change) => change.watch >= CANARY_WATCHES,
        };
        its.then_some(canary)
    }

    async fn after_fault(&self, canary: Option<&Canary>, what: &str, fault: &Fault, pause: Duration) {
        match canary {
            Some(canary) => canary.fault(what, fault, pause),
            None => self.rest(pause).await,
        }
    }

    async fn rest(&self, pause: Duration) {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = raised(&mut stop) => {}
        }
    }
}

/// The watch's place among those of who is asked.
fn own_place(change: &Change, canary: bool) -> usize {
    change.watch - if canary { CANARY_WATCHES } else { 0 }
}
