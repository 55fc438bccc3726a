//! What policies, webhooks and components are asked about, and what of the server they may look at for it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Status};
use serde_json::Value;

use super::Operation;
use crate::auth::Authorizer;
use crate::cache::Cache;
use crate::resources::{Resource, Table, no_such_resource};
use crate::scope::Scope;

/// A write that hooks are asked about.
pub struct Request<'a> {
    pub cache: &'a Cache,
    pub resources: &'a ArcSwap<Table>,
    pub authorizer: &'a Arc<dyn Authorizer>,
    pub scope: &'a Scope,
    pub operation: Operation,
    /// Of the object; empty before one is generated.
    pub name: &'a str,
    pub old: Option<&'a Object>,
    pub options: Value,
    pub dry_run: bool,
}

impl Request<'_> {
    /// A resource of the table as it is now.
    pub fn resource(&self, gvr: &GroupVersionResource) -> Result<Arc<Resource>, Status> {
        self.resources.load().find(gvr).cloned().ok_or_else(no_such_resource)
    }
    /// An object as hooks and policies see it: in their version, without empty lists and maps that are the same as none.
    pub async fn shown(&self, seen: &Arc<Resource>, object: &Object) -> Result<Object, Status> {
        let own = &self.scope.resource;
        let mut shown = if Arc::ptr_eq(seen, own) { object.clone() } else { own.convert_to(seen, object).await? };
        // A subresource has objects of another kind.
        if shown.str_at(&["kind"]) == seen.def().kind {
            seen.without_empties(&mut shown);
        }
        Ok(shown)
    }

    /// What they made of it.
    pub async fn taken_back(&self, seen: &Arc<Resource>, object: Object) -> Result<Object, Status> {
        let own = &self.scope.resource;
        if Arc::ptr_eq(seen, own) { Ok(object) } else { seen.convert_to(own, &object).await }
    }

    pub fn is_connect(&self) -> bool {
        self.operation == Operation::Connect
    }
    pub fn is_namespace(&self) -> bool {
        let def = self.scope.resource.def();
        def.resource == "namespaces" && def.group.is_empty()
    }
    pub fn namespace(&self) -> Option<&str> {
        Some(self.scope.namespace.as_str()).filter(|n| !n.is_empty())
    }
}
