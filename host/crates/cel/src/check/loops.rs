//! Comprehensions, those over two variables as the evaluator knows them included ([`crate::library::pairs`]).

use std::sync::Arc;

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators};

use super::Checker;
use super::types::Type;

/// Upstream's name for what makes the maps of `transformMap` and `transformMapEntry`.
const INSERT: &str = "cel.@mapInsert";

impl Checker<'_> {
    pub(super) fn comprehension(&mut self, all: &ComprehensionExpr) -> Type {
        let range = self.look(&all.iter_range);
        let made = self.look(&all.accu_init);
        let item = self.item(&all.iter_range, &range);
        let depth = self.loops.len();
        self.loops.push((all.accu_var.clone(), made.clone()));
        self.loops.push((all.iter_var.clone(), item));
        let goes_on = self.look(&all.loop_cond);
        self.expect(all.loop_cond.id, &Type::Bool, &goes_on);
        let step = self.look(&all.loop_step);
        self.expect(all.loop_step.id, &made, &step);
        self.loops.truncate(depth + 1);
        let result = self.look(&all.result);
        self.loops.truncate(depth);
        self.bindings.resolved(&result, false)
    }

    fn expect(&mut self, id: u64, wanted: &Type, found: &Type) {
        if !self.bindings.assignable(wanted, found) {
            self.mismatch(id, wanted, found);
        }
    }

    /// What a comprehension's variable stands for.
    fn item(&mut self, range: &IdedExpr, of: &Type) -> Type {
        match self.bindings.resolved(of, false) {
            Type::List(item) => (*item).clone(),
            Type::Map(of) => of.0.clone(),
            open @ (Type::Dyn | Type::Error | Type::Variable(_)) => {
                self.bindings.assignable(&Type::Dyn, &open);
                Type::Dyn
            }
            other => {
                let why = format!("expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)");
                self.faults.add(range.id, why);
                Type::Error
            }
        }
    }

    /// Places and items, or keys and values.
    pub(super) fn pairs(&mut self, range: &IdedExpr) -> Type {
        let of = self.look(range);
        let pair = match self.bindings.resolved(&of, false) {
            Type::List(item) => (Type::Int, (*item).clone()),
            Type::Map(of) => (*of).clone(),
            _ => {
                let item = self.item(range, &of);
                (item.clone(), item)
            }
        };
        Type::list(Type::Pair(Arc::new(pair)))
    }

    /// One of the two variables.
    pub(super) fn part_of_pair(&self, pair: &IdedExpr, place: &IdedExpr) -> Option<Type> {
        let (Expr::Ident(name), Expr::Literal(LiteralValue::Int(place))) = (&pair.expr, &place.expr) else { return None };
        if !name.starts_with("@pair") {
            return None;
        }
        match self.named(name)? {
            Type::Pair(of) => Some(if *place.inner() == 0 { of.0.clone() } else { of.1.clone() }),
            _ => Some(Type::Dyn),
        }
    }

    /// A map of pairs, or of maps: the evaluator makes a list of them first, upstream inserts one after the other.
    pub(super) fn map_made(&mut self, all: &ComprehensionExpr, of_pairs: bool) -> Type {
        let range = self.look(&all.iter_range);
        let made = Type::map(self.bindings.fresh(), self.bindings.fresh());
        let item = self.item(&all.iter_range, &range);
        let depth = self.loops.len();
        self.loops.push((all.iter_var.clone(), item));
        if let Some((filter, body, id)) = collected(&all.loop_step) {
            let passes = filter.map(|filter| self.look(filter));
            let mut types = vec![made.clone()];
            match (&body.expr, of_pairs) {
                (Expr::List(pair), true) => types.extend(pair.elements.iter().map(|part| self.look(part)).collect::<Vec<_>>()),
                _ => types.push(self.look(body)),
            }
            let mut step = self.overload(id, INSERT, &types, false);
            if let Some(passes) = passes {
                step = self.overload(id, operators::CONDITIONAL, &[passes, step, made.clone()], false);
            }
            self.expect(id, &made, &step);
        }
        self.loops.truncate(depth);
        self.bindings.resolved(&made, false)
    }
}

/// Of `@result + [body]`, or `filter ? @result + [body] : @result`: filter, body, and the place of the addition.
fn collected(step: &IdedExpr) -> Option<(Option<&IdedExpr>, &IdedExpr, u64)> {
    let Expr::Call(CallExpr { func_name, args, .. }) = &step.expr else { return None };
    match (func_name.as_str(), &args[..]) {
        (operators::CONDITIONAL, [filter, inner, _]) => collected(inner).map(|(_, body, id)| (Some(filter), body, id)),
        (operators::ADD, [_, IdedExpr { expr: Expr::List(list), .. }]) => Some((None, list.elements.first()?, step.id)),
        _ => None,
    }
}
