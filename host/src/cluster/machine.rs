//! Checks of the machine before anything is started, and the cgroup that holds the cluster.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::process;

/// The oldest kernel on which everything that a node uses exists.
const OLDEST_KERNEL: (u32, u32) = (5, 4);
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// Programs that a node runs, and the Debian package of each.
const PROGRAMS: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("iptables-restore", "iptables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("ctr", "containerd"),
];

/// Every fault at once, each with its mend.
pub fn check(ports: &[u16]) -> Result<()> {
    let mut faults = Vec::new();
    if !rustix::process::geteuid().is_root() {
        faults.push("a node needs root: run `pintle up` as root".to_owned());
    }
    if let Some(kernel) = kernel_version().filter(|k| *k < OLDEST_KERNEL) {
        let (major, minor) = OLDEST_KERNEL;
        faults.push(format!("kernel {}.{} is too old: {major}.{minor} or newer is needed", kernel.0, kernel.1));
    }
    if !has_overlayfs() {
        faults.push("this kernel has no overlayfs: load or build the overlay module".to_owned());
    }
    for (program, package) in PROGRAMS {
        if find_program(program).is_none() {
            faults.push(format!("{program} is missing: install the package {package}"));
        }
    }
    if !Path::new("/usr/lib/cni/bridge").exists() && !Path::new("/opt/cni/bin/bridge").exists() {
        faults.push("the CNI plugins are missing: install the package containernetworking-plugins".to_owned());
    }
    for port in ports {
        if let Err(error) = TcpListener::bind(("0.0.0.0", *port)) {
            faults.push(format!("port {port} cannot be used: {error}"));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    bail!("this machine cannot run a node yet:\n  - {}", faults.join("\n  - "))
}

/// Programs in root's usual folders count even when PATH leaves them out.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/bin"]).map(|d| Path::new(d).join(name)).find(|p| p.exists())
}

/// Puts a process into the cluster's cgroup: in cgroup v2 the one tree, in v1 the named systemd hierarchy (no limits hang on it).
pub fn join_cgroup(name: &str, pid: i32) -> Result<()> {
    let folder = process_hierarchy().join(name);
    let folder = if is_cgroup_v2() { folder.join("parts") } else { folder };
    std::fs::create_dir_all(&folder).with_context(|| format!("making cgroup {}", folder.display()))?;
    std::fs::write(folder.join("cgroup.procs"), pid.to_string()).with_context(|| format!("moving {pid} to {}", folder.display()))
}

/// Kills every process in the cluster's cgroups and removes them, in all hierarchies.
pub fn remove_cgroups(name: &str) -> Result<()> {
    let trees: Vec<PathBuf> = hierarchies().into_iter().map(|h| h.join(name)).filter(|p| p.exists()).collect();
    let gone = process::wait_until(Duration::from_secs(20), || {
        for tree in &trees {
            for pid in processes_below(tree) {
                process::kill(pid);
            }
        }
        trees.iter().all(|tree| remove_tree(tree).is_ok())
    });
    if !gone {
        bail!("cgroups of {name} could not be removed");
    }
    Ok(())
}

fn remove_tree(tree: &Path) -> std::io::Result<()> {
    if !tree.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(tree)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_tree(&path)?;
        }
    }
    std::fs::remove_dir(tree)
}

fn processes_below(tree: &Path) -> Vec<i32> {
    let mut found: Vec<i32> = std::fs::read_to_string(tree.join("cgroup.procs")).unwrap_or_default().lines().filter_map(|l| l.parse().ok()).collect();
    for entry in std::fs::read_dir(tree).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(processes_below(&entry.path()));
        }
    }
    found
}

fn hierarchies() -> Vec<PathBuf> {
    if is_cgroup_v2() {
        return vec![PathBuf::from(CGROUP_ROOT)];
    }
    std::fs::read_dir(CGROUP_ROOT).into_iter().flatten().flatten().map(|e| e.path()).filter(|p| p.is_dir() && !p.is_symlink()).collect()
}

fn process_hierarchy() -> PathBuf {
    let root = Path::new(CGROUP_ROOT);
    ["systemd", "unified", "pids"].iter().map(|h| root.join(h)).find(|p| !is_cgroup_v2() && p.exists()).unwrap_or_else(|| root.to_owned())
}

fn is_cgroup_v2() -> bool {
    Path::new(CGROUP_ROOT).join("cgroup.controllers").exists()
}

fn has_overlayfs() -> bool {
    let listed = || std::fs::read_to_string("/proc/filesystems").is_ok_and(|t| t.lines().any(|l| l.ends_with("\toverlay")));
    listed() || (process::run("modprobe", &["overlay"]).is_ok() && listed())
}

fn kernel_version() -> Option<(u32, u32)> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut parts = release.split(['.', '-']).map(|p| p.parse().ok());
    Some((parts.next()??, parts.next()??))
}
