//! Garbage collection: objects whose owners are all gone are deleted, in the background or before their owner, or are
//! let go when the owner was deleted with `Orphan`.
//!
//! It watches the metadata of every resource, custom ones too, but remembers only objects that have owners ([`graph`]).
//! Before anything is deleted the object and its owners are read again, so a late or lost event never costs an object.

mod graph;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use pintle_api::client::{DeleteOptions, ListOptions, Target, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersion, GroupVersionResource, Reason, ResourceDef, Status};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use super::Context;
use super::follow::{Change, Interest, follow};
use super::meta::{Meta, Metadata, Owner};
use super::queue::{Outcome, Queue};
use graph::{Graph, Place, Task, Uid};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
const DEFINITIONS: GroupVersionResource = GroupVersionResource::constant("apiextensions.k8s.io", "v1", "customresourcedefinitions");
const WORKERS: usize = 16;
/// Orphans let go at once.
const RELEASES: usize = 16;
/// Resources are looked for this often, besides when a definition changes.
const DISCOVERY_PERIOD: Duration = Duration::from_secs(30);
/// A definition that was just written is served a moment later.
const DISCOVERY_DELAY: Duration = Duration::from_millis(100);
/// An owner of a kind that is not served (yet): look again after this.
const UNKNOWN_OWNER: Duration = Duration::from_secs(30);

/// Shared by the watches and the workers.
struct Collector {
    context: Context,
    graph: Mutex<Graph>,
    queue: Queue<Task>,
    served: Mutex<Arc<Vec<ResourceDef>>>,
}

/// One resource's watch.
struct Watched {
    resource: Arc<GroupVersionResource>,
    kind: String,
    /// What was told since the watch began anew, until that is the whole state: an owner may go while nobody watches.
    told: Option<HashSet<Box<str>>>,
}

pub async fn run(context: Context) {
    let served = Mutex::new(Arc::new((context.discover)()));
    let collector = Arc::new(Collector { context, graph: Mutex::default(), queue: Queue::default(), served });
    let changed = Arc::new(Notify::new());
    let definitions = {
        let changed = changed.clone();
        follow(collector.context.client.clone(), Interest::all(DEFINITIONS), move |_| changed.notify_one())
    };
    let watching = watch_everything(collector.clone(), changed);
    let working = collector.queue.run(WORKERS, |task| {
        let collector = collector.clone();
        async move {
            let outcome = match &task {
                Task::Attempt(uid) => collector.attempt(uid).await,
                Task::Finish(uid) => collector.finish(uid).await,
            };
            outcome.unwrap_or_else(|status| {
                tracing::debug!(error = %status, "garbage collection will retry");
                Outcome::Retry
            })
        }
    });
    tokio::join!(definitions, watching, working);
}

/// Keeps one watch for each served resource.
async fn watch_everything(collector: Arc<Collector>, changed: Arc<Notify>) {
    let mut watches: HashMap<(String, String), AbortHandle> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let served = collector.discover();
        let mut wanted = BTreeSet::new();
        for def in served.iter().filter(|d| is_watched(d)) {
            let key = (def.group.to_string(), def.resource.to_string());
            if !wanted.insert(key.clone()) || watches.contains_key(&key) {
                continue;
            }
            let (collector, gvr) = (collector.clone(), def.gvr());
            let mut watched = Watched { resource: Arc::new(gvr.clone()), kind: def.kind.to_string(), told: None };
            let client = collector.context.client.clone();
            let watch = follow(client, Interest::all(gvr), move |change| collector.hear(&mut watched, change));
            watches.insert(key, tasks.spawn(watch));
        }
        watches.retain(|key, task| {
            let keep = wanted.contains(key);
            if !keep {
                task.abort();
            }
            keep
        });
        while tasks.try_join_next().is_some() {}
        let _ = tokio::time::timeout(DISCOVERY_PERIOD, changed.notified()).await;
        tokio::time::sleep(DISCOVERY_DELAY).await;
    }
}

/// Events have no owners worth collecting by: they expire.
fn is_watched(def: &ResourceDef) -> bool {
    def.resource != "events" && ["list", "watch", "delete"].iter().all(|verb| def.verbs.iter().any(|v| v == verb))
}

impl Collector {
    fn graph(&self) -> std::sync::MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn discover(&self) -> Arc<Vec<ResourceDef>> {
        let fresh = Arc::new((self.context.discover)());
        *self.served.lock().unwrap_or_else(PoisonError::into_inner) = fresh.clone();
        fresh
    }

    fn hear(&self, watched: &mut Watched, change: Change<'_>) {
        let tasks = match change {
            Change::Restart => {
                watched.told = Some(HashSet::new());
                return;
            }
            Change::Now(object) => match Meta::read(object) {
                Ok(meta) => {
                    if let Some(told) = &mut watched.told {
                        told.insert(meta.metadata.uid.as_str().into());
                    }
                    self.graph().seen(&watched.resource, &meta.metadata, waits_for_dependents(&meta.metadata))
                }
                Err(_) => return,
            },
            Change::Gone(object) => match Meta::read(object) {
                Ok(meta) => self.graph().gone(&meta.metadata.uid),
                Err(_) => return,
            },
            Change::Synced => match watched.told.take() {
                Some(told) => self.graph().untold(&watched.resource, &watched.kind, &told),
                None => return,
            },
        };
        tasks.into_iter().for_each(|task| self.queue.add(task));
    }

    fn forget(&self, uid: &str) {
        let tasks = self.graph().gone(uid);
        tasks.into_iter().for_each(|task| self.queue.add(task));
    }

    /// The object as it is now; `None`: gone, or another one has its name.
    async fn live(&self, place: &Place, uid: &str) -> Result<Option<Metadata>, Status> {
        match self.context.client.get(&place.target()).await {
            Ok(served) => Ok(Some(Meta::read(&served)?.metadata).filter(|m| m.uid == uid)),
            Err(status) if status.is(Reason::NotFound) => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Deletes the object if none of its owners is left.
    async fn attempt(&self, uid: &Uid) -> Result<Outcome, Status> {
        let Some(place) = self.graph().place(uid) else { return Ok(Outcome::Done) };
        let Some(meta) = self.live(&place, uid).await? else {
            self.forget(uid);
            return Ok(Outcome::Done);
        };
        if meta.owners().is_empty() || (meta.is_being_deleted() && !meta.has_finalizer(FOREGROUND)) {
            return Ok(Outcome::Done);
        }
        if meta.is_being_deleted() {
            return self.finish(uid).await;
        }
        let (mut solid, mut dangling, mut waiting) = (0, Vec::new(), Vec::new());
        for owner in meta.owners() {
            match self.owner_state(&place, owner).await? {
                OwnerState::Solid => solid += 1,
                OwnerState::Absent => dangling.push(owner.uid.clone()),
                OwnerState::Waits => waiting.push(owner.uid.clone()),
                OwnerState::Unknown => return Ok(Outcome::After(UNKNOWN_OWNER)),
            }
        }
        if solid > 0 {
            if dangling.is_empty() && waiting.is_empty() {
                return Ok(Outcome::Done);
            }
            dangling.append(&mut waiting);
            self.release(&place, uid, &dangling).await?;
            return Ok(Outcome::Done);
        }
        let policy = match () {
            () if !waiting.is_empty() && self.graph().has_dependents(uid) => {
                self.unblock_cycle(&place, uid).await?;
                "Foreground"
            }
            () if meta.has_finalizer(ORPHAN) => "Orphan",
            () if meta.has_finalizer(FOREGROUND) => "Foreground",
            () => "Background",
        };
        let options = DeleteOptions {
            propagation_policy: policy.to_owned(),
            uid: Some(uid.to_string()),
            resource_version: Some(meta.resource_version),
            ..DeleteOptions::default()
        };
        match self.context.client.delete(&place.target(), &options).await {
            Err(status) if status.is(Reason::NotFound) => self.forget(uid),
            Err(status) => return Err(status),
            Ok(_) => {}
        }
        Ok(Outcome::Done)
    }

    async fn owner_state(&self, dependent: &Place, owner: &Owner) -> Result<OwnerState, Status> {
        let Some(def) = self.def_of(owner) else { return Ok(OwnerState::Unknown) };
        let namespace = match (def.is_namespaced(), &dependent.namespace) {
            (false, _) => None,
            (true, Some(namespace)) => Some(namespace.clone()),
            // A cluster-scoped object cannot be owned by a namespaced one: nothing can be said of such an owner.
            (true, None) => return Ok(OwnerState::Unknown),
        };
        let place = Place { resource: Arc::new(def.gvr()), namespace, name: owner.name.as_str().into() };
        Ok(match self.live(&place, &owner.uid).await? {
            None => OwnerState::Absent,
            Some(meta) if meta.is_being_deleted() && meta.has_finalizer(FOREGROUND) => OwnerState::Waits,
            Some(_) => OwnerState::Solid,
        })
    }

    fn def_of(&self, owner: &Owner) -> Option<ResourceDef> {
        let group = GroupVersion::parse(&owner.api_version).group;
        let find = |served: &[ResourceDef]| served.iter().find(|d| d.kind == owner.kind && d.group == group).cloned();
        let known = self.served.lock().unwrap_or_else(PoisonError::into_inner).clone();
        find(&known).or_else(|| find(&self.discover()))
    }

    /// Goes on with an object that waits for its dependents: to be deleted with them, or to let them go.
    async fn finish(&self, uid: &Uid) -> Result<Outcome, Status> {
        let Some(place) = self.graph().place(uid) else { return Ok(Outcome::Done) };
        let Some(meta) = self.live(&place, uid).await? else {
            self.forget(uid);
            return Ok(Outcome::Done);
        };
        if !waits_for_dependents(&meta) {
            return Ok(Outcome::Done);
        }
        if meta.has_finalizer(ORPHAN) {
            let dependents = self.scan(&place, uid).await?;
            let owner = [uid.to_string()];
            let releases: Vec<_> = dependents.iter().map(|(place, meta)| self.release(place, &meta.uid, &owner)).collect();
            let released: Vec<_> = futures::stream::iter(releases).buffer_unordered(RELEASES).collect().await;
            released.into_iter().collect::<Result<Vec<()>, Status>>()?;
            self.remove_finalizer(&place, uid, ORPHAN).await?;
            return Ok(Outcome::Done);
        }
        let known = self.graph().dependents(uid);
        if known.iter().any(|(_, blocks)| *blocks) {
            known.into_iter().for_each(|(dependent, _)| self.queue.add(Task::Attempt(dependent)));
            return Ok(Outcome::Done);
        }
        // The watches may be behind: look before letting go.
        let found = self.scan(&place, uid).await?;
        let blocking = found.iter().any(|(_, m)| m.owners().iter().any(|o| *o.uid == **uid && o.block_owner_deletion == Some(true)));
        for (place, meta) in found {
            let tasks = self.graph().seen(&place.resource, &meta, waits_for_dependents(&meta));
            tasks.into_iter().for_each(|task| self.queue.add(task));
        }
        if blocking {
            return Ok(Outcome::Retry);
        }
        self.remove_finalizer(&place, uid, FOREGROUND).await?;
        Ok(Outcome::Done)
    }

    /// Reads all objects that name the owner, from the cache and not from the graph.
    async fn scan(&self, owner: &Place, uid: &str) -> Result<Vec<(Place, Metadata)>, Status> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        for def in self.discover().iter().filter(|d| is_watched(d) && (d.is_namespaced() || owner.namespace.is_none())) {
            if !seen.insert((def.group.clone(), def.resource.clone())) {
                continue;
            }
            let collection = Target::collection(def.gvr(), owner.namespace.as_deref());
            let listed = match self.context.client.list(&collection, &ListOptions::default()).await {
                Ok(listed) => listed,
                Err(status) if status.is(Reason::NotFound) => continue,
                Err(status) => return Err(status),
            };
            let resource = Arc::new(def.gvr());
            for served in listed.items.iter().filter(|s| memchr::memmem::find(&s.json, uid.as_bytes()).is_some()) {
                let meta = Meta::read(served)?.metadata;
                if meta.owners().iter().any(|o| o.uid == uid) {
                    found.push((Place::of(&resource, &meta), meta));
                }
            }
        }
        Ok(found)
    }

    /// Removes owners from an object's references.
    async fn release(&self, place: &Place, uid: &str, owners: &[String]) -> Result<(), Status> {
        self.change(place, uid, |object| {
            let keep = |r: &&Value| !owners.iter().any(|o| o == r.str_at(&["uid"]));
            let kept: Vec<Value> = object.list_at(&["metadata", "ownerReferences"]).iter().filter(keep).cloned().collect();
            match kept.is_empty() {
                true => drop(object.remove_at(&["metadata", "ownerReferences"])),
                false => object.set_at(&["metadata", "ownerReferences"], Value::Array(kept)),
            }
        })
        .await
    }

    /// A dependent that itself waits for this object would wait for ever: stop blocking the owners.
    async fn unblock_cycle(&self, place: &Place, uid: &Uid) -> Result<(), Status> {
        if !self.graph().has_waiting_dependent(uid) {
            return Ok(());
        }
        self.change(place, uid, |object| {
            let references = object.at(&["metadata", "ownerReferences"]).and_then(Value::as_array).cloned().unwrap_or_default();
            let unblocked = references.into_iter().map(|mut r| {
                r["blockOwnerDeletion"] = json!(false);
                r
            });
            object.set_at(&["metadata", "ownerReferences"], Value::Array(unblocked.collect()));
        })
        .await
    }

    async fn remove_finalizer(&self, place: &Place, uid: &str, name: &str) -> Result<(), Status> {
        self.change(place, uid, |object| {
            let finalizers = object.list_at(&["metadata", "finalizers"]).iter().filter(|f| *f != name).cloned().collect();
            object.set_at(&["metadata", "finalizers"], Value::Array(finalizers));
        })
        .await
    }

    /// Reads, changes and writes; a conflict is an error that makes the task run again. Gone is good.
    async fn change(&self, place: &Place, uid: &str, change: impl FnOnce(&mut Value) + Send) -> Result<(), Status> {
        let target = place.target();
        let served = match self.context.client.get(&target).await {
            Ok(served) => served,
            Err(status) if status.is(Reason::NotFound) => return Ok(()),
            Err(status) => return Err(status),
        };
        let before = served.parse()?;
        if before.uid() != uid {
            return Ok(());
        }
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(());
        }
        match self.context.client.update(&target, after, &WriteOptions::default()).await {
            Err(status) if status.is(Reason::NotFound) => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

enum OwnerState {
    Solid,
    Absent,
    /// It is being deleted and waits for its dependents.
    Waits,
    /// Its kind is not served, so nothing can be said.
    Unknown,
}

fn waits_for_dependents(meta: &Metadata) -> bool {
    meta.is_being_deleted() && (meta.has_finalizer(FOREGROUND) || meta.has_finalizer(ORPHAN))
}
