//! Types of the API: fields, list kinds, defaults, descriptions.
//!
//! [`builtin`] has the types of all built-in kinds, [`structural`] those of custom resources. [`check`] tells unknown
//! fields and wrong types of a body, [`prune_unknown`] brings a body into the form that a typed decoder would give.

pub mod kinds;
pub mod rows;

mod builtin;
mod check;
mod convert;
mod duplicates;
mod go;
pub mod presence;
mod prune;
pub mod structural;
pub mod times;

pub use builtin::{Schemas, builtin};
pub use check::{Findings, check};
pub use duplicates::{Duplicates, MAX_DUPLICATES, duplicates, has_duplicates};
pub use kinds::{ListKind, MapKind, Presence, TypeRef};
pub use prune::prune_unknown;
