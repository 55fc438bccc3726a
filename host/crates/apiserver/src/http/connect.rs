//! Logs, exec, attach and port forwarding, passed on to the pod's kubelet; proxies to pods, services and nodes.

use std::sync::{Arc, LazyLock};

use futures::{StreamExt as _, TryStreamExt as _};
use http_body_util::BodyDataStream;
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Reason, Status};
use rand::seq::IndexedRandom as _;
use serde_json::json;

use super::links::{self, Through};
use super::proxy::{self, Backend};
use super::rest::Call;
use super::websocket::Wish;
use super::{Body, Response, plugins};
use crate::admission::Operation;
use crate::auth::Attributes;
use crate::cache::Filter;
use crate::handlers::{Core, Scope, no_such_resource};
use crate::pieces::Pieces;

/// Subresources that are passed on instead of answered.
pub const SUBRESOURCES: [&str; 6] = ["decisions", "log", "exec", "attach", "portforward", "proxy"];

const NODES: GroupVersionResource = GroupVersionResource::constant("", "v1", "nodes");
const SLICES: GroupVersionResource = GroupVersionResource::constant("discovery.k8s.io", "v1", "endpointslices");
const DEFAULT_KUBELET_PORT: u16 = 10250;
/// Of an error text of a kubelet.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// Query parameters of a log that go to the kubelet as they are.
const LOG_PARAMETERS: [&str; 9] =
    ["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream", "insecureSkipTLSVerifyBackend"];

pub async fn serve(call: Call, scope: Scope) -> Result<Response, Status> {
    call.core.cache.catch_up().await?;
    let def = scope.resource.def();
    let sub = def.subresources.iter().find(|s| s.name == scope.subresource).ok_or_else(no_such_resource)?;
    // A proxy takes any method, also those that are no verb.
    let passed_on = call.verb.is_empty() && scope.subresource == "proxy";
    if !passed_on && !sub.verbs.iter().any(|v| v == call.verb) {
        return Err(Status::method_not_allowed(&def.group, &def.resource, call.verb));
    }
    if !matches!(scope.subresource.as_str(), "decisions" | "log") {
        ask_hooks(&call, &scope).await?;
    }
    match (&*def.resource, scope.subresource.as_str()) {
        ("pods", "log") => log(call, scope).await,
        ("plugins", "decisions") => plugins::decisions(&call, &scope).await,
        ("plugins", "log") => plugins::log(&call, &scope),
        ("pods", "exec" | "attach" | "portforward") => stream(call, scope).await,
        ("pods" | "services" | "nodes", "proxy") => pass_on(call, scope).await,
        _ => Err(no_such_resource()),
    }
}

/// Webhooks may refuse a connection; they see its options as the object.
async fn ask_hooks(call: &Call, scope: &Scope) -> Result<(), Status> {
    if call.core.hooks.is_empty() {
        return Ok(());
    }
    let kind = match (&*scope.resource.def().resource, scope.subresource.as_str()) {
        (_, "exec") => "PodExecOptions",
        (_, "attach") => "PodAttachOptions",
        (_, "portforward") => "PodPortForwardOptions",
        ("services", _) => "ServiceProxyOptions",
        ("nodes", _) => "NodeProxyOptions",
        _ => "PodProxyOptions",
    };
    let mut options = json!({"kind": kind, "apiVersion": "v1"});
    for (key, value) in &call.query {
        match (key.as_str(), value.as_str()) {
            ("stdin" | "stdout" | "stderr" | "tty", _) if call.flag(key) => options[key] = json!(true),
            ("container", name) => options[key] = json!(name),
            ("command", word) if options["command"].is_null() => options[key] = json!([word]),
            ("command", word) => options["command"].as_array_mut().into_iter().for_each(|words| words.push(json!(word))),
            _ => {}
        }
    }
    if scope.subresource == "proxy" {
        options["path"] = json!(call.path.rest);
    }
    let request = call.core.asking(scope, Operation::Connect);
    call.core.hooks.permit(&request, Some(&options)).await.map(drop)
}

async fn log(mut call: Call, scope: Scope) -> Result<Response, Status> {
    let socket = Wish::take(&mut call.parts)?;
    let log = read_log(call, scope).await?;
    match socket {
        Some(socket) => socket.bytes(BodyDataStream::new(log.into_body()).map_ok(Pieces::into_bytes).boxed()),
        None => Ok(log),
    }
}

async fn read_log(call: Call, scope: Scope) -> Result<Response, Status> {
    let pod = call.core.read(&scope)?;
    let container = container(&pod, call.get("container"), true)?;
    if pod.str_at(&["spec", "nodeName"]).is_empty() {
        // Nothing ran anywhere yet, so there is nothing to read.
        let mut nothing = Response::new(Body::Full(bytes::Bytes::new()));
        *nothing.status_mut() = http::StatusCode::NO_CONTENT;
        return Ok(nothing);
    }
    let parameters = call.query.iter().filter(|(k, _)| LOG_PARAMETERS.contains(&k.as_str())).map(|(k, v)| match k.as_str() {
        flag @ ("follow" | "previous" | "timestamps" | "insecureSkipTLSVerifyBackend") => (flag, if call.flag(flag) { "true" } else { "false" }),
        other => (other, v.as_str()),
    });
    let path = format!("/containerLogs/{}/{}/{container}{}", scope.namespace, scope.name, query_of(parameters));
    let backend = kubelet(&call.core, pod.str_at(&["spec", "nodeName"]), path)?;
    let mut response = proxy::pass(call.parts, call.body, &backend).await.map_err(dial_failed)?;
    if !response.status().is_success() {
        return Err(proxy::refused(response, MAX_ERROR_BYTES).await);
    }
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    Ok(response)
}

async fn stream(call: Call, scope: Scope) -> Result<Response, Status> {
    // A WebSocket begins with GET, which must not make running commands a matter of reading.
    let asked = Attributes::of_resource(&scope.user, "create", "", "v1", "pods", &scope.namespace, &scope.name);
    call.core.authorize(&asked.with_subresource(&scope.subresource))?;
    let pod = call.core.read(&scope)?;
    let node = pod.str_at(&["spec", "nodeName"]).to_owned();
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", scope.name)));
    }
    if !proxy::is_upgrade(&call.parts.headers) {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let place = format!("{}/{}", scope.namespace, scope.name);
    let path = if scope.subresource == "portforward" {
        let ports = call.query.iter().filter(|(k, _)| k == "ports").flat_map(|(_, v)| v.split(',')).map(|port| ("port", port));
        format!("/portForward/{place}{}", query_of(ports))
    } else {
        if matches!(pod.str_at(&["status", "phase"]), "Succeeded" | "Failed") {
            let phase = pod.str_at(&["status", "phase"]);
            return Err(Status::bad_request(format!("cannot exec into a container in a completed pod; current phase is {phase}")));
        }
        let container = container(&pod, call.get("container"), false)?;
        format!("/{}/{place}/{container}{}", scope.subresource, query_of(stream_parameters(&call).into_iter()))
    };
    let backend = kubelet(&call.core, &node, path)?;
    proxy::pass(call.parts, call.body, &backend).await.map_err(dial_failed)
}

/// The client's parameters under the kubelet's names.
fn stream_parameters(call: &Call) -> Vec<(&str, &str)> {
    let mut parameters: Vec<(&str, &str)> = Vec::new();
    for (key, name) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if call.flag(key) {
            parameters.push((name, "1"));
        }
    }
    parameters.extend(call.query.iter().filter(|(k, _)| k == "command").map(|(_, v)| ("command", v.as_str())));
    parameters
}

async fn pass_on(call: Call, scope: Scope) -> Result<Response, Status> {
    let get = matches!(call.parts.method, http::Method::GET | http::Method::HEAD);
    if call.path.rest.is_empty() && get && !proxy::is_upgrade(&call.parts.headers) {
        return Ok(with_slash(&call));
    }
    let rest = if call.path.rest.is_empty() { "/" } else { &call.path.rest };
    let query = call.parts.uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let path = format!("{rest}{query}");
    let backend = match &*scope.resource.def().resource {
        "pods" => pod_backend(&call.core, &scope, path)?,
        "services" => service_backend(&call.core, &scope, path)?,
        _ => node_backend(&call.core, &scope, path)?,
    };
    let through = Through {
        prefix: call.parts.uri.path().strip_suffix(&*call.path.rest).unwrap_or_default().to_owned(),
        client_host: client_host(&call),
        backend_host: proxy::authority(&backend),
    };
    let mut parts = call.parts;
    proxy::note_forwarded(&mut parts.headers, &through, rest);
    let answer = proxy::pass(parts, call.body, &backend)
        .await
        .map_err(|why| Status::new(503, Reason::ServiceUnavailable, format!("error trying to reach service: {why}")))?;
    links::rewrite(answer, &through).await
}

/// The server's name as the client wrote it: HTTP/2 says it in the URI.
fn client_host(call: &Call) -> String {
    let header = call.parts.headers.get(http::header::HOST).and_then(|h| h.to_str().ok());
    call.parts.uri.authority().map(|a| a.as_str()).or(header).unwrap_or("").to_owned()
}

fn with_slash(call: &Call) -> Response {
    let query = call.parts.uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let mut response = Response::new(Body::Full(bytes::Bytes::new()));
    *response.status_mut() = http::StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = http::HeaderValue::from_str(&format!("{}/{query}", call.parts.uri.path())) {
        response.headers_mut().insert(http::header::LOCATION, location);
    }
    response
}

/// `[https:]name[:port]`
fn split_name(name: &str) -> Result<(&str, &str, &str), Status> {
    let parts: Vec<&str> = name.split(':').collect();
    match parts.as_slice() {
        [name] => Ok(("", name, "")),
        [name, port] => Ok(("", name, port)),
        [scheme @ ("http" | "https" | ""), name, port] => Ok((scheme, name, port)),
        _ => Err(Status::bad_request(format!("invalid request {name:?}"))),
    }
}

fn pod_backend(core: &Core, scope: &Scope, path: String) -> Result<Backend, Status> {
    let (scheme, name, port) = split_name(&scope.name)?;
    let of = Scope { name: name.to_owned(), ..scope.clone() };
    let pod = core.read(&of)?;
    let first_port = || pod.list_at(&["spec", "containers"]).iter().find_map(|c| c.list_at(&["ports"]).first()?.i64_at(&["containerPort"]));
    let port = match port {
        "" => first_port().and_then(|p| u16::try_from(p).ok()).unwrap_or(if scheme == "https" { 443 } else { 80 }),
        text => text.parse().map_err(|_| Status::bad_request(format!("invalid port {text:?}")))?,
    };
    let host = pod.str_at(&["status", "podIP"]).to_owned();
    if host.is_empty() {
        return Err(Status::bad_request("address not allowed"));
    }
    Ok(Backend { host, port, tls: tls_for(scheme), server_name: None, path })
}

fn service_backend(core: &Core, scope: &Scope, path: String) -> Result<Backend, Status> {
    let (scheme, name, port) = split_name(&scope.name)?;
    let of = Scope { name: name.to_owned(), ..scope.clone() };
    let service = core.read(&of)?;
    let ports = service.list_at(&["spec", "ports"]);
    let port_name = match port.parse::<i64>() {
        Ok(number) => match ports.iter().find(|p| p.i64_at(&["port"]) == Some(number)) {
            Some(port) => port.str_at(&["name"]).to_owned(),
            None => return Err(Status::unavailable(format!("no service port {number} found for service {name:?}"))),
        },
        Err(_) if port.is_empty() && ports.len() == 1 => ports[0].str_at(&["name"]).to_owned(),
        Err(_) => port.to_owned(),
    };
    let (host, port) = endpoint(core, &scope.namespace, name, &port_name)?;
    Ok(Backend { host, port, tls: tls_for(scheme), server_name: None, path })
}

/// Any ready endpoint of a service's port.
fn endpoint(core: &Core, namespace: &str, service: &str, port_name: &str) -> Result<(String, u16), Status> {
    let resource = core.resource(&SLICES)?;
    let filter = Filter::parse(namespace, &format!("kubernetes.io/service-name={service}"), "", &[])?;
    let mut found = Vec::new();
    for stored in core.cache.snapshot(&resource.slot).page(&filter, None, 0).items {
        let slice = resource.parse(&stored)?;
        let port = slice.list_at(&["ports"]).iter().find(|p| p.str_at(&["name"]) == port_name).and_then(|p| p.i64_at(&["port"]));
        let Some(port) = port.and_then(|p| u16::try_from(p).ok()) else { continue };
        let ready = |e: &&Object| e.at(&["conditions", "ready"]).is_none_or(|r| r != false);
        let addresses = slice.list_at(&["endpoints"]).iter().filter(ready).flat_map(|e| e.list_at(&["addresses"]));
        found.extend(addresses.filter_map(|a| Some((a.as_str()?.to_owned(), port))));
    }
    found.choose(&mut rand::rng()).cloned().ok_or_else(|| Status::unavailable(format!("no endpoints available for service {service:?}")))
}

fn node_backend(core: &Core, scope: &Scope, path: String) -> Result<Backend, Status> {
    let (scheme, name, port) = split_name(&scope.name)?;
    let mut backend = kubelet(core, name, path)?;
    if let Ok(port) = port.parse::<u16>()
        && port != backend.port
    {
        backend.port = port;
        backend.tls = tls_for(scheme);
    }
    Ok(backend)
}

/// The kubelet of a node, called with the server's own certificate.
fn kubelet(core: &Core, node: &str, path: String) -> Result<Backend, Status> {
    let resource = core.resource(&NODES)?;
    let stored = core.cache.get(&resource.slot, node).ok_or_else(|| Status::not_found("", "nodes", node))?;
    let object = resource.parse(&stored)?;
    let addresses = object.list_at(&["status", "addresses"]);
    let of_type = |kind: &str| addresses.iter().find(|a| a.str_at(&["type"]) == kind).map(|a| a.str_at(&["address"]));
    let host = ["InternalIP", "ExternalIP", "Hostname"].into_iter().find_map(of_type);
    let host = host.ok_or_else(|| Status::internal(format!("no preferred addresses found for node {node:?}")))?.to_owned();
    let port = object.i64_at(&["status", "daemonEndpoints", "kubeletEndpoint", "Port"]);
    let port = port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0).unwrap_or(DEFAULT_KUBELET_PORT);
    let tls = core.kubelet_tls.clone().ok_or_else(|| Status::internal("no certificate to call kubelets with"))?;
    Ok(Backend { host, port, tls: Some(tls), server_name: None, path })
}

/// The container that is meant. `any`: init and ephemeral containers have logs too.
fn container(pod: &Object, asked: &str, any: bool) -> Result<String, Status> {
    let names = |field: &str| pod.list_at(&["spec", field]).iter().map(|c| c.str_at(&["name"])).collect::<Vec<_>>();
    let (main, init, ephemeral) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    if asked.is_empty() {
        return match main.as_slice() {
            [one] if !any || init.is_empty() => Ok((*one).to_owned()),
            [one] => Ok((*one).to_owned()),
            _ => {
                let mut message = format!("a container name must be specified for pod {}, choose one of: [{}]", pod.name(), main.join(" "));
                if !init.is_empty() {
                    message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
                }
                Err(Status::bad_request(message))
            }
        };
    }
    if [main, init, ephemeral].iter().any(|names| names.contains(&asked)) {
        return Ok(asked.to_owned());
    }
    Err(Status::bad_request(format!("container {asked} is not valid for pod {}", pod.name())))
}

/// Backends of proxies are not verified, as upstream holds it: the connection is as trustworthy as the pod's address, which is all that is known
/// of it. Nothing of the cluster's own credentials goes over it.
fn tls_for(scheme: &str) -> Option<Arc<rustls::ClientConfig>> {
    static UNVERIFIED: LazyLock<Arc<rustls::ClientConfig>> = LazyLock::new(|| Arc::new(pintle_tls::unverified(&[])));
    (scheme == "https").then(|| UNVERIFIED.clone())
}

fn dial_failed(why: String) -> Status {
    Status::internal(format!("error dialing backend: {why}"))
}

fn query_of<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let encoded: Vec<String> = parameters.map(|(k, v)| format!("{k}={}", utf8_percent_encode(v, NON_ALPHANUMERIC))).collect();
    if encoded.is_empty() { String::new() } else { format!("?{}", encoded.join("&")) }
}
