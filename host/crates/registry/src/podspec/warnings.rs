//! What upstream warns of in a pod or a template: taken, but old, without effect, or likely not meant.
//!
//! Called by `registry::warnings` for pods and for every kind with a template. The order is upstream's.

use std::collections::{HashMap, HashSet};

use pintle_api::names;
use pintle_api::object::ObjectExt;
use pintle_api::quantity::Quantity;
use serde_json::Value;

use super::annotations::{self, APPARMOR, SECCOMP_OF_CONTAINER, SECCOMP_OF_POD};
use super::{CONTAINER_LISTS, overlaps};
use crate::faults::Path;
use crate::fields::is_set;
use crate::warnings::{deprecated_label, ip, selector_term};

const OLD_ANNOTATIONS: [(&str, &str); 3] = [
    ("scheduler.alpha.kubernetes.io/critical-pod", r#"non-functional in v1.16+; use the "priorityClassName" field instead"#),
    ("security.alpha.kubernetes.io/sysctls", r#"non-functional in v1.11+; use the "sysctls" field instead"#),
    ("security.alpha.kubernetes.io/unsafe-sysctls", r#"non-functional in v1.11+; use the "sysctls" field instead"#),
];
const OLD_VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
const SECCOMP_IS_A_FIELD: &str = r#"non-functional in v1.27+; use the "seccompProfile" field instead"#;
const APPARMOR_IS_A_FIELD: &str = r#"deprecated since v1.30; use the "appArmorProfile" field instead"#;
/// Entries of a list that are compared with each other. Upstream compares all, which takes it minutes for a body full of ports.
pub(super) const MAX_COMPARED: usize = 1000;
/// Warnings after which nothing more is compared: an answer's headers have room for fewer.
pub(super) const ENOUGH: usize = 100;
/// Quantities of these have no use for a fraction.
const WHOLE_BYTES: [&str; 2] = ["memory", "ephemeral-storage"];

/// `object`: a pod (`path` is `None`) or a template.
pub fn of(object: &Value, path: Option<&Path<'_>>, said: &mut Vec<String>) {
    let (metadata, spec_path) = match path {
        Some(path) => (path.field("metadata.annotations"), path.field("spec")),
        None => (Path::root("metadata.annotations"), Path::root("spec")),
    };
    let spec = object.get("spec").unwrap_or(&Value::Null);
    placement(spec, &spec_path, said);
    for (key, message) in OLD_ANNOTATIONS.iter().filter(|(key, _)| object.annotation(key).is_some()) {
        said.push(format!("{}: {message}", metadata.key(key)));
    }
    volumes(spec, &spec_path, said);
    lists(spec, &spec_path, said);
    whole_bytes(spec.get("overhead"), &spec_path.field("overhead"), said);
    profiles(object, path.is_some(), &metadata, &spec_path, said);
    ports(spec, &spec_path, said);
    // Upstream has put a second in its place in a pod by now.
    if path.is_some() && spec.i64_at(&["terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0) {
        said.push(format!("{spec_path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    null_selectors(spec, &spec_path, said);
    for (i, server) in spec.list_at(&["dnsConfig", "nameservers"]).iter().enumerate() {
        ip(server.as_str().unwrap_or_default(), &spec_path.field("dnsConfig.nameservers").index(i), said);
    }
    for (i, alias) in spec.list_at(&["hostAliases"]).iter().enumerate() {
        ip(alias.str_at(&["ip"]), &spec_path.field("hostAliases").index(i).field("ip"), said);
    }
}

/// What is told of a pod's AppArmor annotations, even of a pod that is refused. Before the fields are made of them.
pub fn of_profiles(pod: &Value) -> Vec<String> {
    let mut said = Vec::new();
    if pod.str_at(&["spec", "os", "name"]) == "windows" {
        return said;
    }
    let of_pod = pod.at(&["spec", "securityContext", "appArmorProfile"]).filter(|profile| !profile.is_null());
    for container in CONTAINER_LISTS.iter().flat_map(|kind| pod.list_at(&["spec", kind])) {
        let key = format!("{APPARMOR}{}", container.str_at(&["name"]));
        let Some(annotation) = pod.annotation(&key) else { continue };
        let has_field = is_set(container.at(&["securityContext", "appArmorProfile"]));
        if !has_field && annotations::apparmor_field(annotation).is_none_or(|field| Some(&field) != of_pod) {
            said.push(format!("metadata.annotations[{key}]: {APPARMOR_IS_A_FIELD}"));
        }
    }
    said
}

fn placement(spec: &Value, path: &Path<'_>, said: &mut Vec<String>) {
    for key in spec.map_at(&["nodeSelector"]).into_iter().flatten().map(|(key, _)| key) {
        if let Some(message) = deprecated_label(key) {
            said.push(format!("{}: {message}", path.field("nodeSelector").key(key)));
        }
    }
    let affinity = path.field("affinity.nodeAffinity");
    let required = affinity.field("requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
    let terms = ["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"];
    for (i, term) in spec.list_at(&terms).iter().enumerate() {
        selector_term(term, false, &required.index(i), said);
    }
    let preferred = affinity.field("preferredDuringSchedulingIgnoredDuringExecution");
    for (i, term) in spec.list_at(&["affinity", "nodeAffinity", "preferredDuringSchedulingIgnoredDuringExecution"]).iter().enumerate() {
        selector_term(term.get("preference").unwrap_or(&Value::Null), true, &preferred.index(i).field("preference"), said);
    }
    let constraints = path.field("topologySpreadConstraints");
    for (i, constraint) in spec.list_at(&["topologySpreadConstraints"]).iter().enumerate() {
        let (here, key) = (constraints.index(i), constraint.str_at(&["topologyKey"]));
        if let Some(message) = deprecated_label(key) {
            said.push(format!("{here}.topologyKey: {key} is {message}"));
        }
        null_selector(constraint, &here, said);
    }
}

fn volumes(spec: &Value, path: &Path<'_>, said: &mut Vec<String>) {
    let list = path.field("volumes");
    for (i, volume) in spec.list_at(&["volumes"]).iter().enumerate() {
        let here = list.index(i);
        for (source, message) in OLD_VOLUMES.iter().filter(|(source, _)| is_set(volume.get(*source))) {
            // The field's name in upstream's words.
            let name = if *source == "storageos" { "storageOS" } else { source };
            said.push(format!("{here}.{name}: {message}"));
        }
        if let Some(claim) = volume.at(&["ephemeral", "volumeClaimTemplate", "spec"]) {
            claim_sizes(claim, &here.field("ephemeral.volumeClaimTemplate.spec"), said);
        }
    }
    overlaps::warn(spec.list_at(&["volumes"]), said);
}

/// Of a claim's `spec`.
pub fn claim_sizes(spec: &Value, path: &Path<'_>, said: &mut Vec<String>) {
    for of in ["requests", "limits"] {
        fraction(spec.at(&["resources", of]), "storage", &path.field("resources").field(of), said);
    }
}

fn lists(spec: &Value, path: &Path<'_>, said: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for (i, alias) in spec.list_at(&["hostAliases"]).iter().enumerate() {
        let ip = alias.str_at(&["ip"]);
        if !seen.insert(ip) {
            said.push(format!("{}.ip: duplicate ip {ip:?}", path.field("hostAliases").index(i)));
        }
    }
    let secrets = spec.list_at(&["imagePullSecrets"]);
    let mut seen = HashSet::new();
    for (i, secret) in secrets.iter().enumerate() {
        let name = secret.str_at(&["name"]);
        if !seen.insert(name) {
            said.push(format!("{}.name: duplicate name {name:?}", path.field("imagePullSecrets").index(i)));
        }
    }
    for (i, _) in secrets.iter().enumerate().filter(|(_, secret)| secret.str_at(&["name"]).is_empty()) {
        said.push(format!("{}.name: invalid empty name \"\"", path.field("imagePullSecrets").index(i)));
    }
}

fn whole_bytes(amounts: Option<&Value>, path: &Path<'_>, said: &mut Vec<String>) {
    for name in WHOLE_BYTES {
        fraction(amounts, name, path, said);
    }
}

fn fraction(amounts: Option<&Value>, name: &str, path: &Path<'_>, said: &mut Vec<String>) {
    let amount = amounts.and_then(|a| a.get(name)).and_then(|value| Quantity::from_value(value).ok());
    if let Some(amount) = amount.filter(|amount| amount.milli_value() % 1000 != 0) {
        said.push(format!("{}: fractional byte value \"{amount}\" is invalid, must be an integer", path.key(name)));
    }
}

/// Annotations in the place of fields, fractions and doubled variables, container by container.
fn profiles(object: &Value, is_template: bool, metadata: &Path<'_>, path: &Path<'_>, said: &mut Vec<String>) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let own = |of: &'_ Value, field: &str| of.at(&["securityContext", field]).filter(|profile| !profile.is_null()).cloned();
    let of_pod = own(spec, "appArmorProfile");
    // Each new pod comes here, and few have annotations: their names are made for those alone.
    let is_annotated = object.map_at(&["metadata", "annotations"]).is_some_and(|all| !all.is_empty());
    if own(spec, "seccompProfile").is_none() && object.annotation(SECCOMP_OF_POD).is_some() {
        said.push(format!("{}: {SECCOMP_IS_A_FIELD}", metadata.key(SECCOMP_OF_POD)));
    }
    for kind in CONTAINER_LISTS {
        let list = path.field(kind);
        for (i, container) in spec.list_at(&[kind]).iter().enumerate() {
            let here = list.index(i);
            if is_annotated {
                let name = container.str_at(&["name"]);
                let key = format!("{SECCOMP_OF_CONTAINER}{name}");
                if own(container, "seccompProfile").is_none() && object.annotation(&key).is_some() {
                    said.push(format!("{}: {SECCOMP_IS_A_FIELD}", metadata.key(&key)));
                }
                let key = format!("{APPARMOR}{name}");
                if let Some(annotation) = object.annotation(&key).filter(|_| is_template && own(container, "appArmorProfile").is_none())
                    && (of_pod.is_none() || of_pod != annotations::apparmor_field(annotation))
                {
                    said.push(format!("{}: {APPARMOR_IS_A_FIELD}", metadata.key(&key)));
                }
            }
            for name in WHOLE_BYTES {
                for of in ["limits", "requests"] {
                    fraction(container.at(&["resources", of]), name, &here.field("resources").field(of), said);
                }
            }
            variables(container.list_at(&["env"]), &here, said);
        }
    }
}

/// A variable that is set again without use of what it was before.
fn variables(list: &[Value], path: &Path<'_>, said: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for (i, variable) in list.iter().enumerate() {
        let (name, value) = (variable.str_at(&["name"]), variable.str_at(&["value"]));
        if seen.insert(name) {
            continue;
        }
        let before = format!("$({name})");
        if is_set(variable.get("valueFrom")) || value == before || !value.contains(&before) {
            let at = path.field("env");
            said.push(format!("{}: hides previous definition of {name:?}, which may be dropped when using apply", at.index(i)));
        }
    }
}

fn ports(spec: &Value, path: &Path<'_>, said: &mut Vec<String>) {
    let mut all = Vec::new();
    for kind in CONTAINER_LISTS {
        for (i, container) in spec.list_at(&[kind]).iter().enumerate() {
            for (j, port) in container.list_at(&["ports"]).iter().enumerate() {
                all.push((format!("{path}.{kind}[{i}].ports[{j}]"), port));
            }
        }
    }
    let number = |port: &Value, field: &str| port.i64_at(&[field]).unwrap_or(0);
    for (i, (place, port)) in all.iter().enumerate().take(MAX_COMPARED) {
        if said.len() >= ENOUGH {
            break;
        }
        let (on, address) = (number(port, "hostPort"), port.str_at(&["hostIP"]));
        if !address.is_empty() && on == 0 {
            let (name, inside, protocol) = (port.str_at(&["name"]), number(port, "containerPort"), port.str_at(&["protocol"]));
            let shown = format!("{{Name:{name} HostPort:0 ContainerPort:{inside} Protocol:{protocol} HostIP:{address}}}");
            said.push(format!("{place}: hostIP set without hostPort: {shown}"));
        }
        let same = |other: &Value| {
            ["containerPort", "protocol"].iter().all(|f| other.get(*f).unwrap_or(&Value::Null) == port.get(*f).unwrap_or(&Value::Null))
        };
        for (other_place, other) in all.iter().take(i).filter(|(_, other)| same(other)) {
            let (other_on, other_address) = (number(other, "hostPort"), other.str_at(&["hostIP"]));
            let what = if on == other_on && address == other_address {
                "duplicate"
            } else if on == 0 || other_on == 0 {
                "overlapping"
            } else if on == other_on && address.is_empty() != other_address.is_empty() {
                "dangerously ambiguous"
            } else {
                continue;
            };
            said.push(format!("{place}: {what} port definition with {other_place}"));
        }
    }
    let mut names: HashMap<&str, &str> = HashMap::new();
    for (place, port) in all.iter().filter(|(_, port)| !port.str_at(&["name"]).is_empty()) {
        let name = port.str_at(&["name"]);
        match names.get(name) {
            Some(first) => said
                .push(format!("{place}: duplicate port name {name:?} with {first}, services and probes that select ports by name will use {first}")),
            None => drop(names.insert(name, place)),
        }
    }
}

fn null_selectors(spec: &Value, path: &Path<'_>, said: &mut Vec<String>) {
    let affinity = path.field("affinity");
    for kind in ["podAffinity", "podAntiAffinity"] {
        let here = affinity.field(kind);
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        for (i, term) in spec.list_at(&["affinity", kind, required]).iter().enumerate() {
            null_selector(term, &here.field(required).index(i), said);
        }
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        for (i, term) in spec.list_at(&["affinity", kind, preferred]).iter().enumerate() {
            null_selector(term.get("podAffinityTerm").unwrap_or(&Value::Null), &here.field(preferred).index(i).field("podAffinityTerm"), said);
        }
    }
}

fn null_selector(of: &Value, path: &Path<'_>, said: &mut Vec<String>) {
    if !is_set(of.get("labelSelector")) {
        said.push(format!("{path}.labelSelector: a null labelSelector results in matching no pod"));
    }
}

/// Of a pod, whose name is its hostname as well.
pub fn name(pod: &Value) -> Option<String> {
    let faults = names::dns1123_label(pod.name());
    let why = "this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended";
    (!faults.is_empty()).then(|| format!("metadata.name: {why}: [{}]", faults.join(" ")))
}
