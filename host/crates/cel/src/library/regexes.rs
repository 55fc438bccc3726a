//! `matches`, `find` and `findAll`. Expressions are compiled once a thread and kept, and may not grow large.
//!
//! `matches` is the language's own function; calls of it are led here (`@matches`), for the evaluator compiles anew for each.

use std::cell::RefCell;
use std::collections::HashMap;

use cel::common::types::{CelBool, CelInt, CelList, CelString};
use cel::{DeclarationError, Env, ExecutionError};
use regex::{Regex, RegexBuilder};

use super::{failed, texts};
use crate::meter::{charge, charge_match};

/// The longest pattern.
const MAX_PATTERN_BYTES: usize = 16 << 10;
/// How much memory one compiled expression may take.
const MAX_COMPILED_BYTES: usize = 1 << 20;
/// How many compiled expressions a thread keeps.
const KEPT: usize = 64;
/// What it costs to compile one that is not kept: some milliseconds at worst.
const COMPILE_COST: u64 = 2_000;

pub fn register(env: &mut Env) -> Result<(), DeclarationError> {
    cel::add_overload!(env, fn matches: (CelString, CelString) -> Result<CelBool>, name = "@matches")?;
    cel::add_member_overload!(env, fn find: (CelString, CelString) -> Result<CelString>)?;
    cel::add_member_overload!(env, fn find_all: (CelString, CelString) -> Result<CelList>)?;
    cel::add_member_overload!(env, fn find_some: (CelString, CelString, CelInt) -> Result<CelList>, name = "findAll")
}

/// What is wrong with a pattern.
pub fn fault(pattern: &str) -> Option<String> {
    compile(pattern).err()
}

fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(format!("the pattern has more than {MAX_PATTERN_BYTES} bytes"));
    }
    let mut builder = RegexBuilder::new(&pintle_api::regexes::translate(pattern)?);
    builder.size_limit(MAX_COMPILED_BYTES).dfa_size_limit(MAX_COMPILED_BYTES).nest_limit(100);
    builder.build().map_err(|why| why.to_string())
}

fn kept(function: &str, pattern: &str, text: &str) -> Result<Regex, ExecutionError> {
    thread_local! {
        static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::new(HashMap::new());
    }
    charge_match(text.len(), pattern.len())?;
    if let Some(regex) = COMPILED.with_borrow(|all| all.get(pattern).cloned()) {
        return Ok(regex);
    }
    charge(COMPILE_COST)?;
    let regex = compile(pattern).map_err(|why| failed(function, why))?;
    COMPILED.with_borrow_mut(|all| {
        if all.len() >= KEPT {
            all.clear();
        }
        all.insert(pattern.to_owned(), regex.clone());
    });
    Ok(regex)
}

fn matches(text: &CelString<'_>, pattern: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    Ok(kept("matches", pattern.inner(), text.inner())?.is_match(text.inner()).into())
}

fn find(text: &CelString<'_>, pattern: &CelString<'_>) -> Result<CelString<'static>, ExecutionError> {
    let found = kept("find", pattern.inner(), text.inner())?.find(text.inner()).map_or("", |found| found.as_str()).to_owned();
    Ok(found.into())
}

fn find_all(text: &CelString<'_>, pattern: &CelString<'_>) -> Result<CelList<'static>, ExecutionError> {
    find_some(text, pattern, &CelInt::from(-1))
}

/// The first so many; all where the number is negative.
fn find_some(text: &CelString<'_>, pattern: &CelString<'_>, most: &CelInt) -> Result<CelList<'static>, ExecutionError> {
    let regex = kept("findAll", pattern.inner(), text.inner())?;
    let most = usize::try_from(*most.inner()).unwrap_or(usize::MAX);
    // An empty match between any two bytes is an item as well.
    charge((text.inner().len() / 10) as u64)?;
    Ok(texts(regex.find_iter(text.inner()).take(most).map(|found| found.as_str().to_owned())))
}
