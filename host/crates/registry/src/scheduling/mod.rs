//! The resources of `scheduling.k8s.io/v1`, in the order of discovery.

pub mod priorityclasses;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![priorityclasses::kind().boxed()]
}
