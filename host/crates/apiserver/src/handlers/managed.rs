//! managedFields: every write is tracked, and server-side apply works by what was tracked.

use pintle_api::patch::apply::{self, Write};
use pintle_api::{Object, Status};
use pintle_registry::Part;

use super::{Scope, WriteOptions};
use pintle_api::metadata::seconds;

/// Notes in `new` what it changes of `old` (`None`: a creation).
pub fn track(scope: &Scope, old: Option<&Object>, new: &mut Object, options: &WriteOptions, now: jiff::Timestamp) {
    with_write(scope, options, now, |write| apply::track_update(old, new, write));
}

/// The list of a new object as text, which the object itself then lacks; empty: there is nothing to track. `None`: it has to be tracked in the object.
pub fn track_create(scope: &Scope, new: &Object, options: &WriteOptions, now: jiff::Timestamp) -> Option<String> {
    with_write(scope, options, now, |write| apply::track_create(new, write))
}

/// Server-side apply of a configuration onto what is there (`None`: nothing).
pub fn apply(scope: &Scope, old: Option<&Object>, config: &Object, options: &WriteOptions) -> Result<Object, Status> {
    with_write(scope, options, jiff::Timestamp::now(), |write| apply::apply(old, config.clone(), options.force, write))
}

/// The same of a scale; `path` leads to the number in the object.
pub fn apply_scale(scope: &Scope, old: &Object, config: &Object, options: &WriteOptions, path: &[&str]) -> Result<Object, Status> {
    with_write(scope, options, jiff::Timestamp::now(), |write| apply::apply_scale(old, config, options.force, write, path))
}

fn with_write<T>(scope: &Scope, options: &WriteOptions, now: jiff::Timestamp, act: impl FnOnce(&Write<'_>) -> T) -> T {
    let kind = scope.resource.def().gvk();
    act(&Write {
        kind: &kind,
        schema: scope.resource.strategy.schema(),
        manager: &options.field_manager,
        subresource: &scope.subresource,
        now: &seconds(now),
        reset_fields: reset_fields(scope),
    })
}

/// What upstream's endpoint resets: the main resource leaves the status alone, a write of the status everything else.
fn reset_fields(scope: &Scope) -> &'static [&'static [&'static str]] {
    let resource = &scope.resource;
    let (group, plural) = (&*resource.def().group, &*resource.def().resource);
    match (scope.part(), group, plural) {
        (Part::Main, "certificates.k8s.io", "certificatesigningrequests") => &[&["spec"], &["status"]],
        (Part::Main, ..) if resource.has_status() => &[&["status"]],
        (Part::Status, "apps", "deployments") => &[&["spec"], &["metadata", "labels"]],
        (Part::Status, "", "pods") => &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]],
        (Part::Status, "certificates.k8s.io", _) => &[&["spec"], &["status", "conditions"]],
        (Part::Status, ..) if resets_metadata(scope) => &[&["spec"], &["metadata"]],
        (Part::Status, ..) => &[&["spec"]],
        (Part::Other("approval"), ..) => &[&["spec"], &["status", "certificate"]],
        (Part::Other("finalize"), ..) => &[&["status"]],
        _ => &[],
    }
}

/// Of the metadata what a write of the status does not change. Older kinds let it set labels, annotations and finalizers.
pub fn status_leaves(scope: &Scope) -> &'static [&'static str] {
    match &*scope.resource.def().resource {
        _ if resets_metadata(scope) => &["ownerReferences", "generateName", "labels", "annotations", "finalizers"],
        "deployments" => &["ownerReferences", "generateName", "labels"],
        _ => &["ownerReferences", "generateName"],
    }
}

/// Kinds whose status endpoint changes no metadata. Older ones let it.
fn resets_metadata(scope: &Scope) -> bool {
    let def = scope.resource.def();
    let newer = [
        ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("apiregistration.k8s.io", "apiservices"),
        ("networking.k8s.io", "servicecidrs"),
        ("resource.k8s.io", "resourceclaims"),
        ("storage.k8s.io", "volumeattachments"),
    ];
    scope.resource.custom || &*def.group == "flowcontrol.apiserver.k8s.io" || newer.contains(&(&*def.group, &*def.resource))
}
