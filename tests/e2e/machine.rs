//! What of a machine a cluster may change, read before and after, so that a test sees what was left behind.

use std::collections::BTreeSet;
use std::process::Command;

use super::run::output;

#[derive(Debug, PartialEq, Eq)]
pub struct Footprint {
    mounts: BTreeSet<String>,
    namespaces: BTreeSet<String>,
    cgroups: BTreeSet<String>,
    interfaces: BTreeSet<String>,
    processes: BTreeSet<String>,
}

impl Footprint {
    pub fn take() -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("is readable");
        Self {
            mounts: mounts.lines().filter_map(|l| l.split(' ').nth(1)).map(str::to_owned).collect(),
            namespaces: names("/run/netns"),
            cgroups: names("/sys/fs/cgroup").iter().flat_map(|h| names(&format!("/sys/fs/cgroup/{h}"))).filter(|n| n.starts_with("pintle-")).collect(),
            interfaces: output(Command::new("ip").args(["-br", "link"])).stdout.lines().filter_map(|l| l.split_whitespace().next()).map(str::to_owned).collect(),
            processes: processes(),
        }
    }
}

fn names(folder: &str) -> BTreeSet<String> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

/// Command names of processes that a cluster could have left.
fn processes() -> BTreeSet<String> {
    let ours = ["pintle", "containerd", "containerd-shim", "runc", "pintle-demo"];
    let pids = names("/proc").into_iter().filter(|n| n.bytes().all(|b| b.is_ascii_digit()));
    let named = pids.filter_map(|pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned();
        // A zombie has ended; only its parent (process 1, for orphans) has not looked yet.
        let zombie = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?.contains(") Z ");
        if zombie {
            return None;
        }
        ours.iter().any(|o| name.starts_with(o)).then(|| format!("{name} {pid}"))
    });
    named.collect()
}
