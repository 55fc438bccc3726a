//! The types of expressions, as `cel-go` has them, and how it writes them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use crate::declared::{Declared, Shape};

#[derive(Clone, Debug)]
pub enum Type {
    /// Whatever it is: nothing is checked.
    Dyn,
    /// Of a part that is wrong, so that its faults are told once.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    List(Arc<Type>),
    Map(Arc<(Type, Type)>),
    /// Of a type's own name.
    TypeOf(Arc<Type>),
    /// Whose values only its own functions look into.
    Opaque(&'static str, Arc<[Type]>),
    Object(Arc<Object>),
    /// Of what comprehensions over two variables go over.
    Pair(Arc<(Type, Type)>),
    /// It follows from how it is used.
    Variable(u32),
}

#[derive(Debug)]
pub struct Object {
    pub name: String,
    pub fields: Fields,
}

#[derive(Debug)]
pub enum Fields {
    Known(BTreeMap<String, Type>),
    /// Of any name and type.
    Any,
    /// None that could be named: Kubernetes' own types.
    Hidden,
}

pub const OPTIONAL: &str = "optional_type";

impl Type {
    pub fn list(item: Self) -> Self {
        Self::List(Arc::new(item))
    }
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new((key, value)))
    }
    pub fn optional(value: Self) -> Self {
        Self::Opaque(OPTIONAL, Arc::new([value]))
    }
    pub fn hidden(name: &str) -> Self {
        Self::Object(Arc::new(Object { name: name.to_owned(), fields: Fields::Hidden }))
    }
    pub fn object(name: &str, fields: impl IntoIterator<Item = (String, Self)>) -> Self {
        Self::Object(Arc::new(Object { name: name.to_owned(), fields: Fields::Known(fields.into_iter().collect()) }))
    }

    /// Of what a schema says; objects are named by their place.
    pub fn declared(declared: &Declared, name: &str) -> Self {
        match &declared.shape {
            Shape::Bool => Self::Bool,
            Shape::Int => Self::Int,
            Shape::Double => Self::Double,
            Shape::String => Self::String,
            Shape::Bytes => Self::Bytes,
            Shape::Duration => Self::Duration,
            Shape::Timestamp => Self::Timestamp,
            Shape::Dyn => Self::Dyn,
            Shape::List(item) => Self::list(Self::declared(item, &format!("{name}.@idx"))),
            Shape::Map(value) => Self::map(Self::String, Self::declared(value, &format!("{name}.@elem"))),
            Shape::Object(fields) => {
                Self::object(name, fields.iter().map(|(field, declared)| (field.clone(), Self::declared(declared, &format!("{name}.{field}")))))
            }
        }
    }

    /// As a policy's variables are seen: what upstream has no plain type for may be anything.
    #[must_use]
    pub fn of_variable(self) -> Self {
        match self {
            Self::List(item) => Self::list((*item).clone().of_variable()),
            Self::Map(of) => Self::map(of.0.clone().of_variable(), of.1.clone().of_variable()),
            Self::Opaque(..) | Self::Object(_) | Self::TypeOf(_) | Self::Pair(_) | Self::Variable(_) | Self::Error => Self::Dyn,
            plain => plain,
        }
    }

    pub fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn)
    }
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error)
    }
    /// What an optional holds.
    pub fn unwrapped(&self) -> Option<&Self> {
        match self {
            Self::Opaque(OPTIONAL, of) => of.first(),
            _ => None,
        }
    }
    /// The types that it is made of.
    pub fn parts(&self) -> &[Self] {
        match self {
            Self::List(item) | Self::TypeOf(item) => std::slice::from_ref(item),
            Self::Opaque(_, of) => of,
            _ => &[],
        }
    }

    /// As results of expressions are told.
    pub fn result_name(&self) -> String {
        match self {
            Self::Null => "null_type".to_owned(),
            Self::Duration => "google.protobuf.Duration".to_owned(),
            Self::Timestamp => "google.protobuf.Timestamp".to_owned(),
            Self::List(item) => format!("list({})", item.result_name()),
            Self::Map(of) => format!("map({}, {})", of.0.result_name(), of.1.result_name()),
            Self::TypeOf(of) => format!("type({})", of.result_name()),
            Self::Opaque(name, of) if !of.is_empty() => format!("{name}({})", joined(of, Self::result_name)),
            other => other.to_string(),
        }
    }
}

fn joined(types: &[Type], name: impl Fn(&Type) -> String) -> String {
    types.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// As faults tell them.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dyn => "dyn",
            Self::Error => "!error!",
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Duration => "duration",
            Self::Timestamp => "timestamp",
            Self::List(item) => return write!(f, "list({item})"),
            Self::Map(of) => return write!(f, "map({}, {})", of.0, of.1),
            Self::TypeOf(of) => return write!(f, "type({of})"),
            Self::Opaque(name, of) if of.is_empty() => name,
            Self::Opaque(name, of) => return write!(f, "{name}({})", joined(of, ToString::to_string)),
            Self::Object(object) => &object.name,
            Self::Pair(_) => "list(dyn)",
            Self::Variable(number) => return write!(f, "_var{number}"),
        })
    }
}

/// Objects are told apart by their names.
impl PartialEq for Type {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b)) | (Self::TypeOf(a), Self::TypeOf(b)) => a == b,
            (Self::Map(a), Self::Map(b)) | (Self::Pair(a), Self::Pair(b)) => a == b,
            (Self::Opaque(a, x), Self::Opaque(b, y)) => a == b && x == y,
            (Self::Object(a), Self::Object(b)) => a.name == b.name,
            (Self::Variable(a), Self::Variable(b)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

fn fields(of: &[(&str, Type)]) -> Vec<(String, Type)> {
    of.iter().map(|(name, of)| ((*name).to_owned(), of.clone())).collect()
}

fn texts(names: &[&str]) -> Vec<(String, Type)> {
    names.iter().map(|name| ((*name).to_owned(), Type::String)).collect()
}

/// Of `request` in policies.
pub static REQUEST: LazyLock<Type> = LazyLock::new(|| {
    let kind = Type::object("kubernetes.GroupVersionKind", texts(&["group", "version", "kind"]));
    let resource = Type::object("kubernetes.GroupVersionResource", texts(&["group", "version", "resource"]));
    let mut user = texts(&["username", "uid"]);
    let words = || Type::list(Type::String);
    user.extend(fields(&[("groups", words()), ("extra", Type::map(Type::String, words()))]));
    let mut all = texts(&["subResource", "requestSubResource", "name", "namespace", "operation"]);
    all.extend(fields(&[
        ("kind", kind.clone()),
        ("resource", resource.clone()),
        ("requestKind", kind),
        ("requestResource", resource),
        ("userInfo", Type::object("kubernetes.UserInfo", user)),
        ("dryRun", Type::Bool),
        ("options", Type::Dyn),
    ]));
    Type::object("kubernetes.AdmissionRequest", all)
});

/// Of `namespaceObject` in policies.
pub static NAMESPACE: LazyLock<Type> = LazyLock::new(|| {
    let words = || Type::list(Type::String);
    let table = || Type::map(Type::String, Type::String);
    let mut condition = texts(&["status", "type", "message", "reason"]);
    condition.extend(fields(&[("lastTransitionTime", Type::Timestamp)]));
    let condition = Type::object("kubernetes.NamespaceCondition", condition);
    let mut metadata = texts(&["name", "generateName", "namespace", "UID", "resourceVersion"]);
    metadata.extend(fields(&[
        ("labels", table()),
        ("annotations", table()),
        ("creationTimestamp", Type::Timestamp),
        ("deletionGracePeriodSeconds", Type::Int),
        ("deletionTimestamp", Type::Timestamp),
        ("generation", Type::Int),
        ("finalizers", words()),
    ]));
    let status = fields(&[("conditions", Type::list(condition)), ("phase", Type::String)]);
    let all = [
        ("metadata", Type::object("kubernetes.NamespaceMetadata", metadata)),
        ("spec", Type::object("kubernetes.NamespaceSpec", fields(&[("finalizers", words())]))),
        ("status", Type::object("kubernetes.NamespaceStatus", status)),
    ];
    Type::object("kubernetes.Namespace", fields(&all))
});
