//! The controller world: `watches`, `route`, `reconcile`, over an [`Api`].

use std::time::Duration;

use pintle_partial::Parts;
use serde_json::Value;

use crate::Env;

/// A served resource: group (empty for core), version, plural name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    pub group: &'static str,
    pub version: &'static str,
    pub name: &'static str,
}

impl Resource {
    pub const fn new(group: &'static str, version: &'static str, name: &'static str) -> Self {
        Self { group, version, name }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The key is the object itself; the first watch must be this.
    Primary,
    /// The key is the owner reference with `controller: true` of this kind.
    Owned(&'static str),
    /// [`Controller::route`] says which keys.
    Routed,
    /// As [`Relation::Routed`], when every key is in the object's own namespace; not asked while that has no primary object.
    Local,
    /// As [`Relation::Owned`]; [`Controller::route`] sees only objects without an owner that controls them, in namespaces that have a
    /// primary object.
    Claimed(&'static str),
    /// Only indexed, for reads.
    Indexed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    pub resource: Resource,
    pub relation: Relation,
    pub label_selector: &'static str,
    pub field_selector: &'static str,
    /// See [`Watch::reading`]. Empty: all of the object.
    pub reads: &'static [&'static str],
}

impl Watch {
    pub const fn new(resource: Resource, relation: Relation) -> Self {
        Self { resource, relation, label_selector: "", field_selector: "", reads: &[] }
    }

    /// What [`Controller::route`] looks at, as paths: `metadata.labels`, or `status.conditions.type` for the types of all conditions. The host
    /// gives it nothing else of the object, and does not ask about a change of anything else. Most changes of a Pod are of its status alone:
    /// a controller that says what it reads is not called for them. A name with a dot in it, as annotations have, cannot be in a path: read
    /// what it is in.
    ///
    /// Only for watches whose changes are routed. Objects that come and go are always asked about; of a [`Relation::Claimed`] watch also
    /// those that gain or lose an owner that controls them.
    pub const fn reading(mut self, paths: &'static [&'static str]) -> Self {
        self.reads = paths;
        self
    }

    /// What the host passes on of an object.
    pub(crate) fn part(&self, object: &Value) -> Value {
        if self.reads.is_empty() {
            return object.clone();
        }
        let parts = Parts::new(self.reads.iter().map(|path| path.split('.')));
        parts.cut(object.to_string().as_bytes()).and_then(|part| serde_json::from_slice(&part).ok()).unwrap_or_default()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    NotFound(String),
    AlreadyExists(String),
    Conflict(String),
    Forbidden(String),
    Invalid(String),
    /// Retry after so many seconds.
    TooManyRequests(u32),
    Unavailable(String),
    Other(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Try again with back-off.
    Retry(String),
    /// Not before the object changes.
    Terminal(String),
}

#[derive(Clone, Debug, Default)]
pub struct Query<'a> {
    /// Empty: all namespaces.
    pub namespace: &'a str,
    /// `a=b,c in (d,e)`; empty: all.
    pub label_selector: String,
    pub field_selector: String,
    /// The uid in the owner reference with `controller: true`; empty: any.
    pub owner_uid: &'a str,
}

/// The typed part of an object in a list, made without parsing it in the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub revision: u64,
    pub labels: Vec<(String, String)>,
    pub controller: Option<Owner>,
    /// Seconds since 1970.
    pub created: i64,
    pub deleting: bool,
    pub phase: String,
    pub ready: bool,
    pub node: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    Json,
    Merge,
    Strategic,
    Apply,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions<'a> {
    pub uid: &'a str,
    pub grace_period_seconds: Option<u32>,
    /// `Background`, `Foreground`, `Orphan` or empty.
    pub propagation_policy: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    Normal,
    Warning,
}

pub type Result<T> = std::result::Result<T, ApiError>;

/// The cluster, as far as the plugin's grants reach. Reads of watched resources come from the host's indexes and see the plugin's
/// own writes; others go to the API server.
pub trait Api: Env {
    fn get(&self, resource: Resource, namespace: &str, name: &str) -> Result<Value>;
    /// Past the caches.
    fn get_live(&self, resource: Resource, namespace: &str, name: &str) -> Result<Value>;
    fn list(&self, resource: Resource, query: &Query<'_>) -> Result<Vec<Value>>;
    fn list_summaries(&self, resource: Resource, query: &Query<'_>) -> Result<Vec<Summary>>;
    fn create(&self, resource: Resource, namespace: &str, object: &Value) -> Result<Value>;
    /// Creates a subresource of a named object: `eviction`, `binding`, `token`.
    fn create_sub(&self, resource: Resource, namespace: &str, name: &str, subresource: &str, object: &Value) -> Result<Value>;
    fn update(&self, resource: Resource, namespace: &str, name: &str, object: &Value) -> Result<Value>;
    fn update_status(&self, resource: Resource, namespace: &str, name: &str, object: &Value) -> Result<Value>;
    /// `subresource`: empty for the object itself.
    fn patch(&self, resource: Resource, namespace: &str, name: &str, subresource: &str, kind: PatchType, body: &Value) -> Result<Value>;
    fn delete(&self, resource: Resource, namespace: &str, name: &str, options: &DeleteOptions<'_>) -> Result<()>;
    fn event(&self, resource: Resource, namespace: &str, name: &str, kind: EventType, reason: &str, message: &str);
}

pub trait Controller: Default {
    /// The first watch is the primary one: its objects' names are the keys.
    fn watches() -> Vec<Watch>;

    /// Keys concerned by a change of an object of a [`Relation::Routed`] watch: what it [reads](Watch::reading) of the object before and after.
    fn route(&mut self, _api: &dyn Api, _index: usize, _before: Option<&Value>, _after: Option<&Value>) -> Vec<Key> {
        Vec::new()
    }

    /// Brings the world nearer to what the key's object asks for. `Some(after)`: come again then, even if nothing changes.
    fn reconcile(&mut self, api: &dyn Api, key: &Key) -> std::result::Result<Option<Duration>, Failure>;
}

impl From<ApiError> for Failure {
    /// Every refusal may pass, except what the object itself must be changed for.
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Invalid(message) => Failure::Terminal(message),
            other => Failure::Retry(other.to_string()),
        }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ApiError::NotFound(m)
            | ApiError::AlreadyExists(m)
            | ApiError::Conflict(m)
            | ApiError::Forbidden(m)
            | ApiError::Invalid(m)
            | ApiError::Unavailable(m)
            | ApiError::Other(m) => f.write_str(m),
            ApiError::TooManyRequests(seconds) => write!(f, "too many requests, retry after {seconds} s"),
        }
    }
}

impl std::error::Error for ApiError {}
