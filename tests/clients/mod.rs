//! Client libraries and kubectl as they are published, against `pintle server`: what they list, watch, patch and refuse, and how they come back
//! after a crash of the server. README.md tells the steps.

mod kube_rs;
mod kubectl;
mod programs;
pub mod tools;

use crate::e2e::cluster::Server;

/// Where all of them work.
const NAMESPACE: &str = "clients";
/// In which they run commands.
const POD: &str = "clients";

fn namespace(server: &Server) {
    server.kubectl(&["create", "namespace", NAMESPACE]).ok();
}
