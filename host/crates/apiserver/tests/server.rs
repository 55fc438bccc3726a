//! A whole server over memory, through its in-process client and the same handlers that HTTPS reaches.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use pintle_api::client::{DeleteOptions, ListOptions, Patch, Target, WatchEvent, WatchOptions, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{Client, GroupVersionResource, Reason};
use pintle_apiserver::auth::User;
use pintle_apiserver::{Config, Server, Storage};
use serde_json::{Value, json};

const CONFIG_MAPS: GroupVersionResource = GroupVersionResource::constant("", "v1", "configmaps");
const NAMESPACES: GroupVersionResource = GroupVersionResource::constant("", "v1", "namespaces");
/// Nothing here takes longer on any machine.
const LIMIT: Duration = Duration::from_secs(20);

struct Fixture {
    server: Server,
    client: Arc<dyn Client>,
    _dir: tempfile::TempDir,
}

async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { storage: Storage::Memory, ..Config::new(dir.path(), "127.0.0.1:0".parse().unwrap()) };
    let server = Server::start(config).await.unwrap();
    let client: Arc<dyn Client> = Arc::new(server.local_client(User::loopback()));
    Fixture { server, client, _dir: dir }
}

fn maps() -> Target {
    Target::collection(CONFIG_MAPS, Some("default"))
}

fn map(name: &str) -> Target {
    Target::object(CONFIG_MAPS, Some("default"), name)
}

fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"value": value}}, "data": {"key": value}})
}

fn write() -> WriteOptions {
    WriteOptions::default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_lives_and_a_watcher_sees_all_of_it() {
    let f = fixture().await;
    let all = WatchOptions { label_selector: "value in (1,2)".into(), ..WatchOptions::default() };
    let mut watch = f.client.watch(&maps(), &all).await.unwrap();
    let made = f.client.create(&maps(), config_map("a", "1"), &write()).await.unwrap();
    let object = made.parse().unwrap();
    assert!(!object.uid().is_empty() && object.resource_version() == made.revision.to_string());

    let taken = f.client.create(&maps(), config_map("a", "1"), &write()).await.unwrap_err();
    assert_eq!((taken.code, taken.message.as_str()), (409, "configmaps \"a\" already exists"));

    let changed = f.client.patch(&map("a"), Patch::Merge(json!({"metadata": {"labels": {"value": "2"}}})), &write()).await.unwrap();
    assert!(changed.revision > made.revision);
    let same = f.client.patch(&map("a"), Patch::Merge(json!({"data": {"key": "1"}})), &write()).await.unwrap();
    assert_eq!(same.revision, changed.revision, "an update that changes nothing does not write");

    let stale = f.client.update(&map("a"), object, &write()).await.unwrap_err();
    assert!(stale.is(Reason::Conflict), "{stale}");

    f.client.patch(&map("a"), Patch::Merge(json!({"metadata": {"labels": {"value": "9"}}})), &write()).await.unwrap();
    assert!(f.client.delete(&map("a"), &DeleteOptions::default()).await.unwrap().is_none());
    assert!(f.client.get(&map("a")).await.unwrap_err().is(Reason::NotFound));

    let mut seen = Vec::new();
    while seen.len() < 4 {
        let next = tokio::time::timeout(LIMIT, watch.next()).await.unwrap().unwrap().unwrap();
        let label = |s: &pintle_api::client::Served| s.parse().unwrap().label("value").unwrap().to_owned();
        match next {
            WatchEvent::Added(s) => seen.push(format!("added {}", label(&s))),
            WatchEvent::Modified(s) => seen.push(format!("modified {}", label(&s))),
            WatchEvent::Deleted(s) => seen.push(format!("deleted {} {}", label(&s), s.revision > changed.revision)),
            WatchEvent::Synced { .. } => seen.push("synced".to_owned()),
            WatchEvent::Bookmark { .. } => {}
        }
    }
    // What no longer matches is deleted for this watcher, in its last state that did.
    assert_eq!(seen, ["synced", "added 1", "modified 2", "deleted 2 true"]);
    f.server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_stay_at_their_revision() {
    let f = fixture().await;
    for n in 0..5 {
        f.client.create(&maps(), config_map(&format!("page-{n}"), "1"), &write()).await.unwrap();
    }
    let mut options = ListOptions { limit: 2, label_selector: "value".into(), ..ListOptions::default() };
    let first = f.client.list(&maps(), &options).await.unwrap();
    f.client.delete(&map("page-3"), &DeleteOptions::default()).await.unwrap();
    f.client.create(&maps(), config_map("page-9", "1"), &write()).await.unwrap();
    let mut names: Vec<String> = first.items.iter().map(|i| i.parse().unwrap().name().to_owned()).collect();
    options.continue_token = first.continue_token.clone();
    while !options.continue_token.is_empty() {
        let page = f.client.list(&maps(), &options).await.unwrap();
        assert_eq!(page.revision, first.revision);
        names.extend(page.items.iter().map(|i| i.parse().unwrap().name().to_owned()));
        options.continue_token = page.continue_token;
    }
    assert_eq!(names, ["page-0", "page-1", "page-2", "page-3", "page-4"]);
    f.server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finalizers_dry_runs_and_generated_names() {
    let f = fixture().await;
    let mut held = config_map("held", "1");
    held.set_at(&["metadata", "finalizers"], json!(["example.com/hold"]));
    f.client.create(&maps(), held, &write()).await.unwrap();
    let waits = f.client.delete(&map("held"), &DeleteOptions::default()).await.unwrap().expect("it waits for its finalizer");
    assert!(waits.parse().unwrap().is_being_deleted());
    f.client.patch(&map("held"), Patch::Merge(json!({"metadata": {"finalizers": null}})), &write()).await.unwrap();
    assert!(f.client.get(&map("held")).await.unwrap_err().is(Reason::NotFound));

    let dry = WriteOptions { dry_run: true, ..write() };
    f.client.create(&maps(), config_map("dry", "1"), &dry).await.unwrap();
    assert!(f.client.get(&map("dry")).await.is_err());

    let generated = f.client.create(&maps(), json!({"metadata": {"generateName": "g-"}}), &write()).await.unwrap().parse().unwrap();
    assert!(generated.name().starts_with("g-") && generated.name().len() == 7);
    f.server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused_and_namespaces_must_exist() {
    let f = fixture().await;
    let stranger: Arc<dyn Client> = Arc::new(f.server.local_client(User { name: "eve".into(), ..User::default() }));
    let refused = stranger.get(&map("a")).await.unwrap_err();
    let expected = "configmaps \"a\" is forbidden: User \"eve\" cannot get resource \"configmaps\" in API group \"\" in the namespace \"default\"";
    assert_eq!((refused.code, refused.message.as_str()), (403, expected));

    let nowhere = Target::collection(CONFIG_MAPS, Some("nowhere"));
    let missing = f.client.create(&nowhere, config_map("a", "1"), &write()).await.unwrap_err();
    assert_eq!((missing.code, missing.message.as_str()), (404, "namespaces \"nowhere\" not found"));
    let immortal = f.client.delete(&Target::object(NAMESPACES, None, "default"), &DeleteOptions::default()).await.unwrap_err();
    assert!(immortal.is(Reason::Forbidden), "{immortal}");
    f.server.shutdown().await.unwrap();
}
