//! The API over the network: [`HttpClient`] implements [`pintle_api::Client`] with one identity over TLS, and lends its
//! connection for what the port has no word for (raw requests, upgrades). [`kubeconfig`] says where and as whom.
//! [`Informer`] keeps a live copy of a collection over any `Client`.
//!
//! Nodes, plugins that run apart from the server, and the command line use it. It caches no discovery, knows no
//! resource by name, and retries no write: the caller knows whether a second try is right.

mod body;
mod config;
mod connect;
mod http;
mod informer;
pub mod kubeconfig;
mod port;
mod query;
mod tls;
mod watch;

pub use config::{Config, ConfigError, Credentials, Impersonate};
pub use http::{HttpClient, Upgrade};
pub use informer::{Change, Informer, Selectors, Snapshot};
