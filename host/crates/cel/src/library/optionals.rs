//! `first` and `last` of lists, and `optional.unwrap` and `unwrapOpt`, which leave out what is not there: version 2 of the language's optional values.

use cel::common::types::{CelList, CelOptional, LIST_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{DeclarationError, Env};

use super::{Answer, failed, items};
use crate::meter::{charge, weight};

pub fn register(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_member_overload("first", "list_first", LIST_TYPE, vec![], first)?;
    env.add_member_overload("last", "list_last", LIST_TYPE, vec![], last)?;
    env.add_overload("optional.unwrap", "optional_unwrap", vec![LIST_TYPE], unwrapped)?;
    env.add_member_overload("unwrapOpt", "optional_unwrapOpt", LIST_TYPE, vec![], unwrapped)
}

fn first<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    one(items(&*args[0]).first().copied())
}

fn last<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    one(items(&*args[0]).last().copied())
}

fn one<'b, 'v>(item: Option<&(dyn Val + 'v)>) -> Answer<'b, 'v> {
    let Some(item) = item else { return Ok(CowVal::owned(CelOptional::none())) };
    charge(weight(item))?;
    Ok(CowVal::owned(CelOptional::of(item.clone_as_boxed())))
}

fn unwrapped<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    charge(weight(&*args[0]))?;
    let mut kept: Vec<Box<dyn Val + 'v>> = Vec::new();
    for item in items(&*args[0]) {
        let optional = item.downcast_ref::<CelOptional<'_>>().ok_or_else(|| failed("unwrapOpt", "value is not optional".to_owned()))?;
        kept.extend(optional.inner().map(|value| value.clone_as_boxed()));
    }
    Ok(CowVal::owned(CelList::from(kept)))
}
