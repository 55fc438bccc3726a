//! `networking.k8s.io/v1` ServiceCIDR: a range that cluster addresses come from.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::registry::checks::{cidr, immutable};
use crate::registry::def::cluster;
use crate::registry::faults::Faults;
use crate::registry::kind::Kind;
use crate::registry::print::{AGE, NAME, age, text};
use crate::registry::strategy::Part;
use crate::registry::workload::SPEC;

const MAX_RANGES: usize = 2;

pub fn kind() -> Kind {
    Kind {
        validate,
        validate_change: |new, old, part, faults| {
            if part == Part::Main {
                immutable(new, old, &["spec", "cidrs"], faults);
            }
        },
        ..Kind::new(cluster("networking.k8s.io/v1", "servicecidrs", "ServiceCIDR").status()).table(
            &[NAME, text("CIDRs", "Ranges of addresses."), AGE],
            |range, now| {
                let ranges: Vec<&str> = range.list_at(&["spec", "cidrs"]).iter().filter_map(Value::as_str).collect();
                vec![range.name().into(), ranges.join(",").into(), age(range, now)]
            },
        )
    }
}

fn validate(range: &Value, faults: &mut Faults) {
    let list = SPEC.field("cidrs");
    let ranges = range.list_at(&["spec", "cidrs"]);
    match ranges.len() {
        0 => faults.required(&list, "at least one CIDR required"),
        n if n > MAX_RANGES => faults.invalid(&list, &range["spec"]["cidrs"], "must only hold up to 2 values"),
        _ => {}
    }
    for (i, text) in ranges.iter().filter_map(Value::as_str).enumerate() {
        cidr(text, &list.index(i), faults);
        if let Some(plain) = text.parse::<ipnet::IpNet>().ok().map(|net| net.to_string()).filter(|plain| plain != text) {
            faults.invalid_str(&list.index(i), text, &format!("must be in canonical form ({plain:?})"));
        }
    }
    let v6 = ranges.iter().filter(|r| r.as_str().is_some_and(|r| r.contains(':'))).count();
    if ranges.len() == MAX_RANGES && v6 != 1 {
        let said = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        faults.invalid(&list, &range["spec"]["cidrs"], said);
    }
}
