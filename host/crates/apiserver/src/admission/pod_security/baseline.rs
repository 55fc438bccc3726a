//! The checks of the level `baseline`: no known way up to the node.

use pintle_api::object::ObjectExt;
use pintle_registry::podspec::annotations::{APPARMOR, SECCOMP_OF_CONTAINER, SECCOMP_OF_POD};
use serde_json::Value;

use super::pod::{Pod, Violation, counted, plural, quoted, set, setters, setting};

const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Each with the minor version that allowed it.
const SAFE_SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

pub fn apparmor_profile(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let bad = |of: &'_ Value| {
        Some(setting(of, "appArmorProfile")?.str_at(&["type"]).to_owned()).filter(|kind| !matches!(kind.as_str(), "RuntimeDefault" | "Localhost"))
    };
    let containers = pod.names_where(|container| bad(container).is_some());
    let mut values = set(bad(pod.spec).into_iter().chain(pod.containers().filter_map(bad)).collect());
    let allowed = |profile: &str| matches!(profile, "" | "runtime/default") || profile.starts_with("localhost/");
    let annotations = pod.annotations().filter(|(key, profile)| key.starts_with(APPARMOR) && !allowed(profile));
    let annotations = set(annotations.map(|(key, profile)| format!("{key}={profile:?}")).collect());
    let mut who = setters(bad(pod.spec).is_some(), &containers);
    if !annotations.is_empty() {
        who = [who, plural("annotation", annotations.len())].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" and ");
        values.extend(annotations);
    }
    let reason = if values.len() == 1 { "forbidden AppArmor profile" } else { "forbidden AppArmor profiles" };
    (!who.is_empty()).then(|| Violation { reason, detail: format!("{who} must not set AppArmor profile type to {}", quoted(&values)) })
}

pub fn capabilities(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let added = |container: &'_ Value| -> Vec<String> {
        let all = container.list_at(&["securityContext", "capabilities", "add"]).iter().filter_map(Value::as_str);
        all.filter(|name| !DEFAULT_CAPABILITIES.contains(name)).map(str::to_owned).collect()
    };
    let containers = pod.names_where(|container| !added(container).is_empty());
    let names = set(pod.containers().flat_map(added).collect());
    let detail = || format!("{} must not include {} in securityContext.capabilities.add", counted("container", &containers), quoted(&names));
    (!containers.is_empty()).then(|| Violation { reason: "non-default capabilities", detail: detail() })
}

pub fn host_namespaces(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"].iter().filter(|f| pod.spec.bool_at(&[f])).map(|f| format!("{f}=true")).collect();
    (!shared.is_empty()).then(|| Violation { reason: "host namespaces", detail: shared.join(", ") })
}

pub fn host_path_volumes(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let volumes = pod.spec.list_at(&["volumes"]).iter().filter(|volume| volume.get("hostPath").is_some_and(|source| !source.is_null()));
    let names: Vec<&str> = volumes.map(|volume| volume.str_at(&["name"])).collect();
    (!names.is_empty()).then(|| Violation { reason: "hostPath volumes", detail: counted("volume", &names) })
}

pub fn host_ports(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let used = |container: &'_ Value| -> Vec<String> {
        let all = container.list_at(&["ports"]).iter().filter_map(|port| port.i64_at(&["hostPort"]));
        all.filter(|port| *port != 0).map(|port| port.to_string()).collect()
    };
    let containers = pod.names_where(|container| !used(container).is_empty());
    let ports = set(pod.containers().flat_map(used).collect());
    let verb = if containers.len() == 1 { "uses" } else { "use" };
    let detail = || format!("{} {verb} {} {}", counted("container", &containers), plural("hostPort", ports.len()), ports.join(", "));
    (!containers.is_empty()).then(|| Violation { reason: "hostPort", detail: detail() })
}

pub fn host_probes(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    const HANDLERS: [&[&str]; 5] =
        [&["livenessProbe"], &["readinessProbe"], &["startupProbe"], &["lifecycle", "postStart"], &["lifecycle", "preStop"]];
    let hosts = |container: &'_ Value| -> Vec<String> {
        let handlers = HANDLERS.iter().filter_map(|path| container.at(path));
        let named = handlers.flat_map(|handler| ["httpGet", "tcpSocket"].map(|action| handler.str_at(&[action, "host"]).to_owned()));
        named.filter(|host| !host.is_empty()).collect()
    };
    let containers = set(pod.names_where(|container| !hosts(container).is_empty()));
    let hosts = set(pod.containers().flat_map(hosts).collect());
    let verb = if containers.len() == 1 { "uses" } else { "use" };
    let detail = || format!("{} {verb} {} {}", counted("container", &containers), plural("probe or lifecycle host", hosts.len()), quoted(&hosts));
    (!containers.is_empty()).then(|| Violation { reason: "probe or lifecycle host", detail: detail() })
}

pub fn privileged(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let containers = pod.names_where(|container| setting(container, "privileged") == Some(&Value::Bool(true)));
    let detail = || format!("{} must not set securityContext.privileged=true", counted("container", &containers));
    (!containers.is_empty()).then(|| Violation { reason: "privileged", detail: detail() })
}

/// From 1.35 on a pod with users of its own may see all of /proc.
pub fn proc_mount(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if minor >= 35 && pod.has_own_users() { None } else { masked_proc(pod, minor) }
}

pub fn masked_proc(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let other = |container: &'_ Value| setting(container, "procMount").and_then(Value::as_str).filter(|kind| *kind != "Default").map(str::to_owned);
    let containers = pod.names_where(|container| other(container).is_some());
    let kinds = set(pod.containers().filter_map(other).collect());
    let detail = || format!("{} must not set securityContext.procMount to {}", counted("container", &containers), quoted(&kinds));
    (!containers.is_empty()).then(|| Violation { reason: "procMount", detail: detail() })
}

pub fn selinux_options(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    let allowed =
        |kind: &str| matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t") || (minor >= 31 && kind == "container_engine_t");
    let bad = |of: &Value| {
        let options = setting(of, "seLinuxOptions");
        options.is_some_and(|o| !allowed(o.str_at(&["type"])) || !o.str_at(&["user"]).is_empty() || !o.str_at(&["role"]).is_empty())
    };
    let who = setters(bad(pod.spec), &pod.names_where(bad));
    if who.is_empty() {
        return None;
    }
    let all = || std::iter::once(pod.spec).chain(pod.containers()).filter_map(|of| setting(of, "seLinuxOptions"));
    let kinds = set(all().map(|options| options.str_at(&["type"])).filter(|kind| !allowed(kind)).collect());
    let mut said = Vec::new();
    if !kinds.is_empty() {
        said.push(counted("type", &kinds));
    }
    for field in ["user", "role"].iter().filter(|field| all().any(|options| !options.str_at(&[field]).is_empty())) {
        said.push(format!("{field} may not be set"));
    }
    Some(Violation { reason: "seLinuxOptions", detail: format!("{who} set forbidden securityContext.seLinuxOptions: {}", said.join("; ")) })
}

/// Before 1.19 profiles were annotations.
pub fn seccomp_profile(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if minor < 19 {
        return seccomp_annotations(pod);
    }
    let bad = |of: &'_ Value| bad_seccomp(of).map(str::to_owned);
    let who = setters(bad(pod.spec).is_some(), &pod.names_where(|container| bad(container).is_some()));
    let values = set(bad(pod.spec).into_iter().chain(pod.containers().filter_map(bad)).collect());
    let detail = || format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(&values));
    (!who.is_empty()).then(|| Violation { reason: "seccompProfile", detail: detail() })
}

/// A profile that is set and neither the runtime's nor a file's.
pub fn bad_seccomp(of: &Value) -> Option<&str> {
    Some(setting(of, "seccompProfile")?.str_at(&["type"])).filter(|kind| !matches!(*kind, "RuntimeDefault" | "Localhost"))
}

fn seccomp_annotations(pod: &Pod<'_>) -> Option<Violation> {
    let allowed = |profile: &str| matches!(profile, "runtime/default" | "docker/default") || profile.starts_with("localhost/");
    let of_container = |key: &str| key.strip_prefix(SECCOMP_OF_CONTAINER).is_some_and(|name| pod.containers().any(|c| c.str_at(&["name"]) == name));
    let all = pod.annotations().filter(|(key, profile)| (*key == SECCOMP_OF_POD || of_container(key)) && !allowed(profile));
    let bad = set(all.map(|(key, profile)| format!("{key}={profile:?}")).collect());
    let detail = || format!("forbidden {} {}", plural("annotation", bad.len()), bad.join(", "));
    (!bad.is_empty()).then(|| Violation { reason: "seccompProfile", detail: detail() })
}

pub fn sysctls(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    let safe = |name: &str| SAFE_SYSCTLS.iter().any(|(known, since)| *known == name && *since <= minor);
    let all = pod.spec.list_at(&["securityContext", "sysctls"]).iter().map(|sysctl| sysctl.str_at(&["name"]));
    let bad: Vec<&str> = all.filter(|name| !safe(name)).collect();
    (!bad.is_empty()).then(|| Violation { reason: "forbidden sysctls", detail: bad.join(", ") })
}

pub fn windows_host_process(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let of_host = |of: &Value| setting(of, "windowsOptions").is_some_and(|options| options.bool_at(&["hostProcess"]));
    let who = setters(of_host(pod.spec), &pod.names_where(of_host));
    let detail = || format!("{who} must not set securityContext.windowsOptions.hostProcess=true");
    (!who.is_empty()).then(|| Violation { reason: "hostProcess", detail: detail() })
}
