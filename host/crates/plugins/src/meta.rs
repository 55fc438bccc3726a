//! The fields of an object that indexes and typed summaries need, read without parsing the rest into a tree.

use std::sync::Arc;

use pintle_api::object::ObjectExt;
use pintle_partial::Needed;
use serde::de::Error as _;
use serde_json::{Error, Value};

const READ: Needed = Needed::paths(&[
    "metadata.namespace",
    "metadata.name",
    "metadata.uid",
    "metadata.labels",
    "metadata.ownerReferences",
    "metadata.creationTimestamp",
    "metadata.deletionTimestamp",
    "metadata.generation",
    "spec.nodeName",
    "status.phase",
    "status.conditions.type",
    "status.conditions.status",
]);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub uid: Arc<str>,
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// The owner reference with `controller: true`.
    pub controller: Option<Owner>,
    /// Seconds since 1970.
    pub created: i64,
    pub generation: i64,
    pub deleting: bool,
    pub phase: Box<str>,
    pub ready: bool,
    pub node: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub api_version: Box<str>,
    pub kind: Box<str>,
    pub name: Arc<str>,
    pub uid: Arc<str>,
}

impl Meta {
    /// The fields that [`Meta::field`] knows.
    pub const FIELDS: &[&str] = &["metadata.name", "metadata.namespace", "spec.nodeName", "status.phase"];

    /// A custom resource may put anything under these names: what is not of the kind that stands here counts as absent.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let object = pintle_partial::read(json, READ)?;
        let metadata = object.get("metadata").filter(|metadata| metadata.is_object()).ok_or_else(|| Error::custom("an object without metadata"))?;
        let is_ready = |condition: &Value| condition.str_at(&["type"]) == "Ready" && condition.str_at(&["status"]) == "True";
        Ok(Self {
            namespace: metadata.str_at(&["namespace"]).into(),
            name: metadata.str_at(&["name"]).into(),
            uid: metadata.str_at(&["uid"]).into(),
            labels: labels(metadata),
            controller: controller(metadata),
            created: seconds(metadata.str_at(&["creationTimestamp"])),
            generation: metadata.i64_at(&["generation"]).unwrap_or_default(),
            deleting: !metadata.str_at(&["deletionTimestamp"]).is_empty(),
            phase: object.str_at(&["status", "phase"]).into(),
            ready: object.list_at(&["status", "conditions"]).iter().any(is_ready),
            node: object.str_at(&["spec", "nodeName"]).into(),
        })
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| **k == *key).map(|(_, v)| &**v)
    }

    pub fn field(&self, field: &str) -> &str {
        match field {
            "metadata.name" => &self.name,
            "metadata.namespace" => &self.namespace,
            "spec.nodeName" => &self.node,
            "status.phase" => &self.phase,
            _ => "",
        }
    }
}

/// Seconds since 1970 of a timestamp as the API writes it; 0 when it cannot be read.
pub fn seconds(timestamp: &str) -> i64 {
    timestamp.parse::<jiff::Timestamp>().map_or(0, |t| t.as_second())
}

fn controller(metadata: &Value) -> Option<Owner> {
    let owner = metadata.list_at(&["ownerReferences"]).iter().find(|owner| owner.bool_at(&["controller"]))?;
    Some(Owner {
        api_version: owner.str_at(&["apiVersion"]).into(),
        kind: owner.str_at(&["kind"]).into(),
        name: owner.str_at(&["name"]).into(),
        uid: owner.str_at(&["uid"]).into(),
    })
}

fn labels(metadata: &Value) -> Vec<(Box<str>, Box<str>)> {
    let labels = metadata.map_at(&["labels"]).into_iter().flatten();
    labels.map(|(key, value)| (key.as_str().into(), value.as_str().unwrap_or_default().into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_outline() {
        let meta = Meta::parse(
            br#"{"metadata":{"name":"a","namespace":"n","uid":"u","labels":{"x":"1"},"creationTimestamp":"1970-01-01T00:01:00Z",
            "ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"r","uid":"o","controller":true}]},
            "spec":{"nodeName":"k"},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#,
        )
        .expect("a pod");
        assert_eq!((&*meta.name, meta.label("x"), meta.created, &*meta.phase, meta.ready, &*meta.node), ("a", Some("1"), 60, "Running", true, "k"));
        assert_eq!(meta.controller.map(|o| o.uid.to_string()), Some("o".to_owned()));
    }

    #[test]
    fn a_custom_object_may_use_the_names_otherwise() {
        let odd = br#"{"metadata":{"name":"a","labels":null},"spec":{"nodeName":{"deep":[1]}},"status":{"phase":3,"conditions":{"Ready":true}}}"#;
        let meta = Meta::parse(odd).expect("an object");
        assert_eq!((&*meta.node, &*meta.phase, meta.ready), ("", "", false));
    }
}
