//! ResourceQuota: refuses what would use more than a namespace's quotas allow.
//!
//! Use is counted anew from the present objects, so nothing drifts. What was let through a moment ago, new objects and growth of
//! present ones, and is not yet visible counts as reservations, so that two requests at once cannot both take the last place.

use std::collections::BTreeMap;
use std::sync::Mutex;

use jiff::Timestamp;
use pintle_api::object::ObjectExt;
use pintle_api::quantity::Quantity;
use pintle_api::{GroupVersionResource, Object, Status};
use pintle_registry::WriteContext;
use pintle_registry::podspec::totals::{Amounts, add, amounts};
use pintle_registry::quota::{charge, compute_usage, covers, hard, used};
use serde_json::Value;

use super::{AdmissionAttributes, Operation};

const QUOTAS: GroupVersionResource = GroupVersionResource::constant("", "v1", "resourcequotas");
/// A commit takes far less; one that failed gives its place back after this.
const RESERVATION_SECONDS: i64 = 5;
/// Compute resources that every container must state where a quota limits them.
const STATED: [&str; 10] = [
    "cpu",
    "memory",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
    "ephemeral-storage",
    "requests.ephemeral-storage",
    "limits.ephemeral-storage",
    "hugepages-",
];

/// Lets one request at a time judge and reserve.
static RESERVED: Mutex<Vec<Reservation>> = Mutex::new(Vec::new());

struct Reservation {
    namespace: String,
    resource: GroupVersionResource,
    uid: String,
    name: String,
    /// The state from which it grows; `None`: it is new.
    grows_from: Option<String>,
    amounts: Amounts,
    /// The quotas by which it is limited.
    quotas: Vec<String>,
    made: Timestamp,
    /// Whose claims these are: servers in one process (tests) do not see each other's.
    server: usize,
}

pub fn validate(object: &Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<Vec<String>, Status> {
    let resource = attributes.resource.def().gvr();
    if !counts(attributes, &resource) || attributes.namespace.is_empty() {
        return Ok(Vec::new());
    }
    let quotas = context.objects.list(&QUOTAS, Some(attributes.namespace));
    let quotas: Vec<&Object> = quotas.iter().map(|quota| &**quota).filter(|quota| covers(quota, &resource, object)).collect();
    if quotas.is_empty() {
        return Ok(Vec::new());
    }
    let mut asked = charge(&resource, object);
    if let Some(old) = attributes.old {
        asked = increase(&asked, &charge(&resource, old));
    }
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let mut reserved = RESERVED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let server = std::ptr::from_ref(context.allocators).addr();
    reserved.retain(|r| context.now.as_second() - r.made.as_second() < RESERVATION_SECONDS);
    for quota in &quotas {
        let pending = pending(&reserved, server, quota.name(), object, attributes.namespace, context);
        judge(quota, object, &asked, &pending, attributes, context, &resource)?;
    }
    if !context.dry_run {
        let quotas = quotas.iter().map(|quota| quota.name().to_owned()).collect();
        let grows_from = attributes.old.map(|old| old.resource_version().to_owned());
        let (namespace, uid, name) = (attributes.namespace.to_owned(), object.uid().to_owned(), object.name().to_owned());
        // Of updates that begin at one state, a single one is written.
        let same = |r: &Reservation| r.server == server && r.uid == uid && r.grows_from.is_some() && r.grows_from == grows_from;
        if let Some(at) = reserved.iter().position(same) {
            for (counted, amount) in reserved.swap_remove(at).amounts {
                let most = asked.get(&counted).map_or(amount, |more| amount.max(*more));
                asked.insert(counted, most);
            }
        }
        reserved.push(Reservation { namespace, resource, uid, name, grows_from, amounts: asked, quotas, made: context.now, server });
    }
    Ok(Vec::new())
}

fn counts(attributes: &AdmissionAttributes<'_>, resource: &GroupVersionResource) -> bool {
    match (attributes.operation, attributes.subresource) {
        (Operation::Create, "") => true,
        (Operation::Update, "") => resource.group.is_empty() && matches!(resource.resource.as_ref(), "services" | "persistentvolumeclaims"),
        (Operation::Update, "resize") => true,
        _ => false,
    }
}

fn increase(new: &Amounts, old: &Amounts) -> Amounts {
    let more = |(name, amount): (&String, &Quantity)| {
        let grown = old.get(name).map_or(*amount, |before| amount.minus(*before));
        (!grown.is_zero() && !grown.is_negative()).then(|| (name.clone(), grown))
    };
    new.iter().filter_map(more).collect()
}

/// What was let through under the quota and is not among the present objects. The growth of what asks is asked
/// for again.
fn pending(reserved: &[Reservation], server: usize, quota: &str, asking: &Object, namespace: &str, context: &WriteContext<'_>) -> Amounts {
    let mut total = Amounts::new();
    let others = reserved.iter().filter(|r| r.server == server && r.namespace == namespace && !(r.grows_from.is_some() && r.uid == asking.uid()));
    for claim in others.filter(|r| r.quotas.iter().any(|of| of == quota)) {
        let present = context.objects.get(&claim.resource, Some(namespace), &claim.name).filter(|o| o.uid() == claim.uid);
        let waits = match &claim.grows_from {
            None => present.is_none(),
            Some(before) => present.is_some_and(|o| o.resource_version() == before),
        };
        if waits {
            add(&mut total, &claim.amounts);
        }
    }
    total
}

fn judge(
    quota: &Object,
    object: &Object,
    asked: &Amounts,
    pending: &Amounts,
    attributes: &AdmissionAttributes<'_>,
    context: &WriteContext<'_>,
    resource: &GroupVersionResource,
) -> Result<(), Status> {
    let limits = hard(quota);
    if resource.group.is_empty() && resource.resource == "pods" {
        every_container_states(object, &limits).map_err(|why| attributes.forbidden(&format!("failed quota: {}: {why}", quota.name())))?;
    }
    let asked: Amounts =
        asked.iter().filter(|(name, amount)| limits.contains_key(*name) && !amount.is_zero()).map(|(n, a)| (n.clone(), *a)).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let resolve = |counted: &str| (counted == resource.to_string()).then(|| resource.clone());
    let mut now = used(quota, attributes.namespace, context.objects, &resolve);
    let waiting = pending.iter().filter(|(name, _)| limits.contains_key(*name)).map(|(n, a)| (n.clone(), *a)).collect();
    add(&mut now, &waiting);
    let over: Vec<&String> = asked
        .iter()
        .filter(|(name, amount)| {
            let total = now.get(*name).map_or(**amount, |have| have.plus(**amount));
            limits.get(*name).is_some_and(|limit| total > *limit)
        })
        .map(|(name, _)| name)
        .collect();
    if over.is_empty() {
        return Ok(());
    }
    let shown = |from: &Amounts| over.iter().map(|n| format!("{n}={}", from.get(*n).copied().unwrap_or_default())).collect::<Vec<_>>().join(",");
    let why = format!("exceeded quota: {}, requested: {}, used: {}, limited: {}", quota.name(), shown(&asked), shown(&now), shown(&limits));
    Err(attributes.forbidden(&why))
}

fn every_container_states(pod: &Object, limits: &Amounts) -> Result<(), String> {
    let needed: Vec<&String> = limits.keys().filter(|name| STATED.contains(&name.as_str())).collect();
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    if needed.is_empty() || pod.at(&["spec", "resources"]).is_some_and(Value::is_object) {
        return Ok(());
    }
    for container in ["containers", "initContainers"].iter().flat_map(|list| pod.list_at(&["spec", list])) {
        let usage = compute_usage(&amounts(container.at(&["resources", "requests"])), &amounts(container.at(&["resources", "limits"])));
        for name in needed.iter().filter(|name| !usage.contains_key(**name)) {
            missing.entry(name).or_default().push(container.str_at(&["name"]));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let parts: Vec<String> = missing.iter().map(|(name, containers)| format!("{name} for: {}", containers.join(","))).collect();
    Err(format!("must specify {}", parts.join("; ")))
}
