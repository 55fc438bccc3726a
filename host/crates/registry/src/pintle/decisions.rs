//! `pintle.dev/v1alpha1` Decision: what a plugin decided. Never stored: the handlers make the list from the decision log.

use std::sync::LazyLock;

use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::def::namespaced;
use crate::kind::{Kind, OwnSchema};
use crate::print::{AGE, NAME, age, text, wide};
use crate::strategy::Column;

const COLUMNS: &[Column] = &[
    NAME,
    text("Regarding", "What the decision was about."),
    text("Plugin", "Who decided."),
    text("Outcome", "What was decided."),
    text("Result", "The node, or why there is none; what was written."),
    AGE,
    wide("Digest", "The component that decided."),
];

pub fn kind() -> Kind {
    let def = namespaced("pintle.dev/v1alpha1", "decisions", "Decision").verbs(&["list"]);
    Kind { own_schema: Some(schema), ..Kind::new(def).table(COLUMNS, cells) }
}

fn schema() -> &'static OwnSchema {
    static SCHEMA: LazyLock<OwnSchema> = LazyLock::new(|| OwnSchema::parse(include_str!("decision.schema.json")));
    &SCHEMA
}

fn cells(decision: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let regarding = &decision["regarding"];
    vec![
        decision.name().into(),
        format!("{}/{}", regarding.str_at(&["resource"]), regarding.str_at(&["name"])).into(),
        decision.str_at(&["plugin"]).into(),
        decision.str_at(&["outcome"]).into(),
        result(decision).into(),
        age(decision, now),
        decision.str_at(&["digest"]).into(),
    ]
}

fn result(decision: &Value) -> String {
    let node = decision.str_at(&["scheduling", "node"]);
    match decision.i64_at(&["reconcile", "writeCount"]) {
        _ if !node.is_empty() => node.to_owned(),
        _ if !decision.str_at(&["message"]).is_empty() => decision.str_at(&["message"]).to_owned(),
        Some(writes) => format!("{writes} writes"),
        None => match decision.i64_at(&["routing", "table", "routes"]) {
            Some(routes) => format!("{routes} routes"),
            None => String::new(),
        },
    }
}
