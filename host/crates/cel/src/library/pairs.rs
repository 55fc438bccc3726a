//! Comprehensions over two variables: `all`, `exists`, `existsOne`, `transformList`, `transformMap` and `transformMapEntry` over a
//! list's places and items, or a map's keys and values.
//!
//! The evaluator knows one variable, so the macros go over pairs (`@pairs`), and what is written with the two variables is rewritten to
//! take them out of the pair.

use std::collections::HashMap;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, operators};
use cel::common::types::{CelInt, CelList, CelMap, CelMapKey, DYN_TYPE, LIST_TYPE, MAP_TYPE};
use cel::common::value::{CowVal, Val};
use cel::parser::{Macro, MacroExprHelper, ParseError};
use cel::{DeclarationError, Env};

use super::{Answer, failed, no_overload};
use crate::meter::{charge, weight};

const RESULT: &str = "@result";

type Helper<'h> = MacroExprHelper<'h>;

pub fn register(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_overload("@pairs", "list_to_pairs", vec![LIST_TYPE], pairs)?;
    env.add_overload("@pairs", "map_to_pairs", vec![MAP_TYPE], pairs)?;
    env.add_overload("@mapOf", "pairs_to_map", vec![DYN_TYPE], map_of)?;
    env.add_overload("@merged", "maps_to_map", vec![DYN_TYPE], merged)?;
    for (name, arguments) in [("all", 3), ("exists", 3), ("existsOne", 3), ("exists_one", 3)] {
        env.add_macro(Macro::receiver(name, arguments, move |helper, target, args| expand(helper, target, args, name)))?;
    }
    for name in ["transformList", "transformMap", "transformMapEntry"] {
        for arguments in [3, 4] {
            env.add_macro(Macro::receiver(name, arguments, move |helper, target, args| expand(helper, target, args, name)))?;
        }
    }
    Ok(())
}

fn expand(helper: &mut Helper<'_>, target: &mut Option<IdedExpr>, args: &mut Vec<IdedExpr>, name: &str) -> Result<Option<IdedExpr>, ParseError> {
    let names: Vec<Option<String>> = args.iter().take(2).map(plain_name).collect();
    let [Some(first), Some(second)] = &names[..] else {
        return Err(helper.new_error(args[0].id, "argument must be a simple name"));
    };
    if first == second {
        return Err(helper.new_error(args[1].id, format!("duplicate variable name: {first}")));
    }
    let (first, second) = (first.clone(), second.clone());
    let Some(range) = target.take() else { return Ok(None) };
    // Unlike any name that can be written, and unlike those of comprehensions around this one.
    let pair = format!("@pair{}", range.id);
    let mut bodies: Vec<IdedExpr> = args.drain(..).skip(2).collect();
    for body in &mut bodies {
        take_from(body, &pair, &first, 0);
        take_from(body, &pair, &second, 1);
    }
    let pairs = call(helper, "@pairs", vec![range]);
    let Some(body) = bodies.pop() else { return Ok(None) };
    let filter = bodies.pop();
    Ok(Some(match name {
        "all" => fold(helper, pairs, pair, body, true),
        "exists" => fold(helper, pairs, pair, body, false),
        "existsOne" | "exists_one" => count(helper, pairs, pair, body),
        "transformList" => collect(helper, pairs, pair, filter, |_| body),
        "transformMap" => {
            let entries = collect(helper, pairs, pair.clone(), filter, |helper| {
                let key = part(helper.next_expr(Expr::Unspecified).id, &pair, 0);
                helper.next_expr(Expr::List(ListExpr::new(vec![key, body])))
            });
            call(helper, "@mapOf", vec![entries])
        }
        _ => {
            let maps = collect(helper, pairs, pair, filter, |_| body);
            call(helper, "@merged", vec![maps])
        }
    }))
}

fn plain_name(arg: &IdedExpr) -> Option<String> {
    match &arg.expr {
        Expr::Ident(name) if !name.contains('.') => Some(name.clone()),
        _ => None,
    }
}

fn call(helper: &mut Helper<'_>, function: &str, args: Vec<IdedExpr>) -> IdedExpr {
    helper.next_expr(Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args }))
}

fn ident(helper: &mut Helper<'_>, name: &str) -> IdedExpr {
    helper.next_expr(Expr::Ident(name.to_owned()))
}

fn truth(helper: &mut Helper<'_>, value: bool) -> IdedExpr {
    helper.next_expr(Expr::Literal(LiteralValue::Boolean(value.into())))
}

/// `all` (which begins as true) and `exists`, in the shape of the evaluator's own.
fn fold(helper: &mut Helper<'_>, iter_range: IdedExpr, iter_var: String, body: IdedExpr, all: bool) -> IdedExpr {
    let accu_init = truth(helper, all);
    let seen = ident(helper, RESULT);
    let open = if all { seen } else { call(helper, operators::LOGICAL_NOT, vec![seen]) };
    let loop_cond = call(helper, operators::NOT_STRICTLY_FALSE, vec![open]);
    let so_far = ident(helper, RESULT);
    let loop_step = call(helper, if all { operators::LOGICAL_AND } else { operators::LOGICAL_OR }, vec![so_far, body]);
    let result = ident(helper, RESULT);
    let whole = ComprehensionExpr { iter_range, iter_var, iter_var2: None, accu_var: RESULT.to_owned(), accu_init, loop_cond, loop_step, result };
    helper.next_expr(Expr::Comprehension(Box::new(whole)))
}

/// Whether the body holds for one pair alone, in the shape of the evaluator's own.
fn count(helper: &mut Helper<'_>, iter_range: IdedExpr, iter_var: String, body: IdedExpr) -> IdedExpr {
    let number = |helper: &mut Helper<'_>, n: i64| helper.next_expr(Expr::Literal(LiteralValue::Int(n.into())));
    let accu_init = number(helper, 0);
    let loop_cond = truth(helper, true);
    let (so_far, one) = (ident(helper, RESULT), number(helper, 1));
    let more = call(helper, operators::ADD, vec![so_far, one]);
    let same = ident(helper, RESULT);
    let loop_step = call(helper, operators::CONDITIONAL, vec![body, more, same]);
    let (found, one) = (ident(helper, RESULT), number(helper, 1));
    let result = call(helper, operators::EQUALS, vec![found, one]);
    let whole = ComprehensionExpr { iter_range, iter_var, iter_var2: None, accu_var: RESULT.to_owned(), accu_init, loop_cond, loop_step, result };
    helper.next_expr(Expr::Comprehension(Box::new(whole)))
}

/// A list with what is made of each pair that the filter lets pass.
fn collect(
    helper: &mut Helper<'_>,
    iter_range: IdedExpr,
    iter_var: String,
    filter: Option<IdedExpr>,
    body: impl FnOnce(&mut Helper<'_>) -> IdedExpr,
) -> IdedExpr {
    let accu_init = helper.next_expr(Expr::List(ListExpr::new(Vec::new())));
    let loop_cond = truth(helper, true);
    let body = body(helper);
    let so_far = ident(helper, RESULT);
    let items = helper.next_expr(Expr::List(ListExpr::new(vec![body])));
    let mut loop_step = call(helper, operators::ADD, vec![so_far, items]);
    if let Some(filter) = filter {
        let same = ident(helper, RESULT);
        loop_step = call(helper, operators::CONDITIONAL, vec![filter, loop_step, same]);
    }
    let result = ident(helper, RESULT);
    let whole = ComprehensionExpr { iter_range, iter_var, iter_var2: None, accu_var: RESULT.to_owned(), accu_init, loop_cond, loop_step, result };
    helper.next_expr(Expr::Comprehension(Box::new(whole)))
}

/// `pair[at]`.
fn part(id: u64, pair: &str, at: i64) -> IdedExpr {
    let place = IdedExpr { id, expr: Expr::Literal(LiteralValue::Int(at.into())) };
    let args = vec![IdedExpr { id, expr: Expr::Ident(pair.to_owned()) }, place];
    IdedExpr { id, expr: Expr::Call(CallExpr { func_name: operators::INDEX.to_owned(), target: None, args }) }
}

/// Makes a part of the pair of every mention of the name that no comprehension inside gives another meaning.
fn take_from(expression: &mut IdedExpr, pair: &str, name: &str, at: i64) {
    match &mut expression.expr {
        Expr::Ident(found) if found == name => *expression = part(expression.id, pair, at),
        Expr::Comprehension(inner) => {
            take_from(&mut inner.iter_range, pair, name, at);
            take_from(&mut inner.accu_init, pair, name, at);
            if inner.iter_var != name && inner.accu_var != name {
                [&mut inner.loop_cond, &mut inner.loop_step].into_iter().for_each(|e| take_from(e, pair, name, at));
            }
            if inner.accu_var != name {
                take_from(&mut inner.result, pair, name, at);
            }
        }
        Expr::Call(call) => call.target.iter_mut().map(|t| &mut **t).chain(&mut call.args).for_each(|e| take_from(e, pair, name, at)),
        Expr::List(list) => list.elements.iter_mut().for_each(|e| take_from(e, pair, name, at)),
        Expr::Select(select) => take_from(&mut select.operand, pair, name, at),
        Expr::Map(map) => map.entries.iter_mut().for_each(|entry| take_from_entry(&mut entry.expr, pair, name, at)),
        Expr::Struct(object) => object.entries.iter_mut().for_each(|entry| take_from_entry(&mut entry.expr, pair, name, at)),
        _ => {}
    }
}

fn take_from_entry(entry: &mut EntryExpr, pair: &str, name: &str, at: i64) {
    match entry {
        EntryExpr::StructField(field) => take_from(&mut field.value, pair, name, at),
        EntryExpr::MapEntry(entry) => [&mut entry.key, &mut entry.value].into_iter().for_each(|e| take_from(e, pair, name, at)),
    }
}

fn pairs<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let whole = &*args[0];
    charge(weight(whole) / 4)?;
    let mut all: Vec<Box<dyn Val + 'v>> = Vec::new();
    if let Some(map) = whole.downcast_ref::<CelMap<'v>>() {
        for (key, value) in map.inner() {
            all.push(Box::new(CelList::from(vec![key.inner().clone_as_boxed(), value.clone()])));
        }
    } else if let Some(list) = whole.downcast_ref::<CelList<'v>>() {
        for (at, value) in list.inner().iter().enumerate() {
            let at = CelInt::from(i64::try_from(at).unwrap_or(i64::MAX));
            all.push(Box::new(CelList::from(vec![Box::new(at) as Box<dyn Val + 'v>, value.clone()])));
        }
    } else {
        return Err(no_overload("@pairs", &args));
    }
    Ok(CowVal::owned(CelList::from(all)))
}

fn map_of<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let Some(list) = args[0].downcast_ref::<CelList<'v>>() else { return Err(no_overload("transformMap", &args)) };
    charge(weight(list) / 4)?;
    let mut map: HashMap<CelMapKey<'v>, Box<dyn Val + 'v>> = HashMap::with_capacity(list.inner().len());
    for pair in list.inner() {
        let Some([key, value]) = pair.downcast_ref::<CelList<'v>>().map(CelList::inner) else { return Err(no_overload("transformMap", &args)) };
        let key: CelMapKey<'v> = CowVal::Owned(key.clone()).try_into()?;
        map.insert(key, value.clone());
    }
    Ok(CowVal::owned(CelMap::from(map)))
}

fn merged<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    charge(weight(&*args[0]) / 4)?;
    let mut map: HashMap<CelMapKey<'v>, Box<dyn Val + 'v>> = HashMap::new();
    let Some(list) = args[0].downcast_ref::<CelList<'v>>() else { return Err(no_overload("transformMapEntry", &args)) };
    for one in list.inner() {
        let Some(entries) = one.downcast_ref::<CelMap<'v>>() else { return Err(no_overload("transformMapEntry", &args)) };
        for (key, value) in entries.inner() {
            if map.insert(key.clone(), value.clone()).is_some() {
                return Err(failed("transformMapEntry", format!("insert failed: key {:?} already exists", key.inner())));
            }
        }
    }
    Ok(CowVal::owned(CelMap::from(map)))
}
