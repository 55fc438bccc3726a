//! `resource.k8s.io/v1` ResourceSlice. Stored for its clients.

use pintle_api::object::ObjectExt;

use crate::def::cluster;
use crate::kind::Kind;
use crate::print::{AGE, NAME, age, text};

pub fn kind() -> Kind {
    Kind {
        generation: true,
        fields: &[("spec.nodeName", |s| s.str_at(&["spec", "nodeName"]).to_owned()), ("spec.driver", |s| s.str_at(&["spec", "driver"]).to_owned())],
        ..Kind::new(cluster("resource.k8s.io/v1", "resourceslices", "ResourceSlice")).table(
            &[NAME, text("Node", "Node with the devices."), text("Driver", "Their driver."), text("Pool", "Their pool."), AGE],
            |slice, now| {
                let of = |path: &[&str]| slice.str_at(path).into();
                vec![slice.name().into(), of(&["spec", "nodeName"]), of(&["spec", "driver"]), of(&["spec", "pool", "name"]), age(slice, now)]
            },
        )
    }
}
