//! What a path and a method ask for, in upstream's terms of verbs and resources.

use percent_encoding::percent_decode_str;

/// A request for a resource. Strings are decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourcePath {
    pub group: String,
    pub version: String,
    /// As the authorizer sees it: for the resource `namespaces` the name itself.
    pub namespace: String,
    pub resource: String,
    pub name: String,
    pub subresource: String,
    /// What follows the subresource (proxies pass it on), with its leading slash.
    pub rest: String,
    /// `/api/v1/watch/...`, the old form.
    pub watch_prefix: bool,
}

impl ResourcePath {
    /// `None`: no request for a resource (discovery, health, openapi).
    pub fn parse(path: &str) -> Option<Self> {
        let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version) = match *parts.first()? {
            "api" if parts.len() >= 3 => ("", parts[1]),
            "apis" if parts.len() >= 4 => (parts[1], parts[2]),
            _ => return None,
        };
        let mut found = Self { group: decode(group), version: decode(version), ..Self::default() };
        parts.drain(..if group.is_empty() { 2 } else { 3 });
        if parts[0] == "watch" && parts.len() > 1 {
            found.watch_prefix = true;
            parts.remove(0);
        }
        if parts[0] == "namespaces" && parts.len() > 1 {
            found.namespace = decode(parts[1]);
            if parts.len() > 2 && !matches!(parts[2], "status" | "finalize") {
                parts.drain(..2);
            }
        }
        found.resource = decode(parts[0]);
        found.name = parts.get(1).map(|s| decode(s)).unwrap_or_default();
        found.subresource = parts.get(2).map(|s| decode(s)).unwrap_or_default();
        if parts.len() > 3 || (parts.len() == 3 && path.ends_with('/')) {
            found.rest = rest_after(path, &parts);
        }
        Some(found)
    }

    pub fn verb(&self, method: &http::Method, watch: bool) -> &'static str {
        let collection = self.name.is_empty();
        match *method {
            http::Method::POST => "create",
            http::Method::PUT => "update",
            http::Method::PATCH => "patch",
            http::Method::DELETE if collection => "deletecollection",
            http::Method::DELETE => "delete",
            http::Method::GET | http::Method::HEAD => match collection {
                true if self.watch_prefix || watch => "watch",
                true => "list",
                false if self.watch_prefix => "watch",
                false => "get",
            },
            // OPTIONS and the like: only a right to everything covers them.
            _ => "",
        }
    }
}

/// The raw path after the subresource, undecoded, for it is passed on.
fn rest_after(path: &str, parts: &[&str]) -> String {
    let taken: usize = parts[3..].iter().map(|p| p.len() + 1).sum();
    let trailing = if path.ends_with('/') { 1 } else { 0 };
    let trimmed = path.trim_end_matches('/');
    let mut rest = trimmed[trimmed.len() - taken.min(trimmed.len())..].to_owned();
    if trailing == 1 {
        rest.push('/');
    }
    rest
}

fn decode(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}

/// The query's parameters, decoded, in order.
pub fn query(text: Option<&str>) -> Vec<(String, String)> {
    let unplus = |s: &str| decode(&s.replace('+', " "));
    let pair = |p: &str| p.split_once('=').map_or_else(|| (unplus(p), String::new()), |(k, v)| (unplus(k), unplus(v)));
    text.unwrap_or("").split('&').filter(|p| !p.is_empty()).map(pair).collect()
}

/// A parameter that is on or off, as upstream reads it: `true`, Python's `True`, and every other word but `false` and `0` are on.
pub fn flag(query: &[(String, String)], name: &str) -> bool {
    let value = query.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
    value.is_some_and(|v| v != "0" && !v.eq_ignore_ascii_case("false"))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(path: &str, expected: Expect) {
        let shown = ResourcePath::parse(path).map(|p| {
            format!(
                "{}/{} ns={} {} {} {} {}{}",
                p.group,
                p.version,
                p.namespace,
                p.resource,
                p.name,
                p.subresource,
                p.rest,
                if p.watch_prefix { " watch" } else { "" }
            )
        });
        expected.assert_eq(&shown.unwrap_or_default());
    }

    #[test]
    fn flags() {
        let on = |text: &str| flag(&query(Some(text)), "watch");
        assert_eq!(["watch=true", "watch=True", "watch=1", "watch=t", "watch", "a=b&watch="].map(on), [true; 6]);
        assert_eq!(["", "a=b", "watch=0", "watch=false", "watch=False", "watch=FALSE"].map(on), [false; 6]);
    }

    #[test]
    fn paths() {
        check("/api/v1", expect![""]);
        check("/apis/apps/v1", expect![""]);
        check("/api/v1/pods", expect!["/v1 ns= pods   "]);
        check("/api/v1/namespaces", expect!["/v1 ns= namespaces   "]);
        check("/api/v1/namespaces/a", expect!["/v1 ns=a namespaces a  "]);
        check("/api/v1/namespaces/a/finalize", expect!["/v1 ns=a namespaces a finalize "]);
        check("/api/v1/namespaces/a/pods/p/log", expect!["/v1 ns=a pods p log "]);
        check("/api/v1/namespaces/a/pods/p:80/proxy/x/y%20z/", expect!["/v1 ns=a pods p:80 proxy /x/y%20z/"]);
        check("/api/v1/namespaces/a/pods/p/proxy/", expect!["/v1 ns=a pods p proxy /"]);
        check("/apis/apps/v1/namespaces/a/deployments/web%2Fx/scale", expect!["apps/v1 ns=a deployments web/x scale "]);
        check("/api/v1/watch/namespaces/a/pods", expect!["/v1 ns=a pods    watch"]);
    }
}
