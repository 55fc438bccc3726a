//! The resources of `apps/v1`, in the order of discovery.

pub mod controllerrevisions;
pub mod daemonsets;
pub mod deployments;
pub mod replicasets;
pub mod statefulsets;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![
        controllerrevisions::kind().boxed(),
        daemonsets::kind().boxed(),
        deployments::kind().boxed(),
        replicasets::kind().boxed(),
        statefulsets::kind().boxed(),
    ]
}
