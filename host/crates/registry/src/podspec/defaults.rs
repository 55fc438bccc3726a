//! What upstream fills into a pod's spec and into pod templates.

use serde_json::{Value, json};

use super::CONTAINER_LISTS;
use crate::fields::{Fields, default_empty, default_missing, each_mut, ensure_object, object_mut};

const FILE_MODE: i64 = 0o644;
const TERMINATION_GRACE_SECONDS: i64 = 30;
const TOKEN_SECONDS: i64 = 3600;

/// Defaults of a `template` field, found in `parent`.
/// A template that is missing is an empty one: most kinds hold it by value.
pub fn default_template(parent: &mut Fields) {
    let template = ensure_object(parent, "template");
    ensure_object(template, "metadata");
    default_spec(ensure_object(template, "spec"));
}

/// Defaults that pods and templates share.
pub fn default_spec(spec: &mut Fields) {
    default_empty(spec, "dnsPolicy", "ClusterFirst");
    default_empty(spec, "restartPolicy", "Always");
    default_missing(spec, "securityContext", json!({}));
    default_missing(spec, "terminationGracePeriodSeconds", TERMINATION_GRACE_SECONDS);
    default_empty(spec, "schedulerName", "default-scheduler");
    mirror_service_account(spec);
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        default_host_ports(spec);
    }
    each_mut(spec, "volumes").for_each(default_volume);
    for list in CONTAINER_LISTS {
        each_mut(spec, list).for_each(default_container);
    }
}

/// Defaults that only a Pod itself gets.
pub fn default_pod_only(spec: &mut Fields) {
    default_missing(spec, "enableServiceLinks", true);
    for list in ["initContainers", "containers"] {
        for container in each_mut(spec, list) {
            if let Some(resources) = object_mut(container, "resources") {
                requests_from_limits(resources);
            }
        }
    }
    if let Some(resources) = object_mut(spec, "resources") {
        requests_from_limits(resources);
    }
}

/// The old name of the field is kept beside the new one, as old clients read it.
fn mirror_service_account(spec: &mut Fields) {
    let set = |spec: &Fields, key: &str| spec.get(key).and_then(Value::as_str).filter(|s| !s.is_empty()).map(str::to_owned);
    if let Some(name) = set(spec, "serviceAccountName").or_else(|| set(spec, "serviceAccount")) {
        spec.insert("serviceAccountName".to_owned(), name.clone().into());
        spec.insert("serviceAccount".to_owned(), name.into());
    }
}

fn requests_from_limits(resources: &mut Fields) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    if limits.is_empty() {
        return;
    }
    let requests = ensure_object(resources, "requests");
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

fn default_host_ports(spec: &mut Fields) {
    for list in ["initContainers", "containers"] {
        for port in each_mut(spec, list).flat_map(|container| each_mut(container, "ports")) {
            if let Some(number) = port.get("containerPort").cloned() {
                default_empty(port, "hostPort", number);
            }
        }
    }
}

fn default_container(container: &mut Fields) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or("");
    let policy = pull_policy(image);
    default_empty(container, "imagePullPolicy", policy);
    default_empty(container, "terminationMessagePath", "/dev/termination-log");
    default_empty(container, "terminationMessagePolicy", "File");
    default_missing(container, "resources", json!({}));
    for port in each_mut(container, "ports") {
        default_empty(port, "protocol", "TCP");
    }
    for variable in each_mut(container, "env") {
        if let Some(source) = object_mut(variable, "valueFrom") {
            default_field_ref(source);
            if let Some(file) = object_mut(source, "fileKeyRef") {
                default_missing(file, "optional", false);
            }
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = object_mut(container, probe) {
            default_probe(probe);
        }
    }
    if let Some(lifecycle) = object_mut(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = object_mut(lifecycle, hook) {
                default_http_get(hook);
            }
        }
    }
    if let Some(context) = object_mut(container, "securityContext")
        && context.get("procMount").is_some_and(|v| v == "")
    {
        context.insert("procMount".to_owned(), "Default".into());
    }
}

fn default_probe(probe: &mut Fields) {
    default_empty(probe, "timeoutSeconds", 1);
    default_empty(probe, "periodSeconds", 10);
    default_empty(probe, "successThreshold", 1);
    default_empty(probe, "failureThreshold", 3);
    default_http_get(probe);
    if let Some(grpc) = object_mut(probe, "grpc") {
        default_missing(grpc, "service", "");
    }
}

fn default_http_get(handler: &mut Fields) {
    if let Some(get) = object_mut(handler, "httpGet") {
        default_empty(get, "path", "/");
        default_empty(get, "scheme", "HTTP");
    }
}

fn default_field_ref(parent: &mut Fields) {
    if let Some(reference) = object_mut(parent, "fieldRef") {
        default_empty(reference, "apiVersion", "v1");
    }
}

/// Kinds of volume whose fields have defaults; every other kind passes as it came.
fn default_volume(volume: &mut Fields) {
    if !volume.iter().any(|(key, value)| key != "name" && !value.is_null()) {
        volume.insert("emptyDir".to_owned(), json!({}));
        return;
    }
    for kind in ["secret", "configMap"] {
        if let Some(source) = object_mut(volume, kind) {
            default_missing(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(source) = object_mut(volume, "downwardAPI") {
        default_missing(source, "defaultMode", FILE_MODE);
        each_mut(source, "items").for_each(default_field_ref);
    }
    if let Some(source) = object_mut(volume, "projected") {
        default_projected(source);
    }
    if let Some(source) = object_mut(volume, "hostPath") {
        default_missing(source, "type", "");
    }
    if let Some(source) = object_mut(volume, "image") {
        let policy = pull_policy(source.get("reference").and_then(Value::as_str).unwrap_or(""));
        default_empty(source, "pullPolicy", policy);
    }
    if let Some(template) = object_mut(volume, "ephemeral").and_then(|e| object_mut(e, "volumeClaimTemplate")) {
        default_missing(ensure_object(template, "spec"), "volumeMode", "Filesystem");
    }
    default_network_volume(volume);
}

fn default_projected(source: &mut Fields) {
    default_missing(source, "defaultMode", FILE_MODE);
    for projection in each_mut(source, "sources") {
        if let Some(token) = object_mut(projection, "serviceAccountToken") {
            default_missing(token, "expirationSeconds", TOKEN_SECONDS);
        }
        if let Some(fields) = object_mut(projection, "downwardAPI") {
            each_mut(fields, "items").for_each(default_field_ref);
        }
    }
}

/// Shared with PersistentVolumes, whose sources carry the same fields.
pub fn default_network_volume(volume: &mut Fields) {
    if let Some(source) = object_mut(volume, "iscsi") {
        default_empty(source, "iscsiInterface", "default");
    }
    if let Some(source) = object_mut(volume, "rbd") {
        default_empty(source, "pool", "rbd");
        default_empty(source, "user", "admin");
        default_empty(source, "keyring", "/etc/ceph/keyring");
    }
    if let Some(source) = object_mut(volume, "azureDisk") {
        default_missing(source, "cachingMode", "ReadWrite");
        default_missing(source, "kind", "Shared");
        default_missing(source, "fsType", "ext4");
        default_missing(source, "readOnly", false);
    }
    if let Some(source) = object_mut(volume, "scaleIO") {
        default_empty(source, "storageMode", "ThinProvisioned");
        default_empty(source, "fsType", "xfs");
    }
}

/// `Always` for the tag `latest` and for no tag at all, as long as no digest pins the image.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        Some((_, tag)) if tag != "latest" => "IfNotPresent",
        _ => "Always",
    }
}
