//! The corpus: clusters as upstream's API server would serve them, and what upstream's scheduler says of the pods that wait.

use std::collections::BTreeMap;
use std::io::Read;

use bytes::Bytes;
use pintle_api::client::Served;
use serde::Deserialize;
use serde_json::Value;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/goldens/placement/goldens.json.gz");

#[derive(Deserialize)]
pub struct Golden {
    pub cluster: Objects,
    pub verdicts: Vec<Verdict>,
}

#[derive(Deserialize)]
pub struct Objects {
    pub seed: u64,
    pub theme: String,
    pub namespaces: Vec<Value>,
    pub nodes: Vec<Value>,
    #[serde(default)]
    pub pods: Vec<Value>,
    #[serde(default)]
    pub services: Vec<Value>,
    #[serde(default)]
    pub replicasets: Vec<Value>,
    #[serde(default)]
    pub statefulsets: Vec<Value>,
    #[serde(default)]
    pub budgets: Vec<Value>,
    #[serde(default)]
    pub classes: Vec<Value>,
    #[serde(default)]
    pub volumes: Vec<Value>,
    #[serde(default)]
    pub claims: Vec<Value>,
    pub pending: Vec<Value>,
}

/// `tests/goldens/placement/upstream.go` documents each field.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Verdict {
    pub fit: BTreeMap<String, i64>,
    pub scores: BTreeMap<String, Vec<i64>>,
    pub message: String,
    pub evict: BTreeMap<String, Vec<String>>,
    pub gated: bool,
}

pub fn read() -> Vec<Golden> {
    let mut text = String::new();
    let file = std::fs::File::open(FILE).expect("the corpus; `cargo xtask placement` writes it");
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
    text.lines().map(|line| serde_json::from_str(line).expect("a golden")).collect()
}

pub fn served(objects: &[Value]) -> Vec<Served> {
    objects.iter().map(|object| Served { json: Bytes::from(object.to_string()), revision: 1 }).collect()
}
