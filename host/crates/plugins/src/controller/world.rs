//! What a controller may ask of the host: reads from the shared indexes, writes and live reads through the plugin's own client.
//!
//! The API server authorizes what goes through the client. Index reads pass it by, so they are checked against the grants here.
//! A [`Witness`] stands between: it notes what the live revision reads and writes, or answers a candidate in the shadow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pintle_api::client::{Client, DeleteOptions, ListOptions, Patch, Served, Target, WriteOptions};
use pintle_api::selector::{FieldSelector, LabelSelector};
use pintle_api::{GroupVersionResource, Reason, Status};
use pintle_plugin_bindings::common::types::{Owner, Pair, ResourceId, Summary};
use pintle_plugin_bindings::controller::pintle::controller::objects;
use pintle_plugin_bindings::controller::pintle::controller::types::ApiError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::record::{Asked, Id, Record, Verb, Write};
use super::view::View;
use crate::events::{Event, Recorder, Regarding};
use crate::grants::{PolicyRule, allows};
use crate::guest::HostState;
use crate::index::{Entry, Filter, Informer, Informers, Meta};
use crate::throttle::{MAX_WRITES_PER_CALL, Throttle};

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
    pub witness: Witness,
    pub writes: Arc<Throttle>,
    /// Of the call under way.
    pub writes_in_call: u32,
}

/// Who looks on while a controller reconciles.
#[derive(Default)]
pub enum Witness {
    #[default]
    None,
    /// Of the live revision, for a shadow.
    Records(Box<Record>),
    /// Answers the shadow in the cluster's place.
    Answers(Box<View>),
}

pub type Answer<T> = Result<T, ApiError>;
type State = HostState<ControllerWorld>;

impl objects::Host for State {
    async fn get(&mut self, resource: ResourceId, namespace: String, name: String) -> Answer<objects::Object> {
        let resource = gvr(resource);
        self.world.require("get", &resource, &name)?;
        let id = Id::new(&resource, &namespace, &name);
        if let Witness::Answers(view) = &self.world.witness
            && let Some(known) = view.get(&id)
        {
            return found(&id, known);
        }
        let Some(informer) = self.world.index(&resource) else { return self.fetch(resource, namespace, name).await };
        let entry = informer.get(&namespace, &name);
        self.world.witness.saw(&id, entry.as_ref());
        found(&id, entry)
    }

    async fn get_live(&mut self, resource: ResourceId, namespace: String, name: String) -> Answer<objects::Object> {
        let id = Id::new(&gvr(resource.clone()), &namespace, &name);
        if let Witness::Answers(view) = &self.world.witness
            && let Some(known) = view.get_live(&id)
        {
            return known;
        }
        let answer = self.fetch(gvr(resource), namespace, name).await;
        if let Witness::Records(record) = &mut self.world.witness {
            record.fetched(id, &answer);
        }
        answer
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
        self.write(Verb::Create, target, body, DeleteOptions::default()).await?.ok_or_else(no_answer)
    }

    async fn update(&mut self, resource: ResourceId, namespace: String, name: String, subresource: String, json: Vec<u8>) -> Answer<objects::Object> {
        let body = parse(&json)?;
        let target = target(gvr(resource), &namespace, &name, &subresource);
        self.write(Verb::Update, target, body, DeleteOptions::default()).await?.ok_or_else(no_answer)
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
        let target = target(gvr(resource), &namespace, &name, &subresource);
        self.write(Verb::of_patch(kind), target, body, DeleteOptions::default()).await?.ok_or_else(no_answer)
    }

    async fn delete(&mut self, resource: ResourceId, namespace: String, name: String, options: objects::DeleteOptions) -> Answer<()> {
        let options = DeleteOptions {
            grace_period_seconds: (options.grace_period_seconds >= 0).then_some(options.grace_period_seconds),
            propagation_policy: options.propagation_policy,
            uid: (!options.uid.is_empty()).then_some(options.uid),
            resource_version: None,
            dry_run: false,
        };
        let body = json!({"uid": options.uid, "gracePeriodSeconds": options.grace_period_seconds, "propagationPolicy": options.propagation_policy});
        let target = target(gvr(resource), &namespace, &name, "");
        self.write(Verb::Delete, target, body, options).await.map(drop)
    }

    async fn event(&mut self, resource: ResourceId, namespace: String, name: String, kind: String, reason: String, message: String) {
        let resource = gvr(resource);
        if !matches!(self.world.witness, Witness::None) {
            let target = target(resource.clone(), &namespace, &name, "");
            let body = json!({"type": kind, "reason": reason, "message": message});
            self.world.witness.wrote(Write { verb: Verb::Event, target, body, answer: Ok(None) });
        }
        if matches!(self.world.witness, Witness::Answers(_)) {
            return;
        }
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
    /// Sends a write and takes its result in, or captures it where the cluster must not see it.
    async fn write(&mut self, verb: Verb, target: Target, body: Value, options: DeleteOptions) -> Answer<Option<objects::Object>> {
        named(verb, &target)?;
        if let Witness::Answers(_) = self.world.witness {
            return self.capture(verb, target, body).await;
        }
        self.may_write().await?;
        let noted = self.world.about_to_write(&target).then(|| body.clone());
        let client = self.world.client.clone();
        let answer = self.timed(send(&*client, verb, &target, body, &options)).await;
        let answer = answer.map(|served| match served {
            Some(served) => Some(self.world.written(&target, served)),
            None => {
                if let (Some(informer), Some(name)) = (self.world.informers.running(&target.resource), &target.name) {
                    informer.bury(target.namespace.as_deref().unwrap_or_default(), name);
                }
                None
            }
        });
        if let Some(body) = noted {
            self.world.witness.wrote(Write { verb, target, body, answer: answer.clone() });
        }
        answer
    }

    /// Returns when the plugin may make its next write. Waiting for that is not counted as the guest's time.
    async fn may_write(&mut self) -> Answer<()> {
        self.world.writes_in_call += 1;
        if self.world.writes_in_call > MAX_WRITES_PER_CALL {
            return Err(ApiError::TooManyRequests(1));
        }
        let begun = Instant::now();
        self.world.writes.take().await;
        self.credit(begun);
        Ok(())
    }

    /// Answers a shadow's write as if it had happened.
    async fn capture(&mut self, verb: Verb, target: Target, body: Value) -> Answer<Option<objects::Object>> {
        let Target { resource, namespace, name, subresource } = &target;
        let (subresource, named) = (subresource.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default());
        if !allows(&self.world.grants, verb.granted(), resource, subresource, named) {
            return Err(ApiError::Forbidden(format!(
                "{resource} is forbidden: the plugin {:?} is not granted {}",
                self.world.plugin,
                verb.granted()
            )));
        }
        // What it changes must be in the view first.
        let id = Id::new(resource, namespace.as_deref().unwrap_or_default(), named);
        if verb != Verb::Create && matches!(&self.world.witness, Witness::Answers(view) if view.get(&id).is_none()) {
            let entry = match self.world.index(resource).map(|informer| informer.get(&id.namespace, &id.name)) {
                Some(entry) => entry,
                None => self
                    .fetch(resource.clone(), id.namespace.clone(), id.name.clone())
                    .await
                    .ok()
                    .and_then(|o| Entry::parse(Served { json: o.json.into(), revision: o.revision })),
            };
            if let Witness::Answers(view) = &mut self.world.witness {
                view.take_in(id, entry);
            }
        }
        let now = self.present();
        match &mut self.world.witness {
            Witness::Answers(view) => view.write(verb, target, body, now),
            _ => Ok(None),
        }
    }

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
        let object = objects::Object { json: served.json.to_vec(), revision: served.revision };
        if !matches!(self.world.witness, Witness::None) {
            let id = Id::new(&target.resource, target.namespace.as_deref().unwrap_or_default(), target.name.as_deref().unwrap_or_default());
            self.world.witness.saw(&id, Entry::parse(served).as_ref());
        }
        Ok(object)
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
        let asked =
            Asked { resource: resource.clone(), filter: filter.clone(), labels: query.label_selector.clone(), fields: query.field_selector.clone() };
        if let Witness::Answers(view) = &self.world.witness
            && let Some(found) = view.listed(&asked)
        {
            return Ok(found);
        }
        let found = match self.world.index(&resource).and_then(|informer| informer.list(&filter)) {
            Some(found) => found,
            None => self.list_from_server(resource, filter, query.label_selector, query.field_selector).await?,
        };
        match &mut self.world.witness {
            Witness::None => {}
            Witness::Records(record) => record.listed(asked, &found),
            Witness::Answers(view) => return Ok(view.as_it_was(&asked, found)),
        }
        Ok(found)
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

impl Witness {
    fn saw(&mut self, id: &Id, entry: Option<&Arc<Entry>>) {
        if let Self::Records(record) = self {
            record.saw(id, entry);
        }
    }

    fn wrote(&mut self, write: Write) {
        match self {
            Self::None => {}
            Self::Records(record) => record.wrote(write),
            Self::Answers(view) => view.note(write),
        }
    }
}

impl ControllerWorld {
    fn index(&self, resource: &GroupVersionResource) -> Option<&Arc<Informer>> {
        self.watched.iter().find(|(r, _)| r == resource).map(|(_, informer)| informer)
    }

    /// Notes the object as it is, when somebody looks on; true then.
    fn about_to_write(&mut self, target: &Target) -> bool {
        let Witness::Records(record) = &mut self.witness else { return false };
        if let Some(name) = &target.name {
            let informer = self.informers.running(&target.resource);
            let before = informer.map(|i| i.get(target.namespace.as_deref().unwrap_or_default(), name));
            record.before_write(target, before);
        }
        true
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

/// Without a name the path is the collection's, where a deletion takes everything.
fn named(verb: Verb, target: &Target) -> Answer<()> {
    let to_the_collection = verb == Verb::Create && target.subresource.is_none();
    if target.name.is_none() && !to_the_collection {
        return Err(ApiError::Invalid("resource name may not be empty".to_owned()));
    }
    Ok(())
}

fn parse(json: &[u8]) -> Answer<Value> {
    serde_json::from_slice(json).map_err(|e| ApiError::Invalid(format!("the body is no JSON: {e}")))
}

async fn send(client: &dyn Client, verb: Verb, target: &Target, body: Value, delete: &DeleteOptions) -> Result<Option<Served>, Status> {
    let options = WriteOptions::default();
    let patch = match verb {
        Verb::Create => return client.create(target, body, &options).await.map(Some),
        Verb::Update => return client.update(target, body, &options).await.map(Some),
        Verb::Delete | Verb::Event => return client.delete(target, delete).await,
        Verb::JsonPatch => Patch::Json(body),
        Verb::MergePatch => Patch::Merge(body),
        Verb::StrategicPatch => Patch::Strategic(body),
        Verb::Apply => Patch::Apply(body),
    };
    client.patch(target, patch, &options).await.map(Some)
}

fn found(id: &Id, entry: Option<Arc<Entry>>) -> Answer<objects::Object> {
    match entry {
        Some(entry) => Ok(object(&entry)),
        None => Err(id.not_found()),
    }
}

fn no_answer() -> ApiError {
    ApiError::Other("the API answered without an object".to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_object_is_written_without_a_name() {
        let at = |name, subresource| target(GroupVersionResource::new("", "v1", "pods"), "ns", name, subresource);
        assert!(named(Verb::Create, &at("", "")).is_ok());
        for (verb, target) in [(Verb::Create, at("", "binding")), (Verb::Update, at("", "")), (Verb::Delete, at("", ""))] {
            assert!(matches!(named(verb, &target), Err(ApiError::Invalid(_))), "{verb:?}");
        }
        assert!(named(Verb::Delete, &at("a", "")).is_ok());
    }
}
