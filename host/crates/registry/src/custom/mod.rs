//! Custom kinds: what a CustomResourceDefinition says ([`Definition`]), and the strategy that each of its versions makes.
//!
//! Rules in CEL are compiled and priced here. Conversion by a webhook, and serving and ending definitions, is the server's.

mod column;
pub mod costs;
mod definition;
pub mod rules;
mod scale;
mod seen;
mod strategy;

pub use definition::{Definition, conflict};
pub use strategy::{CustomStrategy, of};

/// Holds a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
