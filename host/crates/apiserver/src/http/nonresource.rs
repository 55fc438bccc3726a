//! Paths that name no resource: health, version, metrics, discovery, OpenAPI.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use pintle_api::discovery;
use pintle_api::{GroupVersion, ResourceDef, Status};
use serde_json::{Value, json};

use super::metrics::Metrics;
use super::{Response, answer};
use crate::handlers::{Core, no_such_resource};

/// What `/version` says. Clients read `major`, `minor` and `gitVersion`.
pub const GIT_VERSION: &str = "v1.36.3+pintle";
const CHECKS: [&str; 4] = ["ping", "log", "store", "cache"];

pub fn serve(core: &Core, metrics: &Metrics, parts: &Parts, address: &str) -> Result<Response, Status> {
    let path = parts.uri.path();
    let trimmed = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    if !matches!(parts.method, http::Method::GET | http::Method::HEAD) {
        return Err(no_such_resource());
    }
    let segments: Vec<&str> = trimmed.trim_start_matches('/').split('/').collect();
    match segments.as_slice() {
        ["healthz" | "livez" | "readyz", check @ ..] => Ok(health(segments[0], check, parts.uri.query().unwrap_or(""))),
        ["version"] => Ok(answer::value(200, &version())),
        ["metrics"] => Ok(answer::text(200, metrics.render(&counts(core), core.cache.revision()))),
        [""] => Ok(answer::value(200, &root(core))),
        ["api"] | ["apis"] => Ok(groups(core, parts, segments[0] == "api", address)),
        ["api", version] => resources(core, "", version),
        ["apis", group] => {
            with_defs(core, |defs| discovery::api_group(defs, group)).map(|v| answer::value(200, &v)).ok_or_else(no_such_resource)
        }
        ["apis", group, version] => resources(core, group, version),
        _ => Err(Status::new(404, pintle_api::Reason::NotFound, "the server could not find the requested resource")),
    }
}

fn health(kind: &str, check: &[&str], query: &str) -> Response {
    if let [one] = check {
        return if CHECKS.contains(one) { answer::text(200, "ok".to_owned()) } else { answer::text(404, "404 page not found\n".to_owned()) };
    }
    if !query.contains("verbose") {
        return answer::text(200, "ok".to_owned());
    }
    let lines: String = CHECKS.iter().map(|c| format!("[+]{c} ok\n")).collect();
    answer::text(200, format!("{lines}{kind} check passed\n"))
}

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
    paths.extend(["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"].map(str::to_owned));
    json!({"paths": paths})
}

fn groups(core: &Core, parts: &Parts, is_core: bool, address: &str) -> Response {
    let accept = parts.headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    if let Some(form) = discovery::wants_aggregated(accept) {
        let body = with_defs(core, |defs| discovery::aggregated(defs, is_core, form));
        let mut response = answer::value(200, &body);
        if let Ok(content_type) = HeaderValue::from_str(&form.content_type()) {
            response.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        return response;
    }
    let body = if is_core { discovery::api_versions(address) } else { with_defs(core, discovery::api_group_list) };
    answer::value(200, &body)
}

fn resources(core: &Core, group: &str, version: &str) -> Result<Response, Status> {
    let of = GroupVersion::new(group.to_owned(), version.to_owned());
    with_defs(core, |defs| discovery::api_resource_list(defs, &of)).map(|v| answer::json_bytes(200, Bytes::from(v.to_string()))).ok_or_else(no_such_resource)
}

fn with_defs<T>(core: &Core, act: impl FnOnce(&[&ResourceDef]) -> T) -> T {
    let table = core.resources.load_full();
    let defs: Vec<&ResourceDef> = table.all.iter().map(|r| r.def()).collect();
    act(&defs)
}
