//! Refusals that show whole objects, or what changed in them.

use expect_test::expect;
use serde_json::{Value, json};

use super::{check, check_change, deployment, pod, update_faults};
use crate::Part;

#[test]
fn unsupported_and_doubled() {
    let mut set = deployment();
    set["spec"]["strategy"] = json!({"type": "x"});
    check(
        "apps/deployments",
        set.clone(),
        expect![[r#"spec.strategy: Unsupported value: {"Type":"x","RollingUpdate":null}: supported values: "Recreate", "RollingUpdate""#]],
    );
    set["spec"]["updateStrategy"] = set["spec"]["strategy"].take();
    check(
        "apps/daemonsets",
        set,
        expect![[r#"spec.updateStrategy: Unsupported value: {"Type":"x","RollingUpdate":null}: supported values: "RollingUpdate", "OnDelete""#]],
    );
    let taint = json!({"key": "k", "value": "x", "effect": "NoSchedule"});
    check(
        "nodes",
        json!({"spec": {"taints": [taint, taint]}}),
        expect![[
            r#"metadata.taints[1]: Duplicate value: {"Key":"k","Value":"x","Effect":"NoSchedule","TimeAdded":null}: taints must be unique by key and effect pair"#
        ]],
    );
    let budget = json!({"spec": {"minAvailable": 1, "maxUnavailable": "1%", "selector": {"matchLabels": {"a": "b"}}}});
    check(
        "policy/poddisruptionbudgets",
        budget,
        expect![[
            r#"spec: Invalid value: {"MinAvailable":1,"Selector":{"matchLabels":{"a":"b"}},"MaxUnavailable":"1%","UnhealthyPodEvictionPolicy":null}: minAvailable and maxUnavailable cannot be both set"#
        ]],
    );
}

#[test]
fn what_never_changes() {
    check_change(
        "apps/deployments",
        deployment(),
        |d| d["spec"]["selector"]["matchLabels"] = json!({}),
        expect![[r#"
        spec.selector: Invalid value: {}: empty selector is invalid for deployment
        spec.selector: Invalid value: {}: field is immutable"#]],
    );
    let attachment = json!({"spec": {"attacher": "a.b", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}});
    check_change(
        "storage.k8s.io/volumeattachments",
        attachment,
        |a| a["spec"]["nodeName"] = "m".into(),
        expect![[
            r#"spec: Invalid value: {"Attacher":"a.b","Source":{"PersistentVolumeName":"pv","InlineVolumeSpec":null},"NodeName":"m"}: field is immutable"#
        ]],
    );
    let volume = json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}});
    check_change(
        "persistentvolumes",
        volume,
        |v| v["spec"]["hostPath"]["path"] = "/y".into(),
        expect![[r#"
        spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation
        @@ -2,7 +2,7 @@
          "GCEPersistentDisk": null,
          "AWSElasticBlockStore": null,
          "HostPath": {
        -  "Path": "/x",
        +  "Path": "/y",
           "Type": ""
          },
          "Glusterfs": null,
    "#]],
    );
}

#[test]
fn claims() {
    let claim = |spec: Value| {
        let mut all = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "fast"});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        json!({"spec": all})
    };
    let class = |c: &mut Value| c["spec"]["storageClassName"] = "slow".into();
    check_change(
        "persistentvolumeclaims",
        claim(json!({})),
        class,
        expect![[r#"
        spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
        @@ -10,7 +10,7 @@
           }
          },
          "VolumeName": "",
        - "StorageClassName": "fast",
        + "StorageClassName": "slow",
          "VolumeMode": "Filesystem",
          "DataSource": null,
          "DataSourceRef": null,
    "#]],
    );
    // Where none was named a default may come later, and a volume is bound once.
    check_change("persistentvolumeclaims", claim(json!({"storageClassName": null})), class, expect![[""]]);
    check_change("persistentvolumeclaims", claim(json!({})), |c| c["spec"]["volumeName"] = "pv".into(), expect![[""]]);
    let attributes = |c: &mut Value| c["spec"]["volumeAttributesClassName"] = "".into();
    check_change(
        "persistentvolumeclaims",
        claim(json!({})),
        attributes,
        expect![[r#"
        spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
        @@ -14,5 +14,5 @@
          "VolumeMode": "Filesystem",
          "DataSource": null,
          "DataSourceRef": null,
        - "VolumeAttributesClassName": null
        + "VolumeAttributesClassName": ""
         }
    "#]],
    );
    check_change(
        "persistentvolumeclaims",
        claim(json!({})),
        |c| c["spec"]["volumeMode"] = "Block".into(),
        expect![[r#"
        spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
        @@ -11,7 +11,7 @@
          },
          "VolumeName": "",
          "StorageClassName": "fast",
        - "VolumeMode": "Filesystem",
        + "VolumeMode": "Block",
          "DataSource": null,
          "DataSourceRef": null,
          "VolumeAttributesClassName": null

        volumeMode: Invalid value: "Block": field is immutable"#]],
    );
}

#[test]
fn pods() {
    let simple = || pod(json!({"containers": [{"name": "c", "image": "i:v1"}], "hostNetwork": true}));
    check_change(
        "pods",
        simple(),
        |p| p["spec"]["restartPolicy"] = "Never".into(),
        expect![[r#"
        spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
        @@ -35,7 +35,7 @@
           }
          ],
          "EphemeralContainers": null,
        - "RestartPolicy": "Always",
        + "RestartPolicy": "Never",
          "TerminationGracePeriodSeconds": 30,
          "ActiveDeadlineSeconds": null,
          "DNSPolicy": "ClusterFirst",
    "#]],
    );
    // What may change beside it is not shown.
    let change = |p: &mut Value| {
        p["spec"]["containers"][0]["image"] = "i:v2".into();
        p["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
        p["spec"]["hostNetwork"] = false.into();
    };
    check_change(
        "pods",
        simple(),
        change,
        expect![[r#"
        spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
        @@ -44,7 +44,7 @@
          "AutomountServiceAccountToken": null,
          "NodeName": "",
          "SecurityContext": {
        -  "HostNetwork": true,
        +  "HostNetwork": false,
           "HostPID": false,
           "HostIPC": false,
           "ShareProcessNamespace": null,
    "#]],
    );
}

#[test]
fn a_long_pod_is_compared_soon() {
    let variables = |value: &str| (0..20_000).map(|n| json!({"name": format!("V{n}"), "value": value})).collect::<Vec<_>>();
    let before = pod(json!({"containers": [{"name": "c", "image": "i:v1", "env": variables("a")}]}));
    let faults = update_faults("pods", before, Part::Main, |p| p["spec"]["containers"][0]["env"] = variables("b").into());
    assert!(faults.starts_with("spec: Forbidden: pod updates may not change fields other than"), "{}", &faults[..200]);
}
