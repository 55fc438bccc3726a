//! The resources of `node.k8s.io/v1`, in the order of discovery.

pub mod runtimeclasses;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![runtimeclasses::kind().boxed()]
}
