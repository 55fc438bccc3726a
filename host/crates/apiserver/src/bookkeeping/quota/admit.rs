//! Refusing what would exceed a quota.
//!
//! Counts the live objects of the namespace and what is being created at this moment: an admitted creation is remembered until it
//! is seen or [`FORGET`] is over, so that creations at the same time cannot both take the last place. Where a namespace
//! has no quota this costs one look-up.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pintle_api::object::ObjectExt;
use pintle_api::quantity::Quantity;
use pintle_api::{GroupVersionResource, Object, Status};

use super::QUOTAS;
use super::usage::{self, Amounts};
use crate::registry::Lookup;

/// A creation that was admitted and not seen after this has failed.
const FORGET: Duration = Duration::from_secs(2);
/// Creations remembered at once; beyond it the oldest are forgotten.
const REMEMBERED: usize = 4096;
/// With a quota on one of these, every container must state the amount.
const REQUIRED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

#[derive(Default)]
pub struct Admitted {
    under_way: Mutex<Vec<UnderWay>>,
}

struct UnderWay {
    resource: GroupVersionResource,
    namespace: String,
    name: String,
    object: Object,
    since: Instant,
}

impl Admitted {
    /// `old: None` is a creation. Call it last of all checks. Dry runs (`keep: false`) are checked and not remembered.
    pub fn admit(
        &self,
        objects: &dyn Lookup,
        resource: &GroupVersionResource,
        namespace: &str,
        new: &Object,
        old: Option<&Object>,
        keep: bool,
    ) -> Result<(), Status> {
        let quotas = if namespace.is_empty() { Vec::new() } else { objects.list(&QUOTAS, Some(namespace)) };
        if quotas.is_empty() {
            return Ok(());
        }
        let refuse = |why: String| Err(Status::forbidden(&resource.group, &resource.resource, new.name(), &why));
        let asked = usage::of_object(&resource.group, &resource.resource, new);
        let before = old.map(|o| usage::of_object(&resource.group, &resource.resource, o)).unwrap_or_default();
        // Held over the count, which reads memory only, so that two creations are counted one after the other.
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.retain(|u| u.since.elapsed() < FORGET && objects.get(&u.resource, Some(&u.namespace), &u.name).is_none());
        let mut counted = false;
        for quota in &quotas {
            let hard = usage::amounts(quota, &["spec", "hard"]);
            let tracked = |name: &String| usage::tracks(&resource.group, &resource.resource, name);
            if !hard.keys().any(tracked) || !usage::in_scope(quota, resource, new) {
                continue;
            }
            if resource.group.is_empty() && resource.resource == "pods" && old.is_none() {
                let missing = missing_amounts(new, &hard);
                if !missing.is_empty() {
                    return refuse(format!("failed quota: {}: must specify {missing}", quota.name()));
                }
            }
            let was_counted = old.is_some_and(|o| usage::in_scope(quota, resource, o));
            let more: Amounts = asked
                .iter()
                .filter(|(name, _)| hard.contains_key(*name))
                .map(|(name, amount)| (name.clone(), if was_counted { amount.minus(before.get(name).copied().unwrap_or_default()) } else { *amount }))
                .filter(|(_, amount)| !amount.is_zero() && !amount.is_negative())
                .collect();
            if more.is_empty() {
                continue;
            }
            counted = true;
            let used = used(objects, resource, namespace, quota, &hard, &under_way);
            let over: Vec<&String> = more
                .iter()
                .filter(|(name, amount)| used.get(*name).copied().unwrap_or_default().plus(**amount) > hard.get(*name).copied().unwrap_or_default())
                .map(|(name, _)| name)
                .collect();
            if !over.is_empty() {
                let list = |of: &Amounts| {
                    let shown = |name: &&String| format!("{name}={}", of.get(*name).copied().unwrap_or_else(Quantity::default));
                    over.iter().map(shown).collect::<Vec<_>>().join(",")
                };
                let why = format!("exceeded quota: {}, requested: {}, used: {}, limited: {}", quota.name(), list(&more), list(&used), list(&hard));
                return refuse(why);
            }
        }
        if keep && counted && old.is_none() {
            if under_way.len() >= REMEMBERED {
                under_way.remove(0);
            }
            let (resource, namespace, name) = (resource.clone(), namespace.to_owned(), new.name().to_owned());
            under_way.push(UnderWay { resource, namespace, name, object: new.clone(), since: Instant::now() });
        }
        Ok(())
    }
}

fn used(
    objects: &dyn Lookup,
    resource: &GroupVersionResource,
    namespace: &str,
    quota: &Object,
    hard: &Amounts,
    under_way: &[UnderWay],
) -> Amounts {
    let mut used: Amounts = Amounts::new();
    let live = objects.list(resource, Some(namespace));
    let coming = under_way.iter().filter(|u| u.namespace == namespace && u.resource == *resource).map(|u| &u.object);
    for object in live.iter().chain(coming).filter(|o| usage::in_scope(quota, resource, o)) {
        let mut of_object = usage::of_object(&resource.group, &resource.resource, object);
        of_object.retain(|name, _| hard.contains_key(name));
        usage::add(&mut used, &of_object);
    }
    used
}

/// `limits.cpu for: a,b; requests.memory for: a`
fn missing_amounts(pod: &Object, hard: &Amounts) -> String {
    let stated = |container: &Object, name: &str| {
        let (which, plain) = match name.split_once('.') {
            Some(("limits", plain)) => ("limits", plain),
            Some((_, plain)) => ("requests", plain),
            None => ("requests", name),
        };
        container.at(&["resources", which, plain]).is_some()
    };
    let mut faults = Vec::new();
    for name in hard.keys().filter(|n| REQUIRED.contains(&n.as_str())) {
        if pod.at(&["spec", "resources"]).is_some_and(|_| stated(&pod["spec"], name)) {
            continue;
        }
        let containers = ["containers", "initContainers"].iter().flat_map(|list| pod.list_at(&["spec", list]));
        let mut without: Vec<&str> = containers.filter(|c| !stated(c, name)).map(|c| c.str_at(&["name"])).collect();
        without.sort_unstable();
        if !without.is_empty() {
            faults.push(format!("{name} for: {}", without.join(",")));
        }
    }
    faults.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// One quota and some pods.
    struct Namespace(Object, Vec<Object>);
    impl Lookup for Namespace {
        fn get(&self, _: &GroupVersionResource, _: Option<&str>, name: &str) -> Option<Object> {
            self.1.iter().find(|o| o.name() == name).cloned()
        }
        fn list(&self, resource: &GroupVersionResource, _: Option<&str>) -> Vec<Object> {
            if *resource == QUOTAS { vec![self.0.clone()] } else { self.1.clone() }
        }
    }

    fn pod(name: &str, cpu: &str) -> Object {
        json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
    }

    #[test]
    fn the_last_place_is_given_once() {
        let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "3", "requests.cpu": "1"}}});
        let namespace = Namespace(quota, vec![pod("a", "300m")]);
        let pods = GroupVersionResource::constant("", "v1", "pods");
        let admitted = Admitted::default();
        let ask = |new: &Object, old: Option<&Object>| admitted.admit(&namespace, &pods, "ns", new, old, true).map_err(|s| s.message);
        assert_eq!(ask(&pod("b", "500m"), None), Ok(()));
        assert_eq!(
            ask(&pod("c", "500m"), None).unwrap_err(),
            "pods \"c\" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=800m, limited: requests.cpu=1"
        );
        assert_eq!(ask(&pod("c", "200m"), None), Ok(()));
        assert!(ask(&pod("d", "0"), None).unwrap_err().ends_with("requested: pods=1, used: pods=3, limited: pods=3"));
        assert_eq!(ask(&pod("a", "300m"), Some(&pod("a", "300m"))), Ok(()), "an update that asks for no more");
        let silent = json!({"metadata": {"name": "e"}, "spec": {"containers": [{"name": "c"}]}});
        assert!(ask(&silent, None).unwrap_err().ends_with("failed quota: q: must specify requests.cpu for: c"));
    }
}
