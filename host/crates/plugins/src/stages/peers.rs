//! The actor's dealings with the other servers of a cluster that run the same plugin: admission policies, which are asked where requests
//! arrive. Each server writes what it counted of a candidate under its identity; the one that leads adds them up, writes the status and
//! promotes. A canary that keeps failing on one of them is withdrawn on all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pintle_api::Client;
use pintle_api::client::{Patch, Target, WriteOptions};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::sums::{ServerSums, Sums};
use crate::actor::Actor;
use crate::plugin::PLUGINS;

/// Between two writes of a server's sums: each writes the whole object anew, which may hold two components.
const PAUSE: Duration = Duration::from_secs(3);

/// What a server knows of itself among several.
pub struct Peers {
    /// Where it is reached, for people to read.
    pub address: String,
    /// Writes also while another server leads.
    pub client: Arc<dyn Client>,
    pub leads: watch::Receiver<bool>,
}

/// What the servers counted.
#[derive(Default)]
pub struct Ledger {
    /// As the object has it, by the server's identity.
    pub entries: BTreeMap<String, ServerSums>,
    /// What this server counts now; none without a candidate.
    own: Option<ServerSums>,
    written_at: Option<Instant>,
}

impl Actor {
    /// Speaks for the plugin: there are no other servers, or this one leads.
    pub fn leads(&self) -> bool {
        self.shared.peers.as_ref().is_none_or(|peers| *peers.leads.borrow())
    }

    /// What this server counted of the same candidate before its process started.
    pub fn counted_before(&self) -> Option<&Sums> {
        self.ledger.entries.get(&self.shared.identity).filter(|entry| entry.generation == self.meta.generation).map(|entry| &entry.sums)
    }

    /// Notes what this server counted, and gives that of all.
    pub fn add_up(&mut self, counted: Sums) -> Sums {
        let Some(peers) = &self.shared.peers else { return counted };
        let (generation, address) = (self.meta.generation, peers.address.clone());
        self.ledger.own = Some(ServerSums { generation, address, withdrawn: String::new(), sums: counted.clone() });
        self.others().fold(counted, |all, other| all.plus(&other.sums))
    }

    /// Why another server withdrew the canary.
    pub fn withdrawn_elsewhere(&self) -> Option<String> {
        self.others().find(|other| !other.withdrawn.is_empty()).map(|other| other.withdrawn.clone())
    }

    /// This server withdraws it.
    pub fn note_withdrawal(&mut self, why: &str) {
        if let Some(own) = &mut self.ledger.own {
            own.withdrawn = why.to_owned();
        }
    }

    /// There is no candidate any more, or another one.
    pub fn forget_sums(&mut self) {
        self.ledger.own = None;
    }

    fn others(&self) -> impl Iterator<Item = &ServerSums> {
        let me = &self.shared.identity;
        let of_now = |entry: &ServerSums| entry.generation == self.meta.generation;
        self.ledger.entries.iter().filter(move |(server, entry)| *server != me && of_now(entry)).map(|(_, entry)| entry)
    }

    /// Writes this server's sums where they changed. Who leads takes those away that count for a spec of the past.
    pub async fn write_sums(&mut self) {
        let Some(peers) = &self.shared.peers else { return };
        let Ledger { entries, own, written_at } = &self.ledger;
        let mut changes = Map::new();
        let me = &self.shared.identity;
        let before = entries.get(me);
        if own.as_ref() != before {
            changes.insert(me.clone(), json!(own));
        }
        if self.leads() {
            let past = entries.iter().filter(|(server, entry)| *server != me && entry.generation < self.meta.generation);
            changes.extend(past.map(|(server, _)| (server.clone(), Value::Null)));
        }
        let hurries = own.as_ref().is_none_or(|own| before.is_none_or(|b| b.generation != own.generation) || !own.withdrawn.is_empty());
        if changes.is_empty() || self.meta.uid.is_empty() || !hurries && written_at.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        let target = Target::object(PLUGINS, None, &self.name).subresource("status");
        let patch = Patch::Merge(json!({"status": {"candidateByServer": changes}}));
        match peers.client.patch(&target, patch, &WriteOptions::default()).await {
            Ok(_) => {
                for (server, entry) in changes {
                    match serde_json::from_value(entry) {
                        Ok(entry) => drop(self.ledger.entries.insert(server, entry)),
                        Err(_) => drop(self.ledger.entries.remove(&server)),
                    }
                }
                self.ledger.written_at = Some(Instant::now());
            }
            Err(status) => tracing::debug!(plugin = %self.name, %status, "what was counted of a candidate was not written"),
        }
    }
}
