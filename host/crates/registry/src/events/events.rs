//! `events.k8s.io/v1` Event: core events under newer names. Stored in core form.

use pintle_api::object::ObjectExt;
use pintle_api::schema::{self, presence};
use pintle_api::{GroupVersionKind, GroupVersionResource};
use serde_json::Value;

use crate::core::events as core;
use crate::def::namespaced;
use crate::faults::{Faults, Path};
use crate::fields::{is_set, text};
use crate::kind::Kind;
use crate::strategy::Part;

/// This version's name and the core one's.
const NAMES: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

pub fn kind() -> Kind {
    Kind {
        create_on_update: true,
        validate,
        validate_change,
        fields: &[
            ("regarding.kind", |e| text(e, &["regarding", "kind"])),
            ("regarding.namespace", |e| text(e, &["regarding", "namespace"])),
            ("regarding.name", |e| text(e, &["regarding", "name"])),
            ("regarding.uid", |e| text(e, &["regarding", "uid"])),
            ("regarding.apiVersion", |e| text(e, &["regarding", "apiVersion"])),
            ("regarding.resourceVersion", |e| text(e, &["regarding", "resourceVersion"])),
            ("regarding.fieldPath", |e| text(e, &["regarding", "fieldPath"])),
            ("reason", |e| text(e, &["reason"])),
            ("reportingController", |e| text(e, &["reportingController"])),
            ("type", |e| text(e, &["type"])),
        ],
        storage: Some(GroupVersionResource::constant("", "v1", "events")),
        to_storage: |event| rename(event, "v1", |(newer, core)| (newer, core)),
        from_storage: |event| rename(event, "events.k8s.io/v1", |(newer, core)| (core, newer)),
        ..Kind::new(namespaced("events.k8s.io/v1", "events", "Event").short(&["ev"]))
            .table(core::COLUMNS, |event, now| core::cells(&in_core_form(event), now))
    }
}

type Pair = (&'static str, &'static str);

fn rename(event: &mut Value, api_version: &str, order: fn(Pair) -> Pair) {
    let Some(fields) = event.as_object_mut() else { return };
    for (from, to) in NAMES.map(order) {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
    fields.insert("apiVersion".to_owned(), api_version.into());
}

fn in_core_form(event: &Value) -> Value {
    let mut copy = event.clone();
    rename(&mut copy, "v1", |(newer, core)| (newer, core));
    copy
}

fn validate(event: &Value, faults: &mut Faults) {
    core::validate(&in_core_form(event), "reportingController", faults);
    // What follows holds for new events alone; one that was stored in core form may carry older fields.
    if !event.resource_version().is_empty() {
        return;
    }
    series(event, faults);
    if !is_set(event.get("eventTime")) {
        faults.required(&Path::root("eventTime"), "");
    }
    let kind = event.str_at(&["type"]);
    if !matches!(kind, "Normal" | "Warning") {
        faults.invalid_str(&Path::root("type"), "", &format!("has invalid value: {kind}"));
    }
    for (field, shown) in [("deprecatedFirstTimestamp", "firstTimestamp"), ("deprecatedLastTimestamp", "lastTimestamp"), ("deprecatedCount", "count")]
    {
        if event.get(field).is_some_and(|v| !crate::fields::is_zero(v)) {
            faults.invalid_str(&Path::root(shown), "", "needs to be unset");
        }
    }
    if !event.str_at(&["deprecatedSource", "component"]).is_empty() || !event.str_at(&["deprecatedSource", "host"]).is_empty() {
        faults.invalid_str(&Path::root("source"), "", "needs to be unset");
    }
}

fn series(event: &Value, faults: &mut Faults) {
    if let Some(series) = event.get("series").filter(|s| !s.is_null()) {
        if series.i64_at(&["count"]).unwrap_or(0) < 2 {
            faults.invalid_str(&Path::root("series.count"), "", "should be at least 2");
        }
        if !is_set(series.get("lastObservedTime")) {
            faults.required(&Path::root("series.lastObservedTime"), "");
        }
    }
}

fn validate_change(new: &Value, old: &Value, _: Part, faults: &mut Faults) {
    if new.get("series") != old.get("series") {
        series(new, faults);
    }
    let fixed = [
        ("regarding", "involvedObject"),
        ("reason", "reason"),
        ("note", "message"),
        ("deprecatedSource", "source"),
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        // Upstream looks at it twice.
        ("reason", "reason"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ];
    let of_event = schema::builtin().for_kind(&GroupVersionKind::new("events.k8s.io", "v1", "Event"));
    for (field, shown) in fixed {
        let (after, before) = (new.get(field), old.get(field));
        if !crate::fields::same(after, before) {
            let unwritten = || of_event.and_then(|of| of.field(field)).map_or(&Value::Null, presence::unwritten_value);
            faults.invalid(&Path::root(shown), after.unwrap_or_else(unwritten), "field is immutable");
        }
    }
}
