//! The OpenAPI documents, part for part. Only hashes of upstream's parts are kept: `pintle server` and `kubectl get --raw` show ours.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::client::Caller;
use super::upstream::Upstream;
use super::{pintle, recorded};

/// What is published of pintle's own.
const OWN: &str = "apis/pintle.dev";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_are_upstreams() {
    let dir = tempfile::tempdir().unwrap();
    let (server, place) = pintle(dir.path(), |_| {}).await;
    let ours = parts(&mut place.caller(&["admin", "system:masters"]).await).await;
    server.shutdown().await.unwrap();
    let upstreams = std::fs::read_to_string(recorded("openapi")).unwrap();
    let upstreams: BTreeSet<String> = upstreams.lines().map(str::to_owned).collect();
    let explained = std::fs::read_to_string(recorded("openapi").with_extension("different")).unwrap();
    let explained: BTreeSet<&str> = explained.lines().filter(|line| !line.starts_with('#')).collect();
    let differ: BTreeSet<&str> = ours.symmetric_difference(&upstreams).map(|line| line.rsplit_once(' ').unwrap().0).collect();
    let unexplained: Vec<&&str> = differ.difference(&explained).collect();
    let gone: Vec<&&str> = explained.difference(&differ).collect();
    assert!(unexplained.is_empty(), "{} of {} parts differ: {unexplained:#?}", unexplained.len(), upstreams.len());
    assert!(gone.is_empty(), "differ no more: {gone:#?}");
}

#[tokio::test]
#[ignore = "writes down what upstream does"]
async fn record() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(dir.path(), &[]).await;
    let lines: Vec<String> = parts(&mut upstream.place.caller(&["admin", "system:masters"]).await).await.into_iter().collect();
    std::fs::write(recorded("openapi"), lines.join("\n") + "\n").unwrap();
}

/// A line for each part: where it stands, and the hash of its JSON with sorted members.
async fn parts(admin: &mut Caller) -> BTreeSet<String> {
    let index = json(admin, "/openapi/v3").await;
    let mut lines = BTreeSet::new();
    for name in index["paths"].as_object().unwrap().keys().filter(|name| !name.starts_with(OWN)) {
        let url = index["paths"][name]["serverRelativeURL"].as_str().unwrap();
        let mut document = json(admin, url).await;
        let schemas = document["components"]["schemas"].take();
        let names: Vec<&String> = schemas.as_object().into_iter().flatten().map(|(name, _)| name).collect();
        lines.insert(format!("{name} names of schemas {}", hash(&serde_json::json!(names))));
        // Most documents have the same ones.
        lines.extend(schemas.as_object().into_iter().flatten().map(|(name, schema)| format!("schema {name} {}", hash(schema))));
        for (path, item) in document["paths"].take().as_object().unwrap() {
            lines.extend(item.as_object().unwrap().iter().map(|(method, operation)| format!("{name} {method} {path} {}", hash(operation))));
        }
        lines.insert(format!("{name} rest {}", hash(&document)));
    }
    let mut whole = json(admin, "/openapi/v2").await;
    // For whoever wants to look at the whole.
    std::fs::write(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("openapi-v2.json"), whole.to_string()).unwrap();
    for section in ["definitions", "parameters", "paths"] {
        let members = whole[section].take();
        let shared = members.as_object().unwrap().iter().filter(|(name, _)| !name.contains("pintle"));
        lines.extend(shared.map(|(name, member)| format!("version 2, {section}: {name} {}", hash(member))));
    }
    lines.insert(format!("version 2, rest {}", hash(&whole)));
    lines
}

async fn json(admin: &mut Caller, url: &str) -> Value {
    let answer = admin.ask("GET", url, "", "").await;
    assert_eq!(answer.code, 200, "{url}");
    serde_json::from_slice(&answer.body).unwrap()
}

fn hash(value: &Value) -> String {
    Sha256::digest(value.to_string()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
