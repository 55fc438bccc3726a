//! What a controller may ask of the host: reads from the shared indexes, writes and live reads through the plugin's own client.
//!
//! The API server authorizes what goes through the client. Index reads pass it by, so they are checked against the grants here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pintle_api::client::{Client, DeleteOptions, ListOptions, Patch, Served, Target, WriteOptions};
use pintle_api::selector::{FieldSelector, LabelSelector};
use pintle_api::{GroupVersionResource, Reason, Status};
use pintle_plugin_bindings::common::types::{Owner, Pair, ResourceId, Summary};
use pintle_plugin_bindings::controller::pintle::controller::objects;
use pintle_plugin_bindings::controller::pintle::controller::types::{self, ApiError};
use serde::Deserialize;
use serde_json::Value;

use crate::events::{Event, Recorder, Regarding};
use crate::grants::{PolicyRule, allows};
use crate::guest::HostState;
use crate::index::{Entry, Filter, Informer, Informers, Meta};

/// A call of the API that takes longer is given up; the plugin sees `unavailable`.
const API_TIMEOUT: Duration = Duration::from_secs(30);
/// Objects that a page of an unwatched list holds.
const PAGE: u64 = 500;

pub struct ControllerWorld {
    pub plugin: Arc<str>,
    pub client: Arc<dyn Client>,
    pub informers: Arc<Informers>,
    /// The resources that the plugin watches whole.
    pub watched: Arc<[(GroupVersionResource, Arc<Informer>)]>,
    pub grants: Arc<[PolicyRule]>,
    pub recorder: Recorder,
    /// Tells instances apart in the decision log.
    pub instance: u64,
}

type Answer<T> = Result<T, ApiError>;
type State = HostState<ControllerWorld>;

impl types::Host for State {}

impl objects::Host for State {
    async fn get(&mut self, resource: ResourceId, namespace: String, name: String) -> Answer<objects::Object> {
        let resource = gvr(resource);
        self.world.require("get", &resource, &name)?;
        let Some(informer) = self.world.index(&resource) else { return self.fetch(resource, namespace, name).await };
        match informer.get(&namespace, &name) {
            Some(entry) => Ok(object(&entry)),
            None => Err(ApiError::NotFound(Status::not_found(&resource.group, &resource.resource, &name).message)),
        }
    }

    async fn get_live(&mut self, resource: ResourceId, namespace: String, name: String) -> Answer<objects::Object> {
        self.fetch(gvr(resource), namespace, name).await
    }

    async fn list(&mut self, query: objects::Query) -> Answer<Vec<objects::Object>> {
        Ok(self.find(query).await?.iter().map(|entry| object(entry)).collect())
    }

    async fn list_summaries(&mut self, query: objects::Query) -> Answer<Vec<Summary>> {
        Ok(self.find(query).await?.iter().map(|entry| summary(entry)).collect())
    }

    async fn create(&mut self, resource: ResourceId, namespace: String, name: String, subresource: String, json: Vec<u8>) -> Answer<objects::Object> {
        let body = parse(&json)?;
        let name = if subresource.is_empty() { String::new() } else { name };
        let target = target(gvr(resource), &namespace, &name, &subresource);
        let client = self.world.client.clone();
        let served = self.timed(client.create(&target, body, &WriteOptions::default())).await?;
        Ok(self.world.written(&target, served))
    }

    async fn update(&mut self, resource: ResourceId, namespace: String, name: String, subresource: String, json: Vec<u8>) -> Answer<objects::Object> {
        let body = parse(&json)?;
        let target = target(gvr(resource), &namespace, &name, &subresource);
        let client = self.world.client.clone();
        let served = self.timed(client.update(&target, body, &WriteOptions::default())).await?;
        Ok(self.world.written(&target, served))
    }

    async fn patch(
        &mut self,
        resource: ResourceId,
        namespace: String,
        name: String,
        subresource: String,
        kind: objects::PatchType,
        body: Vec<u8>,
    ) -> Answer<objects::Object> {
        let body = parse(&body)?;
        let patch = match kind {
            objects::PatchType::Json => Patch::Json(body),
            objects::PatchType::Merge => Patch::Merge(body),
            objects::PatchType::Strategic => Patch::Strategic(body),
            objects::PatchType::Apply => Patch::Apply(body),
        };
        let target = target(gvr(resource), &namespace, &name, &subresource);
        let client = self.world.client.clone();
        let served = self.timed(client.patch(&target, patch, &WriteOptions::default())).await?;
        Ok(self.world.written(&target, served))
    }

    async fn delete(&mut self, resource: ResourceId, namespace: String, name: String, options: objects::DeleteOptions) -> Answer<()> {
        let options = DeleteOptions {
            grace_period_seconds: (options.grace_period_seconds >= 0).then_some(options.grace_period_seconds),
            propagation_policy: options.propagation_policy,
            uid: (!options.uid.is_empty()).then_some(options.uid),
            resource_version: None,
            dry_run: false,
        };
        let target = target(gvr(resource), &namespace, &name, "");
        let client = self.world.client.clone();
        let left = self.timed(client.delete(&target, &options)).await?;
        if let Some(informer) = self.world.informers.running(&target.resource) {
            match left {
                Some(served) => informer.put(served),
                None => informer.bury(&namespace, &name),
            }
        }
        Ok(())
    }

    async fn event(&mut self, resource: ResourceId, namespace: String, name: String, kind: String, reason: String, message: String) {
        let resource = gvr(resource);
        let json = match self.world.index(&resource).and_then(|i| i.get(&namespace, &name)) {
            Some(entry) => entry.json.clone(),
            None => match self.fetch(resource, namespace, name).await {
                Ok(object) => object.json.into(),
                Err(error) => return self.log().write("debug", &format!("no event {reason}: {error:?}")),
            },
        };
        let Some(regarding) = regarding(&json) else { return };
        let kind = if kind == "Warning" { "Warning" } else { "Normal" };
        self.world.recorder.record(Event { regarding, kind, action: reason.clone(), reason, note: message });
    }
}

impl State {
    /// Waits for the API within its time, which is not counted as the guest's.
    async fn timed<T>(&mut self, call: impl Future<Output = Result<T, Status>>) -> Answer<T> {
        let begun = Instant::now();
        let outcome = tokio::time::timeout(API_TIMEOUT, call).await;
        self.credit(begun);
        match outcome {
            Ok(answer) => answer.map_err(refusal),
            Err(_) => Err(ApiError::Unavailable(format!("the API did not answer within {} s", API_TIMEOUT.as_secs()))),
        }
    }

    async fn fetch(&mut self, resource: GroupVersionResource, namespace: String, name: String) -> Answer<objects::Object> {
        let target = target(resource, &namespace, &name, "");
        let client = self.world.client.clone();
        let served = self.timed(client.get(&target)).await?;
        Ok(objects::Object { json: served.json.to_vec(), revision: served.revision })
    }

    pub async fn find(&mut self, query: objects::Query) -> Answer<Vec<Arc<Entry>>> {
        let resource = gvr(query.resource);
        self.world.require("list", &resource, "")?;
        let filter = Filter {
            namespace: query.namespace,
            owner_uid: query.owner_uid,
            labels: if query.label_selector.is_empty() { None } else { Some(LabelSelector::parse(&query.label_selector).map_err(bad_selector)?) },
            fields: if query.field_selector.is_empty() { None } else { Some(FieldSelector::parse(&query.field_selector).map_err(bad_selector)?) },
        };
        if let Some(found) = self.world.index(&resource).and_then(|informer| informer.list(&filter)) {
            return Ok(found);
        }
        self.list_from_server(resource, filter, query.label_selector, query.field_selector).await
    }

    async fn list_from_server(&mut self, resource: GroupVersionResource, filter: Filter, labels: String, fields: String) -> Answer<Vec<Arc<Entry>>> {
        let target = target(resource, &filter.namespace, "", "");
        let client = self.world.client.clone();
        // The server has applied the selectors.
        let owned = Filter { labels: None, fields: None, ..filter };
        let mut options = ListOptions { label_selector: labels, field_selector: fields, limit: PAGE, ..ListOptions::default() };
        let mut found = Vec::new();
        loop {
            let listed = self.timed(client.list(&target, &options)).await?;
            found.extend(listed.items.into_iter().filter_map(Entry::parse).filter(|e| owned.passes(&e.meta)));
            if listed.continue_token.is_empty() {
                return Ok(found);
            }
            options.continue_token = listed.continue_token;
        }
    }
}

impl ControllerWorld {
    fn index(&self, resource: &GroupVersionResource) -> Option<&Arc<Informer>> {
        self.watched.iter().find(|(r, _)| r == resource).map(|(_, informer)| informer)
    }

    fn require(&self, verb: &str, resource: &GroupVersionResource, name: &str) -> Answer<()> {
        if allows(&self.grants, verb, resource, "", name) {
            return Ok(());
        }
        Err(ApiError::Forbidden(format!("{resource} is forbidden: the plugin {:?} is not granted {verb}", self.plugin)))
    }

    /// Puts a write's result into the index, so that the next read sees it.
    fn written(&self, target: &Target, served: Served) -> objects::Object {
        let object = objects::Object { json: served.json.to_vec(), revision: served.revision };
        if matches!(target.subresource.as_deref(), None | Some("status"))
            && let Some(informer) = self.informers.running(&target.resource)
        {
            informer.put(served);
        }
        object
    }
}

/// Reads what an Event says of its object.
pub fn regarding(json: &[u8]) -> Option<Regarding> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Object {
        api_version: String,
        kind: String,
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        #[serde(default)]
        namespace: String,
        name: String,
        #[serde(default)]
        uid: String,
        #[serde(default)]
        resource_version: String,
    }
    let Object { api_version, kind, metadata: m } = serde_json::from_slice(json).ok()?;
    Some(Regarding { api_version, kind, namespace: m.namespace, name: m.name, uid: m.uid, resource_version: m.resource_version })
}

pub fn gvr(id: ResourceId) -> GroupVersionResource {
    GroupVersionResource::new(id.group, id.version, id.name)
}

fn target(resource: GroupVersionResource, namespace: &str, name: &str, subresource: &str) -> Target {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Target { resource, namespace: some(namespace), name: some(name), subresource: some(subresource) }
}

fn parse(json: &[u8]) -> Answer<Value> {
    serde_json::from_slice(json).map_err(|e| ApiError::Invalid(format!("the body is no JSON: {e}")))
}

fn bad_selector(error: impl std::fmt::Display) -> ApiError {
    ApiError::Invalid(error.to_string())
}

pub fn object(entry: &Entry) -> objects::Object {
    objects::Object { json: entry.json.to_vec(), revision: entry.revision }
}

pub fn summary(entry: &Entry) -> Summary {
    let Meta { namespace, name, uid, labels, controller, created, deleting, phase, ready, node, .. } = &entry.meta;
    Summary {
        namespace: namespace.to_string(),
        name: name.to_string(),
        uid: uid.to_string(),
        revision: entry.revision,
        labels: labels.iter().map(|(k, v)| Pair { key: k.to_string(), value: v.to_string() }).collect(),
        controller: controller.as_ref().map(|o| Owner {
            api_version: o.api_version.to_string(),
            kind: o.kind.to_string(),
            name: o.name.to_string(),
            uid: o.uid.to_string(),
        }),
        created: *created,
        deleting: *deleting,
        phase: phase.to_string(),
        ready: *ready,
        node: node.to_string(),
    }
}

fn refusal(status: Status) -> ApiError {
    let retry = status.details.as_ref().map_or(1, |d| d.retry_after_seconds.max(1));
    match status.reason {
        Reason::NotFound => ApiError::NotFound(status.message),
        Reason::AlreadyExists => ApiError::AlreadyExists(status.message),
        Reason::Conflict => ApiError::Conflict(status.message),
        Reason::Forbidden | Reason::Unauthorized => ApiError::Forbidden(status.message),
        Reason::Invalid | Reason::BadRequest => ApiError::Invalid(status.message),
        Reason::TooManyRequests => ApiError::TooManyRequests(retry),
        Reason::ServiceUnavailable | Reason::ServerTimeout | Reason::Timeout | Reason::InternalError => ApiError::Unavailable(status.message),
        _ => ApiError::Other(status.message),
    }
}
