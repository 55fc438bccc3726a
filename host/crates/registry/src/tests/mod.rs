//! Defaults, faults and rows of the main kinds, as a client sees them.

mod defaults;
mod discovery;
mod faults;
mod refusals;
mod rows;
mod services;
mod subresources;
mod warnings;
mod whole_objects;

use expect_test::Expect;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::strategy::Part;
use crate::testing::{NOW, World, pretty, strategy};

/// The object as it is stored after creation.
pub fn created(resource: &str, mut object: Value) -> Value {
    let strategy = strategy(resource);
    if object.name().is_empty() {
        object.set_at(&["metadata", "name"], "x".into());
    }
    object.set_at(&["metadata", "uid"], "uid-1".into());
    strategy.default(&mut object);
    World::default().with(|context| strategy.prepare_create(&mut object, context));
    object
}

/// What a creation is refused for.
fn check(resource: &str, object: Value, expected: Expect) {
    expected.assert_eq(&create_faults(resource, object));
}

/// What a change of an object that was let through is refused for.
fn check_change(resource: &str, object: Value, change: impl FnOnce(&mut Value), expected: Expect) {
    expected.assert_eq(&update_faults(resource, object, Part::Main, change));
}

/// Faults of a creation, one a line.
pub fn create_faults(resource: &str, object: Value) -> String {
    let object = created(resource, object);
    listed(strategy(resource).validate_create(&object))
}

/// Faults of an update of a created object by a change of fields.
pub fn update_faults(resource: &str, object: Value, part: Part, change: impl FnOnce(&mut Value)) -> String {
    let mut old = created(resource, object);
    old.set_at(&["metadata", "resourceVersion"], "1".into());
    let mut new = old.clone();
    change(&mut new);
    let strategy = strategy(resource);
    strategy.default(&mut new);
    World::default().with(|context| strategy.prepare_update(&mut new, &old, part, context));
    listed(strategy.validate_update(&new, &old, part))
}

pub fn listed(causes: Vec<pintle_api::Cause>) -> String {
    causes.into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect::<Vec<_>>().join("\n")
}

pub fn pod(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "a"}, "spec": spec})
}

pub fn deployment() -> Value {
    json!({"metadata": {"name": "web", "namespace": "a"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "web:v1"}]}},
    }})
}
