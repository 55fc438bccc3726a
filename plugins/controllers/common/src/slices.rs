//! EndpointSlices: from endpoints wanted and slices there to the fewest writes. Pure.

use serde_json::{Value, json};

use crate::fields::Fields;

/// More endpoints go into another slice.
const MAX_ENDPOINTS: usize = 100;

/// Endpoints that share their ports.
pub struct Group {
    pub ports: Vec<Value>,
    pub endpoints: Vec<Value>,
}

#[derive(Default)]
pub struct Plan {
    pub keep: Vec<Value>,
    pub update: Vec<Value>,
    pub create: Vec<(Vec<Value>, Vec<Value>)>,
    pub delete: Vec<Value>,
}

pub fn plan(mut groups: Vec<Group>, existing: Vec<Value>) -> Plan {
    let mut plan = Plan::default();
    if groups.is_empty() {
        // A Service without endpoints still has one slice, so that "none" differs from "not looked at yet".
        groups.push(Group { ports: Vec::new(), endpoints: Vec::new() });
    }
    let mut unused = existing;
    for group in groups {
        let (mut slices, rest): (Vec<Value>, Vec<Value>) = unused.into_iter().partition(|s| s.items(&["ports"]) == group.ports.as_slice());
        unused = rest;
        let mut missing = group.endpoints;
        let mut changed = vec![false; slices.len()];
        for (slice, changed) in slices.iter_mut().zip(&mut changed) {
            *changed = refresh(slice, &mut missing);
        }
        for (slice, changed) in slices.iter_mut().zip(&mut changed) {
            let room = MAX_ENDPOINTS.saturating_sub(slice.items(&["endpoints"]).len());
            // Only slices that are written anyhow, or where one write fills several, are worth it.
            let taken: Vec<Value> = missing.drain(..room.min(missing.len())).collect();
            if !taken.is_empty() {
                *changed = true;
                let mut endpoints = slice.items(&["endpoints"]).to_vec();
                endpoints.extend(taken);
                slice["endpoints"] = json!(endpoints);
            }
        }
        let mut chunks: Vec<Vec<Value>> = missing.chunks(MAX_ENDPOINTS).map(<[Value]>::to_vec).collect();
        let none_left = slices.iter().all(|s| s.items(&["endpoints"]).is_empty());
        if slices.is_empty() && chunks.is_empty() {
            chunks.push(Vec::new());
        }
        for (place, (slice, changed)) in slices.into_iter().zip(changed).enumerate() {
            let empty = slice.items(&["endpoints"]).is_empty();
            if empty && !(none_left && place == 0) {
                plan.delete.push(slice);
            } else if changed {
                plan.update.push(slice);
            } else {
                plan.keep.push(slice);
            }
        }
        plan.create.extend(chunks.into_iter().map(|endpoints| (group.ports.clone(), endpoints)));
    }
    reuse(&mut plan, unused);
    plan
}

/// Drops endpoints that are no longer wanted, renews those that changed, and takes them out of `missing`.
fn refresh(slice: &mut Value, missing: &mut Vec<Value>) -> bool {
    let mut changed = false;
    let mut kept = Vec::new();
    for endpoint in slice.items(&["endpoints"]) {
        match missing.iter().position(|m| m["targetRef"]["uid"] == endpoint["targetRef"]["uid"] && m["addresses"] == endpoint["addresses"]) {
            Some(place) => {
                let wanted = missing.remove(place);
                changed |= wanted != *endpoint;
                kept.push(wanted);
            }
            None => changed = true,
        }
    }
    if changed {
        slice["endpoints"] = json!(kept);
    }
    changed
}

/// Slices whose ports nobody wants any more become new ones' bodies; what is left is deleted.
fn reuse(plan: &mut Plan, mut unused: Vec<Value>) {
    while !unused.is_empty() && !plan.create.is_empty() {
        let (ports, endpoints) = plan.create.remove(0);
        let mut slice = unused.remove(0);
        slice["ports"] = json!(ports);
        slice["endpoints"] = json!(endpoints);
        plan.update.push(slice);
    }
    plan.delete.extend(unused);
}
