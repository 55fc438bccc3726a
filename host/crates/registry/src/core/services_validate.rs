//! Validation of Services.

use std::collections::HashSet;

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::services::{externally_reachable, is_type, needs_health_port, node_port, ports};
use crate::checks::{balancer_address, cidr, ip, label_map, one_of, one_of_at, port_or_name};
use crate::faults::{Faults, Path};
use crate::fields::{is_set, same};
use crate::strategy::Part;

const SPEC: Path<'static> = Path::root("spec");
const MAX_AFFINITY_SECONDS: i64 = 86_400;
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const UNCHANGEABLE: &str = "may not change once set";

pub fn validate(service: &Value, faults: &mut Faults) {
    let kind = service.str_at(&["spec", "type"]);
    // Addresses are given before the rest is looked at, so that what is wrong with them is told alone.
    addresses(service, faults);
    if !faults.is_empty() {
        return faults.tell_alone();
    }
    let headless = is_headless(service);
    if ports(service).is_empty() && !headless && kind != "ExternalName" {
        faults.required(&SPEC.field("ports"), "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            faults.invalid_str(&SPEC.field("clusterIPs[0]"), "None", &format!("may not be set to 'None' for {kind} services"));
        }
        "ExternalName" => external_name(service, faults),
        _ => {}
    }
    validate_ports(service, kind, faults);
    label_map(service.at(&["spec", "selector"]), &SPEC.field("selector"), faults);
    session_affinity(service, faults);
    let list = SPEC.field("externalIPs");
    for (i, text) in service.list_at(&["spec", "externalIPs"]).iter().filter_map(Value::as_str).enumerate() {
        ip(text, &list.index(i), faults);
        special_ip(text, &list.index(i), faults);
    }
    one_of(kind, &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"], &SPEC.field("type"), faults);
    balancer_fields(service, faults);
    traffic_policies(service, kind, faults);
}

pub fn validate_change(new: &Value, old: &Value, part: Part, faults: &mut Faults) {
    if part == Part::Status {
        balancer_status(new, faults);
    }
    if part == Part::Main && !faults.are_told_alone() {
        validate_annotation(new, Some(old), faults);
    }
    let was_named = |s: &Value| is_type(s, "ExternalName");
    if part != Part::Main || was_named(new) || was_named(old) || faults.are_told_alone() {
        return;
    }
    let (now_headless, was_headless) = (is_headless(new), is_headless(old));
    if !(now_headless && was_headless) {
        unchanged_list(new, old, "clusterIPs", "primary clusterIP can not be unset", faults);
    }
    if !now_headless && !was_headless {
        unchanged_list(new, old, "ipFamilies", "primary ipFamily can not be unset", faults);
    }
    let balanced = is_type(new, "LoadBalancer") && is_type(old, "LoadBalancer");
    let class = |s: &Value| s.at(&["spec", "loadBalancerClass"]).cloned();
    if balanced && class(new) != class(old) {
        faults.invalid(&SPEC.field("loadBalancerClass"), &class(new).unwrap_or(Value::Null), UNCHANGEABLE);
    }
    let health = |s: &Value| s.i64_at(&["spec", "healthCheckNodePort"]);
    if needs_health_port(new) && needs_health_port(old) && health(new) != health(old) {
        faults.forbidden(&SPEC.field("healthCheckNodePort"), "field is immutable");
    }
}

fn balancer_status(service: &Value, faults: &mut Faults) {
    let list = Path::root("status.loadBalancer.ingress");
    let points = service.list_at(&["status", "loadBalancer", "ingress"]);
    if !points.is_empty() && !is_type(service, "LoadBalancer") {
        faults.forbidden(&list, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for (i, point) in points.iter().enumerate() {
        let here = list.index(i);
        balancer_address(point, &here, faults);
        let (has_ip, mode) = (!point.str_at(&["ip"]).is_empty(), point.get("ipMode").and_then(Value::as_str));
        match mode {
            Some(_) if !has_ip => faults.forbidden(&here.field("ipMode"), "may not be specified when `ip` is not set"),
            Some(mode) if !matches!(mode, "Proxy" | "VIP") => faults.not_supported(&here.field("ipMode"), mode, &["Proxy", "VIP"]),
            _ => {}
        }
    }
}

fn unchanged_list(new: &Value, old: &Value, field: &str, unset: &str, faults: &mut Faults) {
    let (after, before) = (new.list_at(&["spec", field]), old.list_at(&["spec", field]));
    let path = SPEC.field(field);
    let shown = json!(after);
    match (after.first(), before.first()) {
        (None, Some(_)) => faults.invalid(&path.index(0), &shown, unset),
        (Some(a), Some(b)) if a != b => faults.invalid(&path.index(0), &shown, UNCHANGEABLE),
        _ => {}
    }
}

pub fn is_headless(service: &Value) -> bool {
    service.list_at(&["spec", "clusterIPs"]).first().is_some_and(|ip| ip == "None")
}

fn external_name(service: &Value, faults: &mut Faults) {
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if !same(service.at(&["spec", field]), None) {
            faults.forbidden(&SPEC.field(field), "may not be set for ExternalName services");
        }
    }
    let name = service.str_at(&["spec", "externalName"]);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        faults.required(&SPEC.field("externalName"), "");
    } else {
        faults.texts(&SPEC.field("externalName"), name, names::dns1123_subdomain(name));
    }
}

fn validate_ports(service: &Value, kind: &str, faults: &mut Faults) {
    let list = SPEC.field("ports");
    let all = ports(service);
    let (mut names_seen, mut nodes_seen, mut ports_seen) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (i, port) in all.iter().enumerate() {
        let here = list.index(i);
        let (name, protocol) = (port.str_at(&["name"]), port.str_at(&["protocol"]));
        if name.is_empty() {
            if all.len() > 1 {
                faults.required(&here.field("name"), "");
            }
        } else {
            faults.texts(&here.field("name"), name, names::dns1123_label(name));
            if !names_seen.insert(name) {
                faults.duplicate(&here.field("name"), &name.into());
            }
        }
        let number = port.i64_at(&["port"]).unwrap_or(0);
        faults.values(&here.field("port"), &number.into(), names::port_number(number));
        one_of(protocol, &["SCTP", "TCP", "UDP"], &here.field("protocol"), faults);
        port_or_name(port.get("targetPort"), &here.field("targetPort"), faults);
        if let Some(name) = port.get("appProtocol").and_then(Value::as_str) {
            faults.texts(&here.field("appProtocol"), name, names::qualified_name(name));
        }
        let node = node_port(port);
        if node != 0 {
            if kind == "ClusterIP" {
                faults.forbidden(&here.field("nodePort"), "may not be used when `type` is 'ClusterIP'");
            }
            if !nodes_seen.insert((protocol, node)) {
                faults.duplicate(&here.field("nodePort"), &node.into());
            }
        }
        if !ports_seen.insert((protocol, number)) {
            // Upstream shows what it compares as a port that has nothing else.
            let shown = format!("{{\"Name\":\"\",\"Protocol\":{protocol:?},\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\"NodePort\":0}}");
            faults.push(pintle_api::Cause::new(pintle_api::CauseKind::FieldValueDuplicate, here.to_string(), format!("Duplicate value: {shown}")));
        }
    }
}

fn session_affinity(service: &Value, faults: &mut Faults) {
    let affinity = service.str_at(&["spec", "sessionAffinity"]);
    one_of(affinity, &["ClientIP", "None"], &SPEC.field("sessionAffinity"), faults);
    if affinity == "ClientIP" {
        let path = SPEC.field("sessionAffinityConfig.clientIP.timeoutSeconds");
        let seconds = service.i64_at(&["spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds"]).unwrap_or(0);
        if seconds <= 0 || seconds > MAX_AFFINITY_SECONDS {
            let detail = format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}");
            faults.invalid(&path, &seconds.into(), &detail);
        }
    }
}

pub fn addresses(service: &Value, faults: &mut Faults) {
    if is_type(service, "ExternalName") {
        return;
    }
    let list = SPEC.field("clusterIPs");
    let (ip_text, all) = (service.str_at(&["spec", "clusterIP"]), service.list_at(&["spec", "clusterIPs"]));
    let shown = json!(all);
    if ip_text.is_empty() {
        if !all.is_empty() {
            faults.invalid(&list, &shown, "must be empty when `clusterIP` is not specified");
        }
    } else if all.is_empty() {
        faults.required(&list, "");
    } else if all[0] != ip_text {
        faults.invalid(&list, &shown, "first value must match `clusterIP`");
    }
    let families = SPEC.field("ipFamilies");
    let mut seen = HashSet::new();
    for (i, family) in service.list_at(&["spec", "ipFamilies"]).iter().filter_map(Value::as_str).enumerate() {
        if !matches!(family, "IPv4" | "IPv6") {
            faults.not_supported(&families.index(i), family, &["IPv4", "IPv6"]);
        }
        if !seen.insert(family) {
            faults.duplicate(&families.index(i), &family.into());
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    if let Some(word) = service.at(&["spec", "ipFamilyPolicy"]).and_then(Value::as_str).filter(|w| !policies.contains(w)) {
        faults.not_supported(&SPEC.field("ipFamilyPolicy"), word, &policies);
    }
    for (i, text) in all.iter().filter_map(Value::as_str).enumerate() {
        if i == 0 && text == "None" {
            if all.len() > 1 {
                faults.invalid(&list, &shown, "'None' must be the first and only value");
            }
        } else {
            ip(text, &list.index(i), faults);
            family_of_address(service, i, text, &list.index(i), faults);
        }
    }
    if all.len() > 2 {
        faults.invalid(&list, &shown, "may only hold up to 2 values");
    }
    let v6 = all.iter().filter(|ip| ip.as_str().is_some_and(|ip| ip.contains(':'))).count();
    if all.len() == 2 && v6 != 1 && all[0] != "None" {
        faults.invalid(&list, &shown, "may specify no more than one IP for each IP family");
    }
}

fn family_of_address(service: &Value, i: usize, text: &str, path: &Path<'_>, faults: &mut Faults) {
    let family = service.list_at(&["spec", "ipFamilies"]).get(i).and_then(Value::as_str);
    let is_v6 = text.contains(':');
    match family {
        Some(family @ "IPv4") if is_v6 => faults.invalid_str(path, text, &format!("expected an {family} value as indicated by `ipFamilies[{i}]`")),
        Some(family @ "IPv6") if !is_v6 => faults.invalid_str(path, text, &format!("expected an {family} value as indicated by `ipFamilies[{i}]`")),
        _ => {}
    }
}

/// Addresses that can never be another host's.
pub fn special_ip(text: &str, path: &Path<'_>, faults: &mut Faults) {
    let Ok(address) = text.parse::<std::net::IpAddr>() else { return };
    if address.is_unspecified() {
        faults.invalid_str(path, text, &format!("may not be unspecified ({text})"));
    }
    let link_local = match address {
        std::net::IpAddr::V4(v4) => v4.is_link_local(),
        std::net::IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if address.is_loopback() {
        faults.invalid_str(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if link_local {
        faults.invalid_str(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    let is_local_group = match address {
        std::net::IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        std::net::IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    };
    if address.is_multicast() && is_local_group {
        faults.invalid_str(path, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

fn balancer_fields(service: &Value, faults: &mut Faults) {
    let balanced = is_type(service, "LoadBalancer");
    let ranges = service.list_at(&["spec", "loadBalancerSourceRanges"]);
    let list = SPEC.field("LoadBalancerSourceRanges");
    if !ranges.is_empty() && !balanced {
        faults.forbidden(&list, "may only be used when `type` is 'LoadBalancer'");
    }
    for (i, range) in ranges.iter().filter_map(Value::as_str).enumerate() {
        cidr(range.trim(), &list.index(i), faults);
    }
    for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if !balanced && is_set(service.at(&["spec", field])) {
            faults.forbidden(&SPEC.field(field), "may only be used when `type` is 'LoadBalancer'");
        }
    }
}

/// Ranges as clients gave them before there was a field for them.
fn annotated_ranges(service: &Value) -> Option<&Value> {
    service.at(&["metadata", "annotations", SOURCE_RANGES])
}

/// Only where no field rules. Those that stand there already may stay.
pub fn validate_annotation(service: &Value, old: Option<&Value>, faults: &mut Faults) {
    let Some(ranges) = annotated_ranges(service).filter(|_| service.list_at(&["spec", "loadBalancerSourceRanges"]).is_empty()) else { return };
    let (holder, key) = (Path::root("metadata.annotations"), SOURCE_RANGES);
    let path = holder.key(key);
    if !is_type(service, "LoadBalancer") {
        faults.forbidden(&path, "may only be used when `type` is 'LoadBalancer'");
    }
    if old.and_then(annotated_ranges) == Some(ranges) {
        return;
    }
    let text = ranges.as_str().unwrap_or_default().trim();
    for range in text.split(',').filter(|_| !text.is_empty()) {
        cidr(range.trim(), &path, faults);
    }
}

fn traffic_policies(service: &Value, kind: &str, faults: &mut Faults) {
    let path = SPEC.field("externalTrafficPolicy");
    let external = service.str_at(&["spec", "externalTrafficPolicy"]);
    if externally_reachable(service) {
        one_of(external, &["Cluster", "Local"], &path, faults);
    } else if !external.is_empty() {
        faults.invalid_str(&path, external, "may only be set for externally-accessible services");
    }
    let port = service.i64_at(&["spec", "healthCheckNodePort"]).unwrap_or(0);
    let path = SPEC.field("healthCheckNodePort");
    if port != 0 && !needs_health_port(service) {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        faults.invalid(&path, &port.into(), detail);
    } else if port != 0 {
        faults.values(&path, &port.into(), names::port_number(port));
    }
    let spec = service.get("spec").unwrap_or(&Value::Null);
    if kind != "ExternalName" {
        one_of_at(spec, "internalTrafficPolicy", &["Cluster", "Local"], &SPEC, faults);
    }
    let spread = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    if let Some(word) = spec.get("trafficDistribution").and_then(Value::as_str).filter(|w| !spread.contains(w)) {
        faults.not_supported(&SPEC.field("trafficDistribution"), word, &spread);
    }
}
