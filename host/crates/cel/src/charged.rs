//! Makes a parsed expression pay for itself, as the evaluator has no hook for it.
//!
//! What the parts of an expression cost whatever their values are is summed beforehand: once for the whole, and once for a turn of each
//! comprehension, charged at every turn (`@turn`). Where the language's own functions and operators cost more for larger values, their
//! arguments' sizes are noted (`@size`) and paid (`@pay`) before the call; what is copied into lists and maps is paid for as well (`@keep`).
//! The evaluator makes `map` and `filter` cheap by their shape, which stays as it is. Both sides of a choice are summed.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::{CelBool, CelInt, DYN_TYPE, INT_TYPE};
use cel::common::value::CowVal;
use cel::{DeclarationError, Env, ExecutionError};

use super::library::Answer;
use super::meter::{self, Size, charge, noted, shallow, size, tenth, weight};
use super::names;

const LIST_COST: u64 = 10;
const MAP_COST: u64 = 30;
/// A copy's price is a value's weight through this.
const COPIES_A_UNIT: u64 = 4;
/// Of what is only gone over to be measured.
const LOOKS_A_UNIT: u64 = 64;

pub fn register(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_overload("@size", "note_size", vec![DYN_TYPE], note_size)?;
    env.add_overload("@pay", "pay", vec![INT_TYPE, INT_TYPE, DYN_TYPE], pay)?;
    env.add_overload("@keep", "keep", vec![DYN_TYPE], keep)?;
    env.add_overload("@turn", "turn", vec![INT_TYPE, DYN_TYPE, DYN_TYPE], turn)?;
    env.add_overload("@go", "go", vec![DYN_TYPE], go)?;
    env.add_overload("@equals", "equals", vec![DYN_TYPE, DYN_TYPE], equals)?;
    env.add_overload("@differs", "differs", vec![DYN_TYPE, DYN_TYPE], differs)
}

/// How the price of a call follows from its arguments' sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Price {
    Nothing,
    One,
    /// By the length of the text, or the weight of what is no text.
    Linear,
    /// Of one text with every place of another.
    Product,
    Replace,
    Split,
    Join,
    Format,
    Count,
    Copy,
    Sort,
    Distinct,
    Add,
    Compare,
    In,
    /// By the number itself.
    Range,
}

const PRICES: [Price; 16] = [
    Price::Nothing,
    Price::One,
    Price::Linear,
    Price::Product,
    Price::Replace,
    Price::Split,
    Price::Join,
    Price::Format,
    Price::Count,
    Price::Copy,
    Price::Sort,
    Price::Distinct,
    Price::Add,
    Price::Compare,
    Price::In,
    Price::Range,
];

fn price_of(function: &str) -> Price {
    match function {
        operators::LOGICAL_AND | operators::LOGICAL_OR | operators::CONDITIONAL => Price::Nothing,
        operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO => Price::Add,
        operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS => Price::Compare,
        operators::IN => Price::In,
        "startsWith" | "endsWith" | "lowerAscii" | "upperAscii" | "trim" | "substring" | "charAt" | "reverse" | "indexOf" | "lastIndexOf" => {
            Price::Linear
        }
        "string" | "bytes" | "int" | "uint" | "double" | "timestamp" | "duration" | "strings.quote" => Price::Linear,
        "contains" => Price::Product,
        "replace" => Price::Replace,
        "split" => Price::Split,
        "join" => Price::Join,
        "format" => Price::Format,
        "size" => Price::Count,
        "flatten" | "slice" | "orValue" | "or" | "value" | "optional.of" | "optional.ofNonZeroValue" => Price::Copy,
        "sort" | "@sortByAssociatedKeys" => Price::Sort,
        "distinct" => Price::Distinct,
        "lists.range" => Price::Range,
        _ => Price::One,
    }
}

fn price(how: Price, own: Size, others: &[Size]) -> u64 {
    let other = |at: usize| others.get(at).map_or(1, |size| size.len);
    let copied = |size: Size| size.weight / COPIES_A_UNIT;
    let all = others.iter().fold(own.weight, |sum, size| sum.saturating_add(size.weight));
    match how {
        Price::Nothing => 0,
        Price::One | Price::Range => 1,
        Price::Linear => tenth(own.len.max(own.weight)).saturating_add(copied(own)),
        Price::Product => tenth(own.len).saturating_mul(tenth(other(0))),
        // As many replacements as there is room for.
        Price::Replace => {
            let places = own.len / other(0).max(1) + 1;
            tenth(own.len).saturating_mul(2).saturating_add(tenth(places.saturating_mul(other(1))))
        }
        Price::Split => tenth(own.len).saturating_mul(2) + copied(Size { weight: own.len, ..own }),
        Price::Join => tenth(own.text.saturating_add(own.len.saturating_mul(others.first().map_or(0, |s| s.len)))).saturating_mul(2),
        Price::Format => tenth(own.len.saturating_add(others.first().map_or(0, |list| list.text + list.weight * 32))),
        Price::Count => 1 + own.text / 100,
        Price::Copy => 1 + all / COPIES_A_UNIT,
        Price::Sort => 1 + all.saturating_mul(u64::from(own.len.max(2).ilog2())),
        Price::Distinct => own.len.saturating_mul(own.weight),
        Price::Add => tenth(own.text + others.iter().map(|size| size.text).sum::<u64>()).max(1) + all / COPIES_A_UNIT,
        Price::Compare => tenth(own.len.min(other(0))),
        Price::In => own.len.saturating_mul(1 + others.first().map_or(0, |s| s.weight / COPIES_A_UNIT)),
    }
}

/// What the expression costs at least; the rest it now charges while it is evaluated.
pub fn charge_for(expression: &mut IdedExpr) -> u64 {
    match &mut expression.expr {
        Expr::Ident(_) => 1,
        Expr::Select(select) => charge_for(&mut select.operand) + u64::from(!select.test),
        Expr::List(list) => LIST_COST + list.elements.iter_mut().map(kept).sum::<u64>(),
        Expr::Map(map) => MAP_COST + map.entries.iter_mut().map(|entry| entry_cost(&mut entry.expr)).sum::<u64>(),
        Expr::Struct(object) => MAP_COST + object.entries.iter_mut().map(|entry| entry_cost(&mut entry.expr)).sum::<u64>(),
        Expr::Comprehension(all) => comprehension(all),
        Expr::Call(call) => {
            let cost = charge_call(call);
            if matches!(call.func_name.as_str(), operators::OPT_INDEX | operators::OPT_SELECT) {
                wrap(expression, "@keep", Vec::new());
            }
            cost
        }
        Expr::Literal(_) | Expr::Unspecified => 0,
    }
}

fn entry_cost(entry: &mut EntryExpr) -> u64 {
    match entry {
        EntryExpr::StructField(field) => kept(&mut field.value),
        EntryExpr::MapEntry(entry) => charge_for(&mut entry.key) + kept(&mut entry.value),
    }
}

fn kept(expression: &mut IdedExpr) -> u64 {
    let cost = charge_for(expression);
    if !matches!(expression.expr, Expr::Literal(_)) {
        wrap(expression, "@keep", Vec::new());
    }
    cost
}

fn charge_call(call: &mut CallExpr) -> u64 {
    // `optional.of(x)`: what stands before the dot is no value.
    let namespace = match call.target.as_deref() {
        Some(IdedExpr { expr: Expr::Ident(name), .. }) if names::is_function(name, &call.func_name) => Some(name.clone()),
        _ => None,
    };
    let mut cost: u64 = call.args.iter_mut().map(charge_for).sum();
    if let (Some(target), None) = (&mut call.target, &namespace) {
        cost += charge_for(target);
    }
    match call.func_name.as_str() {
        operators::EQUALS => call.func_name = "@equals".to_owned(),
        operators::NOT_EQUALS => call.func_name = "@differs".to_owned(),
        "matches" => {
            if let Some(text) = call.target.take() {
                call.args.insert(0, *text);
            }
            call.func_name = "@matches".to_owned();
        }
        name => {
            let how = price_of(&namespace.as_ref().map_or_else(|| name.to_owned(), |space| format!("{space}.{name}")));
            let numeric = |arg: &IdedExpr| matches!(&arg.expr, Expr::Literal(LiteralValue::Int(_) | LiteralValue::Double(_) | LiteralValue::UInt(_)));
            match how {
                Price::Nothing => {}
                Price::One => cost += 1,
                Price::Compare if call.args.iter().any(numeric) => cost += 1,
                how => charge_values(call, how, namespace.is_some()),
            }
        }
    }
    cost
}

/// The last to be evaluated pays: a method's target, else the last argument.
fn charge_values(call: &mut CallExpr, how: Price, is_qualified: bool) {
    let code = PRICES.iter().position(|price| *price == how).unwrap_or(0);
    let mut values: Vec<&mut IdedExpr> = call.args.iter_mut().collect();
    if !is_qualified && let Some(target) = &mut call.target {
        values.push(target);
    }
    let Some((last, before)) = values.split_last_mut() else { return };
    let notes = before.len();
    before.iter_mut().for_each(|value| wrap(value, "@size", Vec::new()));
    let id = last.id;
    wrap(last, "@pay", vec![int(id, code as u64), int(id, notes as u64)]);
}

fn int(id: u64, value: u64) -> IdedExpr {
    IdedExpr { id, expr: Expr::Literal(LiteralValue::Int(i64::try_from(value).unwrap_or(i64::MAX).into())) }
}

/// Puts the expression into a call as its last argument.
fn wrap(expression: &mut IdedExpr, function: &str, mut args: Vec<IdedExpr>) {
    let id = expression.id;
    args.push(std::mem::take(expression));
    *expression = IdedExpr { id, expr: Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args }) };
}

fn comprehension(all: &mut ComprehensionExpr) -> u64 {
    let around = charge_for(&mut all.iter_range) + charge_for(&mut all.accu_init) + charge_for(&mut all.result);
    let is_open = matches!(all.loop_cond.expr, Expr::Literal(_));
    let mut a_turn = charge_for(&mut all.loop_cond) + 1;
    if !is_open {
        // An error in a turn of `all` and `exists` does not end the loop.
        wrap(&mut all.loop_cond, "@go", Vec::new());
    }
    let item = IdedExpr { id: all.loop_step.id, expr: Expr::Ident(all.iter_var.clone()) };
    let places = turning(&mut all.loop_step, &mut a_turn);
    let mut first = Some(item);
    for place in places {
        match first.take() {
            Some(item) => wrap(place, "@turn", vec![int(item.id, a_turn), item]),
            None => wrap(place, "@keep", Vec::new()),
        }
    }
    around
}

/// The parts of a loop's step that may be wrapped without hiding the step's shape, the first of which is evaluated at every turn.
fn turning<'e>(step: &'e mut IdedExpr, cost: &mut u64) -> Vec<&'e mut IdedExpr> {
    let shape = match &step.expr {
        Expr::Call(call) if call.target.is_none() => match (call.func_name.as_str(), call.args.len()) {
            (operators::CONDITIONAL, 3) => Some(operators::CONDITIONAL),
            (operators::ADD, 2) if matches!(&call.args[1].expr, Expr::List(list) if !list.elements.is_empty()) => Some(operators::ADD),
            (operators::LOGICAL_AND | operators::LOGICAL_OR, 2) => Some(operators::LOGICAL_AND),
            _ => None,
        },
        _ => None,
    };
    let Some(shape) = shape else {
        *cost += charge_for(step);
        return vec![step];
    };
    let Expr::Call(call) = &mut step.expr else { return Vec::new() };
    let [first, others @ ..] = &mut call.args[..] else { return Vec::new() };
    if shape == operators::CONDITIONAL {
        *cost += charge_for(first) + 2;
        let mut places = vec![first];
        if let Some(added) = others.first_mut() {
            places.extend(added_items(added, cost));
        }
        return places;
    }
    *cost += 2;
    let Some(second) = others.first_mut() else { return Vec::new() };
    if shape == operators::ADD {
        let Expr::List(list) = &mut second.expr else { return Vec::new() };
        *cost += LIST_COST + list.elements.iter_mut().map(charge_for).sum::<u64>();
        return list.elements.iter_mut().collect();
    }
    *cost += charge_for(second);
    vec![second]
}

/// The items of `@result + [item]`; `exists_one` adds a number.
fn added_items<'e>(added: &'e mut IdedExpr, cost: &mut u64) -> Vec<&'e mut IdedExpr> {
    *cost += 2;
    match &mut added.expr {
        Expr::Call(call) => match call.args.get_mut(1).map(|arg| &mut arg.expr) {
            Some(Expr::List(list)) => {
                *cost += LIST_COST + list.elements.iter_mut().map(charge_for).sum::<u64>();
                list.elements.iter_mut().collect()
            }
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn last<'b, 'v>(mut args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    args.pop().ok_or_else(|| ExecutionError::invalid_argument_count(1, 0))
}

fn number(arg: &CowVal<'_, '_>) -> u64 {
    arg.downcast_ref::<CelInt>().and_then(|int| u64::try_from(*int.inner()).ok()).unwrap_or(0)
}

fn note_size<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let size = size(&*args[0]);
    charge(size.weight / LOOKS_A_UNIT)?;
    meter::note(size);
    last(args)
}

fn pay<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let how = usize::try_from(number(&args[0])).ok().and_then(|code| PRICES.get(code)).copied().unwrap_or(Price::One);
    let others = noted(usize::try_from(number(&args[1])).unwrap_or(0));
    let own = if matches!(how, Price::Count | Price::Compare | Price::In) { shallow(&*args[2]) } else { size(&*args[2]) };
    charge(own.weight / LOOKS_A_UNIT)?;
    charge(if how == Price::Range { number(&args[2]) } else { price(how, own, &others) })?;
    last(args)
}

fn keep<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    charge(weight(&*args[0]) / COPIES_A_UNIT)?;
    last(args)
}

fn turn<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let copied = weight(&*args[1]).saturating_add(weight(&*args[2])) / COPIES_A_UNIT;
    charge(number(&args[0]).saturating_add(copied))?;
    last(args)
}

fn go<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    charge(0)?;
    last(args)
}

/// Two lists or maps are gone over where they have the same length; of anything else a look is enough.
fn same(args: &[CowVal<'_, '_>]) -> Result<bool, ExecutionError> {
    let (left, right) = (shallow(&*args[0]), shallow(&*args[1]));
    charge(tenth(left.len.min(right.len)))?;
    if left.len == right.len && args[0].as_iterable().is_some() && args[1].as_iterable().is_some() {
        charge(weight(&*args[0]) / COPIES_A_UNIT)?;
    }
    Ok(args[0].equals(&*args[1]))
}

fn equals<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    Ok(CowVal::owned(CelBool::from(same(&args)?)))
}

fn differs<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    Ok(CowVal::owned(CelBool::from(!same(&args)?)))
}
