//! `apps/v1` ReplicaSet.

use pintle_api::metadata::Repeats;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::checks::immutable_object;
use crate::def::namespaced;
use crate::faults::Faults;
use crate::fields::{default_missing, spec_mut, text};
use crate::kind::Kind;
use crate::podspec::default_template;
use crate::print::{self, AGE, CONTAINERS, IMAGES, NAME, SELECTOR, age, count, number};
use crate::strategy::{Column, Part};
use crate::warnings;
use crate::workload::{no_smaller_collision_count, nonnegative_spec, validate_replica_status, validate_selector_and_template};

pub const COUNTED: &[&str] = &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
pub const COLUMNS: &[Column] = &[
    NAME,
    number("Desired", "Pods that are wanted."),
    number("Current", "Pods that there are."),
    number("Ready", "Pods that are ready."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub fn kind() -> Kind {
    Kind {
        warn: warnings::workload,
        repeats: Repeats::UPDATE,
        template: "/spec/template",
        generation: true,
        default,
        create: |set, _| set.set_at(&["status"], serde_json::json!({"replicas": 0})),
        validate,
        validate_change,
        fields: &[("status.replicas", |rs| replicas_text(rs))],
        ..Kind::new(namespaced("apps/v1", "replicasets", "ReplicaSet").short(&["rs"]).in_all().status().scale()).table(COLUMNS, |set, now| {
            let mut row = first_cells(set, now);
            row.push(print::selector(set.at(&["spec", "selector"])));
            row
        })
    }
}

pub fn replicas_text(set: &Value) -> String {
    let text = text(set, &["status", "replicas"]);
    if text.is_empty() { "0".to_owned() } else { text }
}

/// All cells but the selector's, which ReplicationControllers write otherwise.
pub fn first_cells(set: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let [containers, images] = print::template_containers(set);
    vec![
        set.name().into(),
        count(set, &["spec", "replicas"]),
        count(set, &["status", "replicas"]),
        count(set, &["status", "readyReplicas"]),
        age(set, now),
        containers,
        images,
    ]
}

fn default(set: &mut Value) {
    if let Some(spec) = spec_mut(set) {
        default_missing(spec, "replicas", 1);
        default_template(spec);
    }
}

fn validate(set: &Value, faults: &mut Faults) {
    nonnegative_spec(set, &["replicas", "minReadySeconds"], faults);
    validate_selector_and_template(set, "ReplicaSet", faults);
}

fn validate_change(new: &Value, old: &Value, part: Part, faults: &mut Faults) {
    match part {
        Part::Status => {
            validate_replica_status(new, COUNTED, faults);
            no_smaller_collision_count(new, old, faults);
        }
        _ => immutable_object(new, old, &["spec", "selector"], "metav1.LabelSelector", faults),
    }
}
