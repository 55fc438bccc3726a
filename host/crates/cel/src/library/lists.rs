//! `isSorted`, `sum`, `min`, `max`, `indexOf` and `lastIndexOf` of lists.

use std::cmp::Ordering;

use cel::common::types::{CelBool, CelInt, DYN_TYPE, LIST_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{DeclarationError, Env, ExecutionError};

use super::{Answer, failed, items, no_overload};
use crate::meter::{charge, traversal, weight};

pub fn register(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_member_overload("isSorted", "list_is_sorted_bool", LIST_TYPE, vec![], is_sorted)?;
    env.add_member_overload("sum", "list_sum", LIST_TYPE, vec![], sum)?;
    env.add_member_overload("min", "list_min", LIST_TYPE, vec![], min)?;
    env.add_member_overload("max", "list_max", LIST_TYPE, vec![], max)?;
    env.add_member_overload("indexOf", "list_a_index_of_int", LIST_TYPE, vec![DYN_TYPE], index_of)?;
    env.add_member_overload("lastIndexOf", "list_a_last_index_of_int", LIST_TYPE, vec![DYN_TYPE], last_index_of)
}

fn order(function: &str, a: &dyn Val, b: &dyn Val) -> Result<Ordering, ExecutionError> {
    let types = || vec![a.get_type().name().to_owned(), b.get_type().name().to_owned()];
    let comparer = a.as_comparer().ok_or_else(|| ExecutionError::no_such_overload(function, types()))?;
    comparer.compare(b)
}

fn is_sorted<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    charge(traversal(&*args[0]))?;
    let all = items(&*args[0]);
    for pair in all.windows(2) {
        if order("isSorted", pair[0], pair[1])? == Ordering::Greater {
            return Ok(CowVal::owned(CelBool::from(false)));
        }
    }
    Ok(CowVal::owned(CelBool::from(true)))
}

fn sum<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    charge(traversal(&*args[0]))?;
    let all = items(&*args[0]);
    let Some((first, others)) = all.split_first() else { return Ok(CowVal::owned(CelInt::from(0))) };
    // Texts have an addition as well, but no sum.
    if !matches!(first.get_type().name(), "int" | "uint" | "double" | "google.protobuf.Duration") {
        return Err(no_overload("sum", &args));
    }
    let mut total = first.clone_as_boxed();
    for item in others {
        let adder = total.as_adder().ok_or_else(|| no_overload("sum", &args))?;
        let next = adder.add(*item)?.into_owned();
        total = next;
    }
    Ok(CowVal::Owned(total))
}

fn min<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    best("min", Ordering::Less, &*args[0])
}

fn max<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    best("max", Ordering::Greater, &*args[0])
}

fn best<'b, 'v>(function: &str, wanted: Ordering, list: &(dyn Val + 'v)) -> Answer<'b, 'v> {
    charge(traversal(list))?;
    let mut best: Option<&dyn Val> = None;
    let mut kept = None;
    for item in items(list) {
        let better = match best {
            Some(best) => order(function, item, best)? == wanted,
            None => true,
        };
        if better {
            best = Some(item);
            kept = Some(item);
        }
    }
    kept.map(|item| CowVal::Owned(item.clone_as_boxed())).ok_or_else(|| failed(function, format!("{function} called on empty list")))
}

fn place(args: &[CowVal<'_, '_>], from_end: bool) -> Result<CelInt, ExecutionError> {
    charge(traversal(&*args[0]).saturating_add(weight(&*args[1])))?;
    let all = items(&*args[0]);
    let equal = |item: &&dyn Val| item.equals(&*args[1]);
    let at = if from_end { all.iter().rposition(|i| equal(&(*i as &dyn Val))) } else { all.iter().position(|i| equal(&(*i as &dyn Val))) };
    Ok(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1).into())
}

fn index_of<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    place(&args, false).map(CowVal::owned)
}

fn last_index_of<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    place(&args, true).map(CowVal::owned)
}
