//! Which form a client wants its answer in, and in which form it sent its body.

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use pintle_api::{Object, Reason, Status, protobuf, schema};
use serde_saphyr::options::DuplicateKeyPolicy;


#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    #[default]
    Json,
    Yaml,
    Table {
        version: MetaVersion,
        rows: Rows,
    },
    /// `PartialObjectMetadata`, or a list of them.
    Metadata(MetaVersion),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaVersion {
    V1,
    V1beta1,
}

/// What of each object a table carries along (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rows {
    Nothing,
    #[default]
    Metadata,
    Object,
}

impl MetaVersion {
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

impl Form {
    /// The first form of the header that this server has; without a header JSON.
    pub fn of(headers: &HeaderMap) -> Result<Self, Status> {
        let Some(accept) = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).filter(|a| !a.trim().is_empty()) else {
            return Ok(Self::Json);
        };
        accept.split(',').find_map(Self::of_range).ok_or_else(not_acceptable)
    }

    fn of_range(range: &str) -> Option<Self> {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next()?;
        let parameters: Vec<(&str, &str)> = parts.filter_map(|p| p.split_once('=')).collect();
        let get = |key: &str| parameters.iter().find(|(k, _)| *k == key).map(|(_, v)| v.trim_matches('"'));
        match media {
            "application/yaml" => return Some(Self::Yaml),
            "application/json" | "*/*" | "application/*" => {}
            _ => return None,
        }
        let version = match (get("g"), get("v")) {
            (Some("meta.k8s.io"), Some("v1")) => Some(MetaVersion::V1),
            (Some("meta.k8s.io"), Some("v1beta1")) => Some(MetaVersion::V1beta1),
            _ => None,
        };
        match get("as") {
            None => Some(Self::Json),
            Some("Table") => Some(Self::Table { version: version?, rows: Rows::default() }),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Some(Self::Metadata(version?)),
            Some(_) => None,
        }
    }

    pub fn with_rows(self, include: &str) -> Result<Self, Status> {
        let Self::Table { version, .. } = self else { return Ok(self) };
        let rows = match include {
            "" | "Metadata" => Rows::Metadata,
            "None" => Rows::Nothing,
            "Object" => Rows::Object,
            other => return Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}"))),
        };
        Ok(Self::Table { version, rows })
    }
}

pub fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or("");
    accepted.split(',').any(|e| matches!(e.split(';').next().map(str::trim), Some("gzip")))
}

/// The media type of the body, without parameters; empty when not given.
pub fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or("").trim()
}

/// An object from a JSON or YAML body, and the fields that the JSON held twice.
pub fn decode(headers: &HeaderMap, body: &[u8]) -> Result<(Object, Vec<String>), Status> {
    match content_type(headers) {
        "" | "application/json" | "*/*" => json(body),
        "application/yaml" | "text/yaml" | "application/x-yaml" => yaml(body, false).map(|object| (object, Vec::new())),
        protobuf::MEDIA_TYPE => {
            let object = protobuf::to_json(body, None).map_err(|why| Status::bad_request(format!("unable to decode the protobuf body: {why}")))?;
            Ok((object, Vec::new()))
        }
        other => Err(unsupported(other, &["application/json", "application/yaml", protobuf::MEDIA_TYPE])),
    }
}

pub fn json(body: &[u8]) -> Result<(Object, Vec<String>), Status> {
    let object = serde_json::from_slice(body).map_err(|e| {
        Status::bad_request(format!("the object provided is unrecognized (must be of type Object): couldn't get version/kind; json parse error: {e}"))
    })?;
    let duplicates = if schema::has_duplicates(body, &object) { schema::duplicates(body) } else { Vec::new() };
    Ok((object, duplicates))
}

/// A patch of any kind but apply.
pub fn patch_json(body: &[u8]) -> Result<Object, Status> {
    serde_json::from_slice(body).map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))
}

/// An applied configuration: YAML, of which JSON is a part.
pub fn yaml_or_json(body: &[u8], strict: bool) -> Result<Object, Status> {
    if body.trim_ascii_start().first() == Some(&b'{')
        && let Ok(object) = serde_json::from_slice(body)
    {
        return Ok(object);
    }
    yaml(body, strict)
}

/// Of keys that stand twice the last counts, unless validation is strict.
pub fn yaml(body: &[u8], strict: bool) -> Result<Object, Status> {
    let text = std::str::from_utf8(body).map_err(|_| Status::bad_request("the body is not UTF-8"))?;
    let duplicate_keys = if strict { DuplicateKeyPolicy::Error } else { DuplicateKeyPolicy::LastWins };
    serde_saphyr::from_str_with_options(text, serde_saphyr::options! { duplicate_keys: duplicate_keys }).map_err(|error| {
        let message = match error.without_snippet() {
            serde_saphyr::Error::DuplicateMappingKey { key: Some(key), location } => {
                format!("error decoding YAML: line {}: key {key:?} already set in map", location.line())
            }
            other => format!("error decoding YAML: {other}"),
        };
        Status::bad_request(message)
    })
}

pub fn unsupported(have: &str, want: &[&str]) -> Status {
    let message = format!("the body of the request was in an unknown format - accepted media types include: {}", want.join(", "));
    tracing::debug!(have, "unsupported media type");
    Status::new(415, Reason::UnsupportedMediaType, message)
}

pub fn not_acceptable() -> Status {
    let message = "only the following media types are accepted: application/json, application/yaml";
    Status::new(406, Reason::NotAcceptable, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str) -> Option<Form> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        Form::of(&headers).ok()
    }

    #[test]
    fn accept_headers() {
        let table = Some(Form::Table { version: MetaVersion::V1, rows: Rows::Metadata });
        assert_eq!(check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"), table);
        assert_eq!(check("application/vnd.kubernetes.protobuf,application/json"), Some(Form::Json));
        assert_eq!(check("application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"), Some(Form::Metadata(MetaVersion::V1)));
        assert_eq!(check("application/json, */*"), Some(Form::Json));
        assert_eq!(check("application/json;as=Table;v=v9;g=meta.k8s.io"), None);
        assert_eq!(check("text/html"), None);
    }
}
