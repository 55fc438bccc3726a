//! TaintNodesByCondition: a new node is tainted as not ready, so that no pod comes to it before somebody has looked at its conditions.
//!
//! `controller-node-lifecycle` takes the taint away where the conditions do not ask for it. What a node says of itself when it is made does not count.

use pintle_api::object::ObjectExt;
use pintle_api::{Object, Status};
use pintle_registry::WriteContext;
use serde_json::{Value, json};

use super::{AdmissionAttributes, Operation};

const KEY: &str = "node.kubernetes.io/not-ready";
const EFFECT: &str = "NoSchedule";

pub fn admit(node: &mut Object, attributes: &AdmissionAttributes<'_>, _: &WriteContext<'_>) -> Result<(), Status> {
    if attributes.operation != Operation::Create || !attributes.is("", "nodes") || !attributes.is_main() {
        return Ok(());
    }
    let mut taints: Vec<Value> = node.list_at(&["spec", "taints"]).to_vec();
    if !taints.iter().any(|taint| taint.str_at(&["key"]) == KEY && taint.str_at(&["effect"]) == EFFECT) {
        taints.push(json!({"key": KEY, "effect": EFFECT}));
        node.set_at(&["spec", "taints"], Value::Array(taints));
    }
    Ok(())
}
