//! A whole server over memory, through its in-process client and the same handlers that HTTPS reaches.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use pintle_api::client::{DeleteOptions, ListOptions, Patch, Target, WatchEvent, WatchOptions, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{Client, GroupVersionResource, Reason};
use pintle_apiserver::auth::User;
use pintle_apiserver::cache::Limits;
use pintle_store::{Op, Transaction};
use serde_json::{Value, json};

use crate::harness::Fixture;

const CONFIG_MAPS: GroupVersionResource = GroupVersionResource::constant("", "v1", "configmaps");
const NAMESPACES: GroupVersionResource = GroupVersionResource::constant("", "v1", "namespaces");
/// Nothing here takes longer on any machine.
const LIMIT: Duration = Duration::from_secs(20);

async fn fixture() -> Fixture {
    with_limits(Limits::default()).await
}

async fn with_limits(limits: Limits) -> Fixture {
    Fixture::start(|config| config.limits = limits).await
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
async fn a_token_older_than_history_expires_and_offers_an_inconsistent_rest() {
    let f = with_limits(Limits { history: Duration::ZERO, ..Limits::default() }).await;
    for n in 0..5 {
        f.client.create(&maps(), config_map(&format!("page-{n}"), "1"), &write()).await.unwrap();
    }
    let mut options = ListOptions { limit: 2, label_selector: "value".into(), ..ListOptions::default() };
    let first = f.client.list(&maps(), &options).await.unwrap();
    f.client.delete(&map("page-3"), &DeleteOptions::default()).await.unwrap();
    f.client.create(&maps(), config_map("page-9", "1"), &write()).await.unwrap();
    f.client.create(&maps(), config_map("page-0a", "1"), &write()).await.unwrap();
    options.continue_token = first.continue_token.clone();
    let expired = f.client.list(&maps(), &options).await.unwrap_err();
    let expected = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue \
        parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in \
        an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
    assert_eq!((expired.code, &expired.reason, expired.message.as_str()), (410, &Reason::Expired, expected));
    options.continue_token = expired.to_value()["metadata"]["continue"].as_str().unwrap().to_owned();
    let rest = f.client.list(&maps(), &ListOptions { limit: 0, ..options.clone() }).await.unwrap();
    let names: Vec<String> = rest.items.iter().map(|i| i.parse().unwrap().name().to_owned()).collect();
    assert_eq!(names, ["page-2", "page-4", "page-9"], "as it is now, after the last name of the first page");
    assert!(rest.revision > first.revision);
    f.server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_does_not_look_is_closed_and_holds_nobody_up() {
    let f = with_limits(Limits { history_bytes: 100 << 10, ..Limits::default() }).await;
    let made = f.client.create(&maps(), config_map("a", "0"), &write()).await.unwrap();
    let from = WatchOptions { from_revision: Some(made.revision), label_selector: "value".into(), ..WatchOptions::default() };
    let mut slow = f.client.watch(&maps(), &from).await.unwrap();
    let mut quick = f.client.watch(&maps(), &from).await.unwrap();
    let text = "x".repeat(2000);
    let mut newest = made.revision;
    for n in 0..300 {
        let written = f.client.patch(&map("a"), Patch::Merge(json!({"data": {"key": format!("{n}{text}")}})), &write()).await.unwrap();
        let told = tokio::time::timeout(LIMIT, quick.next()).await.unwrap().unwrap().unwrap();
        assert!(matches!(told, WatchEvent::Modified(s) if s.revision == written.revision));
        newest = written.revision;
    }
    let closed = slow.next().await.unwrap().unwrap_err();
    assert_eq!((closed.code, &closed.reason), (410, &Reason::Expired), "{closed}");
    assert!(closed.message.starts_with("too old resource version"), "{closed}");
    assert!(slow.next().await.is_none());
    assert_eq!(f.client.watch(&maps(), &from).await.map(drop).unwrap_err().code, 410, "and it cannot come back to its place");
    let from = WatchOptions { from_revision: Some(newest), ..WatchOptions::default() };
    drop(f.client.watch(&maps(), &from).await.unwrap());
    f.server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_does_not_come_is_refused_and_one_that_comes_is_waited_for() {
    let f = fixture().await;
    let made = f.client.create(&maps(), config_map("a", "1"), &write()).await.unwrap();
    let at = |revision: u64| ListOptions { resource_version: revision.to_string(), ..ListOptions::default() };
    let wanted = made.revision + 20;
    let (next, far) = (at(wanted), at(made.revision + 1_000_000));
    let target = maps();
    let waits = f.client.list(&target, &next);
    let writes = async {
        let mut newest = 0;
        for n in 0.. {
            if newest >= wanted {
                break;
            }
            newest = f.client.create(&maps(), config_map(&format!("b{n}"), "1"), &write()).await.unwrap().revision;
        }
    };
    let (listed, ()) = tokio::join!(waits, writes);
    assert!(listed.unwrap().revision >= wanted);
    let refused = f.client.list(&maps(), &far).await.unwrap_err();
    let expected =
        format!("Timeout: Too large resource version: {}, current: {}", made.revision + 1_000_000, refused.message.rsplit(' ').next().unwrap());
    assert_eq!((refused.code, &refused.reason, refused.message.as_str()), (504, &Reason::Timeout, expected.as_str()));
    let details = refused.details.as_ref().unwrap();
    assert_eq!((details.retry_after_seconds, details.causes[0].message.as_str()), (1, "Too large resource version"));
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

/// What `kubectl get apiservices` shows: built-in group versions from the start, those of definitions as long as they are there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_versions_are_registered() {
    const SERVICES: GroupVersionResource = GroupVersionResource::constant("apiregistration.k8s.io", "v1", "apiservices");
    const DEFINITIONS: GroupVersionResource = GroupVersionResource::constant("apiextensions.k8s.io", "v1", "customresourcedefinitions");
    let f = fixture().await;
    let target = |name: &str| Target::object(SERVICES, None, name);
    let until = async |name: &str, holds: &dyn Fn(Option<&Value>) -> bool| {
        let looking = async {
            loop {
                let service = f.client.get(&target(name)).await.ok().map(|s| s.parse().unwrap());
                if holds(service.as_ref()) {
                    return service;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, looking).await.unwrap_or_else(|_| panic!("{name}"))
    };
    let local = |service: Option<&Value>| service.is_some_and(|s| s["status"]["conditions"][0]["reason"] == "Local");
    let apps = until("v1.apps", &local).await.unwrap();
    assert_eq!(apps["metadata"]["labels"], json!({"kube-aggregator.kubernetes.io/automanaged": "onstart"}));
    assert_eq!(apps["spec"], json!({"group": "apps", "version": "v1", "groupPriorityMinimum": 17_800, "versionPriority": 15}));
    until("v1.", &local).await;

    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.reg.example"}, "spec": {
        "group": "reg.example", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    f.client.create(&Target::collection(DEFINITIONS, None), definition, &write()).await.unwrap();
    let own = until("v1.reg.example", &local).await.unwrap();
    assert_eq!(own["metadata"]["labels"], json!({"kube-aggregator.kubernetes.io/automanaged": "true"}));
    f.client.delete(&target("v1.reg.example"), &DeleteOptions::default()).await.unwrap();
    until("v1.reg.example", &|now| now.is_some_and(|now| now.uid() != own.uid())).await;
    f.client.delete(&Target::object(DEFINITIONS, None, "things.reg.example"), &DeleteOptions::default()).await.unwrap();
    until("v1.reg.example", &|now| now.is_none()).await;
}

/// An operator that is gone with its webhook left behind: what it defined goes all the same, and other definitions are served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_ends_though_a_webhook_forbids_it_and_holds_up_no_other() {
    const DEFINITIONS: GroupVersionResource = GroupVersionResource::constant("apiextensions.k8s.io", "v1", "customresourcedefinitions");
    const HOOKS: GroupVersionResource = GroupVersionResource::constant("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations");
    let f = fixture().await;
    let definition = |group: &str| {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("things.{group}")}, "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
    };
    let named = |group: &str| Target::object(DEFINITIONS, None, &format!("things.{group}"));
    let until = async |group: &str, holds: &(dyn Fn(Option<&Value>) -> bool + Sync)| {
        let looking = async {
            while !holds(f.client.get(&named(group)).await.ok().map(|served| served.parse().unwrap()).as_ref()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, looking).await.unwrap_or_else(|_| panic!("{group}"));
    };
    let established = |now: Option<&Value>| now.is_some_and(|now| now["status"].to_string().contains("Established"));
    f.client.create(&Target::collection(DEFINITIONS, None), definition("a.example"), &write()).await.unwrap();
    until("a.example", &established).await;
    let things = Target::collection(GroupVersionResource::constant("a.example", "v1", "things"), Some("default"));
    let thing =
        |name: &str, finalizers: Value| json!({"apiVersion": "a.example/v1", "kind": "Thing", "metadata": {"name": name, "finalizers": finalizers}});
    f.client.create(&things, thing("free", json!([])), &write()).await.unwrap();
    f.client.create(&things, thing("held", json!(["a.example/held"])), &write()).await.unwrap();
    let hook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "away"}, "webhooks": [{
        "name": "away.a.example", "clientConfig": {"url": "https://127.0.0.1:1/"}, "failurePolicy": "Fail", "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "rules": [{"apiGroups": ["a.example"], "apiVersions": ["*"], "resources": ["*"], "operations": ["DELETE"]}]}]});
    f.client.create(&Target::collection(HOOKS, None), hook, &write()).await.unwrap();
    let free = Target { name: Some("free".into()), ..things.clone() };
    f.client.delete(&free, &DeleteOptions::default()).await.unwrap_err();

    f.client.delete(&named("a.example"), &DeleteOptions::default()).await.unwrap();
    f.client.create(&Target::collection(DEFINITIONS, None), definition("b.example"), &write()).await.unwrap();
    until("b.example", &established).await;
    let held = Target { name: Some("held".into()), ..things.clone() };
    let released = async {
        while !f.client.get(&held).await.unwrap().parse().unwrap().is_being_deleted() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        f.client.patch(&held, patch, &write()).await.unwrap();
    };
    tokio::time::timeout(LIMIT, released).await.unwrap();
    until("a.example", &|now| now.is_none()).await;
    f.server.shutdown().await.unwrap();
}

/// What is immutable may be sent again with the empty lists and maps that were not kept of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_empty_is_not_kept_and_may_be_sent_again() {
    const JOBS: GroupVersionResource = GroupVersionResource::constant("batch", "v1", "jobs");
    let f = fixture().await;
    let sent = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "labels": {}},
        "spec": {"template": {"metadata": {"annotations": {}}, "spec": {
            "restartPolicy": "Never", "nodeSelector": {}, "hostNetwork": false, "containers": [{"name": "c", "image": "i", "args": [], "workingDir": ""}],
        }}},
    });
    let made = f.client.create(&Target::collection(JOBS, Some("default")), sent.clone(), &write()).await.unwrap();
    let object = made.parse().unwrap();
    let template = &object["spec"]["template"];
    assert!(
        template["metadata"].get("annotations").is_none() && object["metadata"].get("labels").is_some(),
        "the server labels Jobs itself: {object}"
    );
    let (spec, container) = (&template["spec"], &template["spec"]["containers"][0]);
    assert!(spec.get("nodeSelector").is_none() && spec.get("hostNetwork").is_none(), "{spec}");
    assert!(container.get("args").is_none() && container.get("workingDir").is_none(), "{container}");

    let job = Target::object(JOBS, Some("default"), "a");
    let mut again = sent.clone();
    again["spec"]["selector"] = object["spec"]["selector"].clone();
    again["spec"]["template"]["metadata"]["labels"] = template["metadata"]["labels"].clone();
    again["metadata"]["labels"] = object["metadata"]["labels"].clone();
    let same = f.client.update(&job, again.clone(), &write()).await.unwrap();
    assert_eq!(same.revision, made.revision, "an update that changes nothing does not write");
    assert_eq!(same.parse().unwrap()["metadata"]["generation"], 1);
    again["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["x"]);
    assert_eq!(f.client.update(&job, again, &write()).await.unwrap_err().code, 422);
}

/// As it was when what is empty was kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_build_stored_is_changed_no_more_than_asked_for() {
    const DEPLOYMENTS: GroupVersionResource = GroupVersionResource::constant("apps", "v1", "deployments");
    const JOBS: GroupVersionResource = GroupVersionResource::constant("batch", "v1", "jobs");
    let f = fixture().await;
    let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": {"template": template}});
    let mut deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template}});
    deployment["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
    for (resource, kept, made) in [(JOBS, "batch/jobs", job), (DEPLOYMENTS, "apps/deployments", deployment)] {
        let all = Target::collection(resource.clone(), Some("default"));
        let mut watch = f.client.watch(&all, &WatchOptions::default()).await.unwrap();
        let made = f.client.create(&all, made, &write()).await.unwrap().parse().unwrap();
        let store = f.server.core().cache.store().clone();
        let key = format!("/registry/{kept}/default/a");
        let mut stored: Value = serde_json::from_slice(&store.get(key.as_bytes()).await.unwrap().unwrap().value).unwrap();
        let pod = &mut stored["spec"]["template"]["spec"];
        pod["hostNetwork"] = json!(false);
        pod["nodeSelector"] = json!({});
        pod["containers"][0]["args"] = json!([]);
        pod["containers"][0]["tty"] = json!(false);
        let old = pod.clone();
        let put = Op::Put { key: key.into(), value: stored.to_string().into() };
        store.commit(Transaction { expect: Vec::new(), ops: vec![put] }).await.unwrap();
        let arrived = async {
            while let Some(event) = watch.next().await {
                if matches!(event.unwrap(), WatchEvent::Modified(served) if served.parse().unwrap()["spec"]["template"]["spec"] == old) {
                    return;
                }
            }
        };
        tokio::time::timeout(LIMIT, arrived).await.unwrap();

        let one = Target::object(resource, Some("default"), "a");
        let labelled = f.client.patch(&one, Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}})), &write()).await.unwrap().parse().unwrap();
        assert_eq!((&labelled["spec"]["template"]["spec"], &labelled["metadata"]["generation"]), (&old, &json!(1)), "{kept}");
        let mut again = labelled.clone();
        again["spec"] = made["spec"].clone();
        let same = f.client.update(&one, again, &write()).await.unwrap().parse().unwrap();
        assert_eq!(same, labelled, "{kept}: what says the same without what is empty");
    }
}
