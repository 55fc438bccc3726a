//! Field selectors on custom resources whose versions a webhook turns into each other.
//!
//! Each version has selectable fields of its own, and the cache's index knows only the stored form; so such a selector is
//! answered from the objects as they are in the version asked for, after they were made ready. Lists by it are not paged.

use pintle_api::Status;
use pintle_api::object::ObjectExt;
use pintle_api::selector::FieldSelector;

use super::Scope;
use crate::cache::{Event, Filter, Kind, Stored};
use crate::resources::Resource;

pub struct OwnFields(FieldSelector);

/// What the index answers of the selectors, and what is to be looked for in the objects themselves.
pub fn split(scope: &Scope, label_selector: &str, field_selector: &str) -> Result<(Filter, Option<OwnFields>), Status> {
    let own = OwnFields::of(scope, field_selector)?;
    let indexed = if own.is_some() { "" } else { field_selector };
    let mut filter = Filter::parse(&scope.namespace, label_selector, indexed, &scope.resource.slot.fields().names)?;
    filter.narrow(&scope.name);
    Ok((filter, own))
}

impl OwnFields {
    /// `None`: the index answers the selector.
    fn of(scope: &Scope, selector: &str) -> Result<Option<Self>, Status> {
        let strategy = &scope.resource.strategy;
        if selector.is_empty() || scope.resource.conversion.is_none() {
            return Ok(None);
        }
        let selector = FieldSelector::parse(selector).map_err(|e| Status::bad_request(e.to_string()))?;
        let names = strategy.selectable_names();
        let known = |field: &str| matches!(field, "metadata.name" | "metadata.namespace") || names.iter().any(|n| n == field);
        match selector.terms().iter().find(|t| !known(&t.field)) {
            Some(term) => Err(Status::bad_request(format!("field label not supported: {}", term.field))),
            None => Ok(Some(Self(selector))),
        }
    }

    /// The object must be ready in the resource's version.
    pub fn matches(&self, resource: &Resource, stored: &Stored) -> bool {
        let Ok(object) = resource.parse(stored) else { return false };
        let (names, values) = (resource.strategy.selectable_names(), resource.strategy.selectable_values(&object));
        self.0.matches_by(|field| match field {
            "metadata.name" => object.name().to_owned(),
            "metadata.namespace" => object.namespace().to_owned(),
            field => names.iter().position(|n| n == field).and_then(|at| values.get(at).cloned()).unwrap_or_default(),
        })
    }

    /// What a watcher is told, who without the selector would be told `kind`.
    pub fn seen(&self, resource: &Resource, kind: Kind, event: &Event) -> Option<Kind> {
        let matches = |stored: &Option<std::sync::Arc<Stored>>| stored.as_ref().is_some_and(|s| self.matches(resource, s));
        let before = kind != Kind::Added && matches(&event.previous);
        let now = kind != Kind::Deleted && matches(&event.object);
        match (before, now) {
            (false, false) => None,
            (false, true) => Some(Kind::Added),
            (true, true) => Some(Kind::Modified),
            (true, false) => Some(Kind::Deleted),
        }
    }
}
