//! What all of these tests need: a server over memory, its in-process client, and connections to it.

use std::net::SocketAddr;
use std::sync::Arc;

use pintle_api::Client;
use pintle_apiserver::auth::pki::Identity;
use pintle_apiserver::auth::{Pki, User};
use pintle_apiserver::{Config, Server, Storage};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A server, and a client of it that may do everything.
pub struct Fixture {
    pub server: Server,
    pub client: Arc<dyn Client>,
    _dir: tempfile::TempDir,
}

impl Fixture {
    pub async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let (server, _dir) = start(change).await;
        let client: Arc<dyn Client> = Arc::new(server.local_client(User::loopback()));
        Self { server, client, _dir }
    }
}

/// A server over memory, and the folder that must outlive it.
pub async fn start(change: impl FnOnce(&mut Config)) -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config { storage: Storage::Memory, ..Config::new(dir.path(), "127.0.0.1:0".parse().unwrap()) };
    change(&mut config);
    (Server::start(config).await.unwrap(), dir)
}

/// Of a client that trusts the cluster's authority; `identity`: who it is by certificate.
pub fn tls(pki: &Pki, identity: Option<&Identity>, protocols: &[&str]) -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(pki.roots().unwrap());
    let mut tls = match identity.map(|identity| identity.der().unwrap()) {
        Some((chain, key)) => tls.with_client_auth_cert(chain, key).unwrap(),
        None => tls.with_no_client_auth(),
    };
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(tls)
}

pub async fn connect(address: SocketAddr, tls: Arc<rustls::ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
    tokio_rustls::TlsConnector::from(tls).connect(name, stream).await
}

/// As the administrator.
pub async fn connect_as_admin(server: &Server, protocols: &[&str]) -> TlsStream<TcpStream> {
    connect(server.address(), tls(server.pki(), Some(&server.pki().admin), protocols)).await.unwrap()
}
