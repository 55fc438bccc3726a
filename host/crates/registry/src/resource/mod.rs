//! The resources of `resource.k8s.io/v1`, in the order of discovery.

pub mod deviceclasses;
pub mod resourceclaims;
pub mod resourceclaimtemplates;
pub mod resourceslices;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![deviceclasses::kind().boxed(), resourceclaims::kind().boxed(), resourceclaimtemplates::kind().boxed(), resourceslices::kind().boxed()]
}
