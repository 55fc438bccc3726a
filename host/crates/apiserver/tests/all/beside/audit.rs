//! The audit log of a set of requests, event for event.

use std::path::Path;

use pintle_api::client::{Target, WriteOptions};
use pintle_api::{Client, GroupVersionResource};
use pintle_apiserver::audit::log::Mode;
use pintle_apiserver::auth::{Anonymous, User};
use serde_json::{Value, json};

use super::client::{AGENT, Caller, Place};
use super::upstream::Upstream;
use super::{compare, pintle, recorded};

const POLICY: &str = include_str!("policy.yaml");
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const MAPS: &str = "/api/v1/namespaces/audited/configmaps";
const ACCOUNTS: &str = "/api/v1/namespaces/audited/serviceaccounts";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/audited/deployments";
const DEPLOYMENT: &str = r#"{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}},
    "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}"#;

struct Users {
    admin: Caller,
    ann: Caller,
    quiet: Caller,
    nobody: Caller,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_upstreams() {
    let dir = tempfile::tempdir().unwrap();
    let (policy, log) = (dir.path().join("policy.yaml"), dir.path().join("audit.log"));
    std::fs::write(&policy, POLICY).unwrap();
    let (server, place) = pintle(dir.path(), |config| {
        config.audit.policy_file = Some(policy);
        config.audit.log.path = log.clone();
        config.audit.log.mode = Mode::Batch;
        config.anonymous = Anonymous::On;
    })
    .await;
    requests(&place).await;
    server.shutdown().await.unwrap();
    compare("audit", &shown(&log));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_plugins_do_is_written_down_too() {
    let dir = tempfile::tempdir().unwrap();
    let (policy, log) = (dir.path().join("policy.yaml"), dir.path().join("audit.log"));
    std::fs::write(&policy, POLICY).unwrap();
    let (server, _) = pintle(dir.path(), |config| {
        config.audit.policy_file = Some(policy);
        config.audit.log.path = log.clone();
    })
    .await;
    let target = Target::object(GroupVersionResource::constant("", "v1", "secrets"), Some("default"), "s");
    server.local_client(User::plugin("p")).get(&target).await.unwrap_err();
    let grants = json!({"apiVersion": "pintle.dev/v1alpha1", "kind": "Plugin", "metadata": {"name": "p"}, "spec": {
        "world": "controller", "source": {"inline": "AA=="}, "grants": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}});
    let plugins = Target::collection(GroupVersionResource::constant("pintle.dev", "v1alpha1", "plugins"), None);
    server.local_client(User::loopback()).create(&plugins, grants, &WriteOptions::default()).await.unwrap();
    server.local_client(User::plugin("p")).get(&target).await.unwrap_err();
    server.shutdown().await.unwrap();
    let text = std::fs::read_to_string(&log).unwrap();
    let of_plugin =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).filter(|e| e["user"]["username"] == "system:pintle:plugin:p");
    let shown: Vec<String> = of_plugin.map(|e| format!("{} {} {}", e["requestURI"], e["responseStatus"]["code"], e["annotations"])).collect();
    let expected = [
        r#""/api/v1/namespaces/default/secrets/s" 403 {"authorization.k8s.io/decision":"forbid","authorization.k8s.io/reason":""}"#,
        r#""/api/v1/namespaces/default/secrets/s" 404 {"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"allowed by the grants of Plugin \"p\""}"#,
    ];
    assert_eq!(shown, expected);
}

#[tokio::test]
#[ignore = "writes down what upstream does"]
async fn record() {
    let dir = tempfile::tempdir().unwrap();
    let (policy, log) = (dir.path().join("policy.yaml"), dir.path().join("audit.log"));
    std::fs::write(&policy, POLICY).unwrap();
    let flags = [("--audit-policy-file", &policy), ("--audit-log-path", &log)].map(|(flag, path)| format!("{flag}={}", path.display()));
    let upstream = Upstream::start(dir.path(), &flags).await;
    requests(&upstream.place).await;
    std::fs::write(recorded("audit"), shown(&log)).unwrap();
}

async fn requests(place: &Place) {
    let mut users = Users {
        admin: place.caller(&["admin", "system:masters"]).await,
        ann: place.caller(&["ann", "dev"]).await,
        quiet: place.caller(&["quiet", "system:masters"]).await,
        nobody: place.caller(&[]).await,
    };
    let admin = &mut users.admin;
    admin.ask("POST", "/api/v1/namespaces", JSON, r#"{"metadata": {"name": "audited"}}"#).await;
    objects(admin).await;
    streams_and_lists(admin).await;
    deployments(admin).await;
    pods(admin).await;
    policies(&mut users).await;
    others(&mut users).await;
}

/// A policy that annotates, whose binding warns and audits, and one whose binding refuses.
async fn policies(users: &mut Users) {
    const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
    let matching = r#""matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}]}"#;
    let policy = |name: &str, validation: &str, annotations: &str| {
        format!(
            r#"{{"metadata": {{"name": "{name}"}}, "spec": {{{matching}, "validations": [{{"expression": "true"}}, {validation}], "auditAnnotations": [{annotations}]}}}}"#
        )
    };
    let binding = |name: &str, actions: &str| {
        let chosen = r#""matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ruled"}}}"#;
        format!(r#"{{"metadata": {{"name": "{name}-here"}}, "spec": {{"policyName": "{name}", {chosen}, "validationActions": [{actions}]}}}}"#)
    };
    let noted = r#"{"key": "named", "valueExpression": "'made ' + object.metadata.name"}, {"key": "never", "valueExpression": "null"}"#;
    let quiet = &mut users.quiet;
    quiet.ask("POST", "/api/v1/namespaces", JSON, r#"{"metadata": {"name": "ruled"}}"#).await;
    let short = r#"{"expression": "object.metadata.name.size() < 4", "message": "too long"}"#;
    let dotless = r#"{"expression": "!object.metadata.name.contains('.')", "messageExpression": "'no dots in ' + object.metadata.name"}"#;
    for (name, validation, annotations, actions) in [("short", short, noted, r#""Warn", "Audit""#), ("dotless", dotless, "", r#""Deny""#)] {
        quiet.ask("POST", &format!("{GROUP}/validatingadmissionpolicies"), JSON, &policy(name, validation, annotations)).await;
        quiet.ask("POST", &format!("{GROUP}/validatingadmissionpolicybindings"), JSON, &binding(name, actions)).await;
    }
    let maps = "/api/v1/namespaces/ruled/configmaps";
    let map = |name: &str| format!(r#"{{"metadata": {{"name": "{name}"}}}}"#);
    // Upstream takes a moment to act on them.
    let until_they_act = async {
        loop {
            let answer = quiet.ask("POST", &format!("{maps}?dryRun=All"), JSON, &map("long.and-dotted")).await;
            if answer.code == 422 && answer.headers.contains_key("warning") {
                break;
            }
        }
    };
    tokio::time::timeout(super::LIMIT, until_they_act).await.expect("the policies act in time");
    for name in ["abc", "abcde", "a.b", "abc.de"] {
        users.admin.ask("POST", maps, JSON, &map(name)).await;
    }
}

/// Whose namespace is of one mind about what is refused and of another about what is written down.
async fn pods(admin: &mut Caller) {
    let labels = r#"{"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/audit": "restricted"}"#;
    admin.ask("POST", "/api/v1/namespaces", JSON, &format!(r#"{{"metadata": {{"name": "secured", "labels": {labels}}}}}"#)).await;
    admin.ask("POST", "/api/v1/namespaces/secured/serviceaccounts", JSON, r#"{"metadata": {"name": "sa"}}"#).await;
    for (name, more) in [("plain", ""), ("on-host", r#""hostNetwork": true, "#)] {
        let pod = format!(
            r#"{{"metadata": {{"name": "{name}"}}, "spec": {{{more}"serviceAccountName": "sa", "containers": [{{"name": "c", "image": "i"}}]}}}}"#
        );
        admin.ask("POST", "/api/v1/namespaces/secured/pods", JSON, &pod).await;
    }
    admin.ask("POST", "/apis/apps/v1/namespaces/secured/deployments", JSON, DEPLOYMENT).await;
}

async fn objects(admin: &mut Caller) {
    let map =
        |name: &str, value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": value}}).to_string();
    let (one, of) = (format!("{MAPS}/one"), |name: &str| format!("{MAPS}/{name}"));
    admin.ask("POST", MAPS, JSON, &map("one", "1")).await;
    admin.ask("POST", &format!("{MAPS}?dryRun=All&fieldManager=me"), JSON, &map("dry", "1")).await;
    admin.ask("POST", MAPS, JSON, &map("one", "1")).await;
    admin.ask("POST", MAPS, JSON, &map("Not-A-Name", "1")).await;
    admin.ask("POST", MAPS, JSON, r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "made-"}}"#).await;
    admin.ask("POST", MAPS, "application/yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: yaml}}").await;
    admin.ask("GET", &one, "", "").await;
    admin.ask("HEAD", &one, "", "").await;
    admin.ask("GET", &of("none"), "", "").await;
    admin.ask("PUT", &one, JSON, &map("one", "2")).await;
    admin.ask("PUT", &of("none"), JSON, &map("none", "2")).await;
    admin.ask("PATCH", &one, MERGE, r#"{"data": {"k": "3"}}"#).await;
    admin.ask("PATCH", &one, "application/strategic-merge-patch+json", r#"{"data": {"l": "4"}}"#).await;
    admin.ask("PATCH", &one, "application/json-patch+json", r#"[{"op": "remove", "path": "/data/l"}]"#).await;
    // In JSON: upstream loses the event of a patch that is YAML.
    let apply = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"k": "v"}}"#;
    admin.ask("PATCH", &format!("{}?fieldManager=me", of("applied")), "application/apply-patch+yaml", apply).await;
    admin.ask("DELETE", &of("yaml"), "", "").await;
    admin.ask("DELETE", &of("applied"), JSON, r#"{"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}"#).await;
    admin.ask("DELETE", &of("none"), "", "").await;
}

async fn streams_and_lists(admin: &mut Caller) {
    admin.ask("GET", &format!("{MAPS}?fieldSelector=metadata.name%3Done&limit=5"), "", "").await;
    let table = "application/json;as=Table;g=meta.k8s.io;v=v1";
    admin.with(&[("accept", table)]).ask("GET", &format!("{MAPS}/one?includeObject=None"), "", "").await;
    let metadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    admin.with(&[("accept", metadata)]).ask("GET", &format!("{MAPS}/one"), "", "").await;
    admin.with(&[("accept", "application/yaml")]).ask("GET", &format!("{MAPS}/one"), "", "").await;
    admin.with(&[("accept", "application/vnd.kubernetes.protobuf")]).ask("GET", &format!("{MAPS}/one"), "", "").await;
    admin.ask("GET", &format!("{MAPS}?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Done"), "", "").await;
    admin.ask("GET", "/api/v1/watch/namespaces/audited/secrets?timeoutSeconds=1", "", "").await;
    admin.ask("GET", "/api/v1/configmaps?limit=1&fieldSelector=metadata.name%3Done", "", "").await;
    admin.ask("DELETE", &format!("{MAPS}?labelSelector=no%3Dthing"), "", "").await;
}

async fn deployments(admin: &mut Caller) {
    admin.ask("POST", DEPLOYMENTS, JSON, DEPLOYMENT).await;
    admin.ask("PATCH", &format!("{DEPLOYMENTS}/d/scale"), MERGE, r#"{"spec": {"replicas": 0}}"#).await;
    admin.ask("GET", &format!("{DEPLOYMENTS}/d/scale"), "", "").await;
    admin.ask("PATCH", &format!("{DEPLOYMENTS}/d/status"), MERGE, r#"{"status": {"observedGeneration": 1}}"#).await;
    admin.ask("DELETE", &format!("{DEPLOYMENTS}/d"), "", "").await;
}

async fn others(users: &mut Users) {
    let Users { admin, ann, quiet, nobody } = users;
    // Someone without a right, and with one by a role binding, as a user, group and service account.
    let secrets = "/api/v1/namespaces/audited/secrets";
    ann.ask("GET", secrets, "", "").await;
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/audited";
    let role = r#"{"metadata": {"name": "reads"}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}]}"#;
    admin.ask("POST", &format!("{roles}/roles"), JSON, role).await;
    let binding = r#"{"metadata": {"name": "dev-reads"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reads"}, "subjects": [
        {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "dev"}, {"kind": "ServiceAccount", "name": "bot", "namespace": "audited"}]}"#;
    admin.ask("POST", &format!("{roles}/rolebindings"), JSON, binding).await;
    wait_for_right(ann, secrets).await;
    ann.ask("GET", &format!("{secrets}/none"), "", "").await;
    let access = r#"{"spec": {"resourceAttributes": {"namespace": "audited", "verb": "get", "resource": "pods"}}}"#;
    ann.ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", JSON, access).await;
    // Impersonation.
    admin.with(&[("impersonate-user", "ann")]).ask("GET", &format!("{MAPS}/one"), "", "").await;
    let bob = [("impersonate-user", "bob"), ("impersonate-group", "dev"), ("impersonate-extra-acme.io%2Fscopes", "few"), ("impersonate-uid", "7")];
    admin.with(&bob).ask("GET", &format!("{secrets}/none"), "", "").await;
    admin.with(&[("impersonate-user", "system:serviceaccount:audited:bot")]).ask("GET", &format!("{secrets}/none"), "", "").await;
    ann.with(&[("impersonate-user", "admin")]).ask("GET", secrets, "", "").await;
    // Credentials that are none.
    nobody.with(&[("authorization", "Bearer none")]).ask("GET", secrets, "", "").await;
    nobody.with(&[("authorization", "Basic bm9uZTpub25l")]).ask("GET", secrets, "", "").await;
    // Tokens.
    admin.ask("POST", ACCOUNTS, JSON, r#"{"metadata": {"name": "bot"}}"#).await;
    admin.ask("POST", &format!("{ACCOUNTS}/bot/token"), JSON, r#"{"spec": {"expirationSeconds": 3600, "audiences": ["vault"]}}"#).await;
    // Nothing of that name, nothing that can be read, nothing at all.
    admin.ask("GET", "/api/v1/namespaces/audited/nothings", "", "").await;
    admin.ask("POST", MAPS, "text/plain", "a").await;
    quiet.ask("GET", secrets, "", "").await;
    admin.ask("GET", "/version", "", "").await;
    admin.ask("GET", "/apis", "", "").await;
    admin.ask("GET", "/openid/v1/jwks", "", "").await;
    // The client's own id, which it gets back, and where it says it comes from.
    let id = [("audit-id", "of-the-client"), ("x-forwarded-for", "192.0.2.1"), ("x-real-ip", "192.0.2.2")];
    let answer = admin.with(&id).ask("GET", &format!("{secrets}/none"), "", "").await;
    assert_eq!(answer.headers["audit-id"], "of-the-client");
}

/// Upstream's authorizer learns of a binding some time after it was written. The attempts stand in neither log.
async fn wait_for_right(caller: &Caller, uri: &str) {
    let began = std::time::Instant::now();
    while caller.with(&[("x-forwarded-for", "192.0.2.9")]).ask("GET", uri, "", "").await.code != 200 {
        assert!(began.elapsed() < super::LIMIT, "the right did not come");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// The events of these requests, without what differs from one run to the next.
fn shown(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ours = events.filter(|event| event["userAgent"] == AGENT && event["sourceIPs"][0] != "192.0.2.9" && event["requestURI"] != "/readyz");
    let ours = ours.filter(|event| event["objectRef"]["name"] != "system:basic-user");
    ours.map(|mut event| {
        normalise(&mut event);
        event.to_string() + "\n"
    })
    .collect()
}

fn normalise(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // Columns are described in other words, and ages are what they are.
            fields.remove("description");
            fields.remove("cells");
            // Upstream writes the name of its internal version.
            if fields.get("kind") == Some(&json!("DeleteOptions")) {
                fields.remove("apiVersion");
            }
            // Items of a list have no kind of their own upstream; here they are what a get answers.
            for item in fields.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
                for name in ["kind", "apiVersion"] {
                    item.as_object_mut().map(|item| item.remove(name));
                }
            }
            for (key, value) in fields.iter_mut() {
                let changes = matches!(key.as_str(), "auditID" if *value != "of-the-client");
                let varies = matches!(key.as_str(), "uid" | "resourceVersion" | "token" | "creationTimestamp" | "expirationTimestamp")
                    || key.ends_with("Timestamp")
                    || key.ends_with("credential-id");
                match value {
                    Value::String(text) if (changes || varies) && !text.is_empty() && *text != "7" => *text = "*".to_owned(),
                    Value::Array(items) if varies => *items = vec![json!("*")],
                    Value::String(text) if text.starts_with("made-") => *text = "made-*".to_owned(),
                    other => normalise(other),
                }
            }
            // Go writes zero values that say nothing.
            fields.retain(|_, v| !(v.is_null() || *v == json!({}) || *v == json!("")));
        }
        Value::Array(items) => items.iter_mut().for_each(normalise),
        _ => {}
    }
}
