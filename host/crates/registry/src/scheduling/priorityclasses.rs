//! `scheduling.k8s.io/v1` PriorityClass. Its value never changes.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::checks::{immutable, one_of};
use crate::def::cluster;
use crate::faults::{Faults, Path};
use crate::fields::default_missing;
use crate::kind::Kind;
use crate::print::{AGE, NAME, age, boolean, count, number, text};

const HIGHEST_OF_USERS: i64 = 1_000_000_000;
const SYSTEM: [(&str, i64); 2] = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

pub fn kind() -> Kind {
    Kind {
        generation: true,
        default: |class| {
            if let Some(fields) = class.as_object_mut() {
                default_missing(fields, "preemptionPolicy", "PreemptLowerPriority");
            }
        },
        validate,
        validate_change: |new, old, _, faults| {
            if new.i64_at(&["value"]).unwrap_or(0) != old.i64_at(&["value"]).unwrap_or(0) {
                faults.forbidden(&Path::root("value"), "may not be changed in an update.");
            }
            immutable(new, old, &["preemptionPolicy"], faults);
        },
        ..Kind::new(cluster("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass").short(&["pc"])).table(
            &[
                NAME,
                number("Value", "The priority of its pods."),
                boolean("Global-Default", "Whether pods without a class get it."),
                AGE,
                text("PreemptionPolicy", "Whether its pods may push others away."),
            ],
            |class, now| {
                let default: Value = class.bool_at(&["globalDefault"]).into();
                vec![class.name().into(), count(class, &["value"]), default, age(class, now), class.str_at(&["preemptionPolicy"]).into()]
            },
        )
    }
}

fn validate(class: &Value, faults: &mut Faults) {
    let (name, value) = (class.name(), class.i64_at(&["value"]).unwrap_or(0));
    if name.starts_with("system-") {
        let known = SYSTEM.iter().find(|(system, _)| *system == name);
        let why = match known {
            None => Some(format!("{name} is not a known system priority class")),
            Some((_, wanted)) if *wanted != value => Some(format!("value of {name} PriorityClass must be {wanted}")),
            Some(_) if class.bool_at(&["globalDefault"]) => Some(format!("globalDefault of {name} PriorityClass must be false")),
            Some(_) => None,
        };
        if let Some(why) = why {
            let detail = format!("priority class names with 'system-' prefix are reserved for system use only. error: {why}");
            faults.forbidden(&Path::root("metadata.name"), &detail);
        }
    } else if value > HIGHEST_OF_USERS {
        faults.forbidden(&Path::root("value"), &format!("maximum allowed value of a user defined priority is {HIGHEST_OF_USERS}"));
    }
    one_of(class.str_at(&["preemptionPolicy"]), &["PreemptLowerPriority", "Never"], &Path::root("preemptionPolicy"), faults);
}
