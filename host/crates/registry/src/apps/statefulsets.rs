//! `apps/v1` StatefulSet.

use std::collections::HashSet;

use pintle_api::metadata::Repeats;
use pintle_api::names::{self, NameRule};
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::checks::{int_or_percent, label_selector, nonnegative, not_over_100_percent};
use crate::core::persistentvolumeclaims::{default_claim_spec, validate_claim_spec};
use crate::def::namespaced;
use crate::faults::Faults;
use crate::fields::{default_empty, default_missing, each_mut, ensure_object, is_set, same, spec_mut};
use crate::kind::Kind;
use crate::podspec::{default_template, validate_template_metadata};
use crate::print::{self, AGE, CONTAINERS, IMAGES, NAME, age, text};
use crate::strategy::{Column, Part};
use crate::warnings;
use crate::workload::{
    SPEC, int_or_percent_value, no_smaller_collision_count, nonnegative_spec, validate_replica_status, validate_selector_and_template,
};

const HISTORY: i64 = 10;
const CHANGEABLE: [&str; 7] =
    ["replicas", "template", "updateStrategy", "minReadySeconds", "ordinals", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy"];
const COLUMNS: &[Column] = &[NAME, text("Ready", "Pods that are ready, of those wanted."), AGE, CONTAINERS, IMAGES];

pub fn kind() -> Kind {
    let def = namespaced("apps/v1", "statefulsets", "StatefulSet").short(&["sts"]).in_all().status().scale();
    Kind {
        repeats: Repeats::UPDATE,
        template: "/spec/template",
        names: NameRule::Label,
        generation: true,
        warn: warnings::stateful_set,
        default,
        create: |set, _| {
            set.set_at(&["status"], json!({"replicas": 0, "availableReplicas": 0}));
            drop_max_unavailable(set, None);
        },
        update: |set, old, _, _| drop_max_unavailable(set, Some(old)),
        validate,
        validate_change,
        ..Kind::new(def).table(COLUMNS, |set, now| {
            let [containers, images] = print::template_containers(set);
            let ready = set.i64_at(&["status", "readyReplicas"]).unwrap_or(0);
            let wanted = set.i64_at(&["spec", "replicas"]).unwrap_or(0);
            vec![set.name().into(), format!("{ready}/{wanted}").into(), age(set, now), containers, images]
        })
    }
}

fn default(set: &mut Value) {
    let Some(spec) = spec_mut(set) else { return };
    default_empty(spec, "podManagementPolicy", "OrderedReady");
    let strategy = ensure_object(spec, "updateStrategy");
    if strategy.get("type").is_none_or(|t| t == "") {
        strategy.insert("type".to_owned(), "RollingUpdate".into());
        ensure_object(strategy, "rollingUpdate");
    }
    if strategy["type"] == "RollingUpdate" && is_set(strategy.get("rollingUpdate")) {
        default_missing(ensure_object(strategy, "rollingUpdate"), "partition", 0);
    }
    let retention = ensure_object(spec, "persistentVolumeClaimRetentionPolicy");
    default_empty(retention, "whenDeleted", "Retain");
    default_empty(retention, "whenScaled", "Retain");
    default_missing(spec, "replicas", 1);
    default_missing(spec, "revisionHistoryLimit", HISTORY);
    for claim in each_mut(spec, "volumeClaimTemplates") {
        claim.insert("apiVersion".to_owned(), "v1".into());
        claim.insert("kind".to_owned(), "PersistentVolumeClaim".into());
        default_claim_spec(ensure_object(claim, "spec"));
        default_empty(ensure_object(claim, "status"), "phase", "Pending");
    }
    default_template(spec);
}

/// Of a feature that is off by default (`MaxUnavailableStatefulSet`): only who has the field keeps it.
fn drop_max_unavailable(set: &mut Value, old: Option<&Value>) {
    const FIELD: [&str; 4] = ["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"];
    if !old.is_some_and(|old| is_set(old.at(&FIELD))) {
        set.remove_at(&FIELD);
    }
}

fn validate(set: &Value, faults: &mut Faults) {
    let policy = set.str_at(&["spec", "podManagementPolicy"]);
    if !matches!(policy, "OrderedReady" | "Parallel") {
        faults.invalid_str(&SPEC.field("podManagementPolicy"), policy, "must be 'OrderedReady' or 'Parallel'");
    }
    update_strategy(set, faults);
    let path = SPEC.field("persistentVolumeClaimRetentionPolicy");
    for field in ["whenDeleted", "whenScaled"] {
        let value = set.str_at(&["spec", "persistentVolumeClaimRetentionPolicy", field]);
        if !matches!(value, "Retain" | "Delete") {
            faults.not_supported(&path.field(field), value, &["Retain", "Delete"]);
        }
    }
    nonnegative_spec(set, &["replicas", "minReadySeconds"], faults);
    nonnegative(set.at(&["spec", "ordinals", "start"]), &SPEC.field("ordinals.start"), faults);
    if set.resource_version().is_empty() {
        validate_new(set, faults);
    }
    validate_selector_and_template(&with_claim_volumes(set), "StatefulSet", faults);
    // Upstream looks at these a second time, unless it could not read the selector.
    let selector = set.at(&["spec", "selector"]).filter(|s| !s.is_null());
    let mut unreadable = Faults::default();
    if let Some(selector) = selector {
        label_selector(selector, &SPEC.field("selector"), &mut unreadable);
    }
    if unreadable.is_empty() {
        let (template, path) = (set.at(&["spec", "template"]).unwrap_or(&Value::Null), SPEC.field("template"));
        validate_template_metadata(template, &path, faults);
    }
}

/// What never changes is judged once.
fn validate_new(set: &Value, faults: &mut Faults) {
    let service = set.str_at(&["spec", "serviceName"]);
    if !service.is_empty() {
        faults.texts(&SPEC.field("serviceName"), service, names::dns1123_label(service));
    }
    let list = SPEC.field("volumeClaimTemplates");
    for (i, claim) in set.list_at(&["spec", "volumeClaimTemplates"]).iter().enumerate() {
        validate_claim_spec(claim.get("spec").unwrap_or(&Value::Null), &list.index(i).field("spec"), faults);
    }
}

/// The template as pods will have it: the claims' volumes are there to be mounted, hostname and subdomain are the set's.
fn with_claim_volumes(set: &Value) -> std::borrow::Cow<'_, Value> {
    let claims = set.list_at(&["spec", "volumeClaimTemplates"]);
    if claims.is_empty() {
        return std::borrow::Cow::Borrowed(set);
    }
    let mut copy = set.clone();
    let names: Vec<&str> = claims.iter().map(ObjectExt::name).collect();
    let mut volumes: Vec<Value> = names.iter().map(|n| json!({"name": n, "persistentVolumeClaim": {"claimName": n}})).collect();
    let claimed: HashSet<&str> = names.iter().copied().collect();
    let own = set.list_at(&["spec", "template", "spec", "volumes"]).iter().filter(|v| !claimed.contains(v.str_at(&["name"])));
    volumes.extend(own.cloned());
    copy.set_at(&["spec", "template", "spec", "volumes"], Value::Array(volumes));
    std::borrow::Cow::Owned(copy)
}

fn update_strategy(set: &Value, faults: &mut Faults) {
    let path = SPEC.field("updateStrategy");
    let rolling_path = path.field("rollingUpdate");
    let rolling = set.at(&["spec", "updateStrategy", "rollingUpdate"]).filter(|r| !r.is_null());
    match (set.str_at(&["spec", "updateStrategy", "type"]), rolling) {
        ("OnDelete", Some(rolling)) => {
            faults.invalid_shown(&rolling_path, &shown_rolling(rolling), "only allowed for updateStrategy 'RollingUpdate'");
        }
        ("RollingUpdate", Some(rolling)) => {
            nonnegative(rolling.get("partition"), &rolling_path.field("partition"), faults);
            if let Some(unavailable) = rolling.get("maxUnavailable").filter(|v| !v.is_null()) {
                let at = rolling_path.field("maxUnavailable");
                int_or_percent(unavailable, &at, faults);
                if int_or_percent_value(Some(unavailable)) == 0 {
                    faults.invalid(&at, unavailable, "cannot be 0");
                }
                not_over_100_percent(unavailable, &at, faults);
            }
        }
        ("OnDelete" | "RollingUpdate", None) => {}
        (kind, rolling) => {
            let rolling = rolling.map_or("null".to_owned(), shown_rolling);
            let shown = format!("{{\"Type\":{},\"RollingUpdate\":{rolling}}}", Value::from(kind));
            faults.invalid_shown(&path, &shown, "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
}

/// As upstream prints its internal type.
fn shown_rolling(rolling: &Value) -> String {
    let partition = rolling.i64_at(&["partition"]).unwrap_or(0);
    format!("{{\"Partition\":{partition},\"MaxUnavailable\":{}}}", rolling.get("maxUnavailable").unwrap_or(&Value::Null))
}

fn validate_change(new: &Value, old: &Value, part: Part, faults: &mut Faults) {
    if part == Part::Status {
        validate_replica_status(new, &["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"], faults);
        return no_smaller_collision_count(new, old, faults);
    }
    let (Some(after), Some(before)) = (new.map_at(&["spec"]), old.map_at(&["spec"])) else { return };
    let fixed = |key: &&String| !CHANGEABLE.contains(&key.as_str());
    if !after.keys().chain(before.keys()).filter(fixed).all(|key| same(after.get(key), before.get(key))) {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        faults.forbidden(&SPEC, detail);
    }
}
