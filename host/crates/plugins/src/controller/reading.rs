//! What a controller reads of the objects that it routes: a change that leaves all of it as it was is not worth a call, and a call is given
//! nothing else. Pure. Called where changes become calls.

use bytes::Bytes;
use pintle_partial::Parts;
use serde_json::Value;

use super::queue::Change;
use crate::index::Entry;

/// More say that a list is made of something that has no end.
const MAX_PATHS: usize = 64;
const MAX_NAMES: usize = 16;
const MAX_NAME_BYTES: usize = 512;

/// Of one watch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// `None`: all of the object.
    parts: Option<Parts>,
}

/// What `route` is given: JSON, empty where there is no object.
pub struct States {
    pub before: Bytes,
    pub after: Bytes,
}

impl Reading {
    /// Refuses what is too much, and what leads nowhere.
    pub fn new(paths: &[Vec<String>]) -> Result<Self, String> {
        if paths.len() > MAX_PATHS {
            return Err(format!("{} paths, more than {MAX_PATHS}", paths.len()));
        }
        for path in paths {
            // Neither is shown whole where it is too long.
            if path.len() > MAX_NAMES {
                return Err(format!("a path of {} names, more than {MAX_NAMES}", path.len()));
            }
            if let Some(name) = path.iter().find(|name| name.len() > MAX_NAME_BYTES) {
                return Err(format!("a name of {} bytes, more than {MAX_NAME_BYTES}", name.len()));
            }
            if path.is_empty() || path.iter().any(String::is_empty) {
                return Err(format!("the path {path:?}, which has an empty name or none"));
            }
        }
        let parts = (!paths.is_empty()).then(|| Parts::new(paths.iter().map(|path| path.iter().map(String::as_str))));
        Ok(Self { parts })
    }

    pub fn is_all(&self) -> bool {
        self.parts.is_none()
    }

    /// `None`: nothing of it changed. `claimed`: the watch sees none but objects that nobody controls, so that one which gains or loses its
    /// controller comes or goes for it.
    pub fn of(&self, change: &Change, claimed: bool) -> Option<States> {
        let (before, after) = (json_of(change.before.as_deref()), json_of(change.after.as_deref()));
        let Some(parts) = &self.parts else { return Some(States { before, after }) };
        let is_controlled = |entry: &Entry| entry.meta.controller.is_some();
        let comes_or_goes = match (&change.before, &change.after) {
            (Some(before), Some(after)) => claimed && is_controlled(before) != is_controlled(after),
            _ => true,
        };
        // Mostly this is all that is done.
        if !comes_or_goes && parts.is_same_text(&before, &after) {
            return None;
        }
        let states = States { before: cut(parts, before), after: cut(parts, after) };
        (comes_or_goes || !is_same(&states.before, &states.after)).then_some(states)
    }
}

fn json_of(entry: Option<&Entry>) -> Bytes {
    entry.map(|entry| entry.json.clone()).unwrap_or_default()
}

/// What cannot be read in part is passed on whole.
fn cut(parts: &Parts, json: Bytes) -> Bytes {
    if json.is_empty() { json } else { parts.cut(&json).map_or(json, Bytes::from) }
}

/// Values tell whether members only changed places.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let value = |json: &[u8]| serde_json::from_slice::<Value>(json).ok();
    a == b || value(a).is_some_and(|a| value(b) == Some(a))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use pintle_api::client::Served;

    use super::*;

    fn reading(paths: &[&str]) -> Reading {
        let paths: Vec<Vec<String>> = paths.iter().map(|path| path.split('.').map(str::to_owned).collect()).collect();
        Reading::new(&paths).expect("paths")
    }

    /// `m` and `s` stand for a pod's metadata, beside its name, and its status.
    fn change(before: Option<(&str, &str)>, after: Option<(&str, &str)>) -> Change {
        let entry = |(m, s): (&str, &str)| {
            let json = format!(r#"{{"kind":"Pod","metadata":{{"name":"a","uid":"u"{m}}},"status":{s}}}"#);
            Entry::parse(Served { json: json.into(), revision: 1 }).expect("an object")
        };
        Change { watch: 0, before: before.map(entry), after: after.map(entry) }
    }

    fn check(paths: &[&str], before: Option<(&str, &str)>, after: Option<(&str, &str)>, expected: Expect) {
        let change = change(before, after);
        let told = reading(paths).of(&change, false).map_or_else(
            || "not asked".to_owned(),
            |States { before, after }| format!("{} -> {}", String::from_utf8_lossy(&before), String::from_utf8_lossy(&after)),
        );
        expected.assert_eq(&told);
    }

    #[test]
    fn a_change_of_what_is_not_read_is_no_call() {
        let (one, two) = (r#"{"phase":"Pending","c":[{"type":"A","status":"0"}]}"#, r#"{"phase":"Running","c":[{"status":"1","type":"A"}]}"#);
        check(&["metadata.labels", "status.c.type"], Some(("", one)), Some(("", two)), expect!["not asked"]);
        check(&["metadata.labels", "spec.nodeName"], Some(("", one)), Some(("", two)), expect!["not asked"]);
        check(&["status.phase"], Some(("", one)), Some(("", two)), expect![[r#"{"status":{"phase":"Pending"}} -> {"status":{"phase":"Running"}}"#]]);
        let labelled = r#","labels":{"a":"1","b":"2"}"#;
        check(&["metadata.labels"], Some(("", one)), Some((labelled, one)), expect![[r#"{} -> {"metadata":{"labels":{"a":"1","b":"2"}}}"#]]);
        check(&["metadata.labels"], Some((labelled, one)), Some((r#","labels":{"b":"2","a":"1"}"#, two)), expect!["not asked"]);
        let more = r#"{"c":[{"type":"A"},{"type":"B"}]}"#;
        check(
            &["status.c.type"],
            Some(("", one)),
            Some(("", more)),
            expect![[r#"{"status":{"c":[{"type":"A"}]}} -> {"status":{"c":[{"type":"A"},{"type":"B"}]}}"#]],
        );
    }

    #[test]
    fn what_comes_and_what_goes_is_asked_about() {
        check(&["spec"], None, Some(("", "{}")), expect![" -> {}"]);
        check(&["metadata.name"], Some(("", "{}")), None, expect![[r#"{"metadata":{"name":"a"}} -> "#]]);
        let owned = r#","ownerReferences":[{"apiVersion":"v1","kind":"Set","name":"s","uid":"u","controller":true}]"#;
        let (lost, kept) = (change(Some((owned, "{}")), Some(("", "{}"))), change(Some((owned, "{}")), Some((owned, "{}"))));
        let asked = |change: &Change, claimed: bool| reading(&["metadata.labels"]).of(change, claimed).is_some();
        assert_eq!((asked(&lost, true), asked(&lost, false), asked(&kept, true)), (true, false, false));
    }

    #[test]
    fn without_paths_all_is_read_and_everything_asked_about() {
        let all = Reading::new(&[]).expect("no paths");
        let change = change(Some(("", "{}")), Some(("", "{}")));
        let States { before, after } = all.of(&change, false).expect("asked");
        assert!(all.is_all() && before == after && before.len() > 40);
    }

    #[test]
    fn what_has_no_end_is_refused() {
        let check = |paths: Vec<Vec<&str>>, expected: Expect| {
            let paths: Vec<Vec<String>> = paths.iter().map(|path| path.iter().map(|name| (*name).to_owned()).collect()).collect();
            expected.assert_eq(&Reading::new(&paths).expect_err("refused"));
        };
        let long = "x".repeat(513);
        check(vec![vec!["a"]; 65], expect!["65 paths, more than 64"]);
        check(vec![vec!["a"; 17]], expect!["a path of 17 names, more than 16"]);
        check(vec![vec![&long]], expect!["a name of 513 bytes, more than 512"]);
        check(vec![vec!["metadata", ""]], expect![[r#"the path ["metadata", ""], which has an empty name or none"#]]);
        check(vec![vec![]], expect!["the path [], which has an empty name or none"]);
        assert!(Reading::new(&vec![vec!["a".repeat(512); 16]; 64]).is_ok());
    }
}
