//! Calls that the server makes: to webhooks for admission and conversion, and to servers that serve a part of the API.
//!
//! A target is a service of the cluster, reached at one of its ready endpoints, or a URL. TLS always, verified against the
//! target's own bundle. One connection a call, and every call has its time.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pintle_api::GroupVersionResource;
use pintle_api::client::BoxFuture;
use pintle_api::object::ObjectExt;
use pintle_api::selector::LabelSelector;
use pintle_registry::Lookup;
use rand::seq::IndexedRandom as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Of an answer.
const MAX_ANSWER_BYTES: usize = 8 << 20;
/// Whom a URL without a bundle of its own is verified against.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
const HTTPS: u16 = 443;
const SERVICES: GroupVersionResource = GroupVersionResource::constant("", "v1", "services");
const SLICES: GroupVersionResource = GroupVersionResource::constant("discovery.k8s.io", "v1", "endpointslices");

/// What a call may take.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// For everything.
    pub time: Duration,
    /// Of the answer's body.
    pub bytes: usize,
}

impl Bounds {
    pub const fn within(time: Duration) -> Self {
        Self { time, bytes: MAX_ANSWER_BYTES }
    }
}

/// Whom to call, as a `clientConfig` says it.
pub struct Remote {
    place: Place,
    /// With its leading slash.
    path: String,
    pub tls: Arc<ClientConfig>,
}

enum Place {
    Service { namespace: String, name: String, port: i64 },
    Host { name: String, port: u16 },
}

impl Remote {
    /// From `{service: {namespace, name, path, port}, url, caBundle}`.
    pub fn from_client_config(config: &Value) -> Result<Self, String> {
        let bundle = config.str_at(&["caBundle"]);
        let tls = Arc::new(verifying(&roots(bundle)?));
        if let Some(service) = config.get("service").filter(|s| !s.is_null()) {
            let path = service.str_at(&["path"]);
            let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
            return Ok(Self { place: Place::service(service), path, tls });
        }
        let url = config.str_at(&["url"]);
        let rest = url.strip_prefix("https://").ok_or_else(|| format!("the URL {url:?} is not one of https"))?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (name, port) = match authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())) {
            Some((name, port)) => (name, port.parse().map_err(|_| format!("the URL {url:?} has no valid port"))?),
            None => (authority, HTTPS),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { place: Place::Host { name, port }, path: path.to_owned(), tls })
    }

    /// A service that is called as whoever `tls` makes the server.
    pub fn service(service: &Value, tls: ClientConfig) -> Self {
        Self { place: Place::service(service), path: String::new(), tls: Arc::new(tls) }
    }

    /// As it stands in messages.
    pub fn url(&self, query: &str) -> String {
        format!("https://{}{}{query}", self.authority(), self.path)
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    fn authority(&self) -> String {
        match &self.place {
            Place::Service { namespace, name, port } => format!("{name}.{namespace}.svc:{port}"),
            Place::Host { name, port } => format!("{name}:{port}"),
        }
    }

    /// The name that its certificate must have.
    pub fn server_name(&self) -> String {
        match &self.place {
            Place::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
            Place::Host { name, .. } => name.clone(),
        }
    }

    /// Where it is to be reached now.
    pub fn resolve(&self, objects: &dyn Lookup) -> Result<(String, u16), String> {
        match &self.place {
            Place::Host { name, port } => Ok((name.clone(), *port)),
            Place::Service { namespace, name, port } => resolve(objects, namespace, name, *port),
        }
    }

    /// Posts JSON; the answer's code and body. The time covers everything.
    pub async fn post(&self, objects: &dyn Lookup, query: &str, body: &Value, timeout: Duration) -> Result<(u16, Bytes), String> {
        let call = async {
            let address = self.resolve(objects)?;
            let path = format!("{}{query}", self.path);
            let mut request = http::Request::post(path).body(Full::new(Bytes::from(body.to_string()))).map_err(|why| why.to_string())?;
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            self.send(address, request, MAX_ANSWER_BYTES).await
        };
        let outcome = tokio::time::timeout(timeout, call).await.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()));
        outcome.map_err(|why| format!("Post {:?}: {why}", self.url(query)))
    }

    /// Gets a document.
    pub async fn get(&self, objects: &dyn Lookup, path: &str, headers: HeaderMap, bounds: Bounds) -> Result<(u16, Bytes), String> {
        let mut request = http::Request::get(path).body(Full::default()).map_err(|why| why.to_string())?;
        *request.headers_mut() = headers;
        self.call(objects, request, bounds).await
    }

    /// The answer's code and body.
    pub async fn call(&self, objects: &dyn Lookup, request: http::Request<Full<Bytes>>, bounds: Bounds) -> Result<(u16, Bytes), String> {
        let call = async { self.send(self.resolve(objects)?, request, bounds.bytes).await };
        tokio::time::timeout(bounds.time, call).await.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()))
    }

    /// On the heap: whatever may come to ask somebody would else have room for a whole connection in its future.
    fn send(&self, address: (String, u16), request: http::Request<Full<Bytes>>, limit: usize) -> BoxFuture<'_, Result<(u16, Bytes), String>> {
        Box::pin(self.exchange(address, request, limit))
    }

    async fn exchange(&self, (host, port): (String, u16), mut request: http::Request<Full<Bytes>>, limit: usize) -> Result<(u16, Bytes), String> {
        let stream = secure(dial(&host, port).await?, self.tls.clone(), self.server_name()).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|why| why.to_string())?;
        // Ends with the sender, or with the time that the caller gave.
        let connection = tokio::spawn(connection);
        let host = HeaderValue::from_str(&self.authority()).map_err(|why| why.to_string())?;
        request.headers_mut().insert(HOST, host);
        let answer = sender.send_request(request).await.map_err(|why| why.to_string())?;
        let code = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), limit).collect().await.map_err(|why| why.to_string())?;
        connection.abort();
        Ok((code, body.to_bytes()))
    }
}

impl Place {
    fn service(service: &Value) -> Self {
        let text = |key: &str| service.str_at(&[key]).to_owned();
        Self::Service { namespace: text("namespace"), name: text("name"), port: service.i64_at(&["port"]).unwrap_or(i64::from(HTTPS)) }
    }
}

/// A ready endpoint of the service's port.
fn resolve(objects: &dyn Lookup, namespace: &str, name: &str, number: i64) -> Result<(String, u16), String> {
    let service = objects.get(&SERVICES, Some(namespace), name).ok_or_else(|| format!("service {name:?} not found"))?;
    let port = service.list_at(&["spec", "ports"]).iter().find(|p| p.i64_at(&["port"]) == Some(number));
    let port = port.ok_or_else(|| format!("no service port {number} found for service {name:?}"))?;
    if service.str_at(&["spec", "type"]) == "ExternalName" {
        return Ok((service.str_at(&["spec", "externalName"]).to_owned(), u16::try_from(number).unwrap_or(HTTPS)));
    }
    let port_name = port.str_at(&["name"]);
    let of_service = LabelSelector::parse(&format!("kubernetes.io/service-name={name}")).map_err(|why| why.to_string())?;
    let mut found = Vec::new();
    for slice in objects.list(&SLICES, Some(namespace)).iter().filter(|s| of_service.matches(s.map_at(&["metadata", "labels"]))) {
        let port = slice.list_at(&["ports"]).iter().find(|p| p.str_at(&["name"]) == port_name).and_then(|p| p.i64_at(&["port"]));
        let Some(port) = port.and_then(|p| u16::try_from(p).ok()) else { continue };
        let ready = |e: &&Value| e.at(&["conditions", "ready"]).is_none_or(|r| r != false);
        let addresses = slice.list_at(&["endpoints"]).iter().filter(ready).flat_map(|e| e.list_at(&["addresses"]));
        found.extend(addresses.filter_map(|a| Some((a.as_str()?.to_owned(), port))));
    }
    found.choose(&mut rand::rng()).cloned().ok_or_else(|| format!("no endpoints available for service {name:?}"))
}

/// The certificates of a base64 PEM bundle, or the machine's.
pub fn roots(bundle: &str) -> Result<RootCertStore, String> {
    let pem = if bundle.is_empty() {
        std::fs::read(SYSTEM_ROOTS).unwrap_or_default()
    } else {
        STANDARD.decode(bundle).map_err(|why| format!("the caBundle is no base64: {why}"))?
    };
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    Ok(store)
}

/// A client without a certificate of its own.
fn verifying(roots: &RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("the provider has both versions");
    builder.with_root_certificates(roots.clone()).with_no_client_auth()
}

/// `{"group": ..., "version": ..., "resource": ...}`, as reviews write it.
pub fn gvr_value(gvr: &GroupVersionResource) -> Value {
    json!({"group": gvr.group, "version": gvr.version, "resource": gvr.resource})
}

pub async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    let dialled = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port))).await;
    let failed = |why: &dyn std::fmt::Display| format!("dial tcp {host}:{port}: {why}");
    let stream = dialled.map_err(|_| failed(&"i/o timeout"))?.map_err(|why| failed(&why))?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

pub async fn secure(stream: TcpStream, tls: Arc<rustls::ClientConfig>, name: String) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let name = ServerName::try_from(name).map_err(|why| why.to_string())?;
    let secured = tokio::time::timeout(CONNECT_TIMEOUT, TlsConnector::from(tls).connect(name, stream)).await;
    secured.map_err(|_| "TLS handshake timeout".to_owned())?.map_err(|why| format!("tls: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_named() {
        let remote = Remote::from_client_config(&json!({"service": {"namespace": "n", "name": "s", "path": "hook", "port": 8443}})).unwrap();
        assert_eq!(remote.url("?timeout=10s"), "https://s.n.svc:8443/hook?timeout=10s");
        assert_eq!(remote.server_name(), "s.n.svc");
        let remote = Remote::from_client_config(&json!({"url": "https://example.com/a/b"})).unwrap();
        assert_eq!(remote.url(""), "https://example.com:443/a/b");
        assert!(Remote::from_client_config(&json!({"url": "http://example.com"})).is_err());
    }
}
