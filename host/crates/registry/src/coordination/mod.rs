//! The resources of `coordination.k8s.io/v1`, in the order of discovery.

pub mod leases;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![leases::kind().boxed()]
}
