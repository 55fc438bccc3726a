//! Of which types the parts of an expression are, and what does not fit: `cel-go`'s checker, in its words.
//!
//! What a variable's type is follows from where the expression stands ([`Scope`]). Who names something that is not there, calls a function
//! with types that it does not take, or mixes types in a list is told so before anything is evaluated.

mod calls;
mod functions;
mod literals;
mod loops;
#[cfg(test)]
mod tests;
pub mod types;
mod unify;

use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo, StructExpr};

use super::faults::Faults;
use types::{Fields, Object, Type};
use unify::Bindings;

pub use functions::FUNCTIONS;

/// What an expression may name, and of which type that is.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    variables: Vec<(String, Type)>,
    /// `Object`, `JSONPatch` and what goes with them are there.
    patches: bool,
    /// Anything may be named: only functions are known.
    is_open: bool,
}

impl Scope {
    /// Whatever is named is there.
    pub fn open() -> Self {
        Self { is_open: true, patches: true, ..Self::default() }
    }
    /// Of any type, all of them.
    pub fn of(names: &[&str]) -> Self {
        names.iter().fold(Self { patches: true, ..Self::default() }, |scope, name| scope.with(name, Type::Dyn))
    }
    #[must_use]
    pub fn with(mut self, name: &str, of: Type) -> Self {
        self.variables.push((name.to_owned(), of));
        self
    }
    /// As mutating policies see it.
    #[must_use]
    pub fn with_patches(self) -> Self {
        Self { patches: true, ..self }
    }
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        let mut scope = self.clone();
        scope.variables.retain(|(known, _)| !names.contains(&known.as_str()));
        scope
    }
    /// Gives a variable that is an object one more field. Only of a scope that shares it with no other.
    pub fn declare(&mut self, variable: &str, field: &str, of: Type) {
        if let Some((_, Type::Object(object))) = self.variables.iter_mut().find(|(known, _)| known == variable)
            && let Some(Object { fields: Fields::Known(fields), .. }) = Arc::get_mut(object)
        {
            fields.insert(field.to_owned(), of);
        }
    }
}

/// The type of the result, where all of it could be told; the faults otherwise.
pub fn check(expression: &IdedExpr, scope: &Scope, source: &SourceInfo) -> Result<Option<Type>, String> {
    let mut checker =
        Checker { scope, loops: Vec::new(), bindings: Bindings::default(), faults: Faults::default(), literals: Vec::new(), formats: 0 };
    let found = checker.look(expression);
    let found = checker.bindings.resolved(&found, true);
    let is_told = !scope.is_open && !checker.bindings.gave_up();
    if is_told && checker.faults.is_empty() {
        checker.mixtures();
    }
    let mut faults = if is_told { checker.faults } else { checker.faults.undeclared() };
    if faults.is_empty() {
        literals::check(expression, &mut faults);
    }
    faults.told(source).map_or(Ok(is_told.then_some(found)), Err)
}

/// Messages of `google.protobuf` that every environment knows.
const WELL_KNOWN: [&str; 15] = [
    "Any",
    "BoolValue",
    "BytesValue",
    "DoubleValue",
    "Empty",
    "FloatValue",
    "Int32Value",
    "Int64Value",
    "ListValue",
    "NullValue",
    "StringValue",
    "Struct",
    "UInt32Value",
    "UInt64Value",
    "Value",
];

struct Checker<'a> {
    scope: &'a Scope,
    /// Variables of comprehensions, the innermost last.
    loops: Vec<(String, Type)>,
    bindings: Bindings,
    faults: Faults,
    /// The parts of lists, and the keys and values of maps, that are written out and should be of one type: places and types.
    literals: Vec<(Literal, Vec<(u64, Type)>)>,
    /// Calls of `format` around the present place: their lists may be mixed.
    formats: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Literal {
    List,
    /// Of a map: each is told that differs.
    Map,
}

impl Checker<'_> {
    fn look(&mut self, expression: &IdedExpr) -> Type {
        let id = expression.id;
        match &expression.expr {
            Expr::Literal(literal) => literal_type(literal),
            Expr::Ident(name) => self.named(name).unwrap_or_else(|| {
                self.faults.undeclared_name(id, name);
                Type::Error
            }),
            Expr::Select(select) => self.select(expression, select),
            Expr::Call(call) => self.call(id, call),
            Expr::List(list) => {
                let items: Vec<(&IdedExpr, bool)> =
                    list.elements.iter().enumerate().map(|(at, item)| (item, list.optional_indices.contains(&at))).collect();
                let item = self.of_one_type(&items);
                self.sized(Type::list(item))
            }
            Expr::Map(map) => {
                let entries = map.entries.iter().filter_map(|entry| match &entry.expr {
                    EntryExpr::MapEntry(entry) => Some(entry),
                    EntryExpr::StructField(_) => None,
                });
                let entries: Vec<_> = entries.collect();
                let (mut keys, mut values) = (Vec::new(), Vec::new());
                let (mut key, mut value) = (None, None);
                for entry in &entries {
                    key = Some(self.join(&entry.key, false, key, &mut keys));
                    value = Some(self.join(&entry.value, entry.optional, value, &mut values));
                }
                self.note(Literal::Map, keys);
                self.note(Literal::Map, values);
                let (key, value) = (key.unwrap_or_else(|| self.bindings.fresh()), value.unwrap_or_else(|| self.bindings.fresh()));
                self.sized(Type::map(key, value))
            }
            Expr::Struct(object) => self.object(id, object),
            Expr::Comprehension(all) => self.comprehension(all),
            Expr::Unspecified => Type::Dyn,
        }
    }

    /// Types grow where they are written out.
    fn sized(&mut self, of: Type) -> Type {
        self.bindings.resolved(&of, false);
        of
    }

    /// The type of a variable, or of a type's name.
    fn named(&self, name: &str) -> Option<Type> {
        let plain = name.trim_start_matches('.');
        let known = |all: &[(String, Type)]| all.iter().rev().find(|(known, _)| known == plain).map(|(_, of)| of.clone());
        known(&self.loops).or_else(|| known(&self.scope.variables)).or_else(|| self.type_named(plain)).or_else(|| {
            // Only what no text can say is unknown here: variables that the evaluator's macros make.
            (self.scope.is_open || plain.starts_with(['@', '#'])).then_some(Type::Dyn)
        })
    }

    fn type_named(&self, name: &str) -> Option<Type> {
        let of = match name {
            "bool" => Type::Bool,
            "bytes" => Type::Bytes,
            "double" => Type::Double,
            "duration" | "google.protobuf.Duration" => Type::Duration,
            "int" => Type::Int,
            "list" => Type::list(Type::Dyn),
            "map" => Type::map(Type::Dyn, Type::Dyn),
            "null_type" => Type::Null,
            "string" => Type::String,
            "timestamp" | "google.protobuf.Timestamp" => Type::Timestamp,
            "type" => Type::TypeOf(Arc::new(Type::Dyn)),
            "uint" => Type::Uint,
            types::OPTIONAL => Type::Opaque(types::OPTIONAL, Arc::new([])),
            "net.IP" => Type::Opaque("net.IP", Arc::new([])),
            "net.CIDR" => Type::Opaque("net.CIDR", Arc::new([])),
            _ if name.strip_prefix("google.protobuf.").is_some_and(|name| WELL_KNOWN.contains(&name)) => Type::Dyn,
            _ => return self.patch_type(name).map(|of| Type::TypeOf(Arc::new(of))),
        };
        Some(Type::TypeOf(Arc::new(of)))
    }

    /// What mutating policies write objects and patches with.
    fn patch_type(&self, name: &str) -> Option<Type> {
        if !self.scope.patches {
            return None;
        }
        if name == "JSONPatch" {
            let texts = ["op", "path", "from"].map(|field| (field.to_owned(), Type::String));
            return Some(Type::object(name, texts.into_iter().chain([("value".to_owned(), Type::Dyn)])));
        }
        let is_object = name == "Object" || name.starts_with("Object.");
        is_object.then(|| Type::Object(Arc::new(Object { name: name.to_owned(), fields: Fields::Any })))
    }

    fn select(&mut self, expression: &IdedExpr, select: &SelectExpr) -> Type {
        if !select.test
            && let Some(name) = qualified(expression)
            && let Some(found) = self.qualified(&name)
        {
            return found;
        }
        let operand = self.look(&select.operand);
        let field = self.field(expression.id, &operand, &select.field, false);
        if select.test { Type::Bool } else { self.bindings.resolved(&field, false) }
    }

    /// A name with dots that is one name.
    fn qualified(&self, name: &str) -> Option<Type> {
        let plain = name.trim_start_matches('.');
        self.scope.variables.iter().find(|(known, _)| known == plain).map(|(_, of)| of.clone()).or_else(|| self.type_named(plain))
    }

    fn field(&mut self, id: u64, operand: &Type, name: &str, optional: bool) -> Type {
        let operand = self.bindings.resolved(operand, false);
        let target = operand.unwrapped().unwrap_or(&operand);
        let found = match target {
            Type::Map(of) => of.1.clone(),
            Type::Object(object) => self.field_of(id, object, name),
            Type::Variable(_) => {
                self.bindings.assignable(&Type::Dyn, target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            other => {
                self.faults.add(id, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        };
        if optional || operand.unwrapped().is_some() { Type::optional(found) } else { found }
    }

    fn field_of(&mut self, id: u64, object: &Object, name: &str) -> Type {
        let found = match &object.fields {
            Fields::Any => return Type::Dyn,
            // Words that the language keeps may be written as they are.
            Fields::Known(fields) => fields.get(name).or_else(|| fields.get(&format!("__{name}__"))).cloned(),
            Fields::Hidden => None,
        };
        found.unwrap_or_else(|| {
            self.faults.add(
                id,
                match object.fields {
                    Fields::Hidden => format!("unexpected failed resolution of '{}'", object.name),
                    _ => format!("undefined field '{name}'"),
                },
            );
            Type::Error
        })
    }

    fn of_one_type(&mut self, items: &[(&IdedExpr, bool)]) -> Type {
        let mut seen = Vec::new();
        let mut all = None;
        for (item, optional) in items {
            all = Some(self.join(item, *optional, all, &mut seen));
        }
        self.note(Literal::List, seen);
        all.unwrap_or_else(|| self.bindings.fresh())
    }

    /// The most general type of those before and this one.
    fn join(&mut self, item: &IdedExpr, optional: bool, before: Option<Type>, seen: &mut Vec<(u64, Type)>) -> Type {
        let mut found = self.look(item);
        if optional {
            match found.unwrapped().cloned() {
                Some(of) => found = of,
                None if found.is_dyn() => {}
                None => self.mismatch(item.id, &Type::optional(found.clone()), &found),
            }
        }
        seen.push((item.id, found.clone()));
        let Some(before) = before else { return found };
        if self.bindings.assignable(&before, &found) {
            return self.bindings.more_general(&before, &found);
        }
        // Told in the end, so that `format` may have mixed ones.
        Type::Dyn
    }

    fn mismatch(&mut self, id: u64, wanted: &Type, found: &Type) {
        self.faults.add(id, format!("expected type '{wanted}' but found '{found}'"));
    }

    fn note(&mut self, of: Literal, seen: Vec<(u64, Type)>) {
        if self.formats == 0 && seen.len() > 1 {
            self.literals.push((of, seen));
        }
    }

    /// Lists and maps whose parts are not of one type.
    fn mixtures(&mut self) {
        for (of, parts) in std::mem::take(&mut self.literals) {
            let mut first = None;
            for (id, part) in parts {
                let part = self.bindings.resolved(&part, true);
                match &first {
                    None => first = Some(part),
                    Some(first) if *first != part => {
                        self.mismatch(id, &first.clone(), &part);
                        if of == Literal::List {
                            break;
                        }
                    }
                    Some(_) => {}
                }
            }
        }
    }

    fn object(&mut self, id: u64, object: &StructExpr) -> Type {
        let Some(found) = self.named_type_of(&object.type_name) else {
            self.faults.undeclared_name(id, &object.type_name);
            return Type::Error;
        };
        let Type::TypeOf(of) = &found else {
            self.faults.add(id, format!("'{}' is not a type", found.result_name()));
            return Type::Error;
        };
        let Type::Object(of) = &**of else {
            self.faults.add(id, format!("'{}' is not a message type", of.result_name()));
            return Type::Error;
        };
        for entry in &object.entries {
            let EntryExpr::StructField(field) = &entry.expr else { continue };
            let mut value = self.look(&field.value);
            let wanted = match &of.fields {
                Fields::Known(fields) => fields.get(&field.field).cloned(),
                _ => Some(Type::Dyn),
            };
            if field.optional {
                match value.unwrapped().cloned() {
                    Some(of) => value = of,
                    None if value.is_dyn() => {}
                    None => self.mismatch(field.value.id, &Type::optional(value.clone()), &value),
                }
            }
            if wanted.as_ref().is_none_or(|wanted| !self.bindings.assignable(wanted, &value)) {
                let wanted = wanted.map_or_else(String::new, |wanted| wanted.to_string());
                self.faults.add(entry.id, format!("expected type of field '{}' is '{wanted}' but provided type is '{value}'", field.field));
            }
        }
        Type::Object(of.clone())
    }

    fn named_type_of(&self, name: &str) -> Option<Type> {
        // Kubernetes has no messages but its own.
        (!name.contains("google.")).then(|| self.named(name)).flatten().filter(|found| !self.scope.is_open || matches!(found, Type::TypeOf(_)))
    }
}

fn literal_type(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::String,
        LiteralValue::UInt(_) => Type::Uint,
    }
}

/// `a.b.c`, where that is all there is.
fn qualified(expression: &IdedExpr) -> Option<String> {
    match &expression.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => Some(format!("{}.{}", qualified(&select.operand)?, select.field)),
        _ => None,
    }
}
