//! `v1` ReplicationController: a ReplicaSet whose selector is a plain map of labels.

use pintle_api::names::NameRule;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::apps::replicasets::{COLUMNS, COUNTED, first_cells, replicas_text};
use crate::checks::selector_matches;
use crate::def::namespaced;
use crate::faults::Faults;
use crate::fields::{default_missing, is_set, is_zero, spec_mut};
use crate::kind::Kind;
use crate::podspec::{default_template, template, validate_template};
use crate::print;
use crate::strategy::Part;
use crate::warnings;
use crate::workload::{SPEC, nonnegative_spec, validate_replica_status};

pub fn kind() -> Kind {
    let def = namespaced("v1", "replicationcontrollers", "ReplicationController").short(&["rc"]).in_all().status().scale();
    Kind {
        warn: warnings::workload,
        generation: true,
        names: NameRule::LongName,
        propagation: "orphan",
        template: "/spec/template",
        default,
        create: |set, _| set.set_at(&["status"], json!({"replicas": 0})),
        validate,
        validate_change: |new, _, part, faults| {
            if part == Part::Status {
                validate_replica_status(new, COUNTED, faults);
            }
        },
        fields: &[("status.replicas", |rc| replicas_text(rc))],
        ..Kind::new(def).table(COLUMNS, |set, now| {
            let mut row = first_cells(set, now);
            row.push(print::labels(set.map_at(&["spec", "selector"])));
            row
        })
    }
}

fn default(set: &mut Value) {
    let labels = set.at(&["spec", "template", "metadata", "labels"]).filter(|l| !is_zero(l)).cloned();
    if let Some(labels) = labels {
        for path in [&["spec", "selector"][..], &["metadata", "labels"]] {
            if set.at(path).is_none_or(is_zero) {
                set.set_at(path, labels.clone());
            }
        }
    }
    if let Some(spec) = spec_mut(set) {
        default_missing(spec, "replicas", 1);
        if is_set(spec.get("template")) {
            default_template(spec);
        }
    }
}

fn validate(set: &Value, faults: &mut Faults) {
    nonnegative_spec(set, &["minReadySeconds", "replicas"], faults);
    let selector = set.at(&["spec", "selector"]).filter(|s| !is_zero(s));
    if selector.is_none() {
        faults.required(&SPEC.field("selector"), "");
    }
    let path = SPEC.field("template");
    let Some(pods) = set.at(&["spec", "template"]).filter(|t| !t.is_null()) else {
        return faults.required(&path, "");
    };
    let labels = pods.at(&["metadata", "labels"]).unwrap_or(&Value::Null);
    if selector.is_some_and(|s| !selector_matches(&json!({"matchLabels": s}), labels)) {
        faults.invalid(&path.field("metadata.labels"), labels, "`selector` does not match template `labels`");
    }
    validate_template(pods, &path, faults);
    template::validate_restart_always(pods, "ReplicationController", &path, faults);
}
