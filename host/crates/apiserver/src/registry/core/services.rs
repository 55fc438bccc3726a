//! `v1` Service: defaults, addresses and ports, what a change of type drops. Validation lies beside.

use std::net::IpAddr;

use pintle_api::names::NameRule;
use pintle_api::object::ObjectExt;
use pintle_api::{Cause, Status};
use serde_json::{Value, json};

use super::services_validate as check;
use crate::registry::allocator::{Allocators, ClaimError, NODE_PORT_FIRST, NODE_PORT_LAST};
use crate::registry::context::WriteContext;
use crate::registry::def::namespaced;
use crate::registry::fields::{default_empty, default_missing, each_mut, ensure_object, same, spec_mut};
use crate::registry::kind::Kind;
use crate::registry::print::{self, AGE, NAME, SELECTOR, text};
use crate::registry::strategy::{Column, Part};

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
        names: NameRule::Label1035,
        create_on_update: true,
        default,
        create: |service, _| {
            service.set_at(&["status"], json!({"loadBalancer": {}}));
            fill_cluster_ips(service, None);
        },
        update,
        validate: check::validate,
        validate_change: check::validate_change,
        before_commit,
        after_commit,
        fields: &[("spec.clusterIP", |s| s.str_at(&["spec", "clusterIP"]).to_owned()), ("spec.type", |s| s.str_at(&["spec", "type"]).to_owned())],
        ..Kind::new(
            namespaced("v1", "services", "Service")
                .short(&["svc"])
                .in_all()
                .status()
                .sub_of_kind("proxy", "v1", "ServiceProxyOptions", &["create", "delete", "get", "patch", "update"]),
        )
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
        let used: Vec<i64> = ports(new).iter().map(node_port).filter(|p| *p != 0).collect();
        let Some(spec) = spec_mut(new) else { return };
        for port in each_mut(spec, "ports") {
            let name = port.get("name").and_then(Value::as_str).unwrap_or("");
            let before = ports(old).iter().find(|p| p.str_at(&["name"]) == name).map_or(0, node_port);
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
        let before: Vec<i64> = ports(old).iter().map(node_port).collect();
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

fn before_commit(new: &mut Value, old: Option<&Value>, context: &WriteContext<'_>) -> Result<(), Status> {
    let claims = claims_of(new);
    let result = allocate(new, old, context);
    if result.is_err() && !context.dry_run {
        // What was picked before the failure goes back, what the old state holds stays.
        release_missing(&claims_of(new), old, context.allocators);
        release_missing(&claims, old, context.allocators);
    }
    result
}

fn after_commit(new: Option<&Value>, old: Option<&Value>, context: &WriteContext<'_>) {
    if let Some(old) = old {
        release_missing(&claims_of(old), new, context.allocators);
    }
}

fn allocate(service: &mut Value, old: Option<&Value>, context: &WriteContext<'_>) -> Result<(), Status> {
    let owner = owner(service);
    let old_claims = old.map(claims_of).unwrap_or_default();
    if needs_address(service) {
        choose_families(service, context)?;
        if service.str_at(&["spec", "clusterIP"]) != "None" {
            allocate_address(service, &owner, &old_claims, context)?;
        }
    }
    if needs_node_port(service) {
        allocate_node_ports(service, &owner, context)?;
    }
    if needs_health_port(service) {
        let asked = service.i64_at(&["spec", "healthCheckNodePort"]).unwrap_or(0);
        let port = claim_or_pick_port(&owner, asked, context).map_err(|e| port_fault(service, "spec.healthCheckNodePort", asked, e))?;
        service.set_at(&["spec", "healthCheckNodePort"], port.into());
    }
    Ok(())
}

/// This cluster has one family of addresses, IPv4; a headless service without selector may still speak of both.
fn choose_families(service: &mut Value, _: &WriteContext<'_>) -> Result<(), Status> {
    let headless_without_selector = service.str_at(&["spec", "clusterIP"]) == "None" && service.map_at(&["spec", "selector"]).is_none_or(|s| s.is_empty());
    if let Some(spec) = spec_mut(service) {
        default_missing(spec, "ipFamilyPolicy", if headless_without_selector { "RequireDualStack" } else { "SingleStack" });
        if same(spec.get("ipFamilies"), None) {
            spec.insert("ipFamilies".to_owned(), json!(["IPv4"]));
        }
    }
    let policy = service.str_at(&["spec", "ipFamilyPolicy"]).to_owned();
    let families: Vec<String> = service.list_at(&["spec", "ipFamilies"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if headless_without_selector {
        if families.len() == 1 && policy != "SingleStack" {
            let other = if families[0] == "IPv4" { "IPv6" } else { "IPv4" };
            service.set_at(&["spec", "ipFamilies"], json!([families[0], other]));
        }
        return Ok(());
    }
    let mut causes = Vec::new();
    if policy == "RequireDualStack" {
        causes.push(Cause::invalid("spec.ipFamilyPolicy", &policy.as_str().into(), "this cluster is not configured for dual-stack services"));
    }
    if policy == "SingleStack" && families.len() > 1 {
        let detail = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified";
        causes.push(Cause::invalid("spec.ipFamilyPolicy", &policy.as_str().into(), detail));
    }
    for (i, family) in families.iter().enumerate().filter(|(_, family)| *family != "IPv4") {
        causes.push(Cause::invalid(format!("spec.ipFamilies[{i}]"), &family.as_str().into(), "not configured on this cluster"));
    }
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid("", "Service", service.name(), causes)) }
}

fn allocate_address(service: &mut Value, owner: &str, held: &Claims, context: &WriteContext<'_>) -> Result<(), Status> {
    let asked = service.list_at(&["spec", "clusterIPs"]).first().and_then(Value::as_str).unwrap_or("").to_owned();
    let address = if asked.is_empty() {
        context.allocators.pick_address(owner, context.dry_run).map_err(|e| address_fault(service, &asked, &e.to_string()))?
    } else {
        let address: IpAddr = asked.parse().map_err(|_| address_fault(service, &asked, "not an IP address"))?;
        if !held.addresses.contains(&address) {
            let network = context.allocators.network();
            context.allocators.claim_address(owner, address, context.dry_run).map_err(|e| {
                let why = match e {
                    ClaimError::OutOfRange(_) => format!("the provided IP ({asked}) is not in the valid range. The range of valid IPs is {network}"),
                    other => format!("failed to allocate IP {asked}: {other}"),
                };
                address_fault(service, &asked, &why)
            })?;
        }
        address
    };
    service.set_at(&["spec", "clusterIP"], address.to_string().into());
    service.set_at(&["spec", "clusterIPs"], json!([address.to_string()]));
    Ok(())
}

fn address_fault(service: &Value, asked: &str, why: &str) -> Status {
    let value = if asked.is_empty() { json!(null) } else { json!([asked]) };
    Status::invalid("", "Service", service.name(), vec![Cause::invalid("spec.clusterIPs", &value, why)])
}

fn allocate_node_ports(service: &mut Value, owner: &str, context: &WriteContext<'_>) -> Result<(), Status> {
    let wants_all = !is_type(service, "LoadBalancer") || service.at(&["spec", "allocateLoadBalancerNodePorts"]) != Some(&Value::Bool(false));
    // One number serves the protocols of one port: DNS has TCP and UDP behind the same node port.
    let mut by_port: Vec<(i64, String, i64)> = Vec::new();
    for i in 0..ports(service).len() {
        let entry = &ports(service)[i];
        let (port, protocol, asked) = (entry.i64_at(&["port"]).unwrap_or(0), entry.str_at(&["protocol"]).to_owned(), node_port(entry));
        if asked == 0 && !wants_all {
            continue;
        }
        let shared = by_port.iter().find(|(p, other, _)| *p == port && *other != protocol).map(|(_, _, number)| *number);
        let asked = if asked == 0 { shared.unwrap_or(0) } else { asked };
        let number = claim_or_pick_port(owner, asked, context).map_err(|e| port_fault(service, &format!("spec.ports[{i}].nodePort"), asked, e))?;
        by_port.push((port, protocol, number));
        service["spec"]["ports"][i]["nodePort"] = number.into();
    }
    Ok(())
}

fn claim_or_pick_port(owner: &str, asked: i64, context: &WriteContext<'_>) -> Result<i64, ClaimError> {
    if asked == 0 {
        return context.allocators.pick_port(owner, context.dry_run).map(i64::from);
    }
    let port = u32::try_from(asked).map_err(|_| ClaimError::OutOfRange("port"))?;
    context.allocators.claim_port(owner, port, context.dry_run).map(|()| asked)
}

fn port_fault(service: &Value, field: &str, asked: i64, fault: ClaimError) -> Status {
    let why = match fault {
        ClaimError::OutOfRange(_) => {
            format!("provided port is not in the valid range. The range of valid ports is {NODE_PORT_FIRST}-{NODE_PORT_LAST}")
        }
        other => other.to_string(),
    };
    Status::invalid("", "Service", service.name(), vec![Cause::invalid(field, &asked.into(), &why)])
}

/// What one state of a service holds.
#[derive(Debug, Default)]
pub struct Claims {
    owner: String,
    addresses: Vec<IpAddr>,
    ports: Vec<u32>,
}

pub fn claims_of(service: &Value) -> Claims {
    let as_port = |n: i64| u32::try_from(n).ok().filter(|p| *p != 0);
    let health = service.i64_at(&["spec", "healthCheckNodePort"]).and_then(as_port);
    Claims {
        owner: owner(service),
        addresses: service.list_at(&["spec", "clusterIPs"]).iter().filter_map(|ip| ip.as_str()?.parse().ok()).collect(),
        ports: ports(service).iter().filter_map(|p| as_port(node_port(p))).chain(health).collect(),
    }
}

impl Claims {
    /// Enters the claims of a stored service; one that clashes was stored before this server knew and is left as it is.
    pub fn reclaim(&self, allocators: &Allocators) {
        for address in &self.addresses {
            if let Err(fault) = allocators.claim_address(&self.owner, *address, false) {
                tracing::warn!(service = self.owner, %address, %fault, "address of a stored service");
            }
        }
        for port in &self.ports {
            if let Err(fault) = allocators.claim_port(&self.owner, *port, false) {
                tracing::warn!(service = self.owner, port, %fault, "node port of a stored service");
            }
        }
    }
}

fn release_missing(claims: &Claims, keeper: Option<&Value>, allocators: &Allocators) {
    let kept = keeper.map(claims_of).unwrap_or_default();
    claims.addresses.iter().filter(|a| !kept.addresses.contains(a)).for_each(|a| allocators.release_address(&claims.owner, *a));
    claims.ports.iter().filter(|p| !kept.ports.contains(p)).for_each(|p| allocators.release_port(&claims.owner, *p));
}

fn owner(service: &Value) -> String {
    format!("{}/{}", service.namespace(), service.name())
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

fn needs_address(service: &Value) -> bool {
    !is_type(service, "ExternalName")
}

fn needs_node_port(service: &Value) -> bool {
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

