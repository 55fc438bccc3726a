//! The service proxy of one node: Services and EndpointSlices become iptables rules in kube-proxy's chains.
//!
//! [`rules::rules`] is a pure function of everything that is known; only the chains that differ from what was applied last are
//! written, in one `iptables-restore`. The first change is applied at once, those that follow are gathered. It decides
//! nothing about endpoints: readiness and hints are written by others. Started by [`crate::run`].

mod conntrack;
mod health;
pub mod model;
mod names;
mod rules;
mod topology;

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use pintle_api::client::Served;
use pintle_api::object::ObjectExt;
use pintle_client::Change;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::NodeConfig;
use crate::network::iptables::Table;
use crate::network::{IptablesError, RuleSet, Sources, Tool};
use model::{Protocol, Snapshot};

/// Least time between the beginnings of two writes.
const PACE: Duration = Duration::from_millis(60);
/// After a write that failed; everything is then written again.
const RETRY: Duration = Duration::from_secs(1);
/// Whether somebody flushed the tables is looked up this often.
const RECHECK: Duration = Duration::from_secs(30);

/// Follows services until dropped. Its rules stay, so that connections go on while the node's process restarts.
pub struct Proxy {
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn start(config: &NodeConfig, sources: &Arc<Sources>, tool: &Arc<Tool>) -> Proxy {
    let address = config.addresses.iter().find_map(|a| match a {
        std::net::IpAddr::V4(ip) => Some(*ip),
        std::net::IpAddr::V6(_) => None,
    });
    let snapshot = Snapshot { node_name: config.name.clone(), node_address: address, ..Snapshot::default() };
    let worker =
        Worker { sources: sources.clone(), tool: tool.clone(), snapshot, applied: None, udp_changed: true, health: health::Server::default() };
    Proxy { task: tokio::spawn(worker.run()) }
}

struct Worker {
    sources: Arc<Sources>,
    tool: Arc<Tool>,
    snapshot: Snapshot,
    /// `None`: unknown, everything is written.
    applied: Option<RuleSet>,
    udp_changed: bool,
    health: health::Server,
}

impl Worker {
    async fn run(mut self) {
        self.sources.services.wait_synced().await;
        self.sources.slices.wait_synced().await;
        let mut services = self.sources.services.subscribe();
        let mut slices = self.sources.slices.subscribe();
        let mut nodes = self.sources.nodes.subscribe();
        self.gather(&mut services, &mut slices);
        let mut dirty = true;
        let mut next_write = Instant::now();
        let mut recheck = tokio::time::interval_at(Instant::now() + RECHECK, RECHECK);
        loop {
            tokio::select! {
                change = services.next() => match change { Some(change) => dirty |= self.service_changed(&change), None => return },
                change = slices.next() => match change { Some(change) => dirty |= self.slice_changed(&change), None => return },
                change = nodes.next() => match change { Some(change) => dirty |= self.node_changed(&change), None => return },
                () = tokio::time::sleep_until(next_write), if dirty => {
                    self.gather(&mut services, &mut slices);
                    next_write = Instant::now() + PACE;
                    dirty = false;
                    if let Err(error) = self.write().await {
                        tracing::warn!(%error, "service rules could not be written");
                        self.applied = None;
                        dirty = true;
                        next_write = Instant::now() + RETRY;
                    }
                }
                _ = recheck.tick() => if !self.tool.chain_exists(Table::Nat, rules::CANARY).await.unwrap_or(true) {
                    tracing::warn!("somebody removed the service rules");
                    self.applied = None;
                    dirty = true;
                },
            }
        }
    }

    /// Takes in what is there already, so that one write serves many changes.
    fn gather(&mut self, services: &mut BoxStream<'static, Change>, slices: &mut BoxStream<'static, Change>) {
        while let Some(Some(change)) = services.next().now_or_never() {
            self.service_changed(&change);
        }
        while let Some(Some(change)) = slices.next().now_or_never() {
            self.slice_changed(&change);
        }
    }

    async fn write(&mut self) -> Result<(), IptablesError> {
        let begun = Instant::now();
        let wanted = rules::rules(&self.snapshot, rules::Abilities { recent: self.tool.has_recent });
        let jumps = match self.applied {
            Some(_) => String::new(),
            None => {
                self.applied = Some(self.leftovers().await?);
                // The chains must be there before a jump to them.
                self.tool.mended_jumps(rules::JUMPS).await?
            }
        };
        let batch = self.applied.as_ref().map_or_else(String::new, |applied| wanted.changes_since(applied));
        self.tool.restore(&(batch + &jumps)).await?;
        tracing::debug!(rules = wanted.rule_count(), milliseconds = begun.elapsed().as_millis(), "service rules are written");
        self.applied = Some(wanted);
        if std::mem::take(&mut self.udp_changed) {
            conntrack::forget_stale(&self.snapshot).await;
        }
        self.health.serve(&self.snapshot);
        Ok(())
    }

    /// Chains that an earlier process of this node left, by name.
    async fn leftovers(&self) -> Result<RuleSet, IptablesError> {
        let mut set = RuleSet::default();
        for name in self.tool.chains(Table::Nat).await?.iter().filter(|n| names::is_service_chain(n)) {
            set.insert_unknown(Table::Nat, name);
        }
        Ok(set)
    }

    /// True where rules may differ now.
    fn service_changed(&mut self, change: &Change) -> bool {
        let Some(service) = model::read_service(change.object()) else { return false };
        let key = (service.namespace.clone(), service.name.clone());
        let udp = service.ports.iter().any(|p| p.protocol == Protocol::Udp);
        let changed = match change {
            Change::Deleted(_) => self.snapshot.services.remove(&key).is_some(),
            _ if self.snapshot.services.get(&key).is_some_and(|known| **known == service) => false,
            _ => {
                self.snapshot.services.insert(key, Arc::new(service));
                true
            }
        };
        self.udp_changed |= changed && udp;
        changed
    }

    fn slice_changed(&mut self, change: &Change) -> bool {
        // A slice may change its service's name: what it was before goes.
        let mut changed = false;
        if let Change::Deleted(old) | Change::Modified { old, .. } = change {
            let gone = !matches!(change, Change::Modified { new, .. } if owner(new) == owner(old));
            if gone && let Some((name, slice)) = model::read_slice(old) {
                let key = (slice.namespace.clone(), slice.service.clone());
                if let Some(slices) = self.snapshot.slices.get_mut(&key) {
                    changed |= slices.remove(&name).is_some();
                    if slices.is_empty() {
                        self.snapshot.slices.remove(&key);
                    }
                }
                self.udp_changed |= has_udp(&slice);
            }
        }
        if let Change::Added(new) | Change::Modified { new, .. } = change
            && let Some((name, slice)) = model::read_slice(new)
        {
            let slices = self.snapshot.slices.entry((slice.namespace.clone(), slice.service.clone())).or_default();
            if slices.get(&name).is_none_or(|known| **known != slice) {
                self.udp_changed |= has_udp(&slice);
                slices.insert(name, Arc::new(slice));
                changed = true;
            }
        }
        changed
    }

    /// Only this node's zone matters.
    fn node_changed(&mut self, change: &Change) -> bool {
        let Ok(node) = change.object().parse() else { return false };
        if node.name() != self.snapshot.node_name {
            return false;
        }
        let zone = node.label("topology.kubernetes.io/zone").unwrap_or_default();
        let changed = self.snapshot.zone != zone;
        zone.clone_into(&mut self.snapshot.zone);
        changed
    }
}

fn owner(served: &Served) -> Option<(String, String)> {
    model::read_slice(served).map(|(_, slice)| (slice.namespace, slice.service))
}

fn has_udp(slice: &model::Slice) -> bool {
    slice.endpoints.keys().any(|(_, protocol)| *protocol == Protocol::Udp)
}
