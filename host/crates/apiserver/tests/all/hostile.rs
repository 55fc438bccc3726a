//! A whole server and clients that mean it no good: each is refused or cut, in bounded time and memory, and the next client is served.

use std::time::Duration;

use pintle_apiserver::Server;
use pintle_apiserver::http::incoming::{MAX_BODY_BYTES, MAX_HELD_BYTES};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

use crate::harness;

/// Nothing here takes longer on any machine; what hangs fails.
const LIMIT: Duration = Duration::from_secs(60);

struct Fixture {
    server: Server,
    _dir: tempfile::TempDir,
}

struct Answer {
    code: u16,
    body: String,
}

async fn fixture() -> Fixture {
    let (server, _dir) = harness::start(|_| {}).await;
    Fixture { server, _dir }
}

impl Fixture {
    /// A connection as the administrator.
    async fn connect(&self, protocol: &str) -> TlsStream<TcpStream> {
        harness::connect_as_admin(&self.server, &[protocol]).await
    }

    /// One request on a connection of its own. Each header ends with its line.
    async fn send(&self, line: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect("http/1.1").await;
        let head = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        // Refused early, the rest of the body goes nowhere.
        let _ = stream.write_all(body).await;
        let _ = stream.flush().await;
        rest(&mut stream).await
    }

    async fn typed(&self, line: &str, media: &str, body: &[u8]) -> Answer {
        self.send(line, &format!("content-type: {media}\r\n"), body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path}"), "", b"").await
    }

    /// Others are served as ever.
    async fn is_well(&self) {
        assert_eq!(self.get(MAPS).await.code, 200);
    }
}

/// What comes until the end of the connection.
async fn rest(stream: &mut TlsStream<TcpStream>) -> Answer {
    let mut all = Vec::new();
    let read = stream.read_to_end(&mut all);
    // A connection that is cut has no TLS goodbye.
    let _ = tokio::time::timeout(LIMIT, read).await.expect("the server neither answers nor ends the connection");
    let text = String::from_utf8_lossy(&all).into_owned();
    let code = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Answer { code, body: text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()) }
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies() {
    let f = fixture().await;
    let post = format!("POST {MAPS}");
    let code = async |media: &str, body: &[u8]| f.typed(&post, media, body).await.code;
    for deep in ["[".repeat(1 << 20), "{\"a\":".repeat(1 << 18), format!("{}{}", "[".repeat(200), "]".repeat(200))] {
        assert_eq!(code("application/json", deep.as_bytes()).await, 400);
        assert_eq!(code("application/yaml", deep.as_bytes()).await, 400);
    }
    let laughs = (1..30).fold("a0: &a0 [x]\n".to_owned(), |text, n| text + &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(",")));
    assert_eq!(code("application/yaml", laughs.as_bytes()).await, 400);
    // A message in a message in a message, each of field 1.
    let nested = (0..10_000).fold(Vec::new(), |inner: Vec<u8>, _| {
        let mut outer = vec![0x0a];
        let mut length = inner.len();
        while length >= 0x80 {
            outer.push(length as u8 | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        [outer, inner].concat()
    });
    assert_eq!(code("application/vnd.kubernetes.protobuf", &nested).await, 400);
    assert_eq!(code("application/vnd.kubernetes.protobuf", b"k8s\0\x12\xff\xff\xff\xff\x0f").await, 400);
    assert_eq!(code("application/json", &vec![b' '; MAX_BODY_BYTES + 1]).await, 413);
    // Nothing is unpacked: what is packed is no JSON.
    let bomb = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xed, 0xc1];
    assert_eq!(f.send(&post, "content-type: application/json\r\ncontent-encoding: gzip\r\n", &bomb).await.code, 400);
    f.is_well().await;
    f.server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lengths_that_lie() {
    let f = fixture().await;
    let head = |length: &str| format!("POST {MAPS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{length}\r\n\r\n");
    // Less than was said: the request never was.
    let mut stream = f.connect("http/1.1").await;
    stream.write_all(format!("{}{}", head("content-length: 1000"), map("less")).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(matches!(rest(&mut stream).await.code, 0 | 400));
    assert_eq!(f.get(&format!("{MAPS}/less")).await.code, 404);
    for lie in ["content-length: -1", "content-length: 1\r\ncontent-length: 2", "content-length: 99999999999999999999", "transfer-encoding: nothing"]
    {
        let mut stream = f.connect("http/1.1").await;
        stream.write_all(head(lie).as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(matches!(rest(&mut stream).await.code, 0 | 400 | 501), "{lie}");
    }
    // More than was said is the beginning of another request, and none.
    let mut stream = f.connect("http/1.1").await;
    stream.write_all(format!("{}{}", head("content-length: 2"), "{}garbage\r\n\r\n").as_bytes()).await.unwrap();
    let answers = rest(&mut stream).await;
    assert!(answers.code == 422 && answers.body.contains("HTTP/1.1 400"), "{} {}", answers.code, answers.body);
    // Chunks without end.
    let mut stream = f.connect("http/1.1").await;
    stream.write_all(head("transfer-encoding: chunked").as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    for _ in 0..=MAX_BODY_BYTES / 0x10000 {
        let _ = stream.write_all(&chunk).await;
    }
    let _ = stream.flush().await;
    assert!(matches!(rest(&mut stream).await.code, 0 | 413));
    f.is_well().await;
    f.server.shutdown().await.unwrap();
}

/// A refusal that does not need the body: the answer comes, and the connection goes on or says that it closes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_nobody_reads() {
    let f = fixture().await;
    // The head alone, so that the server's answer is made before there is a body.
    async fn begin(f: &Fixture, headers: &str, length: usize) -> TlsStream<TcpStream> {
        let mut stream = f.connect("http/1.1").await;
        let head = format!("POST {MAPS}?dryRun=x HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        f.is_well().await;
        stream
    }
    for length in [20, 100_000, MAX_BODY_BYTES] {
        let mut stream = begin(&f, "", length).await;
        stream.write_all(&vec![b'{'; length]).await.unwrap();
        stream.write_all(format!("GET {MAPS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let answers = rest(&mut stream).await;
        assert!(answers.code == 422 && answers.body.contains("HTTP/1.1 200"), "{length}: {} {}", answers.code, answers.body);
    }
    let mut stream = begin(&f, "", MAX_BODY_BYTES + 1).await;
    stream.write_all(&vec![b'{'; MAX_BODY_BYTES + 1]).await.unwrap();
    assert_closes(&mut stream, 422).await;
    // Who waits to be asked for the body is not asked.
    let mut stream = begin(&f, "expect: 100-continue\r\n", 20).await;
    assert_closes(&mut stream, 422).await;
    f.is_well().await;
    f.server.shutdown().await.unwrap();
}

async fn assert_closes(stream: &mut TlsStream<TcpStream>, code: u16) {
    let mut all = Vec::new();
    let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut all)).await.expect("the server neither answers nor ends the connection");
    let text = String::from_utf8_lossy(&all).to_lowercase();
    assert!(text.starts_with(&format!("http/1.1 {code} ")) && text.contains("connection: close"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_and_queries() {
    let f = fixture().await;
    for name in ["a%00b", "%ff%fe", "..%2f..%2fsecrets", "%2e%2e", "a%2fb", "%F0%9F%98%80", "a%0d%0aset-cookie:x"] {
        let answer = f.get(&format!("{MAPS}/{name}")).await;
        assert!(matches!(answer.code, 400 | 404), "{name}: {} {}", answer.code, answer.body);
        let mut named = map("x");
        named["metadata"]["name"] = percent(name).into();
        assert_eq!(f.typed(&format!("POST {MAPS}"), "application/json", named.to_string().as_bytes()).await.code, 422, "{name}");
    }
    for query in ["labelSelector=%00", "labelSelector=%ff", "fieldSelector=%00%3d", "limit=99999999999999999999", "limit=-5", "continue=%ff"] {
        let answer = f.get(&format!("{MAPS}?{query}")).await;
        assert!(matches!(answer.code, 200 | 400), "{query}: {} {}", answer.code, answer.body);
    }
    // Longer than any clock.
    let answer = f.get(&format!("{MAPS}?watch=1&timeoutSeconds=18446744073709551616")).await;
    assert_eq!(answer.code, 400);
    let mut stream = f.connect("http/1.1").await;
    stream.write_all(format!("GET {MAPS}?watch=1&timeoutSeconds={} HTTP/1.1\r\nhost: x\r\n\r\n", u64::MAX).as_bytes()).await.unwrap();
    let mut line = [0; 15];
    stream.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"HTTP/1.1 200 OK");
    // A selector of a megabyte does not fit into a request line; one that fits is read.
    assert!(matches!(f.get(&format!("{MAPS}?labelSelector={}", "a".repeat(1 << 20))).await.code, 0 | 414 | 431));
    let long = format!("a in ({})", vec!["v"; 30_000].join(",")).replace(' ', "%20");
    assert_eq!(f.get(&format!("{MAPS}?labelSelector={long}")).await.code, 200);
    f.is_well().await;
    f.server.shutdown().await.unwrap();
}

fn percent(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Anybody may ask for anything, but what is not there is not counted under its name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_counters_are_not_for_clients_to_make() {
    let f = fixture().await;
    assert_eq!(f.get("/api/v1/namespaces/default/invented%22%7d%201%0aevil").await.code, 404);
    f.is_well().await;
    let metrics = f.get("/metrics").await.body;
    assert!(metrics.contains("resource=\"configmaps\"") && !metrics.contains("invented") && !metrics.contains("evil"), "{metrics}");
    f.server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patches_that_grow() {
    let f = fixture().await;
    let create = f.typed(&format!("POST {MAPS}"), "application/json", map("grows").to_string().as_bytes()).await;
    assert_eq!(create.code, 201);
    let patch = async |patch: Value| f.typed(&format!("PATCH {MAPS}/grows"), "application/json-patch+json", patch.to_string().as_bytes()).await.code;
    let start = json!({"op": "add", "path": "/data/l", "value": ["x".repeat(1 << 10)]});
    let double = json!({"op": "copy", "from": "/data", "path": "/data/l/-"});
    assert_eq!(patch([vec![start.clone()], vec![double; 60]].concat().into()).await, 422);
    let deeper = |times: u32| json!({"op": "copy", "from": "/data", "path": format!("/data{}/-", "/0".repeat(times as usize))});
    assert_eq!(patch((0..200).map(deeper).collect()).await, 422);
    assert_eq!(patch(vec![json!({"op": "test", "path": "/kind", "value": "ConfigMap"}); 10_001].into()).await, 413);
    f.is_well().await;
    f.server.shutdown().await.unwrap();
}

/// A fault that stands twice is told once; to find that out took a minute for thirty thousand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_faults_as_a_body_has_room_for() {
    let f = fixture().await;
    let finalizers: Vec<String> = (0..100_000).map(|n| format!("v{n}")).collect();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}, "spec": {"finalizers": finalizers}});
    let refused = f.typed("POST /api/v1/namespaces", "application/json", namespace.to_string().as_bytes()).await;
    assert!(refused.code == 422 && refused.body.contains("v99999"), "{} {:.200}", refused.code, refused.body);
    f.server.shutdown().await.unwrap();
}

/// Lists that a body has room for: what is asked of an entry must not be asked of all entries before it, or one request takes minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_as_long_as_a_body() {
    let f = fixture().await;
    let list = |count: usize, entry: &dyn Fn(usize) -> Value| (0..count).map(entry).collect::<Value>();
    let pod = |spec: Value, container: Value| {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
        pod["spec"]["containers"] = json!([container]);
        pod["spec"]["containers"][0]["name"] = "c".into();
        pod["spec"]["containers"][0]["image"] = "i".into();
        ("/api/v1/namespaces/default/pods", pod)
    };
    let named = |group: &str, kind: &str, more: Value| {
        let mut object = more;
        (object["apiVersion"], object["kind"], object["metadata"]) = (group.into(), kind.into(), json!({"name": "x"}));
        object
    };
    let mounts = list(25_000, &|n| json!({"name": format!("m{n}"), "mountPath": format!("/m{n}")}));
    let devices = list(25_000, &|n| json!({"name": format!("d{n}"), "devicePath": format!("/d{n}")}));
    let claims = |n: usize| json!({"name": format!("v{n}"), "persistentVolumeClaim": {"claimName": format!("p-{n}")}});
    let spread = |n: usize| json!({"maxSkew": 1, "topologyKey": format!("k{n}"), "whenUnsatisfiable": "DoNotSchedule"});
    let zones = list(100_000, &|n| json!({"name": format!("z{n}")}));
    let endpoint = json!({"addresses": ["10.0.0.1"], "hints": {"forZones": zones}});
    let topology = json!({"matchLabelExpressions": [{"key": "k", "values": list(100_000, &|n| format!("v{n}").into())}]});
    let requests = list(60_000, &|n| json!({"audience": format!("a{n}")}));
    let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": list(100_000, &|n| format!("r{n}/s").into())});
    let webhook =
        json!({"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://x/"}, "rules": [rule]});
    let cases = [
        pod(json!({}), json!({"volumeMounts": mounts, "volumeDevices": devices})),
        pod(json!({"volumes": list(30_000, &claims)}), json!({})),
        pod(json!({"topologySpreadConstraints": list(30_000, &spread)}), json!({})),
        pod(json!({"imagePullSecrets": list(100_000, &|n| json!({"name": format!("s{n}")}))}), json!({})),
        pod(json!({}), json!({"ports": list(60_000, &|n| json!({"containerPort": n + 1}))})),
        pod(
            json!({"volumes": [{"name": "v", "configMap": {"name": "c", "items": list(50_000, &|n| json!({"key": "k", "path": format!("p{n}")}))}}]}),
            json!({}),
        ),
        ("/apis/storage.k8s.io/v1/csidrivers", named("storage.k8s.io/v1", "CSIDriver", json!({"spec": {"tokenRequests": requests}}))),
        (
            "/apis/storage.k8s.io/v1/storageclasses",
            named("storage.k8s.io/v1", "StorageClass", json!({"provisioner": "a.b/c", "allowedTopologies": [topology]})),
        ),
        (
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            named("discovery.k8s.io/v1", "EndpointSlice", json!({"addressType": "IPv4", "endpoints": [endpoint]})),
        ),
        (
            "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
            named("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", json!({"webhooks": [webhook]})),
        ),
    ];
    for (path, object) in cases {
        let body = object.to_string();
        assert!(body.len() < MAX_BODY_BYTES, "{path}: {}", body.len());
        let begun = std::time::Instant::now();
        // Not stored: what a list costs that is kept is another matter.
        let answer = f.typed(&format!("POST {path}?dryRun=All"), "application/json", body.as_bytes()).await;
        println!("{path}: {} after {:?}", answer.code, begun.elapsed());
        assert!(matches!(answer.code, 201 | 422), "{path}: {} {:.300}", answer.code, answer.body);
    }
    f.is_well().await;
    f.server.shutdown().await.unwrap();
}

/// What one server can read another must be able to read, and this one again: objects in lists, events and reviews, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_deeper_than_their_readers() {
    let f = fixture().await;
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    let crds = "POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(f.typed(crds, "application/json", crd.to_string().as_bytes()).await.code, 201);
    let things = "/apis/example.com/v1/namespaces/default/things";
    let served = async { while f.get(things).await.code != 200 {} };
    tokio::time::timeout(LIMIT, served).await.expect("the kind is served");
    let mut kept = Vec::new();
    for depth in 100..127 {
        let nested = (0..depth - 1).fold(json!(1), |inner, _| json!({"a": inner}));
        let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": format!("t{depth}")}, "more": nested});
        match f.typed(&format!("POST {things}"), "application/json", thing.to_string().as_bytes()).await {
            Answer { code: 201, .. } => kept.push(depth),
            Answer { code: 400, body } => assert!(body.contains("levels") || body.contains("recursion"), "{body}"),
            Answer { code, body } => panic!("{depth}: {code} {body}"),
        }
    }
    assert!(kept.contains(&100) && !kept.contains(&126), "{kept:?}");
    let list: Value = serde_json::from_str(&f.get(things).await.body).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), kept.len());
    f.server.shutdown().await.unwrap();
}

/// Time is moved, not waited for.
#[tokio::test]
async fn slow_clients() {
    let f = fixture().await;
    let mut cut = vec![f.connect("http/1.1").await, f.connect("h2").await, f.connect("h2").await, f.connect("http/1.1").await];
    cut[2].write_all(b"PRI * HTTP/2.0\r\n\r\nSM").await.unwrap();
    cut[3].write_all(b"GET /api HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
    let mut body = f.connect("http/1.1").await;
    body.write_all(format!("POST {MAPS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 100\r\n\r\n{{").as_bytes()).await.unwrap();
    f.is_well().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    for stream in &mut cut {
        assert!(matches!(rest(stream).await.code, 0 | 408));
    }
    assert_eq!(rest(&mut body).await.code, 504);
    f.is_well().await;
    f.server.shutdown().await.unwrap();
}

/// Of bodies that are sent at once only so much is held; the others are to come again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_at_once() {
    let f = fixture().await;
    let head = format!("POST {MAPS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {MAX_BODY_BYTES}\r\n\r\n");
    let almost = vec![b' '; MAX_BODY_BYTES - 1];
    let mut streams = Vec::new();
    for _ in 0..MAX_HELD_BYTES / MAX_BODY_BYTES + 1 {
        let mut stream = f.connect("http/1.1").await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let _ = stream.write_all(&almost).await;
        let _ = stream.flush().await;
        streams.push(stream);
    }
    let (refused, ..) = futures::future::select_all(streams.iter_mut().map(|stream| Box::pin(rest(stream)))).await;
    assert!(matches!(refused.code, 0 | 429), "{} {}", refused.code, refused.body);
    f.is_well().await;
    drop(streams);
    // The room comes back when the server sees that they are gone.
    let full = [map("large").to_string().as_bytes(), &almost[..MAX_BODY_BYTES - 200]].concat();
    let served = async { while f.typed(&format!("POST {MAPS}"), "application/json", &full).await.code != 201 {} };
    tokio::time::timeout(LIMIT, served).await.expect("the room comes back");
    f.server.shutdown().await.unwrap();
}

mod http2 {
    //! Frames by hand, since a client's library would not send these.

    use super::*;

    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const CONTINUATION: u8 = 9;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
    const MAX_STREAMS: u32 = 1000;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// GET, https, the path, and an authority, none of it indexed.
    fn get(path: &str) -> Vec<u8> {
        assert!(path.len() < 127, "a length of one byte");
        [&[0x82, 0x87, 0x04, path.len() as u8], path.as_bytes(), &[0x01, 1, b'x']].concat()
    }

    async fn begun(f: &Fixture) -> TlsStream<TcpStream> {
        let mut stream = f.connect("h2").await;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        stream
    }

    async fn read_frame(stream: &mut TlsStream<TcpStream>) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        tokio::time::timeout(LIMIT, stream.read_exact(&mut head)).await.expect("a frame, or the end").ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await.ok()?;
        Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn streams_begun_and_reset() {
        let f = fixture().await;
        let mut stream = begun(&f).await;
        let mut flood = Vec::new();
        for id in (1..40_000).step_by(2) {
            flood.extend(frame(HEADERS, END_HEADERS | END_STREAM, id, &get(MAPS)));
            flood.extend(frame(RST_STREAM, 0, id, &[0, 0, 0, 8]));
        }
        let _ = stream.write_all(&flood).await;
        let _ = stream.flush().await;
        rest(&mut stream).await;
        f.is_well().await;
        f.server.shutdown().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn headers_without_end() {
        let f = fixture().await;
        let mut stream = begun(&f).await;
        stream.write_all(&frame(HEADERS, END_STREAM, 1, &get(MAPS))).await.unwrap();
        // A header of 8000 bytes in each, not indexed.
        let header = [&[0x00, 1, b'a', 0x7f, 0xc1, 0x3d][..], &[b'v'; 8000]].concat();
        let more = frame(CONTINUATION, 0, 1, &header);
        let mut sent = 0;
        while sent < 64 << 20 && stream.write_all(&more).await.is_ok() {
            sent += more.len();
        }
        assert!(sent < 64 << 20, "headers were taken without end");
        f.is_well().await;
        f.server.shutdown().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn as_many_watches_as_a_connection_may_have() {
        let f = fixture().await;
        let mut stream = begun(&f).await;
        let watch = get("/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=0");
        for id in 0..=MAX_STREAMS {
            stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * id + 1, &watch)).await.unwrap();
        }
        stream.flush().await.unwrap();
        let (mut answered, mut refused) = (0, Vec::new());
        while answered < MAX_STREAMS || refused.is_empty() {
            match read_frame(&mut stream).await.expect("the connection stays") {
                (HEADERS, ..) => answered += 1,
                (RST_STREAM, id, _) => refused.push(id),
                _ => {}
            }
        }
        assert_eq!((answered, refused), (MAX_STREAMS, vec![2 * MAX_STREAMS + 1]));
        f.is_well().await;
        f.server.shutdown().await.unwrap();
    }
}
