//! What a new object of each main kind is filled in with.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{created, deployment, pod, pretty};

fn check(resource: &str, object: Value, expected: Expect) {
    expected.assert_eq(&pretty(&created(resource, object)));
}

#[test]
fn pods() {
    check(
        "pods",
        pod(json!({
            "serviceAccount": "sa",
            "containers": [{
                "name": "c", "image": "registry:5000/web", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                "livenessProbe": {"httpGet": {"port": 80}},
                "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
            }],
            "volumes": [{"name": "e"}, {"name": "c", "configMap": {"name": "m"}}, {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
        })),
        expect![[r#"
            {
              "apiVersion": "v1",
              "kind": "Pod",
              "metadata": {
                "name": "p",
                "namespace": "a",
                "uid": "uid-1"
              },
              "spec": {
                "containers": [
                  {
                    "env": [
                      {
                        "name": "NODE",
                        "valueFrom": {
                          "fieldRef": {
                            "apiVersion": "v1",
                            "fieldPath": "spec.nodeName"
                          }
                        }
                      }
                    ],
                    "image": "registry:5000/web",
                    "imagePullPolicy": "Always",
                    "livenessProbe": {
                      "failureThreshold": 3,
                      "httpGet": {
                        "path": "/",
                        "port": 80,
                        "scheme": "HTTP"
                      },
                      "periodSeconds": 10,
                      "successThreshold": 1,
                      "timeoutSeconds": 1
                    },
                    "name": "c",
                    "ports": [
                      {
                        "containerPort": 80,
                        "protocol": "TCP"
                      }
                    ],
                    "resources": {
                      "limits": {
                        "cpu": "1",
                        "memory": "1Gi"
                      },
                      "requests": {
                        "cpu": "1",
                        "memory": "1Gi"
                      }
                    },
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File"
                  }
                ],
                "dnsPolicy": "ClusterFirst",
                "enableServiceLinks": true,
                "restartPolicy": "Always",
                "schedulerName": "default-scheduler",
                "securityContext": {},
                "serviceAccount": "sa",
                "serviceAccountName": "sa",
                "terminationGracePeriodSeconds": 30,
                "volumes": [
                  {
                    "emptyDir": {},
                    "name": "e"
                  },
                  {
                    "configMap": {
                      "defaultMode": 420,
                      "name": "m"
                    },
                    "name": "c"
                  },
                  {
                    "name": "t",
                    "projected": {
                      "defaultMode": 420,
                      "sources": [
                        {
                          "serviceAccountToken": {
                            "expirationSeconds": 3600,
                            "path": "t"
                          }
                        }
                      ]
                    }
                  }
                ]
              },
              "status": {
                "phase": "Pending",
                "qosClass": "Guaranteed"
              }
            }"#]],
    );
}

#[test]
fn deployments() {
    check(
        "apps/deployments",
        deployment(),
        expect![[r#"
        {
          "metadata": {
            "name": "web",
            "namespace": "a",
            "uid": "uid-1"
          },
          "spec": {
            "progressDeadlineSeconds": 600,
            "replicas": 1,
            "revisionHistoryLimit": 10,
            "selector": {
              "matchLabels": {
                "app": "web"
              }
            },
            "strategy": {
              "rollingUpdate": {
                "maxSurge": "25%",
                "maxUnavailable": "25%"
              },
              "type": "RollingUpdate"
            },
            "template": {
              "metadata": {
                "labels": {
                  "app": "web"
                }
              },
              "spec": {
                "containers": [
                  {
                    "image": "web:v1",
                    "imagePullPolicy": "IfNotPresent",
                    "name": "c",
                    "resources": {},
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File"
                  }
                ],
                "dnsPolicy": "ClusterFirst",
                "restartPolicy": "Always",
                "schedulerName": "default-scheduler",
                "securityContext": {},
                "terminationGracePeriodSeconds": 30
              }
            }
          },
          "status": {}
        }"#]],
    );
}

#[test]
fn jobs_get_a_selector_of_their_own() {
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:v1"}]}});
    check(
        "batch/jobs",
        json!({"metadata": {"name": "j"}, "spec": {"template": template}}),
        expect![[r#"
        {
          "metadata": {
            "name": "j",
            "uid": "uid-1"
          },
          "spec": {
            "backoffLimit": 6,
            "completionMode": "NonIndexed",
            "completions": 1,
            "manualSelector": false,
            "parallelism": 1,
            "podReplacementPolicy": "TerminatingOrFailed",
            "selector": {
              "matchLabels": {
                "batch.kubernetes.io/controller-uid": "uid-1"
              }
            },
            "suspend": false,
            "template": {
              "metadata": {
                "labels": {
                  "batch.kubernetes.io/controller-uid": "uid-1",
                  "batch.kubernetes.io/job-name": "j",
                  "controller-uid": "uid-1",
                  "job-name": "j"
                }
              },
              "spec": {
                "containers": [
                  {
                    "image": "i:v1",
                    "imagePullPolicy": "IfNotPresent",
                    "name": "c",
                    "resources": {},
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File"
                  }
                ],
                "dnsPolicy": "ClusterFirst",
                "restartPolicy": "Never",
                "schedulerName": "default-scheduler",
                "securityContext": {},
                "terminationGracePeriodSeconds": 30
              }
            }
          },
          "status": {}
        }"#]],
    );
}

#[test]
fn namespaces_and_secrets() {
    check(
        "namespaces",
        json!({"metadata": {"name": "a"}}),
        expect![[r#"
        {
          "metadata": {
            "labels": {
              "kubernetes.io/metadata.name": "a"
            },
            "name": "a",
            "uid": "uid-1"
          },
          "spec": {
            "finalizers": [
              "kubernetes"
            ]
          },
          "status": {
            "phase": "Active"
          }
        }"#]],
    );
    check(
        "secrets",
        json!({"metadata": {"name": "s"}, "stringData": {"k": "v"}}),
        expect![[r#"
        {
          "data": {
            "k": "dg=="
          },
          "metadata": {
            "name": "s",
            "uid": "uid-1"
          },
          "type": "Opaque"
        }"#]],
    );
}

#[test]
fn gated_pods_say_so() {
    let object = created("pods", pod(json!({"schedulingGates": [{"name": "a/b"}], "containers": [{"name": "c", "image": "i:v1"}]})));
    expect![[r#"
        {
          "conditions": [
            {
              "lastProbeTime": null,
              "lastTransitionTime": "2026-01-01T12:00:00Z",
              "message": "Scheduling is blocked due to non-empty scheduling gates",
              "reason": "SchedulingGated",
              "status": "False",
              "type": "PodScheduled"
            }
          ],
          "phase": "Pending",
          "qosClass": "BestEffort"
        }"#]]
    .assert_eq(&pretty(&object["status"]));
}
