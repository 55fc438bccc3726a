//! Objects in, the turns of each backend out.

use expect_test::{Expect, expect};
use pintle_sdk::ingress::{Endpoint, Ingress as _};
use pintle_sdk::testing::FakeCluster;
use serde_json::{Value, json};

use super::*;

fn object(kind: &str, value: Value) -> Object {
    Object { kind: kind.to_owned(), json: value.to_string().into_bytes() }
}

fn ingress(class: &str, port: Value) -> Object {
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": port}}},
        {"path": "/health", "pathType": "Exact", "backend": {"service": {"name": "web", "port": port}}}]);
    object(
        "Ingress",
        json!({"metadata": {"name": "web", "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"ingressClassName": class, "rules": [{"host": "Shop.example.com", "http": {"paths": paths}}]}}),
    )
}

/// One endpoint for each word `ZONE=ADDRESS`; one that begins with `!` is not ready.
fn service(endpoints: &str) -> Vec<Object> {
    let endpoint = |word: &str| {
        let (zone, address) = word.trim_start_matches('!').split_once('=').expect("ZONE=ADDRESS");
        json!({"addresses": [address], "zone": zone, "conditions": {"ready": !word.starts_with('!')}})
    };
    let endpoints: Vec<Value> = endpoints.split_whitespace().map(endpoint).collect();
    vec![
        object("Service", json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"ports": [{"name": "http", "port": 80}]}})),
        object(
            "EndpointSlice",
            json!({"metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
            "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints}),
        ),
    ]
}

fn check(objects: Vec<Object>, expected: Expect) {
    let table = Policy.compile(&FakeCluster::new(), objects).expect("a table");
    let mut text = format!("served {:?}\n", table.served);
    for host in &table.hosts {
        for route in &host.routes {
            let Action::Forward(index) = &route.action else { panic!("only forwards") };
            let backend = &table.backends[*index as usize];
            let turns: Vec<String> = backend.endpoints.iter().map(|e| format!("{}:{}", e.address, e.port)).collect();
            text.push_str(&format!("{}{} {:?} -> {}: {}\n", host.name, route.path, route.path_match, backend.name, turns.join(" ")));
        }
    }
    for problem in &table.problems {
        text.push_str(&format!("problem {}/{} {}: {}\n", problem.namespace, problem.name, problem.reason, problem.message));
    }
    expected.assert_eq(&text);
}

#[test]
fn each_zone_gets_the_same_share() {
    let objects = [vec![ingress("zones", json!({"name": "http"}))], service("a=10.0.0.1 a=10.0.0.2 a=10.0.0.3 b=10.0.1.1 !b=10.0.1.2")].concat();
    check(
        objects,
        expect![[r#"
        served ["shop/web"]
        shop.example.com/health PathMatch::Exact -> shop/web:http: 10.0.0.1:8080 10.0.1.1:8080 10.0.0.2:8080 10.0.1.1:8080 10.0.0.3:8080 10.0.1.1:8080
        shop.example.com/ PathMatch::Prefix -> shop/web:http: 10.0.0.1:8080 10.0.1.1:8080 10.0.0.2:8080 10.0.1.1:8080 10.0.0.3:8080 10.0.1.1:8080
    "#]],
    );
}

#[test]
fn sizes_without_a_common_divisor_take_as_many_rounds_as_both_need() {
    let objects = [vec![ingress("zones", json!({"number": 80}))], service("a=10.0.0.1 a=10.0.0.2 b=10.0.1.1 b=10.0.1.2 b=10.0.1.3")].concat();
    check(
        objects,
        expect![[r#"
        served ["shop/web"]
        shop.example.com/health PathMatch::Exact -> shop/web:80: 10.0.0.1:8080 10.0.1.1:8080 10.0.0.2:8080 10.0.1.2:8080 10.0.0.1:8080 10.0.1.3:8080 10.0.0.2:8080 10.0.1.1:8080 10.0.0.1:8080 10.0.1.2:8080 10.0.0.2:8080 10.0.1.3:8080
        shop.example.com/ PathMatch::Prefix -> shop/web:80: 10.0.0.1:8080 10.0.1.1:8080 10.0.0.2:8080 10.0.1.2:8080 10.0.0.1:8080 10.0.1.3:8080 10.0.0.2:8080 10.0.1.1:8080 10.0.0.1:8080 10.0.1.2:8080 10.0.0.2:8080 10.0.1.3:8080
    "#]],
    );
}

#[test]
fn many_zones_of_unlike_sizes_make_no_endless_list() {
    let endpoint = |zone: usize, n: usize| (zone.to_string(), Endpoint { address: format!("10.0.{zone}.{n}"), port: 80 });
    let endpoints: Vec<_> = [97, 89, 83, 79, 73, 71].iter().enumerate().flat_map(|(zone, size)| (0..*size).map(move |n| endpoint(zone, n))).collect();
    assert_eq!(turns::by_zone(endpoints).len(), 97 * 6);
    assert!(turns::by_zone(Vec::new()).is_empty());
}

#[test]
fn other_classes_are_not_served_and_what_is_missing_is_told() {
    check(
        vec![ingress("nginx", json!({"number": 80}))],
        expect![[r#"
        served []
    "#]],
    );
    check(
        [vec![ingress("zones", json!({"number": 81}))], service("")].concat(),
        expect![[r#"
        served ["shop/web"]
        problem shop/web Backend: service shop/web has no port 81
        problem shop/web Backend: service shop/web has no port 81
    "#]],
    );
}
