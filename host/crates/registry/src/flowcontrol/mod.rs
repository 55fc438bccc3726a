//! The resources of `flowcontrol.apiserver.k8s.io/v1`, in the order of discovery.

pub mod flowschemas;
pub mod mandatory;
pub mod prioritylevelconfigurations;
mod validate;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![flowschemas::kind().boxed(), prioritylevelconfigurations::kind().boxed()]
}
