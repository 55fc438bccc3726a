//! Namespaces that end: everything in them is deleted, then the namespace is let go.
//!
//! Pods go first, so that nothing is taken from under a running one. What other servers keep of the namespace goes with the rest; while one
//! of them does not say what it has the namespace stays, as nobody could delete that later. What remains, and why, is told in the
//! namespace's conditions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use pintle_api::client::{DeleteOptions, ListOptions, Listed, Target, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Reason, ResourceDef, Status};
use serde_json::{Value, json};

use super::Context;
use super::follow::{Change, Interest, follow};
use super::meta::{Meta, Metadata};
use super::queue::{Outcome, Queue};

const NAMESPACES: GroupVersionResource = GroupVersionResource::constant("", "v1", "namespaces");
/// The finalizer in `spec.finalizers` that holds a namespace until it is empty.
const FINALIZER: &str = "kubernetes";
/// Namespaces worked on at once.
const WORKERS: usize = 4;
/// Deletions under way at once in one namespace.
const DELETIONS: usize = 32;
/// How soon a namespace that still holds something is looked at again; pods take their grace period.
const LOOK_AGAIN: Duration = Duration::from_millis(150);
/// The same where only a server that does not answer holds it: those are asked every two seconds.
const AWAIT_OTHERS: Duration = Duration::from_secs(1);
/// Objects listed at a time.
const PAGE: u64 = 500;

/// What a pass over the content found.
#[derive(Debug, Default)]
struct Remains {
    /// `pods.` or `deployments.apps` -> instances.
    by_resource: BTreeMap<String, usize>,
    by_finalizer: BTreeMap<String, usize>,
    /// In order, so that the condition that tells them stays as it is while they do.
    failures: BTreeSet<String>,
    /// Group versions of servers that do not answer.
    silent: Vec<String>,
    /// A list was not read to its end.
    unread: bool,
    /// Objects that others were asked to delete: they may take their time, or have made more since.
    elsewhere: usize,
}

impl Remains {
    fn is_empty(&self) -> bool {
        self.by_resource.is_empty() && self.failures.is_empty() && self.silent.is_empty() && self.elsewhere == 0 && !self.unread
    }

    /// What fails may fail for long, and is asked less and less often.
    fn looked_at_again(&self) -> Outcome {
        if !self.failures.is_empty() {
            Outcome::Retry
        } else if !self.by_resource.is_empty() || self.unread {
            Outcome::After(LOOK_AGAIN)
        } else {
            Outcome::After(AWAIT_OTHERS)
        }
    }
}

pub async fn run(context: Context) {
    let queue: Queue<String> = Queue::default();
    let watching = {
        let queue = queue.clone();
        follow(context.client.clone(), Interest::all(NAMESPACES), move |change| {
            let Change::Now(object) = change else { return };
            let Ok(meta) = Meta::read(object) else { return };
            if meta.metadata.is_being_deleted() {
                queue.add(meta.metadata.name);
            }
        })
    };
    let working = queue.run(WORKERS, |name| {
        let context = &context;
        async move {
            match end(context, &name).await {
                Ok(outcome) => outcome,
                Err(status) if status.is(Reason::NotFound) => Outcome::Done,
                Err(status) => {
                    tracing::debug!(namespace = name, error = %status, "namespace not ended yet");
                    Outcome::Retry
                }
            }
        }
    });
    tokio::join!(watching, working);
}

async fn end(context: &Context, name: &str) -> Result<Outcome, Status> {
    let target = Target::object(NAMESPACES, None, name);
    let mut namespace = context.client.get(&target).await?.parse()?;
    let held = namespace.list_at(&["spec", "finalizers"]).iter().any(|f| f == FINALIZER);
    if !namespace.is_being_deleted() || !held {
        return Ok(Outcome::Done);
    }
    let remains = delete_content(context, name).await;
    let empty = remains.is_empty();
    if !empty || namespace.at(&["status", "conditions"]).is_some() {
        let conditions = conditions(&remains, &namespace, Timestamp::now());
        if namespace.at(&["status", "conditions"]) != Some(&conditions) {
            namespace.set_at(&["status", "conditions"], conditions);
            let status = target.clone().subresource("status");
            namespace = context.client.update(&status, namespace, &WriteOptions::default()).await?.parse()?;
        }
    }
    if !empty {
        return Ok(remains.looked_at_again());
    }
    let others: Vec<Value> = namespace.list_at(&["spec", "finalizers"]).iter().filter(|f| *f != FINALIZER).cloned().collect();
    let last = others.is_empty();
    let uid = namespace.uid().to_owned();
    namespace.set_at(&["spec", "finalizers"], Value::Array(others));
    context.client.update(&target.clone().subresource("finalize"), namespace, &WriteOptions::default()).await?;
    if last {
        // The registry removes a namespace that nothing holds when it is finalized; this asks for it where it did not.
        let options = DeleteOptions { uid: Some(uid), ..DeleteOptions::default() };
        match context.client.delete(&target, &options).await {
            Err(status) if !status.is(Reason::NotFound) && !status.is(Reason::Conflict) => return Err(status),
            _ => {}
        }
    }
    Ok(Outcome::Done)
}

/// Deletes what is in the namespace: pods first, the rest once they are gone.
async fn delete_content(context: &Context, namespace: &str) -> Remains {
    let elsewhere = (context.elsewhere)();
    let mut remains = Remains { silent: elsewhere.silent, ..Remains::default() };
    let (pods, others): (Vec<ResourceDef>, Vec<ResourceDef>) =
        deletable((context.discover)().into_iter()).into_iter().partition(|d| d.group.is_empty() && d.resource == "pods");
    for def in pods {
        delete_all(context, namespace, &def, &mut remains).await;
    }
    if remains.by_resource.is_empty() {
        for def in others {
            delete_all(context, namespace, &def, &mut remains).await;
        }
        for def in deletable(elsewhere.resources.into_iter()) {
            let found = delete_all(context, namespace, &def, &mut remains).await;
            remains.elsewhere += found;
        }
    }
    remains
}

/// Every namespaced resource that can be listed and deleted, in one of its versions.
fn deletable(served: impl Iterator<Item = ResourceDef>) -> Vec<ResourceDef> {
    let mut seen = BTreeSet::new();
    let can = |d: &ResourceDef, verb: &str| d.verbs.iter().any(|v| v == verb);
    let served = served.filter(|d| d.is_namespaced() && can(d, "list") && can(d, "delete"));
    served.filter(|d| seen.insert((d.group.clone(), d.resource.clone()))).collect()
}

/// How many there were.
async fn delete_all(context: &Context, namespace: &str, def: &ResourceDef, remains: &mut Remains) -> usize {
    let collection = Target::collection(def.gvr(), Some(namespace));
    let mut options = ListOptions { limit: PAGE, ..ListOptions::default() };
    let mut found = 0;
    loop {
        let listed = match context.client.list(&collection, &options).await {
            Ok(listed) => listed,
            Err(status) if status.is(Reason::NotFound) || status.is(Reason::MethodNotAllowed) => return found,
            // Deleting took longer than a list is remembered: the next pass lists what is left.
            Err(status) if status.is(Reason::Expired) && !options.continue_token.is_empty() => {
                remains.unread = true;
                return found;
            }
            Err(status) => {
                remains.failures.insert(format!("{}: {status}", def.gvr()));
                return found;
            }
        };
        found += listed.items.len();
        delete_page(context, namespace, def, &listed, remains).await;
        if listed.continue_token.is_empty() || listed.continue_token == options.continue_token {
            return found;
        }
        options.continue_token = listed.continue_token;
    }
}

async fn delete_page(context: &Context, namespace: &str, def: &ResourceDef, listed: &Listed, remains: &mut Remains) {
    let metas = listed.items.iter().filter_map(|i| Meta::read(i).ok());
    let deletions: Vec<_> = metas.map(|meta| delete_one(context, namespace, def, meta.metadata)).collect();
    let outcomes: Vec<_> = futures::stream::iter(deletions).buffer_unordered(DELETIONS).collect().await;
    for (meta, failure) in outcomes {
        remains.failures.extend(failure);
        let Some(meta) = meta else { continue };
        *remains.by_resource.entry(format!("{}.{}", def.resource, def.group)).or_default() += 1;
        for finalizer in meta.finalizers.into_iter().flatten() {
            *remains.by_finalizer.entry(finalizer).or_default() += 1;
        }
    }
}

/// What is left of the object, and why it could not be deleted.
async fn delete_one(context: &Context, namespace: &str, def: &ResourceDef, meta: Metadata) -> (Option<Metadata>, Option<String>) {
    if meta.is_being_deleted() {
        return (Some(meta), None);
    }
    let options = DeleteOptions { propagation_policy: "Background".to_owned(), uid: Some(meta.uid.clone()), ..DeleteOptions::default() };
    let target = Target::object(def.gvr(), Some(namespace), &meta.name);
    match context.client.delete(&target, &options).await {
        Ok(None) => (None, None),
        Ok(Some(_)) => (Some(meta), None),
        Err(status) if status.is(Reason::NotFound) => (None, None),
        Err(status) => (Some(meta), Some(status.to_string())),
    }
}

fn joined(failures: &BTreeSet<String>) -> String {
    failures.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// The five conditions of a namespace that ends. A condition that does not change keeps its time.
fn conditions(remains: &Remains, namespace: &Object, now: Timestamp) -> Value {
    let listed = |counts: &BTreeMap<String, usize>, word: &str| -> String {
        counts.iter().map(|(name, n)| format!("{name} {word} {n} resource instances")).collect::<Vec<_>>().join(", ")
    };
    let failed = format!("Failed to delete all resource types, {} remaining: {}", remains.failures.len(), joined(&remains.failures));
    let undiscovered: Vec<String> = remains.silent.iter().map(|gv| format!("{gv}: stale GroupVersion discovery: {gv}")).collect();
    let undiscovered = format!(
        "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
        remains.silent.len(),
        undiscovered.join(", ")
    );
    let some = format!("Some resources are remaining: {}", listed(&remains.by_resource, "has"));
    let held = format!("Some content in the namespace has finalizers remaining: {}", listed(&remains.by_finalizer, "in"));
    let rows = [
        match remains.silent.is_empty() {
            true => ("NamespaceDeletionDiscoveryFailure", false, "ResourcesDiscovered", "All resources successfully discovered"),
            false => ("NamespaceDeletionDiscoveryFailure", true, "DiscoveryFailed", undiscovered.as_str()),
        },
        ("NamespaceDeletionGroupVersionParsingFailure", false, "ParsedGroupVersions", "All legacy kube types successfully parsed"),
        match remains.failures.is_empty() {
            true => ("NamespaceDeletionContentFailure", false, "ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
            false => ("NamespaceDeletionContentFailure", true, "ContentDeletionFailed", failed.as_str()),
        },
        match remains.by_resource.is_empty() {
            true => ("NamespaceContentRemaining", false, "ContentRemoved", "All content successfully removed"),
            false => ("NamespaceContentRemaining", true, "SomeResourcesRemain", some.as_str()),
        },
        match remains.by_finalizer.is_empty() {
            true => ("NamespaceFinalizersRemaining", false, "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
            false => ("NamespaceFinalizersRemaining", true, "SomeFinalizersRemain", held.as_str()),
        },
    ];
    let old = namespace.list_at(&["status", "conditions"]);
    let made = rows.map(|(kind, on, reason, message)| {
        let status = if on { "True" } else { "False" };
        let same = old.iter().find(|c| c.str_at(&["type"]) == kind && c.str_at(&["status"]) == status);
        let since = same.map(|c| c.str_at(&["lastTransitionTime"]).to_owned()).unwrap_or_else(|| super::seconds(now));
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
    });
    // Conditions of others stay.
    let others = old.iter().filter(|c| !rows.iter().any(|(kind, ..)| c.str_at(&["type"]) == *kind)).cloned();
    Value::Array(others.chain(made).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_asked_less_and_less_often() {
        let mut remains = Remains::default();
        remains.silent.push("example.com/v1".into());
        assert!(matches!(remains.looked_at_again(), Outcome::After(AWAIT_OTHERS)));
        remains.by_resource.insert("pods.".into(), 1);
        assert!(matches!(remains.looked_at_again(), Outcome::After(LOOK_AGAIN)));
        remains.failures.insert("example.com/v1 things: no".into());
        assert!(matches!(remains.looked_at_again(), Outcome::Retry));
    }

    #[test]
    fn conditions_tell_what_remains_and_keep_their_time() {
        let mut remains = Remains::default();
        remains.by_resource.insert("pods.".into(), 2);
        remains.by_finalizer.insert("example/hold".into(), 1);
        let first = conditions(&remains, &json!({}), Timestamp::from_second(1000).unwrap());
        assert_eq!(first[3]["message"], "Some resources are remaining: pods. has 2 resource instances");
        assert_eq!(first[4]["message"], "Some content in the namespace has finalizers remaining: example/hold in 1 resource instances");
        let later = conditions(&Remains::default(), &json!({"status": {"conditions": first}}), Timestamp::from_second(2000).unwrap());
        assert_eq!(
            (&later[0]["lastTransitionTime"], &later[3]["lastTransitionTime"]),
            (&json!("1970-01-01T00:16:40Z"), &json!("1970-01-01T00:33:20Z"))
        );
    }
}
