//! What a namespace's labels mean. The checks themselves are compared with upstream's by `tests/goldens/validation/podsecurity*.yaml`.

use expect_test::{Expect, expect};
use pintle_registry::testing::{World, strategy};
use serde_json::{Value, json};

use super::checks::{reasons, violations};
use super::levels::Modes;
use super::pod::Pod;
use super::{Configuration, PodSecurity};
use crate::admission::{AdmissionAttributes, Operation};
use crate::cache::{Cache, Limits};
use crate::resources::Resource;

fn check(labels: Value, expected: Expect) {
    let labels: serde_json::Map<_, _> =
        labels.as_object().unwrap().iter().map(|(key, value)| (format!("pod-security.kubernetes.io/{key}"), value.clone())).collect();
    let (modes, causes) = Modes::of(&json!({"metadata": {"labels": labels}}), &Modes::default());
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
        &Modes::default(),
    );
    let pod = json!({"spec": {"containers": [{"name": "c"}]}});
    expect!["allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile"]
        .assert_eq(&reasons(&violations(far.enforce, &Pod::new(&pod))));
}

#[tokio::test]
async fn evaluations_are_counted() {
    let cache = Cache::open(pintle_store::embedded::memory(), Limits::default()).await.unwrap();
    let resource = |name: &str| Resource::new(strategy(name).into(), &cache, false);
    let (pods, deployments) = (resource("pods"), resource("apps/deployments"));
    let security = PodSecurity::default();
    let mut world = World::default();
    let space = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}});
    let namespaces = vec![
        space("free", json!({})),
        space(
            "strict",
            json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.30",
                "pod-security.kubernetes.io/warn": "restricted", "pod-security.kubernetes.io/warn-version": "v1.99"}),
        ),
        space("wrong", json!({"pod-security.kubernetes.io/enforce": "x"})),
    ];
    world.objects.insert("namespaces".to_owned(), namespaces);
    let plain = json!({"containers": [{"name": "c"}]});
    let of_host = json!({"hostNetwork": true, "containers": [{"name": "c"}]});
    let ask = |resource: &Resource, namespace: &str, object: Value| {
        let (operation, pod_security) = (Operation::Create, &security);
        let attributes = AdmissionAttributes { operation, resource, subresource: "", namespace, name: "p", old: None, pod_security };
        world.with(|context| super::validate(&object, &attributes, context).is_ok())
    };
    assert!(ask(&pods, "free", json!({"spec": of_host})) && ask(&pods, "free", json!({"spec": plain})));
    assert!(ask(&pods, "strict", json!({"spec": plain})) && !ask(&pods, "strict", json!({"spec": of_host})));
    assert!(!ask(&pods, "wrong", json!({"spec": plain})));
    assert!(ask(&deployments, "strict", json!({"spec": {"template": {"spec": of_host}}})));
    expect![[r##"
        # HELP pod_security_evaluations_total Evaluations of pods and templates by outcome.
        # TYPE pod_security_evaluations_total counter
        pod_security_evaluations_total{decision="deny",mode="enforce",policy_level="baseline",policy_version="v1.30",request_operation="create",resource="pod",subresource=""} 1
        pod_security_evaluations_total{decision="deny",mode="enforce",policy_level="restricted",policy_version="latest",request_operation="create",resource="pod",subresource=""} 1
        pod_security_evaluations_total{decision="deny",mode="warn",policy_level="restricted",policy_version="future",request_operation="create",resource="controller",subresource=""} 1
        pod_security_evaluations_total{decision="deny",mode="warn",policy_level="restricted",policy_version="future",request_operation="create",resource="pod",subresource=""} 1
        pod_security_evaluations_total{decision="allow",mode="enforce",policy_level="privileged",policy_version="latest",request_operation="create",resource="pod",subresource=""} 2
        pod_security_evaluations_total{decision="allow",mode="enforce",policy_level="baseline",policy_version="v1.30",request_operation="create",resource="pod",subresource=""} 1
        # HELP pod_security_errors_total Faults in what namespaces ask for.
        # TYPE pod_security_errors_total counter
        pod_security_errors_total{fatal="false",request_operation="create",resource="pod",subresource=""} 1
        # HELP pod_security_exemptions_total Requests that were exempt.
        # TYPE pod_security_exemptions_total counter
        pod_security_exemptions_total{request_operation="create",resource="controller",subresource=""} 0
        pod_security_exemptions_total{request_operation="create",resource="pod",subresource=""} 0
        pod_security_exemptions_total{request_operation="update",resource="controller",subresource=""} 0
        pod_security_exemptions_total{request_operation="update",resource="pod",subresource=""} 0
    "##]].assert_eq(&security.tally.render());
}

#[tokio::test]
async fn who_is_exempt_is_asked_nothing() {
    let cache = Cache::open(pintle_store::embedded::memory(), Limits::default()).await.unwrap();
    let resource = |name: &str| Resource::new(strategy(name).into(), &cache, false);
    let (pods, deployments, namespaces) = (resource("pods"), resource("apps/deployments"), resource("namespaces"));
    let mut world = World::default();
    let labelled = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}});
    world.objects.insert("namespaces".to_owned(), vec![labelled("a", json!({})), labelled("system", json!({}))]);
    let by_default = |usernames: &[&str]| {
        let baseline = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
        let configuration = Configuration {
            defaults: Modes::of(&baseline, &Modes::default()).0,
            usernames: texts(usernames),
            namespaces: texts(&["system"]),
            runtime_classes: texts(&["kata"]),
        };
        PodSecurity { configuration, ..PodSecurity::default() }
    };
    let ask = |security: &PodSecurity, resource: &Resource, namespace: &str, object: &Value, old: Option<&Value>| {
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        let attributes = AdmissionAttributes { operation, resource, subresource: "", namespace, name: namespace, old, pod_security: security };
        world.with(|context| super::validate(object, &attributes, context).map_or_else(|why| why.message, |warned| format!("{warned:?}")))
    };
    let of_host = |class: Value| json!({"spec": {"hostNetwork": true, "runtimeClassName": class, "containers": [{"name": "c"}]}});
    let template = |class: Value| json!({"spec": {"template": of_host(class)}});
    let (security, user) = (by_default(&[]), world.with(|context| context.user.name.clone()));
    let changed = labelled("system", json!({"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn-version": "v1.2"}));
    let told = [
        ask(&security, &pods, "a", &of_host(json!(null)), None),
        ask(&security, &pods, "a", &of_host(json!("kata")), None),
        ask(&security, &pods, "system", &of_host(json!(null)), None),
        ask(&by_default(&[&user]), &pods, "a", &of_host(json!(null)), None),
        ask(&security, &deployments, "a", &template(json!(null)), None),
        ask(&security, &deployments, "a", &template(json!("kata")), None),
        ask(&security, &namespaces, "system", &changed, None),
        ask(&security, &namespaces, "system", &changed, Some(&labelled("system", json!({})))),
        ask(&security, &namespaces, "system", &labelled("system", json!({})), None),
    ];
    expect![[r#"
        pods "a" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)
        []
        []
        []
        ["would violate PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"]
        []
        ["namespace \"system\" is exempt from Pod Security, and the policy (enforce=restricted:latest, warn=restricted:v1.2) will be ignored"]
        ["namespace \"system\" is exempt from Pod Security, and the policy (enforce=restricted:latest, warn=restricted:v1.2) will be ignored"]
        []"#]]
    .assert_eq(&told.join("\n"));
    let metrics = security.tally.render();
    let exempt: Vec<&str> = metrics.lines().filter(|line| line.starts_with("pod_security_exemptions_total") && !line.ends_with(" 0")).collect();
    expect![[r#"
        pod_security_exemptions_total{request_operation="create",resource="controller",subresource=""} 1
        pod_security_exemptions_total{request_operation="create",resource="pod",subresource=""} 2"#]]
    .assert_eq(&exempt.join("\n"));
}
