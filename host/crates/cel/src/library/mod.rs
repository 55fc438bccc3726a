//! The functions that Kubernetes adds to CEL, one file a library, under upstream's names and with its results.
//!
//! A function that costs more the longer its input is pays for that itself ([`super::meter`]); the language's own functions, which the
//! evaluator brings along, are charged for where they are called ([`super::charged`]).

pub mod addresses;
pub mod authorizer;
pub mod formats;
pub mod json_patch;
pub mod lists;
pub mod optionals;
pub mod pairs;
pub mod quantities;
pub mod regexes;
pub mod sets;
pub mod urls;
pub mod versions;

use cel::common::types::{CelList, CelString};
use cel::common::value::{CowVal, Val};
use cel::{DeclarationError, Env, ExecutionError};

/// A function's result, as the evaluator takes it.
pub type Answer<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

pub fn register(env: &mut Env) -> Result<(), DeclarationError> {
    for library in [
        addresses::register,
        authorizer::register,
        formats::register,
        json_patch::register,
        lists::register,
        optionals::register,
        pairs::register,
        quantities::register,
        regexes::register,
        sets::register,
        urls::register,
        versions::register,
    ] {
        library(env)?;
    }
    Ok(())
}

/// A type of values that only its own functions can look into.
macro_rules! opaque {
    ($name:ident, $title:literal) => {
        impl cel::common::value::Val for $name {
            fn get_type(&self) -> &cel::common::types::Type {
                <Self as cel::common::value::Val>::cel_type()
            }
            fn cel_type() -> &'static cel::common::types::Type {
                static TYPE: cel::common::types::Type = cel::common::types::Type::new_unspecified_type($title);
                &TYPE
            }
            fn equals(&self, other: &dyn cel::common::value::Val) -> bool {
                other.downcast_ref::<Self>().is_some_and(|other| self == other)
            }
            fn clone_as_boxed<'v>(&self) -> Box<dyn cel::common::value::Val + 'v>
            where
                Self: 'v,
            {
                Box::new(self.clone())
            }
            fn as_any(&self) -> Option<&dyn std::any::Any> {
                Some(self)
            }
        }
        impl cel::common::value::StaticVal for $name {}
    };
}
pub(crate) use opaque;

fn failed(function: &str, why: impl ToString) -> ExecutionError {
    ExecutionError::function_error(function, why)
}

/// What a call with arguments of these types is told.
fn no_overload(function: &str, args: &[CowVal<'_, '_>]) -> ExecutionError {
    let types = args.iter().map(|arg| arg.get_type().name().to_owned()).collect();
    ExecutionError::no_such_member_overload(function, types)
}

/// The items of a list, or the keys of a map.
fn items<'a, 'v>(list: &'a (dyn Val + 'v)) -> Vec<&'a (dyn Val + 'v)> {
    let Some(list) = list.as_iterable() else { return Vec::new() };
    let mut all = list.iter();
    std::iter::from_fn(|| all.next()).collect()
}

fn texts(all: impl IntoIterator<Item = String>) -> CelList<'static> {
    CelList::from(all.into_iter().map(|text| Box::new(CelString::from(text)) as Box<dyn Val>).collect::<Vec<_>>())
}
