//! Rolling update: replaces old pods within `maxUnavailable`, or puts new ones beside them within `maxSurge`.

use pintle_controller_common::fields::Fields;
use pintle_controller_common::numbers::resolve;
use serde_json::Value;

use crate::fleet::{Fleet, Plan};
use crate::placement::is_updated;

pub fn allows_surge(set: &Value) -> bool {
    limit(set, "maxSurge", 1) > 0
}

fn limit(set: &Value, field: &str, nodes: i64) -> i64 {
    if set.text(&["spec", "updateStrategy", "type"]) != "RollingUpdate" {
        return 0;
    }
    resolve(set.at(&["spec", "updateStrategy", "rollingUpdate", field]), nodes, true).unwrap_or(0)
}

pub fn step(fleet: &Fleet<'_>) -> Plan {
    let desired = count(fleet.nodes.values().filter(|(should_run, _)| *should_run).count());
    let surge = limit(fleet.set, "maxSurge", desired);
    let unavailable = match limit(fleet.set, "maxUnavailable", desired) {
        // Both zero would never move.
        0 if surge == 0 && desired > 0 => 1,
        unavailable => unavailable,
    };
    if surge == 0 { replace(fleet, unavailable) } else { add_beside(fleet, surge, desired) }
}

/// The live pod with the newest template and the one with an older; `None` where there are several of a sort, which `plan` sorts out.
fn pair<'a>(fleet: &Fleet<'_>, pods: &'a [Value]) -> Option<(Option<&'a Value>, Option<&'a Value>)> {
    let (new, old): (Vec<&Value>, Vec<&Value>) = pods.iter().filter(|p| !p.deleting()).partition(|p| is_updated(p, fleet.set, &fleet.hash));
    (new.len() <= 1 && old.len() <= 1).then(|| (new.first().copied(), old.first().copied()))
}

/// Every node that concerns the roll-out, with its pods: those that have some, and those that should.
fn places<'a>(fleet: &'a Fleet<'_>) -> impl Iterator<Item = (&'a String, &'a [Value])> {
    let bare = fleet.nodes.iter().filter(|(name, (should_run, _))| *should_run && !fleet.by_node.contains_key(*name));
    fleet.by_node.iter().map(|(node, pods)| (node, pods.as_slice())).chain(bare.map(|(name, _)| (name, [].as_slice())))
}

/// Deletes old pods; the next reconcile makes the new ones in their place. Pods that are not available cost nothing.
fn replace(fleet: &Fleet<'_>, max_unavailable: i64) -> Plan {
    let (mut unavailable, mut broken, mut sound) = (0, Vec::new(), Vec::new());
    for (_, pods) in places(fleet) {
        match pair(fleet, pods) {
            None | Some((None, None) | (Some(_), Some(_))) => unavailable += 1,
            Some((Some(new), None)) => unavailable += i64::from(!fleet.is_available(new)),
            Some((None, Some(old))) if !fleet.is_available(old) => {
                broken.push(old.clone());
                unavailable += 1;
            }
            Some((None, Some(old))) => sound.push(old.clone()),
        }
    }
    let room = usize::try_from(max_unavailable - unavailable).unwrap_or(0);
    broken.extend(sound.into_iter().take(room));
    Plan { delete: broken, ..Plan::default() }
}

/// Makes new pods beside old ones; an old one goes when its new one is available. The set never has fewer available than it had.
fn add_beside(fleet: &Fleet<'_>, max_surge: i64, desired: i64) -> Plan {
    let (mut surging, mut available) = (0, 0);
    let (mut plan, mut candidates, mut misplaced) = (Plan::default(), Vec::new(), Vec::new());
    for (node, pods) in places(fleet) {
        let Some((new, old)) = pair(fleet, pods) else {
            surging += 1;
            continue;
        };
        available += i64::from(old.or(new).is_some_and(|p| fleet.is_available(p)));
        let Some(old) = old else { continue };
        let should_run = fleet.nodes.get(node).is_some_and(|n| n.0);
        match new {
            Some(new) if !fleet.is_available(new) => surging += 1,
            Some(_) => plan.delete.push(old.clone()),
            None => match (fleet.is_available(old), should_run) {
                (false, false) => plan.delete.push(old.clone()),
                (false, true) => plan.create.push(node.clone()),
                (true, false) => misplaced.push(old.clone()),
                (true, true) => candidates.push(node.clone()),
            },
        }
    }
    plan.delete.extend(misplaced.into_iter().take(usize::try_from(available - desired).unwrap_or(0)));
    plan.create.extend(candidates.into_iter().take(usize::try_from(max_surge - surging).unwrap_or(0)));
    plan
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
