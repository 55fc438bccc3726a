//! The checks that the level `restricted` adds: what hardens a pod.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::baseline::bad_seccomp;
use super::pod::{Pod, Violation, counted, plural, quoted, set, setters, setting};

/// From this version on a pod of Windows need not set what it could not.
const WINDOWS_IS_KNOWN: u32 = 25;
/// From this version on root in a pod with users of its own is not root.
const OWN_USERS_COUNT: u32 = 35;

pub fn privilege_escalation(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if minor >= WINDOWS_IS_KNOWN && pod.is_windows() {
        return None;
    }
    let containers = pod.names_where(|container| setting(container, "allowPrivilegeEscalation") != Some(&Value::Bool(false)));
    let detail = || format!("{} must set securityContext.allowPrivilegeEscalation=false", counted("container", &containers));
    (!containers.is_empty()).then(|| Violation { reason: "allowPrivilegeEscalation != false", detail: detail() })
}

pub fn capabilities(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if minor >= WINDOWS_IS_KNOWN && pod.is_windows() {
        return None;
    }
    let listed = |container: &'_ Value, list: &str| -> Vec<String> {
        let all = container.list_at(&["securityContext", "capabilities", list]).iter().filter_map(Value::as_str);
        all.map(str::to_owned).collect()
    };
    let added = |container: &'_ Value| -> Vec<String> { listed(container, "add").into_iter().filter(|name| name != "NET_BIND_SERVICE").collect() };
    let keeping = pod.names_where(|container| !listed(container, "drop").iter().any(|name| name == "ALL"));
    let adding = pod.names_where(|container| !added(container).is_empty());
    let mut said = Vec::new();
    if !keeping.is_empty() {
        said.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", counted("container", &keeping)));
    }
    if !adding.is_empty() {
        let names = set(pod.containers().flat_map(added).collect());
        said.push(format!("{} must not include {} in securityContext.capabilities.add", counted("container", &adding), quoted(&names)));
    }
    (!said.is_empty()).then(|| Violation { reason: "unrestricted capabilities", detail: said.join("; ") })
}

pub fn volumes(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    const ALLOWED: [&str; 9] = ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"];
    let source = |volume: &'_ Value| {
        let set = volume.as_object().into_iter().flatten().filter(|(key, value)| *key != "name" && !value.is_null());
        set.map(|(key, _)| key.clone()).next().unwrap_or_else(|| "unknown".to_owned())
    };
    let bad = || pod.spec.list_at(&["volumes"]).iter().filter(|volume| !ALLOWED.contains(&source(volume).as_str()));
    let names: Vec<&str> = bad().map(|volume| volume.str_at(&["name"])).collect();
    let kinds = set(bad().map(source).collect());
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let detail = || format!("{} {verb} {} {}", counted("volume", &names), plural("restricted volume type", kinds.len()), quoted(&kinds));
    (!names.is_empty()).then(|| Violation { reason: "restricted volume types", detail: detail() })
}

pub fn run_as_non_root(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    if minor >= OWN_USERS_COUNT && pod.has_own_users() {
        return None;
    }
    let says = |of: &Value| setting(of, "runAsNonRoot").and_then(Value::as_bool);
    let who = setters(says(pod.spec) == Some(false), &pod.names_where(|container| says(container) == Some(false)));
    if !who.is_empty() {
        return Some(Violation { reason: REASON, detail: format!("{who} must not set securityContext.runAsNonRoot=false") });
    }
    if says(pod.spec) == Some(true) {
        return None;
    }
    let silent = pod.names_where(|container| says(container).is_none());
    let detail = || format!("pod or {} must set securityContext.runAsNonRoot=true", counted("container", &silent));
    (!silent.is_empty()).then(|| Violation { reason: REASON, detail: detail() })
}

pub fn run_as_user(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if minor >= OWN_USERS_COUNT && pod.has_own_users() {
        return None;
    }
    let is_root = |of: &Value| setting(of, "runAsUser").and_then(Value::as_i64) == Some(0);
    let who = setters(is_root(pod.spec), &pod.names_where(is_root));
    (!who.is_empty()).then(|| Violation { reason: "runAsUser=0", detail: format!("{who} must not set runAsUser=0") })
}

pub fn seccomp_profile(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if minor >= WINDOWS_IS_KNOWN && pod.is_windows() {
        return None;
    }
    let bad = super::baseline::seccomp_profile(pod, minor);
    if bad.is_some() {
        return bad;
    }
    let is_set = |of: &Value| setting(of, "seccompProfile").is_some() && bad_seccomp(of).is_none();
    if is_set(pod.spec) {
        return None;
    }
    let silent = pod.names_where(|container| setting(container, "seccompProfile").is_none());
    let containers = counted("container", &silent);
    let detail = || format!("pod or {containers} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"");
    (!silent.is_empty()).then(|| Violation { reason: "seccompProfile", detail: detail() })
}
