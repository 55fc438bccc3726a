//! What the server serves, as requests that change nothing: for objects that are not there, or without the body they need.

use std::fmt;

use pintle_apiserver::Server;
use pintle_apiserver::backup;
use pintle_apiserver::http::connect;
use pintle_apiserver::http::nonresource;
use serde_json::{Value, json};

const NAMESPACE: &str = "default";
/// No object has this name.
const NAME: &str = "nobody";
const ELSEWHERE: &str = "elsewhere.example.com";

pub enum Asked {
    Path,
    Resource { verb: String, group: String, resource: String, sub: String, namespace: String, name: String },
}

pub struct Endpoint {
    pub method: &'static str,
    /// With its query.
    pub uri: String,
    pub asked: Asked,
}

/// The endpoints, and the names of those that this file does not know how to ask.
pub fn all(server: &Server) -> (Vec<Endpoint>, Vec<String>) {
    let (mut endpoints, mut unknown) = (Vec::new(), Vec::new());
    let beside = [backup::PATH];
    for pattern in nonresource::ROUTES.iter().map(|(pattern, _)| *pattern).chain(beside) {
        match sample(pattern) {
            Some(path) => endpoints.extend(["GET", "HEAD"].map(|method| Endpoint { method, uri: path.clone(), asked: Asked::Path })),
            None => unknown.push(pattern.to_owned()),
        }
    }
    let table = server.core().resources.load();
    for resource in &table.all {
        let def = resource.def();
        for verb in def.verbs.iter() {
            of_resource(def, "", verb, &mut endpoints, &mut unknown);
        }
        for sub in def.subresources.iter() {
            sub.verbs.iter().for_each(|verb| of_resource(def, &sub.name, verb, &mut endpoints, &mut unknown));
        }
    }
    unknown.extend(hidden(server, &endpoints));
    endpoints.extend(of_others());
    (endpoints, unknown)
}

/// A path that the pattern fits.
fn sample(pattern: &str) -> Option<String> {
    let of = |part: &str| match part {
        "{check...}" => Some("ping".to_owned()),
        "{version}" => Some("v1".to_owned()),
        "{group}" => Some("apps".to_owned()),
        "{document...}" => Some("v3".to_owned()),
        other => (!other.contains('{')).then(|| other.to_owned()),
    };
    pattern.split('/').map(of).collect::<Option<Vec<_>>>().map(|parts| parts.join("/"))
}

fn of_resource(def: &pintle_api::ResourceDef, sub: &str, verb: &str, endpoints: &mut Vec<Endpoint>, unknown: &mut Vec<String>) {
    let collective = matches!(verb, "list" | "watch" | "deletecollection") || (verb == "create" && sub.is_empty());
    let methods: &[(&str, &str)] = match verb {
        "get" => &[("GET", ""), ("HEAD", "")],
        "list" => &[("GET", "?limit=1")],
        "watch" => &[("GET", "?watch=true&timeoutSeconds=1")],
        "create" => &[("POST", "")],
        "update" => &[("PUT", "")],
        "patch" => &[("PATCH", "")],
        "delete" => &[("DELETE", "")],
        "deletecollection" => &[("DELETE", "?labelSelector=nobody%3Dnobody")],
        _ => return unknown.push(format!("{verb} {}/{}/{}/{sub}", def.group, def.version, def.resource)),
    };
    let root = if def.group.is_empty() { format!("/api/{}", def.version) } else { format!("/apis/{}/{}", def.group, def.version) };
    let of_namespaces = def.group.is_empty() && def.resource == "namespaces";
    // Lists and watches of all namespaces are endpoints of their own.
    let mut scopes = vec![if def.is_namespaced() { NAMESPACE } else { "" }];
    if def.is_namespaced() && matches!(verb, "list" | "watch") {
        scopes.push("");
    }
    for scope in scopes {
        let place = if scope.is_empty() { String::new() } else { format!("/namespaces/{scope}") };
        let object = if collective { String::new() } else { format!("/{NAME}") };
        let below = if sub.is_empty() { String::new() } else { format!("/{sub}") };
        let asked = || Asked::Resource {
            verb: verb.to_owned(),
            group: def.group.to_string(),
            resource: def.resource.to_string(),
            sub: sub.to_owned(),
            namespace: if of_namespaces && !collective { NAME.to_owned() } else { scope.to_owned() },
            name: if collective { String::new() } else { NAME.to_owned() },
        };
        for (method, query) in methods {
            endpoints.push(Endpoint { method, uri: format!("{root}{place}/{}{object}{below}{query}", def.resource), asked: asked() });
        }
        if verb == "watch" {
            endpoints.push(Endpoint { method: "GET", uri: format!("{root}/watch{place}/{}?timeoutSeconds=1", def.resource), asked: asked() });
        }
    }
}

/// Handlers that the table does not tell of: nobody would find them here, so nobody may add one.
fn hidden(server: &Server, endpoints: &[Endpoint]) -> Vec<String> {
    let known = |group: Option<&str>, resource: Option<&str>, sub: &str| {
        endpoints.iter().any(|e| match &e.asked {
            Asked::Resource { group: g, resource: r, sub: s, .. } => group.is_none_or(|x| x == g) && resource.is_none_or(|x| x == r) && s == sub,
            Asked::Path => false,
        })
    };
    let special = server.core().special.keys().filter(|(group, resource, sub)| !known(Some(group), Some(resource), sub));
    let special: Vec<String> = special.map(|(group, resource, sub)| format!("special {group}/{resource}/{sub}")).collect();
    let connected = connect::SUBRESOURCES.iter().filter(|sub| !known(None, None, sub)).map(|sub| format!("connect {sub}"));
    special.into_iter().chain(connected).collect()
}

pub fn api_service() -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": format!("v1.{ELSEWHERE}")},
        "spec": {
            "group": ELSEWHERE, "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10, "insecureSkipTLSVerify": true,
            "service": {"name": "nowhere", "namespace": NAMESPACE},
        },
    })
}

/// What is passed on to another server is asked here first.
fn of_others() -> Vec<Endpoint> {
    let root = format!("/apis/{ELSEWHERE}/v1");
    let resource = |verb: &str, name: &str| Asked::Resource {
        verb: verb.to_owned(),
        group: ELSEWHERE.to_owned(),
        resource: "things".to_owned(),
        sub: String::new(),
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
    };
    let things = format!("{root}/namespaces/{NAMESPACE}/things");
    let of = |method, uri: String, asked| Endpoint { method, uri, asked };
    vec![
        of("GET", root.clone(), Asked::Path),
        of("GET", things.clone(), resource("list", "")),
        of("GET", format!("{things}?watch=true"), resource("watch", "")),
        of("POST", things.clone(), resource("create", "")),
        of("GET", format!("{things}/{NAME}"), resource("get", NAME)),
        of("DELETE", format!("{things}/{NAME}"), resource("delete", NAME)),
        of("OPTIONS", root, Asked::Path),
    ]
}

impl Endpoint {
    pub fn path(&self) -> &str {
        self.uri.split('?').next().unwrap_or_default()
    }

    /// Probes without credentials are told apart from users, and left to RBAC as upstream does.
    pub fn is_open_to_anonymous(&self) -> bool {
        matches!(self.path(), "/healthz" | "/livez" | "/readyz")
    }

    /// Whether a right in one namespace is enough.
    pub fn is_in_namespace(&self) -> bool {
        matches!(&self.asked, Asked::Resource { namespace, resource, .. } if !namespace.is_empty() && resource != "namespaces")
    }

    /// The rule of a role that allows this and no more.
    pub fn rule(&self) -> Value {
        match &self.asked {
            Asked::Path => json!({"nonResourceURLs": [self.path()], "verbs": [self.method.to_lowercase()]}),
            Asked::Resource { verb, group, resource, sub, .. } => {
                // To begin a stream by GET is to run or reach something: it takes the right to create as well.
                let streams = verb == "get" && matches!(sub.as_str(), "exec" | "attach" | "portforward");
                let verbs = if streams { vec![verb.as_str(), "create"] } else { vec![verb.as_str()] };
                let name = if sub.is_empty() { resource.clone() } else { format!("{resource}/{sub}") };
                json!({"apiGroups": [group], "resources": [name], "verbs": verbs})
            }
        }
    }

    /// Whether the right for this one may allow the other as well.
    pub fn covers(&self, other: &Self) -> bool {
        match (&self.asked, &other.asked) {
            (Asked::Path, Asked::Path) => self.path() == other.path() && self.method == other.method,
            (Asked::Resource { group: g, resource: r, sub: s, .. }, Asked::Resource { group, resource, sub, .. }) => {
                (g, r, s) == (group, resource, sub)
            }
            _ => false,
        }
    }

    /// Upstream's words for somebody who may not.
    pub fn refusal(&self, user: &str) -> String {
        match &self.asked {
            Asked::Path => format!("forbidden: User {user:?} cannot {} path {:?}", self.method.to_lowercase(), self.path()),
            Asked::Resource { verb, group, resource, sub, namespace, name } => {
                let full = if sub.is_empty() { resource.clone() } else { format!("{resource}/{sub}") };
                let about = if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") };
                let named = if name.is_empty() { String::new() } else { format!(" {name:?}") };
                let place = if namespace.is_empty() { "at the cluster scope".to_owned() } else { format!("in the namespace {namespace:?}") };
                format!("{about}{named} is forbidden: User {user:?} cannot {verb} resource {full:?} in API group {group:?} {place}")
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.uri)
    }
}
