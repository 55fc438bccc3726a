//! The API server: HTTPS in, authenticated, authorized and admitted requests through one generic registry, out to the
//! store; a cache of the wire bytes above the store answers reads and watches.
//!
//! Callers: the `pintle` binary starts a [`Server`]; everything in process acts through [`LocalClient`]. This crate alone
//! imports the store. It decides nothing about scheduling, controllers or routing.

pub mod admission;
pub mod aggregation;
pub mod audit;
pub mod auth;
pub mod backup;
pub mod bookkeeping;
pub mod cache;
mod config_file;
pub mod custom;
pub mod encryption;
pub mod handlers;
pub mod http;
pub mod local;
pub mod resources;
pub mod server;

pub use local::LocalClient;
pub use server::{Config, Server, Storage};
