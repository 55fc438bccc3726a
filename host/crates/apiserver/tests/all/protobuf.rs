//! A whole server and a client that speaks protobuf, as client-go does by default.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use pintle_api::protobuf::{self, Encoder};
use pintle_apiserver::Server;
use serde_json::{Value, json};

use crate::harness;

const PROTOBUF: &str = protobuf::MEDIA_TYPE;
const PROTOBUF_OR_JSON: &str = "application/vnd.kubernetes.protobuf,application/json";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Nothing here takes longer on any machine.
const LIMIT: Duration = Duration::from_secs(20);

struct Fixture {
    server: Server,
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    _dir: tempfile::TempDir,
}

struct Answer {
    code: u16,
    content_type: String,
    body: Bytes,
}

async fn fixture() -> Fixture {
    let (server, _dir) = harness::start(|_| {}).await;
    let sender = connect(&server).await;
    Fixture { server, sender, _dir }
}

/// A connection as the administrator.
async fn connect(server: &Server) -> hyper::client::conn::http1::SendRequest<Full<Bytes>> {
    let stream = harness::connect_as_admin(server, &[]).await;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// The object as a client would send it.
fn encoded(object: &Value) -> Vec<u8> {
    let text = |name: &str| object[name].as_str().unwrap();
    let mut out = Vec::new();
    Encoder::of(text("apiVersion"), text("kind")).unwrap().object(object.to_string().as_bytes(), &mut out).unwrap();
    out
}

fn decoded(bytes: &[u8]) -> Value {
    protobuf::to_json(bytes, None).unwrap()
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"z": "1", "a": ""}, "binaryData": {"b": "/wA="}})
}

impl Fixture {
    async fn ask(&mut self, method: &str, path: &str, accept: &str, body: &[u8]) -> http::Response<Incoming> {
        let request = http::Request::builder().method(method).uri(path).header("host", "x").header(ACCEPT, accept).header(CONTENT_TYPE, PROTOBUF);
        self.sender.ready().await.unwrap();
        self.sender.send_request(request.body(Full::new(Bytes::copy_from_slice(body))).unwrap()).await.unwrap()
    }
    async fn call(&mut self, method: &str, path: &str, accept: &str, body: &[u8]) -> Answer {
        let answer = self.ask(method, path, accept, body).await;
        let content_type = answer.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
        Answer { code: answer.status().as_u16(), content_type, body: answer.into_body().collect().await.unwrap().to_bytes() }
    }
    async fn get(&mut self, path: &str) -> Value {
        let answer = self.call("GET", path, "application/json", b"").await;
        serde_json::from_slice(&answer.body).unwrap()
    }
}

impl Answer {
    #[track_caller]
    fn object(&self, code: u16) -> Value {
        assert_eq!((self.code, self.content_type.as_str()), (code, PROTOBUF), "{}", self.body.escape_ascii());
        decoded(&self.body)
    }
}

#[tokio::test]
async fn objects_go_both_ways() {
    let mut f = fixture().await;
    let made = f.call("POST", CONFIG_MAPS, PROTOBUF, &encoded(&config_map("a"))).await.object(201);
    assert_eq!(made["data"], json!({"z": "1", "a": ""}));
    assert_eq!(made["binaryData"], json!({"b": "/wA="}));
    let path = format!("{CONFIG_MAPS}/a");
    assert_eq!(f.get(&path).await, made);

    let mut changed = made.clone();
    changed["data"] = json!({"only": "this"});
    let changed = f.call("PUT", &path, PROTOBUF, &encoded(&changed)).await.object(200);
    assert_eq!(changed["data"], json!({"only": "this"}));

    let list = f.call("GET", CONFIG_MAPS, PROTOBUF_OR_JSON, b"").await.object(200);
    let wanted = f.get(CONFIG_MAPS).await;
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&json!("ConfigMapList"), wanted["items"].as_array().unwrap().len()));
    // The server's own loops may write in between.
    let revision = |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
    assert!((revision(&changed)..=revision(&wanted)).contains(&revision(&list)), "{}", list["metadata"]);
    let of = |list: &Value| list["items"].as_array().unwrap().iter().find(|o| o["metadata"]["name"] == "a").unwrap()["data"].clone();
    assert_eq!(of(&list), of(&wanted));

    let wrong = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "other"}});
    let refused = f.call("DELETE", &path, PROTOBUF, &encoded(&wrong)).await.object(409);
    assert_eq!(refused["reason"], "Conflict");
    let gone = f.call("DELETE", &path, PROTOBUF, &encoded(&json!({"apiVersion": "v1", "kind": "DeleteOptions"}))).await.object(200);
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")));
    let absent = f.call("GET", &path, PROTOBUF_OR_JSON, b"").await.object(404);
    assert_eq!(absent["details"]["name"], "a");
    f.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn questions_and_subresources() {
    let mut f = fixture().await;
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let answered = f.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", PROTOBUF, &encoded(&review)).await.object(201);
    assert_eq!(answered["status"]["allowed"], true);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "who"}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    f.call("POST", accounts, PROTOBUF, &encoded(&account)).await.object(201);
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": [], "expirationSeconds": 600}});
    let token = f.call("POST", &format!("{accounts}/who/token"), PROTOBUF, &encoded(&request)).await.object(201);
    assert!(token["status"]["token"].as_str().is_some_and(|t| t.matches('.').count() == 2), "{token}");
    let container = json!({"name": "c", "image": "i"});
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let made = f.call("POST", deployments, PROTOBUF, &encoded(&deployment)).await.object(201);
    assert_eq!((&made["spec"]["replicas"], &made["spec"]["strategy"]["rollingUpdate"]["maxSurge"]), (&json!(0), &json!("25%")));
    let mut scale = f.call("GET", &format!("{deployments}/d/scale"), PROTOBUF, b"").await.object(200);
    scale["spec"]["replicas"] = json!(3);
    let scaled = f.call("PUT", &format!("{deployments}/d/scale"), PROTOBUF, &encoded(&scale)).await.object(200);
    assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&json!("Scale"), &json!(3)));
    f.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_watch_in_frames() {
    let mut f = fixture().await;
    f.call("POST", CONFIG_MAPS, PROTOBUF, &encoded(&config_map("first"))).await.object(201);
    let query = "watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&fieldSelector=metadata.name%3Dfirst";
    let watch = f.ask("GET", &format!("{CONFIG_MAPS}?{query}"), "application/vnd.kubernetes.protobuf;stream=watch", b"").await;
    assert_eq!(watch.headers()[CONTENT_TYPE], "application/vnd.kubernetes.protobuf;stream=watch");
    f.sender = connect(&f.server).await;
    f.call("DELETE", &format!("{CONFIG_MAPS}/first"), PROTOBUF, b"").await.object(200);
    let (mut body, mut seen) = (watch.into_body(), Vec::new());
    let mut events = Vec::new();
    while events.len() < 3 {
        let frame = tokio::time::timeout(LIMIT, body.frame()).await.unwrap().unwrap().unwrap();
        seen.extend_from_slice(frame.data_ref().unwrap());
        while let Some(length) = seen.get(..4).map(|l| u32::from_be_bytes(l.try_into().unwrap()) as usize).filter(|l| seen.len() >= 4 + l) {
            let event: Vec<u8> = seen.drain(..4 + length).skip(4).collect();
            // Field 1 is the type; the object begins with the magic number.
            let kind = String::from_utf8(event[2..2 + event[1] as usize].to_vec()).unwrap();
            let object = event.windows(4).position(|w| w == b"k8s\0").unwrap();
            events.push((kind, decoded(&event[object..])));
        }
    }
    let kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["ADDED", "BOOKMARK", "DELETED"]);
    assert_eq!(events[0].1["data"], json!({"z": "1", "a": ""}));
    assert_eq!(events[1].1["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    f.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn kinds_without_that_form() {
    let mut f = fixture().await;
    let plugins = "/apis/pintle.dev/v1alpha1/plugins";
    let refused = f.call("GET", plugins, PROTOBUF, b"").await.object(406);
    let types = "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf";
    assert_eq!((&refused["reason"], &refused["message"]), (&json!("NotAcceptable"), &json!(types)));
    let json = f.call("GET", plugins, PROTOBUF_OR_JSON, b"").await;
    assert_eq!((json.code, json.content_type.as_str()), (200, "application/json"));
    let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=";
    for version in ["v1", "v1beta1"] {
        let list = f.call("GET", "/api/v1/namespaces", &format!("{metadata}{version}"), b"").await.object(200);
        assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("PartialObjectMetadataList"), &json!(format!("meta.k8s.io/{version}"))));
        assert!(list["items"].as_array().unwrap().iter().any(|o| o["metadata"]["name"] == "default"), "{list}");
    }
    let table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1";
    f.call("GET", CONFIG_MAPS, table, b"").await;
    assert_eq!(f.call("GET", CONFIG_MAPS, table, b"").await.code, 406);
    let table = f.call("GET", CONFIG_MAPS, &format!("{table},application/json;as=Table;g=meta.k8s.io;v=v1"), b"").await;
    assert_eq!((table.code, table.content_type.as_str()), (200, "application/json"));
    f.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn discovery() {
    let mut f = fixture().await;
    for path in ["/api", "/apis", "/apis/apps", "/api/v1", "/apis/apps/v1"] {
        let (wanted, found) = (f.get(path).await, f.call("GET", path, PROTOBUF_OR_JSON, b"").await.object(200));
        assert_eq!(found["kind"], wanted["kind"], "{path}");
        let names = |of: &Value| of["resources"].as_array().map(|list| list.iter().map(|r| r["name"].clone()).collect::<Vec<_>>());
        assert_eq!(names(&found), names(&wanted), "{path}");
    }
    let parameters = "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let aggregated = f.call("GET", "/apis", &format!("{PROTOBUF};{parameters}"), b"").await;
    assert_eq!(aggregated.content_type, format!("{PROTOBUF};{parameters}"));
    let mut wanted: Value = serde_json::from_slice(&f.call("GET", "/apis", &format!("application/json;{parameters}"), b"").await.body).unwrap();
    let found = decoded(&aggregated.body);
    let groups = |of: &Value| of["items"].as_array().unwrap().iter().map(|g| g["metadata"]["name"].clone()).collect::<Vec<_>>();
    assert_eq!(groups(&found), groups(&wanted));
    // Everything that is served has that form, but for pintle's own.
    for group in wanted["items"].as_array_mut().unwrap() {
        for version in group["versions"].as_array().unwrap() {
            for resource in version["resources"].as_array().unwrap() {
                let kind = &resource["responseKind"];
                let (name, version, kind) = (kind["group"].as_str().unwrap(), kind["version"].as_str().unwrap(), kind["kind"].as_str().unwrap());
                assert_eq!(protobuf::is_known(&format!("{name}/{version}"), kind), name != "pintle.dev", "{name}/{version} {kind}");
            }
        }
    }
    f.server.shutdown().await.unwrap();
}
