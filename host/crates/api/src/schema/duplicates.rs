//! Duplicate keys in a JSON text. A parsed value cannot tell, so this looks at the bytes.
//!
//! Called by the decoder of requests, which asks [`has_duplicates`] first: it only counts.

use std::collections::{HashMap, HashSet};
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// As many as upstream collects before it stops.
pub const MAX_DUPLICATES: usize = 100;

/// Whether the text has more members than the value that was parsed from it. One pass over both, no allocation.
pub fn has_duplicates(text: &[u8], parsed: &Value) -> bool {
    count_in_text(text) != count_in_value(parsed)
}

/// Members that occur again in their object, and the text, which alone tells what stands before what.
#[derive(Clone, Debug, Default)]
pub struct Duplicates {
    paths: Vec<(usize, String)>,
    text: Bytes,
    /// What was said of the YAML that the object was written in.
    yaml: Option<String>,
}

/// Paths of members that occur again in their object (`spec.replicas`), in order, each once.
/// A text that is no JSON has none.
pub fn duplicates(text: &Bytes) -> Duplicates {
    Duplicates { paths: Finder::search(text, &[]).found, text: text.clone(), yaml: None }
}

impl Duplicates {
    /// Of a text that has none.
    pub fn none_in(text: &Bytes) -> Self {
        Self { text: text.clone(), ..Self::default() }
    }
    /// Keys of a YAML text, with their lines: its values are read before anyone knows their paths.
    pub fn in_yaml(found: &[(u64, String)]) -> Self {
        let told: String = found.iter().map(|(line, key)| format!("\n  line {line}: key {key} already set in map")).collect();
        Self { yaml: (!told.is_empty()).then(|| format!("yaml: unmarshal errors:{told}")), ..Self::default() }
    }
    /// Told before all other faults, and only to who is strict: no warning has several lines.
    pub fn in_text(&self) -> Option<&str> {
        self.yaml.as_deref()
    }
    /// Without the text: they are told before all other faults, as of what was read before its kind's fields were known.
    pub fn told_first(mut self) -> Self {
        self.text = Bytes::new();
        self
    }
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(|(_, path)| path.as_str())
    }
    /// One text a fault, in the order of the text.
    pub fn with_unknown(&self, unknown: &[String]) -> Vec<String> {
        let wanted = if self.text.is_empty() { &[] } else { unknown };
        let places = if wanted.is_empty() { HashMap::new() } else { Finder::search(&self.text, wanted).places };
        let doubled = self.paths.iter().map(|(place, path)| (*place, format!("duplicate field {path:?}")));
        let unknown = unknown.iter().map(|path| (places.get(path).copied().unwrap_or(usize::MAX), format!("unknown field {path:?}")));
        let mut faults: Vec<(usize, String)> = doubled.chain(unknown).collect();
        faults.sort_by_key(|(place, _)| *place);
        faults.into_iter().map(|(_, fault)| fault).collect()
    }
}

/// Colons outside strings: one for each member.
fn count_in_text(text: &[u8]) -> usize {
    let mut members = 0;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b':' => members += 1,
            b'"' => at = end_of_string(text, at),
            _ => {}
        }
        at += 1;
    }
    members
}

/// The position of the closing quote of the string that opens at `start`.
fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', text.get(at..).unwrap_or_default()) {
        at += found;
        if text[at] == b'"' {
            return at;
        }
        at += 2;
    }
    text.len()
}

fn count_in_value(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.len() + members.values().map(count_in_value).sum::<usize>(),
        Value::Array(items) => items.iter().map(count_in_value).sum(),
        _ => 0,
    }
}

struct Finder<'w> {
    path: Vec<Segment>,
    /// Duplicates, by their place among all members.
    found: Vec<(usize, String)>,
    members: usize,
    wanted: HashSet<&'w str>,
    /// Where those that are wanted stand first.
    places: HashMap<String, usize>,
}

enum Segment {
    Key(String),
    Index(usize),
}

impl<'w> Finder<'w> {
    fn search(text: &[u8], wanted: &'w [String]) -> Self {
        let wanted = wanted.iter().map(String::as_str).collect();
        let mut finder = Self { path: Vec::new(), found: Vec::new(), members: 0, wanted, places: HashMap::new() };
        let mut parser = serde_json::Deserializer::from_slice(text);
        if (&mut finder).deserialize(&mut parser).is_err() {
            finder.found.clear();
        }
        finder
    }

    fn note(&mut self, again: bool) {
        self.members += 1;
        if !again && self.wanted.is_empty() {
            return;
        }
        let path = self.shown();
        if self.wanted.contains(path.as_str()) {
            self.places.entry(path.clone()).or_insert(self.members);
        }
        if again && self.found.len() < MAX_DUPLICATES && self.found.iter().all(|(_, known)| *known != path) {
            self.found.push((self.members, path));
        }
    }

    fn shown(&self) -> String {
        let mut path = String::new();
        for segment in &self.path {
            match segment {
                Segment::Key(key) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(key);
                }
                Segment::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }
}

impl<'de> DeserializeSeed<'de> for &mut Finder<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Finder<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = members.next_key::<String>()? {
            let again = seen.contains(&key);
            self.path.push(Segment::Key(key.clone()));
            self.note(again);
            if !again {
                seen.insert(key);
            }
            members.next_value_seed(&mut *self)?;
            self.path.pop();
        }
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for index in 0.. {
            self.path.push(Segment::Index(index));
            let more = items.next_element_seed(&mut *self)?;
            self.path.pop();
            if more.is_none() {
                break;
            }
        }
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_keys_are_named_by_path_and_cheaply_noticed() {
        let text =
            &Bytes::from_static(br#"{"a": "x:y\":{", "spec": {"paused": true, "list": [{"n": 1}, {"n": 1, "n": 2, "n": 3}], "paused": false}}"#);
        assert_eq!(duplicates(text).paths().collect::<Vec<_>>(), ["spec.list[1].n", "spec.paused"]);
        assert!(has_duplicates(text, &serde_json::from_slice(text).unwrap()));
        let clean = &Bytes::from_static(br#"{"a": "x:y\":{\\", "spec": {"b": [{"n": 1}, {"n": ":"}]}}"#);
        assert_eq!(duplicates(clean).paths().count(), 0);
        assert!(!has_duplicates(clean, &serde_json::from_slice(clean).unwrap()));
    }

    #[test]
    fn faults_are_told_in_the_order_of_the_text() {
        let found = duplicates(&Bytes::from_static(br#"{"spec": {"unknown": 1, "replicas": 1, "replicas": 2, "strange": [{"a": 1, "a": 2}]}}"#));
        let unknown = ["spec.strange".to_owned(), "spec.unknown".to_owned()];
        let told = [
            "unknown field \"spec.unknown\"",
            "duplicate field \"spec.replicas\"",
            "unknown field \"spec.strange\"",
            "duplicate field \"spec.strange[0].a\"",
        ];
        assert_eq!(found.with_unknown(&unknown), told);
        assert_eq!(found.told_first().with_unknown(&unknown), [told[1], told[3], "unknown field \"spec.strange\"", told[0]]);
    }
}
