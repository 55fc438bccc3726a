//! Where the kubelet keeps things, and names derived from a pod. Pure.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

/// Longest host name that Linux takes, in bytes.
const MAX_HOSTNAME_BYTES: usize = 63;

#[derive(Clone, Debug)]
pub struct Paths {
    root: PathBuf,
    logs: PathBuf,
}

impl Paths {
    pub fn new(data_dir: &Path) -> Self {
        Self { root: data_dir.join("kubelet"), logs: data_dir.join("logs/pods") }
    }
    pub fn root(&self) -> &Path {
        &self.root
    }
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }
    /// A memory file system for what must not reach the disk: secrets and tokens.
    pub fn memory(&self) -> PathBuf {
        self.root.join("memory")
    }
    pub fn volume(&self, uid: &str, kind: &str, name: &str) -> PathBuf {
        self.pod(uid).join("volumes").join(format!("kubernetes.io~{kind}")).join(name)
    }
    pub fn memory_volume(&self, uid: &str, name: &str) -> PathBuf {
        self.memory().join(uid).join(name)
    }
    pub fn subpaths(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("volume-subpaths")
    }
    pub fn hosts(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("etc-hosts")
    }
    pub fn container(&self, uid: &str, name: &str) -> PathBuf {
        self.pod(uid).join("containers").join(name)
    }
    /// The folder that the runtime writes container logs under: `namespace_name_uid`.
    pub fn pod_logs(&self, pod: &Pod) -> PathBuf {
        let m = &pod.metadata;
        let part = |v: &Option<String>| v.clone().unwrap_or_default();
        self.logs.join(format!("{}_{}_{}", part(&m.namespace), part(&m.name), part(&m.uid)))
    }
}

pub fn log_file(container: &str, attempt: u32) -> String {
    format!("{container}/{attempt}.log")
}

/// Host name and domain of a pod: the domain is empty unless the spec names a subdomain.
pub fn hostname_and_domain(pod: &Pod, cluster_domain: &str) -> (String, String) {
    let Some(spec) = &pod.spec else { return Default::default() };
    if let Some(name) = spec.hostname_override.as_deref().filter(|h| !h.is_empty()) {
        return (name.to_owned(), String::new());
    }
    let given = spec.hostname.as_deref().filter(|h| !h.is_empty());
    let mut name = given.or(pod.metadata.name.as_deref()).unwrap_or("").to_owned();
    name.truncate(MAX_HOSTNAME_BYTES);
    let name = name.trim_end_matches(['-', '.']).to_owned();
    let domain = match spec.subdomain.as_deref().filter(|s| !s.is_empty()) {
        Some(sub) => format!("{sub}.{}.svc.{cluster_domain}", pod.metadata.namespace.as_deref().unwrap_or("")),
        None => String::new(),
    };
    (name, domain)
}

/// What `hostname` prints in the pod: the full name if the spec asks for it.
pub fn shown_hostname(pod: &Pod, cluster_domain: &str) -> Result<String, String> {
    let (name, domain) = hostname_and_domain(pod, cluster_domain);
    let full = pod.spec.as_ref().is_some_and(|s| s.set_hostname_as_fqdn == Some(true));
    if !full || domain.is_empty() {
        return Ok(name);
    }
    let fqdn = format!("{name}.{domain}");
    if fqdn.len() > 64 {
        return Err(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long (64 characters is the max, {} characters requested)",
            fqdn.len()
        ));
    }
    Ok(fqdn)
}

/// The pod's `/etc/hosts`. With the host's network: the host's own file, and the aliases.
pub fn hosts_file(pod: &Pod, ips: &[String], cluster_domain: &str, host_file: Option<&str>) -> String {
    let mut text = String::new();
    match host_file {
        Some(host) => {
            text.push_str("# Kubernetes-managed hosts file (host network).\n");
            text.push_str(host);
        }
        None => {
            let (name, domain) = hostname_and_domain(pod, cluster_domain);
            text.push_str("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n");
            text.push_str("::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\n");
            text.push_str("fe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
            for ip in ips {
                match domain.as_str() {
                    "" => text.push_str(&format!("{ip}\t{name}\n")),
                    domain => text.push_str(&format!("{ip}\t{name}.{domain}\t{name}\n")),
                }
            }
        }
    }
    let aliases = pod.spec.iter().flat_map(|s| s.host_aliases.iter().flatten());
    for (index, alias) in aliases.enumerate() {
        if index == 0 {
            text.push_str("\n# Entries added by HostAliases.\n");
        }
        text.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.as_deref().unwrap_or_default().join("\t")));
    }
    text
}
