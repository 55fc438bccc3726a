//! Two revisions' writes for one key, side by side. Order does not count, nor does what the server makes: revisions, managed fields, names
//! after `generateName`, uids. Times need no care: both revisions were given the same moment. Pure.

use serde_json::{Map, Value};

use super::record::{Verb, Write};
use crate::stages::secrets;
use pintle_api::object::ObjectExt;

/// Fields of one write that are named when they differ.
const MAX_FIELDS: usize = 8;
/// Characters of a value in a reason.
const MAX_VALUE: usize = 80;
/// Shorter names are not looked for inside other text.
const MIN_NAME: usize = 5;
/// Metadata that a body carries along from what was read.
const VOLATILE: [&str; 4] = ["resourceVersion", "managedFields", "creationTimestamp", "generation"];

/// What only one of them wrote.
pub struct Contrast {
    pub live: String,
    pub candidate: String,
    pub reasons: Vec<String>,
}

/// A write without what the server makes.
#[derive(Clone, PartialEq)]
struct Line {
    /// `create pods n/web-*`.
    place: String,
    body: Value,
    secret: bool,
}

pub fn is_same_write(a: &Value, b: &Value) -> bool {
    stripped(a.clone()) == stripped(b.clone())
}

/// `None`: they wrote the same.
pub fn compare(live: &[Write], candidate: &[Write]) -> Option<Contrast> {
    let (mut ours, mut theirs) = (lines(live), lines(candidate));
    ours.retain(|line| match theirs.iter().position(|other| other == line) {
        Some(at) => {
            theirs.remove(at);
            false
        }
        None => true,
    });
    if ours.is_empty() && theirs.is_empty() {
        return None;
    }
    let mut reasons = Vec::new();
    for line in &ours {
        match theirs.iter().find(|other| other.place == line.place) {
            Some(other) => {
                let (ours, theirs) = shown(line, &other.body);
                reasons.extend(fields(&ours, &theirs).into_iter().map(|f| format!("{}: {f}", line.place)));
            }
            None => reasons.push(format!("only the live revision would {} {}", line.place, short(&shown(line, &Value::Null).0))),
        }
    }
    let alone = theirs.iter().filter(|line| ours.iter().all(|other| other.place != line.place));
    reasons.extend(alone.map(|line| format!("only the candidate would {} {}", line.place, short(&shown(line, &Value::Null).0))));
    let text = |lines: &[Line]| {
        let places: Vec<&str> = lines.iter().map(|l| l.place.as_str()).collect();
        if places.is_empty() { "nothing more".to_owned() } else { places.join("; ") }
    };
    Some(Contrast { live: text(&ours), candidate: text(&theirs), reasons })
}

/// As they may be told.
fn shown(line: &Line, other: &Value) -> (Value, Value) {
    let (mut ours, mut theirs) = (line.body.clone(), other.clone());
    if line.secret {
        secrets::hide(&mut ours, &mut theirs);
    }
    (ours, theirs)
}

fn lines(writes: &[Write]) -> Vec<Line> {
    let made = made(writes);
    let mut lines: Vec<Line> = writes
        .iter()
        .map(|write| {
            let mut body = stripped(write.body.clone());
            replace(&mut body, &made);
            Line { place: replaced(place(write), &made), body, secret: secrets::are_in(&write.target.resource) }
        })
        .collect();
    lines.sort_by(|a, b| (&a.place, a.body.to_string()).cmp(&(&b.place, b.body.to_string())));
    lines
}

fn place(write: &Write) -> String {
    let target = &write.target;
    let name = match &target.name {
        Some(name) => name.clone(),
        None if write.body.name().is_empty() => format!("{}*", write.body.str_at(&["metadata", "generateName"])),
        None => write.body.name().to_owned(),
    };
    let sub = target.subresource.as_ref().map(|s| format!("/{s}")).unwrap_or_default();
    let namespace = target.namespace.as_ref().map(|n| format!("{n}/")).unwrap_or_default();
    format!("{} {}{sub} {namespace}{name}", write.verb.name(), target.resource.resource)
}

/// Names and uids that the server made, and what stands for them.
fn made(writes: &[Write]) -> Vec<(String, String)> {
    let mut made = Vec::new();
    for write in writes.iter().filter(|w| w.verb == Verb::Create && w.target.subresource.is_none()) {
        let Ok(Some(answer)) = &write.answer else { continue };
        let Ok(object) = serde_json::from_slice::<Value>(&answer.json) else { continue };
        let prefix = write.body.str_at(&["metadata", "generateName"]);
        let generated = write.body.name().is_empty() && !prefix.is_empty();
        let name = if generated { format!("{prefix}*") } else { object.name().to_owned() };
        made.push((object.uid().to_owned(), format!("<uid of {name}>")));
        if generated {
            made.push((object.name().to_owned(), name));
        }
    }
    made.retain(|(text, _)| text.len() >= MIN_NAME);
    made
}

fn stripped(mut body: Value) -> Value {
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        VOLATILE.iter().for_each(|field| drop(metadata.remove(*field)));
    }
    body
}

fn replace(value: &mut Value, made: &[(String, String)]) {
    match value {
        Value::String(text) => *text = replaced(std::mem::take(text), made),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, made)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, made)),
        _ => {}
    }
}

fn replaced(text: String, made: &[(String, String)]) -> String {
    made.iter().fold(text, |text, (from, to)| if text.contains(from.as_str()) { text.replace(from.as_str(), to) } else { text })
}

/// `spec.replicas: 3, candidate 2`.
pub fn fields(live: &Value, candidate: &Value) -> Vec<String> {
    let mut out = Vec::new();
    differing("", live, candidate, &mut out);
    out
}

fn differing(path: &str, live: &Value, candidate: &Value, out: &mut Vec<String>) {
    if live == candidate || out.len() >= MAX_FIELDS {
        return;
    }
    match (live, candidate) {
        (Value::Object(a), Value::Object(b)) => {
            for key in keys(a, b) {
                let of = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
                let below = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                differing(&below, &of(a), &of(b), out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (x, y)) in a.iter().zip(b).enumerate() {
                differing(&format!("{path}[{at}]"), x, y, out);
            }
        }
        _ => out.push(format!("{path}: {}, candidate {}", short(live), short(candidate))),
    }
}

fn keys<'m>(a: &'m Map<String, Value>, b: &'m Map<String, Value>) -> Vec<&'m str> {
    let mut keys: Vec<&str> = a.keys().chain(b.keys()).map(String::as_str).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn short(value: &Value) -> String {
    let mut text = if value.is_null() { "none".to_owned() } else { value.to_string() };
    if text.len() > MAX_VALUE {
        text.truncate(text.floor_char_boundary(MAX_VALUE));
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use pintle_api::GroupVersionResource;
    use pintle_api::client::Target;
    use pintle_plugin_bindings::controller::pintle::controller::objects::Object;
    use serde_json::json;

    fn write(verb: Verb, name: &str, body: Value, answer: Option<Value>) -> Write {
        let resource = GroupVersionResource::constant("", "v1", "pods");
        let target = Target { resource, namespace: Some("n".to_owned()), name: (!name.is_empty()).then(|| name.to_owned()), subresource: None };
        Write { verb, target, body, answer: Ok(answer.map(|a| Object { json: a.to_string().into_bytes(), revision: 1 })) }
    }
    fn made(image: &str, name: &str, uid: &str) -> Write {
        let body = json!({"metadata": {"generateName": "web-"}, "spec": {"image": image}});
        write(Verb::Create, "", body, Some(json!({"metadata": {"name": name, "uid": uid}})))
    }
    fn told(name: &str) -> Write {
        write(Verb::Event, "set", json!({"message": format!("Created pod: {name}")}), None)
    }
    fn check(live: &[Write], candidate: &[Write], expected: Expect) {
        let text = match compare(live, candidate) {
            None => "the same\n".to_owned(),
            Some(Contrast { live, candidate, reasons }) => format!("live: {live}\ncandidate: {candidate}\n{}\n", reasons.join("\n")),
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn order_and_made_names_do_not_count() {
        let live = [made("a", "web-x1y2z", "u-12345"), told("web-x1y2z")];
        let candidate = [told("web-bbbbb"), made("a", "web-bbbbb", "shadow-1")];
        check(&live, &candidate, expect![["the same\n"]]);
    }

    #[test]
    fn fields_that_differ_are_named() {
        let update =
            |replicas: u32| write(Verb::Update, "web", json!({"metadata": {"resourceVersion": "7"}, "spec": {"replicas": replicas, "a": [1]}}), None);
        check(
            &[update(3)],
            &[update(2)],
            expect![[r#"
            live: update pods n/web
            candidate: update pods n/web
            update pods n/web: spec.replicas: 3, candidate 2
        "#]],
        );
    }

    #[test]
    fn what_only_one_would_do_is_told() {
        let delete = write(Verb::Delete, "web-1", json!({"uid": "u"}), None);
        check(
            &[made("a", "web-x1y2z", "u-12345")],
            &[delete],
            expect![[r#"
            live: create pods n/web-*
            candidate: delete pods n/web-1
            only the live revision would create pods n/web-* {"metadata":{"generateName":"web-"},"spec":{"image":"a"}}
            only the candidate would delete pods n/web-1 {"uid":"u"}
        "#]],
        );
    }

    #[test]
    fn a_secrets_values_stay_secret() {
        let update = |value: &str| {
            let mut write = write(Verb::Update, "s", json!({"metadata": {"name": "s"}, "data": {"a": value}}), None);
            write.target.resource = GroupVersionResource::constant("", "v1", "secrets");
            write
        };
        check(
            &[update("eA==")],
            &[update("aHVudGVyMg==")],
            expect![[r#"
            live: update secrets n/s
            candidate: update secrets n/s
            update secrets n/s: data.a: "<hidden>", candidate "<hidden, another>"
        "#]],
        );
    }

    #[test]
    fn the_same_write_twice_is_not_once() {
        let one = || made("a", "web-x1y2z", "u-12345");
        assert!(compare(&[one(), one()], &[one()]).is_some());
    }
}
