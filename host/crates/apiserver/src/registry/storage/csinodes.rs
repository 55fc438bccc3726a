//! `storage.k8s.io/v1` CSINode.

use std::collections::HashSet;

use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::registry::checks::nonnegative;
use crate::registry::def::cluster;
use crate::registry::faults::Faults;
use crate::registry::kind::Kind;
use crate::registry::print::{AGE, NAME, age, number};
use crate::registry::workload::SPEC;

pub fn kind() -> Kind {
    Kind {
        unconditional_update: false,
        validate,
        ..Kind::new(cluster("storage.k8s.io/v1", "csinodes", "CSINode"))
            .table(&[NAME, number("Drivers", "Drivers that the node has."), AGE], |node, now| {
                vec![node.name().into(), node.list_at(&["spec", "drivers"]).len().into(), age(node, now)]
            })
    }
}

fn validate(node: &Value, faults: &mut Faults) {
    let list = SPEC.field("drivers");
    let mut seen = HashSet::new();
    for (i, driver) in node.list_at(&["spec", "drivers"]).iter().enumerate() {
        let here = list.index(i);
        let name = driver.str_at(&["name"]);
        for field in ["name", "nodeID"].iter().filter(|f| driver.str_at(&[f]).is_empty()) {
            faults.required(&here.field(field), "");
        }
        if !seen.insert(name) {
            faults.duplicate(&here.field("name"), &name.into());
        }
        nonnegative(driver.at(&["allocatable", "count"]), &here.field("allocatable.count"), faults);
    }
}
