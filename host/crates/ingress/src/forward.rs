//! Passes a request to one of a backend's endpoints, and the answer back. WebSockets and other upgrades are joined end to end.

use std::net::SocketAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::client::legacy::Error;
use hyper_util::rt::TokioIo;

use crate::balance::{Busy, cookie_value};
use crate::body::{self, Body, Shared, Timed};
use crate::compiled::{Backend, Route};
use crate::handle::{About, Plane};
use crate::pages::page;
use crate::select;
use crate::table::Protocol;

/// Made for a request that brings none, in bytes of randomness.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

pub async fn forward(
    plane: &Plane,
    backend: &Backend,
    route: Option<&Route>,
    about: &About,
    path: &str,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let limit = route.map_or(u64::MAX, |r| r.max_body_bytes);
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        return page(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let upgrade = wanted_upgrade(&request).map(|protocol| (protocol, hyper::upgrade::on(&mut request)));
    let sticky = backend.affinity.as_ref().and_then(|a| select::cookie(request.headers(), &a.cookie)).map(str::to_owned);
    let order = plane.balancer.order(backend, about.client, request.uri().path_and_query().map_or("/", |p| p.as_str()), sticky.as_deref());
    let (mut parts, incoming) = request.into_parts();
    let target = target(&parts, route, path);
    prepare(&mut parts, route, about, upgrade.as_ref().map(|(protocol, _)| protocol));
    let body = Shared::new(incoming, limit);

    let mut failure = StatusCode::BAD_GATEWAY;
    for endpoint in order.into_iter().take(1 + backend.retries as usize) {
        let busy = plane.balancer.begin(endpoint);
        let Some(request) = rebuild(&parts, &body, backend, endpoint, &target) else { return page(StatusCode::BAD_REQUEST) };
        let client = plane.clients.get(backend.protocol, backend.connect_timeout);
        let answer = tokio::time::timeout(backend.connect_timeout + backend.read_timeout, client.request(request)).await;
        match answer {
            Ok(Ok(response)) => return finish(response, backend, endpoint, sticky.as_deref(), about, upgrade.map(|(_, on)| on), busy),
            Err(_) => return page(StatusCode::GATEWAY_TIMEOUT),
            Ok(Err(error)) if body::is_too_long(&error) => return page(StatusCode::PAYLOAD_TOO_LARGE),
            Ok(Err(error)) => {
                tracing::debug!(backend = &*backend.name, %endpoint, error = &error as &dyn std::error::Error, "a backend did not answer");
                failure = if is_timeout(&error) { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
                // Whoever was reached may have begun the work: only one that was not is safely replaced.
                if !error.is_connect() || body.is_begun() {
                    break;
                }
            }
        }
    }
    page(failure)
}

/// The path and query that the backend sees.
fn target(parts: &Parts, route: Option<&Route>, path: &str) -> String {
    let original = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let Some((route, replacement)) = route.and_then(|r| Some((r, r.rewrite.as_ref()?))) else { return original.to_owned() };
    let encoded = percent_encoding::utf8_percent_encode(&route.path.rewrite(path, replacement), UNSAFE).to_string();
    match parts.uri.query() {
        Some(query) if encoded.contains('?') => format!("{encoded}&{query}"),
        Some(query) => format!("{encoded}?{query}"),
        None => encoded,
    }
}

/// What cannot stand in a path by itself.
const UNSAFE: &percent_encoding::AsciiSet =
    &percent_encoding::CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`').add(b'#').add(b'{').add(b'}').add(b'%');

fn rebuild(parts: &Parts, body: &Shared, backend: &Backend, endpoint: SocketAddr, target: &str) -> Option<Request<Body>> {
    let scheme = if matches!(backend.protocol, Protocol::Https | Protocol::Grpcs) { "https" } else { "http" };
    let uri: Uri = format!("{scheme}://{endpoint}{target}").parse().ok()?;
    let is_h2 = matches!(backend.protocol, Protocol::Grpc | Protocol::Grpcs);
    let mut request = Request::new(body.boxed());
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = if is_h2 { Version::HTTP_2 } else { Version::HTTP_11 };
    *request.headers_mut() = parts.headers.clone();
    if is_h2 {
        request.headers_mut().remove(HOST);
    }
    Some(request)
}

/// Headers for the backend: who asked, how, and for what; nothing that was meant for this hop only.
fn prepare(parts: &mut Parts, route: Option<&Route>, about: &About, upgrade: Option<&HeaderValue>) {
    let host = parts.uri.authority().map(|a| a.as_str().to_owned()).or_else(|| Some(parts.headers.get(HOST)?.to_str().ok()?.to_owned()));
    let headers = &mut parts.headers;
    let keeps_trailers = headers.get(TE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"trailers"));
    drop_hop_headers(headers);
    if keeps_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    join_cookies(headers);
    let client = about.client.to_string();
    let port = about.port.to_string();
    let facts = [
        ("host", host.as_deref().unwrap_or(&about.host)),
        ("x-real-ip", &client),
        ("x-forwarded-for", &client),
        ("x-forwarded-host", host.as_deref().unwrap_or(&about.host)),
        ("x-forwarded-port", &port),
        ("x-forwarded-proto", about.scheme()),
        ("x-forwarded-scheme", about.scheme()),
        ("x-scheme", about.scheme()),
    ];
    for (name, value) in facts {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    if !headers.contains_key(REQUEST_ID)
        && let Ok(id) = HeaderValue::from_str(&format!("{:032x}", rand::random::<u128>()))
    {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in route.into_iter().flat_map(|r| &r.request_headers) {
        headers.insert(name, value.clone());
    }
}

/// HTTP/2 may send a cookie header for each cookie; HTTP/1.1 knows only one.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_some() {
        let all: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
            headers.insert(COOKIE, joined);
        }
    }
}

fn drop_hop_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> =
        headers.get_all(CONNECTION).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).filter_map(|n| n.trim().parse().ok()).collect();
    for name in named.iter().chain(&[CONNECTION, KEEP_ALIVE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE]) {
        headers.remove(name);
    }
}

fn wanted_upgrade(request: &Request<Incoming>) -> Option<HeaderValue> {
    let says_upgrade = |v: &HeaderValue| v.to_str().is_ok_and(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case("upgrade")));
    let asked = request.version() == Version::HTTP_11 && request.headers().get_all(CONNECTION).iter().any(says_upgrade);
    request.headers().get(UPGRADE).filter(|_| asked).cloned()
}

fn finish(
    mut response: Response<Incoming>,
    backend: &Backend,
    endpoint: SocketAddr,
    sticky: Option<&str>,
    about: &About,
    upgrade: Option<OnUpgrade>,
    busy: Busy,
) -> Response<Body> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = upgrade else { return page(StatusCode::BAD_GATEWAY) };
        let server = hyper::upgrade::on(&mut response);
        tokio::spawn(join(client, server, busy));
        return response.map(|body| body.map_err(Into::into).boxed_unsync());
    }
    drop_hop_headers(response.headers_mut());
    if let Some(affinity) = &backend.affinity {
        let value = cookie_value(&endpoint);
        if sticky != Some(&value) {
            let age = if affinity.max_age_seconds > 0 { format!("; Max-Age={}", affinity.max_age_seconds) } else { String::new() };
            let path = if affinity.path.is_empty() { "/" } else { &affinity.path };
            let secure = if about.tls { "; Secure" } else { "" };
            if let Ok(cookie) = HeaderValue::from_str(&format!("{}={value}; Path={path}{age}{secure}; HttpOnly", affinity.cookie)) {
                response.headers_mut().append(SET_COOKIE, cookie);
            }
        }
    }
    let patience = backend.read_timeout;
    response.map(|body| Timed::new(body, patience, busy).boxed_unsync())
}

/// Copies both ways until one side has enough.
async fn join(client: OnUpgrade, server: OnUpgrade, _busy: Busy) {
    let (Ok(client), Ok(server)) = tokio::join!(client, server) else { return };
    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

fn is_timeout(error: &Error) -> bool {
    let mut here: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = here {
        if cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::TimedOut) {
            return true;
        }
        here = cause.source();
    }
    false
}
