//! `v1` ConfigMap.

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::def::namespaced;
use crate::faults::{Faults, Path};
use crate::fields::same;
use crate::kind::Kind;
use crate::print::{AGE, NAME, age, text};

/// Bytes of all values together, of ConfigMaps and Secrets alike.
pub const MAX_DATA_BYTES: usize = 1024 * 1024;
const FROZEN: &str = "field is immutable when `immutable` is set";

pub fn kind() -> Kind {
    Kind {
        validate,
        validate_change: |new, old, _, faults| frozen(new, old, &["data", "binaryData"], faults),
        ..Kind::new(namespaced("v1", "configmaps", "ConfigMap").short(&["cm"]))
            .table(&[NAME, text("Data", "Number of keys."), AGE], |map, now| vec![map.name().into(), keys(map).into(), age(map, now)])
    }
}

fn keys(map: &Value) -> usize {
    ["data", "binaryData"].iter().filter_map(|f| map.map_at(&[f])).map(serde_json::Map::len).sum()
}

fn validate(map: &Value, faults: &mut Faults) {
    let mut size = 0;
    for field in ["data", "binaryData"] {
        let path = Path::root(field);
        for (key, value) in map.map_at(&[field]).into_iter().flatten() {
            faults.texts(&path.key(key), key, names::config_map_key(key));
            if field == "data" && map.at(&["binaryData", key]).is_some() {
                faults.invalid_str(&path.key(key), key, "duplicate of key present in binaryData");
            }
            let bytes = value.as_str().map_or(0, str::len);
            size += if field == "data" { bytes } else { bytes / 4 * 3 };
        }
    }
    if size > MAX_DATA_BYTES {
        // Upstream names no field here, and prints that as an empty list.
        faults.too_long(&Path::root("[]"), MAX_DATA_BYTES);
    }
}

/// What `immutable: true` forbids to change.
pub fn frozen(new: &Value, old: &Value, data: &[&str], faults: &mut Faults) {
    if !old.bool_at(&["immutable"]) {
        return;
    }
    if !new.bool_at(&["immutable"]) {
        faults.forbidden(&Path::root("immutable"), FROZEN);
    }
    for field in data.iter().filter(|field| !same(new.get(**field), old.get(**field))) {
        faults.forbidden(&Path::root(field), FROZEN);
    }
}
