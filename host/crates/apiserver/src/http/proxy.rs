//! Passes a request on to another HTTP server and its answer back, upgraded connections byte for byte.
//!
//! One connection a request: streams are few and long. Credentials of the client stop here.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use pintle_api::Status;
use tokio::io::{AsyncRead, AsyncWrite};

use super::links::Through;
use super::unread::Asking;
use super::{Body, Response};
use crate::outbound::{dial, secure};

/// Buffer of each direction of an upgraded connection.
const COPY_BUFFER_BYTES: usize = 32 << 10;

/// Headers that speak of one connection only, and those that prove the client's identity to this server.
const NOT_PASSED: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::AUTHORIZATION,
    header::HOST,
];

/// Where to.
pub struct Backend {
    pub host: String,
    pub port: u16,
    /// `None`: plain HTTP.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The name in its certificate, where that is not the host.
    pub server_name: Option<String>,
    /// Path and query.
    pub path: String,
}

pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

pub fn is_upgrade(headers: &HeaderMap) -> bool {
    let names_upgrade = |value: &HeaderValue| value.to_str().is_ok_and(|v| v.to_ascii_lowercase().contains("upgrade"));
    headers.contains_key(header::UPGRADE) && headers.get_all(header::CONNECTION).iter().any(names_upgrade)
}

/// The backend's host and port as they stand in an address.
pub fn authority(backend: &Backend) -> String {
    let host = if backend.host.contains(':') { format!("[{}]", backend.host) } else { backend.host.clone() };
    format!("{host}:{}", backend.port)
}

/// Tells the backend under which address the client sees it.
pub fn note_forwarded(headers: &mut HeaderMap, through: &Through, path: &str) {
    let noted = [
        ("x-forwarded-uri", format!("{}{path}", through.prefix)),
        ("x-forwarded-host", through.client_host.clone()),
        ("x-forwarded-proto", "https".to_owned()),
    ];
    for (name, value) in noted {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Sends the request to the backend and gives its answer; `Err` when there is none. An upgrade goes on in the background
/// until either side ends it.
pub async fn pass(mut parts: Parts, body: Asking, backend: &Backend) -> Result<Response, String> {
    let stream = connect(backend).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|why| why.to_string())?;
    tokio::spawn(async move {
        if let Err(why) = connection.with_upgrades().await {
            tracing::debug!(%why, "connection to a backend ended");
        }
    });
    let upgrade = is_upgrade(&parts.headers).then(|| parts.extensions.remove::<OnUpgrade>()).flatten();
    let mut request = http::Request::new(body);
    *request.method_mut() = parts.method;
    *request.uri_mut() = backend.path.parse().map_err(|_| format!("the path {:?} cannot be passed on", backend.path))?;
    *request.headers_mut() = passed_on(&parts.headers, upgrade.is_some());
    request.headers_mut().insert(header::HOST, host_header(backend)?);
    let mut answer = sender.send_request(request).await.map_err(|why| why.to_string())?;
    if answer.status() != http::StatusCode::SWITCHING_PROTOCOLS {
        let (parts, body) = answer.into_parts();
        let mut response = Response::new(Body::Proxied(body));
        *response.status_mut() = parts.status;
        *response.headers_mut() = passed_on(&parts.headers, false);
        return Ok(response);
    }
    let Some(client) = upgrade else { return Err("the backend upgraded a connection that was not to be".to_owned()) };
    let server = hyper::upgrade::on(&mut answer);
    tokio::spawn(join(client, server));
    let mut response = Response::new(Body::Full(bytes::Bytes::new()));
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(response)
}

/// A connection to the backend, TLS where it is asked for.
pub async fn connect(backend: &Backend) -> Result<Box<dyn Duplex>, String> {
    let stream = dial(&backend.host, backend.port).await?;
    let Some(tls) = &backend.tls else { return Ok(Box::new(stream)) };
    let secured = secure(stream, tls.clone(), backend.server_name.clone().unwrap_or_else(|| backend.host.clone())).await;
    Ok(Box::new(secured.map_err(|why| format!("dial tcp {}:{}: {why}", backend.host, backend.port))?))
}

/// An answer with another code than success, as the Status that it means.
pub async fn refused(response: Response, limit: usize) -> Status {
    let code = response.status().as_u16();
    let body = http_body_util::BodyExt::collect(http_body_util::Limited::new(response.into_body(), limit)).await;
    let body = body.map(|b| b.to_bytes()).unwrap_or_default();
    let mut status = Status::from_body(code, &body);
    status.message = status.message.trim_end().to_owned();
    status.reason = match (code, status.reason) {
        (400, pintle_api::Reason::Unknown) => pintle_api::Reason::BadRequest,
        (404, pintle_api::Reason::Unknown) => pintle_api::Reason::NotFound,
        (500.., pintle_api::Reason::Unknown) => pintle_api::Reason::InternalError,
        (_, known) => known,
    };
    status
}

async fn join(client: OnUpgrade, server: OnUpgrade) {
    let (client, server) = match tokio::try_join!(client, server) {
        Ok(both) => both,
        Err(why) => return tracing::debug!(%why, "an upgrade failed"),
    };
    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
    let copied = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut server, COPY_BUFFER_BYTES, COPY_BUFFER_BYTES).await;
    tracing::debug!(?copied, "an upgraded connection ended");
}

fn passed_on(headers: &HeaderMap, upgrade: bool) -> HeaderMap {
    let mut passed = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let is_upgrade = upgrade && matches!(*name, header::CONNECTION | header::UPGRADE);
        if is_upgrade || !(NOT_PASSED.contains(name) || name.as_str().starts_with("impersonate-") || name.as_str() == "keep-alive") {
            passed.append(name, value.clone());
        }
    }
    passed
}

fn host_header(backend: &Backend) -> Result<HeaderValue, String> {
    HeaderValue::from_str(&authority(backend)).map_err(|why| why.to_string())
}
