//! The Plugin object (`pintle.dev/v1alpha1`, cluster-scoped `plugins`): what an operator asks for and what became of it.
//!
//! `spec.admission` (failure policy, timeout, selectors, conditions) is not here: it is the API server's to read.
//!
//! A rollback is a change of `spec` like any other: `source.digest` names the bytes of an earlier revision, which the host keeps.

use std::collections::BTreeMap;

use pintle_api::GroupVersionResource;
use serde::{Deserialize, Serialize};

use crate::grants::PolicyRule;
use crate::load::World;
use crate::stages::spec::{Candidate, CandidateStatus, LastRollback, RollbackSpec};
use crate::stages::sums::ServerSums;

pub const PLUGINS: GroupVersionResource = GroupVersionResource::constant("pintle.dev", "v1alpha1", "plugins");
pub const API_VERSION: &str = "pintle.dev/v1alpha1";
pub const KIND: &str = "Plugin";
/// Revisions that `status.revisions` lists and whose bytes are kept.
pub const MAX_REVISIONS: usize = 10;

#[derive(Clone, Debug, Deserialize)]
pub struct Plugin {
    pub metadata: Metadata,
    pub spec: Spec,
    #[serde(default)]
    pub status: Status,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub generation: i64,
    pub creation_timestamp: String,
    pub deletion_timestamp: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    pub world: World,
    #[serde(default)]
    pub source: Source,
    /// `sha256:...`; when given, other bytes are refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Who must have signed the bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// Handed to the component as it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub config: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<PolicyRule>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub paused: bool,
    #[serde(default, skip_serializing_if = "LimitsSpec::is_default")]
    pub limits: LimitsSpec,
    /// Schedulers only: whose pods it places. Empty: `default-scheduler`. When several plugins name the same, the newest serves.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scheduler_name: String,
    /// Others whose pods it places as well, each with a queue and an instance of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scheduler_names: Vec<String>,
    /// Schedulers only: its part among several components of one scheduler name.
    #[serde(default, skip_serializing_if = "ProfileSpec::is_default")]
    pub profile: ProfileSpec,
    /// A revision to compare with this one, or to give a share to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Candidate>,
    #[serde(default, skip_serializing_if = "RollbackSpec::is_default")]
    pub rollback: RollbackSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProfileSpec {
    #[serde(skip_serializing_if = "ProfileSpec::is_primary")]
    pub role: ProfileRole,
    /// What its scores, brought to 0 to 100, are multiplied by; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Extenders only: a pod is decided without it while it cannot answer.
    #[serde(skip_serializing_if = "is_false")]
    pub ignorable: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProfileRole {
    /// Finds the nodes, orders evictions, and decides alone where it has no extenders.
    #[default]
    Primary,
    /// Refuses and scores nodes that the primary found.
    Extender,
}

/// One of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Source {
    /// Base64, of the component or of it gzipped; at most 1 MiB of bytes, for an object holds no more.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub inline: String,
    /// A file in the host's folder of components (`DATA-DIR/plugins/components`): its name or its whole path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// A component inside the pintle binary.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub embedded: String,
    /// `sha256:...` of an earlier revision's bytes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https: Option<HttpsSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciSource>,
}

/// A file on a web server; `spec.digest` must say which bytes are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpsSource {
    pub url: String,
    /// Base64 of PEM: authorities that count besides the system's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca_bundle: String,
}

/// A Wasm artifact in a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OciSource {
    /// `REGISTRY/REPOSITORY[:TAG][@DIGEST]`. A tag is resolved once.
    pub reference: String,
    /// A Secret of the type `kubernetes.io/dockerconfigjson`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_secret: Option<SecretReference>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca_bundle: String,
    /// Without TLS. A registry on the server's loopback is reached so anyway.
    #[serde(rename = "plainHTTP", skip_serializing_if = "is_false")]
    pub plain_http: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecretReference {
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Verify {
    /// ECDSA P-256, in PEM. The component must be signed with it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub public_key: String,
    /// Base64 of a signature of the component's bytes, for sources that have no place for one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signature: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitsSpec {
    /// A quantity: `256Mi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// For one call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_milliseconds: Option<u64>,
    /// Controllers only: instances that reconcile side by side. One when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    pub observed_generation: i64,
    pub active_revision: i64,
    pub active_digest: String,
    /// The contract that its component was built against: `pintle:scheduler@0.3.0`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub contract: String,
    /// `Loading`, `Live`, `Standby`, `Paused`, `Failed`.
    pub stage: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<RevisionStatus>,
    pub calls: u64,
    pub traps: u64,
    /// Of the live revision, and the bytes of their linear memory. None while it has nothing to do.
    pub instances: u64,
    pub memory_bytes: u64,
    /// Of a registry's artifact: what the reference stood for when it was resolved. Written as null where there is none, which takes
    /// an old one away.
    pub source: Option<SourceStatus>,
    /// Admission policies only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admission: Option<AdmissionStatus>,
    // Null and not absent: a merge patch takes it away.
    pub candidate: Option<CandidateStatus>,
    /// Of plugins that run on every server of a cluster. Each writes its own, apart from the rest.
    #[serde(skip_serializing)]
    pub candidate_by_server: BTreeMap<String, ServerSums>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_rollback: Option<LastRollback>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceStatus {
    /// As `spec.source.oci.reference` has it.
    pub reference: String,
    /// `REGISTRY/REPOSITORY@DIGEST` of the manifest.
    pub resolved: String,
    /// Of the component.
    pub digest: String,
}

/// What a policy wants to be asked about: the API server reads it here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdmissionStatus {
    pub rules: Vec<AdmissionRule>,
}

/// As a webhook's configuration has it, with the turns in which the policy is asked (`Mutate`, `Validate`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AdmissionRule {
    pub phases: Vec<String>,
    pub operations: Vec<String>,
    pub api_groups: Vec<String>,
    pub api_versions: Vec<String>,
    pub resources: Vec<String>,
    pub scope: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    pub reason: String,
    pub message: String,
    pub last_transition_time: String,
    pub observed_generation: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RevisionStatus {
    pub revision: i64,
    pub digest: String,
    /// When it first went live.
    pub time: String,
    /// So that a rollback brings the configuration back with the bytes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub config: String,
}

impl ProfileSpec {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
    fn is_primary(role: &ProfileRole) -> bool {
        *role == ProfileRole::Primary
    }
}

impl LimitsSpec {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Spec {
    /// What the live revision is made of.
    pub fn without_candidate(self) -> Self {
        Self { candidate: None, ..self }
    }

    /// The same with the bytes and the configuration of an earlier revision.
    pub fn with(self, revision: &RevisionStatus) -> Self {
        let source = Source { digest: revision.digest.clone(), ..Source::default() };
        Self { source, digest: String::new(), config: revision.config.clone(), ..self }
    }

    /// Each once, in the order of the object.
    pub fn scheduler_names(&self) -> Vec<&str> {
        pintle_api::plugin::scheduler_names(&self.scheduler_name, self.scheduler_names.iter().map(String::as_str))
    }
}

fn is_false(value: &bool) -> bool {
    !value
}
