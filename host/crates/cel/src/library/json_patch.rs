//! `jsonpatch.escapeKey`: a key as a step of a JSON Pointer.

use cel::common::types::CelString;
use cel::{DeclarationError, Env, ExecutionError};

use crate::meter::charge_text;

pub fn register(env: &mut Env) -> Result<(), DeclarationError> {
    cel::add_overload!(env, fn escape_key: (CelString) -> Result<CelString>, name = "jsonpatch.escapeKey")
}

fn escape_key(key: &CelString<'_>) -> Result<CelString<'static>, ExecutionError> {
    charge_text(key.inner())?;
    Ok(key.inner().replace('~', "~0").replace('/', "~1").into())
}
