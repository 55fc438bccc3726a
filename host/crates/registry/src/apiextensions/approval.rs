//! Definitions in the groups of the Kubernetes community say where their API was approved. Called by the definitions' strategy.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::faults::{Faults, Path};

const ANNOTATION: &str = "api-approved.kubernetes.io";
const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

#[derive(PartialEq, Eq)]
enum Approval {
    Missing,
    Bypassed,
    Given,
    Invalid,
}

/// What an old definition says just as badly passes.
pub fn validate(definition: &Value, old: Option<&Value>, faults: &mut Faults) {
    if !is_protected(definition.str_at(&["spec", "group"])) {
        return;
    }
    let approval = approval(definition);
    if old.is_some_and(|old| self::approval(old) == approval) {
        return;
    }
    let annotations = Path::root("metadata.annotations");
    let why = format!("protected groups must have approval annotation {ANNOTATION:?}");
    match approval {
        Approval::Bypassed | Approval::Given => {}
        Approval::Missing => faults.required(&annotations.key(ANNOTATION), &format!("{why}, {SEE}")),
        Approval::Invalid => {
            let why = format!("{why} with either a URL or a reason starting with \"unapproved\", {SEE}");
            faults.invalid_str(&annotations.key(ANNOTATION), said(definition), &why);
        }
    }
}

fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|domain| group.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.')))
}

fn said(definition: &Value) -> &str {
    definition.str_at(&["metadata", "annotations", ANNOTATION])
}

fn approval(definition: &Value) -> Approval {
    let said = said(definition);
    if said.is_empty() {
        Approval::Missing
    } else if said.starts_with("unapproved") {
        Approval::Bypassed
    } else if has_scheme_and_host(said) {
        Approval::Given
    } else {
        Approval::Invalid
    }
}

fn has_scheme_and_host(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let is_scheme =
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    is_scheme && !host.is_empty() && !host.contains(' ') && !text.contains(|c: char| c.is_ascii_control())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(group: &str, new: &str, old: Option<&str>) -> String {
        let with = |said: &str| json!({"metadata": {"annotations": {ANNOTATION: said}}, "spec": {"group": group}});
        let mut faults = Faults::default();
        validate(&with(new), old.map(with).as_ref(), &mut faults);
        faults.into_causes().iter().map(|cause| format!("{}: {}\n", cause.field, cause.message)).collect()
    }

    #[test]
    fn protected_groups_need_an_approval_that_does_not_go_again() {
        for (group, new, old) in [
            ("example.com", "", None),
            ("notk8s.io", "", None),
            ("x.k8s.io", "https://github.com/kubernetes/enhancements/pull/1", None),
            ("kubernetes.io", "unapproved, an experiment", None),
            ("x.k8s.io", "", Some("")),
            ("x.k8s.io", "no", Some("neither")),
            ("x.k8s.io", "unapproved", Some("https://example.com")),
        ] {
            assert_eq!(told(group, new, old), "", "{group} {new} {old:?}");
        }
        expect_test::expect![[r#"
            metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111
        "#]].assert_eq(&told("x.k8s.io", "", None));
        expect_test::expect![[r#"
            metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111
        "#]].assert_eq(&told("x.k8s.io", "", Some("https://example.com")));
        expect_test::expect![[r#"
            metadata.annotations[api-approved.kubernetes.io]: Invalid value: "/a/path": protected groups must have approval annotation "api-approved.kubernetes.io" with either a URL or a reason starting with "unapproved", see https://github.com/kubernetes/enhancements/pull/1111
        "#]].assert_eq(&told("x.kubernetes.io", "/a/path", None));
    }
}
