//! Two route tables side by side: routes by host and path, certificates by what they serve, the Ingresses that are served. The order of
//! backends is the component's own affair; keys and password hashes are compared and never shown. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::types::{Action, Certificate, Route, RouteTable};

/// One difference, as `status.candidate.differences` has it.
#[derive(Debug, PartialEq, Eq)]
pub struct Contrast {
    pub subject: String,
    pub kind: &'static str,
    pub live: String,
    pub candidate: String,
}

const NOTHING: &str = "none";

pub fn compare(live: &RouteTable, candidate: &RouteTable) -> Vec<Contrast> {
    let mut found = contrasts("Route", &routes(live), &routes(candidate));
    found.extend(contrasts("Certificate", &certificates(live), &certificates(candidate)));
    let served = |table: &RouteTable| -> BTreeMap<String, String> { table.served.iter().map(|path| (path.clone(), "served".to_owned())).collect() };
    found.extend(contrasts("Served", &served(live), &served(candidate)));
    found
}

fn contrasts(kind: &'static str, live: &BTreeMap<String, String>, candidate: &BTreeMap<String, String>) -> Vec<Contrast> {
    let keys: BTreeSet<&String> = live.keys().chain(candidate.keys()).collect();
    let differ = keys.into_iter().filter(|key| live.get(*key) != candidate.get(*key));
    let side = |table: &BTreeMap<String, String>, key: &String| table.get(key).cloned().unwrap_or_else(|| NOTHING.to_owned());
    differ.map(|key| Contrast { subject: key.clone(), kind, live: side(live, key), candidate: side(candidate, key) }).collect()
}

/// `HOST/PATH (match)` to everything that is done there.
fn routes(table: &RouteTable) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for host in &table.hosts {
        for (place, route) in host.routes.iter().enumerate() {
            let name = if host.name.is_empty() { "*" } else { &host.name };
            let key = format!("{name}{} ({:?})", route.path, route.path_match);
            // The first that matches counts; a second of the same kind is told apart by its place.
            let key = if found.contains_key(&key) { format!("{key} #{place}") } else { key };
            found.insert(key, described(table, route));
        }
    }
    if let Some(fallback) = &table.fallback {
        found.insert("where nothing matches".to_owned(), action(table, fallback));
    }
    found
}

fn described(table: &RouteTable, route: &Route) -> String {
    let mut parts = vec![action(table, &route.action)];
    let canaries = route
        .canaries
        .iter()
        .map(|c| format!("{} of {} to {} (header {:?}, cookie {:?})", c.weight, c.weight_total, backend(table, c.backend), c.header, c.cookie));
    parts.extend(canaries);
    let extras: [(&str, String, bool); 9] = [
        ("rewrite", format!("{:?}", route.rewrite), route.rewrite.is_some()),
        ("tls", "forced".to_owned(), route.force_tls),
        (
            "auth",
            route
                .auth
                .as_ref()
                .map_or_else(String::new, |a| format!("{:?}, {} users, sum {:016x}", a.realm, a.users.len(), sum(&format!("{:?}", a.users)))),
            route.auth.is_some(),
        ),
        ("allow", route.allow_sources.join(","), !route.allow_sources.is_empty()),
        ("deny", route.deny_sources.join(","), !route.deny_sources.is_empty()),
        ("max-body", route.max_body_bytes.to_string(), route.max_body_bytes > 0),
        ("rate", route.requests_per_second.to_string(), route.requests_per_second > 0),
        (
            "headers",
            format!("{:?} {:?}", route.request_headers, route.response_headers),
            !route.request_headers.is_empty() || !route.response_headers.is_empty(),
        ),
        ("cors", format!("{:?}", route.cors), route.cors.is_some()),
    ];
    parts.extend(extras.into_iter().filter(|(.., set)| *set).map(|(name, value, _)| format!("{name} {value}")));
    parts.join(", ")
}

fn action(table: &RouteTable, action: &Action) -> String {
    match action {
        Action::Forward(at) => format!("to {}", backend(table, *at)),
        Action::Redirect((code, location)) => format!("redirect {code} {location}"),
        Action::Respond((code, body)) => format!("respond {code} {body:?}"),
    }
}

fn backend(table: &RouteTable, at: u32) -> String {
    let Some(backend) = table.backends.get(at as usize) else { return format!("no backend {at}") };
    let mut endpoints: Vec<String> = backend.endpoints.iter().map(|e| format!("{}:{}", e.address, e.port)).collect();
    endpoints.sort();
    let times = (backend.connect_timeout_milliseconds, backend.read_timeout_milliseconds, backend.retries);
    format!("{} [{}] {:?} {:?} {:?} {times:?}", backend.name, endpoints.join(" "), backend.balance, backend.protocol, backend.affinity)
}

fn certificates(table: &RouteTable) -> BTreeMap<String, String> {
    let shown = |c: &Certificate| (c.hosts.join(","), format!("{} sum {:016x}", c.source, sum(&(&c.chain, &c.key))));
    table.certificates.iter().map(shown).collect()
}

/// Enough to tell two secrets apart without showing either.
fn sum(value: &impl std::hash::Hash) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
