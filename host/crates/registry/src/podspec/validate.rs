//! Validation of a whole pod spec. The parts lie beside: containers, volumes, resources, affinity, security.

use std::collections::HashSet;

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::{affinity, containers, resources, security, system, volumes};
use crate::checks::{ip, label_map, nonnegative_quantity, one_of};
use crate::faults::{Faults, Path};
use crate::fields::is_set;
use crate::internal;

const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCH_PATHS: usize = 32;
const MAX_SEARCH_LIST_BYTES: usize = 2048;
const UNDERSCORES: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an \
                           alphanumeric character (e.g. 'example.com', regex used for validation is \
                           '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";

/// Where the spec lies.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub is_pod: bool,
    pub pod_name: &'a str,
}

/// What the checks of containers need to know of the pod around them.
pub struct Around<'a> {
    pub volumes: volumes::Known<'a>,
    pub claims: HashSet<&'a str>,
    pub grace_seconds: Option<i64>,
    pub restart_policy: &'a str,
    pub host_users: bool,
    pub os: &'a str,
    pub is_pod: bool,
}

pub fn validate_spec(spec: &Value, path: &Path<'_>, context: Context<'_>, faults: &mut Faults) {
    let around = Around {
        volumes: volumes::validate(spec.list_at(&["volumes"]), context.pod_name, &path.field("volumes"), faults),
        claims: spec.list_at(&["resourceClaims"]).iter().map(|c| c.str_at(&["name"])).collect(),
        grace_seconds: spec.i64_at(&["terminationGracePeriodSeconds"]),
        restart_policy: spec.str_at(&["restartPolicy"]),
        host_users: spec.get("hostUsers") != Some(&Value::Bool(false)),
        os: spec.str_at(&["os", "name"]),
        is_pod: context.is_pod,
    };
    resource_claims(spec, path, faults);
    containers::validate_all(spec, &around, path, faults);
    resources::validate_of_pod(spec, &around.claims, &path.field("resources"), faults);
    host_network_ports(spec, context.is_pod, path, faults);
    one_of(around.restart_policy, &["Always", "OnFailure", "Never"], &path.field("restartPolicy"), faults);
    let dns_policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(spec.str_at(&["dnsPolicy"]), &dns_policies, &path.field("dnsPolicy"), faults);
    label_map(spec.get("nodeSelector"), &path.field("nodeSelector"), faults);
    security::validate_pod(spec, path, faults);
    affinity::validate(spec.get("affinity"), &path.field("affinity"), faults);
    dns_config(spec, &path.field("dnsConfig"), faults);
    gates(spec, path, faults);
    affinity::spread_constraints(spec.list_at(&["topologySpreadConstraints"]), &path.field("topologySpreadConstraints"), faults);
    system::validate_host_processes(spec, path, faults);
    single_names(spec, path, faults);
    deadline(spec, path, faults);
    affinity::tolerations(spec.list_at(&["tolerations"]), &path.field("tolerations"), faults);
    host_aliases(spec, &path.field("hostAliases"), faults);
    if let Some(policy) = spec.get("preemptionPolicy").and_then(Value::as_str) {
        one_of(policy, &["PreemptLowerPriority", "Never"], &path.field("preemptionPolicy"), faults);
    }
    let overhead = path.field("overhead.limits");
    for (name, value) in spec.map_at(&["overhead"]).into_iter().flatten() {
        nonnegative_quantity(value, &overhead.key(name), faults);
    }
    system::validate_os(spec, path, faults);
}

fn resource_claims(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let list = path.field("resourceClaims");
    let mut seen = HashSet::new();
    for (i, claim) in spec.list_at(&["resourceClaims"]).iter().enumerate() {
        let here = list.index(i);
        let name = claim.str_at(&["name"]);
        if name.is_empty() {
            faults.required(&here.field("name"), "");
        } else if !seen.insert(name) {
            faults.duplicate(&here.field("name"), &name.into());
        } else {
            faults.texts(&here.field("name"), name, names::dns1123_label(name));
        }
        let sources = [claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName")];
        match sources.iter().filter(|s| is_set(**s)).count() {
            0 => faults.invalid_shown(
                &here,
                &internal::shown(claim, "core.PodResourceClaim"),
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            ),
            1 => {}
            _ => {
                let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                faults.invalid_shown(&here, &internal::shown(claim, "core.PodResourceClaim"), detail);
            }
        }
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            if let Some(name) = claim.get(field).and_then(Value::as_str) {
                faults.texts(&here.field(field), name, names::dns1123_subdomain(name));
            }
        }
    }
}

fn host_network_ports(spec: &Value, is_pod: bool, path: &Path<'_>, faults: &mut Faults) {
    if !spec.bool_at(&["hostNetwork"]) {
        return;
    }
    let list = path.field("containers");
    for (i, container) in spec.list_at(&["containers"]).iter().enumerate() {
        let here = list.index(i);
        let ports = here.field("ports");
        for (j, port) in container.list_at(&["ports"]).iter().enumerate() {
            let (host, inner) = (port.i64_at(&["hostPort"]).unwrap_or(0), port.i64_at(&["containerPort"]).unwrap_or(0));
            if (is_pod || host != 0) && host != inner {
                faults.invalid(&ports.index(j).field("hostPort"), &host.into(), "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
}

fn dns_config(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let config = spec.get("dnsConfig").filter(|c| !c.is_null());
    let servers = config.map_or(&[][..], |c| c.list_at(&["nameservers"]));
    if spec.str_at(&["dnsPolicy"]) == "None" {
        if config.is_none() {
            return faults.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return faults.required(&path.field("nameservers"), detail);
        }
    }
    let Some(config) = config else { return };
    let server_path = path.field("nameservers");
    if servers.len() > MAX_NAMESERVERS {
        let detail = format!("must not have more than {MAX_NAMESERVERS} nameservers");
        faults.invalid(&server_path, &config["nameservers"], &detail);
    }
    for (i, server) in servers.iter().enumerate() {
        ip(server.as_str().unwrap_or(""), &server_path.index(i), faults);
    }
    dns_searches(config, &path.field("searches"), faults);
    let options = path.field("options");
    for (i, option) in config.list_at(&["options"]).iter().enumerate() {
        if option.str_at(&["name"]).is_empty() {
            faults.required(&options.index(i), "must not be empty");
        }
    }
}

fn dns_searches(config: &Value, path: &Path<'_>, faults: &mut Faults) {
    let searches = config.list_at(&["searches"]);
    if searches.len() > MAX_SEARCH_PATHS {
        faults.invalid(path, &config["searches"], &format!("must not have more than {MAX_SEARCH_PATHS} search paths"));
    }
    let bytes: usize = searches.iter().filter_map(Value::as_str).map(|s| s.len() + 1).sum();
    if bytes.saturating_sub(1) > MAX_SEARCH_LIST_BYTES {
        let detail = format!("must not have more than {MAX_SEARCH_LIST_BYTES} characters (including spaces) in the search list");
        faults.invalid(path, &config["searches"], &detail);
    }
    for (i, search) in searches.iter().filter_map(Value::as_str).enumerate().filter(|(_, s)| *s != ".") {
        let name = search.strip_suffix('.').unwrap_or(search);
        faults.texts(&path.index(i), search, subdomain_with_underscores(name));
    }
}

/// A subdomain whose labels may have underscores, also at their beginning.
fn subdomain_with_underscores(name: &str) -> Vec<String> {
    let plain: Vec<String> = name.split('.').map(|part| part.strip_prefix('_').unwrap_or(part).replace('_', "-")).collect();
    let faults = names::dns1123_subdomain(&plain.join("."));
    let is_shape = |fault: &str| fault.starts_with("a lowercase RFC 1123 subdomain");
    faults.into_iter().map(|fault| if is_shape(&fault) { UNDERSCORES.to_owned() } else { fault }).collect()
}

fn gates(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let list = path.field("readinessGates");
    for (i, gate) in spec.list_at(&["readinessGates"]).iter().enumerate() {
        let kind = gate.str_at(&["conditionType"]);
        faults.texts(&list.index(i).field("conditionType"), kind, names::qualified_name(kind));
    }
    let list = path.field("schedulingGates");
    let mut seen = HashSet::new();
    for (i, gate) in spec.list_at(&["schedulingGates"]).iter().enumerate() {
        let name = gate.str_at(&["name"]);
        faults.texts(&list.index(i), name, names::qualified_name(name));
        if !seen.insert(name) {
            faults.duplicate(&list.index(i), &name.into());
        }
    }
}

type NameCheck = fn(&str) -> Vec<String>;

fn single_names(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let rules: [(&str, NameCheck); 6] = [
        ("serviceAccountName", names::dns1123_subdomain),
        ("nodeName", names::dns1123_subdomain),
        ("hostname", names::dns1123_label),
        ("subdomain", names::dns1123_label),
        ("priorityClassName", names::dns1123_subdomain),
        ("runtimeClassName", names::dns1123_subdomain),
    ];
    for (field, check) in rules {
        let name = spec.str_at(&[field]);
        if !name.is_empty() {
            faults.texts(&path.field(field), name, check(name));
        }
    }
    if let Some(name) = spec.get("hostnameOverride").and_then(Value::as_str) {
        hostname_override(spec, name, &path.field("hostnameOverride"), faults);
    }
}

fn hostname_override(spec: &Value, name: &str, path: &Path<'_>, faults: &mut Faults) {
    const MAX_HOSTNAME_BYTES: usize = 64;
    if spec.bool_at(&["setHostnameAsFQDN"]) {
        faults.forbidden(path, "may not be specified when setHostnameAsFQDN is true");
    }
    if spec.bool_at(&["hostNetwork"]) {
        faults.forbidden(path, "may not be specified when hostNetwork is true");
    }
    if name.len() > MAX_HOSTNAME_BYTES {
        faults.too_long(path, MAX_HOSTNAME_BYTES);
    }
    faults.texts(path, name, names::dns1123_subdomain(name));
}

fn deadline(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    if let Some(value) = spec.get("activeDeadlineSeconds").filter(|v| !v.is_null()) {
        let messages = names::in_range(value.as_i64().unwrap_or(0), 1, i64::from(i32::MAX));
        faults.values(&path.field("activeDeadlineSeconds"), value, messages);
    }
}

fn host_aliases(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    for (i, alias) in spec.list_at(&["hostAliases"]).iter().enumerate() {
        let here = path.index(i);
        ip(alias.str_at(&["ip"]), &here.field("ip"), faults);
        let list = here.field("hostnames");
        for (j, name) in alias.list_at(&["hostnames"]).iter().filter_map(Value::as_str).enumerate() {
            faults.texts(&list.index(j), name, names::dns1123_subdomain(name));
        }
    }
}
