//! `admissionregistration.k8s.io/v1` ValidatingAdmissionPolicyBinding.

use super::policy_validate;
use super::webhooks::{BINDING_COLUMNS, binding_cells, default_binding};
use crate::def::cluster;
use crate::kind::Kind;

pub fn kind() -> Kind {
    Kind {
        generation: true,
        unconditional_update: false,
        default: default_binding,
        validate: |binding, faults| policy_validate::binding(binding, true, faults),
        ..Kind::new(
            cluster("admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding")
                .categories(&["api-extensions"]),
        )
        .table(BINDING_COLUMNS, binding_cells)
    }
}
