//! The listener, its connections, and what every request goes through before and after its handler.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use http::Method;
use http::header::{ACCEPT, EXPECT, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use pintle_api::{Reason, Status};
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::begun::to_its_end;
use super::cork::corked_tls;
use super::frames::SharedFrames;
use super::incoming::Room;
use super::metrics::{Gauge, Metrics};
use super::negotiate::Media;
use super::packs::Packs;
use super::path::{self, ResourcePath};
use super::rest::{Call, is_long_running};
use super::unread::Asking;
use super::{Request, Response, answer, audited, backup, extension, nonresource};
use crate::aggregation::Extension;
use crate::audit::{Head, Pending, annotating};
use crate::auth::{Attributes, User};
use crate::handlers::Core;
use crate::lookup::SharedLookup;

/// A request that is no stream is answered within this time, or with 504.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From one request's end to the next one's headers on a connection of HTTP/1, and on any to the first request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(32);
/// Connections at once; more wait to be accepted. Each holds buffers before anybody is known on it.
const MAX_CONNECTIONS: usize = 20_000;
/// All headers of a request over HTTP/2, its path and query included (of which the `http` crate takes 64 KiB). Over HTTP/1 hyper takes 100 headers
/// of 408 KiB together: to ask for another number there costs an allocation a request.
const MAX_HEADERS_BYTES: u32 = 128 << 10;
/// Streams that a client of HTTP/2 has begun and reset before anybody looked at them; with more its connection ends.
const MAX_PENDING_RESETS: usize = 20;
/// Requests served at once; more wait their turn within the request timeout.
const MAX_READS_IN_FLIGHT: usize = 400;
const MAX_WRITES_IN_FLIGHT: usize = 400;
/// Requests that wait their turn; more are refused with 429.
const MAX_WAITING: i64 = 10_000;
const MAX_STREAMS_PER_CONNECTION: u32 = 1000;
/// Idle HTTP/2 connections are asked whether they live.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Open requests are given this long when the server ends.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// A failing accept (no file descriptors left) is tried again after this.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// A fault of the server's own, of which its log tells more.
const PANICKED: &str = "This request caused apiserver to panic. Look in the logs for details.";

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// One listening server.
pub struct Front {
    pub core: Arc<Core>,
    pub metrics: Arc<Metrics>,
    frames: Arc<SharedFrames>,
    room: Room,
    connections: Arc<Semaphore>,
    packs: Arc<Packs>,
    pub tls: Arc<rustls::ServerConfig>,
    /// Told to clients in discovery.
    pub address: String,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    waiting: AtomicI64,
}

impl Front {
    pub fn new(core: Arc<Core>, tls: Arc<rustls::ServerConfig>, address: String) -> Arc<Self> {
        Arc::new(Self {
            core,
            metrics: Arc::default(),
            frames: Arc::default(),
            room: Room::default(),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            packs: Arc::default(),
            tls,
            address,
            reads: Arc::new(Semaphore::new(MAX_READS_IN_FLIGHT)),
            writes: Arc::new(Semaphore::new(MAX_WRITES_IN_FLIGHT)),
            waiting: AtomicI64::new(0),
        })
    }

    /// Accepts until `stop` turns true, then lets open requests end.
    pub async fn run(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let graceful = Arc::new(GracefulShutdown::new());
        let acceptor = TlsAcceptor::from(self.tls.clone());
        loop {
            let accept = async {
                let seat = self.connections.clone().acquire_owned().await;
                (listener.accept().await, seat)
            };
            let (accepted, seat) = tokio::select! {
                accepted = accept => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (front, acceptor, watcher) = (self.clone(), acceptor.clone(), graceful.watcher());
                    tokio::spawn(async move {
                        front.connection(stream, peer, acceptor, watcher).await;
                        drop(seat);
                    });
                }
                Err(why) => {
                    tracing::warn!(%why, "accept failed");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
        drop(listener);
        if let Some(graceful) = Arc::into_inner(graceful)
            && tokio::time::timeout(SHUTDOWN_GRACE, graceful.shutdown()).await.is_err()
        {
            tracing::info!("open requests were cut");
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, acceptor: TlsAcceptor, watcher: hyper_util::server::graceful::Watcher) {
        let _ = stream.set_nodelay(true);
        let tls = match tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(why)) => return tracing::debug!(%peer, %why, "TLS handshake failed"),
            Err(_) => return tracing::debug!(%peer, "TLS handshake timed out"),
        };
        let chain: Arc<[CertificateDer<'static>]> = tls.get_ref().1.peer_certificates().unwrap_or(&[]).iter().cloned().collect();
        let (front, begun) = (self.clone(), Arc::new(AtomicBool::new(false)));
        let begins = begun.clone();
        let service = service_fn(move |request: Request| {
            begins.store(true, Ordering::Relaxed);
            let (front, chain) = (front.clone(), chain.clone());
            async move { Ok::<_, Infallible>(front.answer(request, peer, &chain).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        let mut http2 = builder.http2();
        http2.timer(TokioTimer::new()).keep_alive_interval(KEEP_ALIVE).max_concurrent_streams(MAX_STREAMS_PER_CONNECTION);
        http2.max_header_list_size(MAX_HEADERS_BYTES).max_pending_accept_reset_streams(MAX_PENDING_RESETS);
        let serve = |tls| watcher.watch(builder.serve_connection_with_upgrades(TokioIo::new(tls), service).into_owned());
        let mut connection = corked_tls(tls).gathered(serve);
        let outcome = match tokio::time::timeout(HEADER_TIMEOUT, &mut connection).await {
            Ok(outcome) => outcome,
            Err(_) if begun.load(Ordering::Relaxed) => connection.await,
            Err(_) => return tracing::debug!(%peer, "no request came"),
        };
        if let Err(why) = outcome {
            tracing::debug!(%peer, %why, "connection ended");
        }
    }

    /// Every request: authenticate, authorize, wait for a turn, serve, count.
    async fn answer(&self, request: Request, peer: SocketAddr, chain: &[CertificateDer<'static>]) -> Response {
        let start = Instant::now();
        let (parts, body, unread) = Asking::of(request);
        let awaited = parts.headers.contains_key(EXPECT);
        let audit_id = parts.headers.get(&AUDIT_ID).cloned().unwrap_or_else(audit_id);
        let resource = ResourcePath::parse(parts.uri.path());
        let query = path::query(parts.uri.query());
        let watching = path::flag(&query, "watch");
        let verb = resource.as_ref().map_or("", |r| r.verb(&parts.method, watching));
        let name = resource.as_ref().filter(|path| self.serves(path)).map(|path| path.resource.clone()).unwrap_or_default();
        let long = resource.as_ref().is_some_and(|r| is_long_running(verb, &r.subresource));
        let accept = parts.headers.get(ACCEPT).cloned();
        let only_head = parts.method == Method::HEAD;
        let asked = Asked { parts, resource, query, verb, long };
        let mut audited = None;
        let served = AssertUnwindSafe(self.serve(asked, body, peer, &audit_id, chain, &mut audited)).catch_unwind().await;
        let outcome = served.unwrap_or_else(|_| Err(Status::new(500, Reason::InternalError, PANICKED)));
        let status = audited.as_ref().and_then(|_| outcome.as_ref().err().map(Status::to_value));
        let mut response = outcome.unwrap_or_else(|status| {
            let headers = accept.map(|accept| (ACCEPT, accept)).into_iter().collect();
            answer::status(&status, Media::plain(&headers))
        });
        response.headers_mut().insert(AUDIT_ID, audit_id);
        if let Some(pending) = audited {
            audited::complete(pending, &mut response, status, long);
        }
        if only_head {
            answer::keep_head(&mut response);
        }
        if let Some(unread) = unread {
            unread.settle(&mut response, awaited).await;
        }
        self.metrics.count(&name, verb, response.status().as_u16(), (!long).then(|| start.elapsed()));
        response
    }

    /// Whatever else a path names has no counter of its own: anybody may ask for anything.
    fn serves(&self, path: &ResourcePath) -> bool {
        self.core.resources.load().get(&path.group, &path.version, &path.resource).is_some()
    }

    async fn serve(
        &self,
        asked: Asked,
        body: Asking,
        peer: SocketAddr,
        audit_id: &HeaderValue,
        chain: &[CertificateDer<'static>],
        audited: &mut Option<Pending>,
    ) -> Result<Response, Status> {
        let user = self.authenticate(&asked.parts, chain).await;
        if let Some(audit) = &self.core.audit {
            let nobody = User::default();
            let user = user.as_deref().unwrap_or(&nobody);
            *audited = asked.with_attributes(user, |attributes| audit.begin(attributes, asked.head(audit_id, peer)))?;
        }
        let user = match user {
            Ok(user) => user,
            Err(status) => {
                if let Some(pending) = audited.take() {
                    pending.unauthenticated(&status);
                }
                return Err(status);
            }
        };
        let record = audited.as_ref().map(|pending| pending.record().clone());
        let acting = asked.with_attributes(&user, |attributes| self.core.authenticator.impersonate(&asked.parts.headers, attributes))?;
        if let (Some(record), Some(acting)) = (&record, &acting) {
            record.impersonates(acting);
        }
        let user = acting.map_or(user, |acting| Arc::new(acting.user));
        asked.with_attributes(&user, |attributes| self.core.authorize_noting(attributes, record.as_deref()))?;
        let Asked { parts, resource, query, verb, long } = asked;
        if let Some(extension) = self.elsewhere(&parts) {
            let objects = SharedLookup { cache: self.core.cache.clone(), resources: self.core.resources.clone() };
            return Box::pin(extension::pass(&extension, &objects, parts, body, &user)).await;
        }
        let Some(path) = resource else {
            if parts.uri.path() == crate::backup::PATH && parts.method == Method::GET {
                return backup::serve(&self.core).await;
            }
            return nonresource::serve(&self.core, &self.metrics, &parts, &self.address);
        };
        let (core, metrics, frames, packs) = (self.core.clone(), self.metrics.clone(), self.frames.clone(), self.packs.clone());
        let annotated = record.clone();
        let begun = Arc::new(AtomicBool::new(false));
        let call = Call { core, metrics, frames, packs, user, path, verb, query, parts, body, room: self.room.clone(), begun: begun.clone(), record };
        // On the heap, once: every layer around it would move it again.
        let work = Box::pin(call.serve());
        if long {
            return work.await;
        }
        let metrics = self.metrics.clone();
        let outcome = if matches!(verb, "get" | "list") {
            let read = async {
                let _turn = self.turn(&self.reads).await?;
                let _gauge = Gauge::raise(&metrics.in_flight_reads);
                annotating::within(annotated, work).await
            };
            tokio::time::timeout(REQUEST_TIMEOUT, read).await
        } else {
            let write = async {
                let turn = self.turn(&self.writes).await?;
                let work = async move {
                    let _turn = turn;
                    let _gauge = Gauge::raise(&metrics.in_flight_writes);
                    annotating::within(annotated, work).await
                };
                to_its_end(work, begun).await
            };
            tokio::time::timeout(REQUEST_TIMEOUT, write).await
        };
        match outcome {
            Ok(answer) => answer,
            Err(_) => Err(Status::new(504, Reason::Timeout, "request did not complete within the allotted timeout")),
        }
    }

    /// Who else serves the request: it is for a group version of another server, or for that one's OpenAPI document.
    fn elsewhere(&self, parts: &http::request::Parts) -> Option<Arc<Extension>> {
        let extensions = &self.core.extensions;
        let documented = |method: &Method| {
            let extension = extensions.find_document(parts.uri.path()).filter(|_| matches!(*method, Method::GET | Method::HEAD))?;
            let own = self.core.resources.load().has_group_version(&extension.group, &extension.version);
            (!own).then_some(extension)
        };
        extensions.find(parts.uri.path()).or_else(|| documented(&parts.method))
    }

    /// What a token names may have been made through another server a moment ago, so that a refusal is looked at again.
    async fn authenticate(&self, parts: &http::request::Parts, chain: &[CertificateDer<'static>]) -> Result<Arc<User>, Status> {
        let authenticator = &self.core.authenticator;
        if let Some(fetch) = authenticator.prepare(parts) {
            fetch.await;
        }
        match authenticator.authenticate(parts, chain) {
            Err(_) if self.core.cache.store().is_shared() => {
                self.core.cache.catch_up().await?;
                authenticator.authenticate(parts, chain)
            }
            outcome => outcome,
        }
    }

    async fn turn(&self, turns: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Status> {
        if let Ok(permit) = turns.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let _waits = Gauge::raise(&self.waiting);
        if self.waiting.load(Ordering::Relaxed) > MAX_WAITING {
            return Err(Status::too_many_requests("too many requests, please try again later", 1));
        }
        turns.clone().acquire_owned().await.map_err(|_| Status::unavailable("the server is shutting down"))
    }
}

/// A request, read as far as its head tells.
struct Asked {
    parts: http::request::Parts,
    /// `None`: a path that is no resource.
    resource: Option<ResourcePath>,
    query: Vec<(String, String)>,
    verb: &'static str,
    long: bool,
}

impl Asked {
    /// What the user asks for, as authorization and the audit policy see it.
    fn with_attributes<T>(&self, user: &User, act: impl FnOnce(&Attributes<'_>) -> T) -> T {
        let uri_path = self.parts.uri.path();
        let Some(path) = &self.resource else {
            return act(&Attributes::of_path(user, &self.parts.method.as_str().to_ascii_lowercase(), uri_path));
        };
        let field_selector = self.query.iter().find(|(k, _)| k == "fieldSelector").map_or("", |(_, v)| v.as_str());
        // A list of one name by selector is, for the authorizer, a list of that name.
        let by_selector = field_selector.split(',').find_map(|t| t.strip_prefix("metadata.name=")).map(|n| n.trim_start_matches('='));
        let collective = matches!(self.verb, "list" | "watch" | "deletecollection");
        let name = if path.name.is_empty() && collective { by_selector.unwrap_or("") } else { &path.name };
        act(&Attributes {
            user,
            verb: self.verb,
            group: &path.group,
            version: &path.version,
            resource: &path.resource,
            subresource: &path.subresource,
            namespace: &path.namespace,
            name,
            path: uri_path,
            field_selector: if collective { field_selector } else { "" },
        })
    }

    fn head<'a>(&'a self, id: &'a HeaderValue, peer: SocketAddr) -> Head<'a> {
        Head {
            id: id.to_str().unwrap_or_default(),
            uri: self.parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            headers: Some(&self.parts.headers),
            peer: Some(peer.ip()),
            is_long: self.long,
            received: jiff::Timestamp::now(),
        }
    }
}

fn audit_id() -> HeaderValue {
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let mut text = [0; 36];
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)).unwrap_or(HeaderValue::from_static(""))
}
