//! The ingress data plane: executes a route table over HTTP/1.1, HTTP/2, TLS and WebSocket.
//!
//! It decides nothing: which hosts, paths, certificates, limits and shares there are is in the [`table::RouteTable`] that an ingress plugin
//! compiled. A new table counts from the next request on; connections stay. Called by the `pintle` binary, which hands it the tables.

mod auth;
mod balance;
mod body;
mod client;
mod compiled;
mod cors;
mod forward;
mod handle;
mod pages;
mod rate;
mod select;
mod serve;
pub mod table;
mod tls;

pub use serve::{ServeError, serve, serve_on};
