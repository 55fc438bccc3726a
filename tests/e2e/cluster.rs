//! A cluster for a test: a control plane alone, or one with nodes in a network namespace of the test's own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::run::{Output, kubectl, output, output_with_input, pintle, wait};

/// `pintle server` on a free port of the loopback interface.
pub struct Server {
    process: Child,
    folder: TempDir,
    args: &'static [&'static str],
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(&[], |_| {})
    }

    /// The API alone: nothing is scheduled, no controller runs.
    pub fn start_without_plugins() -> Self {
        Self::start_with(&["--no-plugins"], |_| {})
    }

    /// On a data folder that somebody prepares.
    pub fn start_on(prepare: impl FnOnce(&Path)) -> Self {
        Self::start_with(&[], prepare)
    }

    fn start_with(args: &'static [&'static str], prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        prepare(&folder.path().join("data"));
        let process = Self::spawn(folder.path(), "127.0.0.1:0", args);
        let server = Self { process, folder, args };
        server.wait_until_ready();
        server
    }

    fn wait_until_ready(&self) {
        wait("the server's readiness", 60, || ready(&self.kubectl(&["get", "--raw", "/readyz"])));
    }

    fn spawn(folder: &Path, listen: &str, args: &[&str]) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log file");
        Command::new(pintle())
            .args(["server", "--listen", listen, "--data-dir"])
            .arg(folder.join("data"))
            .arg("--kubeconfig-out")
            .arg(folder.join("kubeconfig"))
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("pintle server starts")
    }

    pub fn kubectl(&self, args: &[&str]) -> Output {
        output(self.client(kubectl()).args(args))
    }

    pub fn kubectl_with_input(&self, args: &[&str], input: &str) -> Output {
        output_with_input(self.client(kubectl()).args(args), input)
    }

    /// A node that nobody reports for. Its first taint is taken away here: the plugin that would do it is paused in such tests.
    pub fn make_node(&self, manifest: &str) {
        let name = self.kubectl_with_input(&["create", "-f", "-", "-o", "name"], manifest).ok();
        self.kubectl(&["patch", name.trim(), "--type=merge", "-p", r#"{"spec":{"taints":null}}"#]).ok();
    }

    pub fn pintle(&self, args: &[&str]) -> Output {
        output(self.client(pintle()).args(args))
    }

    /// As one types it in that folder.
    pub fn pintle_in(&self, folder: &Path, args: &[&str]) -> Output {
        output(self.client(pintle()).current_dir(folder).args(args))
    }

    fn client(&self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// SIGKILL and a new start on the same data.
    pub fn crash_and_restart(&mut self) {
        self.process.kill().expect("it lives");
        self.process.wait().expect("it ended");
        std::fs::remove_file(self.kubeconfig()).expect("it was written");
        self.process = Self::spawn(self.folder.path(), "127.0.0.1:0", self.args);
        self.wait_until_ready();
    }

    /// The same with the same address: clients that were connected come back.
    pub fn crash_and_restart_in_place(&mut self) {
        let kubeconfig = std::fs::read_to_string(self.kubeconfig()).expect("it was written");
        let address = kubeconfig.split("https://").nth(1).expect("an address").split_whitespace().next().expect("an address").trim_matches('"');
        self.process.kill().expect("it lives");
        self.process.wait().expect("it ended");
        self.process = Self::spawn(self.folder.path(), address, self.args);
        self.wait_until_ready();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the server\n{}", std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
        }
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

fn ready(output: &Output) -> Result<(), String> {
    if output.stdout.trim() == "ok" { Ok(()) } else { Err(format!("{output:?}")) }
}

/// `pintle up` in a namespace of its own.
pub struct Cluster {
    netns: String,
    folder: TempDir,
    down: bool,
}

impl Cluster {
    pub fn up(name: &str, nodes: usize) -> Self {
        let netns = format!("pt-{name}-{}", std::process::id());
        output(Command::new("ip").args(["netns", "add", &netns])).ok();
        output(Command::new("ip").args(["-n", &netns, "link", "set", "lo", "up"])).ok();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cluster = Self { netns, folder, down: false };
        cluster.pintle(&["up", "--nodes", &nodes.to_string(), "--data-dir", &cluster.data_dir()]).ok();
        cluster
    }

    pub fn data_dir(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    /// A command inside the cluster's first network namespace.
    pub fn inside(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.network_namespace().display())).arg("--").arg(program);
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    pub fn network_namespace(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.netns)
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("data/kubeconfig")
    }

    pub fn pintle(&self, args: &[&str]) -> Output {
        output(self.inside(pintle()).args(args))
    }

    pub fn kubectl(&self, args: &[&str]) -> Output {
        output(self.inside(kubectl()).args(args))
    }

    pub fn kubectl_with_input(&self, args: &[&str], input: &str) -> Output {
        output_with_input(self.inside(kubectl()).args(args), input)
    }

    pub fn apply(&self, manifest: &str) -> String {
        self.kubectl_with_input(&["apply", "-f", "-"], manifest).ok()
    }

    pub fn json(&self, args: &[&str]) -> Value {
        let text = self.kubectl(&[args, &["-o", "json"]].concat()).ok();
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    pub fn status(&self) -> Value {
        let text = self.pintle(&["status", "-o", "json", "--data-dir", &self.data_dir()]).ok();
        serde_json::from_str(&text).expect("status prints JSON")
    }

    /// The answer of an HTTP GET from the first node.
    pub fn http_get(&self, url: &str, more: &[&str]) -> Result<String, String> {
        let out = output(self.inside("curl").args(["--silent", "--show-error", "--fail", "--max-time", "5"]).args(more).arg(url));
        if out.success { Ok(out.stdout) } else { Err(out.stderr) }
    }

    pub fn down(&mut self) -> Output {
        self.down = true;
        self.pintle(&["down", "--purge", "--data-dir", &self.data_dir()])
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_state();
        }
        if !self.down {
            let out = self.down();
            eprintln!("down: {}{}", out.stdout, out.stderr);
        }
        output(Command::new("ip").args(["netns", "del", &self.netns]));
    }
}

impl Cluster {
    fn show_state(&self) {
        eprintln!("--- {}", self.kubectl(&["get", "all,nodes,events", "-A", "-o", "wide"]).stdout);
        for entry in std::fs::read_dir(self.folder.path().join("data/log")).into_iter().flatten().flatten() {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("--- the end of {}\n{}", entry.path().display(), lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}
