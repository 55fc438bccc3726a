//! ResourceQuotas: `status.used` follows what is in the namespace.
//!
//! Refusing what would exceed a quota is admission's part ([`admit`]); it counts live objects, so this status is for those who
//! look at it.

pub mod admit;
pub mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pintle_api::client::{ListOptions, Target, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Reason, ResourceDef, Status};
use tokio::task::JoinSet;

use super::Context;
use super::follow::{Change, Interest, follow};
use super::meta::Meta;
use super::queue::{Outcome, Queue};
use usage::Amounts;

pub const QUOTAS: GroupVersionResource = GroupVersionResource::constant("", "v1", "resourcequotas");
const WORKERS: usize = 2;
/// Resources that have more to count than objects are watched; the rest is counted again this often, as upstream's
/// resynchronisation would, and whenever a quota is written.
const RECOUNT: Duration = Duration::from_secs(5);
/// Changes within this time are counted together.
const GATHER: Duration = Duration::from_millis(50);

/// Names of the quotas in each namespace that has any.
type Known = Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>;

pub async fn run(context: Context) {
    let known: Known = Arc::default();
    let queue: Queue<String> = Queue::default();
    let mut watches = JoinSet::new();
    watches.spawn(watch_quotas(&context, known.clone(), queue.clone()));
    let measured = (context.discover)().into_iter().filter(|d| usage::is_measured(&d.group, &d.resource) && d.resource != "resourcequotas");
    for def in measured.chain((context.discover)().into_iter().filter(|d| d.group == "apps" && d.resource == "replicasets")) {
        let (known, queue) = (known.clone(), queue.clone());
        watches.spawn(follow(context.client.clone(), Interest::all(def.gvr()), move |change| {
            let (Change::Now(object) | Change::Gone(object)) = change else { return };
            let has_quotas = |namespace: &str| known.lock().unwrap_or_else(PoisonError::into_inner).contains_key(namespace);
            if known.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                return;
            }
            if let Ok(meta) = object.parse_as::<Meta>()
                && has_quotas(&meta.metadata.namespace)
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
                let Ok(meta) = object.parse_as::<Meta>() else { return };
                known.entry(meta.metadata.namespace.clone()).or_default().insert(meta.metadata.name);
                queue.add(meta.metadata.namespace);
            }
            Change::Gone(object) => {
                let Ok(meta) = object.parse_as::<Meta>() else { return };
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
    for quota in listed.items {
        let mut quota = quota.parse()?;
        if quota.is_being_deleted() {
            continue;
        }
        let hard = usage::amounts(&quota, &["spec", "hard"]);
        let used = used(context, &served, namespace, &quota, &hard).await?;
        let unchanged = usage::amounts(&quota, &["status", "hard"]) == hard && usage::amounts(&quota, &["status", "used"]) == used;
        if unchanged && quota.at(&["status", "used"]).is_some() {
            continue;
        }
        let target = Target::object(QUOTAS, Some(namespace), quota.name()).subresource("status");
        let stated = quota.at(&["spec", "hard"]).cloned().unwrap_or_else(|| usage::to_value(&hard));
        quota.set_at(&["status", "hard"], stated);
        quota.set_at(&["status", "used"], usage::to_value(&used));
        context.client.update(&target, quota, &WriteOptions::default()).await?;
    }
    Ok(())
}

async fn used(context: &Context, served: &[ResourceDef], namespace: &str, quota: &Object, hard: &Amounts) -> Result<Amounts, Status> {
    let mut used: Amounts = Amounts::new();
    let mut seen = BTreeSet::new();
    for def in served.iter().filter(|d| d.is_namespaced()) {
        let tracked: Vec<&String> = hard.keys().filter(|name| usage::tracks(&def.group, &def.resource, name)).collect();
        if tracked.is_empty() || !seen.insert((def.group.clone(), def.resource.clone())) {
            continue;
        }
        for name in &tracked {
            used.entry((*name).clone()).or_insert_with(|| usage::whole(0));
        }
        let gvr = def.gvr();
        let listed = context.client.list(&Target::collection(gvr.clone(), Some(namespace)), &ListOptions::default()).await?;
        for object in listed.items {
            let object = object.parse()?;
            if usage::in_scope(quota, &gvr, &object) {
                let mut of_object = usage::of_object(&def.group, &def.resource, &object);
                of_object.retain(|name, _| hard.contains_key(name));
                usage::add(&mut used, &of_object);
            }
        }
    }
    Ok(used)
}
