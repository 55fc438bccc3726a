//! Conditions in upstream's common form (`meta/v1`), which a status lists.

use std::collections::HashSet;

use pintle_api::names::qualified_name;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::faults::{Faults, Path};

const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
const MAX_REASON_BYTES: usize = 1024;
const MAX_MESSAGE_BYTES: usize = 32 * 1024;
const REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

pub fn validate(conditions: &[Value], path: &Path<'_>, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (i, condition) in conditions.iter().enumerate() {
        let here = path.index(i);
        let kind = condition.str_at(&["type"]);
        if !seen.insert(kind) {
            faults.duplicate(&here.field("type"), &kind.into());
        }
        faults.texts(&here.field("type"), kind, qualified_name(kind));
        let status = condition.str_at(&["status"]);
        if !STATUSES.contains(&status) {
            faults.not_supported(&here.field("status"), status, &STATUSES);
        }
        if let Some(generation) = condition.i64_at(&["observedGeneration"]).filter(|generation| *generation < 0) {
            faults.invalid(&here.field("observedGeneration"), &generation.into(), "must be greater than or equal to zero");
        }
        if condition.str_at(&["lastTransitionTime"]).is_empty() {
            faults.required(&here.field("lastTransitionTime"), "");
        }
        reason(condition.str_at(&["reason"]), &here.field("reason"), faults);
        if condition.str_at(&["message"]).len() > MAX_MESSAGE_BYTES {
            faults.too_long(&here.field("message"), MAX_MESSAGE_BYTES);
        }
    }
}

fn reason(reason: &str, path: &Path<'_>, faults: &mut Faults) {
    if reason.is_empty() {
        return faults.required(path, "");
    }
    let ends = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let shaped =
        reason.starts_with(|c: char| c.is_ascii_alphabetic()) && reason.ends_with(ends) && reason.chars().all(|c| ends(c) || ",:".contains(c));
    if !shaped {
        faults.invalid_str(path, reason, REASON);
    }
    if reason.len() > MAX_REASON_BYTES {
        faults.too_long(path, MAX_REASON_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_condition_must_have() {
        let told = |conditions: Value| {
            let mut faults = Faults::default();
            validate(conditions.as_array().unwrap(), &Path::root("status.conditions"), &mut faults);
            faults.into_causes().iter().map(|cause| format!("{}: {}\n", cause.field, cause.message)).collect::<String>()
        };
        let good = json!({"type": "a", "status": "True", "reason": "It_is:so", "lastTransitionTime": "2020-01-01T00:00:00Z"});
        assert_eq!(told(json!([good])), "");
        let (mut odd, long) = (good.clone(), "a".repeat(MAX_REASON_BYTES + 1));
        odd["observedGeneration"] = json!(-1);
        odd["reason"] = json!(format!("{long}-"));
        expect![[r#"
            status.conditions[1].type: Invalid value: "": name part must be non-empty
            status.conditions[1].type: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            status.conditions[1].status: Unsupported value: "": supported values: "False", "True", "Unknown"
            status.conditions[1].lastTransitionTime: Required value
            status.conditions[1].reason: Required value
            status.conditions[2].type: Duplicate value: "a"
            status.conditions[2].observedGeneration: Invalid value: -1: must be greater than or equal to zero
            status.conditions[2].reason: Invalid value: "aaa-": a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')
            status.conditions[2].reason: Too long: may not be more than 1024 bytes
        "#]].assert_eq(&told(json!([good, {}, odd])).replace(&long, "aaa"));
    }
}
