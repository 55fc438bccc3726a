//! `pintle.dev/v1alpha1` Plugin: a WebAssembly component that decides, as an object among the others.
//!
//! The spec says which component in which world with which grants; the status says which revision lives. Loading it is the
//! plugin runtime's work, which watches these objects.

use std::sync::LazyLock;

use pintle_api::names::{self, NameRule};
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::admissionregistration::validate;
use crate::admissionregistration::webhooks::default_component;
use crate::checks::count_set;
use crate::checks::{immutable, one_of, positive};
use crate::def::cluster;
use crate::faults::{Faults, Path};
use crate::fields::{default_missing, object_mut, spec_mut};
use crate::kind::{Kind, OwnSchema};
use crate::print::{AGE, NAME, NONE, age, bool_or, boolean, text, text_or, wide};
use crate::rbac::rules::validate_rule;
use crate::strategy::{Column, Part};
use crate::workload::SPEC;

const WORLDS: [&str; 4] = ["admission", "controller", "ingress", "scheduler"];
const ROLES: [&str; 2] = ["Extender", "Primary"];
/// Each has an instance of the component, which is fed the whole cluster.
const MAX_SCHEDULER_NAMES: usize = 16;
/// Of a component's scores in its profile.
const MAX_WEIGHT: i64 = 1000;
const STAGES: [&str; 3] = ["Canary", "Live", "Shadow"];
const SOURCES: [&str; 6] = ["digest", "embedded", "file", "https", "inline", "oci"];
/// Bytes of a component that travels inside the object, as base64.
const MAX_INLINE_BYTES: usize = 1536 * 1024;
/// The runtime's own bounds for what it looks back on.
const MAX_DECISIONS: i64 = 100_000;
const MAX_FAILED_OF: i64 = 10_000;
/// `sha256:` and 64 hexadecimal digits.
const DIGEST_BYTES: usize = 71;

const COLUMNS: &[Column] = &[
    NAME,
    text("World", "What the plugin decides."),
    text("Stage", "Whether its newest revision lives."),
    text("Revision", "The revision that decides."),
    text("Ready", "Whether it answers."),
    AGE,
    wide("Digest", "The component that decides."),
    Column { priority: 1, ..boolean("Paused", "Whether it is kept from deciding.") },
    wide("Candidate", "The stage of the revision beside it."),
    wide("Agreement", "How often that one decides the same."),
    wide("Serves", "The scheduler names whose pods it places, or has a say in."),
];

pub fn kind() -> Kind {
    Kind {
        names: NameRule::Subdomain,
        generation: true,
        own_schema: Some(schema),
        default,
        validate,
        validate_change: |new, old, part, faults| {
            if part == Part::Main {
                immutable(new, old, &["spec", "world"], faults);
            }
        },
        fields: &[("spec.world", |p| p.str_at(&["spec", "world"]).to_owned())],
        ..Kind::new(cluster("pintle.dev/v1alpha1", "plugins", "Plugin").short(&["plug"]).status().sub("log", &["get"]).sub("decisions", &["get"]))
            .table(COLUMNS, cells)
    }
}

fn schema() -> &'static OwnSchema {
    static SCHEMA: LazyLock<OwnSchema> = LazyLock::new(|| OwnSchema::parse(include_str!("plugin.schema.json")));
    &SCHEMA
}

/// Limits that are left out are the runtime's, which differ from world to world.
fn default(plugin: &mut Value) {
    if let Some(spec) = spec_mut(plugin) {
        default_missing(spec, "paused", false);
        if spec.get("world").is_some_and(|w| w == "admission") {
            default_missing(spec, "admission", json!({}));
            object_mut(spec, "admission").into_iter().for_each(default_component);
        }
        if let Some(candidate) = spec.get_mut("candidate").and_then(Value::as_object_mut) {
            default_missing(candidate, "stage", "Shadow");
        }
    }
}

fn validate(plugin: &Value, faults: &mut Faults) {
    let spec = plugin.get("spec").unwrap_or(&Value::Null);
    one_of(spec.str_at(&["world"]), &WORLDS, &SPEC.field("world"), faults);
    revision(spec, &SPEC, faults);
    let grants = SPEC.field("grants");
    for (i, rule) in spec.list_at(&["grants"]).iter().enumerate() {
        validate_rule(rule, false, &grants.index(i), faults);
    }
    if let Some(policy) = spec.get("admission").filter(|a| !a.is_null()) {
        let here = SPEC.field("admission");
        if spec.str_at(&["world"]) != "admission" {
            faults.forbidden(&here, "only a plugin of the world admission has it");
        }
        validate::component(policy, &here, faults);
    }
    let scheduler = spec.str_at(&["schedulerName"]);
    if !scheduler.is_empty() {
        faults.texts(&SPEC.field("schedulerName"), scheduler, names::dns1123_subdomain(scheduler));
    }
    scheduler_names(spec.list_at(&["schedulerNames"]), faults);
    if let Some(profile) = spec.get("profile").filter(|p| !p.is_null()) {
        validate_profile(spec, profile, faults);
    }
    if let Some(candidate) = spec.get("candidate").filter(|c| !c.is_null()) {
        stage(candidate, &SPEC.field("candidate"), faults);
    }
    let rollback = SPEC.field("rollback");
    within(spec, &["rollback", "faults"], 0..=i64::from(u32::MAX), &rollback, faults);
    within(spec, &["rollback", "failedPercent"], 0..=100, &rollback, faults);
    within(spec, &["rollback", "failedOf"], 1..=MAX_FAILED_OF, &rollback, faults);
}

fn scheduler_names(listed: &[Value], faults: &mut Faults) {
    let here = SPEC.field("schedulerNames");
    if listed.len() > MAX_SCHEDULER_NAMES {
        faults.too_many(&here, listed.len(), MAX_SCHEDULER_NAMES);
    }
    for (i, name) in listed.iter().enumerate() {
        let name = name.as_str().unwrap_or("");
        faults.texts(&here.index(i), name, names::dns1123_subdomain(name));
    }
}

fn validate_profile(spec: &Value, profile: &Value, faults: &mut Faults) {
    let here = SPEC.field("profile");
    if spec.str_at(&["world"]) != "scheduler" {
        faults.forbidden(&here, "only a plugin of the world scheduler has it");
    }
    let role = profile.str_at(&["role"]);
    if !role.is_empty() {
        one_of(role, &ROLES, &here.field("role"), faults);
    }
    within(profile, &["weight"], 1..=MAX_WEIGHT, &here, faults);
    if role != "Extender" && profile.at(&["ignorable"]).is_some_and(|i| *i == true) {
        faults.forbidden(&here.field("ignorable"), "only an extender can be passed over");
    }
}

/// What the live revision and a candidate both have.
fn revision(spec: &Value, at: &Path<'_>, faults: &mut Faults) {
    source(spec, at, faults);
    remote_source(spec, at, faults);
    let digest = spec.str_at(&["digest"]);
    if !digest.is_empty() && !is_digest(digest) {
        faults.invalid_str(&at.field("digest"), digest, "must be 'sha256:' followed by 64 hexadecimal digits");
    }
    let limits = at.field("limits");
    if let Some(memory) = spec.at(&["limits", "memory"]) {
        crate::core::persistentvolumeclaims::positive_quantity(memory, &limits.field("memory"), faults);
    }
    for field in ["deadlineMilliseconds", "instances"] {
        if let Some(value) = spec.at(&["limits", field]).filter(|v| !v.is_null()) {
            positive(Some(value), &limits.field(field), faults);
        }
    }
}

fn stage(candidate: &Value, at: &Path<'_>, faults: &mut Faults) {
    revision(candidate, at, faults);
    let stage = candidate.str_at(&["stage"]);
    one_of(stage, &STAGES, &at.field("stage"), faults);
    let canary = at.field("canary");
    within(candidate, &["canary", "percent"], 0..=100, &canary, faults);
    let namespaces = canary.field("namespaces");
    for (i, namespace) in candidate.list_at(&["canary", "namespaces"]).iter().enumerate() {
        let namespace = namespace.as_str().unwrap_or("");
        faults.texts(&namespaces.index(i), namespace, names::dns1123_label(namespace));
    }
    let shares = candidate.i64_at(&["canary", "percent"]).is_some() || !candidate.list_at(&["canary", "namespaces"]).is_empty();
    if stage == "Canary" && !shares {
        faults.required(&canary, "must say `percent` or `namespaces` when `stage` is 'Canary'");
    }
    let when = at.field("promoteWhen");
    if let Some(agreement) = candidate.at(&["promoteWhen", "agreement"]).filter(|v| !v.is_null())
        && !agreement.as_f64().is_some_and(|a| (0.0..=1.0).contains(&a))
    {
        faults.invalid(&when.field("agreement"), agreement, "must be between 0 and 1, inclusive");
    }
    within(candidate, &["promoteWhen", "decisions"], 1..=MAX_DECISIONS, &when, faults);
}

/// The field at the path, if it is set; `at` is the path of its object.
fn within(object: &Value, path: &[&str], range: std::ops::RangeInclusive<i64>, at: &Path<'_>, faults: &mut Faults) {
    let Some(value) = object.at(path).filter(|v| !v.is_null()) else { return };
    let field = at.field(path.last().copied().unwrap_or_default());
    if !value.as_i64().is_some_and(|n| range.contains(&n)) {
        faults.invalid(&field, value, &format!("must be between {} and {}, inclusive", range.start(), range.end()));
    }
}

fn source(spec: &Value, at: &Path<'_>, faults: &mut Faults) {
    let path = at.field("source");
    let source = spec.get("source").unwrap_or(&Value::Null);
    match count_set(source, &SOURCES) {
        0 => faults.required(&path, "must specify one of: `inline`, `file`, `https`, `oci`, `digest` or `embedded`"),
        1 => {}
        _ => faults.invalid(&path, &Value::from(shown_sources(source)), "may not have more than one field specified at a time"),
    }
    if source.str_at(&["inline"]).len() > MAX_INLINE_BYTES {
        faults.too_long(&path.field("inline"), MAX_INLINE_BYTES);
    }
    let file = source.str_at(&["file"]);
    if file.contains("..") {
        faults.invalid_str(&path.field("file"), file, "must be a file in the host's folder of components");
    }
    let digest = source.str_at(&["digest"]);
    if !digest.is_empty() && !is_digest(digest) {
        faults.invalid_str(&path.field("digest"), digest, "must be 'sha256:' followed by 64 hexadecimal digits");
    }
}

fn remote_source(spec: &Value, at: &Path<'_>, faults: &mut Faults) {
    let path = at.field("source");
    if let Some(https) = spec.at(&["source", "https"]).filter(|h| !h.is_null()) {
        let (here, url) = (path.field("https"), https.str_at(&["url"]));
        if !url.starts_with("https://") {
            faults.invalid_str(&here.field("url"), url, "'https' is the only allowed URL scheme; desired format: https://host[/path]");
        }
        if spec.str_at(&["digest"]).is_empty() {
            faults.required(&at.field("digest"), "must say which bytes an https source means");
        }
    }
    if let Some(oci) = spec.at(&["source", "oci"]).filter(|o| !o.is_null()) {
        let here = path.field("oci");
        if oci.str_at(&["reference"]).is_empty() {
            faults.required(&here.field("reference"), "");
        }
        let secret = oci.get("pullSecret").filter(|s| !s.is_null());
        for field in ["namespace", "name"].iter().filter(|f| secret.is_some_and(|s| s.str_at(&[f]).is_empty())) {
            faults.required(&here.field("pullSecret").field(field), "");
        }
    }
}

/// Names alone: a component's bytes do not belong into a message.
fn shown_sources(source: &Value) -> String {
    source.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(",")
}

fn is_digest(text: &str) -> bool {
    text.len() == DIGEST_BYTES && text.strip_prefix("sha256:").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn cells(plugin: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let ready = plugin.list_at(&["status", "conditions"]).iter().find(|c| c.str_at(&["type"]) == "Ready");
    vec![
        plugin.name().into(),
        plugin.str_at(&["spec", "world"]).into(),
        text_or(plugin, &["status", "stage"], NONE),
        match crate::fields::text(plugin, &["status", "activeRevision"]) {
            revision if revision.is_empty() => NONE.into(),
            revision => revision.into(),
        },
        ready.map_or("Unknown".into(), |c| c.str_at(&["status"]).into()),
        age(plugin, now),
        text_or(plugin, &["status", "activeDigest"], NONE),
        bool_or(plugin, &["spec", "paused"], false),
        text_or(plugin, &["status", "candidate", "stage"], NONE),
        text_or(plugin, &["status", "candidate", "agreement"], NONE),
        pintle_api::plugin::serves(plugin).map_or(NONE.into(), Value::from),
    ]
}
