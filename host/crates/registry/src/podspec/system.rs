//! What a pod's operating system rules out, and what containers that are processes of a Windows host ask.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::CONTAINER_LISTS;
use crate::faults::{Faults, Path};
use crate::fields::is_set;

const NOT_FOR_WINDOWS: &str = "cannot be set for a windows pod";
const NOT_FOR_LINUX: &str = "windows options cannot be set for a linux pod";

/// Of a Windows pod: what its spec, its security context and its containers' may not have set. Booleans count when they are true.
const OF_SPEC: [&str; 4] = ["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"];
const OF_POD: [&str; 11] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];
const OF_CONTAINER: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

pub fn validate_os(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    if !is_set(spec.get("os")) {
        return;
    }
    match spec.str_at(&["os", "name"]) {
        "" => faults.required(&path.field("os.name"), ""),
        "linux" => linux(spec, path, faults),
        "windows" => windows(spec, path, faults),
        other => faults.not_supported(&path.field("os"), other, &["linux", "windows"]),
    }
}

pub fn validate_host_processes(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    const OPTION: [&str; 3] = ["securityContext", "windowsOptions", "hostProcess"];
    let of_pod = spec.at(&OPTION).and_then(Value::as_bool);
    let (mut all, mut of_host) = (0, 0);
    each_container(spec, path, |container, here| {
        let own = container.at(&OPTION).and_then(Value::as_bool);
        if let (Some(of_pod), Some(own)) = (of_pod, own)
            && of_pod != own
        {
            let said = format!("pod hostProcess value must be identical if both are specified, was {of_pod}");
            faults.invalid(&here.field("securityContext.windowsOptions.hostProcess"), &own.into(), &said);
        }
        all += 1;
        of_host += usize::from(own.or(of_pod) == Some(true));
    });
    if of_host == 0 {
        return;
    }
    if of_host != all {
        faults.invalid_str(path, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers");
    }
    if !spec.bool_at(&["hostNetwork"]) {
        faults.invalid(&path.field("hostNetwork"), &false.into(), "hostNetwork must be true if pod contains any hostProcess containers");
    }
}

fn linux(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    const OPTIONS: [&str; 2] = ["securityContext", "windowsOptions"];
    if is_set(spec.at(&OPTIONS)) {
        faults.forbidden(&path.field("securityContext.windowsOptions"), NOT_FOR_LINUX);
    }
    each_container(spec, path, |container, here| {
        if is_set(container.at(&OPTIONS)) {
            faults.forbidden(&here.field("securityContext.windowsOptions"), NOT_FOR_LINUX);
        }
    });
}

fn windows(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    for field in OF_SPEC {
        let counts = if field.starts_with("hostP") || field.starts_with("hostI") { spec.bool_at(&[field]) } else { is_set(spec.get(field)) };
        if counts {
            faults.forbidden(&path.field(field), NOT_FOR_WINDOWS);
        }
    }
    forbid(spec.get("securityContext"), &OF_POD, &path.field("securityContext"), faults);
    each_container(spec, path, |container, here| {
        forbid(container.get("securityContext"), &OF_CONTAINER, &here.field("securityContext"), faults);
    });
}

fn forbid(context: Option<&Value>, fields: &[&str], path: &Path<'_>, faults: &mut Faults) {
    let Some(context) = context else { return };
    for field in fields.iter().filter(|field| is_set(context.get(**field)) && context.get(**field) != Some(&Value::Array(Vec::new()))) {
        faults.forbidden(&path.field(field), NOT_FOR_WINDOWS);
    }
}

fn each_container(spec: &Value, path: &Path<'_>, mut visit: impl FnMut(&Value, &Path<'_>)) {
    for kind in CONTAINER_LISTS {
        let list = path.field(kind);
        for (i, container) in spec.list_at(&[kind]).iter().enumerate() {
            visit(container, &list.index(i));
        }
    }
}
