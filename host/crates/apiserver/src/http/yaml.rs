//! Bodies in YAML: read, and searched for keys that stand twice in their map.
//!
//! Called by the decoder of requests (`negotiate`).

use std::collections::HashSet;
use std::fmt;

use pintle_api::Object;
use pintle_api::schema::{Duplicates, MAX_DUPLICATES};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use serde_saphyr::options::DuplicateKeyPolicy;

/// More than YAML as deep as its reader allows takes: 30 KiB a level in a build without optimisation.
const STACK_BYTES: usize = 4 << 20;

/// Of keys that stand twice the last counts. What is wrong is told as by Go's reader, where its words are known.
pub fn read(body: &[u8]) -> Result<Object, String> {
    let text = std::str::from_utf8(body).map_err(|_| "yaml: invalid leading UTF-8 octet".to_owned())?;
    parse(text).map_err(|error| fault(&error.without_snippet().to_string(), text))
}

/// Keys that stand twice, each with the line of its value.
pub fn doubled(body: &[u8]) -> Duplicates {
    let found = parse::<Doubled>(&String::from_utf8_lossy(body)).unwrap_or_default().found;
    Duplicates::in_yaml(&found)
}

/// The reader allows 64 levels, for which a thread's stack was just large enough in builds without optimisation.
fn parse<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, serde_saphyr::Error> {
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    stacker::maybe_grow(STACK_BYTES, 2 * STACK_BYTES, || serde_saphyr::from_str_with_options(text, options))
}

fn fault(said: &str, text: &str) -> String {
    let (said, place) = said.rsplit_once(" at line ").unwrap_or((said, ""));
    let line = place.split(',').next().and_then(|line| line.parse().ok()).unwrap_or(0);
    // A bracket is missed where the text ends, and lines are counted from nought there.
    let (said, line) = match said {
        "unclosed bracket '['" => ("did not find expected ',' or ']'", text.lines().count()),
        "unclosed bracket '{'" => ("did not find expected ',' or '}'", text.lines().count()),
        // The first line is not told.
        said => (said, if line > 1 { line } else { 0 }),
    };
    if line > 0 { format!("yaml: line {line}: {said}") } else { format!("yaml: {said}") }
}

#[derive(Default)]
struct Doubled {
    found: Vec<(u64, String)>,
}

impl Doubled {
    fn add(&mut self, more: Vec<(u64, String)>) {
        let room = MAX_DUPLICATES.saturating_sub(self.found.len());
        self.found.extend(more.into_iter().take(room));
    }
}

impl<'de> Deserialize<'de> for Doubled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Search)
    }
}

struct Search;

impl<'de> Visitor<'de> for Search {
    type Value = Doubled;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Doubled, A::Error> {
        let (mut all, mut seen) = (Doubled::default(), HashSet::new());
        while let Some(Key(key)) = members.next_key()? {
            let value: Spanned<Doubled> = members.next_value()?;
            all.add(value.value.found);
            if seen.contains(&key) {
                all.add(vec![(value.referenced.line(), key)]);
            } else {
                seen.insert(key);
            }
        }
        Ok(all)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Doubled, A::Error> {
        let mut all = Doubled::default();
        while let Some(item) = items.next_element::<Doubled>()? {
            all.add(item.found);
        }
        Ok(all)
    }
    fn visit_unit<E>(self) -> Result<Doubled, E> {
        Ok(Doubled::default())
    }
    fn visit_bool<E>(self, _: bool) -> Result<Doubled, E> {
        Ok(Doubled::default())
    }
    fn visit_i64<E>(self, _: i64) -> Result<Doubled, E> {
        Ok(Doubled::default())
    }
    fn visit_u64<E>(self, _: u64) -> Result<Doubled, E> {
        Ok(Doubled::default())
    }
    fn visit_f64<E>(self, _: f64) -> Result<Doubled, E> {
        Ok(Doubled::default())
    }
    fn visit_str<E>(self, _: &str) -> Result<Doubled, E> {
        Ok(Doubled::default())
    }
}

/// As Go prints it.
#[derive(PartialEq, Eq, Hash)]
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = Object::deserialize(deserializer)?;
        Ok(Self(if key.is_null() { "<nil>".to_owned() } else { key.to_string() }))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn keys_that_stand_twice_are_told_by_the_line_of_their_value() {
        let faults = |body: &str| (read(body.as_bytes()).unwrap().to_string(), doubled(body.as_bytes()).in_text().map(str::to_owned));
        assert_eq!(faults("a: 1\nb: {c: 2}\n"), (r#"{"a":1,"b":{"c":2}}"#.to_owned(), None));
        let (object, told) = faults("a: 1\nb:\n- {c: 2, c: 3}\n- d:\n    e: 1\n    e: 2\n  d:\n    e: 3\nb: {}\nb: x\na: 2\n");
        assert_eq!(object, r#"{"a":2,"b":"x"}"#);
        expect![[r#"
            yaml: unmarshal errors:
              line 3: key "c" already set in map
              line 6: key "e" already set in map
              line 8: key "d" already set in map
              line 9: key "b" already set in map
              line 10: key "b" already set in map
              line 11: key "a" already set in map"#]]
        .assert_eq(&told.unwrap());
        let many = doubled("a: 1\n".repeat(300).as_bytes());
        assert_eq!(many.in_text().unwrap().lines().count(), 1 + MAX_DUPLICATES);
    }

    #[test]
    fn faults_of_the_text() {
        let told = ["kind: [ConfigMap\n", "a: {b: c", "a: b: c", "a: 1\nb: c: d"].map(|body| read(body.as_bytes()).unwrap_err());
        expect![[r#"
            yaml: line 1: did not find expected ',' or ']'
            yaml: line 1: did not find expected ',' or '}'
            yaml: mapping values are not allowed in this context
            yaml: line 2: mapping values are not allowed in this context"#]]
        .assert_eq(&told.join("\n"));
    }
}
