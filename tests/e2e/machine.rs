//! What a cluster put on the machine, found by the names that it gives its things, so that a test sees what was left behind and
//! other clusters of the same machine do not matter.

use std::collections::BTreeSet;

/// What marks a thing as one cluster's: its data folder, and the name of its cgroup, from which the other names are derived.
pub struct Marks(Vec<String>);

impl Marks {
    /// Of the cluster of this server process.
    pub fn of(data_dir: &str, server: u64) -> Self {
        let cgroups = std::fs::read_to_string(format!("/proc/{server}/cgroup")).expect("the server lives");
        let cgroup = cgroups.split(['/', '\n']).find(|part| part.starts_with("pintle-")).expect("it is in its cluster's cgroup");
        Self(vec![data_dir.to_owned(), cgroup.to_owned()])
    }

    /// Mounts, network namespaces, cgroups and processes with a mark.
    pub fn found(&self) -> BTreeSet<String> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("is readable");
        let mounts = mounts.lines().map(|l| format!("mount {l}")).collect::<Vec<_>>();
        let namespaces = names("/run/netns").into_iter().map(|n| format!("network namespace {n}"));
        let cgroups = names("/sys/fs/cgroup")
            .into_iter()
            .flat_map(|h| names(&format!("/sys/fs/cgroup/{h}")).into_iter().map(move |n| format!("cgroup {h}/{n}")));
        let all = mounts.into_iter().chain(namespaces).chain(cgroups).chain(processes());
        all.filter(|thing| self.0.iter().any(|mark| thing.contains(mark))).collect()
    }
}

/// Network interfaces of the machine's own namespace.
pub fn interfaces() -> BTreeSet<String> {
    names("/sys/class/net").into_iter().collect()
}

fn names(folder: &str) -> Vec<String> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

/// Every process that has not ended, with its command line and its cgroups. A zombie has ended; only its parent has not looked yet.
fn processes() -> impl Iterator<Item = String> {
    names("/proc").into_iter().filter(|n| n.bytes().all(|b| b.is_ascii_digit()) && *n != std::process::id().to_string()).filter_map(|pid| {
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).map(|b| String::from_utf8_lossy(&b).replace(['\0', '\n'], " "));
        if read("stat").ok()?.contains(") Z ") {
            return None;
        }
        Some(format!("process {pid} {} {}", read("cmdline").ok()?, read("cgroup").ok()?))
    })
}
