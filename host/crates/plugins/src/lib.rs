//! The plugin runtime: loads WebAssembly components, keeps them within their limits and grants, and drives schedulers, controllers and
//! ingress controllers from informers through queues to writes.
//!
//! It decides nothing: remove every plugin and pods stay unplaced, ReplicaSets stay empty, hosts stay unrouted. It acts on the cluster
//! through [`pintle_api::Client`] alone. The `pintle` binary starts a [`Manager`]; nobody else links this crate, because it links the
//! compiler.

mod controller;
mod engine;
mod events;
pub mod grants;
mod guest;
mod index;
mod load;
mod meta;
pub mod plugin;
mod revision;
mod shared;

pub use guest::LogLine;
pub use load::World;
