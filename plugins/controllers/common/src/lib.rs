//! What the default controllers share: reading fields, judging pods, making them from templates, claiming them, conditions.
//! A library, no component.

pub mod claim;
pub mod conditions;
pub mod fields;
pub mod hash;
pub mod nodes;
pub mod numbers;
pub mod pod_control;
pub mod pods;
pub mod replicas;
pub mod resources;
pub mod revisions;
pub mod route;
pub mod services;
pub mod slices;
pub mod template;
pub mod time;

pub use fields::Fields;
