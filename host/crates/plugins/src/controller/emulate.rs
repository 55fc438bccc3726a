//! Answers to writes that are not sent: the object as the API would give it back, as far as that can be known without the server. Names,
//! uids, times, revisions and the refusals that a controller expects are there; defaults, admission and quota are not. Pure.

use pintle_api::client::Target;
use pintle_api::object::ObjectExt;
use pintle_api::patch::{json, merge, strategic};
use pintle_api::schema::{TypeRef, builtin};
use pintle_api::{GroupVersionKind, Status};
use pintle_plugin_bindings::controller::pintle::controller::types::ApiError;
use serde_json::{Value, json};

use super::record::Verb;
use crate::index::Entry;

type Answer<T> = Result<T, ApiError>;

pub fn create(target: &Target, body: &Value, before: Option<&Entry>, made: u64, now: jiff::Timestamp) -> Answer<Value> {
    if target.subresource.is_some() {
        // A binding or an eviction: the object's own answer is a Status.
        return match before {
            Some(_) => Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})),
            None => Err(not_found(target)),
        };
    }
    let mut object = body.clone();
    if object.name().is_empty() {
        let name = format!("{}{}", object.str_at(&["metadata", "generateName"]), suffix(made));
        object.set_at(&["metadata", "name"], name.into());
    }
    if let Some(namespace) = &target.namespace {
        object.set_at(&["metadata", "namespace"], namespace.as_str().into());
    }
    object.set_at(&["metadata", "uid"], format!("shadow-{made}").into());
    object.set_at(&["metadata", "creationTimestamp"], time(now).into());
    object.set_at(&["metadata", "generation"], 1.into());
    object.set_at(&["metadata", "resourceVersion"], made.to_string().into());
    Ok(object)
}

/// An update, patch or deletion. `None`: the object is gone.
pub fn change(verb: Verb, target: &Target, body: &Value, before: Option<&Entry>, made: u64, now: jiff::Timestamp) -> Answer<Option<Value>> {
    let current: Option<Value> = before.and_then(|entry| serde_json::from_slice(&entry.json).ok());
    let Some(current) = current else {
        return if verb == Verb::Apply { create(target, body, None, made, now).map(Some) } else { Err(not_found(target)) };
    };
    let revision = before.map_or(0, |entry| entry.revision) + made;
    let changed = match verb {
        Verb::Delete => return delete(current, target, body, now),
        Verb::Update => {
            let wanted = body.resource_version();
            if !wanted.is_empty() && wanted != current.resource_version() {
                let stale = Status::stale(&target.resource.group, &target.resource.resource, current.name());
                return Err(ApiError::Conflict(stale.message));
            }
            body.clone()
        }
        Verb::JsonPatch => json::apply(current.clone(), body).map_err(invalid)?,
        Verb::MergePatch | Verb::Apply => merge::apply(current.clone(), body.clone()).map_err(invalid)?,
        Verb::StrategicPatch => strategic::apply(current.clone(), body.clone(), type_of(&current)).map_err(invalid)?,
        Verb::Create | Verb::Event => body.clone(),
    };
    Ok(Some(kept(current, changed, target, revision)))
}

pub fn already_exists(target: &Target, name: &str) -> ApiError {
    ApiError::AlreadyExists(Status::already_exists(&target.resource.group, &target.resource.resource, name).message)
}

/// What a write cannot change stays: the identity, and status or spec, whichever was not written.
fn kept(current: Value, changed: Value, target: &Target, revision: u64) -> Value {
    let status_only = target.subresource.as_deref() == Some("status");
    let mut after = if status_only { current.clone() } else { changed.clone() };
    let status = if status_only { changed.get("status") } else { current.get("status") };
    if let Some(status) = status {
        after.set_at(&["status"], status.clone());
    }
    for field in ["uid", "creationTimestamp", "generation", "namespace", "name"] {
        if let Some(value) = current.at(&["metadata", field]) {
            after.set_at(&["metadata", field], value.clone());
        }
    }
    after.set_at(&["metadata", "resourceVersion"], revision.to_string().into());
    after
}

fn delete(mut current: Value, target: &Target, body: &Value, now: jiff::Timestamp) -> Answer<Option<Value>> {
    let uid = body.str_at(&["uid"]);
    if !uid.is_empty() && uid != current.uid() {
        let message = format!("the UID in the precondition ({uid}) does not match the UID in record ({})", current.uid());
        return Err(ApiError::Conflict(message));
    }
    let runs = target.resource.resource == "pods" && !current.str_at(&["spec", "nodeName"]).is_empty();
    let lingers = runs && body.i64_at(&["gracePeriodSeconds"]) != Some(0);
    if !lingers && current.list_at(&["metadata", "finalizers"]).is_empty() {
        return Ok(None);
    }
    if current.str_at(&["metadata", "deletionTimestamp"]).is_empty() {
        current.set_at(&["metadata", "deletionTimestamp"], time(now).into());
    }
    Ok(Some(current))
}

fn type_of(object: &Value) -> TypeRef<'static> {
    let (group, version) = object.str_at(&["apiVersion"]).split_once('/').unwrap_or(("", object.str_at(&["apiVersion"])));
    let kind = GroupVersionKind::new(group.to_owned(), version.to_owned(), object.str_at(&["kind"]).to_owned());
    builtin().for_kind(&kind).unwrap_or_else(TypeRef::unknown)
}

fn not_found(target: &Target) -> ApiError {
    let name = target.name.as_deref().unwrap_or_default();
    ApiError::NotFound(Status::not_found(&target.resource.group, &target.resource.resource, name).message)
}

fn invalid(status: Status) -> ApiError {
    ApiError::Invalid(status.message)
}

/// Five letters as the server appends, the same for the same count.
fn suffix(made: u64) -> String {
    let letters = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5).map(|place| char::from(letters[(made / 27u64.pow(place) % 27) as usize])).rev().collect()
}

fn time(now: jiff::Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
