//! The annotations under `nginx.ingress.kubernetes.io/`, read into values. What cannot be read is told and left at its default.

use std::collections::BTreeSet;

use pintle_sdk::ingress::{Affinity, Balance, Cors, Pair, Protocol};

use crate::objects::Metadata;

const PREFIX: &str = "nginx.ingress.kubernetes.io/";
const CORS_METHODS: &str = "GET, PUT, POST, DELETE, PATCH, OPTIONS";
const CORS_HEADERS: &str = "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization";
const CORS_AGE_SECONDS: u32 = 1_728_000;
const CONNECT_SECONDS: u32 = 5;
const READ_SECONDS: u32 = 60;
/// Attempts in all, the first one among them.
const TRIES: u32 = 3;

#[derive(Debug)]
pub struct Settings {
    pub rewrite: Option<String>,
    pub use_regex: bool,
    pub ssl_redirect: bool,
    pub force_ssl_redirect: bool,
    /// Status code and location, for everything.
    pub redirect: Option<(u16, String)>,
    pub app_root: Option<String>,
    pub aliases: Vec<String>,
    pub auth: Option<AuthSettings>,
    pub allow_sources: Vec<String>,
    pub deny_sources: Vec<String>,
    /// 0: the data plane's default.
    pub max_body_bytes: u64,
    pub requests_per_second: u32,
    pub request_headers: Vec<Pair>,
    pub response_headers: Vec<Pair>,
    pub cors: Option<Cors>,
    pub canary: Option<CanarySettings>,
    pub backend: BackendSettings,
}

#[derive(Clone, Debug, PartialEq)]
pub struct BackendSettings {
    pub protocol: Protocol,
    pub balance: Balance,
    pub affinity: Option<Affinity>,
    pub connect_timeout_milliseconds: u32,
    pub read_timeout_milliseconds: u32,
    pub retries: u32,
    /// The service's own address instead of its endpoints'.
    pub by_service_address: bool,
}

#[derive(Debug)]
pub struct AuthSettings {
    pub namespace: String,
    pub secret: String,
    /// One key a user, instead of a file under `auth`.
    pub is_map: bool,
    pub realm: String,
}

#[derive(Debug)]
pub struct CanarySettings {
    pub weight: u32,
    pub weight_total: u32,
    pub header: Option<Pair>,
    pub cookie: Option<String>,
}

/// Reads one annotation after the other; what nobody read is unknown in the end.
struct Reader<'a> {
    metadata: &'a Metadata,
    read: BTreeSet<&'static str>,
    faults: Vec<String>,
}

/// The settings, and what is wrong with the annotations.
pub fn read(metadata: &Metadata) -> (Settings, Vec<String>) {
    let mut reader = Reader { metadata, read: BTreeSet::new(), faults: Vec::new() };
    let settings = reader.settings();
    for name in metadata.annotations.keys().filter_map(|k| k.strip_prefix(PREFIX)).filter(|n| !reader.read.contains(n)) {
        reader.faults.push(format!("{PREFIX}{name} has no effect here"));
    }
    (settings, reader.faults)
}

impl Reader<'_> {
    fn settings(&mut self) -> Settings {
        let mut request_headers = Vec::new();
        for (annotation, header) in [("upstream-vhost", "Host"), ("x-forwarded-prefix", "X-Forwarded-Prefix")] {
            request_headers.extend(self.text(annotation).map(|value| Pair::new(header, value)));
        }
        request_headers.extend(self.headers("pintle.dev/request-headers"));
        let mut response_headers = self.headers("pintle.dev/response-headers");
        let cors = self.cors();
        let exposed = self.text("cors-expose-headers");
        if cors.is_some() {
            response_headers.extend(exposed.map(|value| Pair::new("Access-Control-Expose-Headers", value)));
        }
        Settings {
            rewrite: self.text("rewrite-target"),
            use_regex: self.flag("use-regex", false),
            ssl_redirect: self.flag("ssl-redirect", true),
            force_ssl_redirect: self.flag("force-ssl-redirect", false),
            redirect: self.redirect(),
            app_root: self.text("app-root"),
            aliases: self.list("server-alias"),
            auth: self.auth(),
            allow_sources: {
                let old = self.list("whitelist-source-range");
                let new = self.list("allowlist-source-range");
                if new.is_empty() { old } else { new }
            },
            deny_sources: self.list("denylist-source-range"),
            max_body_bytes: self.body_size(),
            requests_per_second: self.rate(),
            request_headers,
            response_headers,
            cors,
            canary: self.canary(),
            backend: self.backend(),
        }
    }

    fn text(&mut self, name: &'static str) -> Option<String> {
        self.read.insert(name);
        let value = self.metadata.annotations.get(&format!("{PREFIX}{name}"))?.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    fn flag(&mut self, name: &'static str, otherwise: bool) -> bool {
        match self.text(name).as_deref() {
            None => otherwise,
            Some("true") => true,
            Some("false") => false,
            Some(other) => {
                self.faults.push(format!("{PREFIX}{name}: {other:?} is neither true nor false"));
                otherwise
            }
        }
    }

    fn number(&mut self, name: &'static str, otherwise: u32) -> u32 {
        let Some(text) = self.text(name) else { return otherwise };
        text.parse().unwrap_or_else(|_| {
            self.faults.push(format!("{PREFIX}{name}: {text:?} is no number"));
            otherwise
        })
    }

    fn list(&mut self, name: &'static str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// Lines of `Name: value`, under an annotation's full name.
    fn headers(&mut self, name: &str) -> Vec<Pair> {
        let lines = self.metadata.annotations.get(name).map(String::as_str).unwrap_or_default();
        lines.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| Pair::new(name.trim(), value.trim())).collect()
    }

    fn redirect(&mut self) -> Option<(u16, String)> {
        let codes = [("temporal-redirect", "temporal-redirect-code", 302), ("permanent-redirect", "permanent-redirect-code", 301)];
        let mut found = None;
        for (name, code_name, otherwise) in codes {
            let code = self.number(code_name, otherwise);
            let code = u16::try_from(code).ok().filter(|c| (300..400).contains(c)).unwrap_or(otherwise as u16);
            let location = self.text(name);
            found = found.or(location.map(|location| (code, location)));
        }
        found
    }

    fn auth(&mut self) -> Option<AuthSettings> {
        let (kind, secret) = (self.text("auth-type"), self.text("auth-secret"));
        let (is_map, realm) = (self.text("auth-secret-type").as_deref() == Some("auth-map"), self.text("auth-realm"));
        match kind.as_deref() {
            Some("basic") => {}
            Some(other) => {
                self.faults.push(format!("{PREFIX}auth-type: {other:?} is not served, only basic is"));
                // Without a secret nobody gets in.
                return Some(AuthSettings { namespace: String::new(), secret: String::new(), is_map, realm: String::new() });
            }
            None => return None,
        }
        let secret = secret.unwrap_or_default();
        let (namespace, secret) = secret.split_once('/').unwrap_or((&self.metadata.namespace, &secret));
        Some(AuthSettings { namespace: namespace.to_owned(), secret: secret.to_owned(), is_map, realm: realm.unwrap_or_default() })
    }

    /// nginx's sizes: bytes, or with k, m, g; 0 is no limit.
    fn body_size(&mut self) -> u64 {
        let Some(text) = self.text("proxy-body-size") else { return 0 };
        let lower = text.to_ascii_lowercase();
        let (digits, unit) = match lower.chars().last() {
            Some('k') => (&lower[..lower.len() - 1], 1 << 10),
            Some('m') => (&lower[..lower.len() - 1], 1 << 20),
            Some('g') => (&lower[..lower.len() - 1], 1 << 30),
            _ => (lower.as_str(), 1),
        };
        match digits.parse::<u64>() {
            Ok(0) => u64::MAX,
            Ok(count) => count.saturating_mul(unit),
            Err(_) => {
                self.faults.push(format!("{PREFIX}proxy-body-size: {text:?} is no size"));
                0
            }
        }
    }

    fn rate(&mut self) -> u32 {
        let (seconds, minutes) = (self.number("limit-rps", 0), self.number("limit-rpm", 0));
        if seconds > 0 { seconds } else { minutes.div_ceil(60) }
    }

    fn cors(&mut self) -> Option<Cors> {
        let enabled = self.flag("enable-cors", false);
        let mut origins = self.list("cors-allow-origin");
        if origins.is_empty() {
            origins.push("*".to_owned());
        }
        let cors = Cors {
            allow_origins: origins,
            allow_methods: self.text("cors-allow-methods").unwrap_or_else(|| CORS_METHODS.to_owned()),
            allow_headers: self.text("cors-allow-headers").unwrap_or_else(|| CORS_HEADERS.to_owned()),
            allow_credentials: self.flag("cors-allow-credentials", true),
            max_age_seconds: self.number("cors-max-age", CORS_AGE_SECONDS),
        };
        enabled.then_some(cors)
    }

    fn canary(&mut self) -> Option<CanarySettings> {
        let enabled = self.flag("canary", false);
        let (header, value) = (self.text("canary-by-header"), self.text("canary-by-header-value").unwrap_or_default());
        let settings = CanarySettings {
            weight: self.number("canary-weight", 0),
            weight_total: self.number("canary-weight-total", 100),
            header: header.map(|name| Pair::new(name, value)),
            cookie: self.text("canary-by-cookie"),
        };
        enabled.then_some(settings)
    }

    fn backend(&mut self) -> BackendSettings {
        let protocol = match self.text("backend-protocol").map(|p| p.to_ascii_uppercase()).as_deref() {
            None | Some("HTTP" | "AUTO_HTTP") => Protocol::Http,
            Some("HTTPS") => Protocol::Https,
            Some("GRPC") => Protocol::Grpc,
            Some("GRPCS") => Protocol::Grpcs,
            Some(other) => {
                self.faults.push(format!("{PREFIX}backend-protocol: {other:?} is not served"));
                Protocol::Http
            }
        };
        BackendSettings {
            protocol,
            balance: self.balance(),
            affinity: self.affinity(),
            connect_timeout_milliseconds: self.number("proxy-connect-timeout", CONNECT_SECONDS).saturating_mul(1000),
            read_timeout_milliseconds: self.number("proxy-read-timeout", READ_SECONDS).saturating_mul(1000),
            retries: self.number("proxy-next-upstream-tries", TRIES).max(1) - 1,
            by_service_address: self.flag("service-upstream", false),
        }
    }

    fn balance(&mut self) -> Balance {
        let way = self.text("load-balance");
        match self.text("upstream-hash-by").as_deref() {
            Some("$request_uri" | "$uri") => return Balance::HashUri,
            Some("$remote_addr" | "$binary_remote_addr" | "$http_x_forwarded_for") => return Balance::HashClient,
            Some(other) => self.faults.push(format!("{PREFIX}upstream-hash-by: {other:?} is not served, only $request_uri and $remote_addr are")),
            None => {}
        }
        match way.as_deref() {
            Some("ewma" | "least_conn") => Balance::LeastConnections,
            _ => Balance::RoundRobin,
        }
    }

    fn affinity(&mut self) -> Option<Affinity> {
        let kind = self.text("affinity");
        let name = self.text("session-cookie-name").unwrap_or_else(|| "INGRESSCOOKIE".to_owned());
        let expires = self.number("session-cookie-expires", 0);
        let affinity = Affinity {
            cookie: name,
            max_age_seconds: self.number("session-cookie-max-age", expires),
            path: self.text("session-cookie-path").unwrap_or_else(|| "/".to_owned()),
        };
        match kind.as_deref() {
            Some("cookie") => Some(affinity),
            Some(other) => {
                self.faults.push(format!("{PREFIX}affinity: {other:?} is not served, only cookie is"));
                None
            }
            None => None,
        }
    }
}
