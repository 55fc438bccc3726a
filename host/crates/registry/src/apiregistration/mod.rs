//! The resources of `apiregistration.k8s.io/v1`, in the order of discovery.

pub mod apiservices;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![apiservices::kind().boxed()]
}
