//! The table of messages and fields, read once when the first protobuf body comes or goes.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::layout::Layout;
use super::special::Special;

pub(super) static ROWS: &str = include_str!("messages.txt");
static TABLE: OnceLock<Messages> = OnceLock::new();

pub struct Messages {
    by_name: HashMap<&'static str, usize>,
    all: Vec<Message>,
}

pub struct Message {
    pub special: Option<Special>,
    pub fields: Vec<Field>,
    layout: OnceLock<Box<Layout>>,
}

#[derive(Clone, Copy)]
pub struct Field {
    pub number: u32,
    pub json: &'static str,
    pub kind: Kind,
    pub repeated: bool,
    pub map: bool,
    /// Left out of JSON when it is empty.
    pub omitted_when_empty: bool,
    /// Its fields stand in the parent.
    pub flattened: bool,
    /// Only on the wire when JSON has it; every other single field always is.
    pub pointer: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Bytes,
    Integer,
    Boolean,
    Double,
    /// Place in the table; resolved after all rows are read.
    Message(usize),
}

impl Messages {
    pub fn get() -> &'static Self {
        TABLE.get_or_init(|| Self::parse(ROWS))
    }

    pub fn at(&self, place: usize) -> &Message {
        &self.all[place]
    }

    /// How the message is written.
    pub fn layout(&'static self, place: usize) -> &'static Layout {
        self.all[place].layout.get_or_init(|| Box::new(Layout::of(self, place)))
    }

    /// The message of a kind: `apps/v1` and `Deployment` are `k8s.io.api.apps.v1.Deployment`. Options that go with any group are the
    /// meta group's.
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<usize> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let package = match group {
            "" => "k8s.io.api.core".to_owned(),
            "apiextensions.k8s.io" => "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions".to_owned(),
            "meta.k8s.io" => "k8s.io.apimachinery.pkg.apis.meta".to_owned(),
            "apiregistration.k8s.io" => "k8s.io.kube_aggregator.pkg.apis.apiregistration".to_owned(),
            _ => format!("k8s.io.api.{}", group.split('.').next().unwrap_or_default()),
        };
        let own = self.by_name.get(format!("{package}.{version}.{kind}").as_str());
        // A custom kind may have any name of the meta group's.
        let shared = matches!(group, "" | "meta.k8s.io") || kind.ends_with("Options");
        own.or_else(|| self.by_name.get(format!("k8s.io.apimachinery.pkg.apis.meta.v1.{kind}").as_str()).filter(|_| shared)).copied()
    }

    #[cfg(test)]
    pub fn names(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.by_name.iter().map(|(name, place)| (*name, *place))
    }

    fn parse(rows: &'static str) -> Self {
        let rows = || rows.lines().filter(|l| !l.starts_with('#'));
        let by_name: HashMap<&str, usize> = rows().filter_map(|l| l.strip_prefix("> ")).enumerate().map(|(place, name)| (name, place)).collect();
        let mut all: Vec<Message> = Vec::with_capacity(by_name.len());
        for row in rows() {
            if let Some(name) = row.strip_prefix("> ") {
                all.push(Message { special: Special::of(name), fields: Vec::new(), layout: OnceLock::new() });
            } else if let Some(message) = all.last_mut() {
                message.fields.extend(parse_field(row, &by_name));
            }
        }
        Self { by_name, all }
    }
}

impl Message {
    pub fn field(&self, number: u32) -> Option<&Field> {
        self.fields.iter().find(|f| f.number == number)
    }
}

/// A type that no table row describes (another API version's) cannot be decoded: the field is skipped like an unknown one.
fn parse_field(row: &'static str, by_name: &HashMap<&str, usize>) -> Option<Field> {
    let mut words = row.split(' ');
    let (number, json, kind, flags) = (words.next()?, words.next()?, words.next()?, words.next().unwrap_or(""));
    let kind = match kind {
        "s" => Kind::Text,
        "b" => Kind::Bytes,
        "i" => Kind::Integer,
        "z" => Kind::Boolean,
        "d" => Kind::Double,
        name => Kind::Message(*by_name.get(name)?),
    };
    let has = |flag: char| flags.contains(flag);
    Some(Field {
        number: number.parse().ok()?,
        json,
        kind,
        repeated: has('r'),
        map: has('m'),
        omitted_when_empty: has('o'),
        flattened: has('n'),
        pointer: has('p'),
    })
}
