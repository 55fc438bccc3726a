//! Admission policies as components, through the real API server: a Plugin object in, refused and changed writes out.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use pintle_api::client::{DeleteOptions, ListOptions, Patch, Target, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{Client, GroupVersionResource, Status};
use pintle_apiserver::auth::User;
use pintle_apiserver::{Config, Server, Storage};
use pintle_plugins::{Handle, Manager, ManagerConfig};
use serde_json::{Value, json};

const PLUGINS: GroupVersionResource = GroupVersionResource::constant("pintle.dev", "v1alpha1", "plugins");
const NAMESPACES: GroupVersionResource = GroupVersionResource::constant("", "v1", "namespaces");
const CONFIG_MAPS: GroupVersionResource = GroupVersionResource::constant("", "v1", "configmaps");
const PODS: GroupVersionResource = GroupVersionResource::constant("", "v1", "pods");
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

struct Fixture {
    server: Arc<Server>,
    plugins: Option<Handle>,
    /// An administrator.
    client: Arc<dyn Client>,
    folder: tempfile::TempDir,
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().expect("a folder");
    let server = serve(folder.path(), Storage::Memory).await;
    let plugins = Some(start_plugins(&server, folder.path()));
    let client = administrator(&server);
    Fixture { server, plugins, client, folder }
}

async fn serve(folder: &Path, storage: Storage) -> Arc<Server> {
    let config = Config { storage, ..Config::new(folder, "127.0.0.1:0".parse().expect("an address")) };
    Arc::new(Server::start(config).await.expect("a server"))
}

fn administrator(server: &Arc<Server>) -> Arc<dyn Client> {
    let user = User { name: "admin".to_owned(), groups: vec!["system:masters".to_owned()], ..User::default() };
    Arc::new(server.local_client(user))
}

/// As `pintle server` does it.
fn start_plugins(server: &Arc<Server>, folder: &Path) -> Handle {
    let of_plugin = server.clone();
    let config = ManagerConfig {
        client: Arc::new(server.local_client(User {
            name: "system:pintle:plugin-manager".to_owned(),
            groups: vec!["system:authenticated".to_owned()],
            ..User::default()
        })),
        clients: Arc::new(move |plugin: &str| -> Arc<dyn Client> { Arc::new(of_plugin.local_client(User::plugin(plugin))) }),
        data_dir: folder.to_owned(),
        embedded: Vec::new(),
        compiler: None,
        required_keys: Vec::new(),
        ingress_addresses: Vec::new(),
    };
    let handle = Manager::start(config).expect("a manager");
    server.core().hooks.components.run_by(handle.admission());
    handle
}

/// An example of the SDK, or the crate under `examples/`, as a component.
fn component(arguments: &[&str], module: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO"))
        .current_dir(&root)
        .args(["build", "--quiet", "--target", "wasm32-unknown-unknown", "--profile", "plugin"])
        .args(arguments)
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let core = std::fs::read(target.join("wasm32-unknown-unknown/plugin").join(module)).expect("the core module");
    wit_component::ComponentEncoder::default().module(&core).expect("a module with its world").validate(true).encode().expect("a component")
}

fn probe() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        component(&["--package", "pintle-sdk", "--features", "admission", "--example", "probe_admission"], "examples/probe_admission.wasm")
    })
}

fn budget() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| component(&["--package", "namespace-budget", "--lib"], "namespace_budget.wasm"))
}

impl Fixture {
    async fn apply(&self, name: &str, bytes: &[u8], more: Value) {
        let inline = base64::engine::general_purpose::STANDARD.encode(bytes);
        let mut spec = json!({"world": "admission", "source": {"inline": inline}});
        more.as_object().into_iter().flatten().for_each(|(key, value)| spec[key] = value.clone());
        let plugin = json!({"apiVersion": "pintle.dev/v1alpha1", "kind": "Plugin", "metadata": {"name": name}, "spec": spec});
        self.client.create(&Target::collection(PLUGINS, None), plugin, &WriteOptions::default()).await.expect("a plugin");
        self.until_plugin(name, |p| p.list_at(&["status", "conditions"]).iter().any(|c| c["type"] == "Ready" && c["status"] == "True")).await;
    }

    async fn until_plugin(&self, name: &str, done: impl Fn(&Value) -> bool) {
        let begun = Instant::now();
        loop {
            let plugin = self.client.get(&Target::object(PLUGINS, None, name)).await.expect("the plugin").parse().expect("JSON");
            if done(&plugin) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{:#}", plugin["status"]);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn patch_plugin(&self, name: &str, patch: Value) {
        self.client.patch(&Target::object(PLUGINS, None, name), Patch::Merge(patch), &WriteOptions::default()).await.expect("a patch");
    }

    async fn namespace(&self, name: &str, annotations: Value) {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "annotations": annotations, "labels": {"name": name}}});
        self.client.create(&Target::collection(NAMESPACES, None), namespace, &WriteOptions::default()).await.expect("a namespace");
    }

    /// Makes a ConfigMap that asks the probe for something.
    async fn ask(&self, namespace: &str, name: &str, probe: &str) -> Result<Value, Status> {
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "annotations": {"probe": probe}}, "data": {"a": "b"}});
        let made = self.client.create(&Target::collection(CONFIG_MAPS, Some(namespace)), object, &WriteOptions::default()).await?;
        Ok(made.parse().expect("JSON"))
    }

    async fn refused(&self, name: &str, probe: &str) -> String {
        let status = self.ask("default", name, probe).await.expect_err("a refusal");
        format!("{} {:?} {}", status.code, status.reason, status.message)
    }

    async fn stop(self) {
        let Self { server, plugins, client, folder } = self;
        if let Some(plugins) = plugins {
            plugins.shutdown().await;
        }
        drop((client, server, folder));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_changes_and_refuses_what_its_rules_name() {
    let f = fixture().await;
    f.apply("p", probe(), json!({"grants": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]})).await;
    let labelled = f.ask("default", "a", "label").await.expect("made");
    assert_eq!(labelled["metadata"]["labels"], json!({"probe/label": "set"}));
    let whole = f.ask("default", "b", "who").await.expect("made");
    assert_eq!(whole["data"], json!({"a": "b", "who": "Create admin false"}));
    let denied = r#"403 Forbidden admission plugin "p" denied the request: asked to deny"#;
    assert_eq!(f.refused("c", "deny").await, denied);
    assert_eq!(f.refused("c", "validate:deny").await, denied);
    assert_eq!(f.refused("c", "teapot").await, r#"418 Unknown admission plugin "p" denied the request: short and stout"#);
    // A change where none may be made, and one that does not fit.
    assert!(f.refused("c", "validate:who").await.contains("it changes the object while validating"));
    assert!(f.refused("c", "patch").await.starts_with(r#"500 InternalError Internal error occurred: failed calling admission plugin "p""#));
    // Deletions come with the old object; other resources are not its business; grants count for reads.
    let probe = json!({"metadata": {"annotations": {"probe": "validate:deny"}}});
    let target = Target::object(CONFIG_MAPS, Some("default"), "a");
    let updated = f.client.patch(&target, Patch::Merge(probe), &WriteOptions::default()).await.expect_err("a refusal");
    assert!(updated.message.ends_with("asked to deny"), "{updated}");
    f.client.delete(&target, &DeleteOptions::default()).await.expect("deleted");
    f.namespace("other", json!({"probe": "deny"})).await;
    let read = f.ask("default", "d", "read").await.expect("made");
    assert!(read["data"]["read"].as_str().is_some_and(|r| r.starts_with("Ok(")), "{}", read["data"]);
    let secrets = f.ask("default", "e", "secrets").await.expect("made");
    assert!(secrets["data"]["secrets"].as_str().is_some_and(|r| r.contains("is not granted list")), "{}", secrets["data"]);
    f.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_is_told_and_leaves_nothing() {
    let f = fixture().await;
    f.apply("p", probe(), json!({"grants": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]})).await;
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "annotations": {"probe": "who"}}});
    let dry = WriteOptions { dry_run: true, ..WriteOptions::default() };
    let made = f.client.create(&Target::collection(CONFIG_MAPS, Some("default")), object, &dry).await.expect("a dry run").parse().expect("JSON");
    assert_eq!(made["data"]["who"], "Create admin true");
    assert!(f.client.get(&Target::object(CONFIG_MAPS, Some("default"), "a")).await.is_err());
    f.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_selectors_and_conditions_are_as_webhooks_have_them() {
    let f = fixture().await;
    f.namespace("other", json!({})).await;
    let grants = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]);
    f.apply("p", probe(), json!({"grants": grants, "limits": {"deadlineMilliseconds": 200}})).await;
    assert!(f.refused("a", "loop").await.contains(r#"failed calling admission plugin "p": it did not return within 200 ms"#));
    assert!(f.refused("a", "panic").await.contains("asked to panic"));
    f.patch_plugin("p", json!({"spec": {"admission": {"failurePolicy": "Ignore"}}})).await;
    f.ask("default", "a", "panic").await.expect("let pass");
    f.patch_plugin("p", json!({"spec": {"admission": {"namespaceSelector": {"matchLabels": {"name": "other"}}}}})).await;
    f.ask("default", "b", "deny").await.expect("not asked about");
    f.ask("other", "b", "deny").await.expect_err("asked about");
    let condition = json!([{"name": "named", "expression": "object.metadata.name.startsWith('c')"}]);
    f.patch_plugin("p", json!({"spec": {"admission": {"matchConditions": condition}}})).await;
    f.ask("other", "d", "deny").await.expect("not asked about");
    f.ask("other", "c", "deny").await.expect_err("asked about");
    let wrong = Patch::Merge(json!({"spec": {"admission": {"failurePolicy": "Perhaps", "timeoutSeconds": 0}}}));
    let status = f.client.patch(&Target::object(PLUGINS, None, "p"), wrong, &WriteOptions::default()).await.expect_err("invalid");
    assert_eq!(status.code, 422, "{status}");
    assert!(status.message.contains("spec.admission.failurePolicy") && status.message.contains("must be between 1 and 30 seconds"), "{status}");
    f.stop().await;
}

/// Whatever a policy does, people can take it away, and the system's namespace works.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_locked_out() {
    let mut f = fixture().await;
    f.apply("p", probe(), json!({"grants": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]})).await;
    f.ask("kube-system", "a", "deny").await.expect("not asked about");
    f.patch_plugin("p", json!({"spec": {"admission": {"includeKubeSystem": true}}})).await;
    f.ask("kube-system", "b", "deny").await.expect_err("asked about");
    // Without anybody to run it the policy fails closed, for what it is asked about.
    if let Some(plugins) = f.plugins.take() {
        plugins.shutdown().await;
    }
    assert!(f.refused("c", "").await.contains("no plugins run in this server"));
    f.client.list(&Target::collection(PODS, Some("default")), &ListOptions::default()).await.expect("reads go on");
    f.patch_plugin("p", json!({"spec": {"paused": true}})).await;
    f.ask("default", "d", "deny").await.expect("a paused policy decides nothing");
    f.patch_plugin("p", json!({"spec": {"paused": false}})).await;
    f.ask("default", "e", "").await.expect_err("it counts again");
    f.client.delete(&Target::object(PLUGINS, None, "p"), &DeleteOptions::default()).await.expect("deleted");
    f.ask("default", "f", "deny").await.expect("it is gone");
    f.stop().await;
}

/// A policy counts from the server's start on, before its component is loaded; the server itself starts all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_holds_over_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = serve(folder.path(), Storage::Embedded).await;
    let plugins = start_plugins(&server, folder.path());
    let f = Fixture { client: administrator(&server), plugins: Some(plugins), server, folder };
    f.apply("p", probe(), json!({"grants": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]})).await;
    let Fixture { server, plugins, client, folder } = f;
    plugins.expect("they run").shutdown().await;
    drop(client);
    let server = match Arc::try_unwrap(server) {
        Ok(server) => server,
        Err(_) => panic!("somebody still holds the server"),
    };
    server.shutdown().await.expect("closed");
    let server = serve(folder.path(), Storage::Embedded).await;
    let mut f = Fixture { client: administrator(&server), plugins: None, server, folder };
    assert!(f.refused("a", "").await.contains("no plugins run in this server"));
    f.plugins = Some(start_plugins(&f.server, f.folder.path()));
    let begun = Instant::now();
    while let Err(status) = f.ask("default", "a", "label").await {
        assert!(begun.elapsed() < PATIENCE, "{status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(f.refused("b", "deny").await.contains("asked to deny"));
    f.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_a_namespace_holds() {
    let f = fixture().await;
    let manifest: Value = serde_json::from_str(include_str!("../../examples/namespace-budget/plugin.json")).expect("JSON");
    f.apply("namespace-budget", budget(), json!({"grants": manifest["grants"], "admission": manifest["admission"]})).await;
    // Beside itself with another owner for namespaces that name none.
    let plugin = f.client.get(&Target::object(PLUGINS, None, "namespace-budget")).await.expect("the plugin").parse().expect("JSON");
    let candidate = json!({"source": plugin["spec"]["source"], "config": "nobody", "limits": {"deadlineMilliseconds": 30_000}});
    f.patch_plugin("namespace-budget", json!({"spec": {"candidate": candidate}})).await;
    f.until_plugin("namespace-budget", |p| p["status"]["candidate"]["stage"] == "Shadow").await;
    f.namespace("poor", json!({"budget.pintle.dev/pods": "2", "budget.pintle.dev/cpu": "1", "budget.pintle.dev/owner": "team-a"})).await;
    f.namespace("rich", json!({})).await;
    for namespace in ["poor", "rich"] {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        let accounts = GroupVersionResource::constant("", "v1", "serviceaccounts");
        let _ = f.client.create(&Target::collection(accounts, Some(namespace)), account, &WriteOptions::default()).await;
    }
    let create = |namespace: &'static str, name: &'static str, cpu: &'static str| {
        let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}});
        let client = f.client.clone();
        async move { client.create(&Target::collection(PODS, Some(namespace)), pod, &WriteOptions::default()).await }
    };
    let made = create("poor", "p1", "500m").await.expect("within the budget").parse().expect("JSON");
    assert_eq!(made["metadata"]["labels"]["budget.pintle.dev/owner"], "team-a");
    let status = create("poor", "p2", "600m").await.expect_err("too much cpu");
    assert_eq!(status.code, 403);
    let by = r#"admission plugin "namespace-budget" denied the request: "#;
    assert_eq!(status.message, format!("{by}exceeded the budget of namespace poor: requested cpu=600m, used cpu=500m, limited cpu=1"));
    create("poor", "p2", "100m").await.expect("within the budget");
    let status = create("poor", "p3", "100m").await.expect_err("too many pods");
    assert_eq!(status.message, format!("{by}exceeded the budget of namespace poor: requested pods=1, used pods=2, limited pods=2"));
    for name in ["p1", "p2", "p3"] {
        let made = create("rich", name, "100m").await.expect("no limit").parse().expect("JSON");
        assert!(made["metadata"]["labels"].is_null());
    }
    // Two turns for each of seven pods. What the live one let in stands in the store by the time that the candidate counts: it must not
    // count it, or `p2` would be one too many.
    f.until_plugin("namespace-budget", |p| p["status"]["candidate"]["compared"] == 14).await;
    let plugin = f.client.get(&Target::object(PLUGINS, None, "namespace-budget")).await.expect("the plugin").parse().expect("JSON");
    let seen = &plugin["status"]["candidate"];
    assert_eq!((&seen["agreed"], &seen["faults"], &seen["agreement"]), (&json!(11), &json!(0), &json!("78.5%")), "{seen:#}");
    let difference = &seen["differences"][0];
    assert_eq!((difference.str_at(&["kind"]), difference.str_at(&["subject"])), ("Object", "CREATE pods rich/p1, Mutate"));
    assert_eq!(difference["reasons"], json!([r#"metadata.labels: none, candidate {"budget.pintle.dev/owner":"nobody"}"#]));
    f.stop().await;
}
