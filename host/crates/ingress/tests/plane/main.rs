//! The data plane over real sockets of the loopback: clients on one side, small backends on the other.

mod parts;

use http::Method;
use parts::{Backends, Plane, get, request};
use pintle_ingress::table::{
    Action, Affinity, Backend, Balance, BasicAuth, Canary, Certificate, Cors, PathMatch, Protocol, Route, RouteTable, VirtualHost,
};

fn forward(path: &str, backend: u32) -> Route {
    Route::new(path, PathMatch::Prefix, Action::Forward(backend))
}

fn table(routes: Vec<Route>, backends: Vec<Backend>) -> RouteTable {
    RouteTable { hosts: vec![VirtualHost { name: "a.example.com".into(), routes }], backends, ..RouteTable::default() }
}

#[tokio::test]
async fn requests_reach_their_backend_with_headers() {
    let backends = Backends::start(&["one"]).await;
    let mut route = forward("/", 0);
    route.request_headers = vec![("X-Extra".into(), "yes".into())];
    route.response_headers = vec![("X-Served".into(), "pintle".into())];
    let plane = Plane::start(table(vec![route], vec![Backend::new("b", backends.all())])).await;
    let answer = get(&plane, "a.example.com:8080", "/x/y?q=1").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-served"), "pintle");
    let seen = answer.body;
    for part in [
        "one GET /x/y?q=1",
        "host: a.example.com:8080",
        "x-forwarded-for: 127.0.0.1",
        "x-real-ip: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-extra: yes",
        "x-request-id: ",
    ] {
        assert!(seen.contains(part), "{part} in {seen}");
    }
    assert!(!seen.contains("keep-alive:"), "{seen}");
    assert_eq!(get(&plane, "other.example.com", "/").await.status, 404);
    assert_eq!(request(&plane, "a.example.com", "/", |r| *r.method_mut() = Method::POST, "hello").await.body.lines().last(), Some("hello"));
}

#[tokio::test]
async fn a_new_table_counts_at_once() {
    let backends = Backends::start(&["one"]).await;
    let plane = Plane::start(RouteTable::default()).await;
    assert_eq!(get(&plane, "a.example.com", "/").await.status, 404);
    plane.set(table(vec![forward("/", 0)], vec![Backend::new("b", backends.all())]));
    plane.until(|| async { get(&plane, "a.example.com", "/").await.status == 200 }).await;
    plane.set(table(vec![forward("/", 0)], vec![Backend::new("b", Vec::new())]));
    plane.until(|| async { get(&plane, "a.example.com", "/").await.status == 503 }).await;
}

#[tokio::test]
async fn dead_endpoints_are_passed_over() {
    let backends = Backends::start(&["one"]).await;
    let dead = parts::closed_port().await;
    let all = vec![dead.clone(), backends.all()[0].clone()];
    let mut lone = Backend::new("dead", vec![dead]);
    lone.retries = 0;
    let plane = Plane::start(table(vec![forward("/dead", 1), forward("/", 0)], vec![Backend::new("b", all), lone])).await;
    for _ in 0..4 {
        let answer = request(&plane, "a.example.com", "/", |r| *r.method_mut() = Method::PUT, "body").await;
        assert_eq!((answer.status.as_u16(), answer.body.lines().last()), (200, Some("body")));
    }
    assert_eq!(get(&plane, "a.example.com", "/dead").await.status, 502);
}

#[tokio::test]
async fn slow_backends_time_out() {
    let backends = Backends::start(&["slow"]).await;
    let mut backend = Backend::new("b", backends.all());
    (backend.connect_timeout_milliseconds, backend.read_timeout_milliseconds) = (50, 50);
    let plane = Plane::start(table(vec![forward("/", 0)], vec![backend])).await;
    assert_eq!(get(&plane, "a.example.com", "/never").await.status, 504);
}

#[tokio::test]
async fn gates() {
    let backends = Backends::start(&["one"]).await;
    let plain = || forward("/", 0);
    let host = |name: &str, change: &dyn Fn(&mut Route)| {
        let mut route = plain();
        change(&mut route);
        VirtualHost { name: format!("{name}.example.com"), routes: vec![route] }
    };
    let hosts = vec![
        host("allow", &|r| r.allow_sources = vec!["10.0.0.0/8".into()]),
        host("deny", &|r| r.deny_sources = vec!["127.0.0.1".into()]),
        host("small", &|r| r.max_body_bytes = 4),
        host("tls", &|r| r.force_tls = true),
        host("rate", &|r| r.requests_per_second = 1),
        host("auth", &|r| r.auth = Some(BasicAuth { realm: "Stop".into(), users: vec![("ada".into(), "{PLAIN}pw".into())] })),
        host("cors", &|r| {
            r.cors = Some(Cors { allow_origins: vec!["https://x.org".into()], allow_methods: "GET".into(), max_age_seconds: 9, ..Cors::default() })
        }),
        host("moved", &|r| r.action = Action::Redirect(301, "$scheme://new.example.com$request_uri".into())),
        host("said", &|r| r.action = Action::Respond(418, "no".into())),
    ];
    let plane = Plane::start(RouteTable { hosts, backends: vec![Backend::new("b", backends.all())], ..RouteTable::default() }).await;
    let status = async |host: &str| get(&plane, &format!("{host}.example.com"), "/a?b").await.status.as_u16();
    assert_eq!((status("allow").await, status("deny").await, status("said").await), (403, 403, 418));
    let sent = |body: &'static str| request(&plane, "small.example.com", "/", |r| *r.method_mut() = Method::POST, body);
    assert_eq!((sent("1234").await.status.as_u16(), sent("12345").await.status.as_u16()), (200, 413));
    assert_eq!(plane.chunked("small.example.com", "123456").await, 413, "without a length beforehand");
    let redirect = get(&plane, "tls.example.com", "/a?b").await;
    assert_eq!((redirect.status.as_u16(), redirect.header("location")), (308, "https://tls.example.com/a?b"));
    let redirect = get(&plane, "moved.example.com", "/a?b").await;
    assert_eq!((redirect.status.as_u16(), redirect.header("location")), (301, "http://new.example.com/a?b"));
    let mut refused = 0;
    for _ in 0..10 {
        refused += u32::from(status("rate").await == 503);
    }
    assert!((4..=5).contains(&refused), "five at once, then one a second: {refused}");
    let denied = get(&plane, "auth.example.com", "/").await;
    assert_eq!((denied.status.as_u16(), denied.header("www-authenticate")), (401, "Basic realm=\"Stop\""));
    let with = |value: &'static str| {
        request(&plane, "auth.example.com", "/", move |r| drop(r.headers_mut().insert("authorization", value.parse().unwrap())), "")
    };
    assert_eq!((with("Basic YWRhOnB3").await.status.as_u16(), with("Basic YWRhOnB4").await.status.as_u16()), (200, 401));
    let origin = |r: &mut http::Request<parts::Sent>| drop(r.headers_mut().insert("origin", "https://x.org".parse().unwrap()));
    let preflight = request(
        &plane,
        "cors.example.com",
        "/",
        |r| {
            *r.method_mut() = Method::OPTIONS;
            origin(r)
        },
        "",
    )
    .await;
    assert_eq!(
        (preflight.status.as_u16(), preflight.header("access-control-allow-origin"), preflight.header("access-control-max-age")),
        (204, "https://x.org", "9")
    );
    let answer = request(&plane, "cors.example.com", "/", origin, "").await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-methods")), (200, "GET"));
    assert_eq!(get(&plane, "cors.example.com", "/").await.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn canaries_cookies_and_turns() {
    let backends = Backends::start(&["one", "two", "three"]).await;
    let each = backends.all();
    let mut shared = forward("/canary", 0);
    shared.canaries = vec![Canary { backend: 1, header: Some(("x-canary".into(), String::new())), ..Canary::default() }];
    let mut sticky = Backend::new("sticky", each.clone());
    sticky.affinity = Some(Affinity { cookie: "route".into(), max_age_seconds: 60, path: "/".into() });
    let all =
        vec![Backend::new("one", vec![each[0].clone()]), Backend::new("two", vec![each[1].clone()]), sticky, Backend::new("turns", each.clone())];
    let plane = Plane::start(table(vec![shared, forward("/sticky", 2), forward("/", 3)], all)).await;
    assert_eq!(get(&plane, "a.example.com", "/canary").await.who(), "one");
    let canary = request(&plane, "a.example.com", "/canary", |r| drop(r.headers_mut().insert("x-canary", "always".parse().unwrap())), "").await;
    assert_eq!(canary.who(), "two");
    let first = get(&plane, "a.example.com", "/sticky").await;
    let cookie = first.header("set-cookie").split(';').next().unwrap().to_owned();
    for _ in 0..4 {
        let again = request(&plane, "a.example.com", "/sticky", |r| drop(r.headers_mut().insert("cookie", cookie.parse().unwrap())), "").await;
        assert_eq!((again.who(), again.header("set-cookie")), (first.who(), ""));
    }
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(get(&plane, "a.example.com", "/").await.who().to_owned());
    }
    seen.sort();
    assert_eq!(seen, ["one", "three", "two"]);
}

#[tokio::test]
async fn patterns_rewrite() {
    let backends = Backends::start(&["one"]).await;
    let mut route = Route::new("/api(/|$)(.*)", PathMatch::Pattern, Action::Forward(0));
    route.rewrite = Some("/$2".into());
    let plane = Plane::start(table(vec![route], vec![Backend::new("b", backends.all())])).await;
    assert!(get(&plane, "a.example.com", "/api/users/7?x=1").await.body.starts_with("one GET /users/7?x=1\n"));
    assert_eq!(get(&plane, "a.example.com", "/apix").await.status, 404);
}

#[tokio::test]
async fn tls_by_name_and_http2() {
    let backends = Backends::start(&["one"]).await;
    let (chain, key) = parts::certificate("a.example.com");
    let mut table = table(vec![forward("/", 0)], vec![Backend::new("b", backends.all())]);
    table.certificates = vec![Certificate {
        hosts: vec!["a.example.com".into(), "*.wild.org".into()],
        chain: chain.into(),
        key: key.into(),
        source: "default/pair".into(),
    }];
    let plane = Plane::start(table).await;
    let (answer, subject) = plane.over_tls("a.example.com", b"h2").await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("x-forwarded-proto: https") && answer.body.contains("host: a.example.com"), "{}", answer.body);
    assert!(subject.contains("a.example.com"), "{subject}");
    assert!(plane.over_tls("x.wild.org", b"http/1.1").await.1.contains("a.example.com"));
    assert!(plane.over_tls("unknown.org", b"http/1.1").await.1.contains("Fake Certificate"));
}

#[tokio::test]
async fn backends_over_tls_and_http2() {
    let backends = Backends::start_tls("secure").await;
    let mut https = Backend::new("https", backends.all());
    https.protocol = Protocol::Https;
    let mut grpcs = Backend::new("grpcs", backends.all());
    grpcs.protocol = Protocol::Grpcs;
    grpcs.balance = Balance::HashClient;
    let plane = Plane::start(table(vec![forward("/g", 1), forward("/", 0)], vec![https, grpcs])).await;
    assert!(get(&plane, "a.example.com", "/").await.body.contains("HTTP/1.1"));
    assert!(get(&plane, "a.example.com", "/g").await.body.contains("HTTP/2.0"));
}

#[tokio::test]
async fn websockets_are_joined() {
    let backends = Backends::start(&["one"]).await;
    let plane = Plane::start(table(vec![forward("/", 0)], vec![Backend::new("b", backends.all())])).await;
    assert_eq!(plane.upgraded("a.example.com", "ping").await, "echo ping");
}
