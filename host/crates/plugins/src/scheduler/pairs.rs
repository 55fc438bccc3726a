//! Maps of text read straight into the list that crosses to the component.

use pintle_plugin_bindings::common::types::Pair;
use serde::Deserialize;

#[derive(Clone, Default)]
pub struct Pairs(pub Vec<Pair>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Pairs;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map of text")
            }
            fn visit_unit<E>(self) -> Result<Pairs, E> {
                Ok(Pairs::default())
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::with_capacity(8);
                while let Some((key, value)) = map.next_entry::<String, Option<String>>()? {
                    pairs.push(Pair { key, value: value.unwrap_or_default() });
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
