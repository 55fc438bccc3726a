//! Values of `pintle:controller@0.1` made of the present ones and the other way around, and its imports answered by those who answer the
//! present ones. Fields and cases are the same; a watch of 0.1 reads all of the object. Called by [`super::versions`].

use std::marker::PhantomData;

use pintle_plugin_bindings::common::types::{ResourceId, Summary};
use pintle_plugin_bindings::controller::pintle::controller::{objects, types};
use pintle_plugin_bindings::controller_0_1::pintle::controller::{objects as old, types as old_types};
use wasmtime::component::HasData;

/// Answers in the words of 0.1.
pub struct Older<H>(pub H);

/// For the linker.
pub struct OlderOf<D>(PhantomData<fn() -> D>);

impl<D: HasData + 'static> HasData for OlderOf<D> {
    type Data<'a> = Older<D::Data<'a>>;
}

type Answer<T> = Result<T, old_types::ApiError>;

impl<H: objects::Host> old::Host for Older<H> {
    async fn get(&mut self, resource: ResourceId, namespace: String, name: String) -> Answer<old::Object> {
        answered(self.0.get(resource, namespace, name).await)
    }

    async fn get_live(&mut self, resource: ResourceId, namespace: String, name: String) -> Answer<old::Object> {
        answered(self.0.get_live(resource, namespace, name).await)
    }

    async fn list(&mut self, asked: old::Query) -> Answer<Vec<old::Object>> {
        self.0.list(query(asked)).await.map(|found| found.into_iter().map(object).collect()).map_err(refusal)
    }

    async fn list_summaries(&mut self, asked: old::Query) -> Answer<Vec<Summary>> {
        self.0.list_summaries(query(asked)).await.map_err(refusal)
    }

    async fn create(&mut self, resource: ResourceId, namespace: String, name: String, subresource: String, json: Vec<u8>) -> Answer<old::Object> {
        answered(self.0.create(resource, namespace, name, subresource, json).await)
    }

    async fn update(&mut self, resource: ResourceId, namespace: String, name: String, subresource: String, json: Vec<u8>) -> Answer<old::Object> {
        answered(self.0.update(resource, namespace, name, subresource, json).await)
    }

    async fn patch(
        &mut self,
        resource: ResourceId,
        namespace: String,
        name: String,
        subresource: String,
        kind: old::PatchType,
        body: Vec<u8>,
    ) -> Answer<old::Object> {
        let kind = match kind {
            old::PatchType::Json => objects::PatchType::Json,
            old::PatchType::Merge => objects::PatchType::Merge,
            old::PatchType::Strategic => objects::PatchType::Strategic,
            old::PatchType::Apply => objects::PatchType::Apply,
        };
        answered(self.0.patch(resource, namespace, name, subresource, kind, body).await)
    }

    async fn delete(&mut self, resource: ResourceId, namespace: String, name: String, options: old::DeleteOptions) -> Answer<()> {
        let old::DeleteOptions { uid, grace_period_seconds, propagation_policy } = options;
        let options = objects::DeleteOptions { uid, grace_period_seconds, propagation_policy };
        self.0.delete(resource, namespace, name, options).await.map_err(refusal)
    }

    async fn event(&mut self, resource: ResourceId, namespace: String, name: String, kind: String, reason: String, message: String) {
        self.0.event(resource, namespace, name, kind, reason, message).await;
    }
}

pub fn watch(watch: old_types::Watch) -> types::Watch {
    let old_types::Watch { resource, relation, label_selector, field_selector } = watch;
    let relation = match relation {
        old_types::Relation::Primary => types::Relation::Primary,
        old_types::Relation::Owned(kind) => types::Relation::Owned(kind),
        old_types::Relation::Routed => types::Relation::Routed,
        old_types::Relation::Local => types::Relation::Local,
        old_types::Relation::Claimed(kind) => types::Relation::Claimed(kind),
        old_types::Relation::Indexed => types::Relation::Indexed,
    };
    types::Watch { resource, relation, label_selector, field_selector, reading: Vec::new() }
}

pub fn key(key: old_types::Key) -> types::Key {
    types::Key { namespace: key.namespace, name: key.name }
}

pub fn old_key(key: &types::Key) -> old_types::Key {
    old_types::Key { namespace: key.namespace.clone(), name: key.name.clone() }
}

pub fn failure(failure: old_types::Failure) -> types::Failure {
    match failure {
        old_types::Failure::Retry(why) => types::Failure::Retry(why),
        old_types::Failure::Terminal(why) => types::Failure::Terminal(why),
    }
}

fn query(query: old::Query) -> objects::Query {
    let old::Query { resource, namespace, label_selector, field_selector, owner_uid } = query;
    objects::Query { resource, namespace, label_selector, field_selector, owner_uid }
}

fn answered(answer: Result<objects::Object, types::ApiError>) -> Answer<old::Object> {
    answer.map(object).map_err(refusal)
}

fn object(object: objects::Object) -> old::Object {
    old::Object { json: object.json, revision: object.revision }
}

fn refusal(error: types::ApiError) -> old_types::ApiError {
    match error {
        types::ApiError::NotFound(why) => old_types::ApiError::NotFound(why),
        types::ApiError::AlreadyExists(why) => old_types::ApiError::AlreadyExists(why),
        types::ApiError::Conflict(why) => old_types::ApiError::Conflict(why),
        types::ApiError::Forbidden(why) => old_types::ApiError::Forbidden(why),
        types::ApiError::Invalid(why) => old_types::ApiError::Invalid(why),
        types::ApiError::TooManyRequests(seconds) => old_types::ApiError::TooManyRequests(seconds),
        types::ApiError::Unavailable(why) => old_types::ApiError::Unavailable(why),
        types::ApiError::Other(why) => old_types::ApiError::Other(why),
    }
}
