//! The cluster of one machine: `pintle up`, `down`, `status` and `image import`.
//!
//! Each part runs as a process of its own (one API server, one node process and one containerd a node), in the background, with
//! its state under one data folder. Nothing here decides about workloads; this module starts, stops and cleans up.

pub mod down;
mod images;
mod layout;
mod machine;
mod network;
mod process;
mod state;
pub mod status;
pub mod up;

pub use images::{ImportArgs, import};
