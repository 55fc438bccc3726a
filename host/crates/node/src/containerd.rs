//! A containerd of the node's own: root, state, socket and configuration below the node's data folder, so that it
//! meets no other containerd of the machine.
//!
//! It is started, adopted if it still runs after a crash of the node, and stopped here. Containers survive its end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::process::{Child, Command};

use crate::kubelet::cri::Cri;

pub const PAUSE_IMAGE: &str = "pintle.dev/pause:v1";
const CNI_BIN_DIR: &str = "/usr/lib/cni";
/// Longest wait for the socket to answer, and for the process to end, in seconds.
const START_SECONDS: u64 = 30;
const STOP_SECONDS: u64 = 10;
/// Pause between looks at either, in milliseconds.
const LOOK_MS: u64 = 20;
/// The capability to lower a process's oom_score_adj.
const CAP_SYS_RESOURCE: u32 = 24;

pub struct ContainerdConfig {
    pub dir: PathBuf,
    pub cni_conf_dir: PathBuf,
    pub cni_bin_dir: PathBuf,
    pub sandbox_image: String,
    pub program: PathBuf,
}

impl ContainerdConfig {
    pub fn new(data_dir: &Path, cni_conf_dir: &Path) -> Self {
        Self {
            dir: data_dir.join("containerd"),
            cni_conf_dir: cni_conf_dir.to_owned(),
            cni_bin_dir: CNI_BIN_DIR.into(),
            sandbox_image: PAUSE_IMAGE.to_owned(),
            program: "containerd".into(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ContainerdError {
    #[error("cannot run {0}: {1}; is the package containerd installed?")]
    Spawn(PathBuf, io::Error),
    #[error("cannot write {0}: {1}")]
    Write(PathBuf, io::Error),
    #[error("containerd did not answer within {START_SECONDS} s; see {0}")]
    NoAnswer(PathBuf),
    #[error("containerd ended at once ({0}); see {1}")]
    Ended(std::process::ExitStatus, PathBuf),
    #[error("image {0} was not mounted: {1}")]
    Mount(String, String),
    #[error("image archive {0} was not imported: {1}")]
    Import(PathBuf, String),
}

pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("containerd/containerd.sock")
}

pub struct Containerd {
    socket: PathBuf,
    process: Process,
}

enum Process {
    Child(Child),
    Adopted(Pid),
}

impl Containerd {
    pub async fn start(config: ContainerdConfig) -> Result<Self, ContainerdError> {
        let dir = &config.dir;
        let socket = dir.join("containerd.sock");
        let pid_file = dir.join("containerd.pid");
        if let Some(pid) = adoptable(&pid_file)
            && answers(&socket).await
        {
            return Ok(Self { socket, process: Process::Adopted(pid) });
        }
        let wrote = |path: &Path| {
            let path = path.to_owned();
            move |e| ContainerdError::Write(path.clone(), e)
        };
        fs::create_dir_all(dir.join("certs.d")).map_err(wrote(dir))?;
        let file = dir.join("config.toml");
        fs::write(&file, text(&config, &socket)).map_err(wrote(&file))?;
        let log_path = dir.join("containerd.log");
        let log = fs::OpenOptions::new().create(true).append(true).open(&log_path).map_err(wrote(&log_path))?;
        let mut command = Command::new(&config.program);
        command.arg("--config").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // A signal to the terminal's group must reach the node alone, which then stops its parts in order.
        command.process_group(0);
        let mut child = command.spawn().map_err(|e| ContainerdError::Spawn(config.program.clone(), e))?;
        if let Some(pid) = child.id() {
            fs::write(&pid_file, pid.to_string()).map_err(wrote(&pid_file))?;
        }
        for _ in 0..START_SECONDS * 1000 / LOOK_MS {
            if answers(&socket).await {
                return Ok(Self { socket, process: Process::Child(child) });
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(ContainerdError::Ended(status, log_path));
            }
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
        child.kill().await.ok();
        Err(ContainerdError::NoAnswer(log_path))
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }
    pub fn pid(&self) -> Option<u32> {
        match &self.process {
            Process::Child(child) => child.id(),
            Process::Adopted(pid) => u32::try_from(pid.as_raw_nonzero().get()).ok(),
        }
    }

    /// Ends the daemon; its shims and their containers stay.
    pub async fn stop(self) {
        match self.process {
            Process::Child(mut child) => {
                if let Some(pid) = child.id().and_then(|p| Pid::from_raw(i32::try_from(p).ok()?)) {
                    kill_process(pid, Signal::TERM).ok();
                }
                if tokio::time::timeout(Duration::from_secs(STOP_SECONDS), child.wait()).await.is_err() {
                    child.kill().await.ok();
                }
            }
            Process::Adopted(pid) => {
                kill_process(pid, Signal::TERM).ok();
                for _ in 0..STOP_SECONDS * 1000 / LOOK_MS {
                    if test_kill_process(pid).is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
                }
                kill_process(pid, Signal::KILL).ok();
            }
        }
    }
}

/// Imports an OCI-layout or docker archive under the names that it carries, unpacked and ready for use.
pub async fn import_image(socket: &Path, archive: &Path) -> Result<(), ContainerdError> {
    let failed = |message: String| ContainerdError::Import(archive.to_owned(), message);
    let mut command = Command::new("ctr");
    command.arg("--address").arg(socket).args(["--namespace", "k8s.io", "images", "import"]);
    if let Some(chosen) = snapshotter(socket) {
        command.args(["--snapshotter", &chosen]);
    }
    let output = command.arg(archive).stdin(Stdio::null()).output().await.map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// Mounts an image's file system read-only at a folder. Unmounting it is all that is needed to take it back.
pub async fn mount_image(socket: &Path, name: &str, target: &Path) -> Result<(), ContainerdError> {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(socket).args(["--namespace", "k8s.io", "images", "mount"]);
    if let Some(chosen) = snapshotter(socket) {
        command.args(["--snapshotter", &chosen]);
    }
    let failed = |message: String| ContainerdError::Mount(name.to_owned(), message);
    let output = command.arg(name).arg(target).stdin(Stdio::null()).output().await.map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// The snapshotter of a containerd that [`Containerd::start`] configured.
fn snapshotter(socket: &Path) -> Option<String> {
    let name = fs::read_to_string(socket.parent()?.join("snapshotter")).ok()?;
    Some(name.trim().to_owned())
}

async fn answers(socket: &Path) -> bool {
    if !socket.exists() {
        return false;
    }
    match Cri::connect(socket).await {
        Ok(cri) => cri.version().await.is_ok(),
        Err(_) => false,
    }
}

/// The process of a pid file, if it is still a containerd.
fn adoptable(pid_file: &Path) -> Option<Pid> {
    let pid: i32 = fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    if name.trim() == "containerd" { Pid::from_raw(pid) } else { None }
}

fn text(config: &ContainerdConfig, socket: &Path) -> String {
    let dir = &config.dir;
    let snapshotter = if overlay_works(dir) { "overlayfs" } else { "native" };
    fs::write(dir.join("snapshotter"), snapshotter).ok();
    let quoted = |p: &Path| format!("{:?}", p.to_string_lossy());
    format!(
        r#"# Written by pintle at every start.
version = 2
root = {root}
state = {state}
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp"]

[grpc]
  address = {socket}

[plugins."io.containerd.internal.v1.opt"]
  path = {opt}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  disable_apparmor = true
  restrict_oom_score_adj = {restrict}
  tolerate_missing_hugetlb_controller = true
  netns_mounts_under_state_dir = true
  max_concurrent_downloads = 3

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {cni_bin}
    conf_dir = {cni_conf}
    max_conf_num = 1

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = {certs}

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    default_runtime_name = "runc"
    discard_unpacked_layers = false

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#,
        root = quoted(&dir.join("root")),
        state = quoted(&dir.join("state")),
        socket = quoted(socket),
        opt = quoted(&dir.join("opt")),
        image = config.sandbox_image,
        restrict = !has_capability(CAP_SYS_RESOURCE),
        cni_bin = quoted(&config.cni_bin_dir),
        cni_conf = quoted(&config.cni_conf_dir),
        certs = quoted(&dir.join("certs.d")),
    )
}

fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:")).and_then(|v| u64::from_str_radix(v.trim(), 16).ok());
    effective.is_some_and(|bits| bits >> number & 1 == 1)
}

/// Tries one overlay mount: kernels and file systems that cannot are found out before a pod is.
fn overlay_works(dir: &Path) -> bool {
    let trial = dir.join("overlay-trial");
    let parts = ["lower", "upper", "work", "merged"].map(|n| trial.join(n));
    if parts.iter().any(|p| fs::create_dir_all(p).is_err()) {
        return false;
    }
    let [lower, upper, work, merged] = &parts;
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let Ok(options) = std::ffi::CString::new(options) else { return false };
    let works = mount("overlay", merged, "overlay", MountFlags::empty(), options.as_c_str()).is_ok();
    if works {
        unmount(merged, UnmountFlags::DETACH).ok();
    }
    fs::remove_dir_all(&trial).ok();
    works
}
