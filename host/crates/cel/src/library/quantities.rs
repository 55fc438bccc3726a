//! `quantity`, `isQuantity`, and the arithmetic and order of quantities.

use std::cmp::Ordering;

use cel::common::types::{CelBool, CelDouble, CelInt, CelString};
use cel::{DeclarationError, Env, ExecutionError};
use pintle_api::quantity::{Format, Quantity as Amount};

use super::{failed, opaque};
use crate::meter::charge_text;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity(Amount);

opaque!(Quantity, "kubernetes.Quantity");

pub fn register(env: &mut Env) -> Result<(), DeclarationError> {
    cel::add_overload!(env, fn quantity: (CelString) -> Result<Quantity>)?;
    cel::add_overload!(env, fn is_quantity: (CelString) -> Result<CelBool>)?;
    cel::add_overload!(env, fn sign: (Quantity) -> CelInt, id = "quantity_sign")?;
    cel::add_member_overload!(env, fn sign: (Quantity) -> CelInt, id = "quantity_sign_member")?;
    cel::add_member_overload!(env, fn is_greater_than: (Quantity, Quantity) -> CelBool)?;
    cel::add_member_overload!(env, fn is_less_than: (Quantity, Quantity) -> CelBool)?;
    cel::add_member_overload!(env, fn compare_to: (Quantity, Quantity) -> CelInt)?;
    cel::add_member_overload!(env, fn as_approximate_float: (Quantity) -> CelDouble)?;
    cel::add_member_overload!(env, fn as_integer: (Quantity) -> Result<CelInt>)?;
    cel::add_member_overload!(env, fn is_integer: (Quantity) -> CelBool)?;
    cel::add_member_overload!(env, fn add: (Quantity, Quantity) -> Quantity)?;
    cel::add_member_overload!(env, fn add_int: (Quantity, CelInt) -> Quantity, name = "add")?;
    cel::add_member_overload!(env, fn sub: (Quantity, Quantity) -> Quantity)?;
    cel::add_member_overload!(env, fn sub_int: (Quantity, CelInt) -> Quantity, name = "sub")
}

fn quantity(text: &CelString<'_>) -> Result<Quantity, ExecutionError> {
    charge_text(text.inner())?;
    Amount::parse(text.inner()).map(Quantity).map_err(|why| failed("quantity", why))
}

fn is_quantity(text: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    charge_text(text.inner())?;
    Ok(Amount::parse(text.inner()).is_ok().into())
}

fn sign(one: &Quantity) -> CelInt {
    as_int(one.0.cmp(&Amount::default()))
}

fn as_int(order: Ordering) -> CelInt {
    (order as i64).into()
}

fn is_greater_than(one: &Quantity, other: &Quantity) -> CelBool {
    (one.0 > other.0).into()
}

fn is_less_than(one: &Quantity, other: &Quantity) -> CelBool {
    (one.0 < other.0).into()
}

fn compare_to(one: &Quantity, other: &Quantity) -> CelInt {
    as_int(one.0.cmp(&other.0))
}

fn as_approximate_float(one: &Quantity) -> CelDouble {
    one.0.approximate().into()
}

fn as_integer(one: &Quantity) -> Result<CelInt, ExecutionError> {
    one.0.whole().map(CelInt::from).ok_or_else(|| failed("asInteger", "cannot convert value to integer"))
}

fn is_integer(one: &Quantity) -> CelBool {
    one.0.whole().is_some().into()
}

fn add(one: &Quantity, other: &Quantity) -> Quantity {
    Quantity(one.0.plus(other.0))
}

fn add_int(one: &Quantity, other: &CelInt) -> Quantity {
    Quantity(one.0.plus(Amount::from_i64(*other.inner(), Format::DecimalExponent)))
}

fn sub(one: &Quantity, other: &Quantity) -> Quantity {
    Quantity(one.0.minus(other.0))
}

fn sub_int(one: &Quantity, other: &CelInt) -> Quantity {
    Quantity(one.0.minus(Amount::from_i64(*other.inner(), Format::DecimalExponent)))
}
