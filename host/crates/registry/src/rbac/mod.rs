//! The resources of `rbac.authorization.k8s.io/v1`, in the order of discovery.

pub mod clusterrolebindings;
pub mod clusterroles;
pub mod rolebindings;
pub mod roles;
pub mod rules;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![clusterrolebindings::kind().boxed(), clusterroles::kind().boxed(), rolebindings::kind().boxed(), roles::kind().boxed()]
}
