//! Every built-in resource, in the order of discovery.
//!
//! Called once, when the server is built. Custom resources are added by the machinery from their definitions.

use super::strategy::Strategy;
use super::{
    admissionregistration, apiextensions, apiregistration, apps, autoscaling, batch, certificates, coordination, core, discovery, events,
    flowcontrol, networking, node, pintle, policy, rbac, resource, reviews, scheduling, storage,
};

pub fn all() -> Vec<Box<dyn Strategy>> {
    [
        core::all(),
        apiregistration::all(),
        apps::all(),
        events::all(),
        reviews::all(),
        autoscaling::all(),
        batch::all(),
        certificates::all(),
        networking::all(),
        policy::all(),
        rbac::all(),
        storage::all(),
        admissionregistration::all(),
        apiextensions::all(),
        scheduling::all(),
        coordination::all(),
        node::all(),
        discovery::all(),
        flowcontrol::all(),
        resource::all(),
        pintle::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
