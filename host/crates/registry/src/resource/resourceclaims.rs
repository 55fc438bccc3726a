//! `resource.k8s.io/v1` ResourceClaim. Stored for its clients; nothing here allocates devices.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::checks::immutable;
use crate::def::namespaced;
use crate::fields::is_set;
use crate::kind::Kind;
use crate::print::{AGE, NAME, age, text};
use crate::strategy::Part;

pub fn kind() -> Kind {
    Kind {
        validate_change: |new, old, part, faults| {
            if part == Part::Main {
                immutable(new, old, &["spec"], faults);
            }
        },
        ..Kind::new(namespaced("resource.k8s.io/v1", "resourceclaims", "ResourceClaim").status())
            .table(&[NAME, text("State", "What happens to the claim."), AGE], |claim, now| {
                vec![claim.name().into(), state(claim).into(), age(claim, now)]
            })
    }
}

fn state(claim: &Value) -> String {
    let mut states = Vec::new();
    if claim.is_being_deleted() {
        states.push("deleted");
    }
    if !is_set(claim.at(&["status", "allocation"])) {
        states.push("pending");
    } else {
        states.push("allocated");
        states.push(if claim.list_at(&["status", "reservedFor"]).is_empty() { "" } else { "reserved" });
    }
    states.retain(|s| !s.is_empty());
    states.join(",")
}
