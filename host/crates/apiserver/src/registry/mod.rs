//! Resources: the wall between the generic machinery and the rules of each kind.

pub mod allocator;
pub mod context;
pub mod strategy;
pub mod table;

pub use context::{Lookup, WriteContext};
pub use strategy::{Column, Part, Strategy};
pub use table::all;
