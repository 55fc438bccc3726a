//! Background processes: start detached with a log file, look whether one lives, end it by id.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// How often a waiting loop looks again.
const POLL: Duration = Duration::from_millis(50);

/// Starts a program in a process group of its own, its output appended to `log`, its process in `cgroup`.
pub fn start(mut command: Command, log: &Path, cgroup: &str) -> Result<i32> {
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let out: File = OpenOptions::new().create(true).append(true).open(log).with_context(|| format!("opening {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).process_group(0);
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.spawn().with_context(|| format!("starting {name}"))?;
    let pid = i32::try_from(child.id()).context("a process id fits i32")?;
    super::machine::join_cgroup(cgroup, pid)?;
    // A zombie until this process ends, which is soon; then process 1 reaps it. `alive` tells zombies from the living.
    Ok(pid)
}

/// Whether the process exists and runs pintle or what pintle started: a recycled id must not be taken for ours.
pub fn alive(pid: i32, cgroup: &str) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    let ours = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|c| c.contains(cgroup));
    ours && !matches!(state, Some('Z' | 'X') | None)
}

/// SIGTERM, then SIGKILL when `patience` is over.
pub fn stop(pid: i32, cgroup: &str, patience: Duration) {
    let Some(target) = Pid::from_raw(pid) else { return };
    if !alive(pid, cgroup) {
        return;
    }
    let _ = kill_process(target, Signal::TERM);
    if wait_until(patience, || !alive(pid, cgroup)) {
        return;
    }
    let _ = kill_process(target, Signal::KILL);
    wait_until(Duration::from_secs(5), || !alive(pid, cgroup));
}

pub fn kill(pid: i32) {
    if let Some(target) = Pid::from_raw(pid) {
        let _ = kill_process(target, Signal::KILL);
    }
}

/// True as soon as the condition holds, false when the time is over.
pub fn wait_until(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

/// Runs a program to its end and returns its output; its error text is the error's.
pub fn run(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output().with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        anyhow::bail!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
