//! Objects read in part: what the reader does not look at is passed over in the text and never becomes a value.
//!
//! Most of an object's cost is making values of it. Called for rows of tables and for indexes, which look at a few fields,
//! and for observers, which look at all but `managedFields`.

use std::fmt;

use pintle_api::Object;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// What is read of a value.
#[derive(Clone, Copy, Debug)]
pub enum Needed {
    All,
    Nothing,
    /// These members; of a list, these of each element.
    Only(&'static [(&'static str, Needed)]),
    /// All other members whole, and of these only the part that stands beside them.
    But(&'static [(&'static str, Needed)]),
}

/// All but `metadata.managedFields`, which is half of most objects.
pub const WITHOUT_MANAGERS: Needed = Needed::But(&[("metadata", Needed::But(&[("managedFields", Needed::Nothing)]))]);

pub const LABELS: Needed = Needed::Only(&[("metadata", Needed::Only(&[("labels", Needed::All)]))]);

pub fn read(json: &[u8], needed: Needed) -> Result<Object, serde_json::Error> {
    needed.deserialize(&mut serde_json::Deserializer::from_slice(json))
}

impl Needed {
    fn of(self, member: &str) -> Self {
        let (listed, other) = match self {
            Self::All | Self::Nothing => return self,
            Self::Only(listed) => (listed, Self::Nothing),
            Self::But(listed) => (listed, Self::All),
        };
        listed.iter().find(|(name, _)| *name == member).map_or(other, |(_, part)| *part)
    }
}

impl<'de> DeserializeSeed<'de> for Needed {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self {
            Self::All => Value::deserialize(deserializer),
            Self::Nothing => IgnoredAny::deserialize(deserializer).map(|_| Value::Null),
            Self::Only(_) | Self::But(_) => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Needed {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(found) = access.next_key_seed(Name(self))? {
            match found {
                Some((name, part)) => drop(members.insert(name, access.next_value_seed(part)?)),
                None => drop(access.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Value::Object(members))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }
}

/// A member's name and what is read of it; no text is made of a name that is passed over.
struct Name(Needed);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<(String, Needed)>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<(String, Needed)>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }
    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        match self.0.of(name) {
            Needed::Nothing => Ok(None),
            part => Ok(Some((name.to_owned(), part))),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(needed: Needed, json: &str, expected: Expect) {
        expected.assert_eq(&read(json.as_bytes(), needed).map_or_else(|why| why.to_string(), |read| read.to_string()));
    }

    #[test]
    fn only_what_was_asked_for_becomes_a_value() {
        const NEEDED: Needed =
            Needed::Only(&[("m", Needed::Only(&[("n", Needed::All)])), ("l", Needed::Only(&[("a", Needed::All)])), ("s", Needed::Only(&[]))]);
        check(
            NEEDED,
            r#"{"x":[1,{"m":2}],"m":{"n":{"k":[null]},"o":1},"l":[{"a":"\"","b":{}},{"b":1},3]}"#,
            expect![[r#"{"l":[{"a":"\""},{},3],"m":{"n":{"k":[null]}}}"#]],
        );
        check(NEEDED, r#"{"m":null,"l":true,"s":-1.5}"#, expect![[r#"{"l":true,"m":null,"s":-1.5}"#]]);
        check(NEEDED, r#"{"x":[1,}"#, expect!["expected value at line 1 column 9"]);
    }

    #[test]
    fn the_managers_are_left_out_of_the_metadata_alone() {
        let json = r#"{"metadata":{"name":"a","managedFields":[{"manager":"m"}]},"spec":{"managedFields":1}}"#;
        check(WITHOUT_MANAGERS, json, expect![[r#"{"metadata":{"name":"a"},"spec":{"managedFields":1}}"#]]);
    }
}
