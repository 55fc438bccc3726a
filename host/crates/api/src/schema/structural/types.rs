//! Compiles a schema into the types that patches and server-side apply walk.

use std::sync::LazyLock;

use super::{Additional, Kind, ListType, Schema};
use crate::schema::builtin::{Importer, OBJECT_META};
use crate::schema::kinds::{Edge, ListKind, ListNode, MapKind, Node, NodeId, ObjectNode, ScalarKind, Types, TypesBuilder};
use crate::schema::rows::{self, Definition};

/// ObjectMeta and what it reaches: all lie in its own package.
static METADATA_ROWS: LazyLock<Vec<Definition>> = LazyLock::new(|| {
    let package = OBJECT_META.rsplit_once('.').map_or(OBJECT_META, |(package, _)| package);
    let mut rows = rows::read();
    rows.retain(|row| row.name.starts_with(package));
    rows
});

pub(super) fn compile(root: &Schema) -> (Types, NodeId) {
    let mut builder = TypesBuilder::default();
    let metadata = Importer::new(&METADATA_ROWS, &mut builder).definition(OBJECT_META);
    let root = Compiler { builder: &mut builder, metadata }.node(root, true);
    (builder.build(), root)
}

struct Compiler<'a> {
    builder: &'a mut TypesBuilder,
    metadata: NodeId,
}

impl Compiler<'_> {
    fn node(&mut self, schema: &Schema, resource: bool) -> NodeId {
        let resource = resource || schema.embedded;
        let node = match schema.kind {
            _ if schema.int_or_string => Node::Scalar(ScalarKind::Any),
            Some(Kind::Boolean) => Node::Scalar(ScalarKind::Boolean),
            Some(Kind::Integer | Kind::Number) => Node::Scalar(ScalarKind::Number),
            Some(Kind::String) => Node::Scalar(ScalarKind::String),
            Some(Kind::Array) => self.list(schema),
            Some(Kind::Object) => self.object(schema, resource),
            None => Node::Unknown,
        };
        self.builder.add(node)
    }

    fn list(&mut self, schema: &Schema) -> Node {
        let items = match &schema.items {
            Some(items) => self.edge(items),
            None => Edge::to(self.builder.add(Node::Unknown)),
        };
        let kind = match schema.list_type {
            None | Some(ListType::Atomic) => ListKind::Atomic,
            Some(ListType::Set) => ListKind::Set,
            Some(ListType::Map) => ListKind::Map { keys: schema.list_map_keys.clone().into() },
        };
        Node::List(ListNode { items, kind })
    }

    fn object(&mut self, schema: &Schema, resource: bool) -> Node {
        let mut fields: Vec<(Box<str>, Edge)> = Vec::with_capacity(schema.properties.len());
        for (name, property) in &schema.properties {
            if !(resource && name.as_ref() == "metadata") {
                fields.push((name.clone(), self.edge(property)));
            }
        }
        if resource {
            fields.push(("metadata".into(), Edge::to(self.metadata)));
            for name in ["apiVersion", "kind"] {
                if !schema.properties.contains_key(name) {
                    let text = self.builder.add(Node::Scalar(ScalarKind::String));
                    fields.push((name.into(), Edge::to(text)));
                }
            }
        }
        let additional = match &schema.additional {
            Additional::Values(values) => Some(self.edge(values)),
            Additional::Open => Some(Edge::to(self.builder.add(Node::Unknown))),
            Additional::Unsaid if schema.preserve_unknown => Some(Edge::to(self.builder.add(Node::Unknown))),
            Additional::Unsaid => None,
        };
        let map_kind = if schema.atomic_map { MapKind::Atomic } else { MapKind::Granular };
        Node::Object(ObjectNode { fields, additional, map_kind })
    }

    fn edge(&mut self, schema: &Schema) -> Edge {
        Edge { default: schema.default.clone().map(Box::new), ..Edge::to(self.node(schema, false)) }
    }
}
