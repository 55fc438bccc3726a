//! Small clusters, and the tables that come of them, as text.

use expect_test::{Expect, expect};
use pintle_sdk::ingress::{Backend, Endpoint};
use serde_json::{Value, json};

use super::*;

fn object(kind: &str, value: Value) -> Object {
    Object { kind: kind.to_owned(), json: value.to_string().into_bytes() }
}

/// A service with one port `http` 80 and two endpoints.
fn service(name: &str) -> [Object; 2] {
    [
        object(
            "Service",
            json!({"metadata": {"namespace": "default", "name": name}, "spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "http", "port": 80}]}}),
        ),
        object(
            "EndpointSlice",
            json!({"metadata": {"namespace": "default", "name": format!("{name}-x"), "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": ["10.244.0.6"]}, {"addresses": ["10.244.0.5"], "conditions": {"ready": true}}, {"addresses": ["10.244.0.7"], "conditions": {"ready": false}}]}),
        ),
    ]
}

fn path(path: &str, path_type: &str, service: &str) -> Value {
    json!({"path": path, "pathType": path_type, "backend": {"service": {"name": service, "port": {"name": "http"}}}})
}

fn ingress(name: &str, annotations: Value, spec: Value) -> Object {
    let annotations: serde_json::Map<String, Value> = annotations
        .as_object()
        .unwrap()
        .iter()
        .map(|(k, v)| (if k.contains('/') { k.clone() } else { format!("nginx.ingress.kubernetes.io/{k}") }, v.clone()))
        .collect();
    object(
        "Ingress",
        json!({"metadata": {"namespace": "default", "name": name, "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": annotations}, "spec": spec}),
    )
}

fn one_rule(host: &str, paths: Vec<Value>) -> Value {
    json!({"ingressClassName": "nginx", "rules": [{"host": host, "http": {"paths": paths}}]})
}

fn check(objects: Vec<Object>, expected: Expect) {
    let mut all: Vec<Object> = service("web").into();
    all.extend(service("other"));
    all.extend(objects);
    expected.assert_eq(&describe(&compile(&Config::default(), &all)));
}

fn describe(table: &RouteTable) -> String {
    let mut lines = Vec::new();
    for host in &table.hosts {
        lines.push(format!("host {:?}", host.name));
        lines.extend(host.routes.iter().map(route));
    }
    lines.extend(table.backends.iter().map(backend));
    lines.extend(table.certificates.iter().map(|c| format!("certificate {} for {}", c.source, c.hosts.join(" "))));
    lines.push(format!("served {}", table.served.join(" ")));
    lines.extend(table.problems.iter().map(|p| format!("problem {}/{} {}: {}", p.namespace, p.name, p.reason, p.message)));
    lines.join("\n") + "\n"
}

/// What differs from a plain route.
fn route(route: &Route) -> String {
    let mut line = format!("  {:?} {} {:?}", route.path_match, route.path, route.action);
    let plain = Route::new("", PathMatch::Prefix, Action::Forward(0));
    let parts = [
        (route.rewrite != plain.rewrite, format!("rewrite {:?}", route.rewrite)),
        (route.force_tls, "force-tls".to_owned()),
        (!route.canaries.is_empty(), format!("{:?}", route.canaries)),
        (route.auth.is_some(), format!("{:?}", route.auth)),
        (!route.allow_sources.is_empty(), format!("allow {:?}", route.allow_sources)),
        (!route.deny_sources.is_empty(), format!("deny {:?}", route.deny_sources)),
        (route.max_body_bytes != 0, format!("body {}", route.max_body_bytes)),
        (route.requests_per_second != 0, format!("rate {}", route.requests_per_second)),
        (!route.request_headers.is_empty(), format!("{:?}", route.request_headers)),
        (!route.response_headers.is_empty(), format!("{:?}", route.response_headers)),
        (route.cors.is_some(), format!("{:?}", route.cors)),
    ];
    for (_, text) in parts.iter().filter(|(differs, _)| *differs) {
        line.push_str("; ");
        line.push_str(text);
    }
    line
}

fn backend(backend: &Backend) -> String {
    let Backend { name, endpoints, balance, protocol, affinity, connect_timeout_milliseconds, read_timeout_milliseconds, retries } = backend;
    let endpoints: Vec<String> = endpoints.iter().map(|Endpoint { address, port }| format!("{address}:{port}")).collect();
    let affinity = affinity.as_ref().map_or(String::new(), |a| format!(" {a:?}"));
    format!(
        "backend {name} [{}] {balance:?} {protocol:?} {connect_timeout_milliseconds}/{read_timeout_milliseconds} ms, {retries} retries{affinity}",
        endpoints.join(" ")
    )
}

#[test]
fn hosts_paths_and_tls() {
    let secret = object("Secret", json!({"metadata": {"namespace": "default", "name": "pair"}, "data": {"tls.crt": "Yw==", "tls.key": "aw=="}}));
    let spec = json!({"ingressClassName": "nginx", "tls": [{"hosts": ["a.example.com"], "secretName": "pair"}, {"hosts": ["b.example.com"], "secretName": "gone"}],
    "defaultBackend": {"service": {"name": "other", "port": {"number": 80}}},
    "rules": [
        {"host": "a.example.com", "http": {"paths": [path("/", "Prefix", "web"), path("/deep/er", "Prefix", "other"), path("/deep", "Exact", "web")]}},
        {"host": "*.wild.example.com", "http": {"paths": [path("/x", "ImplementationSpecific", "web")]}},
    ]});
    check(
        vec![secret, ingress("main", json!({}), spec)],
        expect![[r#"
        host "*.wild.example.com"
          PathMatch::Prefix /x Action::Forward(0)
          PathMatch::Prefix / Action::Forward(2)
        host "a.example.com"
          PathMatch::Exact /deep Action::Forward(0); force-tls
          PathMatch::Prefix /deep/er Action::Forward(1); force-tls
          PathMatch::Prefix / Action::Forward(0); force-tls
        backend default/web:http [10.244.0.5:8080 10.244.0.6:8080] Balance::RoundRobin Protocol::Http 5000/60000 ms, 2 retries
        backend default/other:http [10.244.0.5:8080 10.244.0.6:8080] Balance::RoundRobin Protocol::Http 5000/60000 ms, 2 retries
        backend default/other:80 [10.244.0.5:8080 10.244.0.6:8080] Balance::RoundRobin Protocol::Http 5000/60000 ms, 2 retries
        certificate default/pair for a.example.com
        served default/main
        problem default/main TlsSecret: secret default/gone does not exist or has no tls.crt and tls.key
    "#]],
    );
}

#[test]
fn annotations() {
    let secret = object("Secret", json!({"metadata": {"namespace": "default", "name": "users"}, "data": {"auth": "YWRhOiRhcHIxJHgkeQo="}}));
    let everything = json!({
        "rewrite-target": "/$2", "force-ssl-redirect": "true", "proxy-body-size": "8m", "limit-rps": "5", "auth-type": "basic", "auth-secret": "users",
        "auth-realm": "Stop", "whitelist-source-range": "10.0.0.0/8, 192.0.2.1", "denylist-source-range": "10.9.0.0/16", "enable-cors": "true",
        "cors-allow-origin": "https://a.example.com", "affinity": "cookie", "session-cookie-name": "route", "session-cookie-max-age": "600",
        "proxy-connect-timeout": "3", "proxy-read-timeout": "7", "backend-protocol": "HTTPS", "upstream-hash-by": "$request_uri", "server-alias": "alias.example.com",
        "app-root": "/start", "upstream-vhost": "inner", "pintle.dev/response-headers": "X-A: b\nX-C: d", "use-regex": "maybe", "configuration-snippet": "deny all;",
    });
    check(
        vec![secret, ingress("main", everything, one_rule("a.example.com", vec![path("/api(/|$)(.*)", "ImplementationSpecific", "web")]))],
        expect![[r#"
        host "a.example.com"
          PathMatch::Exact / Action::Redirect((302, "$scheme://$host/start")); rewrite Some("/$2"); force-tls; Some(BasicAuth { realm: "Stop", users: [Pair { key: "ada", value: "$apr1$x$y" }] }); allow ["10.0.0.0/8", "192.0.2.1"]; deny ["10.9.0.0/16"]; body 8388608; rate 5; [Pair { key: "Host", value: "inner" }]; [Pair { key: "X-A", value: "b" }, Pair { key: "X-C", value: "d" }]; Some(Cors { allow-origins: ["https://a.example.com"], allow-methods: "GET, PUT, POST, DELETE, PATCH, OPTIONS", allow-headers: "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization", allow-credentials: true, max-age-seconds: 1728000 })
          PathMatch::Pattern (?i)/api(/|$)(.*) Action::Forward(0); rewrite Some("/$2"); force-tls; Some(BasicAuth { realm: "Stop", users: [Pair { key: "ada", value: "$apr1$x$y" }] }); allow ["10.0.0.0/8", "192.0.2.1"]; deny ["10.9.0.0/16"]; body 8388608; rate 5; [Pair { key: "Host", value: "inner" }]; [Pair { key: "X-A", value: "b" }, Pair { key: "X-C", value: "d" }]; Some(Cors { allow-origins: ["https://a.example.com"], allow-methods: "GET, PUT, POST, DELETE, PATCH, OPTIONS", allow-headers: "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization", allow-credentials: true, max-age-seconds: 1728000 })
        host "alias.example.com"
          PathMatch::Exact / Action::Redirect((302, "$scheme://$host/start")); rewrite Some("/$2"); force-tls; Some(BasicAuth { realm: "Stop", users: [Pair { key: "ada", value: "$apr1$x$y" }] }); allow ["10.0.0.0/8", "192.0.2.1"]; deny ["10.9.0.0/16"]; body 8388608; rate 5; [Pair { key: "Host", value: "inner" }]; [Pair { key: "X-A", value: "b" }, Pair { key: "X-C", value: "d" }]; Some(Cors { allow-origins: ["https://a.example.com"], allow-methods: "GET, PUT, POST, DELETE, PATCH, OPTIONS", allow-headers: "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization", allow-credentials: true, max-age-seconds: 1728000 })
          PathMatch::Pattern (?i)/api(/|$)(.*) Action::Forward(0); rewrite Some("/$2"); force-tls; Some(BasicAuth { realm: "Stop", users: [Pair { key: "ada", value: "$apr1$x$y" }] }); allow ["10.0.0.0/8", "192.0.2.1"]; deny ["10.9.0.0/16"]; body 8388608; rate 5; [Pair { key: "Host", value: "inner" }]; [Pair { key: "X-A", value: "b" }, Pair { key: "X-C", value: "d" }]; Some(Cors { allow-origins: ["https://a.example.com"], allow-methods: "GET, PUT, POST, DELETE, PATCH, OPTIONS", allow-headers: "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization", allow-credentials: true, max-age-seconds: 1728000 })
        backend default/web:http [10.244.0.5:8080 10.244.0.6:8080] Balance::HashUri Protocol::Https 3000/7000 ms, 2 retries Affinity { cookie: "route", max-age-seconds: 600, path: "/" }
        served default/main
        problem default/main Annotation: nginx.ingress.kubernetes.io/use-regex: "maybe" is neither true nor false
        problem default/main Annotation: nginx.ingress.kubernetes.io/configuration-snippet has no effect here
    "#]],
    );
}

#[test]
fn canaries_and_redirects() {
    check(
        vec![
            ingress(
                "canary",
                json!({"canary": "true", "canary-weight": "20", "canary-by-header": "X-Canary"}),
                one_rule("a.example.com", vec![path("/", "Prefix", "other")]),
            ),
            ingress("lonely", json!({"canary": "true"}), one_rule("z.example.com", vec![path("/", "Prefix", "other")])),
            ingress("main", json!({}), one_rule("a.example.com", vec![path("/", "Prefix", "web")])),
            ingress(
                "moved",
                json!({"permanent-redirect": "https://new.example.com$request_uri"}),
                one_rule("old.example.com", vec![path("/", "Prefix", "web")]),
            ),
        ],
        expect![[r#"
            host "a.example.com"
              PathMatch::Prefix / Action::Forward(0); [Canary { backend: 1, weight: 20, weight-total: 100, header: Some(Pair { key: "X-Canary", value: "" }), cookie: None }]
            host "old.example.com"
              PathMatch::Prefix / Action::Redirect((301, "https://new.example.com$request_uri"))
            backend default/web:http [10.244.0.5:8080 10.244.0.6:8080] Balance::RoundRobin Protocol::Http 5000/60000 ms, 2 retries
            backend default/other:http [10.244.0.5:8080 10.244.0.6:8080] Balance::RoundRobin Protocol::Http 5000/60000 ms, 2 retries
            served default/canary default/lonely default/main default/moved
            problem default/lonely CanaryAlone: no other Ingress has z.example.com/
        "#]],
    );
}

#[test]
fn classes_and_faults() {
    let class = |name: &str, controller: &str| object("IngressClass", json!({"metadata": {"name": name}, "spec": {"controller": controller}}));
    let spec = |class: Option<&str>, service: &str| {
        let mut spec = one_rule("a.example.com", vec![path("/", "Prefix", service)]);
        spec["ingressClassName"] = json!(class);
        spec
    };
    check(
        vec![
            class("ours", "pintle.dev/ingress-nginx-like"),
            class("theirs", "example.com/other"),
            ingress("by-class", json!({}), spec(Some("ours"), "web")),
            ingress("foreign", json!({}), spec(Some("theirs"), "web")),
            ingress("unknown", json!({}), spec(Some("nobody"), "web")),
            ingress("without", json!({}), spec(None, "missing")),
            ingress(
                "locked",
                json!({"auth-type": "basic", "auth-secret": "elsewhere/users"}),
                one_rule("b.example.com", vec![path("/", "Prefix", "web")]),
            ),
            ingress("empty", json!({}), json!({"ingressClassName": "nginx"})),
            object("Ingress", json!({"metadata": 3})),
        ],
        expect![[r#"
            host "a.example.com"
              PathMatch::Prefix / Action::Forward(0)
            host "b.example.com"
              PathMatch::Prefix / Action::Respond((503, "authentication is not configured\n"))
            backend default/web:http [10.244.0.5:8080 10.244.0.6:8080] Balance::RoundRobin Protocol::Http 5000/60000 ms, 2 retries
            backend default/missing:http [] Balance::RoundRobin Protocol::Http 5000/60000 ms, 2 retries
            served default/by-class default/empty default/locked default/without
            problem / Unreadable: invalid type: integer `3`, expected struct Metadata at line 1 column 13
            problem default/locked AuthSecret: secret elsewhere/users does not exist or may not be used
            problem default/empty NoRules: neither rules nor a default backend
            problem default/without Backend: service default/missing does not exist
            problem default/without PathTaken: an older Ingress has a.example.com/
        "#]],
    );
}

#[test]
fn another_default_class_takes_the_classless() {
    let class = object(
        "IngressClass",
        json!({"metadata": {"name": "theirs", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}, "spec": {"controller": "example.com/other"}}),
    );
    let mut spec = one_rule("a.example.com", vec![path("/", "Prefix", "web")]);
    spec["ingressClassName"] = Value::Null;
    check(
        vec![class, ingress("without", json!({}), spec)],
        expect![[r#"
        served 
    "#]],
    );
}
