//! What authors of pintle plugins import: one trait a world, the types it speaks, and a harness to test it natively.
//!
//! `admission`, `controller`, `scheduler` and `ingress` hold the traits and are plain Rust: a plugin's logic is tested with the
//! ordinary test runner. The `export_*!` macros tie an implementation to the WIT world when the crate is built for wasm32;
//! natively they expand to nothing. A crate asks for one feature, the world that it is written for.

pub mod admission;
#[cfg(feature = "admission")]
#[doc(hidden)]
pub mod admission_glue;
mod admission_testing;
pub mod controller;
#[cfg(feature = "ingress")]
pub mod ingress;
#[cfg(feature = "scheduler")]
pub mod scheduler;
pub mod selector;
pub mod testing;

#[cfg(feature = "controller")]
#[doc(hidden)]
pub mod controller_glue;
mod glue;

/// Everything that a plugin asks of the host outside of its world's own interface.
pub trait Env {
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    fn now_nanoseconds(&self) -> u64;
    fn random(&self, count: u32) -> Vec<u8>;
    fn log(&self, level: Level, message: &str);
    /// `spec.config` of the Plugin object.
    fn config(&self) -> String;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}
