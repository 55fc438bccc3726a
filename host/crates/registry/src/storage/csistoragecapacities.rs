//! `storage.k8s.io/v1` CSIStorageCapacity.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::checks::{immutable, nonnegative_quantity};
use crate::def::namespaced;
use crate::faults::{Faults, Path};
use crate::fields::text as field_text;
use crate::kind::Kind;
use crate::print::{NAME, UNSET, text};

pub fn kind() -> Kind {
    Kind {
        unconditional_update: false,
        validate,
        validate_change: |new, old, _, faults| {
            for field in ["nodeTopology", "storageClassName"] {
                immutable(new, old, &[field], faults);
            }
        },
        ..Kind::new(namespaced("storage.k8s.io/v1", "csistoragecapacities", "CSIStorageCapacity")).table(
            &[NAME, text("StorageClassName", "Class that the capacity is of."), text("Capacity", "What is free.")],
            |object, _| {
                let capacity = field_text(object, &["capacity"]);
                let capacity = if capacity.is_empty() { UNSET.to_owned() } else { capacity };
                vec![object.name().into(), object.str_at(&["storageClassName"]).into(), capacity.into()]
            },
        )
    }
}

fn validate(object: &Value, faults: &mut Faults) {
    if object.str_at(&["storageClassName"]).is_empty() {
        faults.required(&Path::root("storageClassName"), "");
    }
    for field in ["capacity", "maximumVolumeSize"] {
        if let Some(value) = object.get(field).filter(|v| !v.is_null()) {
            nonnegative_quantity(value, &Path::root(field), faults);
        }
    }
}
