//! Calls: which overload of a function takes these types, and what it gives.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};

use super::functions::FUNCTIONS;
use super::types::Type;
use super::{Checker, qualified};

impl Checker<'_> {
    pub(super) fn call(&mut self, id: u64, call: &CallExpr) -> Type {
        match (call.func_name.as_str(), &call.args[..]) {
            (operators::OPT_SELECT, [operand, field]) => return self.optional_field(id, operand, field),
            (operators::INDEX, [pair, place]) if let Some(part) = self.part_of_pair(pair, place) => return part,
            ("@pairs", [range]) => return self.pairs(range),
            ("@mapOf" | "@merged", [IdedExpr { expr: Expr::Comprehension(all), .. }]) => return self.map_made(all, call.func_name == "@mapOf"),
            _ => {}
        }
        let is_format = call.func_name == "format";
        self.formats += usize::from(is_format);
        let found = self.plain_call(id, call);
        self.formats -= usize::from(is_format);
        found
    }

    fn plain_call(&mut self, id: u64, call: &CallExpr) -> Type {
        let mut types: Vec<Type> = call.args.iter().map(|arg| self.look(arg)).collect();
        let Some(target) = call.target.as_deref() else {
            return self.resolve(id, &call.func_name, &call.args, types, false);
        };
        if let Some(space) = qualified(target) {
            let name = format!("{}.{}", space.trim_start_matches('.'), call.func_name);
            if self.is_function(&name) {
                return self.resolve(id, &name, &call.args, types, false);
            }
        }
        types.insert(0, self.look(target));
        self.resolve(id, &call.func_name, &call.args, types, true)
    }

    fn is_function(&self, name: &str) -> bool {
        FUNCTIONS.contains_key(name) && (self.scope.patches || !name.starts_with("jsonpatch."))
    }

    fn resolve(&mut self, id: u64, name: &str, args: &[IdedExpr], types: Vec<Type>, is_method: bool) -> Type {
        let written = name;
        let name = name.trim_start_matches('.');
        if !self.is_function(name) {
            self.faults.undeclared_name(id, written);
            return Type::Error;
        }
        if matches!(name, operators::LOGICAL_AND | operators::LOGICAL_OR) {
            let mut fits = true;
            for (arg, found) in args.iter().zip(&types) {
                if !self.bindings.assignable(found, &Type::Bool) {
                    self.mismatch(arg.id, &Type::Bool, found);
                    fits = false;
                }
            }
            return if fits { Type::Bool } else { Type::Error };
        }
        self.overload(id, name, &types, is_method)
    }

    /// What the overloads that take these types give: one type, or anything where they differ.
    pub(super) fn overload(&mut self, id: u64, name: &str, types: &[Type], is_method: bool) -> Type {
        let mut result: Option<Type> = None;
        for overload in FUNCTIONS.get(name).into_iter().flatten().filter(|overload| overload.is_method == is_method) {
            let first = self.bindings.fresh_range(overload.parameters);
            let arguments: Vec<Type> = overload.arguments.iter().map(|of| self.bindings.shifted(of, first)).collect();
            if !self.bindings.all_assignable(types, &arguments) {
                continue;
            }
            let given = self.bindings.shifted(&overload.result, first);
            let given = self.bindings.resolved(&given, false);
            result = Some(match result {
                None => given,
                Some(before) if before.is_dyn() || before == given => before,
                Some(_) => Type::Dyn,
            });
        }
        result.unwrap_or_else(|| {
            let shown: Vec<String> = types.iter().map(|of| self.bindings.resolved(of, true).to_string()).collect();
            let signature = match (&shown[..], is_method) {
                ([target, args @ ..], true) => format!("{target}.({})", args.join(", ")),
                (args, _) => format!("({})", args.join(", ")),
            };
            self.faults.add(id, format!("found no matching overload for '{name}' applied to '{signature}'"));
            Type::Error
        })
    }

    /// `a.?b`.
    fn optional_field(&mut self, id: u64, operand: &IdedExpr, field: &IdedExpr) -> Type {
        let Expr::Literal(LiteralValue::String(name)) = &field.expr else {
            self.faults.add(field.id, "unsupported optional field selection".to_owned());
            return Type::Error;
        };
        let operand = self.look(operand);
        let found = self.field(id, &operand, name.inner(), true);
        self.bindings.resolved(&found, false)
    }
}
