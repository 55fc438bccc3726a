//! The part of an object that bookkeeping reads, without parsing the rest.

use pintle_api::Status;
use pintle_api::client::Served;
use pintle_partial::Needed;
use serde::Deserialize;

/// The fields below, and nothing of what makes an object long.
const READ: Needed = Needed::Only(&[(
    "metadata",
    Needed::Only(&[
        ("name", Needed::All),
        ("namespace", Needed::All),
        ("uid", Needed::All),
        ("resourceVersion", Needed::All),
        ("finalizers", Needed::All),
        ("deletionTimestamp", Needed::All),
        ("ownerReferences", Needed::All),
    ]),
)]);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Meta {
    pub metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub resource_version: String,
    pub finalizers: Option<Vec<String>>,
    pub deletion_timestamp: Option<String>,
    pub owner_references: Option<Vec<Owner>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Owner {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    pub block_owner_deletion: Option<bool>,
}

impl Meta {
    /// Each write of any object is read so, by the garbage collector.
    pub fn read(served: &Served) -> Result<Self, Status> {
        let unreadable = |why: serde_json::Error| Status::internal(format!("unreadable object: {why}"));
        let part = pintle_partial::read(&served.json, READ).map_err(unreadable)?;
        serde_json::from_value(part).map_err(unreadable)
    }
}

impl Metadata {
    pub fn owners(&self) -> &[Owner] {
        self.owner_references.as_deref().unwrap_or_default()
    }
    pub fn has_finalizer(&self, name: &str) -> bool {
        self.finalizers.iter().flatten().any(|f| f == name)
    }
    pub fn is_being_deleted(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_part_says_what_the_whole_object_does() {
        let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "o", "controller": true, "blockOwnerDeletion": true});
        for metadata in [
            json!({"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "finalizers": ["f"], "deletionTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [owner], "labels": {"name": "not it"}, "managedFields": [{"fieldsV1": {"f:metadata": {"f:name": {}}}}]}),
            json!({"name": "a", "ownerReferences": null}),
            json!({}),
        ] {
            let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"metadata": {"name": "template"}}, "status": {}});
            let served = Served { json: object.to_string().into(), revision: 7 };
            assert_eq!(format!("{:?}", Meta::read(&served).unwrap()), format!("{:?}", served.parse_as::<Meta>().unwrap()));
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let read = |text: &'static str| Meta::read(&Served { json: text.into(), revision: 1 }).map(|_| ()).unwrap_err().message;
        expect!["Internal error occurred: unreadable object: EOF while parsing an object at line 1 column 13"].assert_eq(&read(r#"{"metadata":{"#));
        expect!["Internal error occurred: unreadable object: invalid type: integer `1`, expected a string"]
            .assert_eq(&read(r#"{"metadata":{"name":1}}"#));
    }
}
