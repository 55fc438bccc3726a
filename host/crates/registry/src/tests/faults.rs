//! The messages that a faulty new or changed object is refused with.

use expect_test::expect;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::{check, check_change, deployment, pod};

fn simple_pod() -> Value {
    pod(json!({"containers": [{"name": "c", "image": "i:v1"}]}))
}

#[test]
fn good_objects_have_none() {
    check("pods", simple_pod(), expect![""]);
    check("apps/deployments", deployment(), expect![""]);
    check("apps/replicasets", deployment(), expect![""]);
    check("apps/daemonsets", deployment(), expect![""]);
    check("apps/statefulsets", deployment(), expect![""]);
    check("namespaces", json!({"metadata": {"name": "a"}}), expect![""]);
    check("services", json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}), expect![""]);
}

#[test]
fn pods() {
    check("pods", pod(json!({})), expect!["spec.containers: Required value"]);
    check(
        "pods",
        pod(json!({
            "restartPolicy": "Sometimes",
            "containers": [
                {"name": "Bad_Name", "image": "i", "ports": [{"containerPort": 70000, "name": "http"}, {"containerPort": 1, "name": "http"}]},
                {"name": "c", "env": [{"name": ""}], "volumeMounts": [{"name": "none", "mountPath": "/x"}],
                 "resources": {"requests": {"memory": "2Gi", "nonsense": "1"}, "limits": {"memory": "1Gi"}}},
                {"name": "c", "image": "i", "livenessProbe": {"exec": {}}, "readinessProbe": {}, "imagePullPolicy": "Maybe"},
            ],
            "volumes": [{"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}],
            "nodeSelector": {"-bad": "x"},
            "tolerations": [{"operator": "Equal", "effect": "NoSchedule", "tolerationSeconds": 3}],
        })),
        expect![[r#"
            spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type
            spec.containers[0].name: Invalid value: "Bad_Name": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive
            spec.containers[0].ports[1].name: Duplicate value: "http"
            spec.containers[1].image: Required value
            spec.containers[1].env[0].name: Required value
            spec.containers[1].volumeMounts[0].name: Not found: "none"
            spec.containers[1].resources.requests: Invalid value: "2Gi": must be less than or equal to memory limit of 1Gi
            spec.containers[1].resources.requests[nonsense]: Invalid value: "nonsense": must be a standard resource type or fully qualified
            spec.containers[1].resources.requests[nonsense]: Invalid value: "nonsense": must be a standard resource for containers
            spec.containers[2].imagePullPolicy: Unsupported value: "Maybe": supported values: "Always", "IfNotPresent", "Never"
            spec.containers[2].name: Duplicate value: "c"
            spec.containers[2].livenessProbe.exec.command: Required value
            spec.containers[2].readinessProbe: Required value: must specify a handler type
            spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"
            spec.nodeSelector: Invalid value: "-bad": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys"
            spec.tolerations[0].effect: Invalid value: "NoSchedule": effect must be 'NoExecute' when `tolerationSeconds` is set"#]],
    );
}

#[test]
fn a_pod_changes_only_where_it_may() {
    check_change("pods", simple_pod(), |p| p["spec"]["containers"][0]["image"] = "i:v2".into(), expect![""]);
    check_change("pods", simple_pod(), |p| p["spec"]["activeDeadlineSeconds"] = 5.into(), expect![""]);
    check_change(
        "pods",
        simple_pod(),
        |p| p["spec"]["nodeName"] = "n".into(),
        expect![[r#"
        spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
        @@ -42,7 +42,7 @@
          "NodeSelector": null,
          "ServiceAccountName": "",
          "AutomountServiceAccountToken": null,
        - "NodeName": "",
        + "NodeName": "n",
          "SecurityContext": {
           "HostNetwork": false,
           "HostPID": false,
    "#]],
    );
    check_change(
        "pods",
        simple_pod(),
        |p| p["spec"]["containers"][0]["command"] = json!(["x"]),
        expect![[r#"
        spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
        @@ -5,7 +5,9 @@
           {
            "Name": "c",
            "Image": "i:v1",
        -   "Command": null,
        +   "Command": [
        +    "x"
        +   ],
            "Args": null,
            "WorkingDir": "",
            "Ports": null,
    "#]],
    );
    check_change(
        "pods",
        simple_pod(),
        |p| p["spec"]["containers"] = json!([]),
        expect![[r#"
        spec.containers: Required value
        spec.containers: Forbidden: pod updates may not add or remove containers"#]],
    );
}

#[test]
fn workloads() {
    let mut wrong = deployment();
    wrong["spec"]["selector"]["matchLabels"]["app"] = "other".into();
    wrong["spec"]["replicas"] = (-1).into();
    wrong["spec"]["template"]["spec"]["restartPolicy"] = "Never".into();
    check(
        "apps/deployments",
        wrong,
        expect![[r#"
        spec.replicas: Invalid value: -1: must be greater than or equal to 0
        spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`
        spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#]],
    );
    check(
        "apps/deployments",
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
        expect![[r#"
        spec.selector: Required value
        spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`"#]],
    );
    check_change(
        "apps/deployments",
        deployment(),
        |d| d.set_at(&["spec", "selector", "matchLabels", "x"], "y".into()),
        expect![[r#"
        spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`
        spec.selector: Invalid value: {"matchLabels":{"app":"web","x":"y"}}: field is immutable"#]],
    );
    check_change(
        "apps/statefulsets",
        deployment(),
        |s| s["spec"]["serviceName"] = "other".into(),
        expect![
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
        ],
    );
    let job = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    check("batch/jobs", job, expect![[r#"spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#]]);
    let cron = json!({"spec": {"schedule": "61 * * * *", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}});
    check("batch/cronjobs", cron, expect![[r#"spec.schedule: Invalid value: "61 * * * *": end of range (61) above maximum (59): 61"#]]);
}

#[test]
fn configuration() {
    check(
        "configmaps",
        json!({"data": {"a b": "x"}}),
        expect![[
            r#"data[a b]: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"#
        ]],
    );
    check_change(
        "configmaps",
        json!({"immutable": true, "data": {"a": "x"}}),
        |c| c["data"]["a"] = "y".into(),
        expect!["data: Forbidden: field is immutable when `immutable` is set"],
    );
    check("secrets", json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "eA=="}}), expect!["data[tls.key]: Required value"]);
    check_change(
        "secrets",
        json!({"data": {"a": "eA=="}}),
        |s| s["type"] = "other".into(),
        expect![[r#"type: Invalid value: "other": field is immutable"#]],
    );
}

#[test]
fn access() {
    check(
        "rbac.authorization.k8s.io/roles",
        json!({"rules": [{"verbs": []}, {"verbs": ["get"], "nonResourceURLs": ["/x"]}]}),
        expect![[r#"
        rules[0].verbs: Required value: verbs must contain at least one value
        rules[0].apiGroups: Required value: resource rules must supply at least one api group
        rules[0].resources: Required value: resource rules must supply at least one resource
        rules[1].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs"#]],
    );
    let binding = json!({"roleRef": {"kind": "ClusterRole", "name": "view"}, "subjects": [{"kind": "User", "name": "u"}]});
    check("rbac.authorization.k8s.io/rolebindings", binding.clone(), expect![""]);
    check_change(
        "rbac.authorization.k8s.io/rolebindings",
        binding,
        |b| b["roleRef"]["name"] = "edit".into(),
        expect![[r#"roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"ClusterRole","Name":"edit"}: cannot change roleRef"#]],
    );
}

#[test]
fn plugins() {
    check("pintle.dev/plugins", json!({"spec": {"world": "scheduler", "source": {"embedded": "scheduler-default"}}}), expect![""]);
    check(
        "pintle.dev/plugins",
        json!({"spec": {"world": "kernel", "source": {"file": "/etc/x", "inline": "AA=="}, "digest": "md5:1", "grants": [{"verbs": ["get"]}], "limits": {"memory": "0"}}}),
        expect![[r#"
            spec.world: Unsupported value: "kernel": supported values: "admission", "controller", "ingress", "scheduler"
            spec.source: Invalid value: "file,inline": may not have more than one field specified at a time
            spec.digest: Invalid value: "md5:1": must be 'sha256:' followed by 64 hexadecimal digits
            spec.limits.memory: Invalid value: "0": must be greater than zero
            spec.grants[0].apiGroups: Required value: resource rules must supply at least one api group
            spec.grants[0].resources: Required value: resource rules must supply at least one resource"#]],
    );
    let with = |candidate: Value| json!({"spec": {"world": "scheduler", "source": {"embedded": "s"}, "candidate": candidate}});
    check("pintle.dev/plugins", with(json!({"source": {"file": "x"}, "promoteWhen": {"agreement": 0.99, "decisions": 500}})), expect![""]);
    check("pintle.dev/plugins", with(json!({"source": {"file": "x"}, "stage": "Canary", "canary": {"percent": 10}})), expect![""]);
    check(
        "pintle.dev/plugins",
        json!({"spec": {"world": "scheduler", "source": {"embedded": "s"}, "rollback": {"faults": -1, "failedPercent": 101, "failedOf": 0},
            "candidate": {"source": {}, "stage": "Canary", "limits": {"instances": 0}, "promoteWhen": {"agreement": 1.5, "decisions": 0}}}}),
        expect![[r#"
            spec.candidate.source: Required value: must specify one of: `inline`, `file`, `https`, `oci`, `digest` or `embedded`
            spec.candidate.limits.instances: Invalid value: 0: must be greater than 0
            spec.candidate.canary: Required value: must say `percent` or `namespaces` when `stage` is 'Canary'
            spec.candidate.promoteWhen.agreement: Invalid value: 1.5: must be between 0 and 1, inclusive
            spec.candidate.promoteWhen.decisions: Invalid value: 0: must be between 1 and 100000, inclusive
            spec.rollback.faults: Invalid value: -1: must be between 0 and 4294967295, inclusive
            spec.rollback.failedPercent: Invalid value: 101: must be between 0 and 100, inclusive
            spec.rollback.failedOf: Invalid value: 0: must be between 1 and 10000, inclusive"#]],
    );
    check(
        "pintle.dev/plugins",
        with(json!({"source": {"oci": {"reference": "r/p:v1", "pullSecret": {"namespace": "n", "name": "s"}}}})),
        expect![""],
    );
    check(
        "pintle.dev/plugins",
        json!({"spec": {"world": "scheduler", "source": {"https": {"url": "http://h/p.wasm"}}, "candidate": {"source": {"oci": {"reference": "", "pullSecret": {"namespace": "n", "name": ""}}}}}}),
        expect![[r#"
            spec.source.https.url: Invalid value: "http://h/p.wasm": 'https' is the only allowed URL scheme; desired format: https://host[/path]
            spec.digest: Required value: must say which bytes an https source means
            spec.candidate.source.oci.reference: Required value
            spec.candidate.source.oci.pullSecret.name: Required value"#]],
    );
    check(
        "pintle.dev/plugins",
        with(json!({"source": {"file": "x"}, "stage": "Later", "canary": {"percent": 200, "namespaces": ["A"]}})),
        expect![[r#"
        spec.candidate.stage: Unsupported value: "Later": supported values: "Canary", "Live", "Shadow"
        spec.candidate.canary.percent: Invalid value: 200: must be between 0 and 100, inclusive
        spec.candidate.canary.namespaces[0]: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#]],
    );
}
