//! Priority: turns a pod's class into its number, and keeps the default class a single one.

use std::sync::Arc;

use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Status};
use pintle_registry::WriteContext;
use serde_json::Value;

use super::{AdmissionAttributes, Operation};

const CLASSES: GroupVersionResource = GroupVersionResource::constant("scheduling.k8s.io", "v1", "priorityclasses");
/// Classes that need no object.
const BUILT_IN: [(&str, i64); 2] = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

pub fn admit(object: &mut Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<(), Status> {
    if !attributes.is("", "pods") || !attributes.is_main() {
        return Ok(());
    }
    match attributes.operation {
        Operation::Create => set_priority(object, attributes, context),
        Operation::Update => {
            let Some(old) = attributes.old else { return Ok(()) };
            for field in ["priority", "preemptionPolicy"] {
                if let (None, Some(value)) = (object.at(&["spec", field]), old.at(&["spec", field])) {
                    object.set_at(&["spec", field], value.clone());
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Refuses a second default class.
pub fn validate(object: &Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<Vec<String>, Status> {
    let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
    if !writes || !attributes.is("scheduling.k8s.io", "priorityclasses") || !object.bool_at(&["globalDefault"]) {
        return Ok(Vec::new());
    }
    match default_class(context).filter(|class| attributes.operation == Operation::Create || class.name() != object.name()) {
        Some(class) => Err(attributes.forbidden(&format!("PriorityClass {} is already marked as default. Only one default can exist", class.name()))),
        None => Ok(Vec::new()),
    }
}

fn set_priority(pod: &mut Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<(), Status> {
    let asked = pod.str_at(&["spec", "priorityClassName"]).to_owned();
    let found = if asked.is_empty() {
        default_class(context)
    } else {
        let class = context.objects.get(&CLASSES, None, &asked);
        if class.is_none() && built_in(&asked).is_none() {
            return Err(attributes.forbidden(&format!("no PriorityClass with name {asked} was found")));
        }
        class
    };
    let value = found.as_ref().and_then(|c| c.i64_at(&["value"])).or_else(|| built_in(&asked)).unwrap_or(0);
    if let Some(given) = pod.i64_at(&["spec", "priority"]).filter(|given| *given != value) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        );
        return Err(attributes.forbidden(&why));
    }
    let policy = found.as_ref().map_or("", |c| c.str_at(&["preemptionPolicy"]));
    let policy = if policy.is_empty() { "PreemptLowerPriority" } else { policy };
    if let Some(given) = pod.at(&["spec", "preemptionPolicy"]).and_then(Value::as_str).filter(|given| *given != policy) {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(attributes.forbidden(&why));
    }
    if let Some(class) = &found {
        pod.set_at(&["spec", "priorityClassName"], class.name().into());
    }
    pod.set_at(&["spec", "priority"], value.into());
    pod.set_at(&["spec", "preemptionPolicy"], Value::from(policy));
    Ok(())
}

fn built_in(name: &str) -> Option<i64> {
    BUILT_IN.iter().find(|(class, _)| *class == name).map(|(_, value)| *value)
}

/// Of several defaults, which a race can make, the lowest.
fn default_class(context: &WriteContext<'_>) -> Option<Arc<Object>> {
    let classes = context.objects.list(&CLASSES, None);
    classes.into_iter().filter(|c| c.bool_at(&["globalDefault"])).min_by_key(|c| c.i64_at(&["value"]).unwrap_or(0))
}
