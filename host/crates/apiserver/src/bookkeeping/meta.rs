//! The part of an object that bookkeeping reads, without parsing the rest.

use serde::Deserialize;

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
