//! The resources of `v1`, in the order of discovery.

pub mod bindings;
pub mod componentstatuses;
pub mod configmaps;
pub mod endpoints;
pub mod events;
pub mod limitranges;
pub mod namespaces;
pub mod nodes;
pub mod persistentvolumeclaims;
pub mod persistentvolumes;
pub mod pods;
pub mod pods_status;
pub mod pods_table;
pub mod podtemplates;
pub mod replicationcontrollers;
pub mod resourcequotas;
pub mod secrets;
pub mod service_claims;
pub mod serviceaccounts;
pub mod services;
pub mod services_validate;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![
        bindings::kind().boxed(),
        componentstatuses::kind().boxed(),
        configmaps::kind().boxed(),
        endpoints::kind().boxed(),
        events::kind().boxed(),
        limitranges::kind().boxed(),
        namespaces::kind().boxed(),
        nodes::kind().boxed(),
        persistentvolumeclaims::kind().boxed(),
        persistentvolumes::kind().boxed(),
        pods::kind().boxed(),
        podtemplates::kind().boxed(),
        replicationcontrollers::kind().boxed(),
        resourcequotas::kind().boxed(),
        secrets::kind().boxed(),
        serviceaccounts::kind().boxed(),
        services::kind().boxed(),
    ]
}
