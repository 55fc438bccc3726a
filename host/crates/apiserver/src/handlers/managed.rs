//! managedFields: every write is tracked, and server-side apply works by what was tracked.

use pintle_api::patch::apply::{self, Write};
use pintle_api::{Object, Status};

use super::write::seconds;
use super::{Scope, WriteOptions};
use crate::registry::Part;

/// Notes in `new` what it changes of `old` (`None`: a creation).
pub fn track(scope: &Scope, old: Option<&Object>, new: &mut Object, options: &WriteOptions, now: jiff::Timestamp) {
    with_write(scope, options, now, |write| apply::track_update(old, new, write));
}

/// Server-side apply of a configuration onto what is there (`None`: nothing).
pub fn apply(scope: &Scope, old: Option<&Object>, config: &Object, options: &WriteOptions) -> Result<Object, Status> {
    with_write(scope, options, jiff::Timestamp::now(), |write| apply::apply(old, config.clone(), options.force, write))
}

fn with_write<T>(scope: &Scope, options: &WriteOptions, now: jiff::Timestamp, act: impl FnOnce(&Write<'_>) -> T) -> T {
    // The main resource leaves the status alone, and a write of the status everything else.
    let reset: &[&[&str]] = match scope.part() {
        Part::Main if scope.resource.has_status() => &[&["status"]],
        Part::Status => &[&["spec"]],
        _ => &[],
    };
    let kind = scope.resource.def().gvk();
    act(&Write {
        kind: &kind,
        schema: scope.resource.strategy.schema(),
        manager: &options.field_manager,
        subresource: &scope.subresource,
        now: &seconds(now),
        reset_fields: reset,
    })
}
