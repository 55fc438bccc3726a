//! A real etcd on free ports with a directory of its own, gone when the guard is dropped.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const START_LIMIT: Duration = Duration::from_secs(60);
const ATTEMPTS: usize = 5;

pub struct Etcd {
    pub url: String,
    peer: String,
    process: Child,
    directory: tempfile::TempDir,
}

/// Two free ports may be taken by somebody else before etcd binds them: then it ends, and others are tried.
pub async fn start() -> Etcd {
    for _ in 0..ATTEMPTS {
        let (client, peer) = free_ports();
        let directory = tempfile::tempdir().unwrap();
        let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let process = spawn(directory.path(), &client, &peer);
        let mut etcd = Etcd { url: client, peer, process, directory };
        if etcd.answers().await {
            return etcd;
        }
    }
    panic!("etcd did not start");
}

fn spawn(directory: &Path, client: &str, peer: &str) -> Child {
    Command::new("etcd")
        .arg("--data-dir")
        .arg(directory)
        .args(["--listen-client-urls", client, "--advertise-client-urls", client])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--unsafe-no-fsync"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd is installed (Debian: etcd-server)")
}

impl Etcd {
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// With the data that it had.
    pub async fn restart(&mut self) {
        self.process = spawn(self.directory.path(), &self.url, &self.peer);
        assert!(self.answers().await, "etcd came back");
    }

    async fn answers(&mut self) -> bool {
        let started = Instant::now();
        while started.elapsed() < START_LIMIT && self.process.try_wait().unwrap().is_none() {
            if pintle_store::etcd::open(pintle_store::etcd::Options::new([&self.url])).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_ports() -> (u16, u16) {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [a, b] = listeners.map(|listener| listener.local_addr().unwrap().port());
    (a, b)
}
