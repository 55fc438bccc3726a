//! The chain of authorizers and the ways of authentication, over a cluster of literals.

use std::sync::Arc;

use std::collections::HashMap;

use pintle_api::object::ObjectExt;
use serde_json::json;

use super::*;

/// Objects by resource, namespace and name.
#[derive(Default)]
struct Cluster(HashMap<(String, String, String), Object>);

impl Lookup for Cluster {
    fn get(&self, resource: &GroupVersionResource, namespace: Option<&str>, name: &str) -> Option<Arc<Object>> {
        self.0.get(&(resource.resource.to_string(), namespace.unwrap_or_default().to_owned(), name.to_owned())).cloned().map(Arc::new)
    }
    fn list(&self, _: &GroupVersionResource, _: Option<&str>) -> Vec<Arc<Object>> {
        Vec::new()
    }
}

fn auth(objects: &[(&str, Object)]) -> (Arc<Auth>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let names = ServerNames { advertise: [127, 0, 0, 1].into(), service: [10, 96, 0, 1].into(), extra: vec![] };
    let pki = Arc::new(Pki::load_or_create(dir.path(), &names).unwrap());
    let issuer = "https://kubernetes.default.svc.cluster.local".to_owned();
    let settings =
        Settings { issuer: issuer.clone(), audiences: vec![issuer], external_url: "https://127.0.0.1:6443".into(), anonymous: Anonymous::health() };
    let mut cluster = Cluster::default();
    for (resource, object) in objects {
        cluster.0.insert(((*resource).to_owned(), object.namespace().to_owned(), object.name().to_owned()), object.clone());
    }
    let auth = Auth::new(pki, settings, Arc::new(cluster), &[]).unwrap();
    for (resource, object) in objects {
        auth.observe("", resource, object.namespace(), object.name(), Some(object));
    }
    (auth, dir)
}

fn account() -> Object {
    json!({"metadata": {"name": "bot", "namespace": "a", "uid": "sa-uid"}})
}

fn pod(uid: &str) -> Object {
    json!({"metadata": {"name": "p", "namespace": "a", "uid": uid}, "spec": {
        "serviceAccountName": "bot", "nodeName": "n1",
        "containers": [{"envFrom": [{"secretRef": {"name": "s1"}}]}], "volumes": [{"configMap": {"name": "c1"}}]}})
}

fn with_bearer(auth: &Auth, token: &str) -> Result<Arc<User>, Status> {
    let request = ::http::Request::builder().header("authorization", format!("Bearer {token}")).body(()).unwrap();
    auth.authenticate(&request.into_parts().0, &[])
}

fn request_token(auth: &Auth, spec: serde_json::Value) -> Result<String, Status> {
    let made = token_request::create(auth, "a", "bot", json!({"spec": spec}), jiff::Timestamp::now())?;
    Ok(made.str_at(&["status", "token"]).to_owned())
}

#[test]
fn a_pods_token_lives_and_dies_with_the_pod() {
    let (first, _dir) = auth(&[("serviceaccounts", account()), ("pods", pod("u1"))]);
    let token = request_token(&first, json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u1"}})).unwrap();
    let user = with_bearer(&first, &token).unwrap();
    assert_eq!(user.name, "system:serviceaccount:a:bot");
    assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]);
    assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
    // The same key over a cluster where the pod is another one.
    let (second, _dir2) = auth(&[("serviceaccounts", account()), ("pods", pod("u2"))]);
    let transplanted = Auth {
        pki: first.pki.clone(),
        tokens: Tokens::new(&first.pki.service_account_key, &first.settings.issuer).unwrap(),
        rbac: RbacIndex::default(),
        nodes: NodeIndex::default(),
        settings: first.settings.clone(),
        objects: second.objects.clone(),
        certificates: authn::Certificates::default(),
        oidc: Default::default(),
        impersonations: Default::default(),
        plugins: RwLock::default(),
    };
    assert_eq!(with_bearer(&transplanted, &token).unwrap_err().code, 401);
    assert_eq!(with_bearer(&second, &token).unwrap_err().code, 401, "signed by another cluster");
}

#[test]
fn token_requests_are_checked() {
    let (auth, _dir) = auth(&[("serviceaccounts", account()), ("pods", pod("u1"))]);
    assert_eq!(request_token(&auth, json!({"expirationSeconds": 10})).unwrap_err().code, 422);
    let wrong = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "other"}});
    assert_eq!(request_token(&auth, wrong).unwrap_err().code, 409);
    let vault = request_token(&auth, json!({"audiences": ["vault"]})).unwrap();
    assert_eq!(with_bearer(&auth, &vault).unwrap_err().code, 401, "for another audience");
    let review = |audiences: serde_json::Value| {
        reviews::token_review(&auth, json!({"spec": {"token": vault, "audiences": audiences}})).unwrap()["status"]["authenticated"].clone()
    };
    assert_eq!(review(json!(["vault", "x"])), json!(true));
    assert_eq!(review(json!(["x"])), json!(null));
}

#[test]
fn bootstrap_tokens() {
    let secret = |expiration: &str| {
        let encode = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
        json!({"metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"}, "type": "bootstrap.kubernetes.io/token", "data": {
            "token-id": encode("abcdef"), "token-secret": encode("0123456789abcdef"), "expiration": encode(expiration),
            "usage-bootstrap-authentication": encode("true"), "auth-extra-groups": encode("system:bootstrappers:x")}})
    };
    let (live, _dir) = auth(&[("secrets", secret("2199-01-01T00:00:00Z"))]);
    let user = with_bearer(&live, "abcdef.0123456789abcdef").unwrap();
    assert_eq!(
        (user.name.as_str(), user.groups.join(" ").as_str()),
        ("system:bootstrap:abcdef", "system:bootstrappers system:bootstrappers:x system:authenticated")
    );
    assert!(with_bearer(&live, "abcdef.0123456789abcdee").is_err());
    let (dead, _dir) = auth(&[("secrets", secret("2001-01-01T00:00:00Z"))]);
    assert!(with_bearer(&dead, "abcdef.0123456789abcdef").is_err());
}

#[test]
fn certificates_name_their_user() {
    let (auth, _dir) = auth(&[]);
    let (chain, _) = auth.pki.issue_node_client("n1").unwrap().der().unwrap();
    let parts = ::http::Request::new(()).into_parts().0;
    let user = auth.authenticate(&parts, &chain).unwrap();
    assert_eq!((user.name.as_str(), user.groups.join(" ").as_str()), ("system:node:n1", "system:nodes system:authenticated"));
    let anonymously = |path: &str| auth.authenticate(&::http::Request::get(path).body(()).unwrap().into_parts().0, &[]);
    assert_eq!(*anonymously("/livez").unwrap(), User::anonymous());
    assert_eq!(anonymously("/livez/ping").unwrap_err().code, 401);
    assert_eq!(anonymously("/api/v1/pods").unwrap_err().code, 401);
}

#[test]
fn nodes_reach_what_their_pods_need() {
    let (auth, _dir) = auth(&[("pods", pod("u1"))]);
    let node = |name: &str| User { name: format!("system:node:{name}"), groups: vec!["system:nodes".into()], ..User::default() };
    let may = |user: &User, verb: &str, resource: &str, name: &str| {
        auth.authorize(&Attributes::of_resource(user, verb, "", "v1", resource, if resource == "nodes" { "" } else { "a" }, name)) == Decision::Allow
    };
    let (n1, n2) = (node("n1"), node("n2"));
    assert!(may(&n1, "get", "secrets", "s1") && may(&n1, "watch", "configmaps", "c1") && may(&n1, "get", "serviceaccounts", "bot"));
    assert!(!may(&n2, "get", "secrets", "s1") && !may(&n1, "get", "secrets", "s2") && !may(&n1, "list", "secrets", ""));
    assert!(!may(&n1, "update", "secrets", "s1") && may(&n1, "get", "nodes", "n1") && !may(&n1, "get", "nodes", "n2"));
    let mut listing = Attributes::of_resource(&n1, "list", "", "v1", "pods", "", "");
    assert_ne!(auth.authorize(&listing), Decision::Allow);
    listing.field_selector = "spec.nodeName=n1";
    assert_eq!(auth.authorize(&listing), Decision::Allow);
    let token = Attributes::of_resource(&n1, "create", "", "v1", "serviceaccounts", "a", "bot").with_subresource("token");
    assert_eq!(auth.authorize(&token), Decision::Allow);
    auth.observe("", "pods", "a", "p", None);
    assert!(!may(&n1, "get", "secrets", "s1"));
}

#[test]
fn plugins_have_their_grants() {
    let (auth, _dir) = auth(&[]);
    let grants = json!({"spec": {"grants": [
        {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["create"], "namespaces": ["a"]}]}});
    auth.observe(PLUGIN_GROUP, "plugins", "", "rs", Some(&grants));
    let user = User::plugin("rs");
    let may = |verb: &str, group: &str, resource: &str, namespace: &str| {
        auth.authorize(&Attributes::of_resource(&user, verb, group, "v1", resource, namespace, "")) == Decision::Allow
    };
    assert!(may("get", "apps", "replicasets", "b") && may("create", "", "pods", "a"));
    assert!(!may("create", "", "pods", "b") && !may("delete", "apps", "replicasets", "b"));
    auth.observe(PLUGIN_GROUP, "plugins", "", "rs", None);
    assert!(!may("get", "apps", "replicasets", "b"));
}

#[test]
fn refusals_in_upstreams_words() {
    let user = User { name: "x".into(), ..User::default() };
    let of =
        |group, resource, namespace, name| forbidden(&Attributes::of_resource(&user, "list", group, "v1", resource, namespace, name), "").message;
    assert_eq!(
        of("", "pods", "default", ""),
        "pods is forbidden: User \"x\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    assert_eq!(
        of("apps", "deployments", "", "web"),
        "deployments.apps \"web\" is forbidden: User \"x\" cannot list resource \"deployments\" in API group \"apps\" at the cluster scope"
    );
    assert_eq!(forbidden(&Attributes::of_path(&user, "get", "/a"), "").message, "forbidden: User \"x\" cannot get path \"/a\"");
}

#[test]
fn reviews_answer_for_the_user() {
    let (auth, _dir) = auth(&[]);
    let role = json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    auth.observe(rbac::GROUP, "clusterroles", "", "r", Some(&role));
    let binding = json!({"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "User", "name": "ann"}]});
    auth.observe(rbac::GROUP, "clusterrolebindings", "", "b", Some(&binding));
    let ann = User { name: "ann".into(), ..User::default() };
    let ask = |verb: &str| {
        let spec = json!({"spec": {"resourceAttributes": {"verb": verb, "resource": "pods", "namespace": "a"}}});
        reviews::review(&auth, "selfsubjectaccessreviews", "", &ann, spec).unwrap()["status"].clone()
    };
    let reason = r#"RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to User "ann""#;
    assert_eq!((ask("get"), ask("delete")), (json!({"allowed": true, "reason": reason}), json!({"allowed": false})));
    let rules = reviews::review(&auth, "selfsubjectrulesreviews", "", &ann, json!({"spec": {"namespace": "a"}})).unwrap();
    assert_eq!(rules["status"]["resourceRules"], json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]));
    let whole = reviews::review(&auth, "subjectaccessreviews", "", &ann, json!({"spec": {"resourceAttributes": {"verb": "get"}}}));
    assert_eq!(whole.unwrap_err().code, 422);
}
