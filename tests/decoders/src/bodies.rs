//! Bodies of requests.

use std::sync::LazyLock;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use pintle_api::object::ObjectExt as _;
use pintle_api::protobuf::{self, Encoder};
use pintle_api::schema::{Duplicates, builtin};
use pintle_api::{GroupVersionKind, Object};

use crate::server::negotiate;

/// Between them they have each sort of field: unions, maps, quantities, times, bytes, int-or-string, raw JSON.
static KINDS: LazyLock<[GroupVersionKind; 6]> = LazyLock::new(|| {
    [("", "v1", "Pod"), ("", "v1", "Secret"), ("apps", "v1", "Deployment"), ("", "v1", "Service"), ("batch", "v1", "CronJob"), ("", "v1", "Event")]
        .map(|(group, version, kind)| GroupVersionKind { group: group.into(), version: version.into(), kind: kind.into() })
});

pub fn json(input: &[u8]) {
    let Some(object) = decode("application/json", input) else { return };
    let text = serde_json::to_vec(&object).expect("JSON is written");
    assert_eq!(decode("application/json", &text).as_ref(), Some(&object), "read again, it is another object");
}

pub fn yaml(input: &[u8]) {
    decode("application/yaml", input);
    if let Ok((config, _)) = negotiate::applied(&Bytes::copy_from_slice(input), true) {
        crate::assert_readable(&config);
    }
}

/// The first byte chooses the kind that a body without a name has.
pub fn protobuf(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let kind = &KINDS[usize::from(*choice) % KINDS.len()];
    let Ok(object) = protobuf::to_json(body, Some(kind)) else { return };
    look_at(&object, &Duplicates::default());
    let (api_version, name) = (object["apiVersion"].as_str().unwrap_or(""), object["kind"].as_str().unwrap_or(""));
    let Some(mut encoder) = Encoder::of(api_version, name) else { return };
    let text = serde_json::to_vec(&object).expect("JSON is written");
    let mut again = Vec::new();
    if encoder.object(&text, &mut again).is_ok() {
        assert!(protobuf::to_json(&again, Some(kind)).is_ok(), "what was written cannot be read");
    }
}

fn decode(media_type: &'static str, input: &[u8]) -> Option<Object> {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))]);
    let (object, duplicates) = negotiate::decode(&headers, &Bytes::copy_from_slice(input), &KINDS[0], true).ok()?;
    look_at(&object, &duplicates);
    Some(object)
}

/// What is done with every object: as the kind that it names, or else as each of ours.
fn look_at(object: &Object, duplicates: &Duplicates) {
    let (group, version) = object.api_version().split_once('/').unwrap_or(("", object.api_version()));
    let named = GroupVersionKind::new(group.to_owned(), version.to_owned(), object.kind().to_owned());
    let kinds = if builtin().for_kind(&named).is_some() { std::slice::from_ref(&named) } else { KINDS.as_slice() };
    for kind in kinds {
        let of = builtin().for_kind(kind).expect("a built-in kind");
        let _ = pintle_api::schema::check(object, of).strict_error(duplicates);
        let mut pruned = object.clone();
        pintle_api::schema::prune_unknown(&mut pruned, of);
        crate::assert_readable(&pruned);
    }
}
