//! What all pod workers of a node share.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use k8s_openapi::api::core::v1::Service;
use pintle_api::Client;
use tokio::sync::{mpsc, watch};

use super::admission::OwnNode;
use super::cgroups::Cgroups;
use super::cri::Cri;
use super::follow::{Change, Objects, SERVICES, changes};
use super::images::Images;
use super::paths::Paths;
use super::recorder::Recorder;
use super::sandbox_config::DnsSettings;
use super::status::HostFacts;
use super::tokens::Tokens;
use super::volumes::Volumes;
use super::worker::Input;
use pintle_api::client::Target;
use pintle_api::object::ObjectExt;

pub struct Context {
    pub node_name: String,
    pub client: Arc<dyn Client>,
    pub cri: Cri,
    pub recorder: Recorder,
    pub objects: Arc<Objects>,
    pub images: Arc<Images>,
    pub volumes: Volumes,
    pub tokens: Arc<Tokens>,
    pub paths: Paths,
    pub cgroups: Cgroups,
    pub dns: DnsSettings,
    pub host: HostFacts,
    pub services: Services,
    /// What the node gives to pods, by resource.
    pub allocatable: BTreeMap<String, String>,
    pub memory_bytes: i64,
    /// The node object as last written or seen.
    pub own_node: OwnNode,
    pub owners: Owners,
}

/// Which worker hears of a container's or sandbox's end.
#[derive(Default)]
pub struct Owners {
    by_id: Mutex<HashMap<String, mpsc::Sender<Input>>>,
}

impl Owners {
    pub fn claim(&self, id: &str, tx: mpsc::Sender<Input>) {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), tx);
    }
    pub fn release(&self, id: &str) {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
    pub fn of(&self, id: &str) -> Option<mpsc::Sender<Input>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
    pub fn all(&self) -> Vec<(String, mpsc::Sender<Input>)> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(id, tx)| (id.clone(), tx.clone())).collect()
    }
}

/// All services of the cluster, for the variables that name them.
pub struct Services {
    list: Arc<RwLock<HashMap<String, Service>>>,
    synced: watch::Receiver<bool>,
}

impl Services {
    pub fn start(client: Arc<dyn Client>) -> Self {
        let list: Arc<RwLock<HashMap<String, Service>>> = Arc::default();
        let (tx, synced) = watch::channel(false);
        let mut source = changes(client, Target::collection(SERVICES, None), String::new());
        let filled = list.clone();
        tokio::spawn(async move {
            while let Some(change) = source.recv().await {
                let mut list = filled.write().unwrap_or_else(PoisonError::into_inner);
                match change {
                    Change::Reset(all) => {
                        *list = all.iter().filter_map(|s| s.parse_as().ok()).map(|s| (key(&s), s)).collect();
                        drop(list);
                        tx.send_replace(true);
                    }
                    Change::Put(served) => {
                        if let Ok(service) = served.parse_as::<Service>() {
                            list.insert(key(&service), service);
                        }
                    }
                    Change::Gone(served) => {
                        if let Ok(object) = served.parse() {
                            list.remove(&format!("{}/{}", object.namespace(), object.name()));
                        }
                    }
                }
            }
        });
        Self { list, synced }
    }

    /// The services that a pod of the namespace may hear of; waits for the first list.
    pub async fn for_namespace(&self, namespace: &str) -> Vec<Service> {
        let mut synced = self.synced.clone();
        if synced.wait_for(|ready| *ready).await.is_err() {
            return Vec::new();
        }
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        let wanted = |s: &&Service| {
            let from = s.metadata.namespace.as_deref().unwrap_or("");
            from == namespace || (from == "default" && s.metadata.name.as_deref() == Some("kubernetes"))
        };
        list.values().filter(wanted).cloned().collect()
    }
}

fn key(s: &Service) -> String {
    format!("{}/{}", s.metadata.namespace.as_deref().unwrap_or(""), s.metadata.name.as_deref().unwrap_or(""))
}
