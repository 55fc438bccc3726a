//! `proxy`: the API on a local port, in plain HTTP, with this user's identity. It listens on loopback unless told otherwise, and it
//! refuses what a browser would be tricked into: other host names, exec, attach and port-forward.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::print;
use super::session::{Global, Session};

/// Of a request's body, as the server takes no larger one.
const MAX_BODY_BYTES: usize = 16 << 20;
const REFUSED_ENDS: [&str; 3] = ["/exec", "/attach", "/portforward"];

type Body = BoxBody<Bytes, hyper::Error>;

#[derive(clap::Args, Debug)]
pub struct ProxyArgs {
    /// 0: any free port
    #[arg(short, long, default_value_t = 8001)]
    pub port: u16,
    #[arg(long, default_value = "127.0.0.1")]
    pub address: std::net::IpAddr,
    /// Answer requests for any host name
    #[arg(long)]
    pub accept_any_host: bool,
    #[command(flatten)]
    pub global: Global,
}

pub async fn run(args: ProxyArgs) -> Result<ExitCode> {
    let session = Arc::new(Session::open(&args.global)?);
    let listener = TcpListener::bind(SocketAddr::new(args.address, args.port)).await.with_context(|| format!("listening on port {}", args.port))?;
    print::line(&format!("Starting to serve on {}", listener.local_addr()?));
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
        };
        let session = session.clone();
        let any_host = args.accept_any_host;
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let session = session.clone();
                async move { Ok::<_, Infallible>(answer(&session, request, any_host).await) }
            });
            // A client that goes away is no fault of ours.
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

async fn answer(session: &Session, request: Request<Incoming>, any_host: bool) -> Response<Body> {
    let path = request.uri().path();
    let host = request.headers().get(http::header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if !any_host && !matches!(name, "localhost" | "127.0.0.1" | "[::1]") {
        return plain(StatusCode::FORBIDDEN, "Forbidden: this host name is not accepted\n");
    }
    if REFUSED_ENDS.iter().any(|end| path.ends_with(end)) {
        return plain(StatusCode::FORBIDDEN, "Forbidden: not through this proxy\n");
    }
    match pass(session, request).await {
        Ok(response) => response,
        Err(error) => plain(StatusCode::BAD_GATEWAY, &format!("{error:#}\n")),
    }
}

async fn pass(session: &Session, request: Request<Incoming>) -> Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|e| anyhow::anyhow!("{e}"))?.to_bytes();
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let headers = without_hops(parts.headers);
    let is_endless = parts.uri.query().is_some_and(|q| q.contains("watch=") || q.contains("follow="));
    let answer =
        if is_endless { session.client.stream(path, headers).await? } else { session.client.request(parts.method, path, headers, body).await? };
    let (mut parts, body) = answer.into_parts();
    parts.headers = without_hops(parts.headers);
    parts.version = http::Version::HTTP_11;
    Ok(Response::from_parts(parts, body.boxed()))
}

/// What is between two hops only, and the caller's own credentials.
fn without_hops(mut headers: HeaderMap) -> HeaderMap {
    for name in ["connection", "host", "transfer-encoding", "content-length", "keep-alive", "upgrade", "authorization"] {
        headers.remove(name);
    }
    headers
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(text.to_owned())).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
