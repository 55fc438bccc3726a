//! How the parts of a type merge: which fields it has, and whether a list is atomic, a set or a map by keys.
//!
//! One compiled form, [`Types`], serves built-in types and custom ones alike: a table of nodes, each an object, a
//! list, a scalar or unknown. [`TypeRef`] is a cheap cursor into it that strategic merge, server-side apply and
//! validation walk beside a value. The module holds no data of any type: the tables of the built-in types and the
//! reader of a CustomResourceDefinition's schema live beside it and fill a [`TypesBuilder`].

use serde_json::Value;

/// Index of a node in its [`Types`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(u32);

/// A compiled, immutable set of types that may refer to each other in circles.
#[derive(Debug)]
pub struct Types {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
pub enum Node {
    Scalar(ScalarKind),
    Object(ObjectNode),
    List(ListNode),
    /// Nothing is known (preserve-unknown-fields, RawExtension): lists are atomic, objects granular, at any depth.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarKind {
    String,
    Number,
    Boolean,
    Int32,
    Int64,
    /// RFC 3339, whole seconds.
    Time,
    /// RFC 3339, microseconds.
    MicroTime,
    /// Base64 text.
    Bytes,
    Quantity,
    IntOrString,
    /// Any scalar.
    Any,
}

/// A struct, a map, or both (a structural schema may name some fields and leave the rest open).
#[derive(Debug, Clone, Default)]
pub struct ObjectNode {
    /// Sorted by name when the table is built.
    pub fields: Vec<(Box<str>, Edge)>,
    /// Type of the values under any other key; `None`: other keys are unknown fields.
    pub additional: Option<Edge>,
    pub map_kind: MapKind,
}

#[derive(Debug, Clone)]
pub struct ListNode {
    pub items: Edge,
    pub kind: ListKind,
}

/// The way from a field (or list item, or map value) to its type, with what the field itself declares.
#[derive(Debug, Clone)]
pub struct Edge {
    pub to: NodeId,
    /// `x-kubernetes-patch-merge-key`.
    pub merge_key: Option<Box<str>>,
    /// `x-kubernetes-patch-strategy`; a field may declare several.
    pub strategy: PatchStrategy,
    /// Set when the field says otherwise than its type (`+structType=granular` over an atomic type).
    pub map_kind: Option<MapKind>,
    /// Needed for keys of list maps (`protocol: TCP`); others may carry theirs too.
    pub default: Option<Box<Value>>,
    pub presence: Presence,
}

/// When a field is there, as Go's types have it. Of custom types every field is `Optional`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Presence {
    /// When it is written.
    #[default]
    Optional,
    /// When it is written and not zero or empty: `omitempty` on what is no pointer.
    NonZero,
    /// Always, if only as the zero of its type: a struct that is no pointer, or no `omitempty`.
    Always,
    /// Always, if only as null: a pointer without `omitempty`.
    AlwaysNull,
}

/// Whom a list's elements belong to in server-side apply. Absent `x-kubernetes-list-type` means atomic.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ListKind {
    #[default]
    Atomic,
    Set,
    /// Elements are objects, told apart by the values of these fields.
    Map {
        keys: Box<[Box<str>]>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MapKind {
    #[default]
    Granular,
    /// Owned as a whole.
    Atomic,
}

/// How strategic merge treats a field. The default: objects merge, lists are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PatchStrategy {
    pub merge: bool,
    pub replace: bool,
    pub retain_keys: bool,
}

/// A cursor: a node of a table and the edge that led to it.
#[derive(Clone, Copy, Debug)]
pub struct TypeRef<'a> {
    types: &'a Types,
    node: &'a Node,
    edge: Option<&'a Edge>,
}

#[derive(Debug, Default)]
pub struct TypesBuilder {
    nodes: Vec<Node>,
}

static UNKNOWN: Types = Types { nodes: Vec::new() };
static UNKNOWN_NODE: Node = Node::Unknown;

impl<'a> TypeRef<'a> {
    /// A type of which nothing is known.
    pub fn unknown() -> TypeRef<'a> {
        TypeRef { types: &UNKNOWN, node: &UNKNOWN_NODE, edge: None }
    }
    pub fn node(&self) -> &'a Node {
        self.node
    }
    /// The named field only; `None` also for keys that [`Self::additional`] would take.
    pub fn field(&self, name: &str) -> Option<TypeRef<'a>> {
        let Node::Object(object) = self.node else {
            return self.is_unknown().then_some(TypeRef { edge: None, ..*self });
        };
        let found = object.fields.binary_search_by(|(field, _)| field.as_ref().cmp(name)).ok()?;
        Some(self.types.follow(&object.fields[found].1))
    }
    /// The type of the values of a map.
    pub fn additional(&self) -> Option<TypeRef<'a>> {
        match self.node {
            Node::Object(object) => object.additional.as_ref().map(|edge| self.types.follow(edge)),
            Node::Unknown => Some(TypeRef { edge: None, ..*self }),
            _ => None,
        }
    }
    /// The type under a key: the field of that name, or else the values of the map.
    pub fn child(&self, name: &str) -> Option<TypeRef<'a>> {
        self.field(name).or_else(|| self.additional())
    }
    /// The type of a list's elements.
    pub fn items(&self) -> Option<TypeRef<'a>> {
        match self.node {
            Node::List(list) => Some(self.types.follow(&list.items)),
            Node::Unknown => Some(TypeRef { edge: None, ..*self }),
            _ => None,
        }
    }
    pub fn list_kind(&self) -> &'a ListKind {
        const ATOMIC: &ListKind = &ListKind::Atomic;
        match self.node {
            Node::List(list) => &list.kind,
            _ => ATOMIC,
        }
    }
    pub fn map_kind(&self) -> MapKind {
        match (self.edge.and_then(|edge| edge.map_kind), self.node) {
            (Some(kind), _) => kind,
            (None, Node::Object(object)) => object.map_kind,
            _ => MapKind::Granular,
        }
    }
    pub fn merge_key(&self) -> Option<&'a str> {
        self.edge.and_then(|edge| edge.merge_key.as_deref())
    }
    pub fn patch_strategy(&self) -> PatchStrategy {
        self.edge.map_or_else(PatchStrategy::default, |edge| edge.strategy)
    }
    pub fn default_value(&self) -> Option<&'a Value> {
        self.edge.and_then(|edge| edge.default.as_deref())
    }
    pub fn presence(&self) -> Presence {
        self.edge.map_or(Presence::Optional, |edge| edge.presence)
    }
    pub fn scalar_kind(&self) -> Option<ScalarKind> {
        if let Node::Scalar(kind) = self.node { Some(*kind) } else { None }
    }
    pub fn is_object(&self) -> bool {
        matches!(self.node, Node::Object(_))
    }
    pub fn is_list(&self) -> bool {
        matches!(self.node, Node::List(_))
    }
    pub fn is_scalar(&self) -> bool {
        matches!(self.node, Node::Scalar(_))
    }
    pub fn is_unknown(&self) -> bool {
        matches!(self.node, Node::Unknown)
    }
}

impl Types {
    /// Panics on an id of another table.
    pub fn at(&self, id: NodeId) -> TypeRef<'_> {
        TypeRef { types: self, node: &self.nodes[id.0 as usize], edge: None }
    }
    pub fn len(&self) -> usize {
        self.nodes.len()
    }
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
    fn follow<'a>(&'a self, edge: &'a Edge) -> TypeRef<'a> {
        TypeRef { types: self, node: &self.nodes[edge.to.0 as usize], edge: Some(edge) }
    }
}

impl TypesBuilder {
    pub fn add(&mut self, node: Node) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("fewer than 2^32 types"));
        self.nodes.push(node);
        id
    }
    /// A place for a type that refers to itself; it is unknown until [`Self::set`].
    pub fn reserve(&mut self) -> NodeId {
        self.add(Node::Unknown)
    }
    pub fn set(&mut self, id: NodeId, node: Node) {
        self.nodes[id.0 as usize] = node;
    }
    pub fn build(mut self) -> Types {
        for node in &mut self.nodes {
            if let Node::Object(object) = node {
                object.fields.sort_by(|a, b| a.0.cmp(&b.0));
            }
        }
        self.nodes.shrink_to_fit();
        Types { nodes: self.nodes }
    }
}

impl Edge {
    pub fn to(node: NodeId) -> Self {
        Self { to: node, merge_key: None, strategy: PatchStrategy::default(), map_kind: None, default: None, presence: Presence::Optional }
    }
}

impl PatchStrategy {
    /// Parses the tag's form: `merge`, `retainKeys`, `merge,retainKeys`, `replace`.
    pub fn parse(text: &str) -> Self {
        let has = |word| text.split(',').any(|part| part.trim() == word);
        Self { merge: has("merge"), replace: has("replace"), retain_keys: has("retainKeys") }
    }
}
