//! Validation of pod templates, as workloads embed them.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::annotations as pod_annotations;
use super::validate::{Context, validate_spec};
use crate::checks::{annotations, label_map};
use crate::faults::{Faults, Path};

pub fn validate_template(template: &Value, path: &Path<'_>, faults: &mut Faults) {
    validate_template_metadata(template, path, faults);
    pod_annotations::validate_profiles(template, &path.field("spec"), faults);
    let spec = template.get("spec").unwrap_or(&Value::Null);
    validate_spec(spec, &path.field("spec"), Context { is_pod: false, pod_name: "" }, faults);
    if !spec.list_at(&["ephemeralContainers"]).is_empty() {
        faults.forbidden(&path.field("spec.ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

pub fn validate_template_metadata(template: &Value, path: &Path<'_>, faults: &mut Faults) {
    label_map(template.at(&["metadata", "labels"]), &path.field("labels"), faults);
    annotations(template.at(&["metadata", "annotations"]), &path.field("annotations"), faults);
    pod_annotations::validate(template, &path.field("annotations"), faults);
}

/// The selector (of `LabelSelector` form) must match the template's labels.
pub fn validate_template_labels(selector: &Value, template: &Value, path: &Path<'_>, faults: &mut Faults) {
    let labels = template.at(&["metadata", "labels"]).unwrap_or(&Value::Null);
    if !crate::checks::selector_matches(selector, labels) {
        faults.invalid(&path.field("metadata.labels"), labels, "`selector` does not match template `labels`");
    }
}

/// What replica controllers ask beyond a valid template.
pub fn validate_restart_always(template: &Value, kind: &str, path: &Path<'_>, faults: &mut Faults) {
    let policy = template.str_at(&["spec", "restartPolicy"]);
    if policy != "Always" {
        faults.not_supported(&path.field("spec.restartPolicy"), policy, &["Always"]);
    }
    if template.at(&["spec", "activeDeadlineSeconds"]).is_some_and(|v| !v.is_null()) {
        // Deployments are told what ReplicaSets are.
        let told = if kind == "Deployment" { "ReplicaSet" } else { kind };
        faults.forbidden(&path.field("spec.activeDeadlineSeconds"), &format!("activeDeadlineSeconds in {told} is not Supported"));
    }
}
