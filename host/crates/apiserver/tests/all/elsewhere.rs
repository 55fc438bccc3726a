//! A whole server, and another one that serves a part of its API.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::Method;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pintle_api::GroupVersionResource;
use pintle_api::client::{DeleteOptions, Target, WatchEvent, WatchOptions, WriteOptions};
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::Fixture;

const NAMESPACES: GroupVersionResource = GroupVersionResource::constant("", "v1", "namespaces");
const API_SERVICES: GroupVersionResource = GroupVersionResource::constant("apiregistration.k8s.io", "v1", "apiservices");
/// Nothing here takes longer on any machine.
const LIMIT: Duration = Duration::from_secs(30);
const ROOT: &str = "/apis/flowers.example.com/v1";

/// What the other server keeps: `namespace/name`, and the deletions that it was asked for.
#[derive(Default)]
struct Kept {
    flowers: Mutex<BTreeSet<String>>,
    asked: Mutex<Vec<String>>,
}

impl Kept {
    fn answer(&self, method: &Method, path: &str, user: &str, body: &[u8]) -> (u16, Value) {
        let mut flowers = self.flowers.lock().unwrap();
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
                    let (code, answer) = kept.answer(&parts.method, parts.uri.path(), user, &body);
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
    // Loopback is no address for an endpoint, but a name may have it.
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "flowers"},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}});
    let services = GroupVersionResource::constant("", "v1", "services");
    create(&f, services.clone(), Some("default"), service).await;
    for name in ["a", "b"] {
        create(&f, NAMESPACES, None, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).await;
    }
    let extension = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.flowers.example.com"},
        "spec": {"group": "flowers.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
            "insecureSkipTLSVerify": true, "service": {"name": "flowers", "namespace": "default", "port": port}}});
    create(&f, API_SERVICES, None, extension).await;
    until(&f, API_SERVICES, "v1.flowers.example.com", |o| says(o, "Available", "True")).await;

    f.client.delete(&Target::object(NAMESPACES, None, "a"), &DeleteOptions::default()).await.unwrap();
    until(&f, NAMESPACES, "a", |o| o.is_none()).await;
    let left: Vec<String> = kept.flowers.lock().unwrap().iter().cloned().collect();
    assert_eq!(left, ["b/rose", "default/rose"]);
    let mut asked = kept.asked.lock().unwrap().clone();
    asked.sort();
    assert_eq!(asked, ["system:apiserver a/rose \"uid-of-rose\"", "system:apiserver a/tulip \"uid-of-tulip\""]);

    // Nobody knows what a server keeps that cannot be asked.
    f.client.delete(&Target::object(services, Some("default"), "flowers"), &DeleteOptions::default()).await.unwrap();
    until(&f, API_SERVICES, "v1.flowers.example.com", |o| says(o, "Available", "False")).await;
    f.client.delete(&Target::object(NAMESPACES, None, "b"), &DeleteOptions::default()).await.unwrap();
    until(&f, NAMESPACES, "b", |o| says(o, "NamespaceDeletionDiscoveryFailure", "True") && says(o, "NamespaceContentRemaining", "False")).await;
    f.client.delete(&Target::object(API_SERVICES, None, "v1.flowers.example.com"), &DeleteOptions::default()).await.unwrap();
    until(&f, NAMESPACES, "b", |o| o.is_none()).await;
    assert_eq!(kept.flowers.lock().unwrap().len(), 2);
    f.server.shutdown().await.unwrap();
}
