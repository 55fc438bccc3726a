//! Custom resources: every CustomResourceDefinition becomes strategies of the served table, and is told what became of it.
//!
//! A loop follows the definitions, swaps the table, then sets the conditions, so that an established definition is served.
//! A definition that ends takes its objects along. Each definition is seen to by itself: what fails with one, or takes long, is tried
//! again later and holds up no other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Reason, Status};
use pintle_registry::custom::{self, CLEANUP, Definition};
use pintle_registry::{Lookup, Strategy};
use serde_json::Value;

use crate::auth::User;
use crate::cache::{Filter, Stored};
use crate::conversion::Conversion;
use crate::handlers::update::Changed;
use crate::handlers::{Core, Scope, WriteOptions};
use crate::lookup::SharedLookup;
use crate::resources::Resource;

const DEFINITIONS: GroupVersionResource = GroupVersionResource::constant("apiextensions.k8s.io", "v1", "customresourcedefinitions");
/// Ending definitions whose objects wait for finalizers are looked at again after this.
const CLEANUP_EVERY: Duration = Duration::from_millis(500);
/// The pause doubles this often while something fails.
const MOST_DOUBLINGS: u32 = 6;
/// One ending definition's objects are deleted for this long at a time.
const CLEANUP_TURN: Duration = Duration::from_secs(1);
/// Objects of an ending definition that are deleted at once, so that they share the disk's syncs.
const DELETIONS_AT_ONCE: usize = 64;
/// As upstream's loops are named after their process.
const MANAGER: &str = "kube-apiserver";

/// What a pass could not bring to its end.
#[derive(Clone, Copy, Default)]
struct Left {
    ending: bool,
    failed: bool,
}

impl Left {
    fn fail(&mut self, definition: &Definition, why: &Status) {
        tracing::warn!(%why, definition = definition.object.name(), "the definition of a custom resource is left as it is for now");
        self.failed = true;
    }
}

/// Serves what is defined already. Before the server is ready.
pub async fn load(core: &Arc<Core>, leads: bool) -> Result<(), Status> {
    reconcile(core, leads).await.map(drop)
}

/// Follows the definitions until the server ends. Every server serves them; the one that leads writes what became of them.
pub async fn run(core: Arc<Core>, mut leads: tokio::sync::watch::Receiver<bool>) {
    let Ok(resource) = core.resource(&DEFINITIONS) else { return };
    let mut failures = 0;
    loop {
        let (_, mut watcher) = core.cache.snapshot_and_watch(&resource.slot, Filter::everything(""));
        let leading = *leads.borrow_and_update();
        let left = reconcile(&core, leading).await.unwrap_or_else(|why| {
            tracing::warn!(%why, "definitions of custom resources");
            Left { failed: true, ..Left::default() }
        });
        failures = if left.failed { failures + 1 } else { 0 };
        let changed = async {
            tokio::select! {
                _ = watcher.next() => {}
                Ok(()) = leads.changed() => {}
            }
        };
        if left.ending {
            let _ = tokio::time::timeout(CLEANUP_EVERY, changed).await;
        } else if left.failed {
            let _ = tokio::time::timeout(CLEANUP_EVERY * 2u32.pow(failures.min(MOST_DOUBLINGS)), changed).await;
        } else {
            changed.await;
        }
    }
}

/// Makes the table fit the definitions and, on the server that leads, the definitions' status fit the table.
async fn reconcile(core: &Arc<Core>, leads: bool) -> Result<Left, Status> {
    let resource = core.resource(&DEFINITIONS)?;
    let stored = core.cache.snapshot(&resource.slot).page(&Filter::everything(""), None, 0).items;
    let mut definitions: Vec<Definition> = Vec::new();
    for one in &stored {
        let object = resource.parse(one)?;
        let taken = custom::conflict(&object, &definitions);
        definitions.push(Definition::read(object, taken));
    }
    swap(core, &stored, &definitions);
    let mut left = Left::default();
    if !leads {
        return Ok(left);
    }
    for definition in definitions.iter().filter(|definition| !definition.object.is_being_deleted()) {
        if definition.status() != definition.object.at(&["status"]).cloned().unwrap_or(Value::Null)
            && let Err(why) = set_status(core, &resource, definition).await
        {
            left.fail(definition, &why);
        }
    }
    for definition in definitions.iter().filter(|definition| definition.object.is_being_deleted()) {
        match end(core, &resource, definition).await {
            Ok(gone) => left.ending |= !gone,
            Err(why) => left.fail(definition, &why),
        }
    }
    Ok(left)
}

fn swap(core: &Core, stored: &[Arc<Stored>], definitions: &[Definition]) {
    let present = core.resources.load_full();
    let stamp: Vec<(String, i64, bool)> = definitions
        .iter()
        .zip(stored)
        .filter(|(d, _)| d.is_served())
        .map(|(d, _)| (d.object.uid().to_owned(), d.object.i64_at(&["metadata", "generation"]).unwrap_or(0), d.object.is_being_deleted()))
        .collect();
    if present.stamp == stamp {
        return;
    }
    let mut resources = Vec::new();
    for definition in definitions.iter().filter(|d| d.is_served()) {
        let objects = || Arc::new(SharedLookup { cache: core.cache.clone(), resources: core.resources.clone() }) as Arc<dyn Lookup>;
        let conversion = Conversion::of(definition, objects).map(Arc::new);
        for strategy in custom::of(definition) {
            let resource = Resource::new(Arc::new(strategy) as Arc<dyn Strategy>, &core.cache, true);
            resources.push(Arc::new(Resource { conversion: conversion.clone(), ..resource }));
        }
    }
    core.resources.rcu(|present| {
        let mut table = present.with_custom(resources.iter().cloned());
        table.stamp.clone_from(&stamp);
        Arc::new(table)
    });
}

async fn set_status(core: &Core, resource: &Arc<Resource>, definition: &Definition) -> Result<(), Status> {
    let scope = scope(resource, definition.object.name(), "status");
    let options = WriteOptions { field_manager: MANAGER.to_owned(), ..WriteOptions::default() };
    let change = |old: &Object| {
        let mut object = old.clone();
        object.set_at(&["status"], definition.status());
        Ok(Changed { object, tracked: false })
    };
    match core.change(&scope, &options, &change).await {
        Err(gone) if gone.is(Reason::NotFound) => Ok(()),
        other => other.map(drop),
    }
}

/// Deletes the definition's objects; once there are none, lets the definition go. True: it went.
async fn end(core: &Arc<Core>, resource: &Arc<Resource>, definition: &Definition) -> Result<bool, Status> {
    let has_finalizer = definition.object.list_at(&["metadata", "finalizers"]).iter().any(|f| f == CLEANUP);
    if !has_finalizer {
        return Ok(true);
    }
    let table = core.resources.load_full();
    let served = table.all.iter().find(|r| r.custom && r.def().group == definition.group && r.def().resource == definition.plural).cloned();
    if let Some(served) = served
        && !delete_all(core, &served).await?
    {
        return Ok(false);
    }
    let options = WriteOptions { field_manager: MANAGER.to_owned(), ..WriteOptions::default() };
    let change = |old: &Object| {
        let mut object = old.clone();
        let kept: Vec<Value> = old.list_at(&["metadata", "finalizers"]).iter().filter(|f| *f != CLEANUP).cloned().collect();
        object.set_at(&["metadata", "finalizers"], Value::Array(kept));
        Ok(Changed { object, tracked: false })
    };
    match core.change(&scope(resource, definition.object.name(), ""), &options, &change).await {
        Err(gone) if gone.is(Reason::NotFound) => Ok(true),
        other => other.map(|_| true),
    }
}

/// Deletes the resource's objects for a while. True: none is left.
async fn delete_all(core: &Arc<Core>, resource: &Arc<Resource>) -> Result<bool, Status> {
    let objects = core.cache.snapshot(&resource.slot).page(&Filter::everything(""), None, 0).items;
    let until = Instant::now() + CLEANUP_TURN;
    let in_time = futures::stream::iter(objects).take_while(|_| std::future::ready(Instant::now() < until));
    let deletions = in_time.map(|stored| {
        let (core, resource) = (core.clone(), resource.clone());
        async move { core.delete_as_stored(&resource, &stored).await }
    });
    let outcomes: Vec<Result<(), Status>> = deletions.buffer_unordered(DELETIONS_AT_ONCE).collect().await;
    outcomes.into_iter().collect::<Result<(), Status>>()?;
    Ok(core.cache.count(&resource.slot) == 0)
}

fn scope(resource: &Arc<Resource>, name: &str, subresource: &str) -> Scope {
    Scope {
        user: Arc::new(User::loopback()),
        resource: resource.clone(),
        namespace: String::new(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
    }
}
