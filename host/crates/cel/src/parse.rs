//! From text to an expression: length, depth, syntax, and what policies write in place of objects.

use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue, MapEntryExpr, MapExpr, SourceInfo};

/// The longest expression that is compiled.
const MAX_EXPRESSION_BYTES: usize = 64 << 10;
/// How deep the parts of an expression may lie in each other. The evaluator goes into them by calling itself.
const MAX_DEPTH: usize = 200;
/// How many signs may stand in an expression that lead deeper: the parser calls itself for each.
const MAX_SIGNS: usize = 4_000;
/// The stack that reading and evaluating may take: for the deepest expression that is let through, without optimisation.
pub const STACK_BYTES: usize = 64 << 20;

pub fn parse(text: &str) -> Result<(IdedExpr, SourceInfo), String> {
    if text.trim().is_empty() {
        return Err("the expression is empty".to_owned());
    }
    if text.len() > MAX_EXPRESSION_BYTES {
        return Err(format!("the expression has more than {MAX_EXPRESSION_BYTES} bytes"));
    }
    if text.bytes().filter(|b| b"([{.+-*/%!?<>=&|".contains(b)).count() > MAX_SIGNS {
        return Err(format!("the expression has more than {MAX_SIGNS} operators and brackets"));
    }
    let parsed = super::env().parser().parse_with_source_info(text);
    let (program, source) = parsed.map_err(|why| as_upstream(&why.to_string()))?;
    if depth(&program) > MAX_DEPTH {
        return Err(format!("ERROR: <input>:1:1: expression recursion limit exceeded: {MAX_DEPTH}"));
    }
    Ok((program, source))
}

/// The evaluator's messages lack the space before the lines that they cite.
fn as_upstream(said: &str) -> String {
    said.trim().lines().map(|line| if line.starts_with("| ") { format!(" {line}") } else { line.to_owned() }).collect::<Vec<_>>().join("\n")
}

pub fn depth(expression: &IdedExpr) -> usize {
    let below = |parts: &mut dyn Iterator<Item = &IdedExpr>| parts.map(depth).max().unwrap_or(0);
    1 + match &expression.expr {
        Expr::Call(call) => below(&mut call.target.iter().map(|t| &**t).chain(&call.args)),
        Expr::Select(select) => depth(&select.operand),
        Expr::List(list) => below(&mut list.elements.iter()),
        Expr::Map(map) => map.entries.iter().map(|entry| entry_depth(&entry.expr)).max().unwrap_or(0),
        Expr::Struct(object) => object.entries.iter().map(|entry| entry_depth(&entry.expr)).max().unwrap_or(0),
        Expr::Comprehension(all) => below(&mut [&all.iter_range, &all.accu_init, &all.loop_cond, &all.loop_step, &all.result].into_iter()),
        _ => 0,
    }
}

fn entry_depth(entry: &EntryExpr) -> usize {
    match entry {
        EntryExpr::StructField(field) => depth(&field.value),
        EntryExpr::MapEntry(entry) => depth(&entry.key).max(depth(&entry.value)),
    }
}

/// Makes `Object{...}`, `Object.spec{...}` and `JSONPatch{...}`, with which policies write what they want of an object, plain
/// maps: what fields an object has is for its schema to say.
pub fn plain_objects(expression: &mut IdedExpr) {
    if let Expr::Struct(object) = &mut expression.expr
        && (object.type_name == "Object" || object.type_name.starts_with("Object.") || object.type_name == "JSONPatch")
    {
        let entries =
            std::mem::take(&mut object.entries).into_iter().map(|entry| IdedEntryExpr { id: entry.id, expr: as_map_entry(entry.id, entry.expr) });
        expression.expr = Expr::Map(MapExpr { entries: entries.collect() });
    }
    match &mut expression.expr {
        Expr::Call(call) => call.target.iter_mut().map(|t| &mut **t).chain(&mut call.args).for_each(plain_objects),
        Expr::List(list) => list.elements.iter_mut().for_each(plain_objects),
        Expr::Select(select) => plain_objects(&mut select.operand),
        Expr::Comprehension(all) => {
            let parts = [&mut all.iter_range, &mut all.accu_init, &mut all.loop_cond, &mut all.loop_step, &mut all.result];
            parts.into_iter().for_each(plain_objects);
        }
        Expr::Map(map) => map.entries.iter_mut().for_each(|entry| match &mut entry.expr {
            EntryExpr::MapEntry(entry) => [&mut entry.key, &mut entry.value].into_iter().for_each(plain_objects),
            EntryExpr::StructField(field) => plain_objects(&mut field.value),
        }),
        Expr::Struct(object) => object.entries.iter_mut().for_each(|entry| {
            if let EntryExpr::StructField(field) = &mut entry.expr {
                plain_objects(&mut field.value);
            }
        }),
        _ => {}
    }
}

fn as_map_entry(id: u64, entry: EntryExpr) -> EntryExpr {
    match entry {
        EntryExpr::StructField(field) => {
            let key = IdedExpr { id, expr: Expr::Literal(LiteralValue::String(field.field.into())) };
            EntryExpr::MapEntry(MapEntryExpr { key, value: field.value, optional: field.optional })
        }
        entry => entry,
    }
}
