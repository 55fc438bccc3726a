//! The resources of `discovery.k8s.io/v1`, in the order of discovery.

pub mod endpointslices;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![endpointslices::kind().boxed()]
}
