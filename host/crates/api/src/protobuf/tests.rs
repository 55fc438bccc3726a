//! Bodies put together by hand, field by field.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use expect_test::{Expect, expect};

use super::*;

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(content);
    out
}

fn enveloped(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
}

fn check(body: &[u8], expected: Expect) {
    let text = match to_json(body, None) {
        Ok(value) => value.to_string(),
        Err(error) => error.to_string(),
    };
    expected.assert_eq(&text);
}

#[test]
fn maps_bytes_and_times() {
    let created = field(8, &[0x08, 0x80, 0xe2, 0xcf, 0xaa, 0x06]);
    let metadata = [field(1, b"s"), field(2, b""), created, field(11, &[field(1, b"a"), field(2, b"b")].concat())].concat();
    let data = [field(1, b"key"), field(2, &[0xff, 0])].concat();
    check(
        &enveloped("v1", "Secret", &[field(1, &metadata), field(2, &data), field(3, b"Opaque")].concat()),
        expect![[
            r#"{"apiVersion":"v1","data":{"key":"/wA="},"kind":"Secret","metadata":{"creationTimestamp":"2023-11-14T22:13:20Z","labels":{"a":"b"},"name":"s"},"type":"Opaque"}"#
        ]],
    );
}

#[test]
fn empty_is_kept_where_it_says_something() {
    // replicas: 0 is a pointer and stays; an empty nodeName is nothing; an emptyDir without fields is a volume of its kind.
    let volume = [field(1, b"v"), field(2, &field(2, b""))].concat();
    let pod_spec = [field(1, &volume), field(10, b"")].concat();
    let template = field(2, &pod_spec);
    let spec = [vec![0x08, 0x00], field(3, &template)].concat();
    check(
        &enveloped("apps/v1", "Deployment", &field(2, &spec)),
        expect![[
            r#"{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":0,"template":{"spec":{"volumes":[{"emptyDir":{},"name":"v"}]}}}}"#
        ]],
    );
}

#[test]
fn broken_bodies_are_refused() {
    check(b"{}", expect!["provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"]);
    check(&enveloped("v1", "Secret", &[0x0a, 0x7f]), expect!["unexpected EOF"]);
    check(&enveloped("example.com/v1", "Website", b""), expect!["no protobuf form is known of example.com/v1, Kind=Website"]);
    check(&enveloped("v1", "Secret", &[0x08, 0x01]), expect!["wire type 0 does not exist or does not fit its field"]);
}

/// Every field of a kind filled, as upstream publishes it with its API: its JSON, and its protobuf bytes made by the generated code.
fn goldens() -> impl Iterator<Item = (String, Vec<u8>, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/protobuf/goldens");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).filter(|f| f.extension().is_some_and(|e| e == "json")).collect();
    files.sort();
    assert!(files.len() > 70, "the goldens are there");
    files.into_iter().map(|file| {
        let read = |file: &std::path::Path| std::fs::read(file).unwrap();
        (file.file_stem().unwrap().to_string_lossy().into_owned(), read(&file), read(&file.with_extension("pb")))
    })
}

fn encoded(json: &[u8]) -> Vec<u8> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        api_version: String,
        kind: String,
    }
    let of: Kind = serde_json::from_slice(json).unwrap();
    let mut out = Vec::new();
    Encoder::of(&of.api_version, &of.kind).unwrap().object(json, &mut out).unwrap();
    out
}

#[test]
fn bytes_are_upstreams() {
    let wrong: Vec<String> = goldens().filter(|(_, json, wanted)| encoded(json) != *wanted).map(|(name, ..)| name).collect();
    assert_eq!(wrong, Vec::<String>::new());
}

/// Kinds without any field, and objects with what is easily got wrong: null, empty and zero values, order, signs, escapes. Each line is
/// a JSON text and what upstream's serializers made of it, in base64.
#[test]
fn bytes_of_odd_objects_are_upstreams() {
    let lines = include_str!("goldens/encodings.tsv").lines();
    let wrong: Vec<String> = lines
        .filter_map(|line| {
            let (json, wanted) = line.split_once('\t').unwrap();
            let (found, wanted) = (encoded(json.as_bytes()), STANDARD.decode(wanted).unwrap());
            let end = found.iter().zip(&wanted).take_while(|(a, b)| a == b).count();
            let near = |bytes: &[u8]| bytes[end.saturating_sub(20).min(bytes.len())..(end + 20).min(bytes.len())].escape_ascii().to_string();
            (found != wanted).then(|| format!("{json}\n  wanted ...{}\n  found  ...{}", near(&wanted), near(&found)))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn upstreams_bytes_are_read() {
    for (name, json, bytes) in goldens() {
        let wanted: Value = serde_json::from_slice(&json).unwrap();
        let found = to_json(&bytes, None).unwrap();
        assert!(found == wanted, "{name}: {}", first_difference("", &wanted, &found));
    }
}

fn first_difference(path: &str, wanted: &Value, found: &Value) -> String {
    match (wanted, found) {
        (Value::Object(a), Value::Object(b)) => {
            let differs = a.keys().chain(b.keys()).find(|key| a.get(*key) != b.get(*key));
            let Some(key) = differs else { return path.to_owned() };
            first_difference(&format!("{path}.{key}"), a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let differs = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(0);
            first_difference(&format!("{path}[{differs}]"), &a[differs], &b[differs])
        }
        _ => format!("{path}: wanted {wanted}, found {found}"),
    }
}
