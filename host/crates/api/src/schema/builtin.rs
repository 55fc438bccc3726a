//! The built-in types, compiled from the tables on first use and kept for the life of the process.
//!
//! [`Importer`] is shared with custom resources, whose `metadata` is the built-in ObjectMeta.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::kinds::{Edge, ListKind, ListNode, MapKind, Node, NodeId, ObjectNode, ScalarKind, TypeRef, Types, TypesBuilder};
use super::rows::{self, Definition, Field, Shape};
use crate::GroupVersionKind;

pub const OBJECT_META: &str = "apimachinery.pkg.apis.meta.v1.ObjectMeta";

const DELETE_OPTIONS: &str = "apimachinery.pkg.apis.meta.v1.DeleteOptions";

pub struct Schemas {
    types: Types,
    /// Sorted by name, which lacks its `io.k8s.`.
    definitions: Vec<(&'static str, NodeId)>,
    /// Sorted by `apiVersion` and kind.
    kinds: Vec<(&'static str, &'static str, NodeId, &'static str)>,
}

static BUILTIN: LazyLock<Schemas> = LazyLock::new(Schemas::load);

/// The schemas of all kinds that pintle knows without a CustomResourceDefinition.
pub fn builtin() -> &'static Schemas {
    &BUILTIN
}

impl Schemas {
    fn load() -> Self {
        let rows = rows::read();
        let mut builder = TypesBuilder::default();
        let mut importer = Importer::new(&rows, &mut builder);
        let mut definitions = Vec::with_capacity(rows.len());
        let mut kinds = Vec::new();
        for row in &rows {
            let node = importer.definition(row.name);
            definitions.push((row.name, node));
            if let Some((api_version, kind)) = row.kind {
                kinds.push((api_version, kind, node, row.name));
            }
        }
        kinds.sort_unstable_by_key(|(api_version, kind, ..)| (*api_version, *kind));
        Self { types: builder.build(), definitions, kinds }
    }

    pub fn for_kind(&self, gvk: &GroupVersionKind) -> Option<TypeRef<'_>> {
        if gvk.kind == "DeleteOptions" {
            // A kind of every group version.
            return self.by_short_name(DELETE_OPTIONS);
        }
        self.find_kind(gvk).map(|(_, _, node, _)| self.types.at(*node))
    }

    /// The definition's full name: `io.k8s.api.core.v1.Pod`.
    pub fn definition_of(&self, gvk: &GroupVersionKind) -> Option<String> {
        self.find_kind(gvk).map(|(.., name)| format!("{}{name}", rows::NAME_PREFIX))
    }

    /// By full name.
    pub fn definition(&self, name: &str) -> Option<TypeRef<'_>> {
        self.by_short_name(name.strip_prefix(rows::NAME_PREFIX)?)
    }

    pub fn object_meta(&self) -> TypeRef<'_> {
        self.by_short_name(OBJECT_META).unwrap_or_else(TypeRef::unknown)
    }

    /// The Go-like short name of a struct (`DeploymentSpec`), for messages. Searches all definitions.
    pub fn struct_name(&self, of: TypeRef<'_>) -> Option<&'static str> {
        let found = self.definitions.iter().find(|(_, node)| std::ptr::eq(self.types.at(*node).node(), of.node()))?;
        found.0.rsplit('.').next()
    }

    /// The name of a struct in the tables.
    pub(super) fn table_name(&self, of: TypeRef<'_>) -> Option<&'static str> {
        self.definitions.iter().find(|(_, node)| std::ptr::eq(self.types.at(*node).node(), of.node())).map(|(name, _)| *name)
    }

    /// As [`Self::struct_name`], with its package: `v1.DeploymentSpec`.
    pub fn qualified_name(&self, of: TypeRef<'_>) -> Option<&'static str> {
        let found = self.definitions.iter().find(|(_, node)| std::ptr::eq(self.types.at(*node).node(), of.node()))?;
        let start = found.0.rmatch_indices('.').nth(1).map_or(0, |(at, _)| at + 1);
        Some(&found.0[start..])
    }

    fn by_short_name(&self, name: &str) -> Option<TypeRef<'_>> {
        let found = self.definitions.binary_search_by_key(&name, |(known, _)| known).ok()?;
        Some(self.types.at(self.definitions[found].1))
    }

    fn find_kind(&self, gvk: &GroupVersionKind) -> Option<&(&'static str, &'static str, NodeId, &'static str)> {
        let found =
            self.kinds.binary_search_by(|(api_version, kind, ..)| compare_api_version(api_version, gvk).then_with(|| (*kind).cmp(gvk.kind.as_ref())));
        found.ok().map(|index| &self.kinds[index])
    }
}

/// The order of the texts `group/version`, without joining those of the kind.
fn compare_api_version(api_version: &str, gvk: &GroupVersionKind) -> std::cmp::Ordering {
    let (given, group, version) = (api_version.as_bytes(), gvk.group.as_bytes(), gvk.version.as_bytes());
    if group.is_empty() {
        return given.cmp(version);
    }
    let (head, rest) = given.split_at(group.len().min(given.len()));
    let (slash, rest) = rest.split_at(rest.len().min(1));
    head.cmp(group).then_with(|| slash.cmp(b"/")).then_with(|| rest.cmp(version))
}

/// Copies definitions from the rows into a builder, each one once, with all that they reach.
pub(super) struct Importer<'a> {
    rows: &'a [Definition],
    builder: &'a mut TypesBuilder,
    imported: HashMap<&'static str, NodeId>,
    /// Scalars and atomic lists, which need no node of their own.
    shared: HashMap<String, NodeId>,
}

impl<'a> Importer<'a> {
    pub(super) fn new(rows: &'a [Definition], builder: &'a mut TypesBuilder) -> Self {
        Self { rows, builder, imported: HashMap::with_capacity(rows.len()), shared: HashMap::new() }
    }

    /// By the name in the rows.
    pub(super) fn definition(&mut self, name: &str) -> NodeId {
        if let Some(known) = self.imported.get(name) {
            return *known;
        }
        let node = self.builder.reserve();
        let rows = self.rows;
        let Ok(index) = rows.binary_search_by_key(&name, |row| row.name) else { return node };
        let row = &rows[index];
        self.imported.insert(row.name, node);
        let compiled = match row.shape {
            Some(shape) => scalar(shape).map_or(Node::Unknown, Node::Scalar),
            None => Node::Object(ObjectNode {
                fields: row.fields.iter().map(|field| (field.name.into(), self.edge(field))).collect(),
                additional: None,
                map_kind: if row.atomic { MapKind::Atomic } else { MapKind::Granular },
            }),
        };
        self.builder.set(node, compiled);
        node
    }

    fn edge(&mut self, field: &Field) -> Edge {
        let to = match (&field.merge.list, field.shape) {
            (Some(kind @ (ListKind::Set | ListKind::Map { .. })), Shape::List(item)) => {
                let items = Edge::to(self.shape(Shape::parse(item)));
                self.builder.add(Node::List(ListNode { items, kind: kind.clone() }))
            }
            _ => self.shape(field.shape),
        };
        Edge {
            merge_key: field.merge.key.map(Box::from),
            strategy: field.merge.strategy(),
            map_kind: field.merge.map.or_else(|| self.is_untyped(field.shape).then_some(MapKind::Atomic)),
            default: field.merge.default.and_then(|text| serde_json::from_str(text).ok()).map(Box::new),
            presence: field.presence,
            ..Edge::to(to)
        }
    }

    /// What a built-in type says nothing of is owned as a whole; of custom types the parts are.
    fn is_untyped(&self, shape: Shape<'static>) -> bool {
        match shape {
            Shape::Object | Shape::Any => true,
            Shape::Named(name) => {
                let row = self.rows.binary_search_by_key(&name, |row| row.name).ok().map(|at| &self.rows[at]);
                row.is_some_and(|row| matches!(row.shape, Some(Shape::Object | Shape::Any)))
            }
            _ => false,
        }
    }

    fn shape(&mut self, shape: Shape<'static>) -> NodeId {
        if let Shape::Named(name) = shape {
            return self.definition(name);
        }
        let key = format!("{shape:?}");
        if let Some(known) = self.shared.get(&key) {
            return *known;
        }
        let node = match shape {
            Shape::List(item) => {
                let items = Edge::to(self.shape(Shape::parse(item)));
                Node::List(ListNode { items, kind: ListKind::Atomic })
            }
            Shape::Map(value) => {
                let additional = Some(Edge::to(self.shape(Shape::parse(value))));
                Node::Object(ObjectNode { additional, ..ObjectNode::default() })
            }
            other => scalar(other).map_or(Node::Unknown, Node::Scalar),
        };
        let id = self.builder.add(node);
        self.shared.insert(key, id);
        id
    }
}

fn scalar(shape: Shape<'_>) -> Option<ScalarKind> {
    Some(match shape {
        Shape::String => ScalarKind::String,
        Shape::Int32 => ScalarKind::Int32,
        Shape::Int64 => ScalarKind::Int64,
        Shape::Double => ScalarKind::Number,
        Shape::Boolean => ScalarKind::Boolean,
        Shape::Time => ScalarKind::Time,
        Shape::MicroTime => ScalarKind::MicroTime,
        Shape::Bytes => ScalarKind::Bytes,
        Shape::Quantity => ScalarKind::Quantity,
        Shape::IntOrString => ScalarKind::IntOrString,
        Shape::Object | Shape::Any | Shape::List(_) | Shape::Map(_) | Shape::Named(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(group: &'static str, version: &'static str, kind: &'static str) -> GroupVersionKind {
        GroupVersionKind::new(group, version, kind)
    }

    #[test]
    fn finds_kinds_and_follows_fields() {
        let pod = builtin().for_kind(&kind("", "v1", "Pod")).unwrap();
        let containers = pod.field("spec").unwrap().field("containers").unwrap();
        assert_eq!(containers.merge_key(), Some("name"));
        assert_eq!(containers.list_kind(), &ListKind::Map { keys: ["name".into()].into() });
        let ports = containers.items().unwrap().field("ports").unwrap();
        assert_eq!(ports.list_kind(), &ListKind::Map { keys: ["containerPort".into(), "protocol".into()].into() });
        assert_eq!(ports.items().unwrap().field("protocol").unwrap().default_value(), Some(&"TCP".into()));
        assert!(pod.field("metadata").unwrap().field("labels").unwrap().additional().unwrap().is_scalar());
        assert!(pod.field("nonsense").is_none());
        for (group, version, name) in [("apps", "v1", "Deployment"), ("autoscaling", "v2", "HorizontalPodAutoscaler"), ("", "v1", "PodList")] {
            assert!(builtin().for_kind(&kind(group, version, name)).is_some(), "{group}/{version} {name}");
        }
        assert!(builtin().for_kind(&kind("apps", "v1", "Pod")).is_none());
        assert!(builtin().for_kind(&kind("any.example", "v1", "DeleteOptions")).unwrap().field("propagationPolicy").is_some());
        assert_eq!(builtin().struct_name(pod.field("spec").unwrap()), Some("PodSpec"));
        assert_eq!(builtin().qualified_name(pod.field("metadata").unwrap()), Some("v1.ObjectMeta"));
    }

    #[test]
    fn a_selector_is_owned_as_a_whole() {
        let spec = builtin().for_kind(&kind("apps", "v1", "Deployment")).unwrap().field("spec").unwrap();
        assert_eq!(spec.field("selector").unwrap().map_kind(), MapKind::Atomic);
        assert_eq!(spec.field("template").unwrap().map_kind(), MapKind::Granular);
    }
}
