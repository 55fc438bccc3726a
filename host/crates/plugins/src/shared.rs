//! What all drivers of the process share.

use std::sync::Arc;

use pintle_api::Client;
use tokio::sync::watch;

use crate::admission::Admissions;
use crate::decisions::Log;
use crate::engine::Machine;
use crate::events::Recorder;
use crate::index::Informers;
use crate::ingress::{Ingresses, RouteTable};
use crate::scheduler::Schedulers;
use crate::source::Components;

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
    pub components: Arc<Components>,
    pub admissions: Admissions,
    pub decisions: Log,
    pub schedulers: Schedulers,
    pub ingresses: Ingresses,
    pub routes: watch::Sender<Arc<RouteTable>>,
    pub ingress_addresses: Vec<String>,
}

/// Waits until the flag is raised, or its owner is gone.
pub async fn raised(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|raised| *raised).await;
}
