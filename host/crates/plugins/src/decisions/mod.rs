//! The decision log: what every plugin decided, on what grounds, kept for a while on disk; and what is made of it: answers to `pintle why`,
//! exports, and replays of another component over the same inputs.
//!
//! Bounded in bytes and records ([`writer`]); drivers hand over and go on ([`log`]). Holds no Secret's values ([`redact`]). It decides
//! nothing, and a cluster whose log cannot be written runs as before.

mod desk;
mod explain;
mod fold;
pub mod log;
pub mod notes;
pub mod offline;
pub mod read;
pub mod record;
mod redact;
pub mod replay;
pub mod segment;
pub mod splice;
pub mod tap;
pub mod tape;
#[cfg(test)]
mod tests;
mod view;
mod writer;

pub use desk::{Asked, Decisions, Explain};
pub use log::{Log, Stream};
pub use read::Wanted;
pub use writer::Bounds;
