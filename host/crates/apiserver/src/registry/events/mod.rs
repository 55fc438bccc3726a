//! The resources of `events.k8s.io/v1`, in the order of discovery.

pub mod events;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![events::kind().boxed()]
}
