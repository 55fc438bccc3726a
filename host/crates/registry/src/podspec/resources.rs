//! Validation of resource requests and limits.

use std::collections::HashSet;

use pintle_api::Cause;
use pintle_api::names;
use pintle_api::object::ObjectExt;
use pintle_api::quantity::Quantity;
use serde_json::Value;

use super::totals;
use crate::checks::nonnegative_quantity;
use crate::faults::{Faults, Path};
use crate::fields::is_set;

/// A container's.
pub fn validate(requirements: &Value, claims: &HashSet<&str>, path: &Path<'_>, faults: &mut Faults) {
    requirement_lists(requirements, resource_name, path, faults);
    claim_names(requirements.list_at(&["claims"]), claims, &path.field("claims"), faults);
}

/// A whole pod's, which its containers together may not exceed.
pub fn validate_of_pod(spec: &Value, claims: &HashSet<&str>, path: &Path<'_>, faults: &mut Faults) {
    let Some(requirements) = spec.get("resources").filter(|r| !r.is_null()) else { return };
    if spec.str_at(&["os", "name"]) == "windows" {
        return faults.forbidden(path, "may not be set for a windows pod");
    }
    if is_set(requirements.get("claims")) {
        faults.forbidden(&path.field("claims"), "claims may not be set for Resources at pod-level");
    }
    requirement_lists(requirements, pod_resource_name, path, faults);
    claim_names(requirements.list_at(&["claims"]), claims, &path.field("claims"), faults);
    within_the_pod(spec, requirements, path, faults);
}

fn within_the_pod(spec: &Value, requirements: &Value, path: &Path<'_>, faults: &mut Faults) {
    let list = path.field("requests");
    let asked = totals::amounts(requirements.get("requests"));
    for (name, sum) in totals::of_containers(spec, "requests") {
        if let Some(own) = asked.get(&name).filter(|own| sum > **own) {
            faults.invalid_str(
                &list.key(&name),
                &own.to_string(),
                &format!("must be greater than or equal to aggregate container requests of {sum}"),
            );
        }
    }
    let list = path.field("limits");
    let allowed = totals::amounts(requirements.get("limits"));
    for (name, sum) in totals::of_containers(spec, "limits").into_iter().filter(|(name, _)| name.starts_with("hugepages-")) {
        if let Some(own) = allowed.get(&name).filter(|own| sum > **own) {
            faults.invalid_str(&list.key(&name), &own.to_string(), &format!("must be greater than or equal to aggregate container limits of {sum}"));
        }
    }
    let list = path.field("containers");
    for (i, container) in spec.list_at(&["containers"]).iter().enumerate() {
        let here = list.index(i);
        for (name, limit) in totals::amounts(container.at(&["resources", "limits"])) {
            if let Some(own) = allowed.get(&name).filter(|own| limit > **own) {
                let at = here.key(&name);
                faults.invalid_str(&at.field("limits"), &limit.to_string(), &format!("must be less than or equal to pod limits of {own}"));
            }
        }
    }
}

type NameCheck = fn(&str, &Path<'_>, &mut Faults);

fn requirement_lists(requirements: &Value, check_name: NameCheck, path: &Path<'_>, faults: &mut Faults) {
    let limit_path = path.field("limits");
    let limits = requirements.map_at(&["limits"]);
    let mut has_compute = false;
    let mut has_huge_pages = false;
    for (name, value) in limits.into_iter().flatten() {
        one_resource(name, value, check_name, &limit_path.key(name), faults);
        has_compute |= matches!(name.as_str(), "cpu" | "memory");
        has_huge_pages |= name.starts_with("hugepages-");
    }
    let request_path = path.field("requests");
    for (name, value) in requirements.map_at(&["requests"]).into_iter().flatten() {
        let request = one_resource(name, value, check_name, &request_path.key(name), faults);
        has_compute |= matches!(name.as_str(), "cpu" | "memory");
        has_huge_pages |= name.starts_with("hugepages-");
        let limit = limits.and_then(|l| l.get(name)).and_then(|l| Quantity::from_value(l).ok());
        let Some(request) = request else { continue };
        match limit {
            Some(limit) if !may_overcommit(name) && request != limit => {
                faults.invalid_str(&request_path, &request.to_string(), &format!("must be equal to {name} limit of {limit}"));
            }
            Some(limit) if request > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                faults.invalid_str(&request_path, &request.to_string(), &detail);
            }
            None if !may_overcommit(name) => faults.required(&limit_path, "Limit must be set for non overcommitable resources"),
            _ => {}
        }
    }
    if has_huge_pages && !has_compute {
        faults.forbidden(path, "HugePages require cpu or memory");
    }
}

/// What is used of the claims that the pod lists, each claim whole or by its requests.
fn claim_names(used: &[Value], known: &HashSet<&str>, path: &Path<'_>, faults: &mut Faults) {
    let (mut whole, mut parts) = (HashSet::new(), HashSet::new());
    for (i, claim) in used.iter().enumerate() {
        let here = path.index(i);
        let (name, request) = (claim.str_at(&["name"]), claim.str_at(&["request"]));
        if name.is_empty() {
            faults.required(&here, "");
            continue;
        }
        if whole.contains(name) {
            faults.duplicate(&here, &name.into());
        } else if request.is_empty() {
            if parts.iter().any(|(of, _)| *of == name) {
                faults.duplicate(&here, &name.into());
            }
            whole.insert(name);
        } else {
            faults.texts(&here.field("request"), request, names::dns1123_label(request));
            if !parts.insert((name, request)) {
                faults.duplicate(&here, &format!("{name}/{request}").into());
            }
        }
        if !known.contains(name) {
            faults.push(not_among(name, known, &here));
        }
    }
}

fn not_among(name: &str, known: &HashSet<&str>, path: &Path<'_>) -> Cause {
    let mut sorted: Vec<&str> = known.iter().copied().collect();
    sorted.sort_unstable();
    let which = if sorted.is_empty() { " which is empty".to_owned() } else { format!(": {}", sorted.join(", ")) };
    let mut cause = Cause::not_found(path.to_string(), &name.into());
    cause.message += &format!(": must be one of the names in pod.spec.resourceClaims{which}");
    cause
}

fn one_resource(name: &str, value: &Value, check_name: NameCheck, path: &Path<'_>, faults: &mut Faults) -> Option<Quantity> {
    check_name(name, path, faults);
    let quantity = nonnegative_quantity(value, path, faults)?;
    if !name.contains('/') && !matches!(name, "cpu") && !quantity.is_whole() && name.starts_with("hugepages-") {
        faults.invalid_str(path, &quantity.to_string(), "must be an integer");
    }
    if let Some(size) = name.strip_prefix("hugepages-").and_then(|size| Quantity::parse(size).ok()).filter(|s| s.value() > 0)
        && quantity.value() % size.value() != 0
    {
        faults.invalid_str(path, &quantity.to_string(), &format!("{quantity} is not positive integer multiple of {name}"));
    }
    if is_extended(name) && !quantity.is_whole() {
        faults.invalid_str(path, &quantity.to_string(), "must be an integer");
    }
    Some(quantity)
}

/// The name of a resource that a container may ask for.
pub fn resource_name(name: &str, path: &Path<'_>, faults: &mut Faults) {
    let messages = names::qualified_name(name);
    if !messages.is_empty() {
        faults.texts(path, name, messages);
        if !name.contains('/') {
            faults.invalid_str(path, name, "must be a standard resource for containers");
        }
        return;
    }
    if name.contains('/') {
        if name.starts_with("requests.") && !name.contains("kubernetes.io/") {
            faults.invalid_str(path, name, "doesn't follow extended resource name standard");
        }
    } else if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !name.starts_with("hugepages-") {
        if !is_standard(name) {
            faults.invalid_str(path, name, "must be a standard resource type or fully qualified");
        }
        faults.invalid_str(path, name, "must be a standard resource for containers");
    }
}

/// The name of a resource that a whole pod may ask for.
fn pod_resource_name(name: &str, path: &Path<'_>, faults: &mut Faults) {
    let messages = names::qualified_name(name);
    if !messages.is_empty() {
        return faults.texts(path, name, messages);
    }
    if !name.contains('/') && !is_standard(name) {
        return faults.invalid_str(path, name, "must be a standard resource type or fully qualified");
    }
    if !matches!(name, "cpu" | "memory") && !name.starts_with("hugepages-") {
        faults.not_supported(path, name, &["cpu", "hugepages-", "memory"]);
    }
}

fn is_standard(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage" | "pods" | "services" | "secrets" | "configmaps" | "storage")
        || name.starts_with("hugepages-")
}

/// Resources that a node may promise more of than it has.
pub fn may_overcommit(name: &str) -> bool {
    is_native(name) && !name.starts_with("hugepages-")
}

pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

pub fn is_extended(name: &str) -> bool {
    !is_native(name)
}

/// The divisor of a `resourceFieldRef`.
pub fn divisor(resource: &str, divisor: Option<&Value>, path: &Path<'_>, faults: &mut Faults) {
    let Some(quantity) = divisor.and_then(|d| Quantity::from_value(d).ok()).filter(|q| !q.is_zero()) else { return };
    let shown = quantity.to_string();
    let sizes = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let (good, said) = match resource.split_once('.').map_or("", |(_, name)| name) {
        "cpu" => (["1m", "1"].contains(&shown.as_str()), "only divisor's values 1m and 1 are supported with the cpu resource"),
        "memory" => (
            sizes.contains(&shown.as_str()),
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource",
        ),
        "ephemeral-storage" => (
            sizes.contains(&shown.as_str()),
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the local ephemeral storage resource",
        ),
        huge if huge.starts_with("hugepages-") => (
            sizes.contains(&shown.as_str()),
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the hugepages resource",
        ),
        _ => return,
    };
    if !good {
        faults.invalid_str(&path.field("divisor"), resource, said);
    }
}
