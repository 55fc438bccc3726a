//! Between a live controller and its world: passes each call on, and writes down question and answer while the instance's tape runs.
//!
//! Lists are noted as the index's own entries, so that recording a thousand pods copies none.

use bytes::Bytes;
use pintle_plugin_bindings::common::types::{ResourceId, Summary};
use pintle_plugin_bindings::controller::pintle::controller::objects::{self, Host};
use pintle_plugin_bindings::controller::pintle::controller::types::ApiError;
use wasmtime::component::HasData;

use super::record::{Question, Reply, Verb};
use crate::controller::versions::Answering;
use crate::controller::world::{self, ControllerWorld};
use crate::guest::HostState;
use crate::meta::Meta;

type State = HostState<ControllerWorld>;

/// For the linker.
pub struct Tapped;

pub struct Tap<'a>(pub &'a mut State);

impl HasData for Tapped {
    type Data<'a> = Tap<'a>;
}

impl Answering<ControllerWorld> for Tapped {
    fn of(state: &mut State) -> Tap<'_> {
        Tap(state)
    }
}

impl Question {
    pub fn new(verb: Verb, resource: &ResourceId, namespace: &str, name: &str) -> Self {
        Self {
            verb,
            resource: (resource.group.clone(), resource.version.clone(), resource.name.clone()),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: String::new(),
            options: Default::default(),
            body: Bytes::new(),
        }
    }

    pub fn list(verb: Verb, query: &objects::Query) -> Self {
        let options = [query.label_selector.clone(), query.field_selector.clone(), query.owner_uid.clone()];
        Self { options, ..Self::new(verb, &query.resource, &query.namespace, "") }
    }

    pub fn write(verb: Verb, resource: &ResourceId, namespace: &str, name: &str, subresource: &str, body: &[u8]) -> Self {
        Self { subresource: subresource.to_owned(), body: Bytes::copy_from_slice(body), ..Self::new(verb, resource, namespace, name) }
    }

    pub fn delete(resource: &ResourceId, namespace: &str, name: &str, options: &objects::DeleteOptions) -> Self {
        let options = [options.uid.clone(), options.grace_period_seconds.to_string(), options.propagation_policy.clone()];
        Self { options, ..Self::new(Verb::Delete, resource, namespace, name) }
    }

    pub fn event(resource: &ResourceId, namespace: &str, name: &str, [kind, reason, message]: [&str; 3]) -> Self {
        let options = [kind, reason, message].map(str::to_owned);
        Self { options, ..Self::new(Verb::Event, resource, namespace, name) }
    }
}

pub fn patch_verb(kind: objects::PatchType) -> Verb {
    match kind {
        objects::PatchType::Json => Verb::PatchJson,
        objects::PatchType::Merge => Verb::PatchMerge,
        objects::PatchType::Strategic => Verb::PatchStrategic,
        objects::PatchType::Apply => Verb::PatchApply,
    }
}

impl Tap<'_> {
    fn is_on(&mut self) -> bool {
        self.0.tape.recording().is_some()
    }

    /// The question is made only while somebody listens.
    fn asked(&mut self, question: Option<Question>, reply: impl FnOnce(&mut super::tape::Recording, bool) -> Reply) {
        let (Some(recording), Some(question)) = (self.0.tape.recording(), question) else { return };
        let reply = reply(recording, question.is_about_secrets());
        recording.asked(question, reply);
    }

    fn read(&mut self, question: Option<Question>, answer: &Result<objects::Object, ApiError>) {
        self.asked(question, |recording, secret| match answer {
            Ok(object) => Reply::Object(recording.object(&object.json, object.revision, secret)),
            Err(error) => Reply::Error(error.clone()),
        });
    }

    fn written(&mut self, question: Option<Question>, answer: &Result<objects::Object, ApiError>) {
        self.asked(question, |recording, secret| match answer {
            Ok(object) => {
                let name = Meta::parse(&object.json).map(|meta| meta.name.to_string()).unwrap_or_default();
                Reply::Written(recording.object(&object.json, object.revision, secret), name)
            }
            Err(error) => Reply::Error(error.clone()),
        });
    }

    async fn find(&mut self, verb: Verb, query: objects::Query) -> Result<Vec<std::sync::Arc<crate::index::Entry>>, ApiError> {
        let question = self.is_on().then(|| Question::list(verb, &query));
        let answer = self.0.find(query).await;
        self.asked(question, |recording, secret| match &answer {
            Ok(entries) => Reply::Objects(entries.iter().map(|entry| recording.entry(entry, secret)).collect()),
            Err(error) => Reply::Error(error.clone()),
        });
        answer
    }
}

impl Host for Tap<'_> {
    async fn get(&mut self, resource: ResourceId, namespace: String, name: String) -> Result<objects::Object, ApiError> {
        let question = self.is_on().then(|| Question::new(Verb::Get, &resource, &namespace, &name));
        let answer = self.0.get(resource, namespace, name).await;
        self.read(question, &answer);
        answer
    }

    async fn get_live(&mut self, resource: ResourceId, namespace: String, name: String) -> Result<objects::Object, ApiError> {
        let question = self.is_on().then(|| Question::new(Verb::GetLive, &resource, &namespace, &name));
        let answer = self.0.get_live(resource, namespace, name).await;
        self.read(question, &answer);
        answer
    }

    async fn list(&mut self, query: objects::Query) -> Result<Vec<objects::Object>, ApiError> {
        Ok(self.find(Verb::List, query).await?.iter().map(|entry| world::object(entry)).collect())
    }

    async fn list_summaries(&mut self, query: objects::Query) -> Result<Vec<Summary>, ApiError> {
        Ok(self.find(Verb::ListSummaries, query).await?.iter().map(|entry| world::summary(entry)).collect())
    }

    async fn create(
        &mut self,
        resource: ResourceId,
        namespace: String,
        name: String,
        subresource: String,
        json: Vec<u8>,
    ) -> Result<objects::Object, ApiError> {
        let question = self.is_on().then(|| Question::write(Verb::Create, &resource, &namespace, &name, &subresource, &json));
        let answer = self.0.create(resource, namespace, name, subresource, json).await;
        self.written(question, &answer);
        answer
    }

    async fn update(
        &mut self,
        resource: ResourceId,
        namespace: String,
        name: String,
        subresource: String,
        json: Vec<u8>,
    ) -> Result<objects::Object, ApiError> {
        let question = self.is_on().then(|| Question::write(Verb::Update, &resource, &namespace, &name, &subresource, &json));
        let answer = self.0.update(resource, namespace, name, subresource, json).await;
        self.written(question, &answer);
        answer
    }

    async fn patch(
        &mut self,
        resource: ResourceId,
        namespace: String,
        name: String,
        subresource: String,
        kind: objects::PatchType,
        body: Vec<u8>,
    ) -> Result<objects::Object, ApiError> {
        let question = self.is_on().then(|| Question::write(patch_verb(kind), &resource, &namespace, &name, &subresource, &body));
        let answer = self.0.patch(resource, namespace, name, subresource, kind, body).await;
        self.written(question, &answer);
        answer
    }

    async fn delete(&mut self, resource: ResourceId, namespace: String, name: String, options: objects::DeleteOptions) -> Result<(), ApiError> {
        let question = self.is_on().then(|| Question::delete(&resource, &namespace, &name, &options));
        let answer = self.0.delete(resource, namespace, name, options).await;
        self.asked(question, |_, _| match &answer {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Error(error.clone()),
        });
        answer
    }

    async fn event(&mut self, resource: ResourceId, namespace: String, name: String, kind: String, reason: String, message: String) {
        let question = self.is_on().then(|| Question::event(&resource, &namespace, &name, [&kind, &reason, &message]));
        self.0.event(resource, namespace, name, kind, reason, message).await;
        self.asked(question, |_, _| Reply::Done);
    }
}
