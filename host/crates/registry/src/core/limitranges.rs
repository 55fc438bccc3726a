//! `v1` LimitRange.

use std::collections::{BTreeSet, HashSet};

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::checks::quantity;
use crate::def::namespaced;
use crate::faults::{Faults, Path};
use crate::fields::{Fields, each_mut, ensure_object, spec_mut};
use crate::kind::Kind;
use crate::podspec::resources::{may_overcommit, resource_name};
use crate::podspec::totals::{Amounts, amounts};

const SIDES: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

pub fn kind() -> Kind {
    Kind {
        create_on_update: true,
        default,
        create: |range, _| {
            if range.name().is_empty() && range.str_at(&["metadata", "generateName"]).is_empty() {
                range.set_at(&["metadata", "name"], uuid::Uuid::new_v4().to_string().into());
            }
        },
        validate,
        ..Kind::new(namespaced("v1", "limitranges", "LimitRange").short(&["limits"]))
    }
}

fn default(range: &mut Value) {
    let Some(spec) = spec_mut(range) else { return };
    for item in each_mut(spec, "limits").filter(|item| item.get("type").is_some_and(|t| t == "Container")) {
        fill(item, "default", "max");
        fill(item, "defaultRequest", "default");
        fill(item, "defaultRequest", "min");
    }
}

fn fill(item: &mut Fields, to: &str, from: &str) {
    let source = item.get(from).and_then(Value::as_object).cloned().unwrap_or_default();
    let target = ensure_object(item, to);
    for (name, value) in source {
        target.entry(name).or_insert(value);
    }
}

fn validate(range: &Value, faults: &mut Faults) {
    let list = Path::root("spec.limits");
    let mut seen = HashSet::new();
    for (i, item) in range.list_at(&["spec", "limits"]).iter().enumerate() {
        let here = list.index(i);
        let kind = item.str_at(&["type"]);
        let unqualified = names::qualified_name(kind);
        if unqualified.is_empty() && !matches!(kind, "Container" | "Pod" | "PersistentVolumeClaim") && !kind.contains('/') {
            faults.invalid_str(&here.field("type"), kind, "must be a standard limit type or fully qualified");
        }
        faults.texts(&here.field("type"), kind, unqualified);
        if !seen.insert(kind) {
            faults.duplicate(&here.field("type"), &kind.into());
        }
        for side in SIDES {
            let at = here.field(side);
            for (name, value) in item.map_at(&[side]).into_iter().flatten() {
                // A Pod has no defaults: they are refused as a whole.
                if matches!(kind, "Container" | "Pod") && !(kind == "Pod" && side.starts_with("default")) {
                    resource_name(name, &at.key(name), faults);
                }
                quantity(value, &at.key(name), faults);
            }
        }
        if kind == "Pod" {
            for side in ["default", "defaultRequest"].iter().filter(|s| item.map_at(&[s]).is_some_and(|m| !m.is_empty())) {
                faults.forbidden(&here.field(side), "may not be specified when `type` is 'Pod'");
            }
        }
        let storage = |side: &str| item.at(&[side, "storage"]).is_some();
        if kind == "PersistentVolumeClaim" && !storage("min") && !storage("max") {
            faults.required(&here.field("limits"), "either minimum or maximum storage value is required, but neither was provided");
        }
        order(item, &here, faults);
        ratios(item, &here, faults);
    }
}

/// A limit is at least its request, and no ratio can be above what the largest and the smallest value leave.
fn ratios(item: &Value, path: &Path<'_>, faults: &mut Faults) {
    let [max, min, ratios] = ["max", "min", "maxLimitRequestRatio"].map(|side| amounts(item.get(side)));
    let at = path.field("maxLimitRequestRatio");
    for (name, ratio) in &ratios {
        if ratio.milli_value() < 1000 {
            faults.invalid_str(&at.key(name), &ratio.to_string(), &format!("ratio {ratio} is less than 1"));
        }
        let (Some(max), Some(min)) = (max.get(name), min.get(name)) else { continue };
        let possible = max.milli_value() as f64 / min.milli_value() as f64;
        if ratio.milli_value() as f64 / 1000.0 > possible {
            faults.invalid_str(&at.key(name), &ratio.to_string(), &format!("ratio {ratio} is greater than max/min = {possible:.6}"));
        }
    }
}

/// Smallest, default and largest values must follow each other.
fn order(item: &Value, path: &Path<'_>, faults: &mut Faults) {
    let [max, min, default, request] = ["max", "min", "default", "defaultRequest"].map(|side| amounts(item.get(side)));
    let names: BTreeSet<&String> = [&max, &min, &default, &request].into_iter().flat_map(Amounts::keys).collect();
    for name in names {
        let pairs = [
            (&min, "min value", &max, "max value", "min", &min),
            (&min, "min value", &request, "default request value", "defaultRequest", &request),
            (&request, "default request value", &max, "max value", "defaultRequest", &request),
            (&request, "default request value", &default, "default limit value", "defaultRequest", &request),
            (&min, "min value", &default, "default value", "default", &min),
            (&default, "default value", &max, "max value", "default", &max),
        ];
        // `shown` is what upstream shows, which for defaults is the bound.
        for (low, low_name, high, high_name, field, shown) in pairs {
            if let (Some(low), Some(high), Some(shown)) = (low.get(name), high.get(name), shown.get(name))
                && low > high
            {
                let at = path.field(field);
                faults.invalid_str(&at.key(name), &shown.to_string(), &format!("{low_name} {low} is greater than {high_name} {high}"));
            }
        }
        if let (Some(default), Some(request)) = (default.get(name), request.get(name))
            && default != request
            && !may_overcommit(name)
        {
            let why = format!("default value {default} must equal to defaultRequest value {request} in {name}");
            faults.invalid_str(&path.field("defaultRequest").key(name), &request.to_string(), &why);
        }
    }
}
