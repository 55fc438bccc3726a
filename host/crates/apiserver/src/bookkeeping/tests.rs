//! The loops over a real server in memory.

use std::time::Duration;

use futures::StreamExt;
use pintle_api::client::{DeleteOptions, ListOptions, Patch, Target, WatchEvent, WatchOptions, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Reason, Status};
use serde_json::{Value, json};

use super::*;
use crate::{Server, Storage};

/// Everything here takes milliseconds; a loop that never comes is found after this.
const PATIENCE: Duration = Duration::from_secs(20);

const NAMESPACES: GroupVersionResource = GroupVersionResource::constant("", "v1", "namespaces");
const CONFIG_MAPS: GroupVersionResource = GroupVersionResource::constant("", "v1", "configmaps");
const SECRETS: GroupVersionResource = GroupVersionResource::constant("", "v1", "secrets");
const ACCOUNTS: GroupVersionResource = GroupVersionResource::constant("", "v1", "serviceaccounts");
const QUOTAS: GroupVersionResource = GroupVersionResource::constant("", "v1", "resourcequotas");
const ROLES: GroupVersionResource = GroupVersionResource::constant("rbac.authorization.k8s.io", "v1", "clusterroles");

struct Cluster {
    server: Server,
    client: Arc<dyn Client>,
    _dir: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config =
            Config { storage: Storage::Memory, advertise_address: [10, 1, 2, 3].into(), ..Config::new(dir.path(), "127.0.0.1:0".parse().unwrap()) };
        let server = Server::start(config).await.unwrap();
        let client = Arc::new(server.local_client(User::loopback()));
        Self { server, client, _dir: dir }
    }

    async fn create(&self, resource: GroupVersionResource, namespace: &str, object: Value) -> Object {
        let target = Target::collection(resource, (!namespace.is_empty()).then_some(namespace));
        self.client.create(&target, object, &WriteOptions::default()).await.unwrap().parse().unwrap()
    }

    async fn delete(&self, target: &Target, policy: &str) {
        let options = DeleteOptions { propagation_policy: policy.to_owned(), ..DeleteOptions::default() };
        self.client.delete(target, &options).await.unwrap();
    }

    /// Waits until the object is as asked; `None` is an object that is not there.
    async fn until(&self, target: &Target, holds: impl Fn(Option<&Object>) -> bool) -> Option<Object> {
        let collection = Target { name: None, ..target.clone() };
        let field_selector = format!("metadata.name={}", target.name.as_deref().unwrap());
        let options = WatchOptions { field_selector, ..WatchOptions::default() };
        let mut events = self.client.watch(&collection, &options).await.unwrap();
        let mut present: Option<Object> = None;
        let waiting = async {
            let mut synced = false;
            loop {
                match events.next().await.unwrap().unwrap() {
                    WatchEvent::Added(o) | WatchEvent::Modified(o) => present = Some(o.parse().unwrap()),
                    WatchEvent::Deleted(_) => present = None,
                    WatchEvent::Synced { .. } => synced = true,
                    WatchEvent::Bookmark { .. } => {}
                }
                if synced && holds(present.as_ref()) {
                    return present.take();
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{} never came to it", target.path()))
    }

    async fn get(&self, target: &Target) -> Result<Object, Status> {
        self.client.get(target).await?.parse()
    }
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

fn config_map(name: &str, owners: &[(&Object, bool)]) -> Value {
    let owners: Vec<Value> = owners
        .iter()
        .map(|(o, blocks)| json!({"apiVersion": o.api_version(), "kind": o.kind(), "name": o.name(), "uid": o.uid(), "blockOwnerDeletion": blocks}))
        .collect();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": owners}})
}

fn map(name: &str) -> Target {
    Target::object(CONFIG_MAPS, Some("default"), name)
}

#[tokio::test]
async fn a_cluster_begins() {
    let cluster = Cluster::start().await;
    let of = |group: &'static str, version: &'static str, resource: &'static str, namespace: Option<&str>, name: &str| {
        Target::object(GroupVersionResource::constant(group, version, resource), namespace, name)
    };
    let service = cluster.get(&of("", "v1", "services", Some("default"), "kubernetes")).await.unwrap();
    assert_eq!(service.str_at(&["spec", "clusterIP"]), "10.96.0.1");
    let slice = cluster.get(&of("discovery.k8s.io", "v1", "endpointslices", Some("default"), "kubernetes")).await.unwrap();
    assert_eq!(slice["ports"][0]["port"], json!(cluster.server.address().port()));
    for target in [
        of("scheduling.k8s.io", "v1", "priorityclasses", None, "system-node-critical"),
        of("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", None, "catch-all"),
        of("", "v1", "namespaces", None, "kube-node-lease"),
        of("rbac.authorization.k8s.io", "v1", "rolebindings", Some("kube-system"), "system::leader-locking-kube-scheduler"),
    ] {
        cluster.get(&target).await.unwrap_or_else(|e| panic!("{}: {e}", target.path()));
    }
    // Aggregated: admin has what edit has, which has its own.
    let admin = Target::object(ROLES, None, "admin");
    let has = |o: Option<&Object>, resource: &str| {
        o.is_some_and(|o| o.list_at(&["rules"]).iter().any(|r| r.list_at(&["resources"]).iter().any(|x| x == resource)))
    };
    cluster.until(&admin, |o| has(o, "rolebindings") && has(o, "pods/eviction")).await;
}

#[tokio::test]
async fn namespaces_are_furnished_and_emptied() {
    let cluster = Cluster::start().await;
    cluster.create(NAMESPACES, "", namespace("a")).await;
    cluster.until(&Target::object(ACCOUNTS, Some("a"), "default"), |o| o.is_some()).await;
    let bundle = Target::object(CONFIG_MAPS, Some("a"), "kube-root-ca.crt");
    cluster.until(&bundle, |o| o.is_some()).await;
    cluster.client.patch(&bundle, Patch::Merge(json!({"data": {"ca.crt": "forged"}})), &WriteOptions::default()).await.unwrap();
    cluster.until(&bundle, |o| o.is_some_and(|o| o.str_at(&["data", "ca.crt"]) == cluster.server.pki().ca_pem())).await;
    let mut held = config_map("held", &[]);
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    cluster.create(CONFIG_MAPS, "a", held).await;
    let target = Target::object(NAMESPACES, None, "a");
    cluster.delete(&target, "").await;
    let condition = |o: &Object, kind: &str| o.list_at(&["status", "conditions"]).iter().find(|c| c["type"] == kind).map(|c| c["status"].clone());
    cluster.until(&target, |o| o.is_some_and(|o| condition(o, "NamespaceFinalizersRemaining") == Some(json!("True")))).await;
    let held = Target::object(CONFIG_MAPS, Some("a"), "held");
    cluster.client.patch(&held, Patch::Merge(json!({"metadata": {"finalizers": null}})), &WriteOptions::default()).await.unwrap();
    cluster.until(&target, |o| o.is_none()).await;
    assert_eq!(cluster.get(&held).await.unwrap_err().reason, Reason::NotFound);
}

#[tokio::test]
async fn dependents_follow_their_owner() {
    let cluster = Cluster::start().await;
    let owner = cluster.create(CONFIG_MAPS, "default", config_map("owner", &[])).await;
    let other = cluster.create(CONFIG_MAPS, "default", config_map("other", &[])).await;
    let child = cluster.create(CONFIG_MAPS, "default", config_map("child", &[(&owner, false)])).await;
    cluster.create(CONFIG_MAPS, "default", config_map("grandchild", &[(&child, false)])).await;
    cluster.create(CONFIG_MAPS, "default", config_map("shared", &[(&owner, false), (&other, false)])).await;
    cluster.delete(&map("owner"), "Background").await;
    cluster.until(&map("grandchild"), |o| o.is_none()).await;
    cluster.until(&map("shared"), |o| o.is_some_and(|o| o.list_at(&["metadata", "ownerReferences"]).len() == 1)).await;
    // An owner that never was.
    let ghost = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner", "uid": "not-this-one"}});
    cluster.create(CONFIG_MAPS, "default", config_map("lost", &[(&ghost, false)])).await;
    cluster.until(&map("lost"), |o| o.is_none()).await;
}

#[tokio::test]
async fn foreground_waits_and_orphans_stay() {
    let cluster = Cluster::start().await;
    let owner = cluster.create(CONFIG_MAPS, "default", config_map("owner", &[])).await;
    let mut child = config_map("child", &[(&owner, true)]);
    child["metadata"]["finalizers"] = json!(["example.com/hold"]);
    cluster.create(CONFIG_MAPS, "default", child).await;
    cluster.delete(&map("owner"), "Foreground").await;
    cluster.until(&map("child"), |o| o.is_some_and(ObjectExt::is_being_deleted)).await;
    assert!(cluster.get(&map("owner")).await.unwrap().is_being_deleted(), "the owner waits for its blocking dependent");
    cluster.client.patch(&map("child"), Patch::Merge(json!({"metadata": {"finalizers": null}})), &WriteOptions::default()).await.unwrap();
    cluster.until(&map("owner"), |o| o.is_none()).await;

    let parent = cluster.create(CONFIG_MAPS, "default", config_map("parent", &[])).await;
    cluster.create(CONFIG_MAPS, "default", config_map("orphan", &[(&parent, true)])).await;
    cluster.delete(&map("parent"), "Orphan").await;
    cluster.until(&map("parent"), |o| o.is_none()).await;
    let orphan = cluster.get(&map("orphan")).await.unwrap();
    assert!(orphan.list_at(&["metadata", "ownerReferences"]).is_empty());
}

#[tokio::test]
async fn a_circle_of_owners_ends() {
    let cluster = Cluster::start().await;
    let first = cluster.create(CONFIG_MAPS, "default", config_map("first", &[])).await;
    let second = cluster.create(CONFIG_MAPS, "default", config_map("second", &[(&first, true)])).await;
    let third = cluster.create(CONFIG_MAPS, "default", config_map("third", &[(&second, true)])).await;
    let closing = config_map("first", &[(&third, true)])["metadata"]["ownerReferences"].clone();
    let patch = Patch::Merge(json!({"metadata": {"ownerReferences": closing}}));
    cluster.client.patch(&map("first"), patch, &WriteOptions::default()).await.unwrap();
    cluster.delete(&map("first"), "Foreground").await;
    for name in ["first", "second", "third"] {
        cluster.until(&map(name), |o| o.is_none()).await;
    }
}

#[tokio::test]
async fn tokens_in_secrets() {
    let cluster = Cluster::start().await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}});
    cluster.create(ACCOUNTS, "default", account).await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "bot-token", "annotations": {"kubernetes.io/service-account.name": "bot"}}});
    cluster.create(SECRETS, "default", secret).await;
    let target = Target::object(SECRETS, Some("default"), "bot-token");
    let filled = cluster.until(&target, |o| o.is_some_and(|o| !o.str_at(&["data", "token"]).is_empty())).await.unwrap();
    let token = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, filled.str_at(&["data", "token"])).unwrap();
    let token = String::from_utf8(token).unwrap();
    let identity = cluster.server.auth().authenticate_token(&token, &cluster.server.auth().settings.audiences).unwrap();
    assert_eq!(identity.user.name, "system:serviceaccount:default:bot");
    cluster.delete(&Target::object(ACCOUNTS, Some("default"), "bot"), "").await;
    cluster.until(&target, |o| o.is_none()).await;
    assert!(cluster.server.auth().authenticate_token(&token, &cluster.server.auth().settings.audiences).is_err());
}

#[tokio::test]
async fn certificates_are_signed_once_approved() {
    let cluster = Cluster::start().await;
    let requests = GroupVersionResource::constant(crate::auth::certificate_request::GROUP, "v1", "certificatesigningrequests");
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "ann");
    let pem = params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    let object = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "ann"},
        "spec": {"request": bootstrap::encode(pem), "signerName": crate::auth::certificate_request::CLIENT, "usages": ["client auth"], "expirationSeconds": 3600}});
    let mut made = cluster.create(requests.clone(), "", object).await;
    made["status"]["conditions"] = json!([{"type": "Approved", "status": "True", "reason": "Test", "message": "for the test"}]);
    let target = Target::object(requests, None, "ann");
    cluster.client.update(&target.clone().subresource("approval"), made, &WriteOptions::default()).await.unwrap();
    let signed = cluster.until(&target, |o| o.is_some_and(|o| !o.str_at(&["status", "certificate"]).is_empty())).await.unwrap();
    let pem = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, signed.str_at(&["status", "certificate"])).unwrap();
    let der = <rustls_pki_types::CertificateDer<'_> as rustls_pki_types::pem::PemObject>::from_pem_slice(&pem).unwrap();
    assert_eq!(crate::auth::authn::user_of_certificate(&der).unwrap().name, "ann");
}

#[tokio::test]
async fn quotas_are_counted() {
    let cluster = Cluster::start().await;
    let quota =
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "5", "count/secrets": "2"}}});
    cluster.create(QUOTAS, "kube-public", quota).await;
    let target = Target::object(QUOTAS, Some("kube-public"), "q");
    let used = |o: Option<&Object>, name: &str| o.map(|o| o.str_at(&["status", "used", name]).to_owned()).unwrap_or_default();
    cluster.until(&target, |o| used(o, "configmaps") == "2" && used(o, "count/secrets") == "0").await;
    cluster.create(CONFIG_MAPS, "kube-public", config_map("one", &[])).await;
    cluster.until(&target, |o| used(o, "configmaps") == "3").await;
    let listed = cluster.client.list(&Target::collection(CONFIG_MAPS, Some("kube-public")), &ListOptions::default()).await.unwrap();
    assert_eq!(listed.items.len(), 3, "with kube-root-ca.crt and cluster-info");
}

#[tokio::test]
async fn an_ephemeral_volume_gets_a_claim_of_its_own() {
    const PODS: GroupVersionResource = GroupVersionResource::constant("", "v1", "pods");
    const CLAIMS: GroupVersionResource = GroupVersionResource::constant("", "v1", "persistentvolumeclaims");
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let pod = |name: &str| {
        let template = json!({"metadata": {"labels": {"for": name}}, "spec": spec});
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]}})
    };
    let of = |name: &str| Target::object(CLAIMS, Some("default"), name);
    let cluster = Cluster::start().await;
    cluster.until(&Target::object(ACCOUNTS, Some("default"), "default"), |o| o.is_some()).await;
    let taken = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "other-scratch"}, "spec": spec});
    let taken = cluster.create(CLAIMS, "default", taken).await;
    cluster.create(PODS, "default", pod("other")).await;
    let made = cluster.create(PODS, "default", pod("p")).await;
    let claim = cluster.until(&of("p-scratch"), |o| o.is_some()).await.unwrap();
    let owner = &claim["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["uid"], &owner["controller"]), (&json!("Pod"), &json!(made.uid()), &json!(true)));
    assert_eq!((&claim["metadata"]["labels"], &claim["spec"]["resources"]), (&json!({"for": "p"}), &json!({"requests": {"storage": "1Gi"}})));
    // The pod whose claim was there before waits, and the claim stays its maker's.
    assert_eq!(cluster.get(&of("other-scratch")).await.unwrap(), taken);
    cluster.delete(&Target::object(PODS, Some("default"), "p"), "").await;
    cluster.until(&of("p-scratch"), |o| o.is_none_or(|o| o.is_being_deleted())).await;
}
