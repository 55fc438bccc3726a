//! What all drivers of the process share.

use std::sync::Arc;

use pintle_api::Client;

use crate::engine::Machine;
use crate::events::Recorder;
use crate::index::Informers;

/// Makes the client that acts as `system:pintle:plugin:NAME`.
pub type Clients = Arc<dyn Fn(&str) -> Arc<dyn Client> + Send + Sync>;

pub struct Shared {
    pub machine: Machine,
    pub clients: Clients,
    pub informers: Arc<Informers>,
    /// Writes as the plugin manager.
    pub recorder: Recorder,
}
