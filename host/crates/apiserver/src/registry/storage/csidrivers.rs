//! `storage.k8s.io/v1` CSIDriver.

use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::registry::checks::{IMMUTABLE, one_of};
use crate::registry::def::cluster;
use crate::registry::faults::Faults;
use crate::registry::fields::{default_missing, is_zero, same, spec_mut};
use crate::registry::kind::Kind;
use crate::registry::print::{AGE, NAME, NONE, UNSET, age, bool_or, boolean, text};
use crate::registry::strategy::Column;
use crate::registry::workload::SPEC;

const COLUMNS: &[Column] = &[
    NAME,
    boolean("AttachRequired", "Whether volumes are attached first."),
    boolean("PodInfoOnMount", "Whether mounting tells of the pod."),
    boolean("StorageCapacity", "Whether free capacity is published."),
    text("TokenRequests", "Audiences of tokens that mounting needs."),
    boolean("RequiresRepublish", "Whether mounting is repeated."),
    text("Modes", "Kinds of volume."),
    AGE,
];

pub fn kind() -> Kind {
    Kind {
        generation: true,
        unconditional_update: false,
        default,
        validate,
        validate_change: |new, old, _, faults| {
            for field in ["attachRequired", "volumeLifecycleModes"] {
                let (after, before) = (new.at(&["spec", field]), old.at(&["spec", field]));
                if !same(after, before) {
                    faults.invalid(&SPEC.field(field), after.unwrap_or(&Value::Null), IMMUTABLE);
                }
            }
        },
        ..Kind::new(cluster("storage.k8s.io/v1", "csidrivers", "CSIDriver")).table(COLUMNS, cells)
    }
}

fn default(driver: &mut Value) {
    let Some(spec) = spec_mut(driver) else { return };
    default_missing(spec, "attachRequired", true);
    for field in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
        default_missing(spec, field, false);
    }
    default_missing(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if spec.get("volumeLifecycleModes").is_none_or(is_zero) {
        spec.insert("volumeLifecycleModes".to_owned(), json!(["Persistent"]));
    }
}

fn validate(driver: &Value, faults: &mut Faults) {
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    one_of(driver.str_at(&["spec", "fsGroupPolicy"]), &policies, &SPEC.field("fsGroupPolicy"), faults);
    for mode in driver.list_at(&["spec", "volumeLifecycleModes"]).iter().filter_map(Value::as_str) {
        if !matches!(mode, "Persistent" | "Ephemeral") {
            faults.not_supported(&SPEC.field("volumeLifecycleModes"), mode, &["Ephemeral", "Persistent"]);
        }
    }
}

fn cells(driver: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let flag = |field: &str, otherwise: bool| bool_or(driver, &["spec", field], otherwise);
    let joined = |list: Vec<&str>, none: &str| if list.is_empty() { Value::from(none) } else { list.join(",").into() };
    let modes = driver.list_at(&["spec", "volumeLifecycleModes"]).iter().filter_map(Value::as_str).collect();
    let audiences = driver.list_at(&["spec", "tokenRequests"]).iter().map(|t| t.str_at(&["audience"])).collect();
    vec![
        driver.name().into(),
        flag("attachRequired", true),
        flag("podInfoOnMount", false),
        flag("storageCapacity", false),
        joined(audiences, UNSET),
        flag("requiresRepublish", false),
        joined(modes, NONE),
        age(driver, now),
    ]
}
