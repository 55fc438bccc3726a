//! What all drivers of the process share.

use std::sync::{Arc, OnceLock};

use pintle_api::Client;
use tokio::sync::watch;

use crate::admission::Admissions;
use crate::decisions::Log;
use crate::engine::{EngineError, Machine};
use crate::events::Recorder;
use crate::index::Informers;
use crate::ingress::{Ingresses, RouteTable};
use crate::scheduler::Schedulers;
use crate::source::Sources;
use crate::stages::metrics::Metrics;
use crate::stages::peers::Peers;

/// Makes the client that acts as `system:pintle:plugin:NAME`.
pub type Clients = Arc<dyn Fn(&str) -> Arc<dyn Client> + Send + Sync>;

pub struct Shared {
    pub machine: Machine,
    /// Acts as the plugin manager.
    pub client: Arc<dyn Client>,
    pub clients: Clients,
    pub informers: Arc<Informers>,
    /// Writes as the plugin manager.
    pub recorder: Recorder,
    pub sources: Sources,
    pub admissions: Admissions,
    pub decisions: Log,
    pub schedulers: Schedulers,
    pub ingresses: Ingresses,
    pub routes: watch::Sender<Arc<RouteTable>>,
    pub ingress_addresses: Vec<String>,
    pub metrics: Arc<Metrics>,
    /// Counts fuel; made for the first shadow.
    pub shadow_machine: OnceLock<Machine>,
    /// Where other servers run the same plugins.
    pub peers: Option<Peers>,
    /// This server's among them; empty where there are none.
    pub identity: String,
}

impl Shared {
    pub fn shadow_machine(&self) -> Result<Machine, EngineError> {
        if let Some(machine) = self.shadow_machine.get() {
            return Ok(machine.clone());
        }
        let made = self.machine.counting_fuel()?;
        Ok(self.shadow_machine.get_or_init(|| made).clone())
    }
}

/// Waits until the flag is raised, or its owner is gone.
pub async fn raised(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|raised| *raised).await;
}
