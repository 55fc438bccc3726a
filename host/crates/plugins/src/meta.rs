//! The fields of an object that indexes and typed summaries need, read without parsing the rest into a tree.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub uid: Arc<str>,
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// The owner reference with `controller: true`.
    pub controller: Option<Owner>,
    /// Seconds since 1970.
    pub created: i64,
    pub generation: i64,
    pub deleting: bool,
    pub phase: Box<str>,
    pub ready: bool,
    pub node: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub api_version: Box<str>,
    pub kind: Box<str>,
    pub name: Arc<str>,
    pub uid: Arc<str>,
}

impl Meta {
    /// The fields that [`Meta::field`] knows.
    pub const FIELDS: &[&str] = &["metadata.name", "metadata.namespace", "spec.nodeName", "status.phase"];

    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice::<Outline<'_>>(json).map(Meta::from)
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| **k == *key).map(|(_, v)| &**v)
    }

    pub fn field(&self, field: &str) -> &str {
        match field {
            "metadata.name" => &self.name,
            "metadata.namespace" => &self.namespace,
            "spec.nodeName" => &self.node,
            "status.phase" => &self.phase,
            _ => "",
        }
    }
}

#[derive(Deserialize)]
struct Outline<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow, default, deserialize_with = "lenient")]
    spec: Spec<'a>,
    #[serde(borrow, default, deserialize_with = "lenient")]
    status: State<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Option<Cow<'a, str>>,
    #[serde(default)]
    labels: Labels,
    #[serde(borrow, default)]
    owner_references: Option<Vec<Reference<'a>>>,
    #[serde(borrow, default)]
    creation_timestamp: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    deletion_timestamp: Option<Cow<'a, str>>,
    #[serde(default)]
    generation: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference<'a> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(default)]
    controller: Option<bool>,
}

/// A custom resource may put anything under these names, so each field takes any value and reads only its own kind.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec<'a> {
    #[serde(borrow)]
    node_name: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State<'a> {
    #[serde(borrow)]
    phase: Text<'a>,
    conditions: Ready,
}

/// Pairs in the order of the text, without a map.
#[derive(Default)]
struct Labels(Vec<(Box<str>, Box<str>)>);

#[derive(Default)]
struct Text<'a>(Cow<'a, str>);

/// Whether the list holds `type: Ready, status: "True"`.
#[derive(Default)]
struct Ready(bool);

impl From<Outline<'_>> for Meta {
    fn from(outline: Outline<'_>) -> Self {
        let Outline { metadata, spec, status } = outline;
        let controller = metadata.owner_references.into_iter().flatten().find(|r| r.controller == Some(true));
        Self {
            namespace: metadata.namespace.unwrap_or_default().into(),
            name: metadata.name.into(),
            uid: metadata.uid.unwrap_or_default().into(),
            labels: metadata.labels.0,
            controller: controller.map(|r| Owner {
                api_version: r.api_version.into(),
                kind: r.kind.into(),
                name: r.name.into(),
                uid: r.uid.into(),
            }),
            created: metadata.creation_timestamp.map_or(0, |t| seconds(&t)),
            generation: metadata.generation,
            deleting: metadata.deletion_timestamp.is_some(),
            phase: status.phase.0.into(),
            ready: status.conditions.0,
            node: spec.node_name.0.into(),
        }
    }
}

/// Seconds since 1970 of a timestamp as the API writes it; 0 when it cannot be read.
pub fn seconds(timestamp: &str) -> i64 {
    timestamp.parse::<jiff::Timestamp>().map_or(0, |t| t.as_second())
}

fn lenient<'de, D: serde::Deserializer<'de>, T: serde::Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Labels;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("labels")
            }
            fn visit_unit<E>(self) -> Result<Labels, E> {
                Ok(Labels::default())
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut labels = Vec::with_capacity(map.size_hint().unwrap_or(4));
                while let Some((key, value)) = map.next_entry::<Box<str>, Box<str>>()? {
                    labels.push((key, value));
                }
                Ok(Labels(labels))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Reads its own kind of value; whatever else stands there counts as absent.
macro_rules! tolerant {
    ($visitor:ident for $value:ty { $($own:item)* }) => {
        impl<'de> serde::de::Visitor<'de> for $visitor {
            type Value = $value;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("anything")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Default::default())
            }
            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Default::default())
            }
            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Default::default())
            }
            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Default::default())
            }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Default::default())
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
                Ok(Default::default())
            }
            $($own)*
        }
    };
}

struct TextVisitor;
tolerant!(TextVisitor for Text<'de> {
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        Ok(Text::default())
    }
});

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct ReadyVisitor;
tolerant!(ReadyVisitor for Ready {
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Ready(false))
    }
    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        #[derive(Deserialize)]
        struct Condition<'a> {
            #[serde(borrow, default, rename = "type")]
            kind: Text<'a>,
            #[serde(borrow, default)]
            status: Text<'a>,
        }
        let mut ready = false;
        while let Some(condition) = seq.next_element::<Condition<'_>>()? {
            ready |= condition.kind.0 == "Ready" && condition.status.0 == "True";
        }
        Ok(Ready(ready))
    }
});

impl<'de> Deserialize<'de> for Ready {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_outline() {
        let meta = Meta::parse(
            br#"{"metadata":{"name":"a","namespace":"n","uid":"u","labels":{"x":"1"},"creationTimestamp":"1970-01-01T00:01:00Z",
            "ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"r","uid":"o","controller":true}]},
            "spec":{"nodeName":"k"},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#,
        )
        .expect("a pod");
        assert_eq!((&*meta.name, meta.label("x"), meta.created, &*meta.phase, meta.ready, &*meta.node), ("a", Some("1"), 60, "Running", true, "k"));
        assert_eq!(meta.controller.map(|o| o.uid.to_string()), Some("o".to_owned()));
    }

    #[test]
    fn a_custom_object_may_use_the_names_otherwise() {
        let odd = br#"{"metadata":{"name":"a","labels":null},"spec":{"nodeName":{"deep":[1]}},"status":{"phase":3,"conditions":{"Ready":true}}}"#;
        let meta = Meta::parse(odd).expect("an object");
        assert_eq!((&*meta.node, &*meta.phase, meta.ready), ("", "", false));
    }
}
