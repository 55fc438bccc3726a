//! [`HttpClient`]: requests with one identity over two HTTP/2 connections (one for watches, so that a slow reader of
//! a watch does not hold up a write), and upgrades over a connection of their own each.
//!
//! Answers come back as they are, whatever their code; only a lost or refused connection is an error here.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use pintle_api::Status;

use crate::body;
use crate::config::{Config, ConfigError, Credentials};
use crate::connect::Connector;
use crate::tls;

/// A connection that shows no life for the sum of both is given up, with everything that waits on it.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// An unused connection is closed after this long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Bytes that the server may send ahead of the reader, of one answer and of all on a connection. One watcher that does
/// not read can hold this much of the second.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// A token's file is looked at again after this long; the kubelet replaces tokens an hour before they end.
const TOKEN_FRESH: Duration = Duration::from_secs(60);
/// Of an upgrade that was refused: the body with the reason.
const REFUSAL_BYTES: usize = 1 << 20;

const DEFAULT_USER_AGENT: &str = concat!("pintle/", env!("CARGO_PKG_VERSION"));

/// Clones share the connections.
#[derive(Clone)]
pub struct HttpClient(Arc<Inner>);

struct Inner {
    scheme: Scheme,
    authority: Authority,
    path_prefix: String,
    headers: HeaderMap,
    token: Option<TokenFile>,
    namespace: String,
    calls: Pool<Connector, Full<Bytes>>,
    watches: Pool<Connector, Full<Bytes>>,
    upgrades: Connector,
}

/// A switched connection, and the headers of the answer that switched it.
pub struct Upgrade {
    pub headers: HeaderMap,
    pub io: TokioIo<Upgraded>,
}

impl HttpClient {
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let server: Uri = config.server.parse().map_err(|error| ConfigError::invalid("server address", error))?;
        let parts = server.into_parts();
        let authority = parts.authority.ok_or_else(|| ConfigError::invalid("server address", "it has no host"))?;
        let tls = tls::client_config(config)?;
        let pooled = Connector::new(tls.clone(), config.server_name.clone(), &["h2", "http/1.1"]);
        Ok(Self(Arc::new(Inner {
            scheme: parts.scheme.unwrap_or(Scheme::HTTPS),
            authority,
            path_prefix: parts.path_and_query.map_or(String::new(), |p| p.path().trim_end_matches('/').to_owned()),
            headers: fixed_headers(config)?,
            token: config.credentials.token_file.clone().map(TokenFile::read_first).transpose()?,
            namespace: config.namespace.clone(),
            calls: pool(pooled.clone()),
            watches: pool(pooled),
            upgrades: Connector::new(tls, config.server_name.clone(), &["http/1.1"]),
        })))
    }

    /// `https://host:port`, with the path where the server has one.
    pub fn server(&self) -> String {
        format!("{}://{}{}", self.0.scheme, self.0.authority, self.0.path_prefix)
    }

    /// The namespace that the configuration names.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// Any request, with this client's identity added. The answer's code is the caller's to read; a body that streams
    /// (a log that is followed) may take as long as it likes.
    pub async fn request(
        &self,
        method: Method,
        path_and_query: &str,
        headers: HeaderMap,
        body: impl Into<Bytes>,
    ) -> Result<Response<Incoming>, Status> {
        self.send(&self.0.calls, method, path_and_query, headers, body.into()).await
    }

    /// As [`Self::request`], on the connection for answers without an end.
    pub async fn stream(&self, path_and_query: &str, headers: HeaderMap) -> Result<Response<Incoming>, Status> {
        self.send(&self.0.watches, Method::GET, path_and_query, headers, Bytes::new()).await
    }

    /// Switches protocols for exec, attach and port-forward. `headers` name the protocol (`Upgrade`, and what it asks for);
    /// a refusal is the server's Status.
    pub async fn upgrade(&self, method: Method, path_and_query: &str, mut headers: HeaderMap) -> Result<Upgrade, Status> {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        let mut request = self.build(method, path_and_query, headers, Bytes::new())?;
        let stream = self.0.upgrades.clone().connect(request.uri().clone()).await.map_err(|error| self.unreachable(&error))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.unreachable(&error))?;
        // Ends with the connection: when the switched stream is dropped or the refusal was read.
        tokio::spawn(connection.with_upgrades());

        let host = HeaderValue::from_str(self.0.authority.as_str()).map_err(Status::internal)?;
        request.headers_mut().insert(HOST, host);
        let origin = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(origin);
        let response = sender.send_request(request).await.map_err(|error| self.unreachable(&error))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let code = response.status().as_u16();
            let body = body::collect(response.into_body(), REFUSAL_BYTES).await?;
            return Err(Status::from_body(code, &body));
        }
        let headers = response.headers().clone();
        let io = hyper::upgrade::on(response).await.map_err(|error| self.unreachable(&error))?;
        Ok(Upgrade { headers, io: TokioIo::new(io) })
    }

    async fn send(
        &self,
        pool: &Pool<Connector, Full<Bytes>>,
        method: Method,
        path_and_query: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Status> {
        let request = self.build(method, path_and_query, headers, body)?;
        pool.request(request).await.map_err(|error| self.unreachable(&error))
    }

    fn build(&self, method: Method, path_and_query: &str, headers: HeaderMap, body: Bytes) -> Result<Request<Full<Bytes>>, Status> {
        let path = format!("{}{path_and_query}", self.0.path_prefix);
        let mut parts = Parts::default();
        parts.scheme = Some(self.0.scheme.clone());
        parts.authority = Some(self.0.authority.clone());
        parts.path_and_query = Some(path.parse().map_err(|error| Status::bad_request(format!("path {path:?}: {error}")))?);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_parts(parts).map_err(Status::internal)?;
        *request.headers_mut() = headers;
        for (name, value) in &self.0.headers {
            // Impersonated groups come several times; what the caller says wins over the rest.
            if *name == IMPERSONATE_GROUP {
                request.headers_mut().append(name, value.clone());
            } else if !request.headers().contains_key(name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        if let Some(token) = &self.0.token {
            request.headers_mut().insert(AUTHORIZATION, token.current());
        }
        Ok(request)
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Status {
        let mut message = format!("the server at {} cannot be reached: {error}", self.server());
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !message.ends_with(&text) {
                message.push_str(&format!(": {text}"));
            }
            cause = inner.source();
        }
        Status::unavailable(message)
    }
}

const IMPERSONATE_USER: HeaderName = HeaderName::from_static("impersonate-user");
const IMPERSONATE_GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const IMPERSONATE_UID: HeaderName = HeaderName::from_static("impersonate-uid");

pub(crate) fn json_headers(content_type: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if !content_type.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    headers
}

fn pool(connector: Connector) -> Pool<Connector, Full<Bytes>> {
    Pool::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .http2_keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .build(connector)
}

fn fixed_headers(config: &Config) -> Result<HeaderMap, ConfigError> {
    let value = |text: &str, what| HeaderValue::from_str(text).map_err(|error| ConfigError::invalid(what, error));
    let mut headers = HeaderMap::new();
    let agent = if config.user_agent.is_empty() { DEFAULT_USER_AGENT } else { &config.user_agent };
    headers.insert(USER_AGENT, value(agent, "user agent")?);
    if let Some(authorization) = authorization(&config.credentials) {
        let mut authorization = value(&authorization, "token")?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
    }
    if let Some(impersonate) = &config.impersonate {
        headers.insert(IMPERSONATE_USER, value(&impersonate.user, "impersonated user")?);
        for group in &impersonate.groups {
            headers.append(IMPERSONATE_GROUP, value(group, "impersonated group")?);
        }
        if !impersonate.uid.is_empty() {
            headers.insert(IMPERSONATE_UID, value(&impersonate.uid, "impersonated uid")?);
        }
    }
    Ok(headers)
}

fn authorization(credentials: &Credentials) -> Option<String> {
    if let Some(token) = &credentials.token {
        return Some(format!("Bearer {}", token.trim()));
    }
    let (name, password) = credentials.basic.as_ref()?;
    Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"))))
}

struct TokenFile {
    path: PathBuf,
    cached: Mutex<(Instant, HeaderValue)>,
}

impl TokenFile {
    fn read_first(path: PathBuf) -> Result<Self, ConfigError> {
        let cached = Mutex::new((Instant::now(), read_token(&path)?));
        Ok(Self { path, cached })
    }

    /// A file that cannot be read for a moment leaves the old token in use.
    fn current(&self) -> HeaderValue {
        let (read_at, token) = self.lock().clone();
        if read_at.elapsed() < TOKEN_FRESH {
            return token;
        }
        let fresh = match read_token(&self.path) {
            Ok(fresh) => fresh,
            Err(error) => {
                tracing::warn!(%error, "the token cannot be read again");
                token
            }
        };
        *self.lock() = (Instant::now(), fresh.clone());
        fresh
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Instant, HeaderValue)> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_token(path: &std::path::Path) -> Result<HeaderValue, ConfigError> {
    let token = std::fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.display().to_string(), error })?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(|error| ConfigError::invalid("token file", error))?;
    value.set_sensitive(true);
    Ok(value)
}
