//! `flowcontrol.apiserver.k8s.io/v1` PriorityLevelConfiguration.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::validate;
use crate::def::cluster;
use crate::fields::{default_empty, default_missing, object_mut, spec_mut};
use crate::kind::Kind;
use crate::print::{AGE, NAME, NONE, age, text};
use crate::strategy::Part;

pub fn kind() -> Kind {
    Kind {
        generation: true,
        default,
        validate: validate::priority_level,
        validate_change: |level, _, part, faults| {
            if part == Part::Status {
                validate::conditions(level, faults);
            }
        },
        ..Kind::new(cluster("flowcontrol.apiserver.k8s.io/v1", "prioritylevelconfigurations", "PriorityLevelConfiguration").status()).table(
            &[
                NAME,
                text("Type", "Limited or exempt."),
                text("NominalConcurrencyShares", "Share of the server's seats."),
                text("Queues", "Number of queues."),
                text("HandSize", "Queues that a flow may use."),
                text("QueueLengthLimit", "Requests that a queue holds."),
                AGE,
            ],
            |level, now| {
                let at = |path: &[&str]| level.at(path).filter(|v| !v.is_null()).cloned().unwrap_or(NONE.into());
                let queuing = |field: &str| at(&["spec", "limited", "limitResponse", "queuing", field]);
                vec![
                    level.name().into(),
                    level.str_at(&["spec", "type"]).into(),
                    at(&["spec", "limited", "nominalConcurrencyShares"]),
                    queuing("queues"),
                    queuing("handSize"),
                    queuing("queueLengthLimit"),
                    age(level, now),
                ]
            },
        )
    }
}

fn default(level: &mut Value) {
    let Some(spec) = spec_mut(level) else { return };
    for (kind, shares) in [("exempt", 0), ("limited", 30)] {
        if let Some(part) = object_mut(spec, kind) {
            default_missing(part, "nominalConcurrencyShares", shares);
            default_missing(part, "lendablePercent", 0);
        }
    }
    let response = object_mut(spec, "limited").and_then(|l| object_mut(l, "limitResponse"));
    if let Some(queuing) = response.and_then(|r| object_mut(r, "queuing")) {
        default_empty(queuing, "handSize", 8);
        default_empty(queuing, "queues", 64);
        default_empty(queuing, "queueLengthLimit", 50);
    }
}
