//! All checks by level and version, in the order in which upstream tells of them.

use super::levels::{Asked, Level};
use super::pod::{Pod, Violation};
use super::{baseline, restricted};

/// Newer versions ask what this one does.
const NEWEST_MINOR: u32 = 36;

struct Check {
    level: Level,
    /// The minor version that brought it.
    since: u32,
    /// From this one on a check of `restricted` says more, and takes its place there.
    replaced_since: Option<u32>,
    find: fn(&Pod<'_>, u32) -> Option<Violation>,
}

const fn base(since: u32, find: fn(&Pod<'_>, u32) -> Option<Violation>) -> Check {
    Check { level: Level::Baseline, since, replaced_since: None, find }
}
const fn replaced(by: u32, find: fn(&Pod<'_>, u32) -> Option<Violation>) -> Check {
    Check { level: Level::Baseline, since: 0, replaced_since: Some(by), find }
}
const fn hardens(since: u32, find: fn(&Pod<'_>, u32) -> Option<Violation>) -> Check {
    Check { level: Level::Restricted, since, replaced_since: None, find }
}

const CHECKS: [Check; 19] = [
    base(0, baseline::apparmor_profile),
    replaced(22, baseline::capabilities),
    base(0, baseline::host_namespaces),
    replaced(0, baseline::host_path_volumes),
    base(0, baseline::host_ports),
    base(34, baseline::host_probes),
    base(0, baseline::privileged),
    replaced(35, baseline::proc_mount),
    base(0, baseline::selinux_options),
    replaced(19, baseline::seccomp_profile),
    base(0, baseline::sysctls),
    base(0, baseline::windows_host_process),
    hardens(8, restricted::privilege_escalation),
    hardens(22, restricted::capabilities),
    hardens(35, baseline::masked_proc),
    hardens(0, restricted::volumes),
    hardens(0, restricted::run_as_non_root),
    hardens(23, restricted::run_as_user),
    hardens(19, restricted::seccomp_profile),
];

pub fn violations(asked: Asked, pod: &Pod<'_>) -> Vec<Violation> {
    let minor = asked.minor.map_or(NEWEST_MINOR, |minor| minor.min(NEWEST_MINOR));
    let counts = |check: &&Check| {
        let is_replaced = asked.level == Level::Restricted && check.replaced_since.is_some_and(|since| since <= minor);
        check.level <= asked.level && check.since <= minor && !is_replaced
    };
    CHECKS.iter().filter(counts).filter_map(|check| (check.find)(pod, minor)).collect()
}

/// `host namespaces (hostPID=true), privileged (container "a" must not ...)`.
pub fn detailed(violations: &[Violation]) -> String {
    violations.iter().map(|v| format!("{} ({})", v.reason, v.detail)).collect::<Vec<_>>().join(", ")
}

pub fn reasons(violations: &[Violation]) -> String {
    violations.iter().map(|v| v.reason).collect::<Vec<_>>().join(", ")
}
