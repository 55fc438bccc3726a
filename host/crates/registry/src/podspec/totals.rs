//! What a whole pod asks for and is limited to: its containers together, its init containers where they need more, its overhead.
//!
//! Used by quotas, limit ranges and the validation of resources of whole pods.

use std::collections::BTreeMap;

use pintle_api::object::ObjectExt;
use pintle_api::quantity::Quantity;
use serde_json::Value;

pub type Amounts = BTreeMap<String, Quantity>;

pub fn requests(spec: &Value) -> Amounts {
    total(spec, "requests")
}

pub fn limits(spec: &Value) -> Amounts {
    total(spec, "limits")
}

/// Without what is said of the whole pod. `side`: `requests` or `limits`.
pub fn of_containers(spec: &Value, side: &str) -> Amounts {
    let of = |container: &Value| amounts(container.at(&["resources", side]));
    let mut running = Amounts::new();
    spec.list_at(&["containers"]).iter().for_each(|c| add(&mut running, &of(c)));
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in spec.list_at(&["initContainers"]) {
        let mut here = of(container);
        if container.str_at(&["restartPolicy"]) == "Always" {
            add(&mut running, &here);
            add(&mut sidecars, &here);
            here = sidecars.clone();
        } else {
            add(&mut here, &sidecars);
        }
        raise(&mut peak, &here);
    }
    raise(&mut running, &peak);
    running
}

/// The amounts of a `ResourceList`; those that do not parse are left out, validation speaks of them.
pub fn amounts(list: Option<&Value>) -> Amounts {
    let parse = |(name, value): (&String, &Value)| Some((name.clone(), Quantity::from_value(value).ok()?));
    list.and_then(Value::as_object).into_iter().flatten().filter_map(parse).collect()
}

pub fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = to.get(name).map_or(*amount, |have| have.plus(*amount));
        to.insert(name.clone(), sum);
    }
}

fn total(spec: &Value, side: &str) -> Amounts {
    let mut running = of_containers(spec, side);
    // Limits of the whole pod stand instead of the sum.
    for (name, amount) in amounts(spec.at(&["resources", side])) {
        running.insert(name, amount);
    }
    let overhead = amounts(spec.get("overhead"));
    if side == "requests" {
        add(&mut running, &overhead);
    } else {
        let known = overhead.into_iter().filter(|(name, _)| running.contains_key(name)).collect();
        add(&mut running, &known);
    }
    running
}

fn raise(to: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let higher = to.get(name).map_or(*amount, |have| (*have).max(*amount));
        to.insert(name.clone(), higher);
    }
}
