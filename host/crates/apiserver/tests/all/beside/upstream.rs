//! A real kube-apiserver over a real etcd, on loopback, with the certificates that this server would make.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::client::Place;

/// Starting takes some ten seconds on a quiet machine.
const START: Duration = Duration::from_secs(90);

pub struct Upstream {
    pub place: Place,
    /// The store's URL.
    pub etcd: String,
    children: Vec<Child>,
    log: PathBuf,
}

/// Where the programs are, as `PINTLE_UPSTREAM_BIN` tells.
pub fn programs() -> PathBuf {
    std::env::var_os("PINTLE_UPSTREAM_BIN").expect("PINTLE_UPSTREAM_BIN names the folder of kube-apiserver and etcd").into()
}

impl Upstream {
    pub async fn start(dir: &Path, flags: &[String]) -> Self {
        let bin = programs();
        let [client, peer, secure] = free_ports();
        let place = Place::new(dir, SocketAddr::from(([127, 0, 0, 1], secure)));
        let file = |name: &str| dir.join(name).display().to_string();
        let key = |name: &str| dir.join("pki").join(name).display().to_string();
        let log = |name: &str| std::fs::File::create(dir.join(name)).unwrap();
        let (etcd, peers) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let mut command = Command::new(bin.join("etcd"));
        command.args(["--data-dir", &file("etcd"), "--listen-client-urls", &etcd, "--advertise-client-urls", &etcd, "--listen-peer-urls", &peers]);
        command.args(["--initial-advertise-peer-urls", &peers, "--initial-cluster", &format!("default={peers}")]);
        let mut children = vec![command.stdout(Stdio::null()).stderr(log("etcd.log")).spawn().unwrap()];
        let mut command = Command::new(bin.join("kube-apiserver"));
        command.args(["--etcd-servers", &etcd, "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1"]);
        command.args(["--secure-port", &secure.to_string(), "--service-cluster-ip-range", "10.96.0.0/16", "--allow-privileged=true"]);
        command.args(["--tls-cert-file", &key("apiserver.crt"), "--tls-private-key-file", &key("apiserver.key")]);
        command.args(["--client-ca-file", &key("ca.crt"), "--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction"]);
        let public = rcgen::KeyPair::from_pem(&place.pki.service_account_key).unwrap().public_key_pem();
        std::fs::write(dir.join("sa.pub"), public).unwrap();
        command.args(["--service-account-key-file", &file("sa.pub"), "--service-account-signing-key-file", &key("sa.key")]);
        command.args(["--service-account-issuer", pintle_apiserver::DEFAULT_ISSUER]);
        command.args(flags);
        children.push(command.stdout(Stdio::null()).stderr(log("kube-apiserver.log")).spawn().unwrap());
        let mut upstream = Self { place, etcd, children, log: dir.join("kube-apiserver.log") };
        upstream.wait_until_ready().await;
        upstream
    }

    async fn wait_until_ready(&mut self) {
        let began = Instant::now();
        loop {
            if let Ok(mut admin) = self.place.try_caller(&["admin", "system:masters"]).await {
                let ready = admin.ask("GET", "/readyz", "", "").await.code == 200;
                // Made by its own controllers some time after.
                if ready && admin.ask("GET", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/system:basic-user", "", "").await.code == 200 {
                    return;
                }
            }
            let said = || std::fs::read_to_string(self.log.as_path()).unwrap_or_default();
            let ended = self.children.iter_mut().any(|child| child.try_wait().unwrap().is_some());
            assert!(!ended && began.elapsed() < START, "kube-apiserver did not come:\n{}", said());
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
