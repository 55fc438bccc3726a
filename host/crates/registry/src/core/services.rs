//! `v1` Service: defaults, what an update keeps and a change of type drops, columns. Validation and claims lie beside.

use std::collections::HashSet;

use pintle_api::names::NameRule;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::{service_claims, services_validate as check};
use crate::context::WriteContext;
use crate::def::namespaced;
use crate::fields::{by_name, default_empty, default_missing, each_mut, ensure_object, same, spec_mut};
use crate::kind::Kind;
use crate::print::{self, AGE, NAME, SELECTOR, text};
use crate::strategy::{Column, Part};
use crate::warnings;

const AFFINITY_SECONDS: i64 = 10_800;

const COLUMNS: &[Column] = &[
    NAME,
    text("Type", "How the service is reached."),
    text("Cluster-IP", "Address inside the cluster."),
    text("External-IP", "Addresses outside the cluster."),
    text("Port(s)", "Ports, with node ports where there are some."),
    AGE,
    SELECTOR,
];

pub fn kind() -> Kind {
    Kind {
        warn: warnings::service,
        names: NameRule::Label,
        create_on_update: true,
        default,
        create: |service, _| {
            service.set_at(&["status"], json!({"loadBalancer": {}}));
            fill_cluster_ips(service, None);
        },
        update,
        validate: check::validate,
        validate_new: |service, faults| {
            if !faults.are_told_alone() {
                check::validate_annotation(service, None, faults);
            }
        },
        validate_change: check::validate_change,
        claimable: service_claims::claimable,
        before_commit: service_claims::before_commit,
        after_commit: service_claims::after_commit,
        fields: &[("spec.clusterIP", |s| s.str_at(&["spec", "clusterIP"]).to_owned()), ("spec.type", |s| s.str_at(&["spec", "type"]).to_owned())],
        ..Kind::new(namespaced("v1", "services", "Service").short(&["svc"]).in_all().status().sub_of_kind(
            "proxy",
            "v1",
            "ServiceProxyOptions",
            &["create", "delete", "get", "patch", "update"],
        ))
        .table(COLUMNS, cells)
    }
}

fn default(service: &mut Value) {
    let Some(spec) = spec_mut(service) else { return };
    default_empty(spec, "sessionAffinity", "None");
    match spec["sessionAffinity"].as_str() {
        Some("None") => {
            spec.remove("sessionAffinityConfig");
        }
        Some("ClientIP") => {
            let client = ensure_object(ensure_object(spec, "sessionAffinityConfig"), "clientIP");
            default_missing(client, "timeoutSeconds", AFFINITY_SECONDS);
        }
        _ => {}
    }
    default_empty(spec, "type", "ClusterIP");
    for port in each_mut(spec, "ports") {
        default_empty(port, "protocol", "TCP");
        if let Some(number) = port.get("port").cloned() {
            default_empty(port, "targetPort", number);
        }
    }
    let kind = spec["type"].as_str().unwrap_or("").to_owned();
    let has_external_ips = spec.get("externalIPs").and_then(Value::as_array).is_some_and(|l| !l.is_empty());
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && has_external_ips) {
        default_empty(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind != "ExternalName" {
        default_missing(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default_missing(spec, "allocateLoadBalancerNodePorts", true);
    }
}

fn update(new: &mut Value, old: &Value, part: Part, _: &WriteContext<'_>) {
    if part != Part::Main {
        return;
    }
    fill_cluster_ips(new, Some(old));
    keep_allocated(new, old);
    drop_type_dependent(new, old);
}

/// Clients that know only `clusterIP` leave the list of addresses to us.
fn fill_cluster_ips(new: &mut Value, old: Option<&Value>) {
    let ip = new.str_at(&["spec", "clusterIP"]).to_owned();
    let list_empty = new.list_at(&["spec", "clusterIPs"]).is_empty();
    let Some(old) = old else {
        if !ip.is_empty() && list_empty {
            new.set_at(&["spec", "clusterIPs"], json!([ip]));
        }
        return;
    };
    let (old_ip, old_list) = (old.str_at(&["spec", "clusterIP"]), old.at(&["spec", "clusterIPs"]));
    if list_empty && old_ip == ip {
        if let Some(list) = old_list {
            new.set_at(&["spec", "clusterIPs"], list.clone());
        }
    } else if old_ip != ip && same(old_list, new.at(&["spec", "clusterIPs"])) {
        if ip.is_empty() {
            new.remove_at(&["spec", "clusterIPs"]);
        } else {
            new.set_at(&["spec", "clusterIPs"], json!([ip]));
        }
    }
}

/// What the server chose stays when an update leaves it out.
fn keep_allocated(new: &mut Value, old: &Value) {
    if needs_address(old) && needs_address(new) {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if let (true, Some(value)) = (same(new.at(&["spec", field]), None), old.at(&["spec", field])) {
                new.set_at(&["spec", field], value.clone());
            }
        }
    }
    if needs_node_port(old) && needs_node_port(new) {
        let used: HashSet<i64> = ports(new).iter().map(node_port).filter(|p| *p != 0).collect();
        let earlier = by_name(ports(old));
        let Some(spec) = spec_mut(new) else { return };
        for port in each_mut(spec, "ports") {
            let name = port.get("name").and_then(Value::as_str).unwrap_or("");
            let before = earlier.get(name).map_or(0, |(_, port)| node_port(port));
            if before != 0 && !used.contains(&before) {
                default_empty(port, "nodePort", before);
            }
        }
    }
    if needs_health_port(old) && needs_health_port(new) {
        let port = old.i64_at(&["spec", "healthCheckNodePort"]).unwrap_or(0);
        if let Some(spec) = spec_mut(new) {
            default_empty(spec, "healthCheckNodePort", port);
        }
    }
}

/// Fields that only the old type had, unless the client changed them too.
fn drop_type_dependent(new: &mut Value, old: &Value) {
    let unchanged = |new: &Value, field: &str| same(new.at(&["spec", field]), old.at(&["spec", field]));
    let mut dropped: Vec<&str> = Vec::new();
    if needs_address(old) && !needs_address(new) {
        dropped.extend(["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"].iter().filter(|f| unchanged(new, f)));
    }
    if needs_health_port(old) && !needs_health_port(new) && unchanged(new, "healthCheckNodePort") {
        dropped.push("healthCheckNodePort");
    }
    let was_balanced = is_type(old, "LoadBalancer");
    if was_balanced && !is_type(new, "LoadBalancer") {
        dropped.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"].iter().filter(|f| unchanged(new, f)));
    }
    if externally_reachable(old) && !externally_reachable(new) && unchanged(new, "externalTrafficPolicy") {
        dropped.push("externalTrafficPolicy");
    }
    let drop_ports = needs_node_port(old) && !needs_node_port(new) && {
        let before: HashSet<i64> = ports(old).iter().map(node_port).collect();
        ports(new).iter().map(node_port).all(|p| p == 0 || before.contains(&p))
    };
    if !is_type(new, "LoadBalancer") {
        new.set_at(&["status", "loadBalancer"], json!({}));
    }
    let Some(spec) = spec_mut(new) else { return };
    for field in dropped {
        spec.remove(field);
    }
    if drop_ports {
        each_mut(spec, "ports").for_each(|port| {
            port.remove("nodePort");
        });
    }
}

pub fn ports(service: &Value) -> &[Value] {
    service.list_at(&["spec", "ports"])
}

pub fn node_port(port: &Value) -> i64 {
    port.i64_at(&["nodePort"]).unwrap_or(0)
}

pub fn is_type(service: &Value, kind: &str) -> bool {
    service.str_at(&["spec", "type"]) == kind
}

pub fn needs_address(service: &Value) -> bool {
    !is_type(service, "ExternalName")
}

pub fn needs_node_port(service: &Value) -> bool {
    is_type(service, "NodePort") || is_type(service, "LoadBalancer")
}

pub fn needs_health_port(service: &Value) -> bool {
    is_type(service, "LoadBalancer") && service.str_at(&["spec", "externalTrafficPolicy"]) == "Local"
}

pub fn externally_reachable(service: &Value) -> bool {
    needs_node_port(service) || (is_type(service, "ClusterIP") && !service.list_at(&["spec", "externalIPs"]).is_empty())
}

fn cells(service: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let first_ip = service.list_at(&["spec", "clusterIPs"]).first().and_then(Value::as_str).unwrap_or(print::NONE);
    let shown: Vec<String> = ports(service)
        .iter()
        .map(|p| match (p.i64_at(&["port"]).unwrap_or(0), node_port(p), p.str_at(&["protocol"])) {
            (port, 0, protocol) => format!("{port}/{protocol}"),
            (port, node, protocol) => format!("{port}:{node}/{protocol}"),
        })
        .collect();
    vec![
        service.name().into(),
        service.str_at(&["spec", "type"]).into(),
        first_ip.into(),
        external_ip(service).into(),
        if shown.is_empty() { print::NONE.into() } else { shown.join(",").into() },
        print::age(service, now),
        print::labels(service.map_at(&["spec", "selector"])),
    ]
}

fn external_ip(service: &Value) -> String {
    let external: Vec<&str> = service.list_at(&["spec", "externalIPs"]).iter().filter_map(Value::as_str).collect();
    match service.str_at(&["spec", "type"]) {
        "ExternalName" => service.str_at(&["spec", "externalName"]).to_owned(),
        "LoadBalancer" => {
            let mut all = ingress_points(service);
            all.extend(external.into_iter().map(str::to_owned));
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ClusterIP" | "NodePort" if external.is_empty() => print::NONE.to_owned(),
        "ClusterIP" | "NodePort" => external.join(","),
        _ => print::UNKNOWN.to_owned(),
    }
}

/// Addresses in `status.loadBalancer.ingress`, sorted; Ingresses have the same field.
pub fn ingress_points(object: &Value) -> Vec<String> {
    let points = object.list_at(&["status", "loadBalancer", "ingress"]);
    let mut words: Vec<String> = points
        .iter()
        .map(|p| if p.str_at(&["ip"]).is_empty() { p.str_at(&["hostname"]) } else { p.str_at(&["ip"]) })
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    words.sort_unstable();
    words.dedup();
    words
}
