//! `storage.k8s.io/v1` VolumeAttributesClass. Nothing of it changes.

use pintle_api::object::ObjectExt;

use crate::registry::checks::immutable;
use crate::registry::def::cluster;
use crate::registry::faults::Path;
use crate::registry::kind::Kind;
use crate::registry::print::{AGE, NAME, age, text};

pub fn kind() -> Kind {
    Kind {
        validate: |class, faults| {
            if class.str_at(&["driverName"]).is_empty() {
                faults.required(&Path::root("driverName"), "");
            }
        },
        validate_change: |new, old, _, faults| {
            for field in ["driverName", "parameters"] {
                immutable(new, old, &[field], faults);
            }
        },
        ..Kind::new(cluster("storage.k8s.io/v1", "volumeattributesclasses", "VolumeAttributesClass").short(&["vac"]))
            .table(&[NAME, text("DriverName", "Driver that knows the attributes."), AGE], |class, now| {
                vec![class.name().into(), class.str_at(&["driverName"]).into(), age(class, now)]
            })
    }
}
