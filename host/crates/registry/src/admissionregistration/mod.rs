//! The resources of `admissionregistration.k8s.io/v1`, in the order of discovery.

pub mod mutatingadmissionpolicies;
pub mod mutatingadmissionpolicybindings;
pub mod mutatingwebhookconfigurations;
mod policy_validate;
pub mod validate;
pub mod validatingadmissionpolicies;
pub mod validatingadmissionpolicybindings;
pub mod validatingwebhookconfigurations;
pub mod webhooks;

use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![
        mutatingadmissionpolicies::kind().boxed(),
        mutatingadmissionpolicybindings::kind().boxed(),
        mutatingwebhookconfigurations::kind().boxed(),
        validatingadmissionpolicies::kind().boxed(),
        validatingadmissionpolicybindings::kind().boxed(),
        validatingwebhookconfigurations::kind().boxed(),
    ]
}
