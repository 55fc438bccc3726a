//! Container images: pintle's own, put together from the static program inside this binary, and archives that users bring.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::layout::Layout;
use super::process;
use super::state::State;

/// Empty in a binary that was not built by `cargo xtask build`.
static DEMO_PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pintle-demo"));

struct Image {
    reference: &'static str,
    entrypoint: &'static [&'static str],
    env: &'static [&'static str],
    ports: &'static [&'static str],
    /// A shell for `kubectl exec`, where the machine has a static one.
    with_shell: bool,
}

const PATH: &str = "PATH=/bin";

const BUNDLED: &[Image] = &[
    Image { reference: "pintle.dev/pause:v1", entrypoint: &["/pintle-demo", "pause"], env: &[PATH], ports: &[], with_shell: false },
    Image {
        reference: "pintle.dev/hello:v1",
        entrypoint: &["/pintle-demo", "hello"],
        env: &[PATH, "HELLO_VERSION=v1"],
        ports: &["8080/tcp"],
        with_shell: true,
    },
    Image {
        reference: "pintle.dev/hello:v2",
        entrypoint: &["/pintle-demo", "hello"],
        env: &[PATH, "HELLO_VERSION=v2"],
        ports: &["8080/tcp"],
        with_shell: true,
    },
];

/// Commands of the shell image that people reach for.
const APPLETS: &[&str] = &[
    "sh", "ls", "cat", "echo", "env", "ps", "nslookup", "ping", "sleep", "vi", "id", "hostname", "mount", "df", "top", "grep", "head", "tail",
    "mkdir", "rm", "cp", "mv", "ip", "netstat", "nc", "date", "touch", "sed", "awk", "find", "test", "true", "false", "kill",
];

#[derive(clap::Args, Debug)]
pub struct ImportArgs {
    /// OCI-layout or docker archives (tar)
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// The folder given to `pintle up`
    #[arg(long, default_value = "/var/lib/pintle", env = "PINTLE_DATA_DIR")]
    pub data_dir: PathBuf,
}

/// `pintle image import`: the archives into every node of the machine.
pub fn import(args: &ImportArgs) -> Result<()> {
    let state = State::load(&Layout::open(&args.data_dir)?)?;
    if state.nodes.is_empty() {
        bail!("no cluster runs in {}", args.data_dir.display());
    }
    for file in &args.files {
        if !file.is_file() {
            bail!("{} is no file", file.display());
        }
        for node in &state.nodes {
            // The runtime unpacks into its own mount namespace.
            let endpoint = node.runtime_endpoint.trim_start_matches("unix://");
            let mut command = match containerd_pid(&node.folder) {
                Some(pid) => {
                    let mut enter = Command::new("nsenter");
                    enter.args(["--target", &pid.to_string(), "--mount", "--", "ctr"]);
                    enter
                }
                None => Command::new("ctr"),
            };
            let output =
                command.args(["--address", endpoint, "--namespace", "k8s.io", "images", "import"]).arg(file).output().context("starting ctr")?;
            if !output.status.success() {
                bail!("node {}: {}: {}", node.name, file.display(), String::from_utf8_lossy(&output.stderr).trim());
            }
            print!("{}: {}", node.name, String::from_utf8_lossy(&output.stdout));
        }
    }
    Ok(())
}

/// Writes the archives of pintle's own images and returns their paths.
pub fn bundled(layout: &Layout) -> Result<Vec<PathBuf>> {
    if DEMO_PROGRAM.is_empty() {
        bail!("this binary carries no images: build it with `cargo xtask build`");
    }
    let folder = layout.root().join("images");
    std::fs::create_dir_all(&folder)?;
    let shell = ["/usr/bin/busybox", "/bin/busybox"].iter().find_map(|p| std::fs::read(p).ok());
    BUNDLED
        .iter()
        .map(|image| {
            let file = folder.join(format!("{}.tar", image.reference.replace(['/', ':'], "_")));
            let archive = archive(image, shell.as_deref().filter(|_| image.with_shell))?;
            std::fs::write(&file, archive).with_context(|| format!("writing {}", file.display()))?;
            Ok(file)
        })
        .collect()
}

/// An OCI image layout in a tar file: one layer, one configuration, one manifest.
fn archive(image: &Image, shell: Option<&[u8]>) -> Result<Vec<u8>> {
    let layer = layer(shell)?;
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": {
            "Entrypoint": image.entrypoint, "Env": image.env, "WorkingDir": "/",
            "ExposedPorts": image.ports.iter().map(|p| ((*p).to_owned(), json!({}))).collect::<serde_json::Map<_, _>>(),
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    });
    let config = serde_json::to_vec(&config)?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    }))?;
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = json!({"io.containerd.image.name": image.reference, "org.opencontainers.image.ref.name": image.reference});
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [entry]}))?;

    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
    add(&mut tar, "index.json", &index, 0o644)?;
    for blob in [&layer, &config, &manifest] {
        add(&mut tar, &format!("blobs/sha256/{}", &digest(blob)["sha256:".len()..]), blob, 0o644)?;
    }
    Ok(tar.into_inner()?)
}

fn layer(shell: Option<&[u8]>) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, "pintle-demo", DEMO_PROGRAM, 0o755)?;
    if let Some(shell) = shell {
        add(&mut tar, "bin/busybox", shell, 0o755)?;
        for applet in APPLETS {
            link(&mut tar, &format!("bin/{applet}"), "busybox")?;
        }
        link(&mut tar, "bin/wget", "/pintle-demo")?;
        add(&mut tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", 0o644)?;
        add(&mut tar, "etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644)?;
    }
    for folder in ["tmp/", "etc/", "bin/"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(if folder == "tmp/" { 0o1777 } else { 0o755 });
        tar.append_data(&mut header, folder, std::io::empty())?;
    }
    Ok(tar.into_inner()?)
}

fn link(tar: &mut tar::Builder<Vec<u8>>, path: &str, target: &str) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    header.set_mode(0o777);
    Ok(tar.append_link(&mut header, path, target)?)
}

fn add(tar: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    Ok(tar.append_data(&mut header, path, content)?)
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(blob), "size": blob.len()})
}

fn digest(blob: &[u8]) -> String {
    let hex: String = Sha256::digest(blob).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

/// The node's own containerd, while it lives.
pub fn containerd_pid(folder: &Path) -> Option<i32> {
    let pid: i32 = std::fs::read_to_string(pid_file(folder)).ok()?.trim().parse().ok()?;
    let command = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (command.trim() == "containerd" && process_lives(pid)).then_some(pid)
}

/// After `down`: nothing of the runtime's state of running things is true any more; images and content stay.
pub fn forget_runtime(folder: &Path) {
    let _ = std::fs::remove_file(pid_file(folder));
    for part in ["containerd/state", "private", "containerd/containerd.sock"] {
        let path = folder.join(part);
        let _ = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
    }
}

fn pid_file(folder: &Path) -> PathBuf {
    folder.join("containerd/containerd.pid")
}

fn process_lives(pid: i32) -> bool {
    process::alive(pid, "")
}
