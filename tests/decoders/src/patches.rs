//! Patches of each type, onto any object.

use std::sync::LazyLock;

use pintle_api::GroupVersionKind;
use pintle_api::object::{MAX_DEPTH, is_deeper_than};
use pintle_api::patch::{apply, json, merge, strategic};
use pintle_api::schema::builtin;
use serde_json::Value;

static POD: LazyLock<GroupVersionKind> = LazyLock::new(|| GroupVersionKind { group: "".into(), version: "v1".into(), kind: "Pod".into() });

/// An object, 0xff, a patch of it.
pub fn patches(input: &[u8]) {
    let Some([object, patch]) = crate::parts(input).and_then(both) else { return };
    let schema = builtin().for_kind(&POD).expect("a built-in kind");
    if let Ok(patched) = json::apply(object.clone(), &patch) {
        assert!(!is_deeper_than(&patched, MAX_DEPTH) || is_deeper_than(&object, MAX_DEPTH), "a patch nests without end");
        crate::assert_readable(&patched);
    }
    if let Ok(patched) = strategic::apply(object.clone(), patch.clone(), schema) {
        crate::assert_readable(&patched);
    }
    if let Ok(once) = merge::apply(object, patch.clone()) {
        assert_eq!(merge::apply(once.clone(), patch).ok(), Some(once), "a merge patch that is applied twice is applied once");
    }
}

/// A live object, 0xff, an applied configuration.
pub fn server_side_apply(input: &[u8]) {
    let Some([live, config]) = crate::parts(input).and_then(both) else { return };
    let schema = builtin().for_kind(&POD).expect("a built-in kind");
    let write = apply::Write { kind: &POD, schema, manager: "fuzz", subresource: "", now: "2026-01-01T00:00:00Z", reset_fields: &[] };
    let live = (!live.is_null()).then_some(&live);
    if let Ok(once) = apply::apply(live, config.clone(), true, &write) {
        let twice = apply::apply(Some(&once), config, true, &write);
        assert_eq!(twice.ok().as_ref(), Some(&once), "a configuration that is applied twice is applied once");
    }
}

fn both(parts: [&[u8]; 2]) -> Option<[Value; 2]> {
    let [first, second] = parts.map(|part| serde_json::from_slice(part).ok());
    Some([first?, second?])
}
