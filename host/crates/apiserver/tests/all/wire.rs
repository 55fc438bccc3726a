//! A whole server with others on the wire: webhooks that it asks, and clients that watch over WebSocket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pintle_api::client::{DeleteOptions, ListOptions, Patch, Target, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Status};
use pintle_apiserver::Server;
use pintle_apiserver::auth::User;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Fixture, connect_as_admin};

const CONFIG_MAPS: GroupVersionResource = GroupVersionResource::constant("", "v1", "configmaps");
const CUSTOM: GroupVersionResource = GroupVersionResource::constant("apiextensions.k8s.io", "v1", "customresourcedefinitions");
/// Nothing here takes longer on any machine.
const LIMIT: Duration = Duration::from_secs(20);

async fn fixture() -> Fixture {
    Fixture::start(|_| {}).await
}

/// A webhook that answers each review with what the function makes of it; how to call it.
async fn hook(server: &Server, answer: impl Fn(&Value) -> Value + Clone + Send + Sync + 'static) -> Value {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/hook", listener.local_addr().unwrap());
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server.pki().server_config().unwrap()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let answer = &answer;
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| async move {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let answer = answer(&serde_json::from_slice(&body).unwrap());
                    Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::from(answer.to_string()))))
                });
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    json!({"url": url, "caBundle": STANDARD.encode(server.pki().ca_pem())})
}

fn configuration(kind: &str, client: &Value, resource: &str, more: Value) -> Value {
    let mut webhook = json!({
        "name": "hook.example.com", "clientConfig": client, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": [resource]}],
    });
    webhook.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "hooks"}, "webhooks": [webhook]})
}

async fn create(f: &Fixture, resource: &str, object: Value) -> Result<Value, Status> {
    let (group, version) = object.api_version().split_once('/').unwrap_or(("", object.api_version()));
    let namespace = (resource == "configmaps" || resource == "things").then_some("default");
    let gvr = GroupVersionResource::new(group.to_owned(), version.to_owned(), resource.to_owned());
    f.client.create(&Target::collection(gvr, namespace), object, &WriteOptions::default()).await.map(|s| s.parse().unwrap())
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": "1"}})
}

fn admission(review: &Value, response: Value) -> Value {
    let mut response = response;
    response["uid"] = review["request"]["uid"].clone();
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_change_and_refuse() {
    let f = fixture().await;
    let adds = hook(&f.server, |review| {
        let patch = STANDARD.encode(r#"[{"op": "add", "path": "/data/added", "value": "yes"}]"#);
        admission(review, json!({"allowed": true, "patchType": "JSONPatch", "patch": patch, "warnings": ["changed"]}))
    })
    .await;
    let condition = json!({
        "matchConditions": [{"name": "not-skipped", "expression": "!has(object.metadata.labels)"}],
        "rules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
    });
    create(&f, "mutatingwebhookconfigurations", configuration("MutatingWebhookConfiguration", &adds, "configmaps", condition)).await.unwrap();
    let changed = create(&f, "configmaps", config_map("changed")).await.unwrap();
    assert_eq!(changed["data"], json!({"key": "1", "added": "yes"}));
    let mut skipped = config_map("skipped");
    skipped.set_at(&["metadata", "labels"], json!({"a": "b"}));
    assert_eq!(create(&f, "configmaps", skipped).await.unwrap()["data"], json!({"key": "1"}));
    // What is empty is not there for a hook, as it is not there once it is stored.
    let mut without = config_map("without");
    (without["metadata"]["labels"], without["binaryData"]) = (json!({}), json!({}));
    let without = create(&f, "configmaps", without).await.unwrap();
    assert_eq!((&without["data"], without.get("binaryData")), (&json!({"key": "1", "added": "yes"}), None));

    let refuses = hook(&f.server, |review| {
        let kept = review["request"]["operation"] == "DELETE" || review["request"]["object"]["data"]["key"] == "bad";
        admission(review, json!({"allowed": !kept, "status": {"message": "no", "code": 403, "reason": "Forbidden"}}))
    })
    .await;
    create(&f, "validatingwebhookconfigurations", configuration("ValidatingWebhookConfiguration", &refuses, "configmaps", json!({}))).await.unwrap();
    let name = |name: &str| Target::object(CONFIG_MAPS, Some("default"), name);
    let patch = Patch::Merge(json!({"data": {"key": "bad"}}));
    let refused = f.client.patch(&name("changed"), patch, &WriteOptions::default()).await.unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (403, "admission webhook \"hook.example.com\" denied the request: no"));
    let refused = f.client.delete(&name("changed"), &DeleteOptions::default()).await.unwrap_err();
    assert_eq!(refused.code, 403);

    // A hook that is not there refuses everything, but not that it is taken away.
    let gone = json!({"url": "https://127.0.0.1:1/", "caBundle": adds["caBundle"]});
    let mut broken = configuration("ValidatingWebhookConfiguration", &gone, "*", json!({}));
    broken.set_at(&["metadata", "name"], json!("broken"));
    create(&f, "validatingwebhookconfigurations", broken).await.unwrap();
    let failed = create(&f, "configmaps", config_map("never")).await.unwrap_err();
    assert!(failed.code == 500 && failed.message.contains("failed calling webhook \"hook.example.com\": failed to call webhook: Post"), "{failed}");
    let hooks = GroupVersionResource::constant("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations");
    for name in ["broken", "hooks"] {
        f.client.delete(&Target::object(hooks.clone(), None, name), &DeleteOptions::default()).await.unwrap();
    }
    create(&f, "configmaps", config_map("again")).await.unwrap();
    f.server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_change_and_refuse() {
    let f = fixture().await;
    let rules = json!({"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]});
    let made =
        |kind: &str, spec: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "p"}, "spec": spec});
    let mutation =
        json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{data: {'by': request.userInfo.username}}"}});
    let spec = json!({"matchConstraints": rules, "mutations": [mutation], "reinvocationPolicy": "Never"});
    create(&f, "mutatingadmissionpolicies", made("MutatingAdmissionPolicy", spec)).await.unwrap();
    let unbound = create(&f, "configmaps", config_map("unbound")).await.unwrap();
    assert!(unbound["data"].get("by").is_none());
    create(&f, "mutatingadmissionpolicybindings", made("MutatingAdmissionPolicyBinding", json!({"policyName": "p"}))).await.unwrap();
    let bound = create(&f, "configmaps", config_map("bound")).await.unwrap();
    assert_eq!(bound["data"]["by"], User::loopback().name);

    let validation = json!({"expression": "variables.name != 'bad' && namespaceObject.metadata.name == 'default'", "message": "not that name"});
    let spec = json!({"matchConstraints": rules, "variables": [{"name": "name", "expression": "object.metadata.name"}], "validations": [validation]});
    create(&f, "validatingadmissionpolicies", made("ValidatingAdmissionPolicy", spec)).await.unwrap();
    let binding = json!({"policyName": "p", "validationActions": ["Deny"]});
    create(&f, "validatingadmissionpolicybindings", made("ValidatingAdmissionPolicyBinding", binding)).await.unwrap();
    create(&f, "configmaps", config_map("good")).await.unwrap();
    let refused = create(&f, "configmaps", config_map("bad")).await.unwrap_err();
    let expected = "configmaps \"bad\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: not that name";
    assert_eq!((refused.code, refused.message.as_str()), (422, expected));
    f.server.shutdown().await.unwrap();
}

/// How often [`convert`] was asked.
static CONVERSIONS: AtomicUsize = AtomicUsize::new(0);

/// `hostPort` of v1 is `host` and `port` of v2.
fn convert(review: &Value) -> Value {
    CONVERSIONS.fetch_add(1, Ordering::SeqCst);
    let wanted = review["request"]["desiredAPIVersion"].clone();
    let turn = |object: &Value| {
        let mut object = object.clone();
        object["apiVersion"] = wanted.clone();
        if wanted == "example.com/v1" {
            object["hostPort"] = json!(format!("{}:{}", object.str_at(&["host"]), object.str_at(&["port"])));
            ["host", "port"].iter().for_each(|f| drop(object.remove_at(&[f])));
        } else if let Some((host, port)) = object.str_at(&["hostPort"]).to_owned().split_once(':') {
            (object["host"], object["port"]) = (json!(host), json!(port));
            object.remove_at(&["hostPort"]);
        }
        object
    };
    let converted: Vec<Value> = review.list_at(&["request", "objects"]).iter().map(turn).collect();
    let response = json!({"uid": review["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": converted});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response})
}

/// The first lines of a watch.
async fn lines(server: &Server, path: &str, count: usize) -> Vec<Value> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connect_as_admin(server, &[]).await)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(path).header("host", "127.0.0.1").body(Full::new(Bytes::new())).unwrap();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    let mut text = Vec::new();
    while text.iter().filter(|byte| **byte == b'\n').count() < count {
        let frame = tokio::time::timeout(LIMIT, body.frame()).await.expect("an event is missing").unwrap().unwrap();
        text.extend_from_slice(&frame.into_data().unwrap());
    }
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_versions_are_turned_into_each_other() {
    let f = fixture().await;
    let client = hook(&f.server, convert).await;
    let version = |name: &str, storage: bool, fields: &[&str]| {
        let properties: Value = fields.iter().map(|f| ((*f).to_owned(), json!({"type": "string"}))).collect::<serde_json::Map<_, _>>().into();
        let selectable: Vec<Value> = fields.iter().map(|f| json!({"jsonPath": format!(".{f}")})).collect();
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}}, "selectableFields": selectable})
    };
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}},
            "versions": [version("v1", true, &["hostPort"]), version("v2", false, &["host", "port"])]},
    });
    create(&f, "customresourcedefinitions", definition).await.unwrap();
    let target = Target::object(CUSTOM, None, "things.example.com");
    let established = async {
        while !f.client.get(&target).await.unwrap().parse().unwrap().to_string().contains("Established") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, established).await.unwrap();

    let thing =
        |name: &str, port: &str| json!({"apiVersion": "example.com/v2", "kind": "Thing", "metadata": {"name": name}, "host": "h", "port": port});
    let made = create(&f, "things", thing("a", "80")).await.unwrap();
    assert_eq!((&made["host"], &made["port"]), (&json!("h"), &json!("80")));
    create(&f, "things", thing("b", "81")).await.unwrap();
    let things = |version: &'static str| Target::collection(GroupVersionResource::constant("example.com", version, "things"), Some("default"));
    let names = async |version, selector: &str| {
        let options = ListOptions { field_selector: selector.to_owned(), ..ListOptions::default() };
        let list = f.client.list(&things(version), &options).await.unwrap();
        list.items.iter().map(|i| i.parse().unwrap().name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("v1", "hostPort=h:80").await, ["a"]);
    assert_eq!(names("v2", "host=h,port!=80").await, ["b"]);
    let old = f.client.get(&Target { name: Some("a".into()), ..things("v1") }).await.unwrap().parse().unwrap();
    assert_eq!((old["hostPort"].as_str(), old.get("host")), (Some("h:80"), None));

    // Many changes wait when the watch begins; each is converted before it is told, and selected by the fields of its version.
    let before = f.client.list(&things("v1"), &ListOptions::default()).await.unwrap().revision;
    for port in 90..99 {
        let host = if port % 3 == 0 { "other" } else { "h" };
        let patch = Patch::Merge(json!({"hostPort": format!("{host}:{port}")}));
        f.client.patch(&Target { name: Some("a".into()), ..things("v1") }, patch, &WriteOptions::default()).await.unwrap();
    }
    let path = format!("/apis/example.com/v2/namespaces/default/things?watch=true&resourceVersion={before}");
    let asked = CONVERSIONS.load(Ordering::SeqCst);
    let many = futures::future::join_all((0..8).map(|_| lines(&f.server, &path, 9))).await;
    assert_eq!(CONVERSIONS.load(Ordering::SeqCst) - asked, 9, "each once for all watchers");
    assert!(many.iter().all(|told| *told == many[0]));
    let told = &many[0];
    let shown = |event: &Value| format!("{} {}:{}", event.str_at(&["type"]), event.str_at(&["object", "host"]), event.str_at(&["object", "port"]));
    let expected = "MODIFIED other:90, MODIFIED h:91, MODIFIED h:92, MODIFIED other:93, MODIFIED h:94, MODIFIED h:95, MODIFIED other:96, MODIFIED h:97, MODIFIED h:98";
    assert_eq!(told.iter().map(shown).collect::<Vec<_>>().join(", "), expected);
    let told = lines(&f.server, &format!("{path}&fieldSelector=host%3Dother"), 6).await;
    let kinds: Vec<&str> = told.iter().map(|event| event.str_at(&["type"])).collect();
    assert_eq!(kinds, ["ADDED", "DELETED", "ADDED", "DELETED", "ADDED", "DELETED"]);

    f.client.delete(&Target { name: Some("a".into()), ..things("v1") }, &DeleteOptions::default()).await.unwrap();
    let gone = lines(&f.server, &path, 10).await.pop().unwrap();
    let old = lines(&f.server, &path.replace("/v2/", "/v1/"), 10).await.pop().unwrap();
    assert_eq!(shown(&gone), "DELETED h:98");
    assert_eq!((gone["object"].resource_version(), old["object"].str_at(&["hostPort"])), (old["object"].resource_version(), "h:98"));
    f.server.shutdown().await.unwrap();
}

/// A pod that has not begun is evicted without its budget, unless it begins while a webhook is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_begins_while_it_is_evicted_is_its_budgets() {
    const PODS: GroupVersionResource = GroupVersionResource::constant("", "v1", "pods");
    let f = fixture().await;
    let budgets = Target::collection(GroupVersionResource::constant("policy", "v1", "poddisruptionbudgets"), Some("default"));
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}});
    f.client.create(&budgets, budget, &WriteOptions::default()).await.unwrap();
    let accounts = GroupVersionResource::constant("", "v1", "serviceaccounts");
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "own"}});
    f.client.create(&Target::collection(accounts, Some("default")), account, &WriteOptions::default()).await.unwrap();
    let evict = async |name: &str| {
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        f.client.create(&Target::object(PODS, Some("default"), name).subresource("eviction"), eviction, &WriteOptions::default()).await
    };
    for name in ["waits", "begins"] {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "a"}},
            "spec": {"serviceAccountName": "own", "containers": [{"name": "c", "image": "i"}]}});
        f.client.create(&Target::collection(PODS, Some("default")), pod, &WriteOptions::default()).await.unwrap();
    }
    let client = f.client.clone();
    let begin = hook(&f.server, move |review| {
        if review["request"]["name"] == "begins" {
            let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
            let target = Target::object(PODS, Some("default"), "begins").subresource("status");
            let (patch, options) = (Patch::Merge(status), WriteOptions::default());
            let patched = client.patch(&target, patch, &options);
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(patched)).unwrap();
        }
        admission(review, json!({"allowed": true}))
    })
    .await;
    let rules = json!({"rules": [{"operations": ["DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]});
    create(&f, "validatingwebhookconfigurations", configuration("ValidatingWebhookConfiguration", &begin, "pods", rules)).await.unwrap();
    evict("waits").await.unwrap();
    let refused = evict("begins").await.unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (429, "Cannot evict pod as it would violate the pod's disruption budget."));
    f.client.get(&Target::object(PODS, Some("default"), "begins")).await.unwrap();
    f.server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_over_websocket() {
    let f = fixture().await;
    let stream = connect_as_admin(&f.server, &[]).await;
    let url = format!("wss://{}/api/v1/namespaces/default/configmaps?watch=true&fieldSelector=metadata.name%3Dseen", f.server.address());
    let (mut socket, answer) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    assert_eq!(answer.status(), 101);
    create(&f, "configmaps", config_map("other")).await.unwrap();
    create(&f, "configmaps", config_map("seen")).await.unwrap();
    let message = tokio::time::timeout(LIMIT, socket.next()).await.unwrap().unwrap().unwrap();
    let Message::Text(text) = message else { panic!("an event is a text") };
    let event: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((event["type"].as_str(), event["object"].name()), (Some("ADDED"), "seen"));
    socket.close(None).await.unwrap();
    f.server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ends_is_alive_and_not_ready() {
    let f = fixture().await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connect_as_admin(&f.server, &[]).await)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut get = async |path: &str| {
        let request = http::Request::get(path).header("host", "x").body(Full::new(Bytes::new())).unwrap();
        sender.ready().await.unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let code = answer.status().as_u16();
        (code, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    };
    assert_eq!(get("/readyz").await, (200, "ok".to_owned()));
    f.server.core().ends.store(true, Ordering::Relaxed);
    assert_eq!(get("/readyz").await, (500, "[+]ping ok\n[+]store ok\n[-]shutdown failed: reason withheld\nreadyz check failed\n".to_owned()));
    assert_eq!(get("/readyz?exclude=shutdown").await.0, 200);
    assert_eq!(get("/livez").await.0, 200);
    drop(sender);
    connection.abort();
    f.server.shutdown().await.unwrap();
}

type Sender1 = hyper::client::conn::http1::SendRequest<Full<Bytes>>;
type Sender2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

/// A client of one of the two protocols, and the body of what it asks for.
enum Sender {
    One(Sender1),
    Two(Sender2),
}

impl Sender {
    async fn body(&mut self, path: &str, accept: &str, encoding: &str) -> Bytes {
        let request = http::Request::get(path).header("host", "127.0.0.1").header("accept", accept).header("accept-encoding", encoding);
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let answer = match self {
            Self::One(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
            Self::Two(sender) => sender.send_request(request).await.unwrap(),
        };
        assert_eq!((answer.status().as_u16(), answer.headers().contains_key("content-encoding")), (200, encoding == "gzip"), "{path}");
        answer.into_body().collect().await.unwrap().to_bytes()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lists_are_whole_over_both_protocols_and_in_every_form() {
    const ALL: &str = "/api/v1/namespaces/default/configmaps";
    let f = fixture().await;
    // From less than a frame of HTTP/2 to more than what a connection gathers.
    for at in 0..150 {
        let size = [0, 100, 3000, 16_384, 20_000, 150_000][at % 6];
        let text: String = (0..size).map(|i| char::from(b'a' + ((i * i + at) % 26) as u8)).collect();
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{at:03}")}, "data": {"k": text}});
        create(&f, "configmaps", object).await.unwrap();
    }
    let (one, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connect_as_admin(&f.server, &[]).await)).await.unwrap();
    tokio::spawn(connection);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (two, connection) = hyper::client::conn::http2::handshake(executor, TokioIo::new(connect_as_admin(&f.server, &[]).await)).await.unwrap();
    tokio::spawn(connection);
    let mut first: Option<Bytes> = None;
    for mut sender in [Sender::One(one), Sender::Two(two)] {
        let plain = sender.body(ALL, "application/json", "identity").await;
        assert!(plain.len() > 4 << 20);
        let list: Value = serde_json::from_slice(&plain).unwrap();
        let items = list["items"].as_array().unwrap();
        assert!(items.len() >= 150);
        let mut expected = plain[..memchr::memmem::find(&plain, b"\"items\":[").unwrap() + 9].to_vec();
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                expected.push(b',');
            }
            expected.extend(sender.body(&format!("{ALL}/{}", item.name()), "application/json", "identity").await);
        }
        expected.extend(b"]}\n");
        assert!(plain == expected, "a list is its objects, to the byte");
        assert!(first.get_or_insert(plain.clone()) == &plain);

        for _ in 0..2 {
            let packed = sender.body(ALL, "application/json", "gzip").await;
            let mut unpacked = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*packed), &mut unpacked).unwrap();
            assert!(unpacked == *plain);
        }
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let rows: Value = serde_json::from_slice(&sender.body(&format!("{ALL}?includeObject=Object"), table, "identity").await).unwrap();
        let objects: Vec<&Value> = rows["rows"].as_array().unwrap().iter().map(|row| &row["object"]).collect();
        assert!(objects.iter().eq(&items.iter().collect::<Vec<_>>()));
        let mut unpacked = Vec::new();
        let packed = sender.body(&format!("{ALL}?includeObject=Object"), table, "gzip").await;
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*packed), &mut unpacked).unwrap();
        let again: Value = serde_json::from_slice(&unpacked).unwrap();
        assert!(again["rows"].as_array().unwrap().iter().map(|row| &row["object"]).eq(objects));
        let metadata = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
        let partial: Value = serde_json::from_slice(&sender.body(ALL, metadata, "identity").await).unwrap();
        assert!(partial["items"].as_array().unwrap().iter().map(|item| &item["metadata"]).eq(items.iter().map(|item| &item["metadata"])));
    }
    f.server.shutdown().await.unwrap();
}
