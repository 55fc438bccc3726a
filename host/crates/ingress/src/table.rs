//! The route table as plain data: what an ingress plugin compiles (`wit/ingress/ingress.wit` has the contract), field by field.

#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteTable {
    pub hosts: Vec<VirtualHost>,
    pub backends: Vec<Backend>,
    pub certificates: Vec<Certificate>,
    /// Where nothing matches; none answers 404.
    pub fallback: Option<Action>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct VirtualHost {
    /// `a.example.com`, `*.example.com`, or empty for every other host.
    pub name: String,
    /// Longest path first; the first that matches is taken.
    pub routes: Vec<Route>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Route {
    pub path: String,
    pub path_match: PathMatch,
    pub action: Action,
    /// Replacement for the path; `$1` refers to the pattern's groups.
    pub rewrite: Option<String>,
    /// 308 to https unless the request came over TLS.
    pub force_tls: bool,
    pub canaries: Vec<Canary>,
    pub auth: Option<BasicAuth>,
    /// CIDRs; empty: everybody.
    pub allow_sources: Vec<String>,
    pub deny_sources: Vec<String>,
    /// 0: the data plane's default.
    pub max_body_bytes: u64,
    /// For one client address; 0: no limit.
    pub requests_per_second: u32,
    pub request_headers: Vec<(String, String)>,
    pub response_headers: Vec<(String, String)>,
    pub cors: Option<Cors>,
    /// `namespace/name` of the Ingress.
    pub source: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathMatch {
    Exact,
    /// By path elements: `/a` matches `/a` and `/a/b`, not `/ab`.
    #[default]
    Prefix,
    /// A regular expression, anchored at the start.
    Pattern,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Index into `backends`.
    Forward(u32),
    /// Status code and location; `$scheme`, `$host` and `$request_uri` are filled in.
    Redirect(u16, String),
    /// Status code and body.
    Respond(u16, String),
}

/// A share of a route's traffic, or the requests that carry a header or cookie, go elsewhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Canary {
    pub backend: u32,
    /// Of `weight_total`.
    pub weight: u32,
    pub weight_total: u32,
    /// Name and value; an empty value means `always`.
    pub header: Option<(String, String)>,
    pub cookie: Option<String>,
}

/// User and hash lines of an htpasswd file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BasicAuth {
    pub realm: String,
    pub users: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cors {
    pub allow_origins: Vec<String>,
    pub allow_methods: String,
    pub allow_headers: String,
    pub allow_credentials: bool,
    pub max_age_seconds: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// For logs, and what counters live by: `namespace/service:port`.
    pub name: String,
    pub endpoints: Vec<Endpoint>,
    pub balance: Balance,
    pub protocol: Protocol,
    pub affinity: Option<Affinity>,
    pub connect_timeout_milliseconds: u32,
    pub read_timeout_milliseconds: u32,
    /// Attempts on other endpoints when one refuses the connection.
    pub retries: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// IPv4 or IPv6 literal.
    pub address: String,
    pub port: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    #[default]
    RoundRobin,
    LeastConnections,
    HashClient,
    HashUri,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    #[default]
    Http,
    Https,
    Grpc,
    Grpcs,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Affinity {
    pub cookie: String,
    /// 0: a session cookie.
    pub max_age_seconds: u32,
    pub path: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// Server names; wildcards allowed.
    pub hosts: Vec<String>,
    /// PEM chain and PEM key.
    pub chain: Vec<u8>,
    pub key: Vec<u8>,
    /// `namespace/name` of the Secret.
    pub source: String,
}

/// Where no way is given there is nothing.
impl Default for Action {
    fn default() -> Self {
        Self::Respond(404, String::new())
    }
}

impl Route {
    /// A route with nothing but its way.
    pub fn new(path: &str, path_match: PathMatch, action: Action) -> Self {
        Self { path: path.to_owned(), path_match, action, ..Self::default() }
    }
}

impl Backend {
    /// With what nginx would do where nothing is said.
    pub fn new(name: &str, endpoints: Vec<Endpoint>) -> Self {
        Self {
            name: name.to_owned(),
            endpoints,
            balance: Balance::RoundRobin,
            protocol: Protocol::Http,
            affinity: None,
            connect_timeout_milliseconds: 5_000,
            read_timeout_milliseconds: 60_000,
            retries: 2,
        }
    }
}
