//! What upstream warns of when an object is created: taken, but likely not meant. Texts for the `Warning` header, called by the strategies.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::checks::without_leading_zeros;
use super::faults::Path;
use super::fields::is_set;
use super::key_pair;
use super::podspec::warnings as pods;

const RECYCLE: &str =
    "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.";
const MANY_INDEXES: &str = "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able \
                            to track completedIndexes when a big number of indexes fail";
const OLD_LABELS: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", r#"deprecated since v1.14; use "kubernetes.io/arch" instead"#),
    ("beta.kubernetes.io/os", r#"deprecated since v1.14; use "kubernetes.io/os" instead"#),
    ("failure-domain.beta.kubernetes.io/region", r#"deprecated since v1.17; use "topology.kubernetes.io/region" instead"#),
    ("failure-domain.beta.kubernetes.io/zone", r#"deprecated since v1.17; use "topology.kubernetes.io/zone" instead"#),
    ("beta.kubernetes.io/instance-type", r#"deprecated since v1.17; use "node.kubernetes.io/instance-type" instead"#),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
    ("node-role.kubernetes.io/master", r#"use "node-role.kubernetes.io/control-plane" instead"#),
];
const OLD_VOLUME_ANNOTATIONS: [(&str, &str); 2] = [
    ("volume.beta.kubernetes.io/storage-class", r#"deprecated since v1.8; use "storageClassName" attribute instead"#),
    ("volume.beta.kubernetes.io/mount-options", r#"deprecated since v1.31; use "mountOptions" attribute instead"#),
];
const OLD_SOURCES: [(&str, &str); 6] = [
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Kinds whose pods are named after them, with a template at `spec.template`.
pub fn workload(object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut said = if old.is_none() { pod_names(object) } else { Vec::new() };
    template(object, old, &["spec", "template"], &mut said);
    said
}

pub fn daemon_set(set: &Value, old: Option<&Value>) -> Vec<String> {
    let at = ["spec", "template"];
    let mut said = Vec::new();
    if old.is_none_or(|old| old.at(&at) != set.at(&at)) {
        template(set, old, &at, &mut said);
    }
    said
}

pub fn stateful_set(object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut said = Vec::new();
    template(object, old, &["spec", "template"], &mut said);
    let claims = Path::root("spec.volumeClaimTemplates");
    for (i, claim) in object.list_at(&["spec", "volumeClaimTemplates"]).iter().enumerate() {
        // Upstream names the field of an update in this way.
        let here = claims.index(i);
        let here = if old.is_some() { here.field("Spec") } else { here };
        pods::claim_sizes(claim.get("spec").unwrap_or(&Value::Null), &here, &mut said);
    }
    if object.i64_at(&["spec", "revisionHistoryLimit"]).is_some_and(|limit| limit < 0) {
        said.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".to_owned());
    }
    said
}

pub fn job(job: &Value, old: Option<&Value>) -> Vec<String> {
    let mut said = if old.is_none() { pod_names(job) } else { Vec::new() };
    job_spec(job, old, &["spec"], &mut said);
    said
}

pub fn cron_job(job: &Value, old: Option<&Value>) -> Vec<String> {
    let mut said = if old.is_none() { pod_names(job) } else { Vec::new() };
    job_spec(job, old, &["spec", "jobTemplate", "spec"], &mut said);
    if old.is_some() && job.str_at(&["spec", "schedule"]).contains("TZ") {
        let more = "see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details";
        said.push(format!("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, {more}"));
    }
    said
}

fn job_spec(object: &Value, old: Option<&Value>, at: &[&str], said: &mut Vec<String>) {
    let spec = object.at(at).unwrap_or(&Value::Null);
    let is_many = |field: &str, limit: i64| spec.i64_at(&[field]).is_some_and(|n| n > limit);
    let indexed = spec.str_at(&["completionMode"]) == "Indexed";
    if !is_unchanged(object, old) && indexed && is_many("completions", 100_000) && is_many("parallelism", 10_000) {
        said.push(format!("{}: {MANY_INDEXES}", at.join(".")));
    }
    template(object, old, &[at, &["template"]].concat(), said);
}

/// The template there, when it is new or something around it changed.
fn template(object: &Value, old: Option<&Value>, at: &[&str], said: &mut Vec<String>) {
    if is_unchanged(object, old) {
        return;
    }
    if let Some(template) = object.at(at) {
        pods::of(template, Some(&Path::root(&at.join("."))), said);
    }
}

fn is_unchanged(object: &Value, old: Option<&Value>) -> bool {
    let generation = |of: &Value| of.i64_at(&["metadata", "generation"]);
    old.is_some_and(|old| generation(old) == generation(object))
}

fn pod_names(object: &Value) -> Vec<String> {
    let faults = names::dns1123_label(object.name());
    if faults.is_empty() {
        return Vec::new();
    }
    let why = "this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended";
    vec![format!("metadata.name: {why}: [{}]", faults.join(" "))]
}

/// Only of new pods: updates are many, and seldom made by people.
pub fn pod(object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut said = Vec::new();
    if old.is_none() {
        said.extend(pods::name(object));
        pods::of(object, None, &mut said);
    }
    said
}

pub fn pod_template(object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut said = Vec::new();
    template(object, old, &["template"], &mut said);
    said
}

/// What to say of a label of nodes that is old.
pub fn deprecated_label(key: &str) -> Option<&'static str> {
    OLD_LABELS.iter().find(|(label, _)| *label == key).map(|(_, message)| *message)
}

/// Of a node selector's term. `with_values`: its values are looked at as well.
pub fn selector_term(term: &Value, with_values: bool, path: &Path<'_>, said: &mut Vec<String>) {
    let expressions = path.field("matchExpressions");
    for (i, expression) in term.list_at(&["matchExpressions"]).iter().enumerate() {
        let (here, key) = (expressions.index(i), expression.str_at(&["key"]));
        if let Some(message) = deprecated_label(key) {
            said.push(format!("{here}.key: {key} is {message}"));
        }
        for (j, value) in expression.list_at(&["values"]).iter().enumerate().filter(|_| with_values) {
            let value = value.as_str().unwrap_or_default();
            said.extend(names::label_value(value).iter().map(|fault| format!("{here}.values[{j}]: {value} is invalid, {fault}")));
        }
    }
}

/// Of an address that is written in another way than it should be.
pub fn ip(text: &str, path: &Path<'_>, said: &mut Vec<String>) {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
            Some(plain) => said.push(format!("{path}: non-standard IP address {text:?} is invalid: use \"{plain}\"")),
            None if address.to_string() != text => {
                said.push(format!("{path}: IPv6 address {text:?} should be in RFC 5952 canonical format (\"{address}\")"));
            }
            None => {}
        },
        Ok(IpAddr::V4(_)) => {}
        Err(_) => {
            if let Some(plain) = without_leading_zeros(text).and_then(|plain| plain.parse::<IpAddr>().ok()) {
                said.push(format!("{path}: non-standard IP address {text:?} is invalid: use \"{plain}\""));
            }
        }
    }
}

pub fn cidr(text: &str, path: &Path<'_>, said: &mut Vec<String>) {
    let plain = without_leading_zeros(text);
    let Ok(net) = plain.as_deref().unwrap_or(text).parse::<IpNet>() else { return };
    let before = said.len();
    if net.addr() != net.network() {
        let (network, one) = (net.trunc(), net.addr());
        said.push(format!(
            "{path}: CIDR value {text:?} is ambiguous in this context (should be \"{network}\" or \"{one}/{}\"?)",
            net.max_prefix_len()
        ));
    }
    if plain.is_some() {
        said.push(format!("{path}: non-standard CIDR value {text:?} is invalid: use \"{}\"", net.trunc()));
    }
    if said.len() == before && matches!(net, IpNet::V6(_)) && net.to_string() != text {
        said.push(format!("{path}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format (\"{net}\")"));
    }
}

pub fn service(service: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut said = Vec::new();
    let spec = Path::root("spec");
    let (kind, text) = (service.str_at(&["spec", "type"]), |field: &str| service.str_at(&["spec", field]));
    let is_headless = kind == "ClusterIP" && text("clusterIP") == "None";
    let external = service.list_at(&["spec", "externalIPs"]);
    if service.annotation("service.kubernetes.io/topology-aware-hints").is_some() {
        let instead = "please use service.kubernetes.io/topology-mode instead";
        said.push(format!("annotation service.kubernetes.io/topology-aware-hints is deprecated, {instead}"));
    }
    if !matches!(text("clusterIP"), "" | "None") {
        each(service.list_at(&["spec", "clusterIPs"]), &spec.field("clusterIPs"), ip, &mut said);
    }
    if is_headless {
        let ignored = [
            ("loadBalancerIP", !text("loadBalancerIP").is_empty()),
            ("externalIPs", !external.is_empty()),
            ("SessionAffinity", text("sessionAffinity") != "None"),
        ];
        said.extend(ignored.iter().filter(|(_, there)| *there).map(|(field, _)| format!("spec.{field} is ignored for headless services")));
    }
    each(external, &spec.field("externalIPs"), ip, &mut said);
    if !external.is_empty() && !is_headless && kind != "ExternalName" {
        said.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    if !text("loadBalancerIP").is_empty() {
        ip(text("loadBalancerIP"), &spec.field("loadBalancerIP"), &mut said);
    }
    each(service.list_at(&["spec", "loadBalancerSourceRanges"]), &spec.field("loadBalancerSourceRanges"), cidr, &mut said);
    if kind == "ExternalName" && !external.is_empty() {
        said.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if kind != "ExternalName" && !text("externalName").is_empty() {
        said.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if text("trafficDistribution") == "PreferClose" {
        said.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned());
    }
    said
}

fn each(list: &[Value], path: &Path<'_>, look: fn(&str, &Path<'_>, &mut Vec<String>), said: &mut Vec<String>) {
    for (i, value) in list.iter().enumerate() {
        look(value.as_str().unwrap_or_default(), &path.index(i), said);
    }
}

pub fn persistent_volume(volume: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut said = Vec::new();
    for (key, message) in OLD_VOLUME_ANNOTATIONS.iter().filter(|(key, _)| volume.annotation(key).is_some()) {
        said.push(format!("metadata.annotations[{key}]: {message}"));
    }
    if volume.str_at(&["spec", "persistentVolumeReclaimPolicy"]) == "Recycle" {
        said.push(RECYCLE.to_owned());
    }
    let terms = Path::root("spec.nodeAffinity.required.nodeSelectorTerms");
    for (i, term) in volume.list_at(&["spec", "nodeAffinity", "required", "nodeSelectorTerms"]).iter().enumerate() {
        selector_term(term, false, &terms.index(i), &mut said);
    }
    for (source, message) in OLD_SOURCES.iter().filter(|(source, _)| is_set(volume.at(&["spec", source]))) {
        let name = if *source == "storageos" { "storageOS" } else { source };
        said.push(format!("spec.{name}: {message}"));
    }
    said
}

pub fn claim(claim: &Value, _old: Option<&Value>) -> Vec<String> {
    let (class, message) = OLD_VOLUME_ANNOTATIONS[0];
    let mut said = Vec::new();
    if claim.annotation(class).is_some() {
        said.push(format!("metadata.annotations[{class}]: {message}"));
    }
    pods::claim_sizes(claim.get("spec").unwrap_or(&Value::Null), &Path::root("spec"), &mut said);
    said
}

/// Of secrets for TLS: a certificate and a key that no server could use.
pub fn secret(secret: &Value, _old: Option<&Value>) -> Vec<String> {
    if secret.str_at(&["type"]) != "kubernetes.io/tls" {
        return Vec::new();
    }
    let part = |key: &str| STANDARD.decode(secret.str_at(&["data", key])).unwrap_or_default();
    key_pair::fault(&part("tls.crt"), &part("tls.key")).into_iter().collect()
}

/// Of EndpointSlices.
pub fn endpoint_slice_type(slice: &Value) -> Option<String> {
    (slice.str_at(&["addressType"]) == "FQDN").then(|| "spec.addressType: FQDN endpoints are deprecated".to_owned())
}

pub fn service_account(account: &Value, old: Option<&Value>) -> Vec<String> {
    let key = "kubernetes.io/enforce-mountable-secrets";
    let is_new = account.annotation(key).is_some() && old.is_none_or(|old| old.annotation(key).is_none());
    let why = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets";
    if is_new { vec![format!("metadata.annotations[{key}]: {why}")] } else { Vec::new() }
}

pub fn node(node: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut said = Vec::new();
    if !node.str_at(&["spec", "externalID"]).is_empty() {
        said.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
    }
    each(node.list_at(&["spec", "podCIDRs"]), &Path::root("spec.podCIDRs"), cidr, &mut said);
    said
}

pub fn ingress(ingress: &Value, old: Option<&Value>) -> Vec<String> {
    let key = "kubernetes.io/ingress.class";
    let is_new = old.is_none() && ingress.annotation(key).is_some() && !is_set(ingress.at(&["spec", "ingressClassName"]));
    if is_new { vec![format!("annotation {key:?} is deprecated, please use 'spec.ingressClassName' instead")] } else { Vec::new() }
}
