//! The resources of `events.k8s.io/v1`, in the order of discovery.

#[expect(clippy::module_inception, reason = "each resource has a module of its name in its group's")]
pub mod events;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![events::kind().boxed()]
}
