//! The resources of `apiextensions.k8s.io/v1`, in the order of discovery.

mod approval;
pub mod customresourcedefinitions;
mod formats;
pub mod shown;
mod validate;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![customresourcedefinitions::kind().boxed()]
}
