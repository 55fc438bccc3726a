//! The quality-of-service class of a pod, from its requests and limits.

use pintle_api::object::ObjectExt;
use pintle_api::quantity::Quantity;
use serde_json::Value;

const COMPUTE: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed` when every container limits cpu and memory to what it asks for, `BestEffort` when none asks for or limits either.
pub fn class(spec: &Value) -> &'static str {
    if let Some(resources) = spec.get("resources").filter(|r| asks_anything(r)) {
        return if is_guaranteed(resources) { "Guaranteed" } else { "Burstable" };
    }
    let containers = || ["containers", "initContainers"].into_iter().flat_map(|list| spec.list_at(&[list]));
    let resources = || containers().map(|c| c.get("resources").unwrap_or(&Value::Null));
    if !resources().any(asks_anything) {
        "BestEffort"
    } else if resources().all(is_guaranteed) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn amount(resources: &Value, side: &str, name: &str) -> Option<Quantity> {
    Quantity::from_value(resources.at(&[side, name])?).ok().filter(|q| !q.is_zero() && !q.is_negative())
}

fn asks_anything(resources: &Value) -> bool {
    COMPUTE.iter().any(|name| amount(resources, "requests", name).or_else(|| amount(resources, "limits", name)).is_some())
}

fn is_guaranteed(resources: &Value) -> bool {
    COMPUTE.iter().all(|name| {
        let limit = amount(resources, "limits", name);
        limit.is_some() && amount(resources, "requests", name).is_none_or(|request| Some(request) == limit)
    })
}
