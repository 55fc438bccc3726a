//! The API server: HTTPS in, authenticated, authorized and admitted requests through one generic registry, out to the
//! store; a cache of the wire bytes above the store answers reads and watches.
//!
//! Callers: the `pintle` binary starts a [`Server`]; everything in process acts through [`LocalClient`]. This crate alone
//! imports the store. It decides nothing about scheduling, controllers or routing.

pub mod admission;
pub mod aggregation;
mod apiservices;
pub mod audit;
pub mod auth;
pub mod backup;
pub mod bookkeeping;
pub mod cache;
pub mod config;
mod config_file;
pub mod conversion;
pub mod custom;
pub mod encryption;
pub mod handlers;
pub mod http;
pub mod local;
pub mod lookup;
pub mod outbound;
pub mod pieces;
pub mod resources;
pub mod scope;
pub mod server;
pub mod storage;

pub use config::{Config, DEFAULT_ISSUER};
pub use local::LocalClient;
pub use server::Server;
pub use storage::Storage;

/// What `kubectl version` shows.
pub const GIT_VERSION: &str = "v1.36.3+pintle";
