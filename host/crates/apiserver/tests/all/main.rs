//! Whole servers, asked by real clients over the wire or by the in-process client.
//!
//! One binary: each more would link the server once again, and take its hundred megabytes of disk.

mod authorization;
mod beside;
mod doubled;
mod elsewhere;
mod encryption;
mod harness;
mod hostile;
mod oidc;
mod protobuf;
mod server;
mod wire;
