//! A pod, or what a template would make of one, as the checks look at it; and the words in which they tell of its containers.

use pintle_api::object::ObjectExt;
use pintle_registry::podspec::CONTAINER_LISTS;
use serde_json::Value;

pub struct Pod<'a> {
    metadata: &'a Value,
    pub spec: &'a Value,
}

pub struct Violation {
    /// What is wrong, for a namespace with many such pods.
    pub reason: &'static str,
    /// Where, for this pod.
    pub detail: String,
}

impl<'a> Pod<'a> {
    /// `object`: with `metadata` and `spec`.
    pub fn new(object: &'a Value) -> Self {
        let part = |name: &str| object.get(name).unwrap_or(&Value::Null);
        Self { metadata: part("metadata"), spec: part("spec") }
    }
    pub fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        let spec = self.spec;
        CONTAINER_LISTS.into_iter().flat_map(move |list| spec.list_at(&[list]))
    }
    pub fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let map = self.metadata.map_at(&["annotations"]);
        map.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or("")))
    }
    pub fn is_windows(&self) -> bool {
        self.spec.str_at(&["os", "name"]) == "windows"
    }
    pub fn has_own_users(&self) -> bool {
        self.spec.get("hostUsers") == Some(&Value::Bool(false))
    }
    /// Names of the containers for which this holds.
    pub fn names_where(&self, holds: impl Fn(&'a Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|container| holds(container)).map(|container| container.str_at(&["name"])).collect()
    }
}

/// Of the security context of a pod's spec or of a container.
pub fn setting<'a>(of: &'a Value, field: &str) -> Option<&'a Value> {
    of.at(&["securityContext", field]).filter(|value| !value.is_null())
}

/// `pod and containers "a", "b"`: who set something, the pod or these containers.
pub fn setters(pod: bool, containers: &[&str]) -> String {
    let mut all = Vec::new();
    if pod {
        all.push("pod".to_owned());
    }
    if !containers.is_empty() {
        all.push(counted("container", containers));
    }
    all.join(" and ")
}

/// `container "a"`, `containers "a", "b"`.
pub fn counted(word: &str, names: &[&str]) -> String {
    format!("{} {}", plural(word, names.len()), quoted(names))
}

pub fn plural(word: &str, count: usize) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

pub fn quoted<T: AsRef<str>>(items: &[T]) -> String {
    items.iter().map(|item| format!("\"{}\"", item.as_ref())).collect::<Vec<_>>().join(", ")
}

/// Sorted, each once.
pub fn set<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items.dedup();
    items
}
