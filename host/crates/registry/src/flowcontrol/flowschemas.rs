//! `flowcontrol.apiserver.k8s.io/v1` FlowSchema. Stored for clients that manage them; requests here are not queued by them.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::validate;
use crate::def::cluster;
use crate::fields::{default_empty, spec_mut};
use crate::kind::Kind;
use crate::print::{AGE, NAME, NONE, age, count, text, text_or};
use crate::strategy::Part;

const PRECEDENCE: i64 = 1000;

pub fn kind() -> Kind {
    Kind {
        generation: true,
        default: |schema| {
            if let Some(spec) = spec_mut(schema) {
                default_empty(spec, "matchingPrecedence", PRECEDENCE);
            }
        },
        validate: validate::flow_schema,
        validate_change: |schema, _, part, faults| {
            if part == Part::Status {
                validate::conditions(schema, faults);
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
