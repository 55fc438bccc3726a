//! Reads the corpus: one YAML file a kind, with objects to start from and edits of them, each edit a case.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{Result, edit};

/// A file of the corpus.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sheet {
    /// Of the collection: `/api/v1/namespaces/validation/pods`.
    pub path: String,
    /// Objects that must be there first, with the path of their collection.
    #[serde(default)]
    pub setup: Vec<Setup>,
    /// What cases start from. Those that an update uses are created for real, once.
    pub bases: BTreeMap<String, Value>,
    /// Also try, for every field of the base named `base`, a value of another type, and null.
    #[serde(default)]
    pub probe: bool,
    pub cases: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    pub path: String,
    pub object: Value,
}

/// One case, or one for each of `try`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    name: Option<String>,
    #[serde(default)]
    verb: Option<String>,
    #[serde(default)]
    base: Option<String>,
    #[serde(default)]
    query: Option<String>,
    /// Where each of `try` goes.
    at: Option<OneOrMany>,
    r#try: Option<Vec<Value>>,
    #[serde(default)]
    set: BTreeMap<String, Value>,
    #[serde(default)]
    drop: Vec<String>,
    /// The body itself: text as it is, anything else as JSON.
    body: Option<Value>,
    r#type: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// How a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Create,
    Update,
    Patch,
    Delete,
}

#[derive(Clone)]
pub struct Case {
    /// Unique in its file: the key of its answer.
    pub id: String,
    pub verb: Verb,
    /// Empty, or `status`, `scale`, ...
    pub subresource: String,
    pub base: String,
    pub query: String,
    pub edits: Vec<Edit>,
    pub body: Option<String>,
    pub content_type: String,
}

#[derive(Clone)]
pub enum Edit {
    Set(String, Value),
    Drop(String),
}

/// Every file of the folder, by kind.
pub fn read_all(folder: &Path) -> Result<BTreeMap<String, Sheet>> {
    let mut sheets = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let file = entry?.path();
        if file.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let sheet = serde_saphyr::from_str_with_options(&std::fs::read_to_string(&file)?, serde_saphyr::options! { strict_booleans: true })
            .map_err(|e| format!("{}: {e}", file.display()))?;
        sheets.insert(name, sheet);
    }
    Ok(sheets)
}

impl Sheet {
    /// All cases, probes last. A later case of the same name is numbered: long values are cut in names.
    pub fn all_cases(&self) -> Result<Vec<Case>> {
        let mut all = Vec::new();
        for entry in &self.cases {
            entry.expand(&mut all)?;
        }
        if self.probe {
            probes(self.bases.get("base").ok_or("a sheet with probes has a base named `base`")?, &mut all);
        }
        let mut seen: HashMap<String, usize> = HashMap::new();
        for case in &mut all {
            let count = seen.entry(case.id.clone()).or_default();
            *count += 1;
            if *count > 1 {
                case.id.push_str(&format!(" #{count}"));
            }
        }
        Ok(all)
    }
}

impl Entry {
    fn expand(&self, all: &mut Vec<Case>) -> Result<()> {
        let verb = self.verb.as_deref().unwrap_or("create");
        let places: Vec<&String> = match &self.at {
            None => Vec::new(),
            Some(OneOrMany::One(place)) => vec![place],
            Some(OneOrMany::Many(places)) => places.iter().collect(),
        };
        let mut head = String::new();
        if verb != "create" {
            head.push_str(verb);
            head.push(' ');
        }
        for more in [self.base.as_ref().filter(|b| *b != "base"), self.query.as_ref(), self.name.as_ref()].into_iter().flatten() {
            head.push_str(more);
            head.push(' ');
        }
        let case = |tail: &str, extra: Option<(&String, &Value)>| -> Result<Case> {
            let (verb, subresource) = match verb {
                "create" => (Verb::Create, ""),
                "update" => (Verb::Update, ""),
                "patch" => (Verb::Patch, ""),
                "delete" => (Verb::Delete, ""),
                other => {
                    other.split_once(' ').map_or((Verb::Update, other), |(verb, sub)| (if verb == "patch" { Verb::Patch } else { Verb::Create }, sub))
                }
            };
            let mut edits: Vec<Edit> = self.drop.iter().map(|p| Edit::Drop(p.clone())).collect();
            edits.extend(self.set.iter().map(|(p, v)| Edit::Set(p.clone(), v.clone())));
            edits.extend(extra.map(|(p, v)| Edit::Set(p.clone(), v.clone())));
            let body = self.body.as_ref().map(|body| body.as_str().map_or_else(|| body.to_string(), str::to_owned));
            Ok(Case {
                id: format!("{head}{tail}").trim_end().to_owned(),
                verb,
                subresource: subresource.to_owned(),
                base: self.base.clone().unwrap_or_else(|| "base".to_owned()),
                query: self.query.clone().unwrap_or_default(),
                edits,
                body,
                content_type: self.r#type.clone().unwrap_or_else(|| "application/json".to_owned()),
            })
        };
        if places.is_empty() {
            let told: Vec<String> =
                self.drop.iter().map(|p| format!("-{p}")).chain(self.set.iter().map(|(p, v)| format!("{p}={}", short(v)))).collect();
            let tail = if self.name.is_some() { String::new() } else { told.join(" ") };
            all.push(case(&tail, None)?);
            return Ok(());
        }
        for place in places {
            for value in self.r#try.as_deref().ok_or_else(|| format!("{place}: `at` without `try`"))? {
                all.push(case(&format!("{place}={}", short(value)), Some((place, value)))?);
            }
        }
        Ok(())
    }
}

fn probes(base: &Value, all: &mut Vec<Case>) {
    let with = |name: &str, pointer: &str, value: Value| Case {
        id: format!("probe {name} {pointer}"),
        verb: Verb::Create,
        subresource: String::new(),
        base: "base".to_owned(),
        query: String::new(),
        edits: vec![Edit::Set(pointer.to_owned(), value)],
        body: None,
        content_type: "application/json".to_owned(),
    };
    for pointer in edit::pointers(base) {
        let wrong = match base.pointer(&pointer) {
            Some(Value::String(_)) => Value::from(7),
            Some(Value::Array(_)) => serde_json::json!({}),
            _ => Value::from("text"),
        };
        all.push(with("type", &pointer, wrong));
        all.push(with("null", &pointer, Value::Null));
    }
}

/// Enough of a value to tell cases apart by eye.
fn short(value: &Value) -> String {
    const SHOWN: usize = 160;
    let text = value.to_string();
    if text.chars().count() <= SHOWN { text } else { format!("{}…{}", text.chars().take(SHOWN).collect::<String>(), text.len()) }
}
