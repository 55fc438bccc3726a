//! The resource model of the Kubernetes API: names and kinds, objects as JSON values, `Status`, selectors,
//! quantities, patches, schemas, and the [`client::Client`] port through which every part of pintle acts.
//!
//! Pure: values in, values out. No runtime, no clock, no file or socket lives here, so every function can be
//! tested with a literal input and an expected output. Everyone imports it; it imports none of ours.

pub mod admission;
pub mod client;
pub mod discovery;
pub mod json;
pub mod metadata;
pub mod names;
pub mod object;
pub mod openapi;
pub mod patch;
pub mod plugin;
pub mod protobuf;
pub mod quantity;
pub mod regexes;
pub mod resource;
pub mod schema;
pub mod selector;
pub mod status;
pub mod table;
pub mod user;

pub use client::{Client, ClientExt};
pub use object::Object;
pub use resource::{GroupVersion, GroupVersionKind, GroupVersionResource, ResourceDef, Scope};
pub use status::{Cause, CauseKind, Reason, Status};
pub use user::User;
