//! `admissionregistration.k8s.io/v1` MutatingWebhookConfiguration.

use super::validate;
use super::webhooks::{WEBHOOK_COLUMNS, default_webhooks, webhook_cells};
use crate::def::cluster;
use crate::kind::Kind;

pub fn kind() -> Kind {
    Kind {
        generation: true,
        unconditional_update: false,
        default: |configuration| default_webhooks(configuration, true),
        validate: validate::webhooks,
        ..Kind::new(
            cluster("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration")
                .categories(&["api-extensions"]),
        )
        .table(WEBHOOK_COLUMNS, webhook_cells)
    }
}
