//! `storage.k8s.io/v1` VolumeAttributesClass. Nothing of it changes.

use pintle_api::object::ObjectExt;

use crate::checks::immutable;
use crate::def::cluster;
use crate::faults::Path;
use crate::kind::Kind;
use crate::print::{AGE, NAME, age, text};

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
