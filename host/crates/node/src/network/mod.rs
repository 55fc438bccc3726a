//! The pods' network of one node: a bridge for its pods, routes to the other nodes' pods, masquerade for what leaves the cluster.
//!
//! Works in the network namespace of its process. Learns the node's range of pod addresses from its Node object, writes the CNI
//! configuration that the container runtime waits for, and follows the other Nodes. Calls `ip` and `iptables-restore`; gives
//! no address to a pod itself (the CNI plugins do). [`start`] is called by [`crate::run`], [`clean_up`] by `pintle down`.

mod clean_up;
mod cni;
mod interfaces;
pub mod iptables;
mod routes;
mod rules;
pub mod sources;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use ipnet::Ipv4Net;
use pintle_client::Change;
use tokio::task::JoinHandle;

pub use clean_up::clean_up;
pub use iptables::{Error as IptablesError, RuleSet, Tool};
pub use sources::{Node, Sources};

use crate::NodeConfig;

/// Addresses of all pods, and of all services, unless told otherwise.
pub const CLUSTER_CIDR: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16);
pub const SERVICE_CIDR: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16);

/// After a failure to bring the machine to the wished state.
const RETRY: Duration = Duration::from_secs(2);
/// Somebody else may have removed routes or rules: look again this often.
const RECHECK: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("`{command}` failed: {message}")]
    Command { command: String, message: String },
    #[error(transparent)]
    Iptables(#[from] IptablesError),
    #[error("{path}: {error}")]
    File { path: PathBuf, error: std::io::Error },
}

/// Follows the cluster until dropped. What it made stays, so that pods keep their network while the node's process restarts.
pub struct Network {
    task: JoinHandle<()>,
}

impl Drop for Network {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn start(config: &NodeConfig, sources: &Arc<Sources>, tool: &Arc<Tool>) -> Network {
    let keeper = Keeper {
        node_name: config.name.clone(),
        given_cidr: config.pod_cidr.as_deref().and_then(|c| c.parse().ok()),
        cni_conf_dir: config.cni_conf_dir.clone(),
        ipam_dir: config.data_dir.join("cni/ipam"),
        sources: sources.clone(),
        tool: tool.clone(),
        own_cidr: None,
        nodes: BTreeMap::new(),
        dirty: true,
    };
    Network { task: tokio::spawn(keeper.run()) }
}

struct Keeper {
    node_name: String,
    given_cidr: Option<Ipv4Net>,
    cni_conf_dir: PathBuf,
    ipam_dir: PathBuf,
    sources: Arc<Sources>,
    tool: Arc<Tool>,
    /// The range that the CNI configuration was written for.
    own_cidr: Option<Ipv4Net>,
    nodes: BTreeMap<String, Node>,
    /// The machine may differ from what the nodes say.
    dirty: bool,
}

impl Keeper {
    async fn run(mut self) {
        if let Some(cidr) = self.given_cidr {
            self.settle(cidr).await;
        }
        let mut changes = self.sources.nodes.subscribe();
        loop {
            let pause = match self.bring_about().await {
                Ok(()) => RECHECK,
                Err(error) => {
                    tracing::warn!(%error, "the pods' network is not as it should be");
                    RETRY
                }
            };
            tokio::select! {
                change = changes.next() => match change { Some(change) => self.take_in(&change), None => return },
                () = tokio::time::sleep(pause) => self.dirty = true,
            }
            // What else is there already belongs to the same step.
            while let Some(Some(change)) = changes.next().now_or_never() {
                self.take_in(&change);
            }
        }
    }

    /// Most changes are heartbeats, which say nothing here.
    fn take_in(&mut self, change: &Change) {
        let Some(node) = sources::read_node(change.object()) else { return };
        self.dirty |= match change {
            Change::Deleted(_) => self.nodes.remove(&node.name).is_some(),
            _ if self.nodes.get(&node.name) == Some(&node) => false,
            _ => {
                self.nodes.insert(node.name.clone(), node);
                true
            }
        };
    }

    /// Tries until the node's own range is set up.
    async fn settle(&mut self, cidr: Ipv4Net) {
        while let Err(error) = self.set_up(cidr).await {
            tracing::warn!(%error, "cannot set up the pods' bridge");
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn set_up(&mut self, cidr: Ipv4Net) -> Result<(), NetworkError> {
        interfaces::set_kernel_switches()?;
        interfaces::make_bridge(cidr).await?;
        cni::write(&self.cni_conf_dir, &self.ipam_dir, cidr)?;
        self.own_cidr = Some(cidr);
        tracing::info!(%cidr, "the pods' network is configured");
        Ok(())
    }

    async fn bring_about(&mut self) -> Result<(), NetworkError> {
        if !self.dirty {
            return Ok(());
        }
        let own = self.nodes.get(&self.node_name);
        let wanted = own.and_then(|n| n.pod_cidr).or(self.given_cidr);
        if let Some(cidr) = wanted
            && self.own_cidr != Some(cidr)
        {
            self.set_up(cidr).await?;
        }
        let Some(own_cidr) = self.own_cidr else { return Ok(()) };
        let others: Vec<&Node> = self.nodes.values().filter(|n| n.name != self.node_name).collect();
        let rules = rules::wanted(own_cidr, &others);
        rules::apply(&self.tool, &rules).await?;
        routes::apply(&routes::wanted(&others)).await?;
        interfaces::ensure_service_route().await?;
        self.dirty = false;
        Ok(())
    }
}

/// Runs a program to its end; what it printed.
async fn run(program: &str, arguments: &[&str]) -> Result<String, NetworkError> {
    let failed = |message: String| NetworkError::Command { command: format!("{program} {}", arguments.join(" ")), message };
    let output = tokio::process::Command::new(program).args(arguments).kill_on_drop(true).output().await.map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
