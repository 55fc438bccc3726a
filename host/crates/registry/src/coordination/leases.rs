//! `coordination.k8s.io/v1` Lease.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::def::namespaced;
use crate::faults::{Faults, Path};
use crate::fields::is_set;
use crate::kind::Kind;
use crate::print::{AGE, NAME, age, text};

pub fn kind() -> Kind {
    Kind {
        create_on_update: true,
        unconditional_update: false,
        create: |lease, _| take_away_disabled(lease, &Value::Null),
        update: |new, old, _, _| take_away_disabled(new, old),
        validate,
        ..Kind::new(namespaced("coordination.k8s.io/v1", "leases", "Lease")).table(&[NAME, text("Holder", "Who holds it."), AGE], |lease, now| {
            vec![lease.name().into(), lease.str_at(&["spec", "holderIdentity"]).into(), age(lease, now)]
        })
    }
}

/// Of elections that upstream has not switched on: nobody may begin with them.
fn take_away_disabled(lease: &mut Value, old: &Value) {
    for field in ["strategy", "preferredHolder"] {
        if !is_set(old.at(&["spec", field])) {
            lease.remove_at(&["spec", field]);
        }
    }
}

fn validate(lease: &Value, faults: &mut Faults) {
    const SPEC: Path<'static> = Path::root("spec");
    let at = |field: &str| lease.at(&["spec", field]).filter(|v| !v.is_null());
    if let Some(value) = at("leaseDurationSeconds").filter(|v| v.as_i64().unwrap_or(0) <= 0) {
        faults.invalid(&SPEC.field("leaseDurationSeconds"), value, "must be greater than 0");
    }
    if let Some(value) = at("leaseTransitions").filter(|v| v.as_i64().unwrap_or(0) < 0) {
        faults.invalid(&SPEC.field("leaseTransitions"), value, "must be greater than or equal to 0");
    }
    if is_set(at("preferredHolder")) && lease.str_at(&["spec", "strategy"]).is_empty() {
        faults.forbidden(&SPEC.field("preferredHolder"), "may only be specified if `strategy` is defined");
    }
}
