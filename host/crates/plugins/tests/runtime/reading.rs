//! What a controller says that it reads: the host compares, and asks about nothing else. One of the contract before it is asked about
//! everything, as ever.

use pintle_api::GroupVersionResource;
use pintle_plugins::replay::{Request, replay};
use serde_json::{Value, json};

use crate::guests;
use crate::harness::{Bench, CONFIG_MAPS, inline};

const SECRETS: GroupVersionResource = GroupVersionResource::constant("", "v1", "secrets");

fn spec(component: &[u8]) -> Value {
    let grants = json!([{"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["*"]}]);
    json!({"world": "controller", "source": inline(component), "grants": grants})
}

fn put(bench: &Bench, name: &str, more: Value) {
    let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "n"}});
    let members = more.as_object().expect("members").clone();
    if let Some(labels) = members.get("labels") {
        secret["metadata"]["labels"] = labels.clone();
    }
    secret.as_object_mut().expect("an object").extend(members.into_iter().filter(|(name, _)| name != "labels"));
    bench.cluster.put(&SECRETS, secret);
}

/// What the plugin was asked about, as it says itself.
fn asked(bench: &Bench, plugin: &str) -> Vec<String> {
    let lines = bench.handle.logs(plugin).unwrap_or_default();
    lines.into_iter().filter_map(|line| line.message.strip_prefix("asked ").map(str::to_owned)).collect()
}

/// Changes are asked about in the order in which they come: when it was asked about one, it was asked about all before.
async fn asked_until(bench: &Bench, plugin: &str, last: &str) -> Vec<String> {
    let found = bench.eventually(|| Some(asked(bench, plugin)).filter(|lines| lines.iter().any(|line| line.contains(last)))).await;
    found.unwrap_or_else(|| panic!("never asked about {last}: {:#?}", bench.handle.logs(plugin)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_what_is_not_read_is_no_call() {
    let bench = Bench::start(Vec::new());
    bench.apply("p", spec(guests::reading()));
    bench.condition("p", "Ready", "True", "Live").await;
    assert_eq!(bench.plugin("p")["status"]["contract"], "pintle:controller@0.2.0");

    let parts = |state: &str| json!([{"name": "a", "state": state}, {"name": "b", "state": state}]);
    put(&bench, "x", json!({"labels": {"k": "1"}, "parts": parts("new")}));
    asked_until(&bench, "p", r#" -> {"metadata":{"labels":{"k":"1"}},"parts":[{"name":"a"},{"name":"b"}]}"#).await;
    // Several changes in a row may become one, and none of these is worth a call.
    put(&bench, "x", json!({"labels": {"k": "1"}, "parts": parts("old"), "data": {"a": "b"}}));
    put(&bench, "first", json!({"labels": {"k": "first"}}));
    assert_eq!(asked_until(&bench, "p", "first").await.len(), 2);
    put(&bench, "x", json!({"labels": {"k": "1"}, "parts": [{"name": "a"}, {"name": "c"}], "data": {"a": "b"}}));
    let lines = asked_until(&bench, "p", r#""c""#).await;
    assert_eq!(
        lines[2..],
        [
            r#"{"metadata":{"labels":{"k":"1"}},"parts":[{"name":"a"},{"name":"b"}]} -> {"metadata":{"labels":{"k":"1"}},"parts":[{"name":"a"},{"name":"c"}]}"#
        ]
    );
    bench.cluster.remove(&SECRETS, "n", "first");
    let gone = asked_until(&bench, "p", r#"{"metadata":{"labels":{"k":"first"}}} -> "#).await;
    assert_eq!(gone.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_the_released_contract_is_asked_about_every_change() {
    let bench = Bench::start(Vec::new());
    bench.apply("old", spec(guests::controller_0_1()));
    bench.condition("old", "Ready", "True", "Live").await;
    assert_eq!(bench.plugin("old")["status"]["contract"], "pintle:controller@0.1.0");

    put(&bench, "x", json!({}));
    asked_until(&bench, "old", "about x").await;
    put(&bench, "x", json!({"type": "Opaque"}));
    put(&bench, "y", json!({}));
    assert_eq!(asked_until(&bench, "old", "about y").await, ["about x", "about x", "about y"]);

    bench.cluster.put(&CONFIG_MAPS, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "n"}}));
    assert_eq!(bench.answer_of("old", "m").await, r#"secrets 2, Some(ApiError::NotFound("configmaps \"missing\" not found"))"#);
    put(&bench, "z", json!({"data": {"for": "m"}}));
    let three = || bench.cluster.get_object(&CONFIG_MAPS, "n", "m")?["data"]["done"].as_str()?.starts_with("secrets 3").then_some(());
    bench.eventually(three).await.expect("the key that `route` named was reconciled");

    bench.handle.decisions().flush();
    let log = bench.folder.path().to_owned();
    let request = Request {
        log,
        component: guests::controller_0_1().to_vec(),
        plugin: Some("old".to_owned()),
        config: None,
        cache: bench.folder.path().join("replays"),
    };
    let report = replay(request).await.expect("a report");
    assert!(report.decisions >= 2 && report.identical == report.decisions, "{report:#?}");
}
