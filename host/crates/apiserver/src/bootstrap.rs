//! What a cluster has before anybody made anything: the namespaces, and the default roles.

use std::net::SocketAddr;
use std::sync::Arc;

use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Reason, Status};
use serde_json::json;

use crate::auth::{User, bootstrap_policy};
use crate::handlers::{Core, Scope, WriteOptions};
use crate::server::Config;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Idempotent: what exists stays as it is.
pub async fn run(core: &Arc<Core>, _config: &Config, _external: SocketAddr) -> Result<(), Status> {
    let mut objects: Vec<(GroupVersionResource, Object)> = Vec::new();
    for name in NAMESPACES {
        objects.push((GroupVersionResource::constant("", "v1", "namespaces"), json!({"metadata": {"name": name}})));
    }
    for row in bootstrap_policy::rows() {
        let object = row.object();
        let resource = format!("{}s", object.kind().to_ascii_lowercase());
        objects.push((GroupVersionResource::new("rbac.authorization.k8s.io", "v1", resource), object));
    }
    let (namespaces, rest): (Vec<_>, Vec<_>) = objects.into_iter().partition(|(gvr, _)| gvr.resource == "namespaces");
    // Made at once, so that they share a sync of the store.
    for group in [namespaces, rest] {
        let made = futures::future::join_all(group.into_iter().map(|(gvr, object)| ensure(core, gvr, object))).await;
        made.into_iter().collect::<Result<Vec<()>, Status>>()?;
    }
    Ok(())
}

async fn ensure(core: &Arc<Core>, gvr: GroupVersionResource, object: Object) -> Result<(), Status> {
    let scope = Scope {
        user: Arc::new(User::loopback()),
        resource: core.resource(&gvr)?,
        namespace: object.namespace().to_owned(),
        name: String::new(),
        subresource: String::new(),
    };
    let key = scope.resource.key(&scope.namespace, object.name());
    if core.cache.get(&scope.resource.slot, &key).is_some() {
        return Ok(());
    }
    match core.create(&scope, object, &WriteOptions { field_manager: "pintle".into(), ..WriteOptions::default() }).await {
        Err(exists) if exists.is(Reason::AlreadyExists) => Ok(()),
        other => other.map(drop),
    }
}
