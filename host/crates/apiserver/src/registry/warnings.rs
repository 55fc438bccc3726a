//! What upstream warns of when an object is created: taken, but likely not meant. Texts for the `Warning` header, called by the strategies.

use std::collections::{HashMap, HashSet};

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::fields::is_set;

const RECYCLE: &str =
    "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.";

/// Kinds whose pods are named after them, with a template at `spec.template`.
pub fn workload(object: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_some() {
        return Vec::new();
    }
    let mut said = pod_names(object);
    let template = object.at(&["spec", "template", "spec"]).unwrap_or(&Value::Null);
    pod_spec(template, "spec.template.spec", &mut said);
    said
}

/// The same without a look at the template.
pub fn named_pods(object: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_some() { Vec::new() } else { pod_names(object) }
}

fn pod_names(object: &Value) -> Vec<String> {
    let faults = names::dns1123_label(object.name());
    if faults.is_empty() {
        return Vec::new();
    }
    let why = "this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended";
    vec![format!("metadata.name: {why}: [{}]", faults.join(" "))]
}

pub fn pod(object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut said = Vec::new();
    if old.is_none() {
        pod_spec(object.get("spec").unwrap_or(&Value::Null), "spec", &mut said);
    }
    said
}

fn pod_spec(spec: &Value, path: &str, said: &mut Vec<String>) {
    null_selectors(spec, path, said);
    for volume in spec.list_at(&["volumes"]) {
        let projected = volume.get("projected").filter(|p| !p.is_null());
        let is_empty = |source: &Value| source.as_object().is_none_or(|s| s.values().all(Value::is_null));
        if projected.is_some_and(|p| p.list_at(&["sources"]).iter().any(is_empty)) {
            said.push(format!("volume {:?} (Projected) has no sources provided", volume.str_at(&["name"])));
        }
    }
    let mut seen = HashSet::new();
    for (i, secret) in spec.list_at(&["imagePullSecrets"]).iter().enumerate() {
        let name = secret.str_at(&["name"]);
        if name.is_empty() {
            said.push(format!("{path}.imagePullSecrets[{i}].name: invalid empty name \"\""));
        } else if !seen.insert(name) {
            said.push(format!("{path}.imagePullSecrets[{i}].name: duplicate name {name:?}"));
        }
    }
    for (i, container) in spec.list_at(&["containers"]).iter().enumerate() {
        ports(container.list_at(&["ports"]), &format!("{path}.containers[{i}].ports"), said);
    }
}

fn null_selectors(spec: &Value, path: &str, said: &mut Vec<String>) {
    let mut look = |term: &Value, place: String| {
        if !is_set(term.get("labelSelector")) {
            said.push(format!("{place}.labelSelector: a null labelSelector results in matching no pod"));
        }
    };
    for kind in ["podAffinity", "podAntiAffinity"] {
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        for (i, term) in spec.list_at(&["affinity", kind, required]).iter().enumerate() {
            look(term, format!("{path}.affinity.{kind}.{required}[{i}]"));
        }
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        for (i, term) in spec.list_at(&["affinity", kind, preferred]).iter().enumerate() {
            look(term.get("podAffinityTerm").unwrap_or(&Value::Null), format!("{path}.affinity.{kind}.{preferred}[{i}].podAffinityTerm"));
        }
    }
    for (i, constraint) in spec.list_at(&["topologySpreadConstraints"]).iter().enumerate() {
        look(constraint, format!("{path}.topologySpreadConstraints[{i}]"));
    }
}

fn ports(ports: &[Value], path: &str, said: &mut Vec<String>) {
    let mut first = HashMap::new();
    for (i, port) in ports.iter().enumerate() {
        let key = ["containerPort", "protocol", "hostPort", "hostIP"].map(|field| port.get(field).filter(|v| !v.is_null()));
        let earlier = *first.entry(key).or_insert(i);
        if earlier < i {
            said.push(format!("{path}[{i}]: duplicate port definition with {path}[{earlier}]"));
        }
    }
}

pub fn service(service: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut said = Vec::new();
    if service.annotation("service.kubernetes.io/topology-aware-hints").is_some() {
        let instead = "please use service.kubernetes.io/topology-mode instead";
        said.push(format!("annotation service.kubernetes.io/topology-aware-hints is deprecated, {instead}"));
    }
    if !service.list_at(&["spec", "externalIPs"]).is_empty() {
        said.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    if !service.str_at(&["spec", "externalName"]).is_empty() && service.str_at(&["spec", "type"]) != "ExternalName" {
        said.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if service.str_at(&["spec", "trafficDistribution"]) == "PreferClose" {
        said.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned());
    }
    said
}

pub fn persistent_volume(volume: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut said = Vec::new();
    if volume.str_at(&["spec", "persistentVolumeReclaimPolicy"]) == "Recycle" {
        said.push(RECYCLE.to_owned());
    }
    for source in ["cephfs", "rbd"].iter().filter(|source| is_set(volume.at(&["spec", source]))) {
        said.push(format!("spec.{source}: deprecated in v1.28, non-functional in v1.31+"));
    }
    said
}
