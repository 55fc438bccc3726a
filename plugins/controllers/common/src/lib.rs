//! What the default controllers share: reading fields, judging pods, making them from templates, claiming them, conditions.
//! A library, no component.

pub mod claim;
pub mod conditions;
pub mod fields;
pub mod hash;
pub mod numbers;
pub mod pods;
pub mod replicas;
pub mod resources;
pub mod revisions;
pub mod services;
pub mod template;
pub mod time;

pub use fields::Fields;
