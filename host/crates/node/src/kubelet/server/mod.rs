//! The kubelet's own HTTPS server: logs, exec, attach, port-forward, state and figures, for the API server to proxy to.
//!
//! Only a client certificate of the cluster's authority lets anybody in, and then only the API server's group, or whom
//! the API's authorizer allows `nodes/proxy`. Nothing else is served to others but `/healthz`.

mod auth;
mod stats;
mod streams;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;

use super::context::Context;
use super::logs;
use super::pods::Table;
use super::state::{ContainerState, PodState};
use super::status;

/// Connections served at once: each exec or followed log holds one.
const MAX_CONNECTIONS: usize = 1024;
/// Time for a TLS handshake and for a request's head, in seconds.
const HEAD_SECONDS: u64 = 10;
/// Log chunks that may wait for a slow reader.
const LOG_CHUNKS: usize = 8;

pub type Body = BoxBody<Bytes, std::io::Error>;
pub type Answer = Response<Body>;

pub struct Server {
    pub context: Arc<Context>,
    pub table: Table,
}

pub async fn run(server: Arc<Server>, listener: TcpListener, tls: Arc<rustls::ServerConfig>) {
    let acceptor = TlsAcceptor::from(tls);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (server, acceptor) = (server.clone(), acceptor.clone());
        tokio::spawn(async move {
            if let Err(error) = serve(server, acceptor, stream, peer).await {
                tracing::debug!(%peer, error, "connection ended");
            }
            drop(slot);
        });
    }
}

async fn serve(server: Arc<Server>, acceptor: TlsAcceptor, stream: TcpStream, _peer: SocketAddr) -> Result<(), String> {
    stream.set_nodelay(true).ok();
    let handshake = tokio::time::timeout(Duration::from_secs(HEAD_SECONDS), acceptor.accept(stream));
    let tls = handshake.await.map_err(|_| "handshake took too long")?.map_err(|e| e.to_string())?;
    let identity = tls.get_ref().1.peer_certificates().and_then(|chain| auth::identity(chain.first()?)).map(Arc::new);
    let service = service_fn(move |request| {
        let (server, identity) = (server.clone(), identity.clone());
        async move { Ok::<_, Infallible>(server.answer(request, identity).await) }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(HEAD_SECONDS))
        .serve_connection(TokioIo::new(tls), service)
        .with_upgrades()
        .await
        .map_err(|e| e.to_string())
}

impl Server {
    async fn answer(&self, request: Request<Incoming>, identity: Option<Arc<auth::Identity>>) -> Answer {
        let path = request.uri().path().to_owned();
        if path == "/healthz" || path == "/healthz/ping" {
            return text(StatusCode::OK, "ok");
        }
        let Some(identity) = identity else { return text(StatusCode::UNAUTHORIZED, "Unauthorized") };
        let sub = match path.split('/').nth(1).unwrap_or("") {
            "stats" => "stats",
            "metrics" => "metrics",
            "logs" => "log",
            _ => "proxy",
        };
        if !auth::is_allowed(&self.context, &identity, request.method(), sub).await {
            let message = format!("Forbidden (user={}, verb=get, resource=nodes, subresource={sub})", identity.user);
            return text(StatusCode::FORBIDDEN, &message);
        }
        let parts: Vec<String> = path.trim_matches('/').split('/').map(|p| percent_decode_str(p).decode_utf8_lossy().into_owned()).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match (request.method(), parts.as_slice()) {
            (&Method::GET, ["pods"]) => self.pods(),
            (&Method::GET, ["containerLogs", namespace, pod, container]) => self.logs(&request, namespace, pod, container),
            (_, ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container]) => {
                streams::exec(self, &request_query(&request), namespace, pod, container, request).await
            }
            (_, ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container]) => {
                streams::attach(self, &request_query(&request), namespace, pod, container, request).await
            }
            (_, ["portForward", namespace, pod] | ["portForward", namespace, pod, _]) => streams::port_forward(self, namespace, pod, request).await,
            (&Method::POST, ["run", namespace, pod, container] | ["run", namespace, pod, _, container]) => {
                streams::run(self, &request_query(&request), namespace, pod, container).await
            }
            (&Method::GET, ["stats", "summary"]) => stats::summary(self).await,
            (&Method::GET, ["metrics"]) => stats::metrics(self),
            (&Method::GET, ["metrics", "resource"]) => stats::resource(self).await,
            (&Method::GET, ["metrics", "cadvisor" | "probes"]) => text(StatusCode::OK, ""),
            (&Method::GET, ["configz"]) => json_answer(&self.config()),
            _ => text(StatusCode::NOT_FOUND, "404 page not found"),
        }
    }

    fn pods(&self) -> Answer {
        let now = Timestamp::now();
        let show = |state: Arc<PodState>| {
            let old = state.pod.status.clone().unwrap_or_default();
            let status = Some(status::of(&state, &old, &self.context.host, now));
            Pod { status, ..(*state.pod).clone() }
        };
        let items: Vec<Pod> = self.table.all().into_iter().map(show).collect();
        json_answer(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
    }

    fn logs(&self, request: &Request<Incoming>, namespace: &str, pod: &str, container: &str) -> Answer {
        let query = request_query(request);
        let options = match log_options(&query) {
            Ok(options) => options,
            Err(message) => return text(StatusCode::BAD_REQUEST, &message),
        };
        let Some(state) = self.table.find(namespace, pod) else {
            return text(StatusCode::NOT_FOUND, &format!("pod {pod:?} not found"));
        };
        let Some(c) = state.container(container) else {
            return text(StatusCode::NOT_FOUND, &format!("container {container:?} not found in pod {pod:?}"));
        };
        let previous = flag(&query, "previous");
        let Some((attempt, id)) = instance(c, previous) else {
            let message = if previous {
                format!("previous terminated container {container:?} in pod {pod:?} not found")
            } else {
                format!("container {container:?} in pod {pod:?} is waiting to start: {}", waiting_reason(&state, c))
            };
            return text(StatusCode::BAD_REQUEST, &message);
        };
        let path = self.context.paths.pod_logs(&state.pod).join(super::paths::log_file(container, attempt));
        let (tx, rx) = mpsc::channel(LOG_CHUNKS);
        let (table, namespace, pod, container) = (self.table.clone(), namespace.to_owned(), pod.to_owned(), container.to_owned());
        let running = move || {
            let state = table.find(&namespace, &pod);
            state.and_then(|s| s.container(&container).map(|c| c.running_id() == Some(&id))).unwrap_or(false)
        };
        tokio::spawn(async move { logs::send(&path, options, running, tx).await });
        let body = StreamBody::new(ReceiverStream::new(rx).map(|chunk| chunk.map(Frame::data)));
        let answer = Response::builder().header("content-type", "text/plain").header("transfer-encoding", "chunked");
        answer.body(BodyExt::boxed(body)).unwrap_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR, ""))
    }

    fn config(&self) -> serde_json::Value {
        json!({"kubeletconfig": {
            "clusterDNS": self.context.dns.servers, "clusterDomain": self.context.dns.cluster_domain, "cgroupDriver": "cgroupfs",
            "maxPods": 110, "enableServer": true, "evictionHard": {"memory.available": "100Mi"}, "syncFrequency": "1m0s",
            "serializeImagePulls": false, "containerLogMaxSize": "10Mi", "containerLogMaxFiles": 5,
        }})
    }
}

/// Attempt and id of the instance whose log is asked for.
fn instance(c: &ContainerState, previous: bool) -> Option<(u32, String)> {
    let running = c.running_id().map(str::to_owned);
    match (&running, &c.latest, &c.before, previous) {
        (Some(id), _, _, false) => Some((c.restarts, id.clone())),
        (None, Some(exit), _, false) => Some((c.restarts, exit.id.clone())),
        (Some(_), Some(exit), _, true) => Some((c.restarts.checked_sub(1)?, exit.id.clone())),
        (None, Some(_), Some(exit), true) => Some((c.restarts.checked_sub(1)?, exit.id.clone())),
        // In back-off, the instance that crashed is the previous one.
        (None, Some(exit), None, true) => Some((c.restarts, exit.id.clone())),
        _ => None,
    }
}

fn waiting_reason(state: &PodState, c: &ContainerState) -> String {
    let status = status::of(state, &state.pod.status.clone().unwrap_or_default(), &status::HostFacts::default(), Timestamp::now());
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).chain(&status.ephemeral_container_statuses).flatten();
    let own = all.into_iter().find(|s| s.name == c.name).and_then(|s| s.state.clone()).and_then(|s| s.waiting);
    own.and_then(|w| w.message.or(w.reason)).unwrap_or_else(|| "ContainerCreating".into())
}

fn log_options(query: &[(String, String)]) -> Result<logs::Options, String> {
    let value = |name: &str| query.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty());
    let number = |name: &str| match value(name).filter(|v| *v != "all") {
        None => Ok(None),
        Some(v) => v.parse::<u64>().map(Some).map_err(|_| format!("invalid value {v:?} of {name}")),
    };
    let mut options = logs::Options {
        follow: flag(query, "follow"),
        timestamps: flag(query, "timestamps"),
        tail_lines: number("tailLines").or_else(|e| if value("tailLines") == Some("-1") { Ok(None) } else { Err(e) })?,
        limit_bytes: number("limitBytes")?,
        since: None,
        stream: value("stream").filter(|s| *s != "All").unwrap_or("").to_owned(),
    };
    if let Some(seconds) = value("sinceSeconds") {
        let seconds = seconds.parse().map_err(|_| format!("invalid value {seconds:?} of sinceSeconds"))?;
        options.since_seconds(seconds, Timestamp::now());
    }
    if let Some(time) = value("sinceTime") {
        options.since = Some(time.parse().map_err(|_| format!("invalid value {time:?} of sinceTime"))?);
    }
    Ok(options)
}

pub fn request_query<B>(request: &Request<B>) -> Vec<(String, String)> {
    let decode = |t: &str| percent_decode_str(&t.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = request.uri().query().unwrap_or("").split('&').filter(|p| !p.is_empty());
    pairs.map(|p| p.split_once('=').unwrap_or((p, ""))).map(|(k, v)| (decode(k), decode(v))).collect()
}

pub fn flag(query: &[(String, String)], name: &str) -> bool {
    query.iter().any(|(k, v)| k == name && matches!(v.as_str(), "1" | "true" | "True" | "TRUE"))
}

pub fn text(status: StatusCode, message: &str) -> Answer {
    let mut answer = Response::new(full(message.to_owned().into_bytes()));
    *answer.status_mut() = status;
    answer.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

pub fn json_answer(value: &serde_json::Value) -> Answer {
    let mut answer = Response::new(full(value.to_string().into_bytes()));
    answer.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    answer
}

pub fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(|never: Infallible| match never {}).boxed()
}
