//! Pods' specs and the templates that embed them: defaults, validation, and what an update may change.
//!
//! Read by path over JSON, without a typed Pod. Called by the pod's own strategy and by every kind with a pod template.

pub mod affinity;
pub mod annotations;
pub mod change;
pub mod containers;
pub mod defaults;
pub mod disabled;
pub mod environment;
mod overlaps;
pub mod qos;
pub mod resize;
pub mod resources;
pub mod security;
mod system;
pub mod template;
pub mod totals;
pub mod validate;
pub mod volumes;
pub mod warnings;

pub use defaults::{default_spec, default_template};
pub use template::{validate_template, validate_template_labels, validate_template_metadata};
pub use validate::validate_spec;

/// Where a pod's containers stand, in upstream's order.
pub const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
