//! Bodies put together by hand, field by field.

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
        expect![[r#"{"apiVersion":"v1","data":{"key":"/wA="},"kind":"Secret","metadata":{"creationTimestamp":"2023-11-14T22:13:20Z","labels":{"a":"b"},"name":"s"},"type":"Opaque"}"#]],
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
        expect![[r#"{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":0,"template":{"spec":{"volumes":[{"emptyDir":{},"name":"v"}]}}}}"#]],
    );
}

#[test]
fn broken_bodies_are_refused() {
    check(b"{}", expect!["the body does not start with the protobuf magic number"]);
    check(&enveloped("v1", "Secret", &[0x0a, 0x7f]), expect!["the body ends in the middle of a field"]);
    check(&enveloped("example.com/v1", "Website", b""), expect!["no protobuf form is known of example.com/v1, Kind=Website"]);
    check(&enveloped("v1", "Secret", &[0x08, 0x01]), expect!["wire type 0 does not exist or does not fit its field"]);
}
