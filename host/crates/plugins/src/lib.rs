//! The plugin runtime: loads WebAssembly components, keeps them within their limits and grants, and drives schedulers, controllers and
//! ingress controllers from informers through queues to writes.
//!
//! It decides nothing: remove every plugin and pods stay unplaced, ReplicaSets stay empty, hosts stay unrouted. It acts on the cluster
//! through [`pintle_api::Client`] alone. The `pintle` binary starts a [`Manager`]; nobody else links this crate, because it links the
//! compiler.

mod actor;
mod admission;
pub mod compiler;
mod contract;
mod controller;
mod decisions;
mod departed;
mod driver;
mod engine;
mod events;
mod functions;
pub mod grants;
mod guest;
mod index;
mod ingress;
mod load;
mod loader;
mod manager;
mod meta;
mod pieces;
pub mod plugin;
mod revision;
mod scheduler;
mod seats;
mod shared;
pub mod source;
mod stages;
mod throttle;

pub use decisions::{Asked, Decisions, Explain, Wanted, replay};
pub use grants::PolicyRule;
pub use guest::LogLine;
pub use load::World;
pub use manager::{EVERYWHERE, Embedded, Handle, LogReader, Manager, ManagerConfig, MetricsReader, ON_ONE, StartError};
pub use shared::Clients;
pub use stages::metrics::Metrics as PluginMetrics;
pub use stages::peers::Peers;

/// The route table's types, for the data plane: plain data.
pub mod routes {
    pub use crate::ingress::empty_table;
    pub use crate::ingress::types::*;
    pub use pintle_plugin_bindings::common::types::Pair;
}
