//! `apps/v1` Deployment.

use pintle_api::metadata::Repeats;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::checks::{immutable_object, int_or_percent, not_over_100_percent};
use crate::context::WriteContext;
use crate::def::namespaced;
use crate::faults::Faults;
use crate::fields::{default_empty, default_missing, ensure_object, is_set, same, spec_mut};
use crate::internal;
use crate::kind::Kind;
use crate::podspec::default_template;
use crate::print::{self, AGE, CONTAINERS, IMAGES, NAME, SELECTOR, age, count, text};
use crate::strategy::{Column, Part};
use crate::warnings;
use crate::workload::{
    SPEC, int_or_percent_value, no_smaller_collision_count, nonnegative_spec, validate_replica_status, validate_selector_and_template,
};

const HISTORY: i64 = 10;
const PROGRESS_SECONDS: i64 = 600;
const COLUMNS: &[Column] = &[
    NAME,
    text("Ready", "Pods that are ready, of those wanted."),
    text("Up-to-date", "Pods of the newest template."),
    text("Available", "Pods that have been ready for long enough."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub fn kind() -> Kind {
    let def = namespaced("apps/v1", "deployments", "Deployment").short(&["deploy"]).in_all().status().scale();
    Kind {
        generation: true,
        repeats: Repeats::UPDATE,
        template: "/spec/template",
        warn: warnings::workload,
        default,
        update,
        validate,
        validate_change,
        ..Kind::new(def).table(COLUMNS, cells)
    }
}

fn default(deployment: &mut Value) {
    let Some(spec) = spec_mut(deployment) else { return };
    default_missing(spec, "replicas", 1);
    let strategy = ensure_object(spec, "strategy");
    default_empty(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        let rolling = ensure_object(strategy, "rollingUpdate");
        default_missing(rolling, "maxUnavailable", "25%");
        default_missing(rolling, "maxSurge", "25%");
    }
    default_missing(spec, "revisionHistoryLimit", HISTORY);
    default_missing(spec, "progressDeadlineSeconds", PROGRESS_SECONDS);
    default_template(spec);
}

/// The status part leaves labels alone; a change of annotations counts as a new generation, as they travel to ReplicaSets.
fn update(new: &mut Value, old: &Value, part: Part, _: &WriteContext<'_>) {
    match part {
        Part::Status => match old.at(&["metadata", "labels"]) {
            Some(labels) => new.set_at(&["metadata", "labels"], labels.clone()),
            None => {
                new.remove_at(&["metadata", "labels"]);
            }
        },
        Part::Main if !same(new.at(&["metadata", "annotations"]), old.at(&["metadata", "annotations"])) => {
            let generation = old.i64_at(&["metadata", "generation"]).unwrap_or(0) + 1;
            new.set_at(&["metadata", "generation"], generation.into());
        }
        _ => {}
    }
}

fn validate(deployment: &Value, faults: &mut Faults) {
    nonnegative_spec(deployment, &["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"], faults);
    validate_selector_and_template(deployment, "Deployment", faults);
    strategy(deployment.at(&["spec", "strategy"]).unwrap_or(&Value::Null), faults);
    if let Some(deadline) = deployment.i64_at(&["spec", "progressDeadlineSeconds"])
        && deadline <= deployment.i64_at(&["spec", "minReadySeconds"]).unwrap_or(0)
    {
        faults.invalid(&SPEC.field("progressDeadlineSeconds"), &deadline.into(), "must be greater than minReadySeconds");
    }
}

fn strategy(strategy: &Value, faults: &mut Faults) {
    let path = SPEC.field("strategy");
    let rolling_path = path.field("rollingUpdate");
    let rolling = strategy.get("rollingUpdate");
    match strategy.str_at(&["type"]) {
        "Recreate" if is_set(rolling) => faults.forbidden(&rolling_path, "may not be specified when strategy `type` is 'Recreate'"),
        "Recreate" => {}
        "RollingUpdate" => {
            let null = Value::Null;
            let (unavailable, surge) = (strategy.at(&["rollingUpdate", "maxUnavailable"]), strategy.at(&["rollingUpdate", "maxSurge"]));
            int_or_percent(unavailable.unwrap_or(&null), &rolling_path.field("maxUnavailable"), faults);
            int_or_percent(surge.unwrap_or(&null), &rolling_path.field("maxSurge"), faults);
            if int_or_percent_value(unavailable) == 0 && int_or_percent_value(surge) == 0 {
                let detail = "may not be 0 when `maxSurge` is 0";
                faults.invalid(&rolling_path.field("maxUnavailable"), unavailable.unwrap_or(&null), detail);
            }
            not_over_100_percent(unavailable.unwrap_or(&null), &rolling_path.field("maxUnavailable"), faults);
        }
        _ => faults.not_supported_shown(&path, &internal::shown(strategy, "apps.DeploymentStrategy"), &["Recreate", "RollingUpdate"]),
    }
}

fn validate_change(new: &Value, old: &Value, part: Part, faults: &mut Faults) {
    match part {
        Part::Status => {
            validate_replica_status(new, &["updatedReplicas", "readyReplicas", "availableReplicas"], faults);
            no_smaller_collision_count(new, old, faults);
        }
        _ => immutable_object(new, old, &["spec", "selector"], "metav1.LabelSelector", faults),
    }
}

fn cells(deployment: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let [containers, images] = print::template_containers(deployment);
    let of = |path: &[&str]| deployment.i64_at(path).unwrap_or(0);
    vec![
        deployment.name().into(),
        format!("{}/{}", of(&["status", "readyReplicas"]), of(&["spec", "replicas"])).into(),
        count(deployment, &["status", "updatedReplicas"]),
        count(deployment, &["status", "availableReplicas"]),
        age(deployment, now),
        containers,
        images,
        print::selector_text(deployment.at(&["spec", "selector"])).into(),
    ]
}
