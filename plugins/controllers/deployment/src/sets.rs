//! A Deployment's ReplicaSets: which one is new, their revisions, and the history.

use pintle_controller_common::conditions::{self, Condition};
use pintle_controller_common::fields::Fields;
use pintle_controller_common::{hash, resources, template, time};
use pintle_sdk::controller::{Api, ApiError, DeleteOptions, EventType, Failure};
use serde_json::{Map, Value, json};

use crate::rolling::limits;
use crate::status::updated_now;

pub const HASH_LABEL: &str = "pod-template-hash";
pub const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that are not handed down to its sets.
const OWN_ANNOTATIONS: &[&str] =
    &["kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, DESIRED, MAXIMUM, "deprecated.deployment.rollback.to"];

pub struct Sets {
    pub deployment: Value,
    pub new: Option<Value>,
    /// Oldest first.
    pub old: Vec<Value>,
    /// Set when the revision could not be made: it belongs into the status.
    pub collisions: i64,
}

impl Sets {
    pub fn sort(deployment: Value, mut owned: Vec<Value>) -> Self {
        owned.sort_by(|a, b| (a.created(), a.name()).cmp(&(b.created(), b.name())));
        let wanted = bare(&deployment["spec"]["template"]);
        let place = owned.iter().position(|set| bare(&set["spec"]["template"]) == wanted);
        let new = place.map(|p| owned.remove(p));
        let collisions = deployment.integer(&["status", "collisionCount"]).unwrap_or(0);
        Self { deployment, new, old: owned, collisions }
    }

    pub fn all(&self) -> impl Iterator<Item = &Value> {
        self.old.iter().chain(&self.new)
    }

    pub fn replicas(&self) -> i64 {
        self.deployment.integer(&["spec", "replicas"]).unwrap_or(1)
    }

    /// Gives the new set the next revision, makes it where it is missing and `create` says so, and hands annotations down.
    pub fn adopt_revision(&mut self, api: &dyn Api, create: bool) -> Result<(), Failure> {
        let revision = self.old.iter().map(revision_of).max().unwrap_or(0) + 1;
        match self.new.take() {
            Some(set) => {
                let mut next = set.clone();
                hand_down(&self.deployment, &mut next, revision, true);
                let min_ready = self.deployment["spec"]["minReadySeconds"].clone();
                if next["spec"]["minReadySeconds"] != min_ready {
                    next["spec"]["minReadySeconds"] = min_ready;
                }
                self.new = Some(if next == set { set } else { api.update(resources::REPLICA_SETS, set.namespace(), set.name(), &next)? });
                self.record_progress(api, "FoundNewReplicaSet", "Found new replica set")?;
            }
            None if create => self.create(api, revision)?,
            None => return Ok(()),
        }
        let revision = self.new.as_ref().map_or(revision, revision_of).to_string();
        if self.new.is_some() && self.deployment.annotation(REVISION) != revision {
            self.deployment["metadata"]["annotations"][REVISION] = json!(revision);
            let updated = api.update(resources::DEPLOYMENTS, self.deployment.namespace(), self.deployment.name(), &self.deployment)?;
            self.take_update(updated);
        }
        Ok(())
    }

    /// Conditions that were set but not yet written survive an update of the main resource.
    fn take_update(&mut self, mut updated: Value) {
        updated["status"] = self.deployment["status"].clone();
        self.deployment = updated;
    }

    fn create(&mut self, api: &dyn Api, revision: i64) -> Result<(), Failure> {
        let deployment = &self.deployment;
        let hash = hash::of(&deployment["spec"]["template"], self.collisions);
        let mut pod_template = deployment["spec"]["template"].clone();
        pod_template["metadata"]["labels"][HASH_LABEL] = json!(hash);
        let mut selector = deployment["spec"]["selector"].clone();
        selector["matchLabels"][HASH_LABEL] = json!(hash);
        let mut set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": format!("{}-{hash}", deployment.name()), "namespace": deployment.namespace(),
                "labels": pod_template["metadata"]["labels"],
                "ownerReferences": [template::controller_reference(deployment, "apps/v1", "Deployment")],
            },
            "spec": {"replicas": 0, "selector": selector, "template": pod_template},
        });
        if let Some(min_ready) = deployment.integer(&["spec", "minReadySeconds"]).filter(|s| *s > 0) {
            set["spec"]["minReadySeconds"] = json!(min_ready);
        }
        hand_down(deployment, &mut set, revision, false);
        let replicas = crate::rolling::replicas_of_new(self, 0);
        set["spec"]["replicas"] = json!(replicas);
        note_size(&mut set, self);
        match api.create(resources::REPLICA_SETS, self.deployment.namespace(), &set) {
            Ok(created) => {
                let name = created.name().to_owned();
                if replicas > 0 {
                    self.event(api, EventType::Normal, "ScalingReplicaSet", &format!("Scaled up replica set {name} from 0 to {replicas}"));
                }
                self.new = Some(created);
                self.record_progress(api, "NewReplicaSetCreated", &format!("Created new replica set {name:?}"))
            }
            Err(ApiError::AlreadyExists(message)) => self.resolve_collision(api, &set, message),
            Err(error) => {
                let failure = error.to_string();
                self.set_condition(
                    api,
                    "Progressing",
                    false,
                    "ReplicaSetCreateError",
                    &format!("Failed to create new replica set {:?}: {failure}", set.name()),
                );
                crate::status::write(api, self)?;
                Err(Failure::Retry(failure))
            }
        }
    }

    /// The name is taken: by our own set that the cache has not shown yet, or by a stranger, then the hash changes.
    fn resolve_collision(&mut self, api: &dyn Api, wanted: &Value, message: String) -> Result<(), Failure> {
        let there = api.get_live(resources::REPLICA_SETS, self.deployment.namespace(), wanted.name())?;
        if there.is_controlled_by(self.deployment.uid()) && bare(&there["spec"]["template"]) == bare(&wanted["spec"]["template"]) {
            self.new = Some(there);
            return Ok(());
        }
        self.collisions += 1;
        crate::status::write(api, self)?;
        Err(Failure::Retry(message))
    }

    /// A condition `Progressing` is only kept where a progress deadline is set.
    pub fn record_progress(&mut self, api: &dyn Api, reason: &str, message: &str) -> Result<(), Failure> {
        let known = conditions::find(&self.deployment, "Progressing").is_some();
        if crate::status::has_deadline(&self.deployment) && (reason != "FoundNewReplicaSet" || !known) {
            self.set_condition(api, "Progressing", true, reason, message);
        }
        Ok(())
    }

    pub fn set_condition(&mut self, api: &dyn Api, kind: &str, status: bool, reason: &str, message: &str) {
        let now = time::now_text(api);
        let extra: Map<String, Value> = updated_now(&now);
        if !self.deployment["status"].is_object() {
            self.deployment["status"] = json!({});
        }
        conditions::set(&mut self.deployment["status"], &Condition { kind, status, reason, message }, &now, extra);
    }

    /// `spec.replicas` changed since the sets were last sized.
    pub fn was_resized(&self) -> bool {
        let wanted = self.replicas();
        self.all().filter(|s| size(s) > 0).any(|s| s.annotation(DESIRED).parse::<i64>().is_ok_and(|d| d != wanted))
    }

    /// Everything is new, there, and available.
    pub fn is_complete(&self) -> bool {
        let wanted = self.replicas();
        let of_new = |field: &str| self.new.as_ref().and_then(|s| s.integer(&["status", field])).unwrap_or(0);
        let total: i64 = self.all().filter_map(|s| s.integer(&["status", "replicas"])).sum();
        of_new("replicas") == wanted && total == wanted && of_new("availableReplicas") == wanted
    }

    /// Deletes the oldest empty sets beyond `revisionHistoryLimit`.
    pub fn prune(&self, api: &dyn Api) -> Result<(), Failure> {
        let Some(limit) = self.deployment.integer(&["spec", "revisionHistoryLimit"]).and_then(|l| usize::try_from(l).ok()) else { return Ok(()) };
        let mut idle: Vec<&Value> = self.old.iter().filter(|s| !s.deleting()).collect();
        idle.sort_by_key(|s| (revision_of(s), s.created()));
        for set in idle.iter().take(idle.len().saturating_sub(limit)) {
            let settled = set.integer(&["status", "observedGeneration"]) >= set.integer(&["metadata", "generation"]);
            if size(set) > 0 || set.integer(&["status", "replicas"]).unwrap_or(0) > 0 || !settled {
                continue;
            }
            match api.delete(resources::REPLICA_SETS, set.namespace(), set.name(), &DeleteOptions { uid: set.uid(), ..DeleteOptions::default() }) {
                Ok(()) | Err(ApiError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub fn event(&self, api: &dyn Api, kind: EventType, reason: &str, message: &str) {
        api.event(resources::DEPLOYMENTS, self.deployment.namespace(), self.deployment.name(), kind, reason, message);
    }
}

pub fn size(set: &Value) -> i64 {
    set.integer(&["spec", "replicas"]).unwrap_or(1)
}

pub fn available(set: &Value) -> i64 {
    set.integer(&["status", "availableReplicas"]).unwrap_or(0)
}

pub fn revision_of(set: &Value) -> i64 {
    set.annotation(REVISION).parse().unwrap_or(0)
}

/// Notes on the set what it was sized for, so that the next change of `spec.replicas` is known from a step of a roll-out.
pub fn note_size(set: &mut Value, sets: &Sets) {
    let wanted = sets.replicas();
    let (surge, _) = limits(&sets.deployment);
    set["metadata"]["annotations"][DESIRED] = json!(wanted.to_string());
    set["metadata"]["annotations"][MAXIMUM] = json!((wanted + surge).to_string());
}

/// The template without the label that tells sets apart.
fn bare(template: &Value) -> Value {
    let mut bare = template.clone();
    if let Some(labels) = bare["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH_LABEL);
    }
    if let Some(metadata) = bare["metadata"].as_object_mut() {
        metadata.retain(|_, v| !v.is_null());
    }
    bare
}

fn hand_down(deployment: &Value, set: &mut Value, revision: i64, exists: bool) {
    for (key, value) in deployment.at(&["metadata", "annotations"]).and_then(Value::as_object).into_iter().flatten() {
        if !OWN_ANNOTATIONS.contains(&key.as_str()) && set["metadata"]["annotations"][key] != *value {
            set["metadata"]["annotations"][key] = value.clone();
        }
    }
    let old = revision_of(set);
    if old < revision {
        if exists && old > 0 {
            let history = set.annotation(REVISION_HISTORY).to_owned();
            let history = if history.is_empty() { old.to_string() } else { format!("{history},{old}") };
            set["metadata"]["annotations"][REVISION_HISTORY] = json!(history);
        }
        set["metadata"]["annotations"][REVISION] = json!(revision.to_string());
    }
}
