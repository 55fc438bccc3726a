//! [`HttpClient`] against a real TLS server on the loopback: identity, HTTP/2, watches, upgrades, and what a lost or
//! foreign server looks like.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use pintle_api::client::{Client, DeleteOptions, ListOptions, Patch, Target, WatchEvent, WatchOptions, WriteOptions};
use pintle_api::{GroupVersionResource, Reason};
use pintle_client::{Config, Credentials, HttpClient};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

type Body = UnsyncBoxBody<Bytes, Infallible>;

const PODS: GroupVersionResource = GroupVersionResource::constant("", "v1", "pods");

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
}

struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    task: tokio::task::JoinHandle<()>,
    ca: String,
    client: (String, String),
}

impl Server {
    async fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let issue = |name: &str, purpose| {
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.extended_key_usages = vec![purpose];
            let key = KeyPair::generate().unwrap();
            (params.signed_by(&key, &ca).unwrap().pem(), key.serialize_pem())
        };
        let (certificate, key) = issue("127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
        let client = issue("client", ExtendedKeyUsagePurpose::ClientAuth);

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).allow_unauthenticated().build().unwrap();
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Seen::default()));
        let task = tokio::spawn(accept(listener, tokio_rustls::TlsAcceptor::from(Arc::new(tls)), seen.clone()));
        Self { address, seen, task, ca: ca.pem(), client }
    }

    fn config(&self) -> Config {
        Config {
            server: format!("https://{}", self.address),
            ca_pem: Some(self.ca.clone().into()),
            credentials: Credentials { token: Some("secret".into()), ..Credentials::default() },
            ..Config::default()
        }
    }

    fn with_certificate(&self) -> Config {
        let (certificate, key) = self.client.clone();
        let credentials = Credentials { certificate: Some((certificate.into(), key.into())), ..Credentials::default() };
        Config { credentials, ..self.config() }
    }
}

async fn accept(listener: TcpListener, tls: tokio_rustls::TlsAcceptor, seen: Arc<Seen>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let (tls, seen) = (tls.clone(), seen.clone());
        connections.spawn(async move {
            let Ok(stream) = tls.accept(tcp).await else { return };
            seen.connections.fetch_add(1, Ordering::Relaxed);
            let has_certificate = stream.get_ref().1.peer_certificates().is_some();
            let service = hyper::service::service_fn(move |request| async move { Ok::<_, Infallible>(answer(request, has_certificate).await) });
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection_with_upgrades(TokioIo::new(stream), service).await;
        });
    }
}

/// Echoes the request as an object, except for a few names with an answer of their own.
async fn answer(request: Request<Incoming>, has_certificate: bool) -> Response<Body> {
    let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
    if query.contains("watch=1") {
        let lines = [
            r#"{"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"a","resourceVersion":"5"}}}"#,
            "\n{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"6\",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}}}}\n",
        ];
        let end = if query.contains("endless") { futures::stream::pending().left_stream() } else { futures::stream::empty().right_stream() };
        let frames = futures::stream::iter(lines.map(|line| Ok(Frame::data(Bytes::from_static(line.as_bytes())))));
        return Response::new(BodyExt::boxed_unsync(StreamBody::new(frames.chain(end))));
    }
    if request.headers().contains_key("upgrade") && path.ends_with("/exec") {
        let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, "");
        response.headers_mut().insert("upgrade", HeaderValue::from_static("echo"));
        response.headers_mut().insert("connection", HeaderValue::from_static("Upgrade"));
        tokio::spawn(async move {
            let mut io = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
            let mut word = [0; 4];
            io.read_exact(&mut word).await.unwrap();
            word.reverse();
            io.write_all(&word).await.unwrap();
            io.shutdown().await.unwrap();
        });
        return response;
    }
    match path.rsplit('/').next() {
        Some("missing") => plain(StatusCode::NOT_FOUND, r#"{"kind":"Status","code":404,"reason":"NotFound","message":"pods \"missing\" not found"}"#),
        Some("gone") => plain(StatusCode::OK, r#"{"kind":"Status","status":"Success","metadata":{}}"#),
        Some("huge") => plain(StatusCode::BAD_GATEWAY, "no JSON"),
        _ => {
            let header = |name: &str| request.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
            let echo = json!({
                "kind": "Pod", "metadata": {"resourceVersion": "7"}, "items": [], "path": path, "query": query,
                "method": request.method().as_str(), "version": format!("{:?}", request.version()),
                "token": header("authorization"), "type": header("content-type"), "certificate": has_certificate,
                "groups": request.headers().get_all("impersonate-group").iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>(),
            });
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mut echo = echo;
            echo["body"] = serde_json::from_slice(&body).unwrap_or_default();
            plain(StatusCode::OK, &echo.to_string())
        }
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())).boxed_unsync());
    *response.status_mut() = status;
    response
}

#[tokio::test]
async fn requests_carry_identity_and_share_a_connection() {
    let server = Server::start().await;
    let client = HttpClient::new(&server.config()).unwrap();
    let pod = Target::object(PODS, Some("n"), "a");
    let got = client.get(&pod).await.unwrap();
    assert_eq!(got.revision, 7);
    let echo = got.parse().unwrap();
    assert_eq!((&echo["version"], &echo["token"], &echo["certificate"]), (&json!("HTTP/2.0"), &json!("Bearer secret"), &json!(false)));

    let options = WriteOptions { field_manager: "me".into(), ..WriteOptions::default() };
    let echo = client.create(&pod, json!({"x": 1}), &options).await.unwrap().parse().unwrap();
    assert_eq!((&echo["method"], &echo["path"], &echo["body"]), (&json!("POST"), &json!("/api/v1/namespaces/n/pods"), &json!({"x": 1})));
    let echo = client.patch(&pod, Patch::Apply(json!({})), &WriteOptions { force: true, ..options }).await.unwrap().parse().unwrap();
    assert_eq!((&echo["type"], &echo["query"]), (&json!("application/apply-patch+yaml"), &json!("fieldManager=me&force=true")));
    assert_eq!(client.list(&Target::collection(PODS, None), &ListOptions::default()).await.unwrap().revision, 7);
    assert!(client.delete(&Target::object(PODS, Some("n"), "gone"), &DeleteOptions::default()).await.unwrap().is_none());
    assert_eq!(server.seen.connections.load(Ordering::Relaxed), 1);

    let config = Config {
        impersonate: Some(pintle_client::Impersonate { user: "u".into(), groups: vec!["a".into(), "b".into()], uid: String::new() }),
        ..server.with_certificate()
    };
    let echo = HttpClient::new(&config).unwrap().get(&pod).await.unwrap().parse().unwrap();
    assert_eq!((&echo["certificate"], &echo["token"], &echo["groups"]), (&json!(true), &json!(null), &json!(["a", "b"])));
}

#[tokio::test]
async fn a_watch_is_decoded_as_it_comes() {
    let server = Server::start().await;
    let client = HttpClient::new(&server.config()).unwrap();
    let mut events = client.watch(&Target::collection(PODS, None), &WatchOptions::default()).await.unwrap();
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Added(pod))) if pod.revision == 5));
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Synced { revision: 6 }))));
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_connection_is_switched_or_refused_with_the_reason() {
    let server = Server::start().await;
    let client = HttpClient::new(&server.config()).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("upgrade", HeaderValue::from_static("echo"));
    let mut upgrade = client.upgrade(Method::POST, "/api/v1/namespaces/n/pods/a/exec", headers.clone()).await.unwrap();
    assert_eq!(upgrade.headers["upgrade"], "echo");
    upgrade.io.write_all(b"ping").await.unwrap();
    let mut word = String::new();
    upgrade.io.read_to_string(&mut word).await.unwrap();
    assert_eq!(word, "gnip");

    let refused = client.upgrade(Method::GET, "/api/v1/namespaces/n/pods/missing", headers).await.err().unwrap();
    assert_eq!((refused.code, refused.reason), (404, Reason::NotFound));
}

#[tokio::test]
async fn errors_are_statuses() {
    let server = Server::start().await;
    let client = HttpClient::new(&server.config()).unwrap();
    let missing = client.get(&Target::object(PODS, Some("n"), "missing")).await.unwrap_err();
    assert_eq!((missing.code, missing.reason, missing.message.as_str()), (404, Reason::NotFound, "pods \"missing\" not found"));
    let odd = client.get(&Target::object(PODS, Some("n"), "huge")).await.unwrap_err();
    assert_eq!((odd.code, odd.message.as_str()), (502, "no JSON"));

    // Signed by somebody else.
    let other = Server::start().await;
    let config = Config { ca_pem: Some(other.ca.clone().into()), ..server.config() };
    let foreign = HttpClient::new(&config).unwrap().get(&Target::object(PODS, None, "a")).await.unwrap_err();
    assert_eq!((foreign.code, foreign.reason), (503, Reason::ServiceUnavailable));
    assert!(foreign.message.contains("certificate"), "{foreign}");
    let insecure = Config { ca_pem: None, insecure: true, ..server.config() };
    HttpClient::new(&insecure).unwrap().get(&Target::object(PODS, None, "a")).await.unwrap();

    // Gone during a watch, and between two requests.
    let endless = WatchOptions { label_selector: "endless".into(), ..WatchOptions::default() };
    let mut events = client.watch(&Target::collection(PODS, None), &endless).await.unwrap();
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Added(_)))));
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Synced { .. }))));
    server.task.abort();
    let _ = server.task.await;
    let broken = events.next().await.unwrap().unwrap_err();
    assert_eq!((broken.code, broken.reason), (503, Reason::ServiceUnavailable));
    assert!(events.next().await.is_none());
    let lost = client.get(&Target::object(PODS, None, "a")).await.unwrap_err();
    assert_eq!((lost.code, lost.reason), (503, Reason::ServiceUnavailable));
}
