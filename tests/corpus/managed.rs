//! Sequences of writes, and what upstream's `managedFields` are after each: `tests/goldens/managed`.
//!
//! `sequences.yaml` tells the writes, `want.json` holds upstream's answers, recorded by the `corpus` binary. Times are left out, and entries
//! are sorted by manager: upstream orders them by time, in whole seconds, which no two runs share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Result;
use super::drive::{Reply, Server};

/// The servers' own loops write when they please. A policy's status is one's of this server, where upstream has it in another program.
const LOOPS: [&str; 4] = ["kube-apiserver", "system:apiserver", "api-priority-and-fairness-config-consumer-v1", "validatingadmissionpolicy-status"];

/// After each write of each sequence.
pub type Outcomes = BTreeMap<String, Vec<Outcome>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    name: String,
    /// `apps/v1 Deployment`.
    kind: String,
    /// Of the collection.
    path: String,
    steps: Vec<Step>,
}

/// One write: what is done, by whom, and to which subresource.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    r#do: Verb,
    r#as: String,
    #[serde(default)]
    at: String,
    /// An object; a patch; for `put` a merge patch that is made of what is there first.
    with: Value,
    /// A kind other than the sequence's.
    kind: Option<String>,
    /// A path other than the sequence's: objects that must be there.
    path: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Create,
    Put,
    Merge,
    Strategic,
    Json,
    Apply,
    /// Applies and takes what others own.
    Force,
}

#[derive(Serialize, Deserialize, PartialEq, Eq, Clone)]
pub struct Outcome {
    pub code: u16,
    /// Of a refusal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub managed: Value,
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/managed")
}

pub fn read() -> Result<Vec<Sequence>> {
    Ok(serde_saphyr::from_str(&std::fs::read_to_string(folder().join("sequences.yaml"))?)?)
}

pub fn read_wanted() -> Result<Outcomes> {
    Ok(serde_json::from_slice(&std::fs::read(folder().join("want.json"))?)?)
}

pub fn write_wanted(outcomes: &Outcomes) -> Result<()> {
    let mut text = serde_json::to_string_pretty(outcomes)?;
    text.push('\n');
    Ok(std::fs::write(folder().join("want.json"), text)?)
}

/// Makes the writes, one after the other.
pub async fn outcomes(server: &Server, sequences: &[Sequence]) -> Result<Outcomes> {
    let mut all = Outcomes::new();
    for sequence in sequences {
        let mut outcomes = Vec::new();
        for step in &sequence.steps {
            let outcome = sequence.make(server, step).await.map_err(|why| format!("{}: {why}", sequence.name))?;
            outcomes.push(outcome);
        }
        all.insert(sequence.name.clone(), outcomes);
    }
    Ok(all)
}

/// What differs, told for people; nothing when all agrees.
pub fn differences(wanted: &Outcomes, had: &Outcomes) -> Vec<String> {
    let mut told = Vec::new();
    for (name, want) in wanted {
        let have = had.get(name).map(Vec::as_slice).unwrap_or_default();
        for (at, want) in want.iter().enumerate() {
            let Some(have) = have.get(at).filter(|have| *have != want) else { continue };
            if (have.code, &have.message) != (want.code, &want.message) {
                told.push(format!("{name}, write {}: wanted {} {}, had {} {}", at + 1, want.code, want.message, have.code, have.message));
            }
            let lines = |outcome: &Outcome| -> Vec<String> { outcome.managed.as_array().into_iter().flatten().flat_map(paths_of).collect() };
            let (wanted, had) = (lines(want), lines(have));
            let only = |mark: &str, these: &[String], others: &[String]| -> Vec<String> {
                these.iter().filter(|line| !others.contains(line)).map(|line| format!("{name}, write {}: {mark} {line}", at + 1)).collect()
            };
            told.extend(only("-", &wanted, &had));
            told.extend(only("+", &had, &wanted));
        }
    }
    told
}

impl Sequence {
    async fn make(&self, server: &Server, step: &Step) -> Result<Outcome> {
        let kind = step.kind.as_ref().unwrap_or(&self.kind);
        let (api_version, kind) = kind.split_once(' ').ok_or("a kind is `VERSION KIND`")?;
        let path = step.path.as_ref().unwrap_or(&self.path);
        server.wait_until_served(path).await?;
        let one = format!("{path}/{}", self.name);
        let place = if step.at.is_empty() { one.clone() } else { format!("{one}/{}", step.at) };
        let whole = || {
            let mut object = step.with.clone();
            object["apiVersion"] = json!(api_version);
            object["kind"] = json!(kind);
            if object["metadata"]["name"].is_null() {
                object["metadata"]["name"] = json!(self.name);
            }
            object
        };
        let query = format!("fieldManager={}", step.r#as);
        let patch = |kind: &'static str, body: Value| (Method::PATCH, format!("{place}?{query}"), kind, body);
        let (method, path, content, body) = match step.r#do {
            Verb::Create if step.at.is_empty() => (Method::POST, format!("{path}?{query}"), "application/json", whole()),
            Verb::Create => (Method::POST, format!("{place}?{query}"), "application/json", whole()),
            Verb::Put => {
                let read = if matches!(step.at.as_str(), "scale" | "status") { &place } else { &one };
                let mut object = server.send(Method::GET, read, "", String::new()).await?.body;
                merge(&mut object, &step.with);
                (Method::PUT, format!("{place}?{query}"), "application/json", object)
            }
            Verb::Merge => patch("application/merge-patch+json", step.with.clone()),
            Verb::Strategic => patch("application/strategic-merge-patch+json", step.with.clone()),
            Verb::Json => patch("application/json-patch+json", step.with.clone()),
            Verb::Apply => patch("application/apply-patch+yaml", whole()),
            Verb::Force => (Method::PATCH, format!("{place}?{query}&force=true"), "application/apply-patch+yaml", whole()),
        };
        let reply = server.send(method, &path, content, body.to_string()).await?;
        if reply.code >= 300 || step.path.is_some() {
            return Ok(Outcome::of(&reply));
        }
        // What a subresource answers is not always the object.
        let object = server.send(Method::GET, &one, "", String::new()).await?;
        Ok(Outcome { code: reply.code, ..Outcome::of(&object) })
    }
}

impl Outcome {
    fn of(reply: &Reply) -> Self {
        let message = if reply.code < 300 { String::new() } else { reply.body["message"].as_str().unwrap_or_default().to_owned() };
        let mut managed = reply.body["metadata"]["managedFields"].clone();
        for entry in managed.as_array_mut().into_iter().flatten() {
            if let Some(entry) = entry.as_object_mut() {
                entry.remove("time");
            }
        }
        if let Some(entries) = managed.as_array_mut() {
            let key = |entry: &Value| format!("{} {} {} {}", entry["operation"], entry["manager"], entry["apiVersion"], entry["subresource"]);
            entries.retain(|entry| !LOOPS.iter().any(|own| entry["manager"] == **own));
            entries.sort_by_key(key);
        }
        Self { code: reply.code, message, managed }
    }
}

/// One line for each field that an entry has.
fn paths_of(entry: &Value) -> Vec<String> {
    let who = ["manager", "operation", "apiVersion", "subresource"].map(|field| entry[field].as_str().unwrap_or_default()).join(" ");
    let mut lines = Vec::new();
    let mut open = vec![(String::new(), &entry["fieldsV1"])];
    while let Some((path, node)) = open.pop() {
        for (key, below) in node.as_object().into_iter().flatten() {
            let path = format!("{path} {key}");
            if below.as_object().is_some_and(serde_json::Map::is_empty) {
                lines.push(format!("{who}:{path}"));
            }
            open.push((path, below));
        }
    }
    lines.sort();
    lines
}

/// As RFC 7386 has it.
fn merge(object: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else { return *object = patch.clone() };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            object.as_object_mut().map(|fields| fields.remove(key));
        } else {
            merge(&mut object[key], value);
        }
    }
}
