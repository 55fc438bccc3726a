//! What upstream refuses, or lets through, in ways of its own.

use expect_test::expect;
use serde_json::{Value, json};

use super::{check, check_change, created, deployment, pretty, update_faults};
use crate::Part;

#[test]
fn some_kinds_are_looked_at_twice_on_updates() {
    let volume = json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}});
    check_change(
        "persistentvolumes",
        volume,
        |v| v["spec"]["persistentVolumeReclaimPolicy"] = "x".into(),
        expect![[r#"
        spec.persistentVolumeReclaimPolicy: Unsupported value: "x": supported values: "Delete", "Recycle", "Retain"
        spec.persistentVolumeReclaimPolicy: Unsupported value: "x": supported values: "Delete", "Recycle", "Retain""#]],
    );
    check_change(
        "nodes",
        json!({}),
        |n| n["spec"]["taints"] = json!([{"key": "k", "effect": "x"}]),
        expect![[r#"
        metadata.taints[0].effect: Unsupported value: "x": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"
        metadata.taints[0].effect: Unsupported value: "x": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute""#]],
    );
}

#[test]
fn an_empty_definition_is_told_of_its_parts_in_upstreams_order() {
    check(
        "apiextensions.k8s.io/customresourcedefinitions",
        json!({}),
        expect![[r#"
        metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group
        spec.group: Required value
        spec.scope: Required value
        spec.versions: Invalid value: null: must have exactly one version marked as storage version
        spec.names.plural: Required value
        spec.names.singular: Required value
        spec.names.kind: Required value
        spec.names.listKind: Required value
        status.storedVersions: Invalid value: null: must have at least one stored version"#]],
    );
}

#[test]
fn time_zones_and_durations_of_cron_jobs() {
    let job = |schedule: &str, zone: &str| {
        let template = json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
        json!({"spec": {"schedule": schedule, "timeZone": zone, "jobTemplate": template}})
    };
    for (schedule, zone) in [("@every 1h30m", "Europe/Berlin"), ("@every 0", "UTC"), ("@every -1.5s", "Etc/GMT+5")] {
        check("batch/cronjobs", job(schedule, zone), expect![[""]]);
    }
    check(
        "batch/cronjobs",
        job("@every 1x", "Nowhere/Land"),
        expect![[r#"
        spec.schedule: Invalid value: "@every 1x": failed to parse duration @every 1x: time: unknown unit "x" in duration "1x"
        spec.timeZone: Invalid value: "Nowhere/Land": unknown time zone Nowhere/Land"#]],
    );
    check(
        "batch/cronjobs",
        job("@every 1", "local"),
        expect![[r#"
        spec.schedule: Invalid value: "@every 1": failed to parse duration @every 1: time: missing unit in duration "1"
        spec.timeZone: Invalid value: "local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones
        spec.timeZone: Invalid value: "local": unknown time zone local"#]],
    );
    check(
        "batch/cronjobs",
        job("@every h", "Local"),
        expect![[r#"
        spec.schedule: Invalid value: "@every h": failed to parse duration @every h: time: invalid duration "h"
        spec.timeZone: Invalid value: "Local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"#]],
    );
    check(
        "batch/cronjobs",
        job("@daily", "europe/berlin"),
        expect![[r#"spec.timeZone: Invalid value: "europe/berlin": unknown time zone europe/berlin"#]],
    );
}

#[test]
fn stored_versions_of_definitions() {
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": schema});
    let definition = json!({"metadata": {"name": "things.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"}, "versions": [version("v1", true)]}});
    let of = "apiextensions.k8s.io/customresourcedefinitions";
    check_change(
        of,
        definition.clone(),
        |d| d["spec"]["versions"] = json!([version("v2", true)]),
        expect![[
            r#"status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions"#
        ]],
    );
    check_change(of, definition.clone(), |d| d["spec"]["versions"] = json!([version("v1", false), version("v2", true)]), expect![[""]]);
    check_change(
        of,
        definition.clone(),
        |d| d["spec"]["group"] = "other.com".into(),
        expect![[r#"spec.group: Invalid value: "other.com": field is immutable"#]],
    );
    let mut two = definition.clone();
    two["spec"]["versions"] = json!([version("v1", true), version("v2", true)]);
    check(
        of,
        two,
        expect![[r#"
        spec.versions: Invalid value: [{"Name":"v1","Served":true,"Storage":true,"Deprecated":false,"DeprecationWarning":null,"Schema":null,"Subresources":null,"AdditionalPrinterColumns":null,"SelectableFields":null},{"Name":"v2","Served":true,"Storage":true,"Deprecated":false,"DeprecationWarning":null,"Schema":null,"Subresources":null,"AdditionalPrinterColumns":null,"SelectableFields":null}]: must have exactly one version marked as storage version
        status.storedVersions: Invalid value: ["v1"]: must have the storage version v2"#]],
    );
    let mut none = definition;
    none["spec"]["versions"] = Value::Null;
    check(
        of,
        none,
        expect![[r#"
        spec.versions: Invalid value: null: must have exactly one version marked as storage version
        status.storedVersions: Invalid value: null: must have at least one stored version"#]],
    );
}

#[test]
fn scopes_of_quotas_and_their_resources() {
    let quota = |scope: &str, hard: Value| json!({"spec": {"scopes": [scope], "hard": hard}});
    check("resourcequotas", quota("BestEffort", json!({"pods": 1})), expect![[""]]);
    check(
        "resourcequotas",
        quota("BestEffort", json!({"cpu": 1})),
        expect![[r#"spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource"#]],
    );
    check(
        "resourcequotas",
        quota("Terminating", json!({"limits.memory": 1, "count/widgets.example.com": 1, "services": 1})),
        expect![[r#"spec.scopes: Invalid value: ["Terminating"]: unsupported scope applied to resource"#]],
    );
}

#[test]
fn policies_of_mutation_and_their_bindings() {
    let rules = json!([{"operations": ["DELETE"], "apiGroups": ["x.y"], "apiVersions": ["v1"], "resources": ["things"]}]);
    let binding =
        json!({"spec": {"policyName": "p", "matchResources": {"resourceRules": rules}, "paramRef": {"name": "n", "parameterNotFoundAction": "x"}}});
    check(
        "admissionregistration.k8s.io/mutatingadmissionpolicybindings",
        binding.clone(),
        expect![[r#"
        spec.paramRef.parameterNotFoundAction: Unsupported value: "x": supported values: "Deny", "Allow"
        spec.matchResources.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE""#]],
    );
    check(
        "admissionregistration.k8s.io/validatingadmissionpolicybindings",
        binding,
        expect![[r#"
        spec.paramRef.parameterNotFoundAction: Unsupported value: "x": supported values: "Deny", "Allow"
        spec.validationActions: Required value: at least one validation action is required"#]],
    );
}

#[test]
fn metrics_may_be_of_objects_of_the_core_group() {
    let scaler = |version: &str, kind: &str| {
        let metric = json!({"type": "Object", "object": {"describedObject": {"apiVersion": version, "kind": kind, "name": "n"},
            "metric": {"name": "m"}, "target": {"type": "Value", "value": 1}}});
        json!({"spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": version, "kind": kind, "name": "n"}, "metrics": [metric]}})
    };
    check(
        "autoscaling/horizontalpodautoscalers",
        scaler("v1", "Service"),
        expect![[r#"spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group"#]],
    );
    check("autoscaling/horizontalpodautoscalers", scaler("", "ReplicationController"), expect![[""]]);
}

#[test]
fn inline_volumes_of_attachments() {
    let attachment = |source: Value| json!({"spec": {"attacher": "a.b", "nodeName": "n", "source": source}});
    let inline = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "csi": {"driver": "a.b", "volumeHandle": "h"}});
    check(
        "storage.k8s.io/volumeattachments",
        attachment(json!({"inlineVolumeSpec": inline})),
        expect!["spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes"],
    );
    check(
        "storage.k8s.io/volumeattachments",
        attachment(json!({"inlineVolumeSpec": {}})),
        expect![[r#"
        spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes
        spec.source.inlineVolumeSpec.accessModes: Required value
        spec.source.inlineVolumeSpec: Required value: must specify a volume type"#]],
    );
    check(
        "storage.k8s.io/volumeattachments",
        attachment(json!({"persistentVolumeName": ""})),
        expect![[r#"
        spec.source.persistentVolumeName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName"#]],
    );
}

#[test]
fn one_word_each() {
    let mut set = deployment();
    set["spec"]["template"]["spec"]["activeDeadlineSeconds"] = 5.into();
    check(
        "apps/deployments",
        set.clone(),
        expect!["spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported"],
    );
    set["spec"]["selector"] = json!({});
    check(
        "apps/replicasets",
        set,
        expect![[r#"
        spec.selector: Invalid value: {}: empty selector is invalid for deployment
        spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported"#]],
    );
    check(
        "storage.k8s.io/csinodes",
        json!({"spec": {"drivers": [{"name": "a.b", "nodeID": "i", "topologyKeys": [""]}]}}),
        expect![[r#"
        spec.drivers[0]: Required value
        spec.drivers[0]: Invalid value: "": name part must be non-empty
        spec.drivers[0]: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]],
    );
    check(
        "networking.k8s.io/ingresses",
        json!({"spec": {}}),
        expect!["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"],
    );
    check(
        "networking.k8s.io/networkpolicies",
        json!({"spec": {"ingress": [{"ports": [{"protocol": ""}]}]}}),
        expect![[r#"spec.ingress[0].ports[0].protocol: Unsupported value: "": supported values: "TCP", "UDP", "SCTP""#]],
    );
    expect![[r#"spec.finalizers[0]: Invalid value: "x": name is neither a standard finalizer name nor is it fully qualified"#]]
        .assert_eq(&update_faults("namespaces", json!({}), Part::Other("finalize"), |n| n["spec"]["finalizers"] = json!(["x"])));
}

/// `MaxUnavailableStatefulSet` is off by default.
#[test]
fn stateful_sets_lose_what_their_feature_would_use() {
    let mut set = deployment();
    set["spec"]["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}});
    check("apps/statefulsets", set.clone(), expect![[""]]);
    expect![[r#"
        {
          "rollingUpdate": {
            "partition": 0
          },
          "type": "RollingUpdate"
        }"#]]
    .assert_eq(&pretty(&created("apps/statefulsets", set)["spec"]["updateStrategy"]));
}

#[test]
fn templates_lose_fields_of_features_that_are_off() {
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {
        "containers": [{"name": "c", "image": "i", "lifecycle": {"stopSignal": "SIGUSR1"}}],
        "volumes": [{"name": "v", "projected": {"sources": [{"podCertificate": {"keyType": "ED25519"}}, {"clusterTrustBundle": {"path": "x"}}]}}]}});
    let in_spec = json!({"spec": {"template": template}});
    let in_job = json!({"spec": {"jobTemplate": in_spec}});
    for (resource, object) in [
        ("apps/deployments", &in_spec),
        ("apps/daemonsets", &in_spec),
        ("apps/replicasets", &in_spec),
        ("apps/statefulsets", &in_spec),
        ("batch/jobs", &in_spec),
        ("batch/cronjobs", &in_job),
        ("replicationcontrollers", &in_spec),
        ("podtemplates", &json!({"template": template})),
    ] {
        let text = created(resource, object.clone()).to_string();
        assert!(
            text.contains(r#""projected""#) && !["stopSignal", "podCertificate", "clusterTrustBundle"].iter().any(|f| text.contains(f)),
            "{resource}: {text}"
        );
    }
}

/// What was there when the feature was on stays.
#[test]
fn templates_keep_what_they_had() {
    let kind = super::strategy("apps/deployments");
    let mut old = created("apps/deployments", deployment());
    old["spec"]["template"]["spec"]["containers"][0]["lifecycle"] = json!({"stopSignal": "SIGUSR1"});
    let mut new = old.clone();
    new["spec"]["template"]["spec"]["volumes"] = json!([{"name": "v", "projected": {"sources": [{"podCertificate": {}}]}}]);
    super::World::default().with(|context| kind.prepare_update(&mut new, &old, Part::Main, context));
    let text = new["spec"]["template"].to_string();
    assert!(text.contains("SIGUSR1") && !text.contains("podCertificate"), "{text}");
}
