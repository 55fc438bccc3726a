//! Ingress: objects become a table, the table before survives a refusal, served Ingresses get the address.

use pintle_api::GroupVersionResource;
use pintle_plugins::routes::Action;
use serde_json::json;

use crate::guests;
use crate::harness::{Bench, EVENTS, inline};

const INGRESSES: GroupVersionResource = GroupVersionResource::constant("networking.k8s.io", "v1", "ingresses");

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_published_and_survives_a_refusal() {
    let bench = Bench::start(Vec::new());
    let grants = json!([{"apiGroups": ["*"], "resources": ["*", "ingresses/status"], "verbs": ["*"]}]);
    bench.apply("i", json!({"world": "ingress", "source": inline(guests::ingress()), "grants": grants}));
    let ingress = |name: &str, probe: &str| {
        let metadata = json!({"name": name, "namespace": "n", "annotations": {"probe": probe}});
        bench.cluster.put(&INGRESSES, json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": {}}));
    };
    ingress("web", "");
    let mut routes = bench.handle.routes();
    let table = routes.wait_for(|t| t.served == ["n/web"]).await.expect("a table").clone();
    assert!(matches!(&table.fallback, Some(Action::Respond((404, body))) if body == "nothing here\n"));
    let address = || {
        let object = bench.cluster.get_object(&INGRESSES, "n", "web")?;
        (object["status"]["loadBalancer"]["ingress"] == json!([{"ip": "192.0.2.7"}])).then_some(())
    };
    bench.eventually(address).await.expect("the address");
    let problem = || bench.cluster.all(&EVENTS).into_iter().find(|e| e["reason"] == "NoRules" && e["regarding"]["name"] == "web");
    bench.eventually(problem).await.expect("an event");
    ingress("bad", "refuse");
    let refused = || bench.handle.logs("i")?.into_iter().find(|l| l.message.contains("asked to refuse"));
    bench.eventually(refused).await.expect("a refusal");
    assert_eq!(routes.borrow().served, ["n/web"]);
}
