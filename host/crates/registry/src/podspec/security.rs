//! Validation of security contexts of pods and containers.

use std::collections::HashSet;

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::checks::one_of_if_set;
use crate::faults::{Faults, Path};
use crate::fields::is_set;
use crate::internal;

const MAX_SYSCTL_BYTES: usize = 253;

pub fn validate_pod(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    if spec.get("hostUsers") == Some(&Value::Bool(false)) {
        for (field, shown) in [("hostPID", "HostPID"), ("hostIPC", "HostIPC"), ("hostNetwork", "hostNetwork")] {
            if spec.bool_at(&[field]) {
                faults.forbidden(&path.field(shown), "when `hostUsers` is false");
            }
        }
    }
    let Some(context) = spec.get("securityContext").filter(|c| !c.is_null()) else { return };
    let here = path.field("securityContext");
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(context.get(field), &here.field(field), faults);
    }
    let groups = here.field("supplementalGroups");
    for (i, group) in context.list_at(&["supplementalGroups"]).iter().enumerate() {
        id(Some(group), &groups.index(i), faults);
    }
    if spec.bool_at(&["shareProcessNamespace"]) && spec.bool_at(&["hostPID"]) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        faults.invalid(&here.field("shareProcessNamespace"), &Value::Bool(true), detail);
    }
    sysctls(context.list_at(&["sysctls"]), spec, &here.field("sysctls"), faults);
    let field = "fsGroupChangePolicy";
    one_of_if_set(context.str_at(&[field]), &["Always", "OnRootMismatch"], &here.field(field), faults);
    let field = "supplementalGroupsPolicy";
    one_of_if_set(context.str_at(&[field]), &["Merge", "Strict"], &here.field(field), faults);
    // SELinuxMount is off by default in 1.36, and without it upstream takes nothing else.
    one_of_if_set(context.str_at(&["seLinuxChangePolicy"]), &["Recursive"], &here.field("seLinuxChangePolicy"), faults);
    profiles(context, &here, faults);
}

pub fn validate_container(context: &Value, host_users: bool, path: &Path<'_>, faults: &mut Faults) {
    for field in ["runAsUser", "runAsGroup"] {
        id(context.get(field), &path.field(field), faults);
    }
    if let Some(mount) = context.get("procMount").and_then(Value::as_str) {
        if !matches!(mount, "Default" | "Unmasked") {
            faults.not_supported(&path.field("procMount"), mount, &["Default", "Unmasked"]);
        } else if host_users && mount == "Unmasked" {
            faults.invalid_str(&path.field("procMount"), mount, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    if context.get("allowPrivilegeEscalation") == Some(&Value::Bool(false)) {
        let shown = || internal::shown(context, "core.SecurityContext");
        if context.bool_at(&["privileged"]) {
            faults.invalid_shown(path, &shown(), "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        if context.list_at(&["capabilities", "add"]).iter().any(|c| c == "CAP_SYS_ADMIN") {
            faults.invalid_shown(path, &shown(), "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
        }
    }
    profiles(context, path, faults);
}

fn id(value: Option<&Value>, path: &Path<'_>, faults: &mut Faults) {
    if let Some(value) = value.filter(|v| !v.is_null()) {
        faults.values(path, value, names::in_range(value.as_i64().unwrap_or(-1), 0, i64::from(i32::MAX)));
    }
}

fn profiles(context: &Value, path: &Path<'_>, faults: &mut Faults) {
    if let Some(options) = context.get("windowsOptions").filter(|o| !o.is_null()) {
        windows_options(options, &path.field("windowsOptions"), faults);
    }
    for (field, local) in [("seccompProfile", "localhostProfile"), ("appArmorProfile", "localhostProfile")] {
        let Some(profile) = context.get(field).filter(|p| !p.is_null()) else { continue };
        let here = path.field(field);
        let kind = profile.str_at(&["type"]);
        let file = profile.get(local);
        match kind {
            "" => faults.required(
                &here.field("type"),
                if field == "seccompProfile" {
                    "type is required when seccompProfile is set"
                } else {
                    "type is required when appArmorProfile is set"
                },
            ),
            "Localhost" if !is_set(file) => {
                let detail = if field == "seccompProfile" {
                    "must be set when seccomp type is Localhost"
                } else {
                    "must be set when AppArmor type is Localhost"
                };
                faults.required(&here.field(local), detail);
            }
            "RuntimeDefault" | "Unconfined" if is_set(file) => {
                if field == "seccompProfile" {
                    let shown = internal::shown(profile, "core.SeccompProfile");
                    faults.invalid_shown(&here.field(local), &shown, "can only be set when seccomp type is Localhost");
                } else {
                    faults.invalid(&here.field(local), file.unwrap_or(&Value::Null), "can only be set when AppArmor type is Localhost");
                }
            }
            "Localhost" => local_profile(field, file.and_then(Value::as_str).unwrap_or(""), &here.field(local), faults),
            "RuntimeDefault" | "Unconfined" => {}
            other => faults.not_supported(&here.field("type"), other, &["Localhost", "RuntimeDefault", "Unconfined"]),
        }
    }
}

fn local_profile(kind: &str, file: &str, path: &Path<'_>, faults: &mut Faults) {
    if kind == "seccompProfile" {
        if file.starts_with('/') {
            faults.invalid_str(path, file, "must be a relative path");
        }
        super::volumes::no_backsteps(file, path, faults);
    } else if file.trim() != file {
        faults.invalid_str(path, file, "must not be padded with whitespace");
    } else if file.is_empty() {
        faults.required(path, "must be set when AppArmor type is Localhost");
    }
}

fn windows_options(options: &Value, path: &Path<'_>, faults: &mut Faults) {
    const FORBIDDEN: &str = "\"/\\:;|=,+*?<>@[]";
    let text = |field: &str| options.get(field).and_then(Value::as_str);
    if let Some(name) = text("gmsaCredentialSpecName") {
        let here = path.field("gmsaCredentialSpecName");
        faults.texts(&here, name, names::dns1123_subdomain(name));
    }
    if text("gmsaCredentialSpec") == Some("") {
        faults.invalid_str(&path.field("gmsaCredentialSpec"), "", "gmsaCredentialSpec cannot be an empty string");
    }
    let here = path.field("runAsUserName");
    match text("runAsUserName") {
        Some("") => faults.invalid_str(&here, "", "runAsUserName cannot be an empty string"),
        Some(name) if name.rsplit('\\').next().unwrap_or("").contains(|c: char| FORBIDDEN.contains(c)) => {
            let said = format!("runAsUserName's User cannot contain the following characters: {FORBIDDEN}");
            faults.invalid_str(&here, name, &said);
        }
        _ => {}
    }
}

/// Settings of a namespace that the pod shares with its node are the node's.
fn shared_with(name: &str) -> Option<&'static str> {
    let name = name.replace('/', ".");
    let is_ipc = name.starts_with("kernel.shm") || name.starts_with("kernel.msg") || name == "kernel.sem" || name.starts_with("fs.mqueue.");
    match name {
        _ if is_ipc => Some("hostIPC"),
        name if name.starts_with("net.") => Some("hostNetwork"),
        _ => None,
    }
}

fn sysctls(list: &[Value], spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (i, sysctl) in list.iter().enumerate() {
        let name = sysctl.str_at(&["name"]);
        let here = path.index(i);
        if name.is_empty() {
            faults.required(&here.field("name"), "");
        } else if !is_sysctl(name) {
            let detail = format!(
                "must have at most {MAX_SYSCTL_BYTES} characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            );
            faults.invalid_str(&here.field("name"), name, &detail);
        } else if !seen.insert(name) {
            faults.duplicate(&here.field("name"), &name.into());
        }
        if let Some(field) = shared_with(name).filter(|field| spec.bool_at(&[field])) {
            faults.invalid_str(&here.field("name"), name, &format!("may not be specified when '{field}' is true"));
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let part = |part: &str| {
        let bytes = part.as_bytes();
        !bytes.is_empty() && edge(bytes[0]) && edge(bytes[bytes.len() - 1]) && bytes.iter().all(|b| edge(*b) || matches!(b, b'-' | b'_'))
    };
    name.len() <= MAX_SYSCTL_BYTES && name.split(['.', '/']).all(part)
}
