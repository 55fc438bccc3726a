//! LimitRanger: fills in a namespace's default requests and limits, and refuses what lies outside its ranges.

use pintle_api::object::ObjectExt;
use pintle_api::quantity::Quantity;
use pintle_api::{GroupVersionResource, Object, Status};
use pintle_registry::WriteContext;
use pintle_registry::podspec::totals::{self, Amounts, amounts};
use serde_json::{Value, json};

use super::{AdmissionAttributes, Operation};

const RANGES: GroupVersionResource = GroupVersionResource::constant("", "v1", "limitranges");
const NOTE: &str = "kubernetes.io/limit-ranger";

pub fn admit(pod: &mut Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<(), Status> {
    if attributes.operation != Operation::Create || !attributes.is("", "pods") || !attributes.is_main() {
        return Ok(());
    }
    for range in context.objects.list(&RANGES, Some(attributes.namespace)) {
        for item in items(&range, "Container") {
            fill_in(pod, item);
        }
    }
    Ok(())
}

pub fn validate(object: &Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<Vec<String>, Status> {
    let creates = attributes.operation == Operation::Create && attributes.is_main();
    let resizes = attributes.operation == Operation::Update && attributes.subresource == "resize";
    let changes_claim = attributes.operation == Operation::Update && attributes.is_main() && attributes.is("", "persistentvolumeclaims");
    let mut faults = Vec::new();
    if attributes.is("", "pods") && (creates || resizes) {
        for range in context.objects.list(&RANGES, Some(attributes.namespace)) {
            check_pod(object, &range, &mut faults);
        }
    } else if attributes.is("", "persistentvolumeclaims") && (creates || changes_claim) {
        for range in context.objects.list(&RANGES, Some(attributes.namespace)) {
            check_claim(object, &range, &mut faults);
        }
    }
    match faults.len() {
        0 => Ok(Vec::new()),
        1 => Err(attributes.forbidden(&faults[0])),
        _ => Err(attributes.forbidden(&format!("[{}]", faults.join(", ")))),
    }
}

fn items<'a>(range: &'a Object, kind: &str) -> impl Iterator<Item = &'a Value> {
    let kind = kind.to_owned();
    range.list_at(&["spec", "limits"]).iter().filter(move |item| item.str_at(&["type"]) == kind)
}

fn fill_in(pod: &mut Object, item: &Value) {
    let mut notes = Vec::new();
    for (list, word) in [("containers", "container"), ("initContainers", "init container")] {
        let Some(containers) = pod.get_mut("spec").and_then(|s| s.get_mut(list)).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            let name = container.str_at(&["name"]).to_owned();
            for (side, source, what) in [("requests", "defaultRequest", "request"), ("limits", "default", "limit")] {
                let set = fill_side(container, side, item.get(source));
                if !set.is_empty() {
                    notes.push(format!("{} {what} for {word} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        if !pod.at(&["metadata", "annotations"]).is_some_and(Value::is_object) {
            pod.set_at(&["metadata", "annotations"], json!({}));
        }
        pod.set_at(&["metadata", "annotations", NOTE], format!("LimitRanger plugin set: {}", notes.join("; ")).into());
    }
}

/// The names that were missing, sorted.
fn fill_side(container: &mut Value, side: &str, defaults: Option<&Value>) -> Vec<String> {
    let mut set = Vec::new();
    for (name, value) in defaults.and_then(Value::as_object).into_iter().flatten() {
        if container.at(&["resources", side, name]).is_none() {
            container.set_at(&["resources", side, name], value.clone());
            set.push(name.clone());
        }
    }
    set.sort_unstable();
    set
}

fn check_pod(pod: &Object, range: &Object, faults: &mut Vec<String>) {
    for item in items(range, "Container") {
        for container in ["containers", "initContainers"].iter().flat_map(|list| pod.list_at(&["spec", list])) {
            let sides = (amounts(container.at(&["resources", "requests"])), amounts(container.at(&["resources", "limits"])));
            check(item, "Container", &sides.0, &sides.1, faults);
        }
    }
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    for item in items(range, "Pod") {
        check(item, "Pod", &totals::requests(spec), &totals::limits(spec), faults);
    }
}

fn check_claim(claim: &Object, range: &Object, faults: &mut Vec<String>) {
    let requests = amounts(claim.at(&["spec", "resources", "requests"]));
    for item in items(range, "PersistentVolumeClaim") {
        let kind = "PersistentVolumeClaim";
        for (name, least) in amounts(item.get("min")) {
            minimum(kind, &name, least, &requests, &Amounts::new(), faults);
        }
        for (name, most) in amounts(item.get("max")) {
            match requests.get(&name) {
                None => faults.push(format!("maximum {name} usage per {kind} is {most}.  No request is specified")),
                Some(request) if *request > most => {
                    faults.push(format!("maximum {name} usage per {kind} is {most}, but request is {request}"));
                }
                Some(_) => {}
            }
        }
    }
}

fn check(item: &Value, kind: &str, requests: &Amounts, limits: &Amounts, faults: &mut Vec<String>) {
    for (name, least) in amounts(item.get("min")) {
        minimum(kind, &name, least, requests, limits, faults);
    }
    for (name, most) in amounts(item.get("max")) {
        match (limits.get(&name), requests.get(&name)) {
            (None, _) => faults.push(format!("maximum {name} usage per {kind} is {most}.  No limit is specified")),
            (Some(limit), _) if *limit > most => faults.push(format!("maximum {name} usage per {kind} is {most}, but limit is {limit}")),
            (_, Some(request)) if *request > most => {
                faults.push(format!("maximum {name} usage per {kind} is {most}, but request is {request}"));
            }
            _ => {}
        }
    }
    for (name, most) in amounts(item.get("maxLimitRequestRatio")) {
        ratio(kind, &name, most, requests.get(&name), limits.get(&name), faults);
    }
}

fn minimum(kind: &str, name: &str, least: Quantity, requests: &Amounts, limits: &Amounts, faults: &mut Vec<String>) {
    match (requests.get(name), limits.get(name)) {
        (None, _) => faults.push(format!("minimum {name} usage per {kind} is {least}.  No request is specified")),
        (Some(request), _) if *request < least => {
            faults.push(format!("minimum {name} usage per {kind} is {least}, but request is {request}"));
        }
        (_, Some(limit)) if *limit < least => faults.push(format!("minimum {name} usage per {kind} is {least}, but limit is {limit}")),
        _ => {}
    }
}

fn ratio(kind: &str, name: &str, most: Quantity, request: Option<&Quantity>, limit: Option<&Quantity>, faults: &mut Vec<String>) {
    let head = format!("{name} max limit to request ratio per {kind} is {most}");
    let set = |q: Option<&Quantity>| q.filter(|q| !q.is_zero()).map(|q| q.milli_value() as f64);
    match (set(request), set(limit)) {
        (None, _) => faults.push(format!("{head}, but no request is specified or request is 0")),
        (_, None) => faults.push(format!("{head}, but no limit is specified or limit is 0")),
        (Some(request), Some(limit)) if limit / request > most.milli_value() as f64 / 1000.0 => {
            faults.push(format!("{head}, but provided ratio is {:.6}", limit / request));
        }
        _ => {}
    }
}
