//! What an installation chooses of a server.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use crate::auth::Anonymous;
use crate::auth::oidc::config::Jwt;
use crate::cache::Limits;
use crate::encryption;
use crate::storage::Storage;

/// What tokens name as their issuer unless told otherwise.
pub const DEFAULT_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

#[derive(Clone, Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub storage: Storage,
    /// Under which nodes and pods reach the server.
    pub advertise_address: IpAddr,
    /// `10.96.0.0/16`
    pub service_cidr: ipnet::IpNet,
    /// Names in the server's certificate besides the usual ones.
    pub extra_names: Vec<String>,
    pub limits: Limits,
    pub issuer: String,
    /// Who may ask without credentials, and for what.
    pub anonymous: Anonymous,
    /// Others whose tokens count.
    pub oidc: Vec<Arc<Jwt>>,
    pub audit: crate::audit::Settings,
    /// What Pod Security asks by default, and of whom it asks nothing.
    pub pod_security: crate::admission::pod_security::config::Configuration,
    /// Which values lie encrypted in the store.
    pub encryption: encryption::Settings,
}

impl Config {
    pub fn new(data_dir: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        let advertise_address = if listen.ip().is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { listen.ip() };
        Self {
            data_dir: data_dir.into(),
            listen,
            storage: Storage::Embedded,
            advertise_address,
            service_cidr: ipnet::IpNet::V4(ipnet::Ipv4Net::new_assert([10, 96, 0, 0].into(), 16)),
            extra_names: Vec::new(),
            limits: Limits::default(),
            issuer: DEFAULT_ISSUER.to_owned(),
            anonymous: Anonymous::health(),
            oidc: Vec::new(),
            audit: Default::default(),
            pod_security: Default::default(),
            encryption: Default::default(),
        }
    }
    /// The address of the service `default/kubernetes`.
    pub fn service_address(&self) -> IpAddr {
        self.service_cidr.hosts().next().unwrap_or(self.service_cidr.addr())
    }
}
