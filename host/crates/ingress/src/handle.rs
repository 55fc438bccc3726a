//! One request: finds its route and passes it by the route's gates, in the order in which nginx has them.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use http::header::{HOST, ORIGIN};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::balance::Balancer;
use crate::body::Body;
use crate::client::Clients;
use crate::compiled::{Compiled, Route};
use crate::forward::forward;
use crate::pages;
use crate::rate::Rates;
use crate::select;
use crate::table::Action;

/// What requests share, whatever the table.
pub struct Plane {
    pub table: Arc<ArcSwap<Compiled>>,
    pub clients: Clients,
    pub balancer: Balancer,
    pub rates: Rates,
}

/// Where a request came from.
#[derive(Clone, Copy)]
pub struct Arrival {
    pub client: SocketAddr,
    /// The port that it came to.
    pub port: u16,
    pub tls: bool,
}

/// What the gates and the backend are told.
pub struct About {
    pub client: IpAddr,
    /// Without the port.
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

impl About {
    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

pub async fn handle(plane: &Plane, arrival: Arrival, request: Request<Incoming>) -> Response<Body> {
    let Some(host) = host(&request) else { return pages::page(StatusCode::BAD_REQUEST) };
    let about = About { client: arrival.client.ip().to_canonical(), host, port: arrival.port, tls: arrival.tls };
    let Some(path) = normal(request.uri().path()).map(Cow::into_owned) else { return pages::page(StatusCode::BAD_REQUEST) };
    let table = plane.table.load_full();
    match table.route(&about.host, &path) {
        Some(route) => through(plane, &table, route, &about, &path, request).await,
        None => match &table.fallback {
            Some(action) => act(plane, &table, None, action, &about, &path, request).await,
            None => pages::page(StatusCode::NOT_FOUND),
        },
    }
}

async fn through(plane: &Plane, table: &Compiled, route: &Route, about: &About, path: &str, request: Request<Incoming>) -> Response<Body> {
    if route.force_tls && !about.tls {
        return pages::redirect(308, &format!("https://{}{}", about.host, uri_of(&request)));
    }
    if let Some(response) = route.cors.as_ref().and_then(|cors| cors.preflight(&request)) {
        return response;
    }
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = guarded(plane, table, route, about, path, request).await;
    if let Some(cors) = &route.cors {
        cors.mark(origin.as_ref(), response.headers_mut());
    }
    for (name, value) in &route.response_headers {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

async fn guarded(plane: &Plane, table: &Compiled, route: &Route, about: &About, path: &str, request: Request<Incoming>) -> Response<Body> {
    if !plane.rates.admits(&route.rate_key, about.client, route.requests_per_second, Instant::now()) {
        // What nginx answers unless it is told otherwise.
        return pages::page(StatusCode::SERVICE_UNAVAILABLE);
    }
    if !route.admits(about.client) {
        return pages::page(StatusCode::FORBIDDEN);
    }
    if let Some(users) = &route.auth
        && !users.admits(request.headers()).await
    {
        return users.refusal();
    }
    let canary = select::canary(&route.canaries, request.headers()).map(Action::Forward);
    act(plane, table, Some(route), canary.as_ref().unwrap_or(&route.action), about, path, request).await
}

async fn act(
    plane: &Plane,
    table: &Compiled,
    route: Option<&Route>,
    action: &Action,
    about: &About,
    path: &str,
    request: Request<Incoming>,
) -> Response<Body> {
    match action {
        Action::Redirect(status, location) => {
            let location = location.replace("$scheme", about.scheme()).replace("$host", &about.host).replace("$request_uri", uri_of(&request));
            pages::redirect(*status, &location)
        }
        Action::Respond(status, body) => pages::text(*status, body),
        Action::Forward(index) => match table.backends.get(*index as usize) {
            Some(backend) if !backend.endpoints.is_empty() => forward(plane, backend, route, about, path, request).await,
            _ => pages::page(StatusCode::SERVICE_UNAVAILABLE),
        },
    }
}

fn uri_of(request: &Request<Incoming>) -> &str {
    request.uri().path_and_query().map_or("/", |p| p.as_str())
}

/// Without port, in lower case, without the dot at the end. `None`: there is none, or it is no host.
fn host(request: &Request<Incoming>) -> Option<String> {
    let authority = match request.uri().authority() {
        Some(authority) => authority.clone(),
        None => request.headers().get(HOST)?.to_str().ok()?.parse().ok()?,
    };
    Some(authority.host().trim_end_matches('.').to_ascii_lowercase())
}

/// The path as it is matched: decoded, without `.` and `..`, so that `/public/..%2fadmin` is not taken for something public. The
/// backend still gets it as it was sent. `None`: it leads above the root, or is no text.
fn normal(path: &str) -> Option<Cow<'_, str>> {
    if !path.contains('%') && !path.contains("/.") && !path.contains("//") {
        return Some(Cow::Borrowed(path));
    }
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
    let mut parts: Vec<&str> = Vec::new();
    for part in decoded.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    let mut text = format!("/{}", parts.join("/"));
    if text.len() > 1 && (decoded.ends_with('/') || decoded.ends_with("/.") || decoded.ends_with("/..")) {
        text.push('/');
    }
    Some(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_normal() {
        let cases = [
            ("/a/b", Some("/a/b")),
            ("/a//b/./c/../d/", Some("/a/b/d/")),
            ("/public/..%2fadmin", Some("/admin")),
            ("/a/..", Some("/")),
            ("/a%20b", Some("/a b")),
            ("/..", None),
            ("/%ff", None),
        ];
        for (path, expected) in cases {
            assert_eq!(normal(path).as_deref(), expected, "{path}");
        }
    }
}
