//! DefaultTolerationSeconds: a pod stays five minutes on a node that is not ready or not reachable, unless it says otherwise.

use pintle_api::object::ObjectExt;
use pintle_api::{Object, Status};
use pintle_registry::WriteContext;
use serde_json::{Value, json};

use super::AdmissionAttributes;
use super::Operation;

const SECONDS: i64 = 300;

pub fn admit(pod: &mut Object, attributes: &AdmissionAttributes<'_>, _: &WriteContext<'_>) -> Result<(), Status> {
    let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
    if !writes || !attributes.is("", "pods") || !attributes.is_main() {
        return Ok(());
    }
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        if pod.list_at(&["spec", "tolerations"]).iter().any(|t| tolerates(t, key)) {
            continue;
        }
        let added = json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS});
        match pod.get_mut("spec").and_then(|spec| spec.get_mut("tolerations")).and_then(Value::as_array_mut) {
            Some(list) => list.push(added),
            None => pod.set_at(&["spec", "tolerations"], Value::Array(vec![added])),
        }
    }
    Ok(())
}

fn tolerates(toleration: &Value, key: &str) -> bool {
    let (own, effect) = (toleration.str_at(&["key"]), toleration.str_at(&["effect"]));
    (own == key || own.is_empty()) && matches!(effect, "NoExecute" | "")
}
