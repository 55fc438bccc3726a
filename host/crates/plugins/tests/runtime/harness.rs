//! Starts a manager over a [`Cluster`] and waits for what a test expects.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use pintle_api::GroupVersionResource;
use pintle_api::object::ObjectExt;
use pintle_plugins::plugin::PLUGINS;
use pintle_plugins::source::signature::PublicKey;
use pintle_plugins::{Embedded, Handle, Manager, ManagerConfig};
use serde_json::{Value, json};

use crate::cluster::Cluster;

pub const CONFIG_MAPS: GroupVersionResource = GroupVersionResource::constant("", "v1", "configmaps");
pub const EVENTS: GroupVersionResource = GroupVersionResource::constant("events.k8s.io", "v1", "events");

/// Longer than anything here takes on a busy machine; a wait that ends early costs nothing.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Bench {
    pub cluster: Arc<Cluster>,
    pub handle: Handle,
    pub folder: tempfile::TempDir,
}

impl Bench {
    pub fn start(embedded: Vec<Embedded>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let cluster = Cluster::new();
        let handle = start_manager(&cluster, folder.path(), embedded);
        Self { cluster, handle, folder }
    }

    pub fn apply(&self, name: &str, spec: Value) {
        let status = self.cluster.get_object(&PLUGINS, "", name).map_or(json!({}), |p| p["status"].clone());
        self.cluster.put(
            &PLUGINS,
            json!({"apiVersion": "pintle.dev/v1alpha1", "kind": "Plugin", "metadata": {"name": name}, "spec": spec, "status": status}),
        );
    }

    pub fn plugin(&self, name: &str) -> Value {
        self.cluster.get_object(&PLUGINS, "", name).unwrap_or_default()
    }

    /// Waits for a condition of the Plugin and gives its message.
    pub async fn condition(&self, name: &str, kind: &str, status: &str, reason: &str) -> String {
        let found = self
            .eventually(|| {
                let plugin = self.plugin(name);
                let conditions = plugin.list_at(&["status", "conditions"]).to_vec();
                conditions.into_iter().find(|c| c["type"] == kind && c["status"] == status && c["reason"] == reason)
            })
            .await;
        match found {
            Some(condition) => condition["message"].as_str().unwrap_or_default().to_owned(),
            None => panic!("no condition {kind}={status} {reason}: {:#}\n{:#?}", self.plugin(name)["status"], self.handle.logs(name)),
        }
    }

    /// Makes a ConfigMap that asks the probe for something.
    pub fn ask(&self, name: &str, what: &str) {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n"}, "data": {"do": what}});
        self.cluster.put(&CONFIG_MAPS, object);
    }

    /// Waits for the probe's answer.
    pub async fn answer(&self, name: &str) -> String {
        self.answer_of("probe", name).await
    }

    pub async fn answer_of(&self, plugin: &str, name: &str) -> String {
        let done = || self.cluster.get_object(&CONFIG_MAPS, "n", name)?["data"]["done"].as_str().map(str::to_owned);
        match self.eventually(done).await {
            Some(answer) => answer,
            None => panic!("{name} was not answered; the log: {:#?}", self.handle.logs(plugin)),
        }
    }

    pub async fn eventually<T>(&self, look: impl Fn() -> Option<T>) -> Option<T> {
        let begun = std::time::Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(found) = look() {
                return Some(found);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        None
    }
}

pub fn start_manager(cluster: &Arc<Cluster>, folder: &std::path::Path, embedded: Vec<Embedded>) -> Handle {
    start_manager_with(cluster, folder, embedded, Vec::new())
}

/// The same with keys that components must be signed with.
pub fn start_manager_with(cluster: &Arc<Cluster>, folder: &std::path::Path, embedded: Vec<Embedded>, required_keys: Vec<PublicKey>) -> Handle {
    Manager::start(config(cluster, folder, embedded, required_keys)).expect("a manager")
}

pub fn config(cluster: &Arc<Cluster>, folder: &std::path::Path, embedded: Vec<Embedded>, required_keys: Vec<PublicKey>) -> ManagerConfig {
    let client = cluster.clone();
    ManagerConfig {
        client: cluster.clone(),
        clients: Arc::new(move |_| client.clone()),
        data_dir: folder.to_owned(),
        embedded,
        compiler: None,
        required_keys,
        ingress_addresses: vec!["192.0.2.7".to_owned()],
    }
}

pub fn inline(bytes: &[u8]) -> Value {
    json!({"inline": base64::engine::general_purpose::STANDARD.encode(bytes)})
}

pub fn controller_spec(bytes: &[u8]) -> Value {
    json!({"world": "controller", "source": inline(bytes), "grants": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]})
}
