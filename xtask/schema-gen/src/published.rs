//! What a running kube-apiserver publishes of each definition and field beyond its structure: the description, the default, the allowed values,
//! the order of required fields, unions. k8s-openapi leaves these out or words them otherwise.
//!
//! The input is a folder with the documents of `/openapi/v3/...` as JSON files. The output has a line for each line of `types.txt`: facts as a
//! JSON object or nothing, a tab, and the description with line ends escaped. What upstream does not publish keeps the description of k8s-openapi.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use crate::table::escape;

const COMMON_PREFIX: &str = "io.k8s.";
/// Members that the structure does not give.
const OF_FIELD: [&str; 2] = ["default", "enum"];
const OF_DEFINITION: [&str; 2] = ["required", "x-kubernetes-unions"];
/// Where one schema holds another.
const INNER: [&str; 2] = ["items", "additionalProperties"];

pub fn render(types: &str, plain: &str, folder: &Path) -> Result<String> {
    let published = read(folder)?;
    let mut text = String::new();
    let mut definition = None;
    for (line, plain) in types.lines().zip(plain.lines()) {
        let schema = match line.strip_prefix(' ') {
            None => {
                definition = published.get(line.split(' ').next().unwrap_or(line));
                definition
            }
            Some(field) => {
                let name = field.split([' ', '!']).next().unwrap_or(field);
                definition.and_then(|of: &Value| of["properties"].get(name))
            }
        };
        let members: &[&str] = if line.starts_with(' ') { &OF_FIELD } else { &OF_DEFINITION };
        let facts = schema.map(|schema| facts(schema, members)).unwrap_or_default();
        if !facts.is_empty() {
            text.push_str(&Value::Object(facts).to_string());
        }
        text.push('\t');
        match schema {
            Some(schema) => text.push_str(&escape(schema["description"].as_str().unwrap_or(""))),
            None => text.push_str(plain),
        }
        text.push('\n');
    }
    Ok(text)
}

fn facts(schema: &Value, members: &[&str]) -> Map<String, Value> {
    let own = members.iter().filter_map(|name| Some(((*name).to_owned(), schema.get(name)?.clone())));
    let inner = INNER.into_iter().filter_map(|name| {
        let facts = facts(schema.get(name)?, &OF_FIELD);
        (!facts.is_empty()).then(|| (name.to_owned(), Value::Object(facts)))
    });
    own.chain(inner).collect()
}

/// All definitions by their short names.
fn read(folder: &Path) -> Result<HashMap<String, Value>> {
    let mut found = HashMap::new();
    for document in documents(folder)? {
        for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
            let short = name.strip_prefix(COMMON_PREFIX).with_context(|| format!("{name} does not begin with {COMMON_PREFIX}"))?;
            found.insert(short.to_owned(), schema.clone());
        }
    }
    ensure!(!found.is_empty(), "no definitions in {}: wanted are the documents of /openapi/v3", folder.display());
    Ok(found)
}

fn documents(folder: &Path) -> Result<Vec<Value>> {
    let mut paths = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    let mut documents = Vec::new();
    for path in paths {
        let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        documents.extend(serde_json::from_slice::<Value>(&text).ok().filter(|document| document["openapi"].is_string()));
    }
    Ok(documents)
}

/// `parameters.txt`: which parameters each sort of operation takes, a line each: set, name, type, a tab, description. An empty description is the
/// one above of the same name.
pub fn parameters(folder: &Path) -> Result<String> {
    let mut sets: BTreeMap<String, BTreeMap<String, (String, String)>> = BTreeMap::new();
    for document in documents(folder)? {
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for operation in item.as_object().into_iter().flatten().filter(|(method, _)| *method != "parameters").map(|(_, operation)| operation) {
                let parameters = [&item["parameters"], &operation["parameters"]].into_iter().filter_map(Value::as_array).flatten();
                for parameter in parameters {
                    let (Some(name), Some(set)) = (parameter["name"].as_str(), set_of(path, operation, parameter)) else { continue };
                    let text = |value: &Value| escape(value.as_str().unwrap_or(""));
                    let facts = (text(&parameter["schema"]["type"]), text(&parameter["description"]));
                    let known = sets.entry(set).or_default().entry(name.to_owned()).or_insert_with(|| facts.clone());
                    ensure!(*known == facts, "{path}: {name} differs from others of its set");
                }
            }
        }
    }
    let mut lines = String::new();
    let mut above: HashMap<String, String> = HashMap::new();
    for (set, parameters) in sets {
        for (name, (kind, description)) in parameters {
            let repeated = above.get(&name) == Some(&description);
            let shown = if repeated { "" } else { description.as_str() };
            lines.push_str(&format!("{set} {name} {kind}\t{shown}\n"));
            above.insert(name, description);
        }
    }
    Ok(lines)
}

fn set_of(path: &str, operation: &Value, parameter: &Value) -> Option<String> {
    match (parameter["in"].as_str()?, parameter["name"].as_str()?) {
        (_, "name") => return None,
        ("path", _) | (_, "pretty") => return Some("any".to_owned()),
        _ => {}
    }
    let set = match operation["x-kubernetes-action"].as_str()? {
        "post" | "put" => "write",
        "connect" => operation["x-kubernetes-group-version-kind"]["kind"].as_str()?,
        "get" if path.ends_with("/log") => "PodLogOptions",
        "watch" | "watchlist" => "list",
        other => other,
    };
    Some(set.to_owned())
}
