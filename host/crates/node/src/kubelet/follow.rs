//! Following API objects: a watch that heals itself, and the shared view of single ConfigMaps and Secrets.
//!
//! Used for this node's pods, for services and for objects that pods refer to. Never writes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use pintle_api::client::{Served, Target, WatchEvent, WatchOptions};
use pintle_api::object::{Object, ObjectExt};
use pintle_api::{Client, GroupVersionResource, Reason, Status};
use tokio::sync::{mpsc, watch};

/// Changes that may wait for a slow consumer before the watch is held up.
const CHANGE_QUEUE: usize = 1024;
/// First and longest delay before a broken watch is opened again, in milliseconds.
const REOPEN_MS: (u64, u64) = (100, 2_000);
/// Longest wait for the first answer about an object, in seconds.
const FIRST_ANSWER_SECONDS: u64 = 10;

pub const PODS: GroupVersionResource = GroupVersionResource::constant("", "v1", "pods");
pub const NODES: GroupVersionResource = GroupVersionResource::constant("", "v1", "nodes");
pub const SERVICES: GroupVersionResource = GroupVersionResource::constant("", "v1", "services");
pub const SERVICE_ACCOUNTS: GroupVersionResource = GroupVersionResource::constant("", "v1", "serviceaccounts");
pub const CONFIG_MAPS: GroupVersionResource = GroupVersionResource::constant("", "v1", "configmaps");
pub const SECRETS: GroupVersionResource = GroupVersionResource::constant("", "v1", "secrets");
pub const EVENTS: GroupVersionResource = GroupVersionResource::constant("", "v1", "events");
pub const CLAIMS: GroupVersionResource = GroupVersionResource::constant("", "v1", "persistentvolumeclaims");
pub const PERSISTENT_VOLUMES: GroupVersionResource = GroupVersionResource::constant("", "v1", "persistentvolumes");
pub const LEASES: GroupVersionResource = GroupVersionResource::constant("coordination.k8s.io", "v1", "leases");
pub const RUNTIME_CLASSES: GroupVersionResource = GroupVersionResource::constant("node.k8s.io", "v1", "runtimeclasses");

#[derive(Debug)]
pub enum Change {
    /// The whole state: what is not listed is gone. Sent first, and again after a break.
    Reset(Vec<Served>),
    Put(Served),
    Gone(Served),
}

/// Watches until the receiver is dropped.
pub fn changes(client: Arc<dyn Client>, target: Target, field_selector: String) -> mpsc::Receiver<Change> {
    let (tx, rx) = mpsc::channel(CHANGE_QUEUE);
    tokio::spawn(async move {
        let mut delay = REOPEN_MS.0;
        while !tx.is_closed() {
            let options = WatchOptions { field_selector: field_selector.clone(), ..WatchOptions::default() };
            let outcome = tokio::select! {
                outcome = follow_once(&client, &target, &options, &tx, &mut delay) => outcome,
                () = tx.closed() => return,
            };
            if let Err(status) = outcome {
                tracing::debug!(path = target.path(), error = %status, "watch ended");
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(delay)) => {}
                () = tx.closed() => return,
            }
            delay = (delay * 2).min(REOPEN_MS.1);
        }
    });
    rx
}

async fn follow_once(
    client: &Arc<dyn Client>,
    target: &Target,
    options: &WatchOptions,
    tx: &mpsc::Sender<Change>,
    delay: &mut u64,
) -> Result<(), Status> {
    let mut stream = client.watch(target, options).await?;
    let mut initial = Some(Vec::new());
    while let Some(event) = stream.next().await {
        let change = match event? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => match &mut initial {
                Some(list) => {
                    list.push(object);
                    continue;
                }
                None => Change::Put(object),
            },
            WatchEvent::Deleted(object) => match &mut initial {
                Some(_) => continue,
                None => Change::Gone(object),
            },
            WatchEvent::Synced { .. } => {
                *delay = REOPEN_MS.0;
                match initial.take() {
                    Some(list) => Change::Reset(list),
                    None => continue,
                }
            }
            WatchEvent::Bookmark { .. } => continue,
        };
        if tx.send(change).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

#[derive(Clone, Debug)]
pub enum Snapshot {
    Unknown,
    Missing,
    Present(Arc<Object>),
}

/// Single objects that pods refer to, each followed by one watch however many pods share it.
pub struct Objects {
    client: Arc<dyn Client>,
    followed: Mutex<HashMap<Key, watch::Receiver<Snapshot>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub resource: GroupVersionResource,
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(resource: GroupVersionResource, namespace: &str, name: &str) -> Self {
        Self { resource, namespace: namespace.to_owned(), name: name.to_owned() }
    }
    fn target(&self) -> Target {
        Target::object(self.resource.clone(), Some(&self.namespace), &self.name)
    }
}

impl Objects {
    pub fn new(client: Arc<dyn Client>) -> Self {
        Self { client, followed: Mutex::default() }
    }

    /// Asks the API, not the view: for values that are read once, such as environment variables.
    pub async fn get(&self, key: &Key) -> Result<Option<Object>, Status> {
        match self.client.get(&key.target()).await {
            Ok(served) => served.parse().map(Some),
            Err(status) if status.is(Reason::NotFound) => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// The object as last seen; an object that the view does not have is asked for.
    pub async fn view(&self, key: &Key) -> Result<Option<Arc<Object>>, Status> {
        let mut receiver = self.follow(key);
        let wait = receiver.wait_for(|s| !matches!(s, Snapshot::Unknown));
        let seen = match tokio::time::timeout(Duration::from_secs(FIRST_ANSWER_SECONDS), wait).await {
            Ok(Ok(snapshot)) => snapshot.clone(),
            _ => Snapshot::Unknown,
        };
        match seen {
            Snapshot::Present(object) => Ok(Some(object)),
            // The watch may lag behind a write that the caller already knows of.
            Snapshot::Missing | Snapshot::Unknown => Ok(self.get(key).await?.map(Arc::new)),
        }
    }

    /// Changes of one object, for as long as a receiver is held.
    pub fn follow(&self, key: &Key) -> watch::Receiver<Snapshot> {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.retain(|_, receiver| receiver.has_changed().is_ok());
        if let Some(receiver) = followed.get(key) {
            return receiver.clone();
        }
        let (tx, rx) = watch::channel(Snapshot::Unknown);
        let selector = format!("metadata.name={}", key.name);
        let collection = Target::collection(key.resource.clone(), Some(&key.namespace));
        let mut source = changes(self.client.clone(), collection, selector);
        let name = key.name.clone();
        tokio::spawn(async move {
            let mut idle = tokio::time::interval(Duration::from_secs(IDLE_CHECK_SECONDS));
            idle.tick().await;
            loop {
                let change = tokio::select! {
                    change = source.recv() => change,
                    _ = idle.tick() => {
                        // One receiver is the table's own.
                        if tx.receiver_count() <= 1 { return } else { continue }
                    }
                };
                let Some(change) = change else { return };
                let next = match change {
                    Change::Reset(list) => {
                        let found = list.iter().filter_map(|s| s.parse().ok()).find(|o: &Object| o.name() == name);
                        found.map_or(Snapshot::Missing, |o| Snapshot::Present(Arc::new(o)))
                    }
                    Change::Put(served) => match served.parse() {
                        Ok(object) if object.name() == name => Snapshot::Present(Arc::new(object)),
                        _ => continue,
                    },
                    Change::Gone(_) => Snapshot::Missing,
                };
                tx.send_replace(next);
            }
        });
        followed.insert(key.clone(), rx.clone());
        rx
    }
}

/// How long an object stays followed after its last user left, at most, in seconds.
const IDLE_CHECK_SECONDS: u64 = 60;
