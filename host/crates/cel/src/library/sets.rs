//! `sets.contains`, `sets.equivalent` and `sets.intersects`: lists whose order and repetitions do not count.

use cel::common::types::{CelBool, LIST_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{DeclarationError, Env, ExecutionError};

use super::{Answer, items};
use crate::meter::{charge, weight};

pub fn register(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_overload("sets.contains", "list_sets_contains_list", vec![LIST_TYPE, LIST_TYPE], contains)?;
    env.add_overload("sets.equivalent", "list_sets_equivalent_list", vec![LIST_TYPE, LIST_TYPE], equivalent)?;
    env.add_overload("sets.intersects", "list_sets_intersects_list", vec![LIST_TYPE, LIST_TYPE], intersects)
}

/// Every item is compared with every other in the worst case.
fn pay(args: &[CowVal<'_, '_>], times: u64) -> Result<(), ExecutionError> {
    charge(weight(&*args[0]).saturating_mul(weight(&*args[1])).saturating_mul(times))
}

fn has(list: &dyn Val, item: &dyn Val) -> bool {
    items(list).into_iter().any(|other| other.equals(item))
}

fn includes(all: &dyn Val, some: &dyn Val) -> bool {
    items(some).into_iter().all(|item| has(all, item))
}

fn contains<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    pay(&args, 1)?;
    Ok(CowVal::owned(CelBool::from(includes(&*args[0], &*args[1]))))
}

fn equivalent<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    pay(&args, 2)?;
    Ok(CowVal::owned(CelBool::from(includes(&*args[0], &*args[1]) && includes(&*args[1], &*args[0]))))
}

fn intersects<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    pay(&args, 1)?;
    Ok(CowVal::owned(CelBool::from(items(&*args[0]).into_iter().any(|item| has(&*args[1], item)))))
}
