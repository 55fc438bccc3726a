//! `storage.k8s.io/v1` CSINode.

use std::collections::HashSet;

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::checks::{IMMUTABLE, nonnegative};
use crate::def::cluster;
use crate::faults::Faults;
use crate::fields::by_name;
use crate::kind::Kind;
use crate::print::{AGE, NAME, age, number};
use crate::workload::SPEC;

pub fn kind() -> Kind {
    Kind {
        unconditional_update: false,
        validate,
        validate_change: |new, old, _, faults| {
            let drivers = by_name(new.list_at(&["spec", "drivers"]));
            for before in old.list_at(&["spec", "drivers"]) {
                let after = drivers.get(before.str_at(&["name"])).map(|(_, driver)| *driver);
                let Some(after) = after.filter(|a| a.get("nodeID") != before.get("nodeID") || a.get("topologyKeys") != before.get("topologyKeys"))
                else {
                    continue;
                };
                let keys = after.get("topologyKeys").unwrap_or(&Value::Null);
                let shown = format!(
                    "{{\"Name\":{},\"NodeID\":{},\"TopologyKeys\":{keys},\"Allocatable\":null}}",
                    Value::from(after.str_at(&["name"])),
                    Value::from(after.str_at(&["nodeID"])),
                );
                faults.invalid_shown(&SPEC.field("drivers"), &shown, IMMUTABLE);
            }
        },
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
        if !name.is_empty() {
            faults.texts(&here.field("name"), name, names::dns1123_subdomain(&name.to_lowercase()));
        }
        let keys = driver.list_at(&["topologyKeys"]);
        for (j, key) in keys.iter().enumerate() {
            let text = key.as_str().unwrap_or("");
            if text.is_empty() {
                faults.required(&here, "");
            }
            faults.texts(&here, text, names::qualified_name(text));
            if keys[..j].contains(key) {
                faults.duplicate(&here, key);
            }
        }
        nonnegative(driver.at(&["allocatable", "count"]), &here.field("allocatable.count"), faults);
    }
}
