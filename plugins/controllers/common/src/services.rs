//! Services and the pods behind them: which Services a pod concerns, which pods serve, and at which ports.

use pintle_sdk::controller::{Api, Key, Query};
use pintle_sdk::selector::Selector;
use serde_json::{Value, json};

use crate::fields::Fields;
use crate::pods;
use crate::resources;

pub const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// What [`of_pod`] looks at.
pub const POD_READS: &[&str] = &[
    "metadata.namespace",
    "metadata.labels",
    "metadata.deletionTimestamp",
    "spec.nodeName",
    "status.phase",
    "status.conditions.type",
    "status.conditions.status",
    "status.podIP",
    "status.podIPs",
];

/// The Services whose selector matches the pod as it was or as it is.
pub fn of_pod(api: &dyn Api, before: Option<&Value>, after: Option<&Value>) -> Vec<Key> {
    if before.zip(after).is_some_and(|(b, a)| !matters(b, a)) {
        return Vec::new();
    }
    let Some(namespace) = after.or(before).map(Fields::namespace) else { return Vec::new() };
    let services = api.list(resources::SERVICES, &Query { namespace, ..Query::default() }).unwrap_or_default();
    let concerned = |service: &&Value| selector(service).is_some_and(|s| [before, after].into_iter().flatten().any(|pod| s.matches(pod.labels())));
    services.iter().filter(concerned).map(|s| Key { namespace: namespace.to_owned(), name: s.name().to_owned() }).collect()
}

/// Whether an endpoint made of the pod would change.
fn matters(before: &Value, after: &Value) -> bool {
    let part = |pod: &Value| {
        (
            pod.labels().cloned(),
            pod.deleting(),
            pods::phase(pod).to_owned(),
            pods::is_ready(pod),
            pod["status"]["podIPs"].clone(),
            pod["status"]["podIP"].clone(),
            pod["spec"]["nodeName"].clone(),
        )
    };
    part(before) != part(after)
}

/// `None` for Services without selector: their endpoints are somebody else's.
pub fn selector(service: &Value) -> Option<Selector> {
    if service.text(&["spec", "type"]) == "ExternalName" {
        return None;
    }
    Selector::from_map(service.at(&["spec", "selector"])).filter(|s| !s.is_empty())
}

/// A pod that can be an endpoint: it has an address and has not ended.
pub fn serving_pods(api: &dyn Api, service: &Value, selector: &Selector) -> pintle_sdk::controller::Result<Vec<Value>> {
    let query = Query { namespace: service.namespace(), label_selector: selector.to_string(), ..Query::default() };
    let mut found = api.list(resources::PODS, &query)?;
    found.retain(|p| !pods::is_finished(p) && !p.text(&["status", "podIP"]).is_empty());
    found.sort_by(|a, b| a.name().cmp(b.name()));
    Ok(found)
}

pub fn is_headless(service: &Value) -> bool {
    service.text(&["spec", "clusterIP"]) == "None"
}

/// The Service's ports as numbers on this pod, in the order of the Service. A named target port that the pod does not have is left out.
pub fn ports_on(service: &Value, pod: &Value) -> Vec<Value> {
    service.items(&["spec", "ports"]).iter().filter_map(|port| port_on(port, pod)).collect()
}

fn port_on(port: &Value, pod: &Value) -> Option<Value> {
    let protocol = match port.text(&["protocol"]) {
        "" => "TCP",
        protocol => protocol,
    };
    let number = match &port["targetPort"] {
        Value::String(name) => named_port(pod, name, protocol)?,
        Value::Number(number) if number.as_i64() != Some(0) => number.as_i64()?,
        _ => port.integer(&["port"])?,
    };
    let mut resolved = json!({"name": port.text(&["name"]), "port": number, "protocol": protocol});
    if !port.text(&["appProtocol"]).is_empty() {
        resolved["appProtocol"] = port["appProtocol"].clone();
    }
    Some(resolved)
}

fn named_port(pod: &Value, name: &str, protocol: &str) -> Option<i64> {
    let restartable = |c: &&Value| c.text(&["restartPolicy"]) == "Always";
    let containers = pod.items(&["spec", "containers"]).iter().chain(pod.items(&["spec", "initContainers"]).iter().filter(restartable));
    let mut ports = containers.flat_map(|c| c.items(&["ports"]));
    let protocol_of = |p: &Value| match p.text(&["protocol"]) {
        "" => "TCP".to_owned(),
        protocol => protocol.to_owned(),
    };
    ports.find(|p| p.text(&["name"]) == name && protocol_of(p) == protocol).and_then(|p| p.integer(&["containerPort"]))
}

/// The pod's addresses of one family.
pub fn addresses<'a>(pod: &'a Value, ipv6: bool) -> Vec<&'a str> {
    let listed = pod.items(&["status", "podIPs"]);
    let all: Vec<&'a str> = if listed.is_empty() { vec![pod.text(&["status", "podIP"])] } else { listed.iter().map(|i| i.text(&["ip"])).collect() };
    all.into_iter().filter(|a| a.contains(':') == ipv6 && !a.is_empty()).collect()
}

pub fn target_reference(pod: &Value) -> Value {
    json!({"kind": "Pod", "namespace": pod.namespace(), "name": pod.name(), "uid": pod.uid()})
}

/// The pod's own DNS name below the Service, where it has one.
pub fn hostname<'a>(service: &Value, pod: &'a Value) -> Option<&'a str> {
    let hostname = pod.text(&["spec", "hostname"]);
    (!hostname.is_empty() && pod.text(&["spec", "subdomain"]) == service.name()).then_some(hostname)
}
