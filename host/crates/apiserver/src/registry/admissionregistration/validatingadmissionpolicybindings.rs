//! `admissionregistration.k8s.io/v1` ValidatingAdmissionPolicyBinding.

use super::webhooks::{BINDING_COLUMNS, binding_cells, default_binding, validate_binding};
use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind {
        generation: true,
        unconditional_update: false,
        default: default_binding,
        validate: |binding, faults| validate_binding(binding, true, faults),
        ..Kind::new(
            cluster("admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding")
                .categories(&["api-extensions"]),
        )
        .table(BINDING_COLUMNS, binding_cells)
    }
}
