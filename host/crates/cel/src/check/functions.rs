//! The functions that expressions may call, and the types that they take and give: `functions.txt`, read once.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use super::types::{OPTIONAL, Type};

pub struct Overload {
    pub is_method: bool,
    pub arguments: Vec<Type>,
    pub result: Type,
    /// How many types are chosen anew at every call; they are its variables from 0 on.
    pub parameters: u32,
}

pub static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let mut functions: HashMap<&'static str, Vec<Overload>> = HashMap::new();
    let mut name = "";
    for line in include_str!("functions.txt").lines().filter(|line| !line.starts_with('#')) {
        match line.strip_prefix("  ").and_then(overload) {
            Some(overload) => functions.entry(name).or_default().push(overload),
            None => name = line,
        }
    }
    functions
});

fn overload(line: &'static str) -> Option<Overload> {
    let is_method = line.starts_with('.');
    let mut reader = Reader { rest: line.strip_prefix('.').unwrap_or(line), parameters: Vec::new() };
    let arguments = reader.list()?;
    reader.rest = reader.rest.trim_start();
    let result = reader.one()?;
    Some(Overload { is_method, arguments, result, parameters: u32::try_from(reader.parameters.len()).ok()? })
}

struct Reader {
    rest: &'static str,
    parameters: Vec<&'static str>,
}

impl Reader {
    /// Types between brackets.
    fn list(&mut self) -> Option<Vec<Type>> {
        self.rest = self.rest.strip_prefix('(')?;
        let mut all = Vec::new();
        loop {
            self.rest = self.rest.trim_start_matches([' ', ',']);
            if let Some(rest) = self.rest.strip_prefix(')') {
                self.rest = rest;
                return Some(all);
            }
            all.push(self.one()?);
        }
    }

    fn one(&mut self) -> Option<Type> {
        let end = self.rest.find(['(', ')', ',', ' ']).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        let of = if rest.starts_with('(') { self.list()? } else { Vec::new() };
        Some(match (name, &of[..]) {
            ("dyn", _) => Type::Dyn,
            ("bool", _) => Type::Bool,
            ("int", _) => Type::Int,
            ("uint", _) => Type::Uint,
            ("double", _) => Type::Double,
            ("string", _) => Type::String,
            ("bytes", _) => Type::Bytes,
            ("duration", _) => Type::Duration,
            ("timestamp", _) => Type::Timestamp,
            ("list", [item]) => Type::list(item.clone()),
            ("map", [key, value]) => Type::map(key.clone(), value.clone()),
            ("type", [of]) => Type::TypeOf(Arc::new(of.clone())),
            (OPTIONAL, [of]) => Type::optional(of.clone()),
            _ if name.starts_with("net.") => Type::Opaque(name, Arc::new([])),
            _ if name.starts_with("kubernetes.") => Type::hidden(name),
            _ if name.len() == 1 => Type::Variable(self.parameter(name)),
            _ => return None,
        })
    }

    fn parameter(&mut self, name: &'static str) -> u32 {
        let place = self.parameters.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.parameters.push(name);
            self.parameters.len() - 1
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    }
}
