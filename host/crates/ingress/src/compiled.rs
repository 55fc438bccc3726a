//! A route table made ready for requests: patterns compiled, addresses and headers parsed, hosts in a map. A fault in one route takes
//! that route out and is logged; the rest is served.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use regex::Regex;

use crate::auth::Users;
use crate::cors::Cors;
use crate::table::{self, Affinity, Balance, Canary, PathMatch, Protocol, RouteTable};
use crate::tls::Certificates;

/// The body limit of a route that names none, in bytes: nginx's.
const DEFAULT_BODY_BYTES: u64 = 1 << 20;
/// The longest compiled pattern, in bytes; a pattern comes from whoever may write an Ingress.
const PATTERN_BYTES: usize = 1 << 20;
const DEFAULT_CONNECT: Duration = Duration::from_secs(5);
const DEFAULT_READ: Duration = Duration::from_secs(60);

pub struct Compiled {
    exact: HashMap<String, Vec<Route>>,
    /// By the part after `*`: `.example.com`.
    wildcards: HashMap<String, Vec<Route>>,
    any: Vec<Route>,
    pub backends: Vec<Backend>,
    pub fallback: Option<table::Action>,
    pub certificates: Certificates,
}

pub struct Route {
    pub path: Path,
    pub action: table::Action,
    pub rewrite: Option<String>,
    pub force_tls: bool,
    pub canaries: Vec<Canary>,
    pub auth: Option<Users>,
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
    pub max_body_bytes: u64,
    pub requests_per_second: u32,
    pub request_headers: Vec<(HeaderName, HeaderValue)>,
    pub response_headers: Vec<(HeaderName, HeaderValue)>,
    pub cors: Option<Cors>,
    /// Whom the rate is counted for: the Ingress and the path.
    pub rate_key: Arc<str>,
}

pub enum Path {
    Exact(String),
    /// Without a trailing slash.
    Prefix(String),
    Pattern(Regex),
}

pub struct Backend {
    pub name: Arc<str>,
    pub endpoints: Vec<SocketAddr>,
    pub balance: Balance,
    pub protocol: Protocol,
    pub affinity: Option<Affinity>,
    pub connect_timeout: Duration,
    pub read_timeout: Duration,
    pub retries: u32,
}

impl Compiled {
    pub fn new(table: &RouteTable) -> Self {
        let mut compiled = Self {
            exact: HashMap::new(),
            wildcards: HashMap::new(),
            any: Vec::new(),
            backends: table.backends.iter().map(Backend::new).collect(),
            fallback: table.fallback.clone(),
            certificates: Certificates::new(&table.certificates),
        };
        for host in &table.hosts {
            let routes = host.routes.iter().filter_map(Route::new);
            let name = host.name.to_ascii_lowercase();
            match name.strip_prefix('*') {
                _ if name.is_empty() => compiled.any.extend(routes),
                Some(rest) => compiled.wildcards.entry(rest.to_owned()).or_default().extend(routes),
                None => compiled.exact.entry(name).or_default().extend(routes),
            }
        }
        compiled
    }

    /// The route of a request: the host's own, then the wildcard's, then everybody's.
    pub fn route(&self, host: &str, path: &str) -> Option<&Route> {
        let own = self.exact.get(host);
        // A wildcard stands for exactly one label.
        let wildcard = host.find('.').and_then(|dot| self.wildcards.get(&host[dot..]));
        [own, wildcard, Some(&self.any)].into_iter().flatten().find_map(|routes| routes.iter().find(|r| r.path.matches(path)))
    }
}

impl Path {
    fn matches(&self, path: &str) -> bool {
        match self {
            Path::Exact(wanted) => path == wanted,
            Path::Prefix(prefix) => path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Path::Pattern(pattern) => pattern.is_match(path),
        }
    }

    /// The path that the backend sees.
    pub fn rewrite(&self, path: &str, replacement: &str) -> String {
        let mut text = String::new();
        match self {
            Path::Pattern(pattern) => match pattern.captures(path) {
                Some(captures) => captures.expand(&braced(replacement), &mut text),
                None => path.clone_into(&mut text),
            },
            Path::Exact(_) | Path::Prefix(_) => replacement.clone_into(&mut text),
        }
        if text.starts_with('/') { text } else { format!("/{text}") }
    }
}

/// `$1x` means group 1 and an x: nginx knows groups by one digit only.
fn braced(replacement: &str) -> String {
    let mut text = String::with_capacity(replacement.len() + 8);
    let mut rest = replacement;
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        match rest[at + 1..].chars().next() {
            Some(digit) if digit.is_ascii_digit() => {
                text.push_str(&format!("${{{digit}}}"));
                rest = &rest[at + 2..];
            }
            _ => {
                text.push_str("$$");
                rest = &rest[at + 1..];
            }
        }
    }
    text + rest
}

impl Route {
    fn new(route: &table::Route) -> Option<Self> {
        let path = match route.path_match {
            PathMatch::Exact => Path::Exact(route.path.clone()),
            PathMatch::Prefix => Path::Prefix(route.path.trim_end_matches('/').to_owned()),
            PathMatch::Pattern => {
                let pattern = regex::RegexBuilder::new(&format!("^(?:{})", route.path)).size_limit(PATTERN_BYTES).build();
                match pattern {
                    Ok(pattern) => Path::Pattern(pattern),
                    Err(error) => {
                        tracing::warn!(source = route.source, path = route.path, %error, "a route's pattern is left out");
                        return None;
                    }
                }
            }
        };
        let Some((allow, deny)) = networks(&route.allow_sources).zip(networks(&route.deny_sources)) else {
            // Left open it would let in those whom somebody wanted out.
            tracing::warn!(source = route.source, path = route.path, "a route's source ranges cannot be read: it is left out");
            return None;
        };
        Some(Self {
            path,
            action: route.action.clone(),
            rewrite: route.rewrite.clone(),
            force_tls: route.force_tls,
            canaries: route.canaries.clone(),
            auth: route.auth.as_ref().map(Users::new),
            allow,
            deny,
            max_body_bytes: if route.max_body_bytes == 0 { DEFAULT_BODY_BYTES } else { route.max_body_bytes },
            requests_per_second: route.requests_per_second,
            request_headers: headers(&route.request_headers),
            response_headers: headers(&route.response_headers),
            cors: route.cors.as_ref().map(Cors::new),
            rate_key: format!("{} {}", route.source, route.path).into(),
        })
    }

    pub fn admits(&self, client: IpAddr) -> bool {
        !self.deny.iter().any(|net| net.contains(&client)) && (self.allow.is_empty() || self.allow.iter().any(|net| net.contains(&client)))
    }
}

impl Backend {
    fn new(backend: &table::Backend) -> Self {
        let given = |milliseconds: u32, otherwise| if milliseconds == 0 { otherwise } else { Duration::from_millis(milliseconds.into()) };
        Self {
            name: backend.name.as_str().into(),
            endpoints: backend.endpoints.iter().filter_map(|e| Some(SocketAddr::new(e.address.parse().ok()?, e.port))).collect(),
            balance: backend.balance,
            protocol: backend.protocol,
            affinity: backend.affinity.clone(),
            connect_timeout: given(backend.connect_timeout_milliseconds, DEFAULT_CONNECT),
            read_timeout: given(backend.read_timeout_milliseconds, DEFAULT_READ),
            retries: backend.retries,
        }
    }
}

/// `None`: one of them is no network.
fn networks(texts: &[String]) -> Option<Vec<IpNet>> {
    texts.iter().map(|text| text.trim()).map(|text| text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))).collect()
}

fn headers(pairs: &[(String, String)]) -> Vec<(HeaderName, HeaderValue)> {
    pairs.iter().filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Action, VirtualHost};

    fn table() -> RouteTable {
        let route = |path: &str, path_match, body: &str| table::Route::new(path, path_match, Action::Respond(200, body.to_owned()));
        RouteTable {
            hosts: vec![
                VirtualHost {
                    name: "a.example.com".into(),
                    routes: vec![
                        route("/exact", PathMatch::Exact, "exact"),
                        route("/a/", PathMatch::Prefix, "a"),
                        route("/x(/|$)(.*)", PathMatch::Pattern, "pattern"),
                    ],
                },
                VirtualHost { name: "*.example.com".into(), routes: vec![route("/", PathMatch::Prefix, "wildcard")] },
                VirtualHost { name: String::new(), routes: vec![route("/any", PathMatch::Prefix, "any")] },
            ],
            ..RouteTable::default()
        }
    }

    #[test]
    fn hosts_and_paths() {
        let compiled = Compiled::new(&table());
        let body = |host: &str, path: &str| match compiled.route(host, path).map(|r| &r.action) {
            Some(Action::Respond(_, body)) => body.clone(),
            _ => "none".to_owned(),
        };
        let answers = [
            ("a.example.com", "/exact", "exact"),
            ("a.example.com", "/exact/", "wildcard"),
            ("a.example.com", "/a", "a"),
            ("a.example.com", "/a/b", "a"),
            ("a.example.com", "/ab", "wildcard"),
            ("a.example.com", "/x/y", "pattern"),
            ("a.example.com", "/z/x/y", "wildcard"),
            ("b.example.com", "/any", "wildcard"),
            ("b.c.example.com", "/any/thing", "any"),
            ("b.c.example.com", "/", "none"),
        ];
        for (host, path, expected) in answers {
            assert_eq!(body(host, path), expected, "{host}{path}");
        }
    }

    #[test]
    fn rewrites() {
        let compiled = Compiled::new(&table());
        let path = &compiled.route("a.example.com", "/x/y/z").unwrap().path;
        assert_eq!(path.rewrite("/x/y/z", "/$2"), "/y/z");
        assert_eq!(path.rewrite("/x/y/z", "/$2b$c"), "/y/zb$c");
        assert_eq!(path.rewrite("/x", "/new/$2"), "/new/");
    }

    #[test]
    fn an_unreadable_source_range_closes_the_route() {
        let mut table = table();
        table.hosts[2].routes[0].allow_sources = vec!["10.0.0.0/33".into()];
        assert!(Compiled::new(&table).route("elsewhere", "/any").is_none());
    }
}
