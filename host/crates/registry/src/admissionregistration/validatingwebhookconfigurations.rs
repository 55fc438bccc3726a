//! `admissionregistration.k8s.io/v1` ValidatingWebhookConfiguration.

use super::validate;
use super::webhooks::{WEBHOOK_COLUMNS, default_webhooks, webhook_cells};
use crate::def::cluster;
use crate::kind::Kind;

pub fn kind() -> Kind {
    Kind {
        generation: true,
        unconditional_update: false,
        default: |configuration| default_webhooks(configuration, false),
        validate: validate::webhooks,
        ..Kind::new(
            cluster("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration")
                .categories(&["api-extensions"]),
        )
        .table(WEBHOOK_COLUMNS, webhook_cells)
    }
}
