//! `policy/v1` PodDisruptionBudget.

use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::checks::{int_or_percent, label_selector, nonnegative, not_over_100_percent};
use crate::conditions;
use crate::def::namespaced;
use crate::faults::{Faults, Path};
use crate::fields::is_set;
use crate::internal;
use crate::kind::Kind;
use crate::print::{AGE, NAME, age, count, number, text};
use crate::strategy::{Column, Part};
use crate::workload::SPEC;

const COLUMNS: &[Column] = &[
    NAME,
    text("Min Available", "Pods that must stay."),
    text("Max Unavailable", "Pods that may be missing."),
    number("Allowed Disruptions", "Pods that may be evicted now."),
    AGE,
];

pub fn kind() -> Kind {
    Kind {
        generation: true,
        unconditional_update: false,
        create: |budget, _| {
            let zero = json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
            budget.set_at(&["status"], zero);
        },
        validate,
        validate_change: |new, _, part, faults| {
            const STATUS: Path<'static> = Path::root("status");
            if part == Part::Status {
                conditions::validate(new.list_at(&["status", "conditions"]), &STATUS.field("conditions"), faults);
            }
            for field in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
                if part == Part::Status {
                    nonnegative(new.at(&["status", field]), &STATUS.field(field), faults);
                }
            }
        },
        ..Kind::new(namespaced("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget").short(&["pdb"]).status()).table(COLUMNS, |budget, now| {
            let shown = |field: &str| match budget.at(&["spec", field]).filter(|v| !v.is_null()) {
                None => Value::from("N/A"),
                Some(Value::String(text)) => text.as_str().into(),
                Some(number) => number.to_string().into(),
            };
            let allowed = count(budget, &["status", "disruptionsAllowed"]);
            vec![budget.name().into(), shown("minAvailable"), shown("maxUnavailable"), allowed, age(budget, now)]
        })
    }
}

const UNHEALTHY: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];

fn validate(budget: &Value, faults: &mut Faults) {
    let at = |field: &str| budget.at(&["spec", field]).filter(|v| !v.is_null());
    if is_set(at("minAvailable")) && is_set(at("maxUnavailable")) {
        let shown = internal::shown(&budget["spec"], "policy.PodDisruptionBudgetSpec");
        faults.invalid_shown(&SPEC, &shown, "minAvailable and maxUnavailable cannot be both set");
    }
    for field in ["minAvailable", "maxUnavailable"] {
        if let Some(value) = at(field) {
            int_or_percent(value, &SPEC.field(field), faults);
            not_over_100_percent(value, &SPEC.field(field), faults);
        }
    }
    if let Some(selector) = at("selector") {
        label_selector(selector, &SPEC.field("selector"), faults);
    }
    if let Some(policy) = at("unhealthyPodEvictionPolicy").and_then(Value::as_str).filter(|policy| !UNHEALTHY.contains(policy)) {
        faults.not_supported(&SPEC.field("unhealthyPodEvictionPolicy"), policy, &UNHEALTHY);
    }
}
