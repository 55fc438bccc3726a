//! `flowcontrol.apiserver.k8s.io/v1` FlowSchema. Stored for clients that manage them; requests here are not queued by them.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::registry::def::cluster;
use crate::registry::fields::{default_empty, spec_mut};
use crate::registry::kind::Kind;
use crate::registry::print::{AGE, NAME, NONE, age, count, text, text_or};
use crate::registry::workload::SPEC;

const PRECEDENCE: i64 = 1000;

pub fn kind() -> Kind {
    Kind {
        generation: true,
        default: |schema| {
            if let Some(spec) = spec_mut(schema) {
                default_empty(spec, "matchingPrecedence", PRECEDENCE);
            }
        },
        validate: |schema, faults| {
            if schema.str_at(&["spec", "priorityLevelConfiguration", "name"]).is_empty() {
                faults.required(&SPEC.field("priorityLevelConfiguration.name"), "must reference a priority level");
            }
            let precedence = schema.i64_at(&["spec", "matchingPrecedence"]).unwrap_or(0);
            if precedence <= 0 {
                faults.invalid(&SPEC.field("matchingPrecedence"), &precedence.into(), "must be a positive value");
            } else if precedence > 10_000 {
                faults.invalid(&SPEC.field("matchingPrecedence"), &precedence.into(), "must not be greater than 10000");
            }
        },
        ..Kind::new(cluster("flowcontrol.apiserver.k8s.io/v1", "flowschemas", "FlowSchema").status()).table(
            &[
                NAME,
                text("PriorityLevel", "Level that the requests get."),
                text("MatchingPrecedence", "Smaller is asked first."),
                text("DistinguisherMethod", "How flows are told apart."),
                AGE,
                text("MissingPL", "Whether the level is missing."),
            ],
            |schema, now| {
                let missing = schema.list_at(&["status", "conditions"]).iter().find(|c| c.str_at(&["type"]) == "Dangling");
                let missing: Value = missing.map_or("?".into(), |c| c.str_at(&["status"]).into());
                vec![
                    schema.name().into(),
                    schema.str_at(&["spec", "priorityLevelConfiguration", "name"]).into(),
                    count(schema, &["spec", "matchingPrecedence"]),
                    text_or(schema, &["spec", "distinguisherMethod", "type"], NONE),
                    age(schema, now),
                    missing,
                ]
            },
        )
    }
}
