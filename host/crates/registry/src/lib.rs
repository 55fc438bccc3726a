//! Resources: the wall between the generic machinery and the rules of each kind.
//!
//! A kind's defaults, validation, rows and what it does around a write stand here, one file a resource, behind [`Strategy`]; those of custom
//! kinds are made from their definitions (`custom`). What else is in the cluster is read through [`Lookup`]. No request, no store, no cache and
//! no clock: the API server calls it for each write.

pub mod allocator;
pub mod checks;
pub mod conditions;
mod context;
pub mod def;
mod diff;
pub mod faults;
pub mod fields;
pub mod internal;
mod key_pair;
pub mod kind;
pub mod podspec;
pub mod print;
pub mod quota;
pub mod strategy;
pub mod table;
pub mod volume_sources;
pub mod warnings;
pub mod workload;

pub mod admissionregistration;
pub mod apiextensions;
pub mod apiregistration;
pub mod apps;
pub mod autoscaling;
pub mod batch;
pub mod certificates;
pub mod coordination;
pub mod core;
pub mod custom;
pub mod discovery;
pub mod events;
pub mod flowcontrol;
pub mod networking;
pub mod node;
pub mod pintle;
pub mod policy;
pub mod rbac;
pub mod resource;
pub mod reviews;
pub mod scheduling;
pub mod storage;

pub mod testing;
#[cfg(test)]
mod tests;

pub use context::{Lookup, WriteContext};
pub use strategy::{Column, Part, Strategy};
pub use table::all;
