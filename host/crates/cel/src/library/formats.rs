//! `format.named`, the named formats themselves, and `validate`: what is wrong with a text, if anything is.

use cel::common::types::{CelOptional, CelString};
use cel::common::value::Val;
use cel::{DeclarationError, Env, ExecutionError};
use pintle_api::names::{self, NameRule};
use pintle_api::schema::structural::matches_format;

use super::{opaque, texts, urls};
use crate::meter::charge_match;

/// What upstream takes for the length of an expression that would judge the format.
const LONGEST_PATTERN: usize = 128;

#[derive(Clone, Copy, Debug)]
pub struct Named {
    name: &'static str,
    faults: fn(&str) -> Vec<String>,
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

opaque!(Named, "kubernetes.NamedFormat");

const ALL: [Named; 13] = [
    Named { name: "dns1123Label", faults: |text| NameRule::Label.check(text, false) },
    Named { name: "dns1123Subdomain", faults: |text| NameRule::Subdomain.check(text, false) },
    Named { name: "dns1035Label", faults: |text| NameRule::Label1035.check(text, false) },
    Named { name: "qualifiedName", faults: names::qualified_name },
    Named { name: "dns1123LabelPrefix", faults: |text| NameRule::Label.check(text, true) },
    Named { name: "dns1123SubdomainPrefix", faults: |text| NameRule::Subdomain.check(text, true) },
    Named { name: "dns1035LabelPrefix", faults: |text| NameRule::Label1035.check(text, true) },
    Named { name: "labelValue", faults: names::label_value },
    Named { name: "uri", faults: |text| urls::fault(text).into_iter().collect() },
    Named { name: "uuid", faults: |text| unless(matches_format("uuid", text), "does not match the UUID format") },
    Named { name: "byte", faults: |text| unless(matches_format("byte", text), "invalid base64") },
    Named { name: "date", faults: |text| unless(matches_format("date", text), "invalid date") },
    Named { name: "datetime", faults: |text| unless(matches_format("datetime", text), "invalid datetime") },
];

pub fn register(env: &mut Env) -> Result<(), DeclarationError> {
    cel::add_overload!(env, fn named: (CelString) -> CelOptional, name = "format.named")?;
    cel::add_member_overload!(env, fn validate: (Named, CelString) -> Result<CelOptional>)?;
    macro_rules! by_name {
        ($($at:literal $function:ident $name:literal),*) => {$(
            fn $function() -> Named {
                ALL[$at]
            }
            cel::add_overload!(env, fn $function: () -> Named, name = $name)?;
        )*};
    }
    by_name!(
        0 dns1123_label "format.dns1123Label", 1 dns1123_subdomain "format.dns1123Subdomain", 2 dns1035_label "format.dns1035Label",
        3 qualified_name "format.qualifiedName", 4 label_prefix "format.dns1123LabelPrefix", 5 subdomain_prefix "format.dns1123SubdomainPrefix",
        6 label1035_prefix "format.dns1035LabelPrefix", 7 label_value "format.labelValue", 8 uri "format.uri", 9 uuid "format.uuid",
        10 byte "format.byte", 11 date "format.date", 12 datetime "format.datetime"
    );
    Ok(())
}

fn unless(good: bool, why: &str) -> Vec<String> {
    if good { Vec::new() } else { vec![why.to_owned()] }
}

fn named(name: &CelString<'_>) -> CelOptional<'static> {
    let found = ALL.iter().find(|format| format.name == name.inner());
    found.map(|format| Box::new(*format) as Box<dyn Val>).into()
}

fn validate(format: &Named, text: &CelString<'_>) -> Result<CelOptional<'static>, ExecutionError> {
    charge_match(text.inner().len(), LONGEST_PATTERN)?;
    let faults = (format.faults)(text.inner());
    Ok(Some(faults).filter(|faults| !faults.is_empty()).map(|faults| Box::new(texts(faults)) as Box<dyn Val>).into())
}
