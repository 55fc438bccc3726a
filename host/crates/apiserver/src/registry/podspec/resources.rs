//! Validation of resource requests and limits.

use std::collections::HashSet;

use pintle_api::names;
use pintle_api::object::ObjectExt;
use pintle_api::quantity::Quantity;
use serde_json::Value;

use crate::registry::checks::nonnegative_quantity;
use crate::registry::faults::{Faults, Path};

pub fn validate(requirements: &Value, claims: &HashSet<&str>, path: &Path<'_>, faults: &mut Faults) {
    let limit_path = path.field("limits");
    let limits = requirements.map_at(&["limits"]);
    let mut has_compute = false;
    let mut has_huge_pages = false;
    for (name, value) in limits.into_iter().flatten() {
        one_resource(name, value, &limit_path.key(name), faults);
        has_compute |= matches!(name.as_str(), "cpu" | "memory");
        has_huge_pages |= name.starts_with("hugepages-");
    }
    let request_path = path.field("requests");
    for (name, value) in requirements.map_at(&["requests"]).into_iter().flatten() {
        let request = one_resource(name, value, &request_path.key(name), faults);
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
    let claim_path = path.field("claims");
    for (i, claim) in requirements.list_at(&["claims"]).iter().enumerate() {
        let name = claim.str_at(&["name"]);
        if name.is_empty() {
            faults.required(&claim_path.index(i), "");
        } else if !claims.contains(name) {
            faults.not_found(&claim_path.index(i), &name.into());
        }
    }
}

fn one_resource(name: &str, value: &Value, path: &Path<'_>, faults: &mut Faults) -> Option<Quantity> {
    resource_name(name, path, faults);
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
        if !matches!(name, "pods" | "services" | "secrets" | "configmaps" | "storage") {
            faults.invalid_str(path, name, "must be a standard resource type or fully qualified");
        }
        faults.invalid_str(path, name, "must be a standard resource for containers");
    }
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
        _ => (
            sizes.contains(&shown.as_str()),
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the hugepages resource",
        ),
    };
    if !good {
        faults.invalid_str(&path.field("divisor"), resource, said);
    }
}
