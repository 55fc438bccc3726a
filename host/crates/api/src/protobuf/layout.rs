//! How a message is written from JSON: which member is which field, in which order the fields go out, and what stands for those
//! that JSON leaves out. Made of a table row when the first object of the kind is written.

use super::messages::{Field, Kind, Messages};
use super::special::Special;
use super::wire::{self, BYTES, FIXED64, VARINT};

pub struct Layout {
    /// Of all members, those of flattened messages among them.
    pub leaves: Vec<Leaf>,
    /// In the order of the wire.
    pub nodes: Vec<Node>,
    /// Places in `leaves`, by JSON name.
    by_name: Vec<(&'static str, usize)>,
}

pub struct Leaf {
    pub field: &'static Field,
    /// What is written when JSON has nothing.
    pub absent: Vec<u8>,
}

pub enum Node {
    Leaf(usize),
    /// A flattened message, which is always there.
    Group {
        number: u32,
        nodes: Vec<Node>,
    },
}

impl Layout {
    pub fn of(messages: &'static Messages, place: usize) -> Self {
        let mut layout = Self { leaves: Vec::new(), nodes: Vec::new(), by_name: Vec::new() };
        layout.nodes = layout.add(messages, place);
        layout.by_name = layout.leaves.iter().enumerate().map(|(place, leaf)| (leaf.field.json, place)).collect();
        layout.by_name.sort_unstable();
        layout
    }

    fn add(&mut self, messages: &'static Messages, place: usize) -> Vec<Node> {
        let mut fields: Vec<&'static Field> = messages.at(place).fields.iter().collect();
        fields.sort_by_key(|field| field.number);
        let mut nodes = Vec::with_capacity(fields.len());
        for field in fields {
            nodes.push(match field.kind {
                Kind::Message(inner) if field.flattened => Node::Group { number: field.number, nodes: self.add(messages, inner) },
                _ => {
                    let always = !(field.repeated || field.map || field.pointer);
                    let absent = if always { messages.zero(field, field.number) } else { Vec::new() };
                    self.leaves.push(Leaf { field, absent });
                    Node::Leaf(self.leaves.len() - 1)
                }
            });
        }
        nodes
    }

    pub fn leaf(&self, name: &str) -> Option<usize> {
        self.by_name.binary_search_by_key(&name, |(name, _)| name).ok().map(|at| self.by_name[at].1)
    }
    /// The first repeated field.
    pub fn repeated(&self) -> Option<&'static Field> {
        self.leaves.iter().map(|leaf| leaf.field).find(|field| field.repeated)
    }
    /// The first single message: its number and place in the table.
    pub fn message(&self) -> Option<(u32, usize)> {
        self.leaves.iter().find_map(|leaf| match leaf.field.kind {
            Kind::Message(place) if !leaf.field.repeated && !leaf.field.map => Some((leaf.field.number, place)),
            _ => None,
        })
    }
}

impl Messages {
    /// One value of the field as Go's zero value is written.
    pub fn zero(&'static self, field: &Field, number: u32) -> Vec<u8> {
        let mut out = Vec::new();
        match field.kind {
            // A nil slice.
            Kind::Bytes => {}
            Kind::Text => wire::bytes(&mut out, number, b""),
            Kind::Integer | Kind::Boolean => wire::integer(&mut out, number, 0),
            Kind::Double => {
                wire::key(&mut out, number, FIXED64);
                out.extend([0; 8]);
            }
            Kind::Message(place) => {
                let body = self.zero_message(place);
                wire::bytes(&mut out, number, &body);
            }
        }
        out
    }

    fn zero_message(&'static self, place: usize) -> Vec<u8> {
        match self.at(place).special {
            // The zero time and nothing embedded have no bytes.
            Some(Special::Time | Special::MicroTime | Special::Embedded | Special::Items) => Vec::new(),
            Some(Special::Quantity) => vec![1 << 3 | BYTES, 1, b'0'],
            Some(Special::IntOrString) => vec![1 << 3 | VARINT, 0, 2 << 3 | VARINT, 0, 3 << 3 | BYTES, 0],
            Some(Special::Duration | Special::SchemaOrBool) => vec![1 << 3 | VARINT, 0],
            Some(Special::SchemaOrArray | Special::SchemaOrStrings) => Vec::new(),
            None => {
                let layout = self.layout(place);
                let mut out = Vec::new();
                zeros(&layout.nodes, layout, &mut out);
                out
            }
        }
    }
}

fn zeros(nodes: &[Node], layout: &Layout, out: &mut Vec<u8>) {
    for node in nodes {
        match node {
            Node::Leaf(leaf) => out.extend_from_slice(&layout.leaves[*leaf].absent),
            Node::Group { number, nodes } => {
                let mut inner = Vec::new();
                zeros(nodes, layout, &mut inner);
                wire::bytes(out, *number, &inner);
            }
        }
    }
}
