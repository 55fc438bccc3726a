//! The resources of `certificates.k8s.io/v1`, in the order of discovery.

pub mod certificatesigningrequests;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![certificatesigningrequests::kind().boxed()]
}
