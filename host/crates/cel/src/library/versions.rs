//! `semver`, `isSemver` and the order of versions. With `true` as second argument a leading `v`, missing parts and leading zeros pass.

use std::cmp::Ordering;

use cel::common::types::{CelBool, CelInt, CelString};
use cel::{DeclarationError, Env, ExecutionError};

use super::{failed, opaque};
use crate::meter::charge_text;

#[derive(Clone, Debug)]
pub struct Semver(semver::Version);

/// What was built does not count.
impl PartialEq for Semver {
    fn eq(&self, other: &Self) -> bool {
        self.0.cmp_precedence(&other.0) == Ordering::Equal
    }
}

opaque!(Semver, "kubernetes.Semver");

pub fn register(env: &mut Env) -> Result<(), DeclarationError> {
    cel::add_overload!(env, fn semver: (CelString) -> Result<Semver>)?;
    cel::add_overload!(env, fn semver_if: (CelString, CelBool) -> Result<Semver>, name = "semver")?;
    cel::add_overload!(env, fn is_semver: (CelString) -> Result<CelBool>)?;
    cel::add_overload!(env, fn is_semver_if: (CelString, CelBool) -> Result<CelBool>, name = "isSemver")?;
    cel::add_member_overload!(env, fn is_greater_than: (Semver, Semver) -> CelBool)?;
    cel::add_member_overload!(env, fn is_less_than: (Semver, Semver) -> CelBool)?;
    cel::add_member_overload!(env, fn compare_to: (Semver, Semver) -> CelInt)?;
    cel::add_member_overload!(env, fn major: (Semver) -> CelInt)?;
    cel::add_member_overload!(env, fn minor: (Semver) -> CelInt)?;
    cel::add_member_overload!(env, fn patch: (Semver) -> CelInt)
}

fn parse(text: &str, lenient: bool) -> Result<semver::Version, ExecutionError> {
    charge_text(text)?;
    let parsed = if lenient { normalized(text).and_then(|t| semver::Version::parse(&t).ok()) } else { semver::Version::parse(text).ok() };
    parsed.ok_or_else(|| failed("semver", format!("{text:?} is no semantic version")))
}

/// With three parts, none with a leading zero, and without a `v`.
fn normalized(text: &str) -> Option<String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text.splitn(3, '.').map(without_zeros).collect();
    if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
        return None;
    }
    parts.resize(3, "0".to_owned());
    Some(parts.join("."))
}

fn without_zeros(part: &str) -> String {
    if part.len() <= 1 {
        return part.to_owned();
    }
    let rest = part.trim_start_matches('0');
    if rest.starts_with(|c: char| c.is_ascii_digit()) { rest.to_owned() } else { format!("0{rest}") }
}

fn semver(text: &CelString<'_>) -> Result<Semver, ExecutionError> {
    parse(text.inner(), false).map(Semver)
}

fn semver_if(text: &CelString<'_>, lenient: &CelBool) -> Result<Semver, ExecutionError> {
    parse(text.inner(), *lenient.inner()).map(Semver)
}

/// Whether it is one; running out of budget is no answer.
fn told(parsed: Result<semver::Version, ExecutionError>) -> Result<CelBool, ExecutionError> {
    match parsed {
        Err(why) if crate::meter::is_exhausted() => Err(why),
        parsed => Ok(parsed.is_ok().into()),
    }
}

fn is_semver(text: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    told(parse(text.inner(), false))
}

fn is_semver_if(text: &CelString<'_>, lenient: &CelBool) -> Result<CelBool, ExecutionError> {
    told(parse(text.inner(), *lenient.inner()))
}

fn is_greater_than(one: &Semver, other: &Semver) -> CelBool {
    (one.0.cmp_precedence(&other.0) == Ordering::Greater).into()
}

fn is_less_than(one: &Semver, other: &Semver) -> CelBool {
    (one.0.cmp_precedence(&other.0) == Ordering::Less).into()
}

fn compare_to(one: &Semver, other: &Semver) -> CelInt {
    (one.0.cmp_precedence(&other.0) as i64).into()
}

fn number(part: u64) -> CelInt {
    i64::try_from(part).unwrap_or(i64::MAX).into()
}

fn major(one: &Semver) -> CelInt {
    number(one.0.major)
}

fn minor(one: &Semver) -> CelInt {
    number(one.0.minor)
}

fn patch(one: &Semver) -> CelInt {
    number(one.0.patch)
}
