//! kube-rs: lists, patches, watcher, reflector, controller with finalizer, exec. The same steps as the programs take (README.md).

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{AttachParams, DeleteParams, ListParams, ObjectList, Patch, PatchParams, PostParams, Preconditions};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::runtime::controller::Action;
use kube::runtime::{Controller, WatchStreamExt as _, finalizer, reflector, wait, watcher};
use kube::{Api, Client, Config, CustomResource, CustomResourceExt as _, Resource as _, ResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{NAMESPACE, POD};
use crate::e2e::cluster::{Cluster, Server};

/// How long any one thing may take.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const FAREWELL: &str = "clients.pintle.dev/farewell";

#[test]
fn kube_rs_finds_what_it_knows() {
    let mut server = Server::start_without_plugins();
    super::namespace(&server);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = connect(&server.kubeconfig()).await;
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
        paged_list(&maps).await;
        patches(&deployments).await;
        apply_conflict(&maps).await;
        update_conflict(&maps).await;
        // One crash of the server for all that must outlive it.
        let page = maps.list(&ListParams::default().limit(5)).await.expect("the first page");
        create(&maps, "written-after-the-page", "none").await;
        let mut following = Following::start(&maps, watcher::Config::default()).await;
        let mut streaming = Following::start(&maps, watcher::Config::default().streaming_lists()).await;
        let operator = tokio::spawn(operate(client.clone()));
        greet(&client, "hello").await;
        server.crash_and_restart_in_place();
        expired_continue(&maps, &page).await;
        following.goes_on(&maps, "listed").await;
        streaming.goes_on(&maps, "streamed").await;
        greet(&client, "again").await;
        part(&client, "again").await;
        operator.abort();
    });
}

/// In a thread that lives in the cluster's network namespace.
pub fn executes(cluster: &Cluster) {
    let (kubeconfig, namespace) = (cluster.kubeconfig(), cluster.network_namespace());
    let thread = std::thread::spawn(move || {
        use std::os::fd::AsFd as _;
        let file = std::fs::File::open(namespace).expect("the namespace");
        rustix::thread::move_into_link_name_space(file.as_fd(), Some(rustix::thread::LinkNameSpaceType::Network)).expect("root may");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async { exec(&Api::namespaced(connect(&kubeconfig).await, NAMESPACE)).await });
    });
    thread.join().expect("exec through kube-rs");
}

async fn connect(kubeconfig: &std::path::Path) -> Client {
    let read = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.expect("a configuration");
    Client::try_from(config).expect("a client")
}

fn tests() -> PatchParams {
    PatchParams::apply("tests")
}

async fn create(maps: &Api<ConfigMap>, name: &str, step: &str) -> ConfigMap {
    let object = serde_json::from_value(json!({"metadata": {"name": name, "labels": {"step": step}}, "data": {"n": "0"}})).expect("a ConfigMap");
    maps.create(&PostParams::default(), &object).await.expect("created")
}

#[track_caller]
fn refused<T: Debug>(outcome: Result<T, kube::Error>, code: u16, reason: &str) -> Box<Status> {
    match outcome {
        Err(kube::Error::Api(status)) if status.code == code && status.reason == reason => status,
        other => panic!("{other:?}, wanted {code} {reason}"),
    }
}

async fn paged_list(maps: &Api<ConfigMap>) {
    for n in 0..25 {
        create(maps, &format!("page-{n:02}"), "page").await;
    }
    let mut params = ListParams::default().labels("step=page").limit(10);
    let (mut names, mut pages) = (Vec::new(), 0);
    loop {
        let page = maps.list(&params).await.expect("a page");
        pages += 1;
        names.extend(page.items.iter().map(ConfigMap::name_any));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    assert_eq!((pages, names.len(), names.is_sorted()), (3, 25, true));
}

async fn expired_continue(maps: &Api<ConfigMap>, page: &ObjectList<ConfigMap>) {
    let token = page.metadata.continue_.as_deref().expect("there is more");
    let status = refused(maps.list(&ListParams::default().limit(5).continue_token(token)).await, 410, "Expired");
    let newer = status.metadata.and_then(|m| m.continue_).expect("a token that goes on at what is there now");
    let rest = maps.list(&ListParams::default().continue_token(&newer)).await.expect("the rest");
    let whole = maps.list(&ListParams::default()).await.expect("all");
    let names = |list: &[ConfigMap]| list.iter().map(ConfigMap::name_any).collect::<Vec<_>>();
    let last = page.items.last().expect("five").name_any();
    assert_eq!(names(&rest.items), names(&whole.items).into_iter().filter(|name| *name > last).collect::<Vec<_>>());
}

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "annotations": {"keep": "1", "drop": "1"}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": {"app": name}}, "spec": {
            "containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]}}},
    })
}

fn images(deployment: &Deployment) -> Vec<&str> {
    let pod = deployment.spec.as_ref().and_then(|s| s.template.spec.as_ref());
    let mut images: Vec<&str> = pod.into_iter().flat_map(|p| &p.containers).filter_map(|c| c.image.as_deref()).collect();
    images.sort_unstable();
    images
}

async fn patches(api: &Api<Deployment>) {
    let replicas = |d: &Deployment| d.spec.as_ref().and_then(|s| s.replicas);
    let annotations = |d: &Deployment| d.annotations().keys().cloned().collect::<Vec<_>>();
    for name in ["json", "merge", "strategic", "apply"] {
        api.patch(name, &tests(), &Patch::Apply(deployment(name))).await.expect("applied");
    }
    let none = PatchParams::default();
    // The patch as text: kube's own type for it would be one more crate here.
    let patch = |operations: Value| serde_json::from_value(operations).expect("a JSON patch");
    let test = json!({"op": "test", "path": "/spec/replicas", "value": 2});
    let seen = api.patch("json", &none, &Patch::<()>::Json(patch(json!([test, {"op": "replace", "path": "/spec/replicas", "value": 3}])))).await;
    assert_eq!(replicas(&seen.expect("patched")), Some(3));
    refused(api.patch("json", &none, &Patch::<()>::Json(patch(json!([test])))).await, 422, "Invalid");

    let seen = api.patch("merge", &none, &Patch::Merge(json!({"metadata": {"annotations": {"drop": null, "new": "1"}}}))).await.expect("patched");
    assert_eq!(annotations(&seen), ["keep", "new"]);

    let containers = json!([{"name": "a", "image": "a:2"}, {"name": "b", "$patch": "delete"}, {"name": "c", "image": "c:1"}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let seen = api.patch("strategic", &none, &Patch::Strategic(patch)).await.expect("patched");
    assert_eq!(images(&seen), ["a:2", "c:1"]);

    let mut less = deployment("apply");
    less["metadata"].as_object_mut().expect("an object").remove("annotations");
    less["spec"].as_object_mut().expect("an object").remove("replicas");
    less["spec"]["template"]["spec"]["containers"].as_array_mut().expect("a list").pop();
    let seen = api.patch("apply", &tests(), &Patch::Apply(less)).await.expect("applied");
    assert_eq!((images(&seen), replicas(&seen), annotations(&seen).len()), (vec!["a:1"], Some(1), 0));
}

async fn apply_conflict(maps: &Api<ConfigMap>) {
    let apply = async |manager: &str, value: &str, force: bool| {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "contested"}, "data": {"x": value, manager: "mine"}});
        let params = PatchParams { force, ..PatchParams::apply(manager) };
        maps.patch("contested", &params, &Patch::Apply(body)).await
    };
    apply("one", "1", false).await.expect("applied");
    let status = refused(apply("two", "2", false).await, 409, "Conflict");
    let causes: Vec<_> = status.details.iter().flat_map(|d| &d.causes).map(|c| (c.reason.as_str(), c.message.as_str(), c.field.as_str())).collect();
    assert_eq!(causes, [("FieldManagerConflict", "conflict with \"one\"", ".data.x")]);
    let data = apply("two", "2", true).await.expect("forced").data.unwrap_or_default();
    assert_eq!(data, [("one", "mine"), ("two", "mine"), ("x", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    refused(apply("one", "1", false).await, 409, "Conflict");
}

async fn update_conflict(maps: &Api<ConfigMap>) {
    let old = create(maps, "locked", "lock").await;
    let newer = ConfigMap { data: Some(BTreeMap::from([("n".to_owned(), "1".to_owned())])), ..old.clone() };
    maps.replace("locked", &PostParams::default(), &newer).await.expect("replaced");
    let status = refused(maps.replace("locked", &PostParams::default(), &old).await, 409, "Conflict");
    assert!(status.message.contains("the object has been modified; please apply your changes to the latest version and try again"), "{status:?}");
    let other = Preconditions { uid: Some("other".to_owned()), resource_version: None };
    refused(maps.delete("locked", &DeleteParams { preconditions: Some(other), ..DeleteParams::default() }).await, 409, "Conflict");
    let mut entry = maps.entry("locked").await.expect("read").and_modify(|map| map.labels_mut().clear()).or_insert(ConfigMap::default);
    entry.commit(&PostParams::default()).await.expect("committed");
}

/// A watcher that feeds a reflector, and what it said.
struct Following {
    store: reflector::Store<ConfigMap>,
    task: tokio::task::JoinHandle<()>,
}

impl Following {
    async fn start(maps: &Api<ConfigMap>, config: watcher::Config) -> Self {
        let (store, writer) = reflector::store();
        let events = reflector::reflector(writer, watcher(maps.clone(), config.labels("step=watch"))).default_backoff();
        // While the server is away there are errors; the store must be right afterwards all the same.
        let task = tokio::spawn(events.for_each(|_| std::future::ready(())));
        tokio::time::timeout(PATIENCE, store.wait_until_ready()).await.expect("in time").expect("the watcher lives");
        Self { store, task }
    }

    async fn has(&self, wanted: &[&str]) {
        let names = || {
            let mut names: Vec<String> =
                self.store.state().iter().map(|o| format!("{}={}", o.name_any(), o.data.as_ref().map_or("", |d| &d["n"]))).collect();
            names.sort();
            names
        };
        eventually(&format!("{wanted:?}"), async || if names() == wanted { Ok(()) } else { Err(format!("{:?}", names())) }).await;
    }

    /// After a crash of the server: it sees what is made, changed and deleted from now on.
    async fn goes_on(&mut self, maps: &Api<ConfigMap>, name: &str) {
        create(maps, name, "watch").await;
        self.has(&[&format!("{name}=0")]).await;
        maps.patch(name, &PatchParams::default(), &Patch::Merge(json!({"data": {"n": "1"}}))).await.expect("patched");
        self.has(&[&format!("{name}=1")]).await;
        maps.delete(name, &DeleteParams::default()).await.expect("deleted");
        self.has(&[]).await;
        self.task.abort();
    }
}

async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if tokio::time::Instant::now() > end => panic!("{what}: not within {PATIENCE:?}; last seen: {seen}"),
            Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(group = "rust.clients.pintle.dev", version = "v1", kind = "Greeting", namespaced, status = "Said")]
pub struct GreetingSpec {
    words: String,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Said {
    said: String,
}

/// A controller that keeps a ConfigMap with the words of each Greeting, and writes a farewell before one goes.
async fn operate(client: Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = Greeting::crd();
    definitions.patch(&definition.name_any(), &tests(), &Patch::Apply(&definition)).await.expect("the definition");
    let established = wait::await_condition(definitions, "greetings.rust.clients.pintle.dev", wait::conditions::is_crd_established());
    tokio::time::timeout(PATIENCE, established).await.expect("in time").expect("established");
    let greetings: Api<Greeting> = Api::namespaced(client.clone(), NAMESPACE);
    let made: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let retry = |_: Arc<Greeting>, _: &finalizer::Error<kube::Error>, _: Arc<Client>| Action::requeue(Duration::from_millis(200));
    let controller = Controller::new(greetings, watcher::Config::default()).owns(made, watcher::Config::default());
    let told = controller.run(reconcile, retry, Arc::new(client));
    told.for_each(async |outcome| {
        if let Err(fault) = outcome {
            eprintln!("the controller: {fault:?}");
        }
    })
    .await;
}

async fn reconcile(greeting: Arc<Greeting>, client: Arc<Client>) -> Result<Action, finalizer::Error<kube::Error>> {
    let api: Api<Greeting> = Api::namespaced((*client).clone(), NAMESPACE);
    finalizer(&api, FAREWELL, greeting, async |event| {
        let made: Api<ConfigMap> = Api::namespaced((*client).clone(), NAMESPACE);
        match event {
            finalizer::Event::Apply(greeting) => {
                let owner = greeting.controller_owner_ref(&());
                let metadata = json!({"name": greeting.name_any(), "ownerReferences": [owner]});
                let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"words": greeting.spec.words}});
                made.patch(&greeting.name_any(), &tests(), &Patch::Apply(body)).await?;
                let status = json!({"status": {"said": greeting.spec.words}});
                api.patch_status(&greeting.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
            }
            finalizer::Event::Cleanup(greeting) => {
                let name = format!("{}-farewell", greeting.name_any());
                let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
                made.patch(&name, &tests(), &Patch::Apply(body)).await?;
            }
        }
        Ok(Action::await_change())
    })
    .await
}

/// A Greeting, until the controller did its part.
async fn greet(client: &Client, name: &str) {
    let greetings: Api<Greeting> = Api::namespaced(client.clone(), NAMESPACE);
    let made: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let greeting = Greeting::new(name, GreetingSpec { words: "good day".to_owned() });
    eventually("the kind is served", async || greetings.create(&PostParams::default(), &greeting).await.map_err(|e| e.to_string())).await;
    eventually("the controller's ConfigMap and status", async || {
        let said = greetings.get(name).await.map_err(|e| e.to_string())?.status.map(|s| s.said);
        let words = made.get(name).await.map_err(|e| e.to_string())?.data.and_then(|d| d.get("words").cloned());
        if said.as_deref() == Some("good day") && words == said { Ok(()) } else { Err(format!("{said:?} {words:?}")) }
    })
    .await;
}

/// The Greeting goes; its finalizer says farewell, and garbage collection takes what it owned.
async fn part(client: &Client, name: &str) {
    let greetings: Api<Greeting> = Api::namespaced(client.clone(), NAMESPACE);
    let made: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    greetings.delete(name, &DeleteParams::default()).await.expect("deleted");
    eventually("the farewell and nothing else is left", async || {
        let read = async |name: &str| made.get_opt(name).await.map(|o| o.is_some()).map_err(|e| e.to_string());
        let greeting = greetings.get_opt(name).await.map_err(|e| e.to_string())?.is_some();
        let left = (greeting, read(name).await?, read(&format!("{name}-farewell")).await?);
        if left == (false, false, true) { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

async fn exec(pods: &Api<Pod>) {
    let attach = AttachParams::default();
    let mut process = pods.exec(POD, ["sh", "-c", "echo out; echo err >&2"], &attach).await.expect("started");
    let (mut out, mut err) = (String::new(), String::new());
    process.stdout().expect("is attached").read_to_string(&mut out).await.expect("is read");
    process.stderr().expect("is attached").read_to_string(&mut err).await.expect("is read");
    assert_eq!((out.as_str(), err.as_str()), ("out\n", "err\n"));
    let mut process = pods.exec(POD, ["head", "-n", "2"], &AttachParams::default().stdin(true)).await.expect("started");
    let mut input = process.stdin().expect("is attached");
    input.write_all(b"several\nlines\n").await.expect("is written");
    let mut out = String::new();
    process.stdout().expect("is attached").read_to_string(&mut out).await.expect("is read");
    assert_eq!(out, "several\nlines\n");
    let mut process = pods.exec(POD, ["sh", "-c", "exit 7"], &attach).await.expect("started");
    let status = process.take_status().expect("once").await.expect("a status");
    let causes = status.details.and_then(|d| d.causes).unwrap_or_default();
    assert_eq!((status.reason.as_deref(), causes[0].message.as_deref()), (Some("NonZeroExitCode"), Some("7")));
}
