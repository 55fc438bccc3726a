//! `apps/v1` DaemonSet.

use pintle_api::metadata::Repeats;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::checks::{immutable_object, int_or_percent, nonnegative, not_over_100_percent};
use crate::def::namespaced;
use crate::faults::{Faults, Path};
use crate::fields::{default_empty, default_missing, ensure_object, spec_mut};
use crate::internal;
use crate::kind::Kind;
use crate::podspec::default_template;
use crate::print::{self, AGE, CONTAINERS, IMAGES, NAME, SELECTOR, age, count, number, text};
use crate::strategy::{Column, Part};
use crate::warnings;
use crate::workload::{SPEC, int_or_percent_value, no_smaller_collision_count, nonnegative_spec, validate_selector_and_template};

const HISTORY: i64 = 10;
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
const COUNTS: [&str; 6] =
    ["currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady", "updatedNumberScheduled", "numberAvailable"];
const COLUMNS: &[Column] = &[
    NAME,
    number("Desired", "Nodes that should run the pod."),
    number("Current", "Nodes that run at least one."),
    number("Ready", "Nodes whose pod is ready."),
    number("Up-to-date", "Nodes that run the newest template."),
    number("Available", "Nodes whose pod has been ready for long enough."),
    text("Node Selector", "Labels that a node must have."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub fn kind() -> Kind {
    let def = namespaced("apps/v1", "daemonsets", "DaemonSet").short(&["ds"]).in_all().status();
    Kind {
        repeats: Repeats::UPDATE,
        template: "/spec/template",
        generation: true,
        warn: warnings::daemon_set,
        default,
        create: |set, _| {
            set.set_at(&["status"], json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0}));
            number_template(set, 1);
        },
        update: |new, old, part, _| {
            let same_template = new.at(&["spec", "template"]) == old.at(&["spec", "template"]);
            let before = old.str_at(&["metadata", "annotations", TEMPLATE_GENERATION]).parse().unwrap_or(1);
            number_template(new, if part != Part::Main || same_template { before } else { before + 1 });
        },
        validate,
        validate_change,
        ..Kind::new(def).table(COLUMNS, cells)
    }
}

/// Upstream's field of before `apps/v1`, which lives on in an annotation: how often the template changed.
fn number_template(set: &mut Value, number: i64) {
    set.set_at(&["metadata", "annotations", TEMPLATE_GENERATION], number.to_string().into());
}

fn default(set: &mut Value) {
    // There from the start, as upstream's conversion has it: whoever creates the object owns it.
    if set.at(&["metadata", "annotations", TEMPLATE_GENERATION]).is_none() {
        number_template(set, 0);
    }
    let Some(spec) = spec_mut(set) else { return };
    let strategy = ensure_object(spec, "updateStrategy");
    default_empty(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        let rolling = ensure_object(strategy, "rollingUpdate");
        default_missing(rolling, "maxUnavailable", 1);
        default_missing(rolling, "maxSurge", 0);
    }
    default_missing(spec, "revisionHistoryLimit", HISTORY);
    default_template(spec);
}

fn validate(set: &Value, faults: &mut Faults) {
    validate_selector_and_template(set, "DaemonSet", faults);
    nonnegative_spec(set, &["minReadySeconds", "revisionHistoryLimit"], faults);
    let strategy = set.at(&["spec", "updateStrategy"]).unwrap_or(&Value::Null);
    let path = SPEC.field("updateStrategy");
    match strategy.str_at(&["type"]) {
        "OnDelete" => {}
        "RollingUpdate" => rolling(strategy, &path.field("rollingUpdate"), faults),
        _ => faults.not_supported_shown(&path, &internal::shown(strategy, "apps.DaemonSetUpdateStrategy"), &["RollingUpdate", "OnDelete"]),
    }
}

fn rolling(strategy: &Value, path: &Path<'_>, faults: &mut Faults) {
    let null = Value::Null;
    let fields = ["maxUnavailable", "maxSurge"];
    let values = fields.map(|field| strategy.at(&["rollingUpdate", field]).unwrap_or(&null));
    for (field, value) in fields.iter().zip(values) {
        int_or_percent(value, &path.field(field), faults);
        not_over_100_percent(value, &path.field(field), faults);
    }
    match values.map(|v| int_or_percent_value(Some(v)) != 0) {
        [true, true] => faults.invalid(&path.field("maxSurge"), values[1], "may not be set when maxUnavailable is non-zero"),
        [false, false] => faults.required(&path.field("maxUnavailable"), "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}

fn validate_change(new: &Value, old: &Value, part: Part, faults: &mut Faults) {
    if part != Part::Status {
        return immutable_object(new, old, &["spec", "selector"], "metav1.LabelSelector", faults);
    }
    const STATUS: Path<'static> = Path::root("status");
    for field in COUNTS.iter().chain(&["numberUnavailable", "observedGeneration", "collisionCount"]) {
        nonnegative(new.at(&["status", field]), &STATUS.field(field), faults);
    }
    no_smaller_collision_count(new, old, faults);
}

fn cells(set: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let [containers, images] = print::template_containers(set);
    let of = |field: &str| count(set, &["status", field]);
    vec![
        set.name().into(),
        of("desiredNumberScheduled"),
        of("currentNumberScheduled"),
        of("numberReady"),
        of("updatedNumberScheduled"),
        of("numberAvailable"),
        print::labels(set.map_at(&["spec", "template", "spec", "nodeSelector"])),
        age(set, now),
        containers,
        images,
        print::selector(set.at(&["spec", "selector"])),
    ]
}
