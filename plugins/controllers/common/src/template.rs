//! Pods from templates, and references to their owners.

use serde_json::{Value, json};

use crate::fields::Fields;

/// The owner reference that makes `owner` the controller.
pub fn controller_reference(owner: &Value, api_version: &str, kind: &str) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind, "name": owner.name(), "uid": owner.uid(),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// A pod made from `template`, controlled by `owner`, its name left to the server.
pub fn pod(template: &Value, owner: &Value, api_version: &str, kind: &str) -> Value {
    let mut metadata = json!({
        "generateName": prefix(owner.name()),
        "namespace": owner.namespace(),
        "ownerReferences": [controller_reference(owner, api_version, kind)],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template.at(&["metadata", field]).filter(|v| !v.is_null()) {
            metadata[field] = value.clone();
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// A prefix that leaves room for the suffix within the 63 characters of a name.
fn prefix(owner: &str) -> String {
    const MAX_PREFIX: usize = 57;
    let cut = owner.char_indices().take_while(|(at, _)| *at < MAX_PREFIX).last().map_or(0, |(at, c)| at + c.len_utf8());
    format!("{}-", &owner[..cut])
}
