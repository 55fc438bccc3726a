//! An API server small enough for tests: objects in memory, revisions, watches, merge patches, bindings. It authorizes nothing, counts
//! every write, and can be told to refuse some.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use pintle_api::client::{
    BoxFuture, Client, DeleteOptions, ListOptions, Listed, Patch, Result, Served, Target, WatchEvent, WatchOptions, WriteOptions,
};
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Status};
use serde_json::{Value, json};
use tokio::sync::mpsc;

type Key = (GroupVersionResource, String, String);

#[derive(Default)]
pub struct Cluster(Mutex<State>);

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<Key, Value>,
    watchers: Vec<(GroupVersionResource, mpsc::UnboundedSender<Result<WatchEvent>>)>,
    /// `verb resource[/subresource] name`, and when.
    writes: Vec<(Instant, String)>,
    /// Those that fail, in the same words.
    refused: Vec<String>,
}

impl Cluster {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn get_object(&self, resource: &GroupVersionResource, namespace: &str, name: &str) -> Option<Value> {
        self.lock().objects.get(&(resource.clone(), namespace.to_owned(), name.to_owned())).cloned()
    }

    pub fn all(&self, resource: &GroupVersionResource) -> Vec<Value> {
        self.lock().objects.iter().filter(|((r, _, _), _)| r == resource).map(|(_, o)| o.clone()).collect()
    }

    /// Creates or replaces, keeping the uid.
    pub fn put(&self, resource: &GroupVersionResource, object: Value) -> Value {
        self.lock().put(resource, object)
    }

    /// Gives an object another spec, and leaves what others wrote to its status meanwhile.
    #[allow(dead_code, reason = "examples/reloads.rs, which has this file in common")]
    pub fn put_spec(&self, resource: &GroupVersionResource, mut object: Value) -> Value {
        let mut state = self.lock();
        if let Some(before) = state.objects.get(&(resource.clone(), object.namespace().to_owned(), object.name().to_owned())) {
            object["status"] = before["status"].clone();
        }
        state.put(resource, object)
    }

    pub fn remove(&self, resource: &GroupVersionResource, namespace: &str, name: &str) {
        self.lock().commit((resource.clone(), namespace.to_owned(), name.to_owned()), None, true);
    }

    pub fn writes(&self) -> Vec<String> {
        self.lock().writes.iter().map(|(_, write)| write.clone()).collect()
    }

    /// Those since the last call, with their time.
    #[allow(dead_code, reason = "examples/reloads.rs, which has this file in common")]
    pub fn take_writes(&self) -> Vec<(Instant, String)> {
        std::mem::take(&mut self.lock().writes)
    }

    /// Forgets all of a resource, and tells nobody.
    #[allow(dead_code, reason = "examples/reloads.rs, which has this file in common")]
    pub fn forget_all(&self, resource: &GroupVersionResource) {
        self.lock().objects.retain(|(of, _, _), _| of != resource);
    }

    /// Every such write fails from now on: `verb resource[/subresource] name`.
    pub fn refuse(&self, write: &str) {
        self.lock().refused.push(write.to_owned());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn note(&self, verb: &str, target: &Target) -> Result<()> {
        let sub = target.subresource.as_ref().map(|s| format!("/{s}")).unwrap_or_default();
        let line = format!("{verb} {}{sub} {}", target.resource.resource, target.name.as_deref().unwrap_or_default());
        let mut state = self.lock();
        let refused = state.refused.contains(&line);
        state.writes.push((Instant::now(), line));
        if refused { Err(Status::unavailable("the test refuses it")) } else { Ok(()) }
    }

    fn require(&self, target: &Target) -> Result<Value> {
        self.lock().require(target)
    }

    fn bind(&self, target: &Target, binding: &Value) -> Result<Served> {
        let mut state = self.lock();
        let mut pod = state.require(target)?;
        if !pod.str_at(&["spec", "nodeName"]).is_empty() {
            return Err(Status::conflict("", "pods/binding", pod.name(), "pod is already assigned to a node"));
        }
        pod["spec"]["nodeName"] = binding["target"]["name"].clone();
        Ok(served(&state.put(&target.resource, pod)))
    }
}

impl State {
    fn require(&self, target: &Target) -> Result<Value> {
        let name = target.name.clone().unwrap_or_default();
        let key = (target.resource.clone(), target.namespace.clone().unwrap_or_default(), name.clone());
        let found = self.objects.get(&key).cloned();
        found.ok_or_else(|| Status::not_found(&target.resource.group, &target.resource.resource, &name))
    }

    fn put(&mut self, resource: &GroupVersionResource, mut object: Value) -> Value {
        let key = (resource.clone(), object.namespace().to_owned(), object.name().to_owned());
        let before = self.objects.get(&key).cloned();
        let uid = before.as_ref().map_or_else(|| format!("uid-{}", self.revision + 1), |b| b.uid().to_owned());
        object.set_at(&["metadata", "uid"], uid.into());
        if let Some(before) = &before {
            let bump = i64::from(before["spec"] != object["spec"]);
            let generation = before.i64_at(&["metadata", "generation"]).unwrap_or(1) + bump;
            object.set_at(&["metadata", "generation"], generation.into());
            object.set_at(&["metadata", "creationTimestamp"], before["metadata"]["creationTimestamp"].clone());
        } else {
            object.set_at(&["metadata", "generation"], 1.into());
            let seconds = i64::try_from(self.revision).unwrap_or_default() + 1_700_000_000;
            let time = jiff::Timestamp::from_second(seconds).expect("a time").to_string();
            object.set_at(&["metadata", "creationTimestamp"], time.into());
        }
        self.commit(key, Some(object), before.is_some())
    }

    fn commit(&mut self, key: Key, object: Option<Value>, existed: bool) -> Value {
        self.revision += 1;
        let revision = self.revision;
        let (event, left) = match object {
            Some(mut object) => {
                object.set_at(&["metadata", "resourceVersion"], revision.to_string().into());
                self.objects.insert(key.clone(), object.clone());
                let event = if existed { WatchEvent::Modified(served(&object)) } else { WatchEvent::Added(served(&object)) };
                (event, object)
            }
            None => {
                let Some(gone) = self.objects.remove(&key) else { return Value::Null };
                (WatchEvent::Deleted(Served { revision, ..served(&gone) }), gone)
            }
        };
        self.watchers.retain(|(resource, sender)| *resource != key.0 || sender.send(Ok(event.clone())).is_ok());
        left
    }
}

impl Client for Cluster {
    fn get<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Served>> {
        Box::pin(async move { Ok(served(&self.require(target)?)) })
    }

    fn list<'a>(&'a self, target: &'a Target, _: &'a ListOptions) -> BoxFuture<'a, Result<Listed>> {
        Box::pin(async move {
            let items = self.all(&target.resource).iter().map(served).collect();
            Ok(Listed { items, revision: self.lock().revision, continue_token: String::new() })
        })
    }

    fn watch<'a>(&'a self, target: &'a Target, options: &'a WatchOptions) -> BoxFuture<'a, Result<BoxStream<'static, Result<WatchEvent>>>> {
        Box::pin(async move {
            assert_eq!(options.from_revision, None, "this server's watches never break");
            let (sender, receiver) = mpsc::unbounded_channel();
            let mut state = self.lock();
            for ((resource, _, _), object) in &state.objects {
                if *resource == target.resource {
                    let _ = sender.send(Ok(WatchEvent::Added(served(object))));
                }
            }
            let _ = sender.send(Ok(WatchEvent::Synced { revision: state.revision }));
            state.watchers.push((target.resource.clone(), sender));
            let stream = futures::stream::unfold(receiver, |mut r| async move { r.recv().await.map(|event| (event, r)) });
            Ok(stream.boxed())
        })
    }

    fn create<'a>(&'a self, target: &'a Target, object: Value, _: &'a WriteOptions) -> BoxFuture<'a, Result<Served>> {
        Box::pin(async move {
            self.note("create", target)?;
            if target.subresource.as_deref() == Some("binding") {
                return self.bind(target, &object);
            }
            let mut object = object;
            if let Some(namespace) = &target.namespace {
                object.set_at(&["metadata", "namespace"], namespace.as_str().into());
            }
            if object.name().is_empty() {
                let name = format!("{}{}", object.str_at(&["metadata", "generateName"]), self.lock().revision);
                object.set_at(&["metadata", "name"], name.into());
            }
            let mut state = self.lock();
            if state.objects.contains_key(&(target.resource.clone(), object.namespace().to_owned(), object.name().to_owned())) {
                return Err(Status::already_exists(&target.resource.group, &target.resource.resource, object.name()));
            }
            Ok(served(&state.put(&target.resource, object)))
        })
    }

    fn update<'a>(&'a self, target: &'a Target, object: Value, _: &'a WriteOptions) -> BoxFuture<'a, Result<Served>> {
        Box::pin(async move {
            self.note("update", target)?;
            let mut state = self.lock();
            let current = state.require(target)?;
            if !object.resource_version().is_empty() && object.resource_version() != current.resource_version() {
                return Err(Status::stale(&target.resource.group, &target.resource.resource, current.name()));
            }
            Ok(served(&state.put(&target.resource, object)))
        })
    }

    fn patch<'a>(&'a self, target: &'a Target, patch: Patch, _: &'a WriteOptions) -> BoxFuture<'a, Result<Served>> {
        Box::pin(async move {
            self.note("patch", target)?;
            // Under one lock: what is written between a read and its write would be lost.
            let mut state = self.lock();
            let mut object = state.require(target)?;
            match patch {
                Patch::Merge(patch) | Patch::Strategic(patch) => merge(&mut object, &patch),
                Patch::Json(patch) => object = pintle_api::patch::json::apply(object, &patch)?,
                Patch::Apply(_) => panic!("no server-side apply here"),
            }
            Ok(served(&state.put(&target.resource, object)))
        })
    }

    fn delete<'a>(&'a self, target: &'a Target, _: &'a DeleteOptions) -> BoxFuture<'a, Result<Option<Served>>> {
        Box::pin(async move {
            self.note("delete", target)?;
            self.require(target)?;
            self.remove(&target.resource, target.namespace.as_deref().unwrap_or_default(), target.name.as_deref().unwrap_or_default());
            Ok(None)
        })
    }
}

fn served(object: &Value) -> Served {
    Served { json: Bytes::from(object.to_string()), revision: object.resource_version().parse().unwrap_or_default() }
}

fn merge(into: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            into.as_object_mut().expect("an object").remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}
