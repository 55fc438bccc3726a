//! The product from outside: the release binary, real kubectl, containerd and iptables, and nothing of the project linked in but its client.
//!
//! `cargo xtask test` builds what these tests run. Clusters with nodes live in network namespaces that the test makes and removes.

mod clients;
// Recording and accepting answers is for the `corpus` program.
#[allow(dead_code)]
mod corpus;
mod e2e;
mod goldens;
