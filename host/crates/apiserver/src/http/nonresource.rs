//! Paths that name no resource: health, version, metrics, discovery, OpenAPI.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::request::Parts;
use pintle_api::openapi::{self, Published};
use pintle_api::{GroupVersion, ResourceDef, Status, discovery};
use serde_json::{Value, json};

use super::metrics::Metrics;
use super::negotiate::{self, Media};
use super::path;
use super::{Response, answer, protobuf};
use crate::GIT_VERSION;
use crate::handlers::{Core, no_such_resource};
use crate::resources::{Document, Table};

type Check = fn(&Core) -> bool;
/// Each with what it looks at: that it answers at all, that the store's changes come in, that the server does not end.
const CHECKS: [(&str, Check); 3] =
    [("ping", |_| true), ("store", |core| core.cache.follows()), ("shutdown", |core| !core.ends.load(Ordering::Relaxed))];

/// What is served that is no resource, by the pattern of its path: `{NAME}` is one segment, `{NAME...}` one or more. All of it is read
/// (GET and HEAD); the first pattern that fits serves. Nothing is reached but through this table, so tests can go through all there is.
pub const ROUTES: [(&str, Serve); 17] = [
    ("/", |asked| Ok(answer::value(200, &root(asked.core)))),
    ("/healthz", health),
    ("/healthz/{check...}", health),
    ("/livez", health),
    ("/livez/{check...}", health),
    ("/readyz", health),
    ("/readyz/{check...}", health),
    ("/version", |_| Ok(answer::value(200, &version()))),
    ("/metrics", metrics),
    ("/api", |asked| groups(asked, true)),
    ("/apis", |asked| groups(asked, false)),
    ("/api/{version}", |asked| resources(asked, "", asked.segment(1))),
    ("/apis/{group}", group),
    ("/apis/{group}/{version}", |asked| resources(asked, asked.segment(1), asked.segment(2))),
    ("/openapi/{document...}", openapi),
    ("/.well-known/openid-configuration", issuer_document),
    ("/openid/v1/jwks", issuer_document),
];

type Serve = fn(&Asked<'_>) -> Result<Response, Status>;

/// One request for a path that names no resource.
pub struct Asked<'a> {
    core: &'a Core,
    metrics: &'a Metrics,
    parts: &'a Parts,
    /// Told to clients in discovery.
    address: &'a str,
    /// Without a slash at its end.
    path: &'a str,
    segments: Vec<&'a str>,
}

impl Asked<'_> {
    fn segment(&self, at: usize) -> &str {
        self.segments.get(at).copied().unwrap_or_default()
    }
}

pub fn serve(core: &Core, metrics: &Metrics, parts: &Parts, address: &str) -> Result<Response, Status> {
    let path = parts.uri.path();
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    if !matches!(parts.method, http::Method::GET | http::Method::HEAD) {
        return Err(no_such_resource());
    }
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (_, serve) = ROUTES.iter().find(|(pattern, _)| fits(pattern, &segments)).ok_or_else(no_such_resource)?;
    serve(&Asked { core, metrics, parts, address, path, segments })
}

fn fits(pattern: &str, segments: &[&str]) -> bool {
    let mut given = segments.iter();
    for part in pattern[1..].split('/') {
        match given.next() {
            None => return false,
            Some(_) if part.starts_with('{') && part.ends_with("...}") => return true,
            Some(_) if part.starts_with('{') => {}
            Some(segment) if *segment == part => {}
            Some(_) => return false,
        }
    }
    given.next().is_none()
}

fn issuer_document(asked: &Asked<'_>) -> Result<Response, Status> {
    let (content_type, document) = asked.core.authenticator.issuer_document(asked.path).ok_or_else(no_such_resource)?;
    Ok(answer::bytes(200, HeaderValue::from_static(content_type), Bytes::from(document.to_string())))
}

fn group(asked: &Asked<'_>) -> Result<Response, Status> {
    let found = with_defs(asked.core, |defs| discovery::api_group(defs, asked.segment(1))).ok_or_else(no_such_resource)?;
    answer::value_in(200, &found, Media::only(&asked.parts.headers)?)
}

fn metrics(asked: &Asked<'_>) -> Result<Response, Status> {
    let Asked { core, metrics, .. } = asked;
    let own = metrics.render(&counts(core), core.cache.revision());
    let audit = core.audit.as_ref().map(|audit| audit.metrics()).unwrap_or_default();
    Ok(answer::text(200, own + &core.decisions.metrics() + &core.other_metrics.render() + &core.pod_security.tally.render() + &audit))
}

/// One check, or all that count for `healthz`, `livez` or `readyz`: a server that ends is alive and not ready.
fn health(asked: &Asked<'_>) -> Result<Response, Status> {
    let (core, kind, check) = (asked.core, asked.segment(0), &asked.segments[1..]);
    let query = path::query(asked.parts.uri.query());
    let excluded = |name: &str| query.iter().any(|(k, v)| k == "exclude" && v == name);
    let counts = |name: &str| (name != "shutdown" || kind == "readyz") && !excluded(name);
    if let [one] = check {
        return Ok(match CHECKS.iter().find(|(name, _)| name == one) {
            None => answer::text(404, "404 page not found\n".to_owned()),
            Some((_, passes)) if passes(core) => answer::text(200, "ok".to_owned()),
            Some((name, _)) => answer::text(500, format!("internal server error: {name} failed\n")),
        });
    }
    let results: Vec<(&str, bool)> = CHECKS.iter().filter(|(name, _)| counts(name)).map(|(name, passes)| (*name, passes(core))).collect();
    let healthy = results.iter().all(|(_, passed)| *passed);
    if healthy && !query.iter().any(|(k, _)| k == "verbose") {
        return Ok(answer::text(200, "ok".to_owned()));
    }
    let line = |(name, passed): &(&str, bool)| if *passed { format!("[+]{name} ok\n") } else { format!("[-]{name} failed: reason withheld\n") };
    let lines: String = results.iter().map(line).collect();
    let (code, verdict) = if healthy { (200, "passed") } else { (500, "failed") };
    Ok(answer::text(code, format!("{lines}{kind} check {verdict}\n")))
}

/// What `/version` says. Clients read `major`, `minor` and `gitVersion`.
fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
        "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc", "platform": format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    })
}

fn counts(core: &Core) -> Vec<(String, usize)> {
    let table = core.resources.load();
    let stored = table.all.iter().filter(|r| r.is_stored() && !r.converts);
    stored.map(|r| (r.def().gvr().to_string(), core.cache.count(&r.slot))).collect()
}

fn root(core: &Core) -> Value {
    let mut paths: Vec<String> = ["/api", "/api/v1", "/apis"].map(str::to_owned).into();
    with_defs(core, |defs| {
        for (group, versions) in discovery::group_versions(defs).into_iter().filter(|(group, _)| !group.is_empty()) {
            paths.push(format!("/apis/{group}"));
            paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
        }
    });
    paths.extend(
        [
            "/.well-known/openid-configuration",
            "/healthz",
            "/livez",
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/openid/v1/jwks",
            "/readyz",
            "/version",
        ]
        .map(str::to_owned),
    );
    json!({"paths": paths})
}

fn groups(asked: &Asked<'_>, is_core: bool) -> Result<Response, Status> {
    let Asked { core, parts, address, .. } = *asked;
    negotiate::check_route(&parts.headers, false)?;
    if let Some((media, form)) = Media::aggregated(&parts.headers) {
        let name = format!("discovery {is_core} {}", form.version());
        return document(core, parts, &name, &form.content_type(), media, |defs| Some(discovery::aggregated(defs, is_core, form)));
    }
    let body = if is_core { discovery::api_versions(address) } else { with_defs(core, discovery::api_group_list) };
    answer::value_in(200, &body, Media::only(&parts.headers)?)
}

fn resources(asked: &Asked<'_>, group: &str, version: &str) -> Result<Response, Status> {
    let Asked { core, parts, .. } = *asked;
    negotiate::check_route(&parts.headers, false)?;
    let of = GroupVersion::new(group.to_owned(), version.to_owned());
    let media = match Media::only(&parts.headers)? {
        Media::Yaml => {
            let list = with_defs(core, |defs| discovery::api_resource_list(defs, &of)).ok_or_else(no_such_resource)?;
            return answer::value_in(200, &list, Media::Yaml);
        }
        media => media,
    };
    document(core, parts, &format!("resources {group}/{version}"), JSON, media, |defs| discovery::api_resource_list(defs, &of))
}

const JSON: &str = "application/json";
/// What a client may ask for with an `@` is answered with a dot: Go's parser of media types takes no other.
const V2_PROTOBUF: &str = openapi::V2_PROTOBUF_MEDIA_TYPE_DOTTED;

fn openapi(asked: &Asked<'_>) -> Result<Response, Status> {
    let Asked { core, parts, .. } = *asked;
    let published = |table: &Table, make: &dyn Fn(&[Published<'_>]) -> Option<Vec<u8>>| {
        let all: Vec<Published<'_>> = table.all.iter().map(|r| Published { def: r.def(), schema: r.strategy.openapi_schema() }).collect();
        make(&all)
    };
    let table = core.resources.load_full();
    let serve = |name: &str, content_type: &str, make: &dyn Fn(&[Published<'_>]) -> Option<Vec<u8>>| {
        let made = table.documents.get_or_make(name, || published(&table, make));
        made.map(|document| packed(parts, content_type, &document)).ok_or_else(no_such_resource)
    };
    match &asked.segments[1..] {
        ["v2"] if accept(parts).contains("proto-openapi.spec.v2") => {
            serve("openapi v2 pb", V2_PROTOBUF, &|all| Some(openapi::v2_protobuf(all, GIT_VERSION)))
        }
        ["v2"] => serve("openapi v2", JSON, &|all| Some(openapi::v2_json(all, GIT_VERSION))),
        ["v3"] => serve("openapi v3", JSON, &|all| {
            let mut index = openapi::v3_index(all, GIT_VERSION);
            add_others(&mut index, &table.foreign_openapi);
            Some(index.to_string().into_bytes())
        }),
        ["v3", rest @ ..] => {
            let path = rest.join("/");
            serve(&format!("openapi v3 {path}"), JSON, &|all| openapi::v3_json(all, &path, GIT_VERSION))
        }
        _ => Err(no_such_resource()),
    }
}

/// Shows in the index where other servers' documents are: none in the place of one of this server's.
fn add_others(index: &mut Value, others: &BTreeMap<String, String>) {
    let Some(paths) = index.get_mut("paths").and_then(Value::as_object_mut) else { return };
    for (path, url) in others {
        paths.entry(path.as_str()).or_insert_with(|| json!({"serverRelativeURL": url}));
    }
}

/// A document in JSON, or in protobuf where that was asked for.
fn document(
    core: &Core,
    parts: &Parts,
    name: &str,
    json_type: &str,
    media: Media,
    make: impl FnOnce(&[&ResourceDef]) -> Option<Value>,
) -> Result<Response, Status> {
    let table = core.resources.load_full();
    let (made, content_type) = match media {
        Media::Protobuf => {
            let make = || protobuf::object(make(&table.defs())?.to_string().as_bytes()).ok().flatten();
            let json = mime_of(json_type);
            (table.documents.get_or_make(&format!("{name} protobuf"), make), json_type.replacen(json, protobuf::TYPE_NAME, 1))
        }
        Media::Json | Media::Yaml => {
            (table.documents.get_or_make(name, || Some(make(&table.defs())?.to_string().into_bytes())), json_type.to_owned())
        }
    };
    made.map(|document| packed(parts, &content_type, &document)).ok_or_else(no_such_resource)
}

/// Without its parameters.
fn mime_of(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default()
}

/// A kept document: packed as it lies where the client takes that, and nothing but its tag where it has it already.
fn packed(parts: &Parts, content_type: &str, document: &Document) -> Response {
    let tag = format!("\"{}\"", document.etag);
    let known = parts.headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|known| known.contains(&tag));
    let content_type = HeaderValue::from_str(content_type).unwrap_or(HeaderValue::from_static(JSON));
    let mut response = match known {
        true => answer::bytes(304, content_type, Bytes::new()),
        false if negotiate::takes_gzip(&parts.headers) => {
            let mut response = answer::bytes(200, content_type, document.gzip.clone());
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        }
        false => answer::bytes(200, content_type, Bytes::from(document.plain())),
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    response
}

fn accept(parts: &Parts) -> &str {
    parts.headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("")
}

fn with_defs<T>(core: &Core, act: impl FnOnce(&[&ResourceDef]) -> T) -> T {
    let table = core.resources.load_full();
    act(&table.defs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_others_stand_beside_the_servers_own() {
        let mut index = json!({"paths": {"apis/apps/v1": {"serverRelativeURL": "/openapi/v3/apis/apps/v1?hash=OWN"}}});
        let others = [("apis/apps/v1", "/openapi/v3/apis/apps/v1?hash=OTHER"), ("apis/x.io/v1", "/openapi/v3/apis/x.io/v1")];
        add_others(&mut index, &others.map(|(path, url)| (path.to_owned(), url.to_owned())).into());
        let (own, other) = ("/openapi/v3/apis/apps/v1?hash=OWN", "/openapi/v3/apis/x.io/v1");
        assert_eq!(index, json!({"paths": {"apis/apps/v1": {"serverRelativeURL": own}, "apis/x.io/v1": {"serverRelativeURL": other}}}));
    }
}
