//! The port through which kubelet, proxy, DNS, plugins and the command line act on the API.
//!
//! Two adapters implement it: `apiserver::LocalClient` in process (same authentication result, authorization,
//! admission and registry as a request over the network, without the encoding) and `client::HttpClient` over TLS.
//! An adapter carries one identity for its whole life; code that acts for somebody else holds another adapter.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use serde_json::Value;

use crate::object::ObjectExt as _;
use crate::{GroupVersionResource, Object, Status};

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
pub type Result<T> = std::result::Result<T, Status>;

/// Names one resource, collection or object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub resource: GroupVersionResource,
    /// `None`: a cluster-scoped resource, or all namespaces when listing.
    pub namespace: Option<String>,
    /// `None`: the collection.
    pub name: Option<String>,
    pub subresource: Option<String>,
}

/// An object as the server holds it: the JSON text, parsed only when somebody asks.
#[derive(Clone, Debug)]
pub struct Served {
    /// Compact JSON with `apiVersion`, `kind` and `metadata.resourceVersion`.
    pub json: Bytes,
    pub revision: u64,
}

#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    pub label_selector: String,
    pub field_selector: String,
    /// Zero: no limit.
    pub limit: u64,
    pub continue_token: String,
    /// As in the query: empty means most recent.
    pub resource_version: String,
}

#[derive(Clone, Debug)]
pub struct Listed {
    pub items: Vec<Served>,
    /// The revision that the list was read at; a watch from here misses nothing.
    pub revision: u64,
    pub continue_token: String,
}

#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    pub label_selector: String,
    pub field_selector: String,
    /// Events after this revision. `None`: first an `Added` for each object, then `Synced`, then changes.
    pub from_revision: Option<u64>,
}

#[derive(Clone, Debug)]
pub enum WatchEvent {
    Added(Served),
    Modified(Served),
    /// The last state, at the revision of the deletion.
    Deleted(Served),
    /// All objects of the initial state were sent.
    Synced {
        revision: u64,
    },
    /// Nothing for this watcher up to the revision.
    Bookmark {
        revision: u64,
    },
}

#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    pub dry_run: bool,
    /// Empty: the adapter's own name.
    pub field_manager: String,
    /// Server-side apply only.
    pub force: bool,
}

#[derive(Clone, Debug)]
pub enum Patch {
    /// RFC 6902.
    Json(Value),
    /// RFC 7396.
    Merge(Value),
    /// Kubernetes' strategic merge patch.
    Strategic(Value),
    /// Server-side apply.
    Apply(Value),
}

#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    /// `Background`, `Foreground` or `Orphan`; empty: the kind's default.
    pub propagation_policy: String,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub dry_run: bool,
}

pub trait Client: Send + Sync + 'static {
    fn get<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Served>>;
    fn list<'a>(&'a self, target: &'a Target, options: &'a ListOptions) -> BoxFuture<'a, Result<Listed>>;
    /// The stream ends with an error item or with `None` when the server closes it; the caller lists again on 410.
    fn watch<'a>(&'a self, target: &'a Target, options: &'a WatchOptions) -> BoxFuture<'a, Result<BoxStream<'static, Result<WatchEvent>>>>;
    fn create<'a>(&'a self, target: &'a Target, object: Value, options: &'a WriteOptions) -> BoxFuture<'a, Result<Served>>;
    fn update<'a>(&'a self, target: &'a Target, object: Value, options: &'a WriteOptions) -> BoxFuture<'a, Result<Served>>;
    fn patch<'a>(&'a self, target: &'a Target, patch: Patch, options: &'a WriteOptions) -> BoxFuture<'a, Result<Served>>;
    /// `None`: gone at once; `Some`: the object that now waits for its finalizers or grace period.
    fn delete<'a>(&'a self, target: &'a Target, options: &'a DeleteOptions) -> BoxFuture<'a, Result<Option<Served>>>;
}

/// Shorthands over a shared client.
pub trait ClientExt {
    fn get_value<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Value>>;
}

impl ClientExt for Arc<dyn Client> {
    fn get_value<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Value>> {
        Box::pin(async move { self.get(target).await?.parse() })
    }
}

impl Served {
    pub fn parse(&self) -> Result<Value> {
        serde_json::from_slice(&self.json).map_err(|e| Status::internal(format!("unreadable object: {e}")))
    }
    /// Parses the part of the object that a caller's struct names.
    pub fn parse_as<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.json).map_err(|e| Status::internal(format!("unreadable object: {e}")))
    }
}

impl Target {
    pub fn collection(resource: GroupVersionResource, namespace: Option<&str>) -> Self {
        Self { resource, namespace: namespace.map(str::to_owned), name: None, subresource: None }
    }
    pub fn object(resource: GroupVersionResource, namespace: Option<&str>, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..Self::collection(resource, namespace) }
    }
    /// Where the object is, by its own name and namespace.
    pub fn of(resource: &GroupVersionResource, object: &Object) -> Self {
        let namespace = object.namespace();
        Self::object(resource.clone(), (!namespace.is_empty()).then_some(namespace), object.name())
    }
    pub fn subresource(mut self, name: &str) -> Self {
        self.subresource = Some(name.to_owned());
        self
    }
    /// The path of the request: `/apis/apps/v1/namespaces/a/deployments/web/scale`.
    pub fn path(&self) -> String {
        let root = if self.resource.group.is_empty() { "/api" } else { "/apis" };
        let mut path = format!("{root}/{}", self.resource.api_version());
        if let Some(namespace) = &self.namespace {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        for part in [Some(self.resource.resource.as_ref()), self.name.as_deref(), self.subresource.as_deref()].into_iter().flatten() {
            path.push('/');
            path.push_str(part);
        }
        path
    }
}
