//! `admissionregistration.k8s.io/v1` ValidatingAdmissionPolicy.

use super::policy_validate;
use super::webhooks::{default_policy, policy_cells};
use crate::def::cluster;
use crate::kind::Kind;
use crate::print::{AGE, NAME, number, text};

pub fn kind() -> Kind {
    Kind {
        generation: true,
        unconditional_update: false,
        default: default_policy,
        validate: policy_validate::validating,
        ..Kind::new(
            cluster("admissionregistration.k8s.io/v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy")
                .categories(&["api-extensions"])
                .status(),
        )
        .table(&[NAME, number("Validations", "Number of rules."), text("ParamKind", "Kind of the parameters."), AGE], |policy, now| {
            policy_cells(policy, "validations", now)
        })
    }
}
