//! Shared informers: one watch and one index for each resource, whoever asks for it.
//!
//! An index holds the objects' JSON as the server sent it (in process: the server's own bytes) and the few fields that reads select
//! by. Writers put what they wrote into it at once, so a plugin's next read sees its own write. Refuses nothing: who may read what is
//! the caller's question (`grants`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use pintle_api::client::{Client, Served, Target, WatchEvent, WatchOptions};
use pintle_api::selector::{FieldSelector, LabelSelector};
use pintle_api::{GroupVersionResource, Reason, Status};
use tokio::sync::watch;

use crate::departed::Departed;
pub use crate::meta::Meta;

/// Pause before a broken watch is opened again; doubles to the maximum while it keeps failing.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// An object as the server holds it.
#[derive(Debug)]
pub struct Entry {
    pub json: Bytes,
    pub revision: u64,
    pub meta: Meta,
}

/// What an informer watches. Most watch everything of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    pub resource: GroupVersionResource,
    pub label_selector: String,
    pub field_selector: String,
}

/// Told of each change, in order, under the index's lock: keep it short and take no other index.
pub trait Listener: Send + Sync {
    /// `tag` is what the listener subscribed with.
    fn changed(&self, tag: usize, before: Option<&Arc<Entry>>, after: Option<&Arc<Entry>>);
}

/// All informers of the process.
pub struct Informers {
    client: Arc<dyn Client>,
    by_subject: Mutex<HashMap<Subject, Weak<Informer>>>,
}

pub struct Informer {
    index: RwLock<Index>,
    synced: watch::Sender<bool>,
    task: Mutex<Option<tokio::task::AbortHandle>>,
}

/// Namespace (empty for cluster-scoped objects) and name.
type Key = (Arc<str>, Arc<str>);

#[derive(Default)]
struct Index {
    objects: BTreeMap<Key, Arc<Entry>>,
    by_owner: HashMap<Arc<str>, BTreeSet<Key>>,
    /// Deleted by ourselves, but older events of them may still arrive: the uid that is gone.
    buried: HashMap<Key, Arc<str>>,
    departed: Departed,
    listeners: Vec<(usize, Weak<dyn Listener>)>,
}

/// Which objects a list wants.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub namespace: String,
    pub owner_uid: String,
    pub labels: Option<LabelSelector>,
    pub fields: Option<FieldSelector>,
}

impl Subject {
    pub fn all(resource: GroupVersionResource) -> Self {
        Self { resource, label_selector: String::new(), field_selector: String::new() }
    }
}

impl Informers {
    pub fn new(client: Arc<dyn Client>) -> Arc<Self> {
        Arc::new(Self { client, by_subject: Mutex::default() })
    }

    /// The subject's informer, started when nobody has it yet. It ends when the last one lets go of it.
    pub fn informer(&self, subject: &Subject) -> Arc<Informer> {
        let mut by_subject = lock(&self.by_subject);
        if let Some(informer) = by_subject.get(subject).and_then(Weak::upgrade) {
            return informer;
        }
        by_subject.retain(|_, informer| informer.strong_count() > 0);
        let informer = Arc::new(Informer { index: RwLock::default(), synced: watch::Sender::new(false), task: Mutex::default() });
        let task = tokio::spawn(follow(self.client.clone(), subject.clone(), Arc::downgrade(&informer)));
        *lock(&informer.task) = Some(task.abort_handle());
        by_subject.insert(subject.clone(), Arc::downgrade(&informer));
        informer
    }

    /// The informer of everything of a resource, when one runs.
    pub fn running(&self, resource: &GroupVersionResource) -> Option<Arc<Informer>> {
        lock(&self.by_subject).get(&Subject::all(resource.clone())).and_then(Weak::upgrade)
    }
}

impl Informer {
    /// Waits until the first full state is in.
    pub async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        // Fails only when the informer is gone, and we hold it.
        let _ = synced.wait_for(|done| *done).await;
    }

    /// Tells the listener of every object there is, then of each change.
    pub fn subscribe(&self, tag: usize, listener: &Arc<dyn Listener>) {
        let mut index = self.write();
        for entry in index.objects.values() {
            listener.changed(tag, None, Some(entry));
        }
        // Where nothing changes, nobody else would let go of those who left.
        index.listeners.retain(|(_, left)| left.strong_count() > 0);
        index.listeners.push((tag, Arc::downgrade(listener)));
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        self.read().objects.get(&key(namespace, name)).cloned()
    }

    /// Whether there is an object in the namespace, or one without a namespace.
    pub fn holds_any_in(&self, namespace: &Arc<str>) -> bool {
        let index = self.read();
        let nameless: Arc<str> = Arc::from("");
        let next = index.objects.range((Bound::Included((namespace.clone(), nameless)), Bound::Unbounded)).next();
        next.is_some_and(|((ns, _), _)| ns == namespace) || index.objects.first_key_value().is_some_and(|((ns, _), _)| ns.is_empty())
    }

    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.read().objects.values().cloned().collect()
    }

    /// What the filter lets pass. `None`: the filter asks for a field that the index does not have.
    pub fn list(&self, filter: &Filter) -> Option<Vec<Arc<Entry>>> {
        if let Some(fields) = &filter.fields
            && fields.terms().iter().any(|t| !Meta::FIELDS.contains(&t.field.as_str()))
        {
            return None;
        }
        let index = self.read();
        let passes = |entry: &&Arc<Entry>| filter.passes(&entry.meta);
        Some(if !filter.owner_uid.is_empty() {
            let owned = index.by_owner.get(filter.owner_uid.as_str());
            owned.into_iter().flatten().filter_map(|key| index.objects.get(key)).filter(passes).cloned().collect()
        } else if !filter.namespace.is_empty() {
            let from: Key = key(&filter.namespace, "");
            let range = index.objects.range((Bound::Included(from), Bound::Unbounded));
            range.take_while(|((ns, _), _)| **ns == *filter.namespace).map(|(_, e)| e).filter(passes).cloned().collect()
        } else {
            index.objects.values().filter(passes).cloned().collect()
        })
    }

    /// Takes in what a write returned, before the watch brings it; or after it told that the object is gone, as when the write took its last finalizer.
    pub fn put(&self, served: Served) {
        let Some(entry) = Entry::parse(served) else { return };
        let mut index = self.write();
        if !index.departed.has(&entry.meta.uid) {
            index.upsert(entry);
        }
    }

    /// Takes in that an object was deleted and is gone.
    pub fn bury(&self, namespace: &str, name: &str) {
        self.write().bury(key(namespace, name));
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(|e| e.into_inner())
    }
    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
impl Informer {
    /// An index of these objects that follows nobody.
    pub fn of(objects: impl IntoIterator<Item = Served>) -> Arc<Self> {
        let informer = Arc::new(Self { index: RwLock::default(), synced: watch::Sender::new(true), task: Mutex::default() });
        objects.into_iter().for_each(|object| informer.put(object));
        informer
    }
}

impl Drop for Informer {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

impl Entry {
    pub fn parse(served: Served) -> Option<Arc<Self>> {
        match Meta::parse(&served.json) {
            Ok(meta) => Some(Arc::new(Self { json: served.json, revision: served.revision, meta })),
            Err(error) => {
                tracing::error!(%error, "an object that cannot be read is left out of the index");
                None
            }
        }
    }
    fn key(&self) -> Key {
        (self.meta.namespace.clone(), self.meta.name.clone())
    }
}

impl Filter {
    pub fn passes(&self, meta: &Meta) -> bool {
        (self.namespace.is_empty() || *self.namespace == *meta.namespace)
            && (self.owner_uid.is_empty() || meta.controller.as_ref().is_some_and(|o| *o.uid == *self.owner_uid))
            && self.labels.as_ref().is_none_or(|s| s.matches_by(|k| meta.label(k)))
            && self.fields.as_ref().is_none_or(|s| s.matches_by(|field| meta.field(field).to_owned()))
    }
}

impl Index {
    /// The watch brings it: it is there, whatever was told before.
    fn arrive(&mut self, entry: Arc<Entry>) {
        self.departed.forget(&entry.meta.uid);
        self.upsert(entry);
    }

    fn upsert(&mut self, entry: Arc<Entry>) {
        let key = entry.key();
        if self.buried.get(&key).is_some_and(|uid| *uid == entry.meta.uid) {
            return;
        }
        let before = self.objects.get(&key).cloned();
        if before.as_ref().is_some_and(|b| b.revision >= entry.revision) {
            return;
        }
        if let Some(before) = &before {
            self.disown(&key, before);
        }
        if let Some(owner) = &entry.meta.controller {
            self.by_owner.entry(owner.uid.clone()).or_default().insert(key.clone());
        }
        self.objects.insert(key, entry.clone());
        self.tell(before.as_ref(), Some(&entry));
    }

    /// The watch told of it.
    fn remove(&mut self, key: &Key, uid: &Arc<str>, revision: u64) {
        self.buried.remove(key);
        self.departed.note(uid);
        if self.objects.get(key).is_none_or(|present| present.revision > revision) {
            return;
        }
        self.take(key);
    }

    fn bury(&mut self, key: Key) {
        if let Some(gone) = self.take(&key) {
            self.buried.insert(key, gone.meta.uid.clone());
        }
    }

    fn take(&mut self, key: &Key) -> Option<Arc<Entry>> {
        let gone = self.objects.remove(key)?;
        self.disown(key, &gone);
        self.tell(Some(&gone), None);
        Some(gone)
    }

    fn disown(&mut self, key: &Key, entry: &Entry) {
        let Some(owner) = &entry.meta.controller else { return };
        if let Some(owned) = self.by_owner.get_mut(&owner.uid) {
            owned.remove(key);
            if owned.is_empty() {
                self.by_owner.remove(&owner.uid);
            }
        }
    }

    /// After a full state: what it did not hold is gone.
    fn keep_only(&mut self, seen: &BTreeSet<Key>, revision: u64) {
        let gone: Vec<Key> = self.objects.iter().filter(|(k, e)| e.revision <= revision && !seen.contains(*k)).map(|(k, _)| k.clone()).collect();
        for key in gone {
            self.take(&key);
        }
        self.buried.clear();
    }

    fn tell(&mut self, before: Option<&Arc<Entry>>, after: Option<&Arc<Entry>>) {
        self.listeners.retain(|(tag, listener)| {
            let Some(listener) = listener.upgrade() else { return false };
            listener.changed(*tag, before, after);
            true
        });
    }
}

/// Keeps an index up to date for as long as it is held.
async fn follow(client: Arc<dyn Client>, subject: Subject, informer: Weak<Informer>) {
    let mut pause = RETRY_MIN;
    let mut resume: Option<u64> = None;
    loop {
        let before = resume;
        let outcome = follow_once(&client, &subject, &informer, &mut resume).await;
        match outcome {
            Ok(()) => {}
            Err(status) if status.code == 410 || status.is(Reason::Expired) || status.is(Reason::Gone) => resume = None,
            Err(status) => tracing::warn!(resource = %subject.resource, %status, "watch failed; it is opened again"),
        }
        if informer.strong_count() == 0 {
            return;
        }
        pause = if resume != before { RETRY_MIN } else { (pause * 2).min(RETRY_MAX) };
        tokio::time::sleep(pause).await;
    }
}

async fn follow_once(client: &Arc<dyn Client>, subject: &Subject, informer: &Weak<Informer>, resume: &mut Option<u64>) -> Result<(), Status> {
    let target = Target::collection(subject.resource.clone(), None);
    let options =
        WatchOptions { label_selector: subject.label_selector.clone(), field_selector: subject.field_selector.clone(), from_revision: *resume };
    let mut initial = resume.is_none().then(BTreeSet::new);
    let mut events = client.watch(&target, &options).await?;
    while let Some(event) = events.next().await {
        let Some(informer) = informer.upgrade() else { return Ok(()) };
        match event? {
            WatchEvent::Added(served) | WatchEvent::Modified(served) => {
                let revision = served.revision;
                if let Some(entry) = Entry::parse(served) {
                    if let Some(seen) = &mut initial {
                        seen.insert(entry.key());
                    }
                    informer.write().arrive(entry);
                }
                if initial.is_none() {
                    *resume = Some(revision);
                }
            }
            WatchEvent::Deleted(served) => {
                let revision = served.revision;
                if let Some(entry) = Entry::parse(served) {
                    informer.write().remove(&entry.key(), &entry.meta.uid, revision);
                }
                if initial.is_none() {
                    *resume = Some(revision);
                }
            }
            WatchEvent::Synced { revision } => {
                if let Some(seen) = initial.take() {
                    informer.write().keep_only(&seen, revision);
                }
                *resume = Some(revision);
                informer.synced.send_replace(true);
            }
            WatchEvent::Bookmark { revision } => {
                if initial.is_none() {
                    *resume = Some(revision);
                }
            }
        }
    }
    Ok(())
}

fn key(namespace: &str, name: &str) -> Key {
    (namespace.into(), name.into())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn served(name: &str, uid: &str, revision: u64) -> Served {
        let owner = json!([{"apiVersion": "v1", "kind": "K", "name": "o", "uid": "owner", "controller": true}]);
        let value = json!({"metadata": {"name": name, "namespace": "n", "uid": uid, "ownerReferences": owner}});
        Served { json: Bytes::from(value.to_string()), revision }
    }
    fn informer() -> Informer {
        Informer { index: RwLock::default(), synced: watch::Sender::new(true), task: Mutex::default() }
    }
    /// What the watch brings.
    fn brings(informer: &Informer, served: Served) {
        informer.write().arrive(Entry::parse(served).expect("an object"));
    }
    fn owned(informer: &Informer) -> Vec<u64> {
        let filter = Filter { owner_uid: "owner".to_owned(), ..Filter::default() };
        informer.list(&filter).expect("a list").iter().map(|e| e.revision).collect()
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);
    impl Listener for Heard {
        fn changed(&self, _: usize, before: Option<&Arc<Entry>>, after: Option<&Arc<Entry>>) {
            let revision = |e: Option<&Arc<Entry>>| e.map_or_else(|| "-".to_owned(), |e| e.revision.to_string());
            lock(&self.0).push(format!("{}>{}", revision(before), revision(after)));
        }
    }

    #[test]
    fn own_writes_are_seen_at_once_and_their_echo_changes_nothing() {
        let informer = informer();
        let heard = Arc::new(Heard::default());
        let listener: Arc<dyn Listener> = heard.clone();
        informer.subscribe(0, &listener);
        informer.put(served("a", "u", 5));
        informer.put(served("a", "u", 7));
        brings(&informer, served("a", "u", 5));
        brings(&informer, served("a", "u", 7));
        assert_eq!(owned(&informer), [7]);
        assert_eq!(*lock(&heard.0), ["->5", "5>7"]);
    }

    #[test]
    fn who_left_is_forgotten_though_nothing_changes() {
        let informer = informer();
        for _ in 0..100 {
            let listener: Arc<dyn Listener> = Arc::new(Heard::default());
            informer.subscribe(0, &listener);
        }
        assert_eq!(informer.read().listeners.len(), 1);
    }

    #[test]
    fn what_was_deleted_does_not_come_back_with_a_late_event() {
        let informer = informer();
        informer.put(served("a", "u", 5));
        informer.bury("n", "a");
        brings(&informer, served("a", "u", 6));
        assert_eq!(owned(&informer), [0; 0]);
        // Another object of that name is another object, and the old one's deletion does not take it away.
        informer.put(served("a", "v", 9));
        informer.write().remove(&key("n", "a"), &Arc::from("u"), 8);
        assert_eq!(owned(&informer), [9]);
    }

    /// A write that takes an object's last finalizer returns after the watch has told that it is gone.
    #[test]
    fn what_is_gone_does_not_come_back_with_the_answer_of_a_write() {
        let informer = informer();
        brings(&informer, served("a", "u", 5));
        informer.write().remove(&key("n", "a"), &Arc::from("u"), 7);
        informer.put(served("a", "u", 6));
        informer.put(served("a", "u", 7));
        assert_eq!(owned(&informer), [0; 0]);
        informer.put(served("a", "v", 8));
        assert_eq!(owned(&informer), [8]);
    }

    #[test]
    fn a_namespace_holds_what_is_in_it_and_objects_without_one_count_everywhere() {
        let informer = informer();
        informer.put(served("a", "u", 5));
        let asked = |namespace: &str| informer.holds_any_in(&Arc::from(namespace));
        assert_eq!(["m", "n", "na", ""].map(asked), [false, true, false, false]);
        let value = json!({"metadata": {"name": "node", "uid": "w", "resourceVersion": "6"}});
        informer.put(Served { json: Bytes::from(value.to_string()), revision: 6 });
        assert_eq!(["m", "n", ""].map(asked), [true; 3]);
    }

    #[test]
    fn a_full_state_removes_what_it_does_not_hold_but_nothing_newer() {
        let informer = informer();
        informer.put(served("old", "u", 5));
        informer.put(served("new", "v", 12));
        informer.write().keep_only(&BTreeSet::new(), 10);
        assert_eq!(owned(&informer), [12]);
    }
}
