//! Runs a controller component: informers turn changes into keys, a queue holds them, workers hand them to instances one at a time.
//!
//! A worker owns one instance. What an instance does wrong costs its call and itself; the key goes back to the queue and the worker
//! makes a fresh one. Replacing a revision means preparing the new one, letting the old one finish its calls, and starting the new one
//! with every primary object in its queue, as a restarted controller does. Called by the manager.

pub mod queue;
pub mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pintle_api::GroupVersionResource;
use pintle_plugin_bindings::controller::pintle::controller::types::Relation;
use pintle_plugin_bindings::controller::pintle::controller::{objects, types};
use pintle_plugin_bindings::controller::{Controller, ControllerPre, Failure, Key as WitKey};
use tokio::sync::watch;
use tokio::task::JoinSet;
use wasmtime::component::HasSelf;

use crate::decisions::Stream;
use crate::decisions::record::{self, qualified};
use crate::decisions::tap::{Tap, Tapped};
use crate::events::Recorder;
use crate::grants::allows;
use crate::guest::{self, Fault, Guest, HostState};
use crate::index::{Entry, Informer, Listener, Subject};
use crate::load::{LoadError, World};
use crate::revision::Revision;
use crate::shared::{Shared, raised};
use queue::{Change, Key, Queue, Work};
use world::{ControllerWorld, gvr};

/// For one call, when the Plugin names none.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// For the first full state of everything that it watches. Longer means that a resource is not served.
const SYNC_TIMEOUT: Duration = Duration::from_secs(20);

type Instance = Guest<ControllerWorld, Controller>;

/// A revision that is compiled, linked, and has said what it watches.
pub struct Prepared {
    revision: Arc<Revision>,
    exports: ControllerPre<HostState<ControllerWorld>>,
    watches: Vec<Watch>,
    informers: Vec<Arc<Informer>>,
}

struct Watch {
    subject: Subject,
    relation: Relation,
}

/// Runs until stopped.
pub struct Running {
    queue: Arc<Queue>,
    stop: watch::Sender<bool>,
    workers: JoinSet<()>,
    _listener: Arc<dyn Listener>,
    _informers: Vec<Arc<Informer>>,
}

/// Everything that the workers of a revision have in common.
struct Crew {
    shared: Arc<Shared>,
    revision: Arc<Revision>,
    exports: ControllerPre<HostState<ControllerWorld>>,
    queue: Arc<Queue>,
    relations: Arc<[Relation]>,
    /// Of everything it reconciles; none before it runs.
    primary: Option<Arc<Informer>>,
    watched: Arc<[(GroupVersionResource, Arc<Informer>)]>,
    recorder: Recorder,
    /// The resource that it reconciles, as `replicasets.apps`.
    task: Arc<str>,
    /// `None` while it is only asked what it watches.
    decisions: Option<Stream>,
    stop: watch::Receiver<bool>,
}

/// Links the component and asks what it watches; refuses watches that its grants do not cover.
pub async fn prepare(shared: &Arc<Shared>, revision: Arc<Revision>) -> Result<Prepared, LoadError> {
    let exports = link(shared, &revision).map_err(|e| LoadError::Mismatch(World::Controller, format!("{e:#}")))?;
    let crew = Crew {
        shared: shared.clone(),
        revision: revision.clone(),
        exports: exports.clone(),
        queue: Arc::default(),
        relations: Arc::new([]),
        primary: None,
        watched: Arc::new([]),
        recorder: shared.recorder.clone(),
        task: "".into(),
        decisions: None,
        stop: watch::channel(false).1,
    };
    let mut instance = crew.instantiate().await.map_err(|f| LoadError::Start(f.to_string()))?;
    let call = instance.begin(revision.limits.deadline);
    let answer = instance.exports.call_watches(&mut instance.store).await;
    let asked = instance.end(call, answer).map_err(|f| LoadError::Start(format!("`watches` {f}")))?;
    if !matches!(asked.first().map(|w| &w.relation), Some(Relation::Primary)) {
        return Err(LoadError::Start("`watches` must begin with the primary resource".to_owned()));
    }
    let watches: Vec<Watch> = asked.into_iter().map(Watch::from).collect();
    for watch in &watches {
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
    /// Begins to reconcile. The caller has stopped the revision before.
    pub fn start(self, shared: &Arc<Shared>) -> Running {
        let Self { revision, exports, watches, informers } = self;
        let queue = Arc::new(Queue::default());
        let relations: Arc<[Relation]> = watches.iter().map(|w| w.relation.clone()).collect();
        let listener: Arc<dyn Listener> = Arc::new(Router { queue: queue.clone(), relations: relations.clone() });
        for (tag, informer) in informers.iter().enumerate() {
            informer.subscribe(tag, &listener);
        }
        let whole = watches.iter().zip(&informers).filter(|(w, _)| w.subject == Subject::all(w.subject.resource.clone()));
        let watched = whole.map(|(w, i)| (w.subject.resource.clone(), i.clone())).collect();
        let (stop, stopped) = watch::channel(false);
        let client = (shared.clients)(&revision.plugin);
        let task: Arc<str> = watches.first().map(|w| qualified(&w.subject.resource.group, &w.subject.resource.resource)).unwrap_or_default().into();
        let crew = Arc::new(Crew {
            shared: shared.clone(),
            recorder: Recorder::new(client, &revision.plugin),
            decisions: Some(shared.decisions.open(&revision, &task)),
            task,
            queue: queue.clone(),
            relations,
            primary: informers.first().cloned(),
            watched,
            exports,
            stop: stopped,
            revision,
        });
        let mut workers = JoinSet::new();
        for _ in 0..crew.revision.instances.max(1) {
            workers.spawn(work(crew.clone()));
        }
        Running { queue, stop, workers, _listener: listener, _informers: informers }
    }
}

impl Running {
    /// Lets calls under way finish, and takes no more.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        self.queue.close();
        while self.workers.join_next().await.is_some() {}
    }
}

fn link(shared: &Shared, revision: &Revision) -> wasmtime::Result<ControllerPre<HostState<ControllerWorld>>> {
    let mut linker = guest::linker::<ControllerWorld>(&shared.machine, &revision.loaded.component)?;
    types::add_to_linker::<_, HasSelf<HostState<ControllerWorld>>>(&mut linker, |state| state)?;
    objects::add_to_linker::<_, Tapped>(&mut linker, |state| Tap(state))?;
    ControllerPre::new(linker.instantiate_pre(&revision.loaded.component)?)
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
    let mut instance: Option<Instance> = None;
    loop {
        let ready = match instance.take() {
            Some(ready) => ready,
            None => match crew.fresh().await {
                Some(fresh) => fresh,
                None => return,
            },
        };
        let Some(work) = crew.queue.next().await else { return };
        instance = crew.serve(ready, work).await;
    }
}

impl Crew {
    /// A new instance, however long it takes; `None` when the crew is stopped.
    async fn fresh(&self) -> Option<Instance> {
        loop {
            if *self.stop.borrow() {
                return None;
            }
            match self.instantiate().await {
                Ok(instance) => return Some(instance),
                Err(fault) => self.rest(self.failed("instantiate", &fault)).await,
            }
        }
    }

    async fn instantiate(&self) -> Result<Instance, Fault> {
        let world = ControllerWorld {
            plugin: self.revision.plugin.clone(),
            client: (self.shared.clients)(&self.revision.plugin),
            informers: self.shared.informers.clone(),
            watched: self.watched.clone(),
            grants: self.revision.grants.clone(),
            recorder: self.recorder.clone(),
            instance: self.shared.decisions.now(),
        };
        let (machine, limits) = (&self.shared.machine, self.revision.limits);
        let mut store = HostState::new(world, self.revision.config.clone(), self.revision.log.clone(), limits).into_store(machine);
        let call = guest::begin(machine, &mut store, limits.deadline);
        let exports = self.exports.instantiate_async(&mut store).await;
        let exports = guest::end(&store, call, exports)?;
        Ok(Guest::new(machine, store, exports))
    }

    /// One piece of work. The instance comes back unless the call cost it.
    async fn serve(&self, instance: Instance, work: Work) -> Option<Instance> {
        match work {
            Work::Reconcile(key) => self.reconcile(instance, key).await,
            Work::Route(change) if self.concerns_nobody(&change) => Some(instance),
            Work::Route(change) => self.route(instance, change).await,
        }
    }

    /// Most changes of Pods are in namespaces where a given controller has nothing: parsing them there is its largest cost.
    fn concerns_nobody(&self, change: &Change) -> bool {
        let stays = matches!(self.relations[change.watch], Relation::Local | Relation::Claimed(_));
        let Some(entry) = change.after.as_ref().or(change.before.as_ref()) else { return true };
        stays && !self.primary.as_ref().is_none_or(|p| p.holds_any_in(&entry.meta.namespace))
    }

    async fn reconcile(&self, mut instance: Instance, key: Key) -> Option<Instance> {
        let wit = WitKey { namespace: key.namespace.to_string(), name: key.name.to_string() };
        let begun = Instant::now();
        instance.store.data_mut().tape.start();
        let call = instance.begin(self.revision.limits.deadline);
        let outcome = instance.exports.call_reconcile(&mut instance.store, &wit).await;
        let outcome = instance.end(call, outcome);
        self.note(&key, &mut instance, begun.elapsed(), &outcome);
        match outcome {
            Ok(outcome) => {
                self.revision.health.returned();
                self.settle(key, outcome);
                Some(instance)
            }
            Err(fault) => {
                drop(instance);
                let pause = self.failed(&format!("reconcile {}/{}", key.namespace, key.name), &fault);
                self.queue.done(key, true);
                self.rest(pause).await;
                None
            }
        }
    }

    fn note(&self, key: &Key, instance: &mut Instance, took: Duration, outcome: &Result<Result<Option<u64>, Failure>, Fault>) {
        let state = instance.store.data_mut();
        let recording = state.tape.stop();
        let Some(stream) = &self.decisions else { return };
        let subject = record::Subject { resource: self.task.clone(), namespace: key.namespace.clone(), name: key.name.clone(), uid: "".into() };
        stream.reconciled(subject, state.world.instance, took, recording, outcome);
    }

    fn settle(&self, key: Key, outcome: Result<Option<u64>, Failure>) {
        match outcome {
            Ok(after) => {
                self.queue.done(key.clone(), false);
                if let Some(after) = after {
                    self.queue.add_after(key, Duration::from_millis(after));
                }
            }
            Err(Failure::Retry(why)) => {
                self.revision.log.write("debug", &format!("{}/{} again: {why}", key.namespace, key.name));
                self.queue.done(key, true);
            }
            Err(Failure::Terminal(why)) => {
                self.revision.log.write("warn", &format!("{}/{}: {why}", key.namespace, key.name));
                self.queue.done(key, false);
            }
        }
    }

    async fn route(&self, mut instance: Instance, change: Change) -> Option<Instance> {
        let bytes = |entry: &Option<Arc<Entry>>| entry.as_ref().map_or_else(Vec::new, |e| e.json.to_vec());
        let (before, after) = (bytes(&change.before), bytes(&change.after));
        let call = instance.begin(self.revision.limits.deadline);
        let index = u32::try_from(change.watch).unwrap_or(u32::MAX);
        let outcome = instance.exports.call_route(&mut instance.store, index, &before, &after).await;
        match instance.end(call, outcome) {
            Ok(keys) => {
                self.revision.health.returned();
                for key in keys {
                    self.queue.add(Key { namespace: key.namespace.into(), name: key.name.into() });
                }
                Some(instance)
            }
            Err(fault) => {
                drop(instance);
                let pause = self.failed("route", &fault);
                if let Some(entry) = change.after.as_ref().or(change.before.as_ref()) {
                    self.queue.put_back(key_of(entry), change);
                }
                self.rest(pause).await;
                None
            }
        }
    }

    fn failed(&self, what: &str, fault: &Fault) -> Duration {
        self.revision.log.write("error", &format!("{what}: {fault}"));
        self.revision.health.failed(fault)
    }

    async fn rest(&self, pause: Duration) {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = raised(&mut stop) => {}
        }
    }
}

/// Turns changes into keys, without asking the component where the relation says it all.
struct Router {
    queue: Arc<Queue>,
    relations: Arc<[Relation]>,
}

impl Listener for Router {
    fn changed(&self, tag: usize, before: Option<&Arc<Entry>>, after: Option<&Arc<Entry>>) {
        let Some(entry) = after.or(before) else { return };
        match &self.relations[tag] {
            Relation::Primary => self.queue.add(key_of(entry)),
            Relation::Owned(kind) => self.add_owners(kind, before, after),
            Relation::Claimed(kind) => {
                self.add_owners(kind, before, after);
                if [before, after].into_iter().flatten().any(|e| e.meta.controller.is_none()) {
                    self.queue.change(tag, key_of(entry), before.cloned(), after.cloned());
                }
            }
            Relation::Routed | Relation::Local => self.queue.change(tag, key_of(entry), before.cloned(), after.cloned()),
            Relation::Indexed => {}
        }
    }
}

impl Router {
    fn add_owners(&self, kind: &str, before: Option<&Arc<Entry>>, after: Option<&Arc<Entry>>) {
        let owner = |entry: &Arc<Entry>| owner_key(entry, kind);
        let (old, new) = (before.and_then(owner), after.and_then(owner));
        if old != new {
            old.into_iter().for_each(|key| self.queue.add(key));
        }
        new.into_iter().for_each(|key| self.queue.add(key));
    }
}

fn owner_key(entry: &Arc<Entry>, kind: &str) -> Option<Key> {
    let owner = entry.meta.controller.as_ref().filter(|o| *o.kind == *kind)?;
    Some(Key { namespace: entry.meta.namespace.clone(), name: owner.name.clone() })
}

fn key_of(entry: &Arc<Entry>) -> Key {
    Key { namespace: entry.meta.namespace.clone(), name: entry.meta.name.clone() }
}

impl From<types::Watch> for Watch {
    fn from(watch: types::Watch) -> Self {
        let subject = Subject { resource: gvr(watch.resource), label_selector: watch.label_selector, field_selector: watch.field_selector };
        Self { subject, relation: watch.relation }
    }
}
