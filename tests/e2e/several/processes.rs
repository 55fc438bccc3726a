//! Three etcd members and three `pintle server` processes over them, each killed and started again as a test likes. Loopback only.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pintle_client::kubeconfig::Kubeconfig;
use pintle_client::{Config, HttpClient};
use tempfile::TempDir;

use crate::e2e::run::{output, pintle, wait};

pub const SERVERS: usize = 3;
pub const MEMBERS: usize = 3;
/// A port that was free a moment ago may be taken by somebody else: then others are tried.
const ATTEMPTS: usize = 5;
const PATIENCE_SECONDS: u64 = 90;

/// The six processes. Gone when dropped, with what they wrote.
pub struct Several {
    members: Vec<Member>,
    servers: Vec<Server>,
    folder: TempDir,
}

struct Member {
    client_url: String,
    peer_url: String,
    process: Option<Child>,
}

struct Server {
    process: Option<Child>,
    starts: usize,
}

impl Several {
    pub fn start() -> Self {
        Self::start_from(None)
    }

    /// The servers find what a backup has.
    pub fn start_from(backup: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let members = (0..ATTEMPTS).find_map(|attempt| etcd(&folder.path().join(format!("etcd{attempt}")))).expect("three members of etcd start");
        let servers = (0..SERVERS).map(|_| Server { process: None, starts: 0 }).collect();
        let mut several = Self { members, servers, folder };
        if let Some(backup) = backup {
            let data = several.folder.path().join("restoring");
            output(Command::new(pintle()).arg("restore").arg(backup).arg("--data-dir").arg(data).args(["--storage", &several.storage()])).ok();
        }
        // All at once: they must agree on the cluster's keys and first objects.
        (0..SERVERS).for_each(|n| several.spawn_server(n));
        (0..SERVERS).for_each(|n| several.await_server(n));
        several
    }

    pub fn kill_server(&mut self, n: usize) {
        kill(&mut self.servers[n].process);
    }

    /// SIGTERM, and the end of the process.
    pub fn end_server(&mut self, n: usize) {
        let Some(mut process) = self.servers[n].process.take() else { return };
        rustix::process::kill_process(rustix::process::Pid::from_child(&process), rustix::process::Signal::TERM).expect("it lives");
        let code = process.wait().expect("it ended");
        assert!(code.success(), "server {n} ended with {code}:\n{}", self.log(n));
    }

    pub fn start_server(&mut self, n: usize) {
        self.spawn_server(n);
        self.await_server(n);
    }

    pub fn kill_member(&mut self, n: usize) {
        kill(&mut self.members[n].process);
    }

    pub fn start_member(&mut self, n: usize) {
        let folder = self.etcd_folder();
        self.members[n].process = Some(spawn_member(&folder, &self.members, n));
        let url = self.members[n].client_url.clone();
        wait("the member of etcd", PATIENCE_SECONDS, || healthy(&url));
    }

    pub fn client(&self, server: usize) -> HttpClient {
        HttpClient::new(&self.config(server)).expect("a kubeconfig that pintle wrote")
    }

    /// As the administrator, of one server.
    pub fn config(&self, server: usize) -> Config {
        Kubeconfig::load(self.kubeconfig(server)).expect("a kubeconfig that pintle wrote")
    }

    pub fn log(&self, server: usize) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("server{server}.log"))).unwrap_or_default()
    }

    fn storage(&self) -> String {
        let urls: Vec<&str> = self.members.iter().map(|m| m.client_url.as_str()).collect();
        format!("etcd={}", urls.join(","))
    }

    pub fn kubeconfig(&self, server: usize) -> PathBuf {
        self.folder.path().join(format!("kubeconfig{server}-{}", self.servers[server].starts))
    }

    fn etcd_folder(&self) -> PathBuf {
        let made = (0..ATTEMPTS).map(|attempt| self.folder.path().join(format!("etcd{attempt}")));
        made.rev().find(|folder| folder.exists()).expect("etcd started")
    }

    fn spawn_server(&mut self, n: usize) {
        self.servers[n].starts += 1;
        let folder = self.folder.path();
        let log = File::options().create(true).append(true).open(folder.join(format!("server{n}.log"))).expect("a log file");
        let process = Command::new(pintle())
            .args(["server", "--listen", "127.0.0.1:0", "--storage", &self.storage(), "--data-dir"])
            .arg(folder.join(format!("data{n}")))
            .arg("--kubeconfig-out")
            .arg(self.kubeconfig(n))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("pintle server starts");
        self.servers[n].process = Some(process);
    }

    fn await_server(&mut self, n: usize) {
        let kubeconfig = self.kubeconfig(n);
        wait("a server over etcd", PATIENCE_SECONDS, || {
            let seen = output(Command::new(pintle()).args(["get", "--raw", "/readyz", "--kubeconfig"]).arg(&kubeconfig));
            if seen.stdout.trim() == "ok" { Ok(()) } else { Err(format!("{seen:?}\n{}", self.log(n))) }
        });
    }
}

impl Drop for Several {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (0..SERVERS).for_each(|n| eprintln!("--- log of server {n}\n{}", self.log(n)));
        }
        self.servers.iter_mut().for_each(|server| kill(&mut server.process));
        self.members.iter_mut().for_each(|member| kill(&mut member.process));
    }
}

/// `None`: one did not start, perhaps for a port.
fn etcd(folder: &Path) -> Option<Vec<Member>> {
    std::fs::create_dir_all(folder).expect("a folder");
    let listeners: Vec<TcpListener> = (0..2 * MEMBERS).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    let urls: Vec<String> = listeners.iter().map(|l| format!("http://{}", l.local_addr().expect("it listens"))).collect();
    drop(listeners);
    let mut members: Vec<Member> =
        urls.chunks(2).map(|pair| Member { client_url: pair[0].clone(), peer_url: pair[1].clone(), process: None }).collect();
    for n in 0..MEMBERS {
        let process = spawn_member(folder, &members, n);
        members[n].process = Some(process);
    }
    let end = std::time::Instant::now() + std::time::Duration::from_secs(PATIENCE_SECONDS);
    loop {
        if members.iter().all(|m| healthy(&m.client_url).is_ok()) {
            return Some(members);
        }
        let ended = members.iter_mut().any(|m| m.process.as_mut().is_some_and(|p| p.try_wait().is_ok_and(|code| code.is_some())));
        if ended || std::time::Instant::now() > end {
            members.iter_mut().for_each(|m| kill(&mut m.process));
            return None;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// What is killed here are processes, not machines: what they handed to the kernel stays, so etcd need not sync.
fn spawn_member(folder: &Path, members: &[Member], n: usize) -> Child {
    let cluster: Vec<String> = members.iter().enumerate().map(|(n, m)| format!("m{n}={}", m.peer_url)).collect();
    let member = &members[n];
    Command::new("etcd")
        .args(["--name", &format!("m{n}"), "--unsafe-no-fsync", "--data-dir"])
        .arg(folder.join(format!("m{n}")))
        .args(["--listen-client-urls", &member.client_url, "--advertise-client-urls", &member.client_url])
        .args(["--listen-peer-urls", &member.peer_url, "--initial-advertise-peer-urls", &member.peer_url])
        .args(["--initial-cluster", &cluster.join(",")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd is installed (Debian: etcd-server)")
}

fn healthy(url: &str) -> Result<(), String> {
    let seen = output(Command::new("curl").args(["--silent", "--max-time", "2", &format!("{url}/health")]));
    if seen.stdout.contains("true") { Ok(()) } else { Err(format!("{seen:?}")) }
}

fn kill(process: &mut Option<Child>) {
    if let Some(mut process) = process.take() {
        let _ = process.kill();
        let _ = process.wait();
    }
}
