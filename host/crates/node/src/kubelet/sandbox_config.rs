//! From a pod to the runtime's sandbox configuration: names, DNS, ports, namespaces, sysctls. Pure.

use std::collections::HashMap;

use k8s_cri::v1::{
    DnsConfig, Int64Value, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxMetadata,
    PortMapping, Protocol, SecurityProfile, security_profile::ProfileType,
};
use k8s_openapi::api::core::v1::{Pod, PodSpec, SeccompProfile};

use super::cri::{LABEL_NAMESPACE, LABEL_POD, LABEL_UID};
use super::paths::{Paths, shown_hostname};
use super::state::{Kind, all_containers};

/// Search domains and servers that a resolver takes at most.
const MAX_SEARCHES: usize = 32;
const MAX_SERVERS: usize = 3;

/// The cluster's DNS as pods see it, and the node's own resolver.
#[derive(Clone, Debug, Default)]
pub struct DnsSettings {
    pub servers: Vec<String>,
    pub cluster_domain: String,
    pub node: Resolver,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

pub fn build(pod: &Pod, attempt: u32, paths: &Paths, dns: &DnsSettings, cgroup_parent: &str) -> Result<PodSandboxConfig, String> {
    let spec = pod.spec.as_ref().ok_or("pod has no spec")?;
    let meta = &pod.metadata;
    let text = |v: &Option<String>| v.clone().unwrap_or_default();
    let host_network = spec.host_network == Some(true);
    let resolver = resolver(pod, dns);
    let mut labels: HashMap<String, String> = meta.labels.clone().unwrap_or_default().into_iter().collect();
    labels.insert(LABEL_POD.into(), text(&meta.name));
    labels.insert(LABEL_NAMESPACE.into(), text(&meta.namespace));
    labels.insert(LABEL_UID.into(), text(&meta.uid));
    Ok(PodSandboxConfig {
        metadata: Some(PodSandboxMetadata { name: text(&meta.name), uid: text(&meta.uid), namespace: text(&meta.namespace), attempt }),
        hostname: if host_network { String::new() } else { shown_hostname(pod, &dns.cluster_domain)? },
        log_directory: paths.pod_logs(pod).to_string_lossy().into_owned(),
        dns_config: Some(DnsConfig { servers: resolver.servers, searches: resolver.searches, options: resolver.options }),
        port_mappings: if host_network { Vec::new() } else { port_mappings(pod) },
        labels,
        annotations: meta.annotations.clone().unwrap_or_default().into_iter().collect(),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent.to_owned(),
            security_context: Some(security(spec)),
            sysctls: sysctls(spec),
            ..LinuxPodSandboxConfig::default()
        }),
        windows: None,
    })
}

/// The pod's `/etc/resolv.conf` by its DNS policy, with `dnsConfig` laid over it.
pub fn resolver(pod: &Pod, dns: &DnsSettings) -> Resolver {
    let Some(spec) = &pod.spec else { return Resolver::default() };
    let host_network = spec.host_network == Some(true);
    let policy = match spec.dns_policy.as_deref().unwrap_or("ClusterFirst") {
        "ClusterFirst" if host_network => "Default",
        "ClusterFirstWithHostNet" => "ClusterFirst",
        other => other,
    };
    let mut out = match policy {
        "None" => Resolver::default(),
        "ClusterFirst" if !dns.servers.is_empty() => {
            let domain = &dns.cluster_domain;
            let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
            let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            searches.extend(dns.node.searches.iter().cloned());
            Resolver { servers: dns.servers.clone(), searches, options: vec!["ndots:5".into()] }
        }
        _ => dns.node.clone(),
    };
    if let Some(extra) = &spec.dns_config {
        out.servers.extend(extra.nameservers.iter().flatten().cloned());
        out.searches.extend(extra.searches.iter().flatten().cloned());
        for option in extra.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            out.options.retain(|o| o.split(':').next() != Some(name.as_str()));
            out.options.push(match option.value.as_deref() {
                Some(value) if !value.is_empty() => format!("{name}:{value}"),
                _ => name,
            });
        }
    }
    dedup(&mut out.servers, MAX_SERVERS);
    dedup(&mut out.searches, MAX_SEARCHES);
    out
}

/// Reads a `resolv.conf`.
pub fn parse_resolver(text: &str) -> Resolver {
    let mut out = Resolver::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => out.servers.extend(words.next().map(str::to_owned)),
            Some("search" | "domain") => out.searches = words.map(str::to_owned).collect(),
            Some("options") => out.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    out
}

pub fn namespaces(spec: &PodSpec) -> NamespaceOption {
    let mode = |host: Option<bool>, own: NamespaceMode| i32::from(if host == Some(true) { NamespaceMode::Node } else { own });
    let own_pid = if spec.share_process_namespace == Some(true) { NamespaceMode::Pod } else { NamespaceMode::Container };
    NamespaceOption {
        network: mode(spec.host_network, NamespaceMode::Pod),
        pid: mode(spec.host_pid, own_pid),
        ipc: mode(spec.host_ipc, NamespaceMode::Pod),
        ..NamespaceOption::default()
    }
}

pub fn seccomp(profile: Option<&SeccompProfile>, privileged: bool) -> SecurityProfile {
    let of = |kind: ProfileType| SecurityProfile { profile_type: kind.into(), localhost_ref: String::new() };
    match profile.map(|p| (p.type_.as_str(), p.localhost_profile.as_deref())) {
        _ if privileged => of(ProfileType::Unconfined),
        Some(("RuntimeDefault", _)) => of(ProfileType::RuntimeDefault),
        Some(("Localhost", Some(file))) => {
            SecurityProfile { profile_type: ProfileType::Localhost.into(), localhost_ref: format!("/var/lib/kubelet/seccomp/{file}") }
        }
        _ => of(ProfileType::Unconfined),
    }
}

fn security(spec: &PodSpec) -> LinuxSandboxSecurityContext {
    let context = spec.security_context.clone().unwrap_or_default();
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    let privileged = all.into_iter().any(|c| c.security_context.as_ref().is_some_and(|s| s.privileged == Some(true)));
    let mut groups: Vec<i64> = context.fs_group.into_iter().collect();
    groups.extend(context.supplemental_groups.iter().flatten());
    // The pause process runs as the pod's user only if that is safe without a group of its own.
    let run_as_user = context.run_as_user.map(|value| Int64Value { value });
    let run_as_group = context.run_as_group.filter(|_| run_as_user.is_some()).map(|value| Int64Value { value });
    LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(spec)),
        run_as_user,
        run_as_group,
        supplemental_groups: groups,
        privileged,
        seccomp: Some(seccomp(context.seccomp_profile.as_ref().filter(|p| p.type_ == "RuntimeDefault"), privileged)),
        ..LinuxSandboxSecurityContext::default()
    }
}

fn sysctls(spec: &PodSpec) -> HashMap<String, String> {
    let listed = spec.security_context.iter().flat_map(|c| c.sysctls.iter().flatten());
    listed.map(|s| (s.name.replace('/', "."), s.value.clone())).collect()
}

fn port_mappings(pod: &Pod) -> Vec<PortMapping> {
    let containers = all_containers(pod);
    let long_lived = containers.iter().filter(|(_, kind)| matches!(kind, Kind::App | Kind::Sidecar));
    long_lived
        .flat_map(|(c, _)| c.ports.iter().flatten())
        .filter_map(|p| {
            let protocol = match p.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                _ => Protocol::Tcp,
            };
            Some(PortMapping {
                protocol: protocol.into(),
                container_port: p.container_port,
                host_port: p.host_port.filter(|port| *port > 0)?,
                host_ip: p.host_ip.clone().unwrap_or_default(),
            })
        })
        .collect()
}

fn dedup(list: &mut Vec<String>, most: usize) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|v| seen.insert(v.clone()));
    list.truncate(most);
}
