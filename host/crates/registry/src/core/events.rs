//! `v1` Event. The same objects are served as `events.k8s.io/v1`, whose file turns them around.

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::def::namespaced;
use crate::faults::{Faults, Path};
use crate::fields::{is_set, text};
use crate::kind::{Kind, SelectableFields};
use crate::print::{NAME, number, since, text as column, wide};
use crate::strategy::Column;

const MAX_WORD_BYTES: usize = 128;
const MAX_NOTE_BYTES: usize = 1024;

pub const COLUMNS: &[Column] = &[
    column("Last Seen", "When it happened last."),
    column("Type", "Normal or Warning."),
    column("Reason", "Why, in one word."),
    column("Object", "What the event is about."),
    wide("Subobject", "The part that the event is about."),
    wide("Source", "Who told of it."),
    column("Message", "What happened."),
    wide("First Seen", "When it happened first."),
    Column { priority: 1, ..number("Count", "How often it happened.") },
    Column { priority: 1, ..NAME },
];

pub const FIELDS: SelectableFields = &[
    ("involvedObject.kind", |e| text(e, &["involvedObject", "kind"])),
    ("involvedObject.namespace", |e| text(e, &["involvedObject", "namespace"])),
    ("involvedObject.name", |e| text(e, &["involvedObject", "name"])),
    ("involvedObject.uid", |e| text(e, &["involvedObject", "uid"])),
    ("involvedObject.apiVersion", |e| text(e, &["involvedObject", "apiVersion"])),
    ("involvedObject.resourceVersion", |e| text(e, &["involvedObject", "resourceVersion"])),
    ("involvedObject.fieldPath", |e| text(e, &["involvedObject", "fieldPath"])),
    ("reason", |e| text(e, &["reason"])),
    ("reportingComponent", |e| text(e, &["reportingComponent"])),
    ("source", |e| {
        let source = text(e, &["source", "component"]);
        if source.is_empty() { text(e, &["reportingComponent"]) } else { source }
    }),
    ("type", |e| text(e, &["type"])),
];

pub fn kind() -> Kind {
    Kind {
        create_on_update: true,
        // As ever: what can stand in a path.
        names: names::NameRule::PathSegment,
        validate: |event, faults| validate(event, "reportingComponent", faults),
        fields: FIELDS,
        ..Kind::new(namespaced("v1", "events", "Event").short(&["ev"])).table(COLUMNS, cells)
    }
}

/// Checks of an event in core form; `reporter` is the field's name in the version that was asked.
pub fn validate(event: &Value, reporter: &str, faults: &mut Faults) {
    let (own, about) = (event.namespace(), event.str_at(&["involvedObject", "namespace"]));
    let path = Path::root("involvedObject.namespace");
    let elsewhere = "does not match event.namespace";
    if !is_set(event.get("eventTime")) {
        if (about.is_empty() && own != "default") || (!about.is_empty() && about != own) {
            faults.invalid_str(&path, about, elsewhere);
        }
        return;
    }
    if about.is_empty() && !matches!(own, "default" | "kube-system") {
        faults.invalid_str(&path, about, elsewhere);
    }
    let controller = event.str_at(&["reportingComponent"]);
    if controller.is_empty() {
        faults.required(&Path::root(reporter), "");
    }
    faults.texts(&Path::root(reporter), controller, names::qualified_name(controller));
    for field in ["reportingInstance", "action", "reason"] {
        let word = event.str_at(&[field]);
        if word.is_empty() {
            faults.required(&Path::root(field), "");
        } else if word.len() > MAX_WORD_BYTES {
            faults.invalid_str(&Path::root(field), "", &format!("can have at most {MAX_WORD_BYTES} characters"));
        }
    }
    if event.str_at(&["message"]).len() > MAX_NOTE_BYTES {
        faults.invalid_str(&Path::root("message"), "", &format!("can have at most {MAX_NOTE_BYTES} characters"));
    }
}

pub fn cells(event: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let at = |field: &str| event.str_at(&[field]);
    let first = since(if at("firstTimestamp").is_empty() { at("eventTime") } else { at("firstTimestamp") }, now);
    let last = if at("lastTimestamp").is_empty() { first.clone() } else { since(at("lastTimestamp"), now) };
    let series = event.get("series").filter(|s| !s.is_null());
    let (last, count) = match series {
        Some(series) => (since(series.str_at(&["lastObservedTime"]), now), series.i64_at(&["count"]).unwrap_or(0)),
        None => (last, event.i64_at(&["count"]).filter(|n| *n != 0).unwrap_or(1)),
    };
    let object = event.str_at(&["involvedObject", "kind"]).to_ascii_lowercase();
    let name = event.str_at(&["involvedObject", "name"]);
    let object = if name.is_empty() { object } else { format!("{object}/{name}") };
    vec![
        last.into(),
        at("type").into(),
        at("reason").into(),
        object.into(),
        event.str_at(&["involvedObject", "fieldPath"]).into(),
        source(event).into(),
        at("message").trim().into(),
        first.into(),
        count.into(),
        event.name().into(),
    ]
}

fn source(event: &Value) -> String {
    let either = |a: &'static str, b: &'static str| {
        let first = event.str_at(&["source", a]);
        if first.is_empty() { event.str_at(&[b]) } else { first }
    };
    match (either("component", "reportingComponent"), either("host", "reportingInstance")) {
        (component, "") => component.to_owned(),
        (component, instance) => format!("{component}, {instance}"),
    }
}
