//! The resources of `networking.k8s.io/v1`, in the order of discovery.

pub mod ingressclasses;
pub mod ingresses;
pub mod ipaddresses;
pub mod networkpolicies;
pub mod servicecidrs;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![
        ingressclasses::kind().boxed(),
        ingresses::kind().boxed(),
        ipaddresses::kind().boxed(),
        networkpolicies::kind().boxed(),
        servicecidrs::kind().boxed(),
    ]
}
