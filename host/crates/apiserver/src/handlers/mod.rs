//! What each verb does, whoever asks and over whatever wire: the http layer and the in-process client both end here.
//!
//! A caller has authenticated and authorized before. Reads come from the cache; writes go through defaults, admission,
//! preparation and validation to the store. Errors are answers already ([`Status`]).

pub mod binding;
mod cells;
pub mod continue_token;
pub mod decisions;
pub mod delete;
pub mod eviction;
pub mod field_validation;
mod gate;
mod guards;
pub mod list;
pub mod managed;
pub mod other_metrics;
pub mod own_fields;
pub mod patch;
pub mod plugin_log;
pub mod scale;
pub mod special;
pub mod subresource;
pub mod table;
pub mod update;
pub mod watch;
pub mod write;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use bytes::Bytes;
use pintle_api::schema::Duplicates;
use pintle_api::{GroupVersionResource, Status};
use pintle_registry::WriteContext;
use pintle_registry::allocator::Allocators;

use crate::admission::request::Request;
use crate::admission::webhook::Hooks;
use crate::admission::{Chain, Operation};
use crate::aggregation::Extensions;
use crate::audit::{Audit, Record};
use crate::auth::{Attributes, Authenticator, Authorizer, Decision, User, forbidden};
use crate::cache::{Cache, Stored};
use crate::resources::{Resource, Table};

pub use crate::resources::no_such_resource;
pub use crate::scope::Scope;
pub use subresource::{SubresourceCall, SubresourceHandler};

/// Everything that a request needs. One a server.
pub struct Core {
    pub cache: Arc<Cache>,
    pub resources: Arc<ArcSwap<Table>>,
    pub allocators: Arc<Allocators>,
    pub pod_security: crate::admission::pod_security::PodSecurity,
    pub admission: Chain,
    pub hooks: Hooks,
    /// The server ends: what is asked is still answered, but nobody should come any more.
    pub ends: AtomicBool,
    /// Parts of the API that others serve.
    pub extensions: Arc<Extensions>,
    pub authenticator: Arc<dyn Authenticator>,
    pub authorizer: Arc<dyn Authorizer>,
    /// By group, resource and subresource; an empty subresource is the creation of a resource that is never stored.
    pub special: HashMap<(&'static str, &'static str, &'static str), Arc<dyn SubresourceHandler>>,
    /// With which the server calls kubelets.
    pub kubelet_tls: Option<Arc<rustls::ClientConfig>>,
    pub plugin_logs: plugin_log::PluginLogs,
    pub decisions: decisions::Decisions,
    pub other_metrics: other_metrics::OtherMetrics,
    /// `None`: requests are not written down.
    pub audit: Option<Arc<Audit>>,
}

#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub field_manager: String,
    pub force: bool,
    pub validation: FieldValidation,
    /// Members that stand twice in the text of a patch.
    pub doubled: Duplicates,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    Strict,
    #[default]
    Warn,
    Ignore,
}

/// The answer to a write.
#[derive(Clone, Debug)]
pub struct Written {
    pub json: Bytes,
    pub revision: u64,
    pub created: bool,
    pub warnings: Vec<String>,
}

impl Core {
    /// What hooks are asked about a request, as far as its kind does not matter.
    pub fn asking<'a>(&'a self, scope: &'a Scope, operation: Operation) -> Request<'a> {
        let Self { cache, resources, authorizer, .. } = self;
        Request { cache, resources, authorizer, scope, operation, name: &scope.name, old: None, options: serde_json::Value::Null, dry_run: false }
    }

    pub fn resource(&self, gvr: &GroupVersionResource) -> Result<Arc<Resource>, Status> {
        let table = self.resources.load();
        table.find(gvr).cloned().ok_or_else(no_such_resource)
    }

    /// What the cache has, which another server's write may have overtaken.
    pub fn get(&self, scope: &Scope) -> Result<Arc<Stored>, Status> {
        self.cache.get(&scope.resource.slot, &scope.key()).ok_or_else(|| scope.not_found())
    }

    /// The newest state, with what reading it in this version takes.
    pub async fn get_ready(&self, scope: &Scope) -> Result<Arc<Stored>, Status> {
        self.get_at(scope, "").await
    }

    /// The same for a reader who asks for a `resourceVersion`: none is the newest, 0 whatever is here, any other is not older.
    pub async fn get_at(&self, scope: &Scope, version: &str) -> Result<Arc<Stored>, Status> {
        self.not_older(version).await?;
        let stored = self.get(scope)?;
        scope.resource.make_ready([&*stored]).await?;
        Ok(stored)
    }

    /// Returns when the cache is as new as a reader's `resourceVersion` demands; the version as a number.
    pub async fn not_older(&self, version: &str) -> Result<u64, Status> {
        let asked = list::parse_version(version)?;
        if version.is_empty() {
            self.cache.catch_up().await?;
        } else if asked > self.cache.revision() {
            self.cache.wait_for(asked).await?;
        }
        Ok(asked)
    }

    /// The same as [`Core::get`], parsed.
    pub fn read(&self, scope: &Scope) -> Result<pintle_api::Object, Status> {
        scope.resource.parse(&*self.get(scope)?)
    }

    pub fn authorize(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        self.authorize_noting(attributes, None)
    }

    /// The same, with the decision in the request's audit event.
    pub fn authorize_noting(&self, attributes: &Attributes<'_>, record: Option<&Record>) -> Result<(), Status> {
        let why = match self.authorizer.authorize(attributes) {
            Decision::Allow => {
                if let Some(record) = record {
                    record.annotate("authorization.k8s.io/decision", "allow");
                    record.annotate("authorization.k8s.io/reason", self.authorizer.reason(attributes));
                }
                return Ok(());
            }
            Decision::Deny(why) => why,
            Decision::NoOpinion => String::new(),
        };
        if let Some(record) = record {
            record.annotate("authorization.k8s.io/decision", "forbid");
            record.annotate("authorization.k8s.io/reason", why.as_str());
        }
        Err(forbidden(attributes, &why))
    }

    /// Of a name that is not there yet: an update or an apply makes an object only for who may create one.
    fn authorize_creation(&self, scope: &Scope) -> Result<(), Status> {
        let def = scope.resource.def();
        if !scope.resource.has_verb("create") {
            return Err(Status::method_not_allowed(&def.group, &def.resource, "create"));
        }
        self.authorize_noting(&scope.attributes("create"), None)
    }

    /// Lends a strategy its view of the world.
    pub fn with_context<T>(&self, user: &User, dry_run: bool, act: impl FnOnce(&WriteContext<'_>) -> T) -> T {
        let table = self.resources.load_full();
        let objects = crate::lookup::CacheLookup { cache: &self.cache, table: &table };
        act(&WriteContext { now: jiff::Timestamp::now(), user, dry_run, objects: &objects, allocators: &self.allocators })
    }
}
