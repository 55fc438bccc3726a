//! Cross-origin rules of a route: the answer to a preflight, and the headers of every other answer.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, HeaderValue, ORIGIN, VARY,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};

use crate::body::{Body, full};
use crate::table;

pub struct Cors {
    origins: Vec<String>,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    credentials: bool,
    max_age: HeaderValue,
}

impl Cors {
    pub fn new(cors: &table::Cors) -> Self {
        let given = |text: &str| HeaderValue::from_str(text).ok().filter(|v| !v.is_empty());
        Self {
            origins: cors.allow_origins.iter().map(|o| o.trim().to_ascii_lowercase()).collect(),
            methods: given(&cors.allow_methods),
            headers: given(&cors.allow_headers),
            credentials: cors.allow_credentials,
            max_age: cors.max_age_seconds.into(),
        }
    }

    /// The answer to a browser that asks before it sends.
    pub fn preflight<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        if request.method() != Method::OPTIONS {
            return None;
        }
        let mut response = Response::new(full(bytes::Bytes::new()));
        *response.status_mut() = StatusCode::NO_CONTENT;
        if self.mark(request.headers().get(ORIGIN), response.headers_mut()) {
            response.headers_mut().insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        }
        Some(response)
    }

    /// Tells the browser that the origin may read the answer; false where it may not.
    pub fn mark(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) -> bool {
        let allowed = match origin {
            _ if self.origins.iter().any(|o| o == "*") => HeaderValue::from_static("*"),
            Some(origin) if origin.to_str().is_ok_and(|o| self.allows(&o.to_ascii_lowercase())) => {
                headers.append(VARY, HeaderValue::from_static("Origin"));
                origin.clone()
            }
            _ => return false,
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        for (name, value) in [(ACCESS_CONTROL_ALLOW_METHODS, &self.methods), (ACCESS_CONTROL_ALLOW_HEADERS, &self.headers)] {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
        true
    }

    /// `https://*.example.com` stands for one label more.
    fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| match allowed.split_once('*') {
            None => allowed == origin,
            Some((before, after)) => {
                let middle = origin.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                middle.is_some_and(|m| !m.is_empty() && !m.contains(['.', '/']))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let cors =
            Cors::new(&table::Cors { allow_origins: vec!["https://*.example.com".into(), "http://Exact.org:8080".into()], ..Default::default() });
        let allowed = ["https://a.example.com", "http://exact.org:8080"];
        let refused = ["https://a.b.example.com", "https://example.com", "http://a.example.com", "http://exact.org", "https://evil.com/.example.com"];
        assert!(allowed.iter().all(|o| cors.allows(o)));
        assert!(!refused.iter().any(|o| cors.allows(o)));
    }
}
