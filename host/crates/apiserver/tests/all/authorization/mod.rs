//! Every endpoint of the server refuses who may not, and lets pass who may.
//!
//! The endpoints are read off the server itself: its table of resources with their verbs and subresources, and the table of the paths
//! that are no resource. Each is asked by nobody (401), by a user without a right (403, in upstream's words), by one who holds exactly
//! the right for it (neither), and by one who holds exactly the right for another one (403). What cannot be asked so must stand in
//! `untested.txt`, which is empty: a new endpoint that this file does not understand fails here.

mod endpoints;
mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pintle_api::client::{DeleteOptions, Patch, Target, WriteOptions};
use pintle_api::{Client, GroupVersionResource};
use pintle_apiserver::auth::User;
use pintle_apiserver::{Config, Server, Storage};
use serde_json::{Value, json};

use endpoints::Endpoint;
use wire::Caller;

const UNTESTED: &str = include_str!("untested.txt");
const RBAC: &str = "rbac.authorization.k8s.io";
/// Holds one right at a time.
const HOLDER: &str = "holder";
const STRANGER: &str = "stranger";
/// With these every authenticated user may read health, discovery and what they may themselves.
const GENERAL_BINDINGS: [&str; 3] = ["system:basic-user", "system:discovery", "system:public-info-viewer"];
/// Nothing here takes longer on any machine.
const LIMIT: Duration = Duration::from_secs(20);

struct Fixture {
    server: Server,
    admin: Arc<dyn Client>,
    _dir: tempfile::TempDir,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_endpoint_asks_who_and_whether_they_may() {
    let f = fixture().await;
    let (endpoints, unknown) = endpoints::all(&f.server);
    let listed: BTreeSet<&str> = UNTESTED.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    let unknown: BTreeSet<&str> = unknown.iter().map(String::as_str).collect();
    assert_eq!(unknown, listed, "endpoints without an authorization test");
    assert!(listed.is_empty(), "the list of untested endpoints is kept empty");
    assert!(endpoints.len() > 900, "only {} endpoints were found", endpoints.len());

    let (mut nobody, mut stranger, mut holder) =
        (Caller::anonymous(&f.server).await, Caller::user(&f.server, STRANGER).await, Caller::user(&f.server, HOLDER).await);
    let mut faults = Vec::new();
    for (at, endpoint) in endpoints.iter().enumerate() {
        let anonymous = nobody.ask(endpoint).await;
        if anonymous.code != if endpoint.is_open_to_anonymous() { 403 } else { 401 } {
            faults.push(format!("{endpoint}: an anonymous caller got {anonymous:?}"));
        }
        let refused = stranger.ask(endpoint).await;
        if (refused.code, refused.message.as_str()) != (403, endpoint.refusal(STRANGER).as_str()) && endpoint.method != "HEAD" {
            faults.push(format!("{endpoint}: a caller without a right got {refused:?}, not {:?}", endpoint.refusal(STRANGER)));
        }
        f.grant(endpoint, at.checked_sub(1).map(|before| &endpoints[before])).await;
        let passed = holder.ask(endpoint).await;
        if matches!(passed.code, 401 | 403) {
            faults.push(format!("{endpoint}: who holds exactly this right got {passed:?}"));
        }
        if passed.code == 500 {
            faults.push(format!("{endpoint}: {passed:?}"));
        }
        // Far enough away to be another right in any case.
        let other = &endpoints[(at + endpoints.len() / 2) % endpoints.len()];
        if !endpoint.covers(other) && holder.ask(other).await.code != 403 {
            faults.push(format!("{other}: who may only {endpoint} was not refused"));
        }
    }
    assert!(faults.is_empty(), "{} of {} endpoints:\n{}", faults.len(), endpoints.len(), faults.join("\n"));
    f.server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_serves_is_refused_before_it_is_looked_for() {
    let f = fixture().await;
    let mut nobody = Caller::anonymous(&f.server).await;
    let mut stranger = Caller::user(&f.server, STRANGER).await;
    for path in ["/debug/pprof/", "/api/v1/namespaces/default/pods/p/nothing", "/apis/none.example.com/v1/things", "/api/v9/pods"] {
        assert_eq!(nobody.get(path).await.code, 401, "{path}");
        assert_eq!(stranger.get(path).await.code, 403, "{path}");
    }
    f.server.shutdown().await.unwrap();
}

/// A server with a custom resource and a part of the API that somebody else serves, and without the rights that all users share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_makes_an_object_by_update_or_apply_must_be_allowed_to_create() {
    let f = fixture().await;
    let holder = f.server.local_client(User { name: HOLDER.to_owned(), ..User::default() });
    let maps = Target::object(GroupVersionResource::constant("", "v1", "configmaps"), Some("default"), "new");
    let leases = Target::object(GroupVersionResource::constant("coordination.k8s.io", "v1", "leases"), Some("default"), "new");
    let things = Target::object(GroupVersionResource::constant("example.com", "v1", "things"), Some("default"), "new");
    let object = |api: &str, kind: &str| json!({"apiVersion": api, "kind": kind, "metadata": {"name": "new", "namespace": "default"}});
    let write = async || {
        let options = WriteOptions::default();
        [
            holder.patch(&maps, Patch::Apply(object("v1", "ConfigMap")), &options).await.map(drop),
            holder.patch(&things, Patch::Apply(object("example.com/v1", "Thing")), &options).await.map(drop),
            holder.update(&leases, object("coordination.k8s.io/v1", "Lease"), &options).await.map(drop),
        ]
        .map(|answer| answer.err().map(|status| (status.code, status.message)))
    };
    let may = |verbs: &[&str]| json!([{"apiGroups": ["*"], "resources": ["configmaps", "things", "leases"], "verbs": verbs}]);
    f.set_rules("roles", Some("default"), may(&["patch", "update"])).await;
    let refused = |resource: &str, group: &str| {
        let dotted = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let why = format!("cannot create resource \"{resource}\" in API group \"{group}\" in the namespace \"default\"");
        Some((403, format!("{dotted} \"new\" is forbidden: User \"{HOLDER}\" {why}")))
    };
    assert_eq!(write().await, [refused("configmaps", ""), refused("things", "example.com"), refused("leases", "coordination.k8s.io")]);
    f.set_rules("roles", Some("default"), may(&["patch", "update", "create"])).await;
    assert_eq!(write().await, [None, None, None]);
    f.server.shutdown().await.unwrap();
}

async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { storage: Storage::Memory, ..Config::new(dir.path(), "127.0.0.1:0".parse().unwrap()) };
    let server = Server::start(config).await.unwrap();
    let admin: Arc<dyn Client> = Arc::new(server.local_client(User::loopback()));
    let f = Fixture { server, admin, _dir: dir };
    for binding in GENERAL_BINDINGS {
        let target = Target::object(rbac("clusterrolebindings"), None, binding);
        f.admin.delete(&target, &DeleteOptions::default()).await.unwrap();
    }
    f.create(GroupVersionResource::constant("apiextensions.k8s.io", "v1", "customresourcedefinitions"), None, definition()).await;
    f.create(GroupVersionResource::constant("apiregistration.k8s.io", "v1", "apiservices"), None, endpoints::api_service()).await;
    for (bindings, roles, namespace) in [("clusterrolebindings", "ClusterRole", None), ("rolebindings", "Role", Some("default"))] {
        let plural = format!("{}s", roles.to_lowercase());
        f.create(rbac(&plural), namespace, json!({"metadata": {"name": HOLDER}, "rules": []})).await;
        let subject = json!({"apiGroup": RBAC, "kind": "User", "name": HOLDER});
        let binding = json!({"metadata": {"name": HOLDER}, "roleRef": {"apiGroup": RBAC, "kind": roles, "name": HOLDER}, "subjects": [subject]});
        f.create(rbac(bindings), namespace, binding).await;
    }
    let table = &f.server.core().resources;
    let served = async {
        while table.load().get("example.com", "v1", "things").is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, served).await.expect("the custom resource is served");
    f
}

impl Fixture {
    async fn create(&self, resource: GroupVersionResource, namespace: Option<&str>, object: Value) {
        self.admin.create(&Target::collection(resource, namespace), object, &WriteOptions::default()).await.unwrap();
    }

    /// Takes from the holder what it had and gives it the right for this endpoint, where it is asked and nowhere else.
    async fn grant(&self, endpoint: &Endpoint, before: Option<&Endpoint>) {
        let place = |e: &Endpoint| if e.is_in_namespace() { ("roles", Some("default")) } else { ("clusterroles", None) };
        let (roles, namespace) = place(endpoint);
        if let Some((roles, namespace)) = before.map(place).filter(|before| before.0 != roles) {
            self.set_rules(roles, namespace, json!([])).await;
        }
        self.set_rules(roles, namespace, json!([endpoint.rule()])).await;
    }

    async fn set_rules(&self, roles: &str, namespace: Option<&str>, rules: Value) {
        let role = json!({"metadata": {"name": HOLDER}, "rules": rules});
        self.admin.update(&Target::object(rbac(roles), namespace, HOLDER), role, &WriteOptions::default()).await.unwrap();
    }
}

fn rbac(resource: &str) -> GroupVersionResource {
    GroupVersionResource::new(RBAC, "v1", resource.to_owned())
}

fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
            }],
        },
    })
}
