//! ResourceQuotas: `status.used` follows what is in the namespace.
//!
//! Refusing what would exceed a quota is admission's part; it counts live objects, so this status is for those who look at it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pintle_api::client::{ListOptions, Target, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Reason, ResourceDef, Status};
use pintle_registry::podspec::totals::Amounts;
use pintle_registry::quota::used;
use serde_json::Value;
use tokio::task::JoinSet;

use super::Context;
use super::follow::{Change, Interest, follow};
use super::meta::Meta;
use super::queue::{Outcome, Queue};

const QUOTAS: GroupVersionResource = GroupVersionResource::constant("", "v1", "resourcequotas");
const WORKERS: usize = 2;
/// What has quotas of its own names is watched; the rest is counted again this often, and whenever a quota is written.
const RECOUNT: Duration = Duration::from_secs(5);
/// Changes within this time are counted together.
const GATHER: Duration = Duration::from_millis(50);
const WATCHED: [(&str, &str); 8] = [
    ("", "pods"),
    ("", "services"),
    ("", "persistentvolumeclaims"),
    ("", "configmaps"),
    ("", "secrets"),
    ("", "replicationcontrollers"),
    ("apps", "replicasets"),
    ("apps", "deployments"),
];

/// Names of the quotas in each namespace that has any.
type Known = Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>;

pub async fn run(context: Context) {
    let known: Known = Arc::default();
    let queue: Queue<String> = Queue::default();
    let mut watches = JoinSet::new();
    watches.spawn(watch_quotas(&context, known.clone(), queue.clone()));
    let is_watched = |d: &ResourceDef| WATCHED.contains(&(&*d.group, &*d.resource));
    for def in (context.discover)().into_iter().filter(is_watched) {
        let (known, queue) = (known.clone(), queue.clone());
        watches.spawn(follow(context.client.clone(), Interest::all(def.gvr()), move |change| {
            let (Change::Now(object) | Change::Gone(object)) = change else { return };
            // Most clusters have no quota: then not even the name is read.
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.is_empty() {
                return;
            }
            if let Ok(meta) = Meta::read(object)
                && known.contains_key(&meta.metadata.namespace)
            {
                queue.add_after(meta.metadata.namespace, GATHER);
            }
        }));
    }
    let recount = async {
        loop {
            tokio::time::sleep(RECOUNT).await;
            let namespaces: Vec<String> = known.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
            namespaces.into_iter().for_each(|namespace| queue.add(namespace));
        }
    };
    let working = queue.run(WORKERS, |namespace| {
        let context = &context;
        async move {
            match count(context, &namespace).await {
                Ok(()) => Outcome::Done,
                Err(status) if status.is(Reason::NotFound) => Outcome::Done,
                Err(_) => Outcome::Retry,
            }
        }
    });
    tokio::join!(recount, working);
}

fn watch_quotas(context: &Context, known: Known, queue: Queue<String>) -> impl Future<Output = ()> + use<> {
    follow(context.client.clone(), Interest::all(QUOTAS), move |change| {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::Restart => known.clear(),
            Change::Synced => {}
            Change::Now(object) => {
                let Ok(meta) = Meta::read(object) else { return };
                known.entry(meta.metadata.namespace.clone()).or_default().insert(meta.metadata.name);
                queue.add(meta.metadata.namespace);
            }
            Change::Gone(object) => {
                let Ok(meta) = Meta::read(object) else { return };
                if let Some(names) = known.get_mut(&meta.metadata.namespace) {
                    names.remove(&meta.metadata.name);
                    if names.is_empty() {
                        known.remove(&meta.metadata.namespace);
                    }
                }
            }
        }
    })
}

/// Counts the namespace and writes the status of each quota that is wrong.
async fn count(context: &Context, namespace: &str) -> Result<(), Status> {
    let listed = context.client.list(&Target::collection(QUOTAS, Some(namespace)), &ListOptions::default()).await?;
    let served = (context.discover)();
    // `deployments.apps` or `pods`, as after `count/`.
    let resolve = |name: &str| -> Option<GroupVersionResource> {
        let (resource, group) = name.split_once('.').unwrap_or((name, ""));
        served.iter().find(|d| d.group == group && d.resource == resource).map(ResourceDef::gvr)
    };
    for quota in listed.items {
        let mut quota = quota.parse()?;
        if quota.is_being_deleted() {
            continue;
        }
        let limit = quota.at(&["spec", "hard"]).cloned().unwrap_or(Value::Object(serde_json::Map::new()));
        let now = shown(&used(&quota, namespace, &*context.auth.objects, &resolve));
        if quota.at(&["status", "used"]) == Some(&now) && quota.at(&["status", "hard"]) == Some(&limit) {
            continue;
        }
        let target = Target::object(QUOTAS, Some(namespace), quota.name()).subresource("status");
        quota.set_at(&["status", "hard"], limit);
        quota.set_at(&["status", "used"], now);
        context.client.update(&target, quota, &WriteOptions::default()).await?;
    }
    Ok(())
}

fn shown(amounts: &Amounts) -> Value {
    Value::Object(amounts.iter().map(|(name, amount)| (name.clone(), Value::String(amount.to_string()))).collect())
}
