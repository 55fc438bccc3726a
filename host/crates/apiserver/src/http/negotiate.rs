//! Which form a client wants its answer in, and in which form it sent its body.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use pintle_api::discovery::Aggregated;
use pintle_api::schema::Duplicates;
use pintle_api::table::{MetaVersion, Rows};
use pintle_api::{GroupVersionKind, Object, Reason, Status, json as text, protobuf, schema};

use super::yaml;

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    pub media: Media,
    pub shape: Shape,
    /// `PartialObjectMetadataList` was asked for by name.
    pub named_list: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Media {
    #[default]
    Json,
    Yaml,
    Protobuf,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// The object, or the list, itself.
    #[default]
    Whole,
    Table {
        version: MetaVersion,
        rows: Rows,
    },
    /// `PartialObjectMetadata`, or a list of them.
    Metadata(MetaVersion),
}

/// One range of an `Accept` header.
struct Clause<'a> {
    kind: &'a str,
    subtype: &'a str,
    quality: f64,
    parameters: Vec<(&'a str, &'a str)>,
}

impl Media {
    /// In the order in which a wildcard takes them.
    const ALL: [Self; 3] = [Self::Json, Self::Yaml, Self::Protobuf];

    const fn subtype(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Protobuf => "vnd.kubernetes.protobuf",
        }
    }
    const fn streams(self) -> bool {
        !matches!(self, Self::Yaml)
    }

    /// For a Status; JSON where nothing fits.
    pub fn plain(headers: &HeaderMap) -> Self {
        Self::only(headers).unwrap_or_default()
    }

    /// For answers that have no other shape.
    pub fn only(headers: &HeaderMap) -> Result<Self, Status> {
        let fits = |media: Self, clause: &Clause<'_>| (clause.is_plain() && clause.is_served(media) && clause.get("sv").is_none()).then_some(media);
        choose(headers, fits).ok_or_else(|| not_acceptable(false))
    }

    /// For discovery: the aggregated document, wherever in the header it stands.
    pub fn aggregated(headers: &HeaderMap) -> Option<(Self, Aggregated)> {
        headers.get(ACCEPT)?;
        choose(headers, |media, clause| match (clause.get("g"), clause.get("v"), clause.get("as")) {
            (Some("apidiscovery.k8s.io"), Some("v2"), Some("APIGroupDiscoveryList")) => Some((media, Aggregated::V2)),
            (Some("apidiscovery.k8s.io"), Some("v2beta1"), Some("APIGroupDiscoveryList")) => Some((media, Aggregated::V2Beta1)),
            _ => None,
        })
        .filter(|(media, version)| *media == Self::Json || (*media == Self::Protobuf && *version == Aggregated::V2))
    }
}

impl Form {
    /// The best form of the header that this server has; without a header JSON. `has_protobuf`: whether the kind has that form.
    pub fn of(headers: &HeaderMap, streams: bool, has_protobuf: impl Fn() -> bool) -> Result<Self, Status> {
        let found = choose(headers, |media, clause| {
            let shape = clause.shape(media)?;
            let has = media != Media::Protobuf || shape != Shape::Whole || has_protobuf();
            has.then_some(Self { media, shape, named_list: clause.get("as") == Some("PartialObjectMetadataList") })
        });
        match found.ok_or_else(|| not_acceptable(false))? {
            form if streams && !form.media.streams() => Err(not_acceptable(true)),
            form => Ok(form),
        }
    }

    /// Refuses the metadata of one object for a list and the other way round. `kind`: as it is named in Go.
    pub fn check_number(&self, is_list: bool, kind: impl Fn() -> String) -> Result<(), Status> {
        let message = match (self.shape, is_list, self.named_list) {
            (Shape::Metadata(_), true, false) => format!("you requested PartialObjectMetadata, but the requested object is a list ({})", kind()),
            (Shape::Metadata(_), false, true) => {
                format!("you requested PartialObjectMetadataList, but the requested object is not a list ({})", kind())
            }
            _ => return Ok(()),
        };
        Err(Status::new(406, Reason::NotAcceptable, message))
    }

    pub fn with_rows(self, include: &str) -> Result<Self, Status> {
        let Shape::Table { version, .. } = self.shape else { return Ok(self) };
        let rows = match include {
            "" | "Metadata" => Rows::Metadata,
            "None" => Rows::Nothing,
            "Object" => Rows::Object,
            other => return Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}"))),
        };
        Ok(Self { shape: Shape::Table { version, rows }, ..self })
    }
}

/// Goes through the header's ranges, the best first, and for each through the media types that it names.
fn choose<T>(headers: &HeaderMap, fits: impl Fn(Media, &Clause<'_>) -> Option<T>) -> Option<T> {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).filter(|a| !a.trim().is_empty()).unwrap_or("application/json");
    let clauses = clauses(accept);
    clauses.iter().find_map(|clause| Media::ALL.into_iter().filter(|media| clause.names(*media)).find_map(|media| fits(media, clause)))
}

/// The ranges of a header, sorted as upstream sorts them: by quality, then wildcards last, one insertion after another.
fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = Vec::new();
    for clause in accept.split(',').filter_map(Clause::parse) {
        let mut at = clauses.len();
        while at > 0 && clause.goes_before(&clauses[at - 1]) {
            at -= 1;
        }
        clauses.insert(at, clause);
    }
    clauses
}

impl<'a> Clause<'a> {
    fn parse(range: &'a str) -> Option<Self> {
        let mut parts = range.split(';');
        let media = parts.next()?.trim();
        let (kind, subtype) = match media.split_once('/') {
            Some((kind, subtype)) if !subtype.is_empty() && !subtype.contains('/') => (kind.trim(), subtype.trim()),
            None if media == "*" => ("*", "*"),
            _ => return None,
        };
        let mut clause = Self { kind, subtype, quality: 1.0, parameters: Vec::new() };
        for (name, value) in parts.filter_map(|p| p.split_once('=')).filter(|(_, v)| !v.is_empty() && !v.contains('=')) {
            match name.trim() {
                "q" => clause.quality = value.trim().parse().unwrap_or(0.0),
                name => clause.parameters.push((name, value.trim())),
            }
        }
        Some(clause)
    }
    fn goes_before(&self, other: &Self) -> bool {
        let specific = |this: &str, other: &str| this != "*" && other == "*";
        self.quality > other.quality || specific(self.kind, other.kind) || specific(self.subtype, other.subtype)
    }
    fn names(&self, media: Media) -> bool {
        match self.kind {
            "application" => self.subtype == media.subtype() || self.subtype == "*",
            "*" => self.subtype == "*",
            _ => false,
        }
    }
    fn get(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
    /// Whether it asks for no other shape.
    fn is_plain(&self) -> bool {
        ["as", "g", "v"].iter().all(|name| self.get(name).is_none())
    }
    /// Whether its parameters name a way of streaming and a version of the server's own kinds that there is.
    fn is_served(&self, media: Media) -> bool {
        self.get("stream").is_none_or(|stream| media.streams() && stream == "watch") && self.get("sv").is_none_or(|version| version == "v1")
    }
    fn shape(&self, media: Media) -> Option<Shape> {
        if !self.is_served(media) {
            return None;
        }
        if self.is_plain() {
            return Some(Shape::Whole);
        }
        let version = match (self.get("g"), self.get("v")) {
            (Some("meta.k8s.io"), Some("v1")) => MetaVersion::V1,
            (Some("meta.k8s.io"), Some("v1beta1")) => MetaVersion::V1beta1,
            _ => return None,
        };
        match self.get("as")? {
            // A table has no protobuf form.
            "Table" if media != Media::Protobuf => Some(Shape::Table { version, rows: Rows::default() }),
            "PartialObjectMetadata" | "PartialObjectMetadataList" => Some(Shape::Metadata(version)),
            _ => None,
        }
    }
}

/// What the routes of built-in kinds ask first: a media type of theirs by name, or any. `lists`: the route of lists and watches.
pub fn check_route(headers: &HeaderMap, lists: bool) -> Result<(), Status> {
    let Some(accept) = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).filter(|a| !a.is_empty()) else { return Ok(()) };
    let mut types = vec!["application/json", "application/yaml", protobuf::MEDIA_TYPE];
    let named = accept.split(',').map(|range| range.split(';').next().unwrap_or("").trim());
    if named.into_iter().any(|name| matches!(name, "" | "*/*") || types.contains(&name)) {
        return Ok(());
    }
    if lists {
        types.extend(["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"]);
    }
    let message = format!("406: Not Acceptable\n\nAvailable representations: {}", types.join(", "));
    let mut status = Status::new(406, Reason::NotAcceptable, message);
    status.details_mut();
    Err(status)
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

/// An object from a JSON, YAML or protobuf body, and the fields that its text held twice, where somebody asks for them. `of`: the kind, where a
/// protobuf body does not say.
pub fn decode(headers: &HeaderMap, body: &Bytes, of: &GroupVersionKind, validates: bool) -> Result<(Object, Duplicates), Status> {
    match content_type(headers) {
        "" | "application/json" | "*/*" => json(body, &of.kind, validates),
        "application/yaml" | "text/yaml" | "application/x-yaml" => {
            let object = yaml::read(body).map_err(|why| unreadable(&of.kind, body, &why))?;
            Ok((object, if validates { yaml::doubled(body) } else { Duplicates::default() }))
        }
        protobuf::MEDIA_TYPE => match protobuf::to_json(body, Some(of)) {
            Ok(object) => Ok((object, Duplicates::default())),
            Err(why) if of.kind == "DeleteOptions" => Err(Status::bad_request(why.to_string())),
            Err(why) => Err(unreadable(&of.kind, body, &why.to_string())),
        },
        other => Err(unsupported(other, &["application/json", "application/yaml", protobuf::MEDIA_TYPE])),
    }
}

/// The same of options in a body: a fault in their JSON is told without the body.
pub fn decode_options(headers: &HeaderMap, body: &Bytes, of: &GroupVersionKind) -> Result<(Object, Duplicates), Status> {
    if matches!(content_type(headers), "" | "application/json" | "*/*")
        && let Err(fault) = serde_json::from_slice::<serde::de::IgnoredAny>(body)
    {
        return Err(Status::bad_request(format!("couldn't get version/kind; json parse error: {}", text::fault(&fault, body))));
    }
    decode(headers, body, of, false)
}

pub fn json(body: &Bytes, kind: &str, validates: bool) -> Result<(Object, Duplicates), Status> {
    let object = serde_json::from_slice(body).map_err(|e| unrecognized(kind, body, &text::fault(&e, body)))?;
    let duplicates = doubled_in_json(body, &object, validates);
    Ok((object, duplicates))
}

/// Whether it says what it is in a form that can be read. `null` says nothing, as an empty object does.
pub fn check_type(object: &mut Object, body: &[u8], kind: &str) -> Result<(), Status> {
    const HOLDER: &str = "struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }";
    if object.is_null() {
        *object = serde_json::json!({});
    }
    if !object.is_object() {
        return Err(unrecognized(kind, body, &format!("json: cannot unmarshal {} into Go value of type {HOLDER}", word_of(object))));
    }
    for field in ["apiVersion", "kind"] {
        if let Some(value) = object.get(field).filter(|value| !value.is_string() && !value.is_null()) {
            let why = format!("json: cannot unmarshal {} into Go struct field .{field} of type string", word_of(value));
            return Err(unrecognized(kind, body, &why));
        }
    }
    let version = object["apiVersion"].as_str().unwrap_or_default();
    if version.matches('/').count() > 1 {
        return Err(unreadable(kind, body, &format!("unexpected GroupVersion string: {version}")));
    }
    Ok(())
}

fn word_of(value: &Object) -> &'static str {
    match value {
        Object::Null => "null",
        Object::Bool(_) => "bool",
        Object::Number(_) => "number",
        Object::String(_) => "string",
        Object::Array(_) => "array",
        Object::Object(_) => "object",
    }
}

/// A body that is no object of any kind. The beginning of it is told too.
pub fn unrecognized(kind: &str, body: &[u8], why: &str) -> Status {
    unreadable(kind, body, &format!("couldn't get version/kind; json parse error: {why}"))
}

fn unreadable(kind: &str, body: &[u8], why: &str) -> Status {
    Status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {why} ({})", summary(body)))
}

/// The beginning of a body: in hexadecimal digits, unless it looks like JSON.
fn summary(body: &[u8]) -> String {
    const SHOWN_BYTES: usize = 30;
    if body.first() == Some(&b'{') {
        let shown = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]);
        return if body.len() > SHOWN_BYTES { format!("{shown} ...") } else { shown.into_owned() };
    }
    let digits: String = body.iter().take(SHOWN_BYTES).map(|byte| format!("{byte:02x}")).collect();
    match body.len() {
        0 => "<empty>".to_owned(),
        length if length > SHOWN_BYTES => digits + " ...",
        _ => digits,
    }
}

/// A patch of any kind but apply. Upstream tells what is wrong with a strategic one without saying where.
pub fn patch_json(body: &Bytes, strategic: bool, validates: bool) -> Result<(Object, Duplicates), Status> {
    let prefix = if strategic { "" } else { "error decoding patch: " };
    let patch = serde_json::from_slice(body).map_err(|e| Status::bad_request(format!("{prefix}{}", text::fault(&e, body))))?;
    let duplicates = doubled_in_json(body, &patch, validates).told_first();
    Ok((patch, duplicates))
}

/// Nobody asks where validation is off. Most texts have none, which counting tells.
fn doubled_in_json(body: &Bytes, object: &Object, validates: bool) -> Duplicates {
    match validates {
        false => Duplicates::default(),
        true if schema::has_duplicates(body, object) => schema::duplicates(body),
        true => Duplicates::none_in(body),
    }
}

/// An applied configuration: YAML, of which JSON is a part. What stands twice in it counts for who is strict alone.
pub fn applied(body: &Bytes, is_strict: bool) -> Result<(Object, Duplicates), Status> {
    if body.trim_ascii_start().first() == Some(&b'{')
        && let Ok(object) = serde_json::from_slice(body)
    {
        let asked = is_strict && schema::has_duplicates(body, &object);
        return Ok((object, if asked { yaml::doubled(body) } else { Duplicates::default() }));
    }
    let why = |why: String| Status::bad_request(format!("error decoding YAML: error converting YAML to JSON: {why}"));
    let object = yaml::read(body).map_err(why)?;
    Ok((object, if is_strict { yaml::doubled(body) } else { Duplicates::default() }))
}

pub fn unsupported(have: &str, want: &[&str]) -> Status {
    let message = format!("the body of the request was in an unknown format - accepted media types include: {}", want.join(", "));
    tracing::debug!(have, "unsupported media type");
    Status::new(415, Reason::UnsupportedMediaType, message)
}

pub fn not_acceptable(streams: bool) -> Status {
    let message = match streams {
        true => "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
        false => "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
    };
    Status::new(406, Reason::NotAcceptable, message)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(accept: &str, has_protobuf: bool, streams: bool, expected: Expect) {
        let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
        let shown = match Form::of(&headers, streams, || has_protobuf) {
            Ok(Form { media, shape: Shape::Whole, .. }) => format!("{media:?}"),
            Ok(Form { media, shape, .. }) => format!("{media:?} {shape:?}"),
            Err(why) => why.message,
        };
        expected.assert_eq(&shown);
    }

    const PROTOBUF_FIRST: &str = "application/vnd.kubernetes.protobuf,application/json";

    #[test]
    fn the_first_form_that_is_there() {
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", true, false, expect!["Json Table { version: V1, rows: Metadata }"]);
        check(PROTOBUF_FIRST, true, false, expect!["Protobuf"]);
        check(PROTOBUF_FIRST, false, false, expect!["Json"]);
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
        check(metadata, false, false, expect!["Protobuf Metadata(V1)"]);
        check("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json", true, false, expect!["Json"]);
        check("application/yaml;as=Table;v=v1;g=meta.k8s.io", true, false, expect!["Yaml Table { version: V1, rows: Metadata }"]);
    }

    #[test]
    fn wildcards_and_qualities() {
        check("application/json, */*", true, false, expect!["Json"]);
        check("*/*", true, false, expect!["Json"]);
        check("*", true, false, expect!["Json"]);
        check("*/*, application/yaml", true, false, expect!["Yaml"]);
        check("application/json;q=0.5, application/vnd.kubernetes.protobuf;q=0.9", true, false, expect!["Protobuf"]);
        check("application/json;q=0.5, application/vnd.kubernetes.protobuf;q=0.9", false, false, expect!["Json"]);
        check("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true, false, expect!["Json"]);
    }

    #[test]
    fn streams() {
        check("application/vnd.kubernetes.protobuf;stream=watch", true, true, expect!["Protobuf"]);
        check("application/json;stream=watch,application/vnd.kubernetes.protobuf", true, true, expect!["Json"]);
        check(
            "application/yaml",
            true,
            true,
            expect!["only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"],
        );
    }

    #[test]
    fn nothing_fits() {
        check(
            "application/vnd.kubernetes.protobuf",
            false,
            false,
            expect!["only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"],
        );
        check(
            "application/json;as=Table;v=v9;g=meta.k8s.io",
            true,
            false,
            expect!["only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"],
        );
        check(
            "application/json;stream=other",
            true,
            false,
            expect!["only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"],
        );
        check(
            "text/html",
            true,
            false,
            expect!["only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"],
        );
    }

    #[test]
    fn one_or_many() {
        let check = |accept: &str, is_list, expected: Expect| {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
            let checked = Form::of(&headers, false, || true).and_then(|form| form.check_number(is_list, || "*core.Pod".to_owned()));
            expected.assert_eq(&checked.map_or_else(|why| why.message, |()| "ok".to_owned()));
        };
        let (one, many) = (";as=PartialObjectMetadata;g=meta.k8s.io;v=v1", ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
        check(&format!("application/json{many}"), true, expect!["ok"]);
        check(&format!("application/json{one}"), false, expect!["ok"]);
        check("application/json", true, expect!["ok"]);
        let refused = expect!["you requested PartialObjectMetadata, but the requested object is a list (*core.Pod)"];
        check(&format!("application/json{one}"), true, refused);
        let refused = expect!["you requested PartialObjectMetadataList, but the requested object is not a list (*core.Pod)"];
        check(&format!("application/json{many}"), false, refused);
    }

    #[test]
    fn routes_want_a_type_by_name() {
        let check = |accept: &str, lists| {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
            check_route(&headers, lists).map_err(|why| why.message)
        };
        assert_eq!(check("text/html, */*;q=0.1", false), Ok(()));
        assert_eq!(check("application/json;as=anything", false), Ok(()));
        let types = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        assert_eq!(check("application/*", false), Err(types.to_owned()));
        let streams = format!("{types}, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch");
        assert_eq!(check("text/html", true), Err(streams));
    }

    #[test]
    fn discovery_and_errors() {
        let headers = |accept: &str| HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
        let aggregated = |accept: &str| Media::aggregated(&headers(accept));
        assert_eq!(aggregated("application/json"), None);
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        assert_eq!(aggregated(&format!("{v2},application/json")), Some((Media::Json, Aggregated::V2)));
        assert_eq!(aggregated(&format!("application/json,{v2}")), Some((Media::Json, Aggregated::V2)));
        assert_eq!(aggregated(&v2.replace("json", "vnd.kubernetes.protobuf")), Some((Media::Protobuf, Aggregated::V2)));
        assert_eq!(Media::plain(&headers("application/json;as=Table;v=v1;g=meta.k8s.io,application/vnd.kubernetes.protobuf")), Media::Protobuf);
        assert_eq!(Media::plain(&headers("image/png")), Media::Json);
    }

    #[test]
    fn bodies_that_are_no_object_of_the_kind() {
        let read = |body: &str| {
            let (mut object, _) = json(&Bytes::copy_from_slice(body.as_bytes()), "ConfigMap", true).map_err(|s| s.message)?;
            check_type(&mut object, body.as_bytes(), "ConfigMap").map(|()| object.to_string()).map_err(|s| s.message)
        };
        let why = |body: &str| read(body).unwrap_err().split_once("(must be of type ConfigMap): ").unwrap().1.to_owned();
        expect![[r#"couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } (5b5d)"#]]
            .assert_eq(&why("[]"));
        expect![[
            r#"couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string ({"kind":1})"#
        ]]
        .assert_eq(&why(r#"{"kind":1}"#));
        expect![[r#"unexpected GroupVersion string: a/b/c ({"apiVersion":"a/b/c"})"#]].assert_eq(&why(r#"{"apiVersion":"a/b/c"}"#));
        expect![[r#"couldn't get version/kind; json parse error: invalid character 'x' after top-level value ({} x)"#]].assert_eq(&why("{} x"));
        expect![[r#"couldn't get version/kind; json parse error: invalid character 'q' in string escape code ({"a":"\q"})"#]]
            .assert_eq(&why("{\"a\":\"\\q\"}"));
        assert_eq!(read("null"), Ok("{}".to_owned()));
    }
}
