//! `storage.k8s.io/v1` CSIDriver.

use std::collections::HashSet;

use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::checks::{IMMUTABLE, one_of_at};
use crate::def::cluster;
use crate::faults::Faults;
use crate::fields::{default_missing, is_set, is_zero, same, spec_mut};
use crate::kind::Kind;
use crate::print::{AGE, NAME, NONE, UNSET, age, bool_or, boolean, text};
use crate::strategy::Column;
use crate::workload::SPEC;

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

const TOKENS_IN_SECRETS: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";
const MIN_TOKEN_SECONDS: i64 = 600;
const MAX_TOKEN_SECONDS: i64 = 1 << 32;
const MIN_UPDATE_SECONDS: i64 = 10;

pub fn kind() -> Kind {
    Kind {
        generation: true,
        unconditional_update: false,
        default,
        validate,
        warn: |driver, old| {
            // Upstream asks drivers to say it, whichever it is.
            let asks = !driver.list_at(&["spec", "tokenRequests"]).is_empty();
            let said = is_set(driver.at(&["spec", "serviceAccountTokenInSecrets"]));
            if old.is_none() && asks && !said { vec![TOKENS_IN_SECRETS.to_owned()] } else { Vec::new() }
        },
        validate_change: |new, old, _, faults| {
            // Upstream names the first of them in its own way.
            for (field, told) in [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")] {
                let (after, before) = (new.at(&["spec", field]), old.at(&["spec", field]));
                if !same(after, before) {
                    faults.invalid(&SPEC.field(told), after.unwrap_or(&Value::Null), IMMUTABLE);
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
    let spec = driver.get("spec").unwrap_or(&Value::Null);
    one_of_at(spec, "fsGroupPolicy", &policies, &SPEC, faults);
    for mode in driver.list_at(&["spec", "volumeLifecycleModes"]).iter().filter_map(Value::as_str) {
        if !matches!(mode, "Persistent" | "Ephemeral") {
            faults.not_supported(&SPEC.field("volumeLifecycleModes"), mode, &["Persistent", "Ephemeral"]);
        }
    }
    token_requests(driver.list_at(&["spec", "tokenRequests"]), faults);
    let path = SPEC.field("nodeAllocatableUpdatePeriodSeconds");
    if let Some(seconds) = driver.i64_at(&["spec", "nodeAllocatableUpdatePeriodSeconds"]).filter(|s| *s < MIN_UPDATE_SECONDS) {
        faults.invalid(&path, &seconds.into(), &format!("must be greater than or equal to {MIN_UPDATE_SECONDS} seconds"));
    }
}

fn token_requests(requests: &[Value], faults: &mut Faults) {
    let list = SPEC.field("tokenRequests");
    let mut seen = HashSet::new();
    for (i, request) in requests.iter().enumerate() {
        let (here, audience) = (list.index(i), request.str_at(&["audience"]));
        if !seen.insert(audience) {
            faults.duplicate(&here.field("audience"), &audience.into());
            continue;
        }
        let path = here.field("expirationSeconds");
        match request.i64_at(&["expirationSeconds"]) {
            Some(seconds) if seconds < MIN_TOKEN_SECONDS => faults.invalid(&path, &seconds.into(), "may not specify a duration less than 10 minutes"),
            Some(seconds) if seconds > MAX_TOKEN_SECONDS => {
                faults.invalid(&path, &seconds.into(), "may not specify a duration larger than 2^32 seconds")
            }
            _ => {}
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
