//! The cgroups that hold pods: a root of the node's own, one parent for each quality of service, one group a pod.
//!
//! File system driver on cgroup v1 (every mounted hierarchy) and v2. What is made here is removed here; the
//! runtime makes and removes the containers' own groups below.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::resources::{CPU_PERIOD_US, limit_milli, pod_total, qos_class, quota_us, request_milli, shares};

const MOUNT: &str = "/sys/fs/cgroup";

#[derive(Clone, Debug)]
pub struct Cgroups {
    /// Without slashes around it, for example `pintle-1a2b/kubepods`.
    root: String,
    layout: Layout,
}

#[derive(Clone, Debug)]
enum Layout {
    /// Mount points of the v1 hierarchies.
    V1(Vec<PathBuf>),
    V2(PathBuf),
}

impl Cgroups {
    /// `root` names a folder below every hierarchy; it is made when the first pod needs it.
    pub fn new(root: &str) -> Self {
        let mount = Path::new(MOUNT);
        let layout = if mount.join("cgroup.controllers").exists() {
            Layout::V2(mount.to_owned())
        } else {
            let entries = fs::read_dir(mount).into_iter().flatten().flatten().map(|e| e.path());
            Layout::V1(entries.filter(|p| p.is_dir() && !p.is_symlink() && p.join("cgroup.procs").exists()).collect())
        };
        Self { root: root.trim_matches('/').to_owned(), layout }
    }

    /// The parent that the runtime is told for a pod.
    pub fn pod_parent(&self, pod: &Pod) -> String {
        format!("/{}", self.pod_group(pod))
    }

    pub fn create_pod(&self, pod: &Pod) -> io::Result<()> {
        let group = self.pod_group(pod);
        for hierarchy in self.hierarchies() {
            make(hierarchy, &group, matches!(self.layout, Layout::V2(_)))?;
        }
        let spec = pod.spec.clone().unwrap_or_default();
        self.limit(&group, &spec);
        Ok(())
    }

    /// Lifts a pod's limits before its containers change; [`Cgroups::create_pod`] sets them again.
    pub fn raise_pod(&self, pod: &Pod) -> io::Result<()> {
        let group = self.pod_group(pod);
        let set = |hierarchy: &Path, file: &str, value: &str| {
            let file = hierarchy.join(&group).join(file);
            if file.exists() {
                write(&file, value);
            }
        };
        for hierarchy in self.hierarchies() {
            for (file, value) in [("cpu.cfs_quota_us", "-1"), ("memory.limit_in_bytes", "-1"), ("cpu.max", "max"), ("memory.max", "max")] {
                set(hierarchy, file, value);
            }
        }
        Ok(())
    }

    /// Empties and removes a pod's groups; a group still in use stays and is reported.
    pub fn remove_pod(&self, uid: &str) -> io::Result<()> {
        for parent in ["", "burstable/", "besteffort/"] {
            let group = format!("{}/{parent}pod{uid}", self.root);
            for hierarchy in self.hierarchies() {
                remove_tree(&hierarchy.join(&group))?;
            }
        }
        Ok(())
    }

    /// Removes the node's own root, when no pod is left.
    pub fn remove_all(&self) {
        let top = self.root.split('/').next().unwrap_or(&self.root);
        for hierarchy in self.hierarchies() {
            if let Err(error) = remove_tree(&hierarchy.join(top)) {
                tracing::warn!(hierarchy = %hierarchy.display(), %error, "cgroup stays");
            }
        }
    }

    /// Pods that have groups now.
    pub fn pods(&self) -> Vec<String> {
        let mut uids = Vec::new();
        for hierarchy in self.hierarchies() {
            for parent in ["", "burstable", "besteffort"] {
                for entry in fs::read_dir(hierarchy.join(&self.root).join(parent)).into_iter().flatten().flatten() {
                    uids.extend(entry.file_name().to_string_lossy().strip_prefix("pod").map(str::to_owned));
                }
            }
        }
        uids.sort();
        uids.dedup();
        uids
    }

    fn pod_group(&self, pod: &Pod) -> String {
        let uid = pod.metadata.uid.as_deref().unwrap_or("");
        match pod.spec.as_ref().map(qos_class) {
            Some("Burstable") => format!("{}/burstable/pod{uid}", self.root),
            Some("BestEffort") => format!("{}/besteffort/pod{uid}", self.root),
            _ => format!("{}/pod{uid}", self.root),
        }
    }

    fn hierarchies(&self) -> &[PathBuf] {
        match &self.layout {
            Layout::V1(list) => list,
            Layout::V2(root) => std::slice::from_ref(root),
        }
    }

    /// Shares by the sum of requests; quota and memory only if every container has a limit.
    fn limit(&self, group: &str, spec: &PodSpec) {
        let cpu_shares = shares(pod_total(spec, |c| request_or_limit(c, "cpu")));
        let limit = |name: &str| {
            let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
            let complete = all.clone().next().is_some() && all.clone().all(|c| limit_milli(c, name).is_some());
            complete.then(|| pod_total(spec, |c| limit_milli(c, name).unwrap_or(0)))
        };
        let quota = quota_us(limit("cpu"));
        let memory = limit("memory").map(|m| m / 1000);
        match &self.layout {
            Layout::V2(root) => {
                let at = root.join(group);
                write(&at.join("cpu.weight"), &(1 + ((cpu_shares - 2) * 9999) / 262_142).to_string());
                if quota > 0 {
                    write(&at.join("cpu.max"), &format!("{quota} {CPU_PERIOD_US}"));
                }
                if let Some(bytes) = memory {
                    write(&at.join("memory.max"), &bytes.to_string());
                }
            }
            Layout::V1(list) => {
                for hierarchy in list {
                    let at = hierarchy.join(group);
                    if at.join("cpu.shares").exists() {
                        write(&at.join("cpu.shares"), &cpu_shares.to_string());
                        if quota > 0 {
                            write(&at.join("cpu.cfs_period_us"), &CPU_PERIOD_US.to_string());
                            write(&at.join("cpu.cfs_quota_us"), &quota.to_string());
                        }
                    }
                    if let Some(bytes) = memory.filter(|_| at.join("memory.limit_in_bytes").exists()) {
                        write(&at.join("memory.limit_in_bytes"), &bytes.to_string());
                    }
                }
            }
        }
    }
}

fn request_or_limit(c: &k8s_openapi::api::core::v1::Container, name: &str) -> i128 {
    match request_milli(c, name) {
        0 => limit_milli(c, name).unwrap_or(0),
        asked => asked,
    }
}

/// Makes each folder on the way; on v1 a cpuset starts empty and must be filled from its parent, on v2 controllers
/// must be handed down.
fn make(hierarchy: &Path, group: &str, v2: bool) -> io::Result<()> {
    let mut at = hierarchy.to_owned();
    for part in group.split('/') {
        if v2 {
            let controllers = fs::read_to_string(at.join("cgroup.controllers")).unwrap_or_default();
            let wanted: Vec<String> = controllers.split_whitespace().map(|c| format!("+{c}")).collect();
            write(&at.join("cgroup.subtree_control"), &wanted.join(" "));
        }
        let next = at.join(part);
        match fs::create_dir(&next) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let filled = fs::read_to_string(next.join(file));
            if !v2 && filled.is_ok_and(|v| v.trim().is_empty()) {
                write(&next.join(file), fs::read_to_string(at.join(file)).unwrap_or_default().trim());
            }
        }
        at = next;
    }
    Ok(())
}

fn remove_tree(path: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// A limit that the kernel refuses is logged: the pod runs without it rather than not at all.
fn write(file: &Path, value: &str) {
    if let Err(error) = fs::write(file, value) {
        tracing::warn!(file = %file.display(), value, %error, "cgroup setting refused");
    }
}
