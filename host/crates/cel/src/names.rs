//! Small questions about names: whether one is a function's, what results have to be, and what all is in an expression.

use cel::common::ast::{EntryExpr, Expr, IdedExpr};

use super::check::FUNCTIONS;

/// The namespaces of functions.
const NAMESPACES: [&str; 7] = ["optional", "sets", "lists", "strings", "format", "ip", "jsonpatch"];

/// Whether `namespace.function` is one function, and the namespace no value.
pub fn is_function(namespace: &str, function: &str) -> bool {
    NAMESPACES.contains(&namespace) && FUNCTIONS.contains_key(format!("{namespace}.{function}").as_str())
}

/// What the result of an expression may have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    String,
    Null,
    /// What a mutating policy wants of an object.
    Object,
    /// What a mutating policy does to an object.
    Patches,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::String => "string",
            Self::Null => "null_type",
            Self::Object => "Object",
            Self::Patches => "list(JSONPatch)",
        }
    }
}

/// Calls back for the expression and all in it.
pub fn each<'e>(expression: &'e IdedExpr, see: &mut dyn FnMut(&'e IdedExpr)) {
    see(expression);
    match &expression.expr {
        Expr::Call(call) => call.target.iter().map(|t| &**t).chain(&call.args).for_each(|part| each(part, see)),
        Expr::Select(select) => each(&select.operand, see),
        Expr::List(list) => list.elements.iter().for_each(|part| each(part, see)),
        Expr::Map(map) => map.entries.iter().for_each(|entry| each_in(&entry.expr, see)),
        Expr::Struct(object) => object.entries.iter().for_each(|entry| each_in(&entry.expr, see)),
        Expr::Comprehension(all) => {
            [&all.iter_range, &all.accu_init, &all.loop_cond, &all.loop_step, &all.result].into_iter().for_each(|part| each(part, see));
        }
        _ => {}
    }
}

fn each_in<'e>(entry: &'e EntryExpr, see: &mut dyn FnMut(&'e IdedExpr)) {
    match entry {
        EntryExpr::StructField(field) => each(&field.value, see),
        EntryExpr::MapEntry(entry) => [&entry.key, &entry.value].into_iter().for_each(|part| each(part, see)),
    }
}
