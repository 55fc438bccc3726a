//! What a namespace's labels mean. The checks themselves are compared with upstream's by `tests/goldens/validation/podsecurity*.yaml`.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::checks::{reasons, violations};
use super::levels::Modes;
use super::pod::Pod;

fn check(labels: Value, expected: Expect) {
    let labels: serde_json::Map<_, _> =
        labels.as_object().unwrap().iter().map(|(key, value)| (format!("pod-security.kubernetes.io/{key}"), value.clone())).collect();
    let (modes, causes) = Modes::of(&json!({"metadata": {"labels": labels}}));
    let mut told = format!("enforce {} audit {} warn {}", modes.enforce, modes.audit, modes.warn);
    causes.iter().for_each(|cause| told += &format!("\n{}: {}", cause.field, cause.message));
    expected.assert_eq(&told);
}

#[test]
fn labels_say_what_is_asked() {
    check(json!({}), expect!["enforce privileged:latest audit privileged:latest warn privileged:latest"]);
    check(json!({"enforce": "baseline"}), expect!["enforce baseline:latest audit privileged:latest warn baseline:latest"]);
    check(
        json!({"enforce": "restricted", "enforce-version": "v1.30"}),
        expect!["enforce restricted:v1.30 audit privileged:latest warn restricted:v1.30"],
    );
    check(
        json!({"enforce": "baseline", "warn-version": "v1.20", "audit": "restricted"}),
        expect!["enforce baseline:latest audit restricted:latest warn baseline:v1.20"],
    );
    check(json!({"enforce": "baseline", "warn": "privileged"}), expect!["enforce baseline:latest audit privileged:latest warn privileged:latest"]);
    check(
        json!({"enforce": "Baseline", "warn": "x", "audit-version": "1.2"}),
        expect![[r#"
        enforce restricted:latest audit privileged:latest warn privileged:latest
        metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "Baseline": must be one of privileged, baseline, restricted
        metadata.labels[pod-security.kubernetes.io/audit-version]: Invalid value: "1.2": must be "latest" or "v1.x"
        metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: "x": must be one of privileged, baseline, restricted"#]],
    );
}

#[test]
fn a_version_that_is_not_there_yet_asks_what_the_newest_asks() {
    let (far, _) = Modes::of(
        &json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "v1.99"}}}),
    );
    let pod = json!({"spec": {"containers": [{"name": "c"}]}});
    expect!["allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile"]
        .assert_eq(&reasons(&violations(far.enforce, &Pod::new(&pod))));
}
