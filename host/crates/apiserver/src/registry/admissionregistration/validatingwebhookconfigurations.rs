//! `admissionregistration.k8s.io/v1` ValidatingWebhookConfiguration.

use crate::registry::def::cluster;
use crate::registry::kind::Kind;

pub fn kind() -> Kind {
    Kind {
        generation: true,
        unconditional_update: false,
        ..Kind::new(
            cluster("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration")
                .categories(&["api-extensions"]),
        )
    }
}
