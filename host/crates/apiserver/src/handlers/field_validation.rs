//! `fieldValidation`: an object beside its kind's type, and what is told of fields that it does not have, or has twice.

use pintle_api::schema::{self, Duplicates};
use pintle_api::{GroupVersionKind, Object, Status};

use super::{FieldValidation, Scope};

/// Compares an object with its kind's type; unknown fields are refused, warned of or dropped, and never kept.
pub fn check_fields(
    object: &mut Object,
    gvk: &GroupVersionKind,
    duplicates: &Duplicates,
    validation: FieldValidation,
) -> Result<Vec<String>, Misfit> {
    let Some(of) = schema::builtin().for_kind(gvk) else { return Ok(Vec::new()) };
    let findings = schema::check(object, of);
    let warnings = judge(&findings, gvk, duplicates, validation)?;
    if findings.is_loose {
        schema::prune_unknown(object, of);
    }
    Ok(warnings)
}

/// Why an object is not what its kind's type says.
pub struct Misfit {
    kind: GroupVersionKind,
    pub why: String,
    /// The same of a strategic patch.
    pub unconverted: Option<String>,
}

impl From<Misfit> for Status {
    fn from(Misfit { kind, why, .. }: Misfit) -> Self {
        Self::bad_request(format!("{} in version {:?} cannot be handled as a {}: {why}", kind.kind, kind.version, kind.kind))
    }
}

/// The same by the schema of a custom kind.
pub fn check_custom(scope: &Scope, object: &mut Object, duplicates: &Duplicates, validation: FieldValidation) -> Result<Vec<String>, Misfit> {
    let Some(findings) = scope.resource.strategy.prune(object) else { return Ok(Vec::new()) };
    judge(&findings, &scope.resource.def().gvk(), duplicates, validation)
}

fn judge(findings: &schema::Findings, gvk: &GroupVersionKind, duplicates: &Duplicates, validation: FieldValidation) -> Result<Vec<String>, Misfit> {
    let refused = |why: String| Misfit { kind: gvk.clone(), why, unconverted: findings.unconverted.clone() };
    if let Some(why) = &findings.mismatch {
        return Err(refused(why.clone()));
    }
    let mut warnings = Vec::new();
    match validation {
        FieldValidation::Strict => {
            if let Some(why) = findings.strict_error(duplicates) {
                return Err(refused(why));
            }
        }
        FieldValidation::Warn => warnings = findings.strict_faults(duplicates),
        FieldValidation::Ignore => {}
    }
    Ok(warnings)
}
