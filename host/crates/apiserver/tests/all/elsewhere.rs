//! A whole server, and others that serve parts of its API.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pintle_api::GroupVersionResource;
use pintle_api::client::{DeleteOptions, Target, WatchEvent, WatchOptions, WriteOptions};
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

use crate::harness::{self, Fixture};

const NAMESPACES: GroupVersionResource = GroupVersionResource::constant("", "v1", "namespaces");
const API_SERVICES: GroupVersionResource = GroupVersionResource::constant("apiregistration.k8s.io", "v1", "apiservices");
/// Nothing here takes longer on any machine.
const LIMIT: Duration = Duration::from_secs(30);
const ROOT: &str = "/apis/flowers.example.com/v1";
const SERVICES: GroupVersionResource = GroupVersionResource::constant("", "v1", "services");
const INDEX: &str = "/openapi/v3";
const DOCUMENT: &str = "/openapi/v3/apis/flowers.example.com/v1";

/// What the other server keeps: `namespace/name`, and the deletions that it was asked for.
#[derive(Default)]
struct Kept {
    flowers: Mutex<BTreeSet<String>>,
    asked: Mutex<Vec<String>>,
    /// Has OpenAPI v3, with this hash.
    hash: Option<&'static str>,
    /// Who asked for OpenAPI.
    readers: Mutex<Vec<String>>,
}

impl Kept {
    fn openapi(&self, uri: &Uri, user: &str) -> (u16, Value) {
        self.readers.lock().unwrap().push(format!("{user} {uri}"));
        let Some(hash) = self.hash else { return (404, json!("404 page not found")) };
        match uri.path() {
            INDEX => {
                let entry = |path: &str| json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")});
                let paths = ["version", "apis/apps/v1", "apis/flowers.example.com/v1", "apis/weeds.example.com/v1"];
                (200, json!({"paths": paths.map(|path| (path, entry(path))).into_iter().collect::<BTreeMap<_, _>>()}))
            }
            DOCUMENT => (200, json!({"openapi": "3.0.0", "info": {"title": format!("flowers for {user}")}})),
            _ => (404, json!({})),
        }
    }

    fn answer(&self, method: &Method, uri: &Uri, user: &str, body: &[u8]) -> (u16, Value) {
        let path = uri.path();
        if path.starts_with(INDEX) {
            return self.openapi(uri, user);
        }
        let mut flowers = self.flowers.lock().unwrap();
        if path == "/apis/weeds.example.com/v1" {
            return (200, json!({"kind": "APIResourceList", "groupVersion": "weeds.example.com/v1", "resources": []}));
        }
        let Some(place) = path.strip_prefix(ROOT) else { return (404, json!({})) };
        let Some(place) = place.strip_prefix("/namespaces/").and_then(|p| p.split_once("/flowers")) else {
            let verbs = json!(["get", "list", "delete"]);
            let flowers = json!({"name": "flowers", "singularName": "flower", "namespaced": true, "kind": "Flower", "verbs": verbs});
            return (200, json!({"kind": "APIResourceList", "groupVersion": "flowers.example.com/v1", "resources": [flowers]}));
        };
        let (namespace, name) = place;
        if *method == Method::DELETE {
            let key = format!("{namespace}{name}");
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            self.asked.lock().unwrap().push(format!("{user} {key} {}", body["preconditions"]["uid"]));
            return match flowers.remove(&key) {
                true => (200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})),
                false => (404, json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404})),
            };
        }
        let here = flowers.iter().filter_map(|key| key.strip_prefix(namespace)?.strip_prefix('/'));
        let items: Vec<Value> =
            here.map(|name| json!({"metadata": {"name": name, "namespace": namespace, "uid": format!("uid-of-{name}")}})).collect();
        (200, json!({"kind": "FlowerList", "apiVersion": "flowers.example.com/v1", "metadata": {"resourceVersion": "7"}, "items": items}))
    }
}

/// Its port.
async fn serve(f: &Fixture, kept: Arc<Kept>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(f.server.pki().server_config().unwrap()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, kept) = (acceptor.clone(), kept.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let kept = &kept;
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let user = parts.headers.get("x-remote-user").map_or("", |user| user.to_str().unwrap());
                    let (code, answer) = kept.answer(&parts.method, &parts.uri, user, &body);
                    let answer = http::Response::builder().status(code).body(Full::new(Bytes::from(answer.to_string()))).unwrap();
                    Ok::<_, Infallible>(answer)
                });
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    port
}

async fn create(f: &Fixture, gvr: GroupVersionResource, namespace: Option<&str>, object: Value) {
    f.client.create(&Target::collection(gvr, namespace), object, &WriteOptions::default()).await.unwrap();
}

async fn create_service(f: &Fixture, name: &str, port: u16) {
    // Loopback is no address for an endpoint, but a name may have it.
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}});
    create(f, SERVICES, Some("default"), service).await;
}

/// Has the service of that name serve a group, and waits until it does.
async fn extend(f: &Fixture, name: &str, port: u16) {
    let group = format!("{name}.example.com");
    let extension = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": format!("v1.{group}")},
        "spec": {"group": group, "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
            "insecureSkipTLSVerify": true, "service": {"name": name, "namespace": "default", "port": port}}});
    create(f, API_SERVICES, None, extension).await;
    until(f, API_SERVICES, &format!("v1.{group}"), |o| says(o, "Available", "True")).await;
}

/// Waits until an object of that name is as wanted; `None`: it is gone.
async fn until(f: &Fixture, gvr: GroupVersionResource, name: &str, wanted: impl Fn(Option<&Value>) -> bool) {
    let looking = async {
        let mut watch = f.client.watch(&Target::collection(gvr, None), &WatchOptions::default()).await.unwrap();
        let mut last = None;
        while let Some(event) = watch.next().await {
            match event.unwrap() {
                WatchEvent::Added(o) | WatchEvent::Modified(o) => last = Some(o.parse().unwrap()).filter(|o: &Value| o.name() == name).or(last),
                WatchEvent::Deleted(o) if o.parse().unwrap().name() == name => last = None,
                WatchEvent::Synced { .. } | WatchEvent::Bookmark { .. } | WatchEvent::Deleted(_) => {}
            }
            if wanted(last.as_ref()) {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, looking).await.unwrap_or_else(|_| panic!("{name} is not as wanted"));
}

fn says(object: Option<&Value>, condition: &str, status: &str) -> bool {
    let conditions = object.map(|o| o.list_at(&["status", "conditions"])).unwrap_or_default();
    conditions.iter().any(|c| c["type"] == condition && c["status"] == status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_takes_along_what_another_server_keeps_of_it() {
    let f = Fixture::start(|_| {}).await;
    let kept = Arc::new(Kept::default());
    kept.flowers.lock().unwrap().extend(["a/rose", "a/tulip", "b/rose", "default/rose"].map(str::to_owned));
    let port = serve(&f, kept.clone()).await;
    create_service(&f, "flowers", port).await;
    for name in ["a", "b"] {
        create(&f, NAMESPACES, None, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).await;
    }
    extend(&f, "flowers", port).await;

    f.client.delete(&Target::object(NAMESPACES, None, "a"), &DeleteOptions::default()).await.unwrap();
    until(&f, NAMESPACES, "a", |o| o.is_none()).await;
    let left: Vec<String> = kept.flowers.lock().unwrap().iter().cloned().collect();
    assert_eq!(left, ["b/rose", "default/rose"]);
    let mut asked = kept.asked.lock().unwrap().clone();
    asked.sort();
    assert_eq!(asked, ["system:apiserver a/rose \"uid-of-rose\"", "system:apiserver a/tulip \"uid-of-tulip\""]);

    // Nobody knows what a server keeps that cannot be asked.
    f.client.delete(&Target::object(SERVICES, Some("default"), "flowers"), &DeleteOptions::default()).await.unwrap();
    until(&f, API_SERVICES, "v1.flowers.example.com", |o| says(o, "Available", "False")).await;
    f.client.delete(&Target::object(NAMESPACES, None, "b"), &DeleteOptions::default()).await.unwrap();
    until(&f, NAMESPACES, "b", |o| says(o, "NamespaceDeletionDiscoveryFailure", "True") && says(o, "NamespaceContentRemaining", "False")).await;
    f.client.delete(&Target::object(API_SERVICES, None, "v1.flowers.example.com"), &DeleteOptions::default()).await.unwrap();
    until(&f, NAMESPACES, "b", |o| o.is_none()).await;
    assert_eq!(kept.flowers.lock().unwrap().len(), 2);
    f.server.shutdown().await.unwrap();
}

/// Requests over one connection.
struct Asker(SendRequest<Full<Bytes>>);

impl Asker {
    async fn new(stream: TlsStream<TcpStream>) -> Self {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// The code, the `ETag` and the body.
    async fn ask(&mut self, method: &str, path: &str) -> (u16, String, Value) {
        let request = http::Request::builder().method(method).uri(path).header("host", "x").body(Full::default()).unwrap();
        self.0.ready().await.unwrap();
        let answer = self.0.send_request(request).await.unwrap();
        let tag = answer.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned()).unwrap_or_default();
        let code = answer.status().as_u16();
        (code, tag, serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap_or_default())
    }

    async fn get(&mut self, path: &str) -> (u16, Value) {
        let (code, _, body) = self.ask("GET", path).await;
        (code, body)
    }

    /// Asks for the index until it is as wanted; its `ETag` and what it lists.
    async fn index(&mut self, wanted: impl Fn(&Value) -> bool) -> (String, Value) {
        let asking = async {
            loop {
                let (code, tag, index) = self.ask("GET", INDEX).await;
                assert_eq!(code, 200);
                if wanted(&index["paths"]) {
                    return (tag, index["paths"].clone());
                }
            }
        };
        tokio::time::timeout(LIMIT, asking).await.expect("the index is not as wanted")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openapi_shows_what_another_server_serves() {
    let f = Fixture::start(|_| {}).await;
    let (flowers, weeds) = (Arc::new(Kept { hash: Some("F1"), ..Kept::default() }), Arc::new(Kept::default()));
    let (of_flowers, of_weeds) = (serve(&f, flowers.clone()).await, serve(&f, weeds.clone()).await);
    let mut admin = Asker::new(harness::connect_as_admin(&f.server, &[]).await).await;
    let (tag_before, before) = admin.index(|_| true).await;
    assert_eq!(admin.get(DOCUMENT).await.0, 404);
    create_service(&f, "flowers", of_flowers).await;
    create_service(&f, "weeds", of_weeds).await;
    extend(&f, "flowers", of_flowers).await;
    extend(&f, "weeds", of_weeds).await;

    let is_shown = |paths: &Value| !paths["apis/flowers.example.com/v1"].is_null();
    let has_asked = |kept: &Kept| kept.readers.lock().unwrap().contains(&format!("system:aggregator {INDEX}"));
    let (tag, shown) = admin.index(|paths| is_shown(paths) && has_asked(&weeds)).await;
    assert_ne!(tag, tag_before);
    let mut expected = before.clone();
    expected["apis/flowers.example.com/v1"] = json!({"serverRelativeURL": format!("{DOCUMENT}?hash=F1")});
    assert_eq!(shown, expected, "of each its own group version, and nothing of one without OpenAPI");

    let (code, document) = admin.get(&format!("{DOCUMENT}?hash=F1")).await;
    assert_eq!((code, &document["info"]["title"]), (200, &json!("flowers for kubernetes-admin")));
    assert_eq!(flowers.readers.lock().unwrap().last().unwrap(), &format!("kubernetes-admin {DOCUMENT}?hash=F1"));
    let jane = f.server.pki().issue_client("jane", &[]).unwrap();
    let jane = harness::connect(f.server.address(), harness::tls(f.server.pki(), Some(&jane), &[])).await.unwrap();
    assert_eq!(Asker::new(jane).await.get(DOCUMENT).await.1["info"]["title"], "flowers for jane");
    assert_eq!(admin.get("/openapi/v3/apis/weeds.example.com/v1").await.0, 404);
    let readers = flowers.readers.lock().unwrap().len();
    assert_eq!(admin.ask("POST", DOCUMENT).await.0, 404);
    assert_eq!(admin.get(&format!("{DOCUMENT}/more")).await.0, 404);
    let nobody = harness::connect(f.server.address(), harness::tls(f.server.pki(), None, &[])).await.unwrap();
    assert_eq!(Asker::new(nobody).await.get(DOCUMENT).await.0, 401);
    assert_eq!(flowers.readers.lock().unwrap().len(), readers, "none of these was passed on");

    let service = Target::object(API_SERVICES, None, "v1.flowers.example.com");
    f.client.delete(&service, &DeleteOptions::default()).await.unwrap();
    assert_eq!(admin.index(|paths| !is_shown(paths)).await, (tag_before.clone(), before));
    assert_eq!(admin.get(DOCUMENT).await.0, 404);

    // It comes back, and then falls silent.
    extend(&f, "flowers", of_flowers).await;
    admin.index(is_shown).await;
    f.client.delete(&Target::object(SERVICES, Some("default"), "flowers"), &DeleteOptions::default()).await.unwrap();
    assert_eq!(admin.index(|paths| !is_shown(paths)).await.0, tag_before);
    assert_eq!(admin.get(DOCUMENT).await.0, 503);
    until(&f, API_SERVICES, "v1.weeds.example.com", |o| says(o, "Available", "True")).await;
    f.server.shutdown().await.unwrap();
}
