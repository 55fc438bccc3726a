//! The admission world: a policy that looks at a write before it is stored, and changes or refuses it.
//!
//! Plain Rust: [`crate::testing::admit`] runs a policy natively as the host does. Several instances of a component answer side by
//! side, so nothing that a decision hangs on may be kept in the policy: read it from the cluster.

use serde_json::{Value, json};

use crate::Env;
pub use crate::controller::{ApiError, Query, Resource, Summary};

pub trait Admission: Default {
    /// What to be asked about. Called once when the component is loaded; an error refuses it with these words.
    fn rules(&mut self, env: &dyn Env) -> Result<Vec<Rule>, String>;

    /// What becomes of one write. A policy that never uses `cluster` for reads needs no grants.
    fn admit(&mut self, cluster: &impl Reader, request: &Request) -> Response;
}

/// The cluster, as far as the plugin's grants reach, and to read only. Sees every write that was acknowledged.
pub trait Reader: Env {
    fn get(&self, resource: Resource, namespace: &str, name: &str) -> Result<Value, ApiError>;
    /// `query.owner_uid` is not looked at.
    fn list(&self, resource: Resource, query: &Query<'_>) -> Result<Vec<Value>, ApiError>;
    fn list_summaries(&self, resource: Resource, query: &Query<'_>) -> Result<Vec<Summary>, ApiError>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// In which of its two turns the policy is asked. The object is defaulted and checked against its schema in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The object may be changed.
    Mutate,
    /// The object is as it will be stored.
    Validate,
}

/// A namespaced or cluster-scoped resource or either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    #[default]
    Any,
    Cluster,
    Namespaced,
}

/// Requests that the policy wants to be asked about; `*` stands for everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub phases: Vec<Phase>,
    pub operations: Vec<Operation>,
    pub api_groups: Vec<String>,
    pub api_versions: Vec<String>,
    /// `pods`, `pods/status`, `*/*`.
    pub resources: Vec<String>,
    pub scope: Scope,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    pub group: String,
    pub version: String,
    pub kind: String,
}

/// Group (empty for core), version, plural name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceId {
    pub group: String,
    pub version: String,
    pub name: String,
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub username: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: Vec<(String, Vec<String>)>,
}

/// One write. Objects that are not there are null.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub phase: Phase,
    pub operation: Operation,
    pub kind: Kind,
    pub resource: ResourceId,
    /// Empty: the object itself.
    pub subresource: String,
    /// Empty where a name is yet to be generated.
    pub name: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    pub user: User,
    /// The object to be.
    pub object: Value,
    /// The object as it is stored.
    pub old_object: Value,
    pub dry_run: bool,
    pub options: Value,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    pub refusal: Option<Refusal>,
    pub change: Change,
    /// For whoever asked.
    pub warnings: Vec<String>,
    pub audit_annotations: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of HTTP, 400 to 599.
    pub code: u16,
    /// As in a `Status`: `Forbidden`, `Invalid`.
    pub reason: String,
    pub message: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Change {
    #[default]
    None,
    /// Operations of a JSON patch.
    Patch(Vec<Value>),
    /// The whole object, changed.
    Object(Value),
}

impl Rule {
    /// Creations and updates of one resource, in these turns.
    pub fn writes(resource: Resource, phases: &[Phase]) -> Self {
        Self {
            phases: phases.to_vec(),
            operations: vec![Operation::Create, Operation::Update],
            api_groups: vec![resource.group.to_owned()],
            api_versions: vec![resource.version.to_owned()],
            resources: vec![resource.name.to_owned()],
            scope: Scope::Any,
        }
    }

    pub fn on(self, operations: &[Operation]) -> Self {
        Self { operations: operations.to_vec(), ..self }
    }
}

impl Request {
    /// A creation as a test needs it.
    pub fn create(resource: Resource, object: Value) -> Self {
        let part = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        Self {
            phase: Phase::Mutate,
            operation: Operation::Create,
            kind: Kind {
                group: resource.group.to_owned(),
                version: resource.version.to_owned(),
                kind: object["kind"].as_str().unwrap_or_default().to_owned(),
            },
            resource: ResourceId { group: resource.group.to_owned(), version: resource.version.to_owned(), name: resource.name.to_owned() },
            subresource: String::new(),
            name: part("name"),
            namespace: part("namespace"),
            user: User { username: "somebody".to_owned(), groups: vec!["system:authenticated".to_owned()], ..User::default() },
            object,
            old_object: Value::Null,
            dry_run: false,
            options: Value::Null,
        }
    }

    /// The same for an update.
    pub fn update(resource: Resource, old: Value, object: Value) -> Self {
        Self { operation: Operation::Update, old_object: old, ..Self::create(resource, object) }
    }

    pub fn is(&self, resource: Resource) -> bool {
        self.resource.group == resource.group && self.resource.name == resource.name
    }
}

impl Response {
    /// The write may go on as it is.
    pub fn allow() -> Self {
        Self::default()
    }

    /// 403 Forbidden.
    pub fn deny(message: impl Into<String>) -> Self {
        Self::refuse(403, "Forbidden", message)
    }

    pub fn refuse(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self { refusal: Some(Refusal { code, reason: reason.to_owned(), message: message.into() }), ..Self::default() }
    }

    /// The whole object, changed.
    pub fn object(object: Value) -> Self {
        Self { change: Change::Object(object), ..Self::default() }
    }

    /// Sets a label by a patch.
    pub fn label(request: &Request, key: &str, value: &str) -> Self {
        let escaped = key.replace('~', "~0").replace('/', "~1");
        let op = match request.object["metadata"]["labels"].is_object() {
            true => json!({"op": "add", "path": format!("/metadata/labels/{escaped}"), "value": value}),
            false => json!({"op": "add", "path": "/metadata/labels", "value": {key: value}}),
        };
        Self { change: Change::Patch(vec![op]), ..Self::default() }
    }

    pub fn warn(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    /// For the audit log; the key needs no prefix.
    pub fn audit(mut self, key: &str, value: &str) -> Self {
        self.audit_annotations.push((key.to_owned(), value.to_owned()));
        self
    }
}
