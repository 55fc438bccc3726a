//! Duplicate keys in a JSON text. A parsed value cannot tell, so this looks at the bytes.
//!
//! Called by the decoder of requests, which asks [`has_duplicates`] first: it only counts.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// As many as upstream collects before it stops.
const MAX_DUPLICATES: usize = 100;

/// Whether the text has more members than the value that was parsed from it. One pass over both, no allocation.
pub fn has_duplicates(text: &[u8], parsed: &Value) -> bool {
    count_in_text(text) != count_in_value(parsed)
}

/// Paths of members that occur again in their object (`spec.replicas`), in order, each once.
/// A text that is no JSON has none.
pub fn duplicates(text: &[u8]) -> Vec<String> {
    let mut finder = Finder { path: Vec::new(), found: Vec::new() };
    let mut parser = serde_json::Deserializer::from_slice(text);
    match (&mut finder).deserialize(&mut parser) {
        Ok(()) => finder.found,
        Err(_) => Vec::new(),
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

struct Finder {
    path: Vec<Segment>,
    found: Vec<String>,
}

enum Segment {
    Key(String),
    Index(usize),
}

impl Finder {
    fn report(&mut self) {
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
        if self.found.len() < MAX_DUPLICATES && !self.found.contains(&path) {
            self.found.push(path);
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Finder {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Finder {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = members.next_key::<String>()? {
            let again = seen.contains(&key);
            self.path.push(Segment::Key(key.clone()));
            if again {
                self.report();
            } else {
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
        let text = br#"{"a": "x:y\":{", "spec": {"paused": true, "list": [{"n": 1}, {"n": 1, "n": 2, "n": 3}], "paused": false}}"#;
        assert_eq!(duplicates(text), ["spec.list[1].n", "spec.paused"]);
        assert!(has_duplicates(text, &serde_json::from_slice(text).unwrap()));
        let clean = br#"{"a": "x:y\":{\\", "spec": {"b": [{"n": 1}, {"n": ":"}]}}"#;
        assert_eq!(duplicates(clean), Vec::<String>::new());
        assert!(!has_duplicates(clean, &serde_json::from_slice(clean).unwrap()));
    }
}
