//! `networking.k8s.io/v1` ServiceCIDR: a range that cluster addresses come from.

use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::checks::{IMMUTABLE, cidr};
use crate::def::cluster;
use crate::faults::Faults;
use crate::kind::Kind;
use crate::print::{AGE, NAME, age, text};
use crate::strategy::Part;
use crate::workload::SPEC;

const MAX_RANGES: usize = 2;

pub fn kind() -> Kind {
    Kind {
        validate_new: validate,
        validate_change: |new, old, part, faults| {
            if part == Part::Main {
                validate_ranges_change(new, old, faults);
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
    if ranges.is_empty() {
        return faults.required(&list, "at least one CIDR required");
    }
    if ranges.len() > MAX_RANGES {
        return faults.invalid_shown(&list, &json!({"CIDRs": ranges}).to_string(), "may only hold up to 2 values");
    }
    for (i, text) in ranges.iter().filter_map(Value::as_str).enumerate() {
        let mut own = Faults::default();
        cidr(text, &list.index(i), &mut own);
        if own.is_empty()
            && let Some(plain) = text.parse::<ipnet::IpNet>().ok().map(|net| net.to_string()).filter(|plain| plain != text)
        {
            own.invalid_str(&list.index(i), text, &format!("must be in canonical form ({plain:?})"));
        }
        own.into_causes().into_iter().for_each(|cause| faults.push(cause));
    }
    let v6 = ranges.iter().filter(|r| r.as_str().is_some_and(|r| r.contains(':'))).count();
    if ranges.len() == MAX_RANGES && v6 != 1 {
        let said = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        faults.invalid(&list, &range["spec"]["cidrs"], said);
    }
}

/// The ranges stay as they are; one range may get a second, of the other family.
fn validate_ranges_change(new: &Value, old: &Value, faults: &mut Faults) {
    let list = SPEC.field("cidrs");
    let range = new;
    let [new, old] = [new, old].map(|range| range.list_at(&["spec", "cidrs"]));
    let grows = (old.len(), new.len()) == (1, MAX_RANGES);
    if old.len() != new.len() && !grows {
        return faults.invalid(&list, &new.into(), IMMUTABLE);
    }
    if grows {
        validate(range, faults);
    }
    for (i, (new, _)) in new.iter().zip(old).enumerate().filter(|(_, (new, old))| new != old) {
        faults.invalid(&list.index(i), new, IMMUTABLE);
    }
}
