//! A running data plane, backends that tell what they saw, and clients.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pintle_ingress::table::{Endpoint, RouteTable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub type Sent = Full<Bytes>;
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Plane {
    pub http: SocketAddr,
    https: SocketAddr,
    tables: watch::Sender<Arc<RouteTable>>,
    task: JoinHandle<()>,
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
    /// The name of the backend that answered.
    pub fn who(&self) -> &str {
        self.body.split(' ').next().unwrap()
    }
}

impl Plane {
    pub async fn start(table: RouteTable) -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0");
        let (http, https) = (listen().await.unwrap(), listen().await.unwrap());
        let (tables, receiver) = watch::channel(Arc::new(table));
        let addresses = (http.local_addr().unwrap(), https.local_addr().unwrap());
        let task = tokio::spawn(async move { pintle_ingress::serve_on(http, https, receiver).await.unwrap() });
        Self { http: addresses.0, https: addresses.1, tables, task }
    }

    pub fn set(&self, table: RouteTable) {
        self.tables.send_replace(Arc::new(table));
    }

    pub async fn until<F: Future<Output = bool>>(&self, mut holds: impl FnMut() -> F) {
        let wait = async {
            while !holds().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("in time");
    }

    /// The answer, and what the certificate says.
    pub async fn over_tls(&self, name: &str, protocol: &[u8]) -> (Answer, String) {
        // The tests look at the certificate themselves.
        let config = pintle_tls::unverified(&[protocol]);
        let stream = TcpStream::connect(self.https).await.unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name.to_owned().try_into().unwrap(), stream).await.unwrap();
        let subject = String::from_utf8_lossy(&stream.get_ref().1.peer_certificates().unwrap()[0]).into_owned();
        let request = Request::get(format!("https://{name}/")).body(Sent::default()).unwrap();
        let answer = if protocol == b"h2" {
            let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            read(sender.send_request(request).await.unwrap()).await
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let mut request = request;
            request.headers_mut().insert("host", name.parse().unwrap());
            read(sender.send_request(request).await.unwrap()).await
        };
        (answer, subject)
    }

    /// Status of a request whose length is not told beforehand.
    pub async fn chunked(&self, host: &str, body: &str) -> u16 {
        let text = format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    /// What comes back over an upgraded connection.
    pub async fn upgraded(&self, host: &str, message: &str) -> String {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        let text = format!("GET /ws HTTP/1.1\r\nhost: {host}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            seen.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(seen).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: websocket"), "{head}");
        stream.write_all(message.as_bytes()).await.unwrap();
        let mut answer = vec![0; "echo ".len() + message.len()];
        stream.read_exact(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }
}

pub async fn get(plane: &Plane, host: &str, path: &str) -> Answer {
    request(plane, host, path, |_| {}, "").await
}

pub async fn request(plane: &Plane, host: &str, path: &str, change: impl FnOnce(&mut Request<Sent>), body: &'static str) -> Answer {
    let stream = TcpStream::connect(plane.http).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::get(path).header("host", host).body(Sent::from(body)).unwrap();
    change(&mut request);
    read(sender.send_request(request).await.unwrap()).await
}

async fn read(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// Each answers with its name, the request line, the headers and the body that it got.
pub struct Backends {
    addresses: Vec<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Backends {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Backends {
    pub async fn start(names: &[&'static str]) -> Self {
        let mut backends = Self { addresses: Vec::new(), tasks: Vec::new() };
        for name in names {
            backends.add(name, None).await;
        }
        backends
    }

    pub async fn start_tls(name: &'static str) -> Self {
        use rustls_pki_types::pem::PemObject;
        let (chain, key) = certificate("backend");
        let chain = vec![rustls_pki_types::CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
        let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let builder = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut backends = Self { addresses: Vec::new(), tasks: Vec::new() };
        backends.add(name, Some(tokio_rustls::TlsAcceptor::from(Arc::new(config)))).await;
        backends
    }

    pub fn all(&self) -> Vec<Endpoint> {
        self.addresses.iter().map(|a| Endpoint { address: a.ip().to_string(), port: a.port() }).collect()
    }

    async fn add(&mut self, name: &'static str, tls: Option<tokio_rustls::TlsAcceptor>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.addresses.push(listener.local_addr().unwrap());
        self.tasks.push(tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let tls = tls.clone();
                tokio::spawn(async move {
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let service = service_fn(move |request| answer(name, request));
                    let _ = match tls {
                        None => builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await,
                        Some(tls) => builder.serve_connection_with_upgrades(TokioIo::new(tls.accept(stream).await.unwrap()), service).await,
                    };
                });
            }
        }));
    }
}

async fn answer(name: &str, mut request: Request<Incoming>) -> Result<Response<Sent>, Infallible> {
    if request.uri().path() == "/never" {
        std::future::pending::<()>().await;
    }
    if request.headers().contains_key("upgrade") {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut buffer = [0; 4];
            stream.read_exact(&mut buffer).await.unwrap();
            stream.write_all(&[b"echo ", &buffer[..]].concat()).await.unwrap();
        });
        return Ok(Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket").body(Sent::default()).unwrap());
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(Response::new(Sent::default())) };
    let uri = parts.uri.path_and_query().unwrap();
    let headers: Vec<String> = parts.headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
    let text = format!("{name} {} {uri}\n{:?}\n{}\n{}", parts.method, parts.version, headers.join("\n"), String::from_utf8_lossy(&body.to_bytes()));
    Ok(Response::new(text.into()))
}

/// Nobody listens there any more.
pub async fn closed_port() -> Endpoint {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    Endpoint { address: address.ip().to_string(), port: address.port() }
}

/// Chain and key in PEM.
pub fn certificate(name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}
