//! Validation of a container's environment, and of references to fields of the pod, which volumes have as well.

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::resources;
use super::volumes::Known;
use crate::faults::{Faults, Path};

const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

pub fn validate(container: &Value, volumes: &Known<'_>, path: &Path<'_>, faults: &mut Faults) {
    let list = path.field("env");
    for (i, variable) in container.list_at(&["env"]).iter().enumerate() {
        let here = list.index(i);
        let name = variable.str_at(&["name"]);
        if name.is_empty() {
            faults.required(&here.field("name"), "");
        } else {
            faults.texts(&here.field("name"), name, names::env_var_name(name));
        }
        if let Some(source) = variable.get("valueFrom").filter(|s| !s.is_null()) {
            value_from(source, variable.str_at(&["value"]), volumes, &here.field("valueFrom"), faults);
        }
    }
    let list = path.field("envFrom");
    for (i, source) in container.list_at(&["envFrom"]).iter().enumerate() {
        let here = list.index(i);
        let prefix = source.str_at(&["prefix"]);
        if !prefix.is_empty() {
            faults.texts(&here.field("prefix"), prefix, names::env_var_name(prefix));
        }
        let mut sources = 0;
        for kind in ["configMapRef", "secretRef"] {
            let Some(reference) = source.get(kind).filter(|r| !r.is_null()) else { continue };
            sources += 1;
            let name = reference.str_at(&["name"]);
            let at = here.field(kind);
            if name.is_empty() {
                faults.required(&at.field("name"), "");
            } else {
                faults.texts(&at.field("name"), name, pintle_api::names::NameRule::Subdomain.check(name, true));
            }
        }
        match sources {
            0 => faults.invalid_str(&list, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => faults.invalid_str(&list, "", "may not have more than one field specified at a time"),
        }
    }
}

fn value_from(source: &Value, value: &str, volumes: &Known<'_>, path: &Path<'_>, faults: &mut Faults) {
    let mut sources = 0;
    for (kind, part) in source.as_object().into_iter().flatten().filter(|(_, part)| !part.is_null()) {
        sources += 1;
        let here = path.field(kind);
        match kind.as_str() {
            "fieldRef" => field_ref(part, &ENV_FIELDS, &here, faults),
            "resourceFieldRef" => resource_field_ref(part, false, &here, faults),
            "configMapKeyRef" | "secretKeyRef" => {
                let (name, key) = (part.str_at(&["name"]), part.str_at(&["key"]));
                faults.texts(&here.field("name"), name, names::dns1123_subdomain(name));
                if key.is_empty() {
                    faults.required(&here.field("key"), "");
                } else {
                    faults.texts(&here.field("key"), key, names::config_map_key(key));
                }
            }
            "fileKeyRef" => {
                for field in ["key", "volumeName", "path"].iter().filter(|f| part.str_at(&[f]).is_empty()) {
                    faults.required(&here.field(field), "");
                }
                let volume = part.str_at(&["volumeName"]);
                if !volume.is_empty() && !volumes.contains_key(volume) {
                    faults.not_found(&here.field("volumeName"), &volume.into());
                }
            }
            _ => {}
        }
    }
    if sources == 0 {
        let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        faults.invalid_str(path, "", detail);
    } else if !value.is_empty() {
        faults.invalid_str(path, "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        faults.invalid_str(path, "", "may not have more than one field specified at a time");
    }
}

/// A reference to a field of the pod, with or without a subscript.
pub fn field_ref(reference: &Value, supported: &[&str], path: &Path<'_>, faults: &mut Faults) {
    if reference.str_at(&["apiVersion"]).is_empty() {
        return faults.required(&path.field("apiVersion"), "");
    }
    let field = reference.str_at(&["fieldPath"]);
    if field.is_empty() {
        return faults.required(&path.field("fieldPath"), "");
    }
    let converting =
        |why: String, faults: &mut Faults| faults.invalid_str(&path.field("fieldPath"), field, &format!("error converting fieldPath: {why}"));
    let version = reference.str_at(&["apiVersion"]);
    if version != "v1" {
        return converting(format!("unsupported pod version: {version}"), faults);
    }
    let subscript = field.strip_suffix("']").and_then(|f| f.split_once("['"));
    match subscript {
        Some(("metadata.annotations", key)) => {
            let key = key.to_ascii_lowercase();
            faults.texts(path, &key, names::qualified_name(&key));
        }
        Some(("metadata.labels", key)) => faults.texts(path, key, names::qualified_name(key)),
        Some(_) => converting(format!("field label does not support subscript: {field}"), faults),
        None if supported.contains(&field) => {}
        None if is_known_field(field) => faults.not_supported(&path.field("fieldPath"), field, supported),
        None => converting(format!("field label not supported: {field}"), faults),
    }
}

fn is_known_field(field: &str) -> bool {
    ENV_FIELDS.contains(&field)
        || matches!(field, "metadata.annotations" | "metadata.labels" | "spec.restartPolicy" | "spec.schedulerName" | "status.phase")
}

pub fn resource_field_ref(reference: &Value, in_volume: bool, path: &Path<'_>, faults: &mut Faults) {
    const RESOURCES: [&str; 6] =
        ["limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"];
    let resource = reference.str_at(&["resource"]);
    if in_volume && reference.str_at(&["containerName"]).is_empty() {
        faults.required(&path.field("containerName"), "");
    } else if resource.is_empty() {
        faults.required(&path.field("resource"), "");
    } else if !RESOURCES.contains(&resource) && !resource.starts_with("limits.hugepages-") && !resource.starts_with("requests.hugepages-") {
        faults.not_supported(&path.field("resource"), resource, &RESOURCES);
    }
    resources::divisor(resource, reference.get("divisor"), path, faults);
}
