//! OpenAPI documents of a server: version 2 as one document (JSON and protobuf), version 3 one for each group version.
//!
//! Pure functions from what is served ([`Published`]) to bytes; the http layer keeps the bytes until the resources change.
//! Definitions of built-in kinds come from the tables in [`crate::schema`], those of custom kinds from their own schemas. What upstream
//! serves, too, is published as upstream publishes it, which a test holds.

mod custom;
mod definitions;
mod document;
mod fixed;
mod operations;
mod parameters;
mod paths;
mod proto;

pub use document::{v2_json, v2_protobuf, v3_document_path, v3_index, v3_json};

use crate::ResourceDef;
use serde_json::Value;

/// What `Accept` must name for [`v2_protobuf`]; client-go asks for nothing else.
pub const V2_PROTOBUF_MEDIA_TYPE: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// The same with the dot that newer clients write.
pub const V2_PROTOBUF_MEDIA_TYPE_DOTTED: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// One served resource in one version.
#[derive(Clone, Copy, Debug)]
pub struct Published<'a> {
    pub def: &'a ResourceDef,
    /// The `openAPIV3Schema` of a custom resource; built-in ones have none.
    pub schema: Option<&'a Value>,
}

/// The version of OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, definition: &str) -> String {
        match self {
            Self::V2 => format!("#/definitions/{definition}"),
            Self::V3 => format!("#/components/schemas/{definition}"),
        }
    }
}

#[cfg(test)]
mod tests;
