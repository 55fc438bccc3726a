//! The admission chain as a whole: what it fills in, and what it refuses.

use expect_test::expect;
use pintle_api::Object;
use pintle_api::object::ObjectExt;
use pintle_registry::testing::{World, pretty, strategy};
use serde_json::{Value, json};

use super::pod_security::PodSecurity;
use super::{AdmissionAttributes, Chain, Operation};
use crate::cache::{Cache, Limits};
use crate::resources::Resource;

/// Runs the whole chain over a creation in the namespace `a`.
async fn create(world: &World, resource: &str, object: Object) -> Result<Object, String> {
    admit(world, resource, object, None).await
}

/// The same for a change of a present object.
async fn admit(world: &World, resource: &str, mut object: Object, old: Option<&Object>) -> Result<Object, String> {
    let cache = Cache::open(pintle_store::embedded::memory(), Limits::default()).await.unwrap();
    let resource = Resource::new(strategy(resource).into(), &cache, false);
    object.set_at(&["metadata", "namespace"], "a".into());
    resource.strategy.default(&mut object);
    let name = object.name().to_owned();
    let operation = if old.is_some() { Operation::Update } else { Operation::Create };
    let (resource_of, pod_security) = (&resource, &PodSecurity::default());
    let attributes = AdmissionAttributes { operation, resource: resource_of, subresource: "", namespace: "a", name: &name, old, pod_security };
    let chain = Chain::standard();
    world.with(|context| {
        chain.mutate(&mut object, &attributes, context).map_err(|s| s.message)?;
        resource.strategy.default(&mut object);
        chain.validate(&object, &attributes, context).map_err(|s| s.message)?;
        Ok(object)
    })
}

fn world(more: &[(&str, Value)]) -> World {
    let mut world = World::default();
    let basic = [
        ("namespaces", json!({"metadata": {"name": "a"}, "status": {"phase": "Active"}})),
        ("serviceaccounts", json!({"metadata": {"name": "default", "namespace": "a"}, "imagePullSecrets": [{"name": "reg"}]})),
    ];
    for (resource, object) in basic.into_iter().chain(more.iter().cloned()) {
        world.objects.entry(resource.to_owned()).or_default().push(object);
    }
    world
}

fn pod(name: &str, resources: Value) -> Value {
    json!({"metadata": {"name": name, "uid": name}, "spec": {"containers": [{"name": "c", "image": "i:v1", "resources": resources}]}})
}

#[tokio::test]
async fn a_pod_gets_its_account_priority_and_tolerations() {
    let mut made = create(&world(&[]), "pods", pod("p", json!({}))).await.unwrap();
    let volume = made["spec"]["volumes"][0]["name"].as_str().unwrap().to_owned();
    assert!(volume.starts_with("kube-api-access-") && volume.len() == 21, "{volume}");
    made["spec"]["volumes"][0]["name"] = "token".into();
    made["spec"]["containers"][0]["volumeMounts"][0]["name"] = "token".into();
    expect![[r#"
        {
          "containers": [
            {
              "image": "i:v1",
              "imagePullPolicy": "IfNotPresent",
              "name": "c",
              "resources": {},
              "terminationMessagePath": "/dev/termination-log",
              "terminationMessagePolicy": "File",
              "volumeMounts": [
                {
                  "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                  "name": "token",
                  "readOnly": true
                }
              ]
            }
          ],
          "dnsPolicy": "ClusterFirst",
          "enableServiceLinks": true,
          "imagePullSecrets": [
            {
              "name": "reg"
            }
          ],
          "preemptionPolicy": "PreemptLowerPriority",
          "priority": 0,
          "restartPolicy": "Always",
          "schedulerName": "default-scheduler",
          "securityContext": {},
          "serviceAccount": "default",
          "serviceAccountName": "default",
          "terminationGracePeriodSeconds": 30,
          "tolerations": [
            {
              "effect": "NoExecute",
              "key": "node.kubernetes.io/not-ready",
              "operator": "Exists",
              "tolerationSeconds": 300
            },
            {
              "effect": "NoExecute",
              "key": "node.kubernetes.io/unreachable",
              "operator": "Exists",
              "tolerationSeconds": 300
            }
          ],
          "volumes": [
            {
              "name": "token",
              "projected": {
                "defaultMode": 420,
                "sources": [
                  {
                    "serviceAccountToken": {
                      "expirationSeconds": 3607,
                      "path": "token"
                    }
                  },
                  {
                    "configMap": {
                      "items": [
                        {
                          "key": "ca.crt",
                          "path": "ca.crt"
                        }
                      ],
                      "name": "kube-root-ca.crt"
                    }
                  },
                  {
                    "downwardAPI": {
                      "items": [
                        {
                          "fieldRef": {
                            "apiVersion": "v1",
                            "fieldPath": "metadata.namespace"
                          },
                          "path": "namespace"
                        }
                      ]
                    }
                  }
                ]
              }
            }
          ]
        }"#]]
    .assert_eq(&pretty(&made["spec"]));
}

#[tokio::test]
async fn a_pod_without_account_or_class_is_refused() {
    let mut other = pod("p", json!({}));
    other["spec"]["serviceAccountName"] = "none".into();
    expect![[r#"pods "p" is forbidden: error looking up service account a/none: serviceaccount "none" not found"#]]
        .assert_eq(&create(&world(&[]), "pods", other).await.unwrap_err());
    let mut classed = pod("p", json!({}));
    classed["spec"]["priorityClassName"] = "none".into();
    expect![[r#"pods "p" is forbidden: no PriorityClass with name none was found"#]]
        .assert_eq(&create(&world(&[]), "pods", classed).await.unwrap_err());
    let mut quiet = pod("p", json!({}));
    quiet["spec"]["automountServiceAccountToken"] = false.into();
    assert_eq!(create(&world(&[]), "pods", quiet).await.unwrap().at(&["spec", "volumes"]), None);
}

#[tokio::test]
async fn limit_ranges_fill_in_and_bound() {
    let range = json!({"metadata": {"name": "r", "namespace": "a"}, "spec": {"limits": [
        {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}, "min": {"cpu": "50m"}, "max": {"cpu": "1"}},
    ]}});
    let world = world(&[("limitranges", range)]);
    let made = create(&world, "pods", pod("p", json!({}))).await.unwrap();
    expect![[r#"{"limits":{"cpu":"500m"},"requests":{"cpu":"100m"}}"#]].assert_eq(&made["spec"]["containers"][0]["resources"].to_string());
    expect!["LimitRanger plugin set: cpu request for container c; cpu limit for container c"]
        .assert_eq(made.annotation("kubernetes.io/limit-ranger").unwrap());
    let greedy = pod("p", json!({"requests": {"cpu": "10m"}, "limits": {"cpu": "2"}}));
    expect![[
        r#"pods "p" is forbidden: [minimum cpu usage per Container is 50m, but request is 10m, maximum cpu usage per Container is 1, but limit is 2]"#
    ]]
    .assert_eq(&create(&world, "pods", greedy).await.unwrap_err());
}

#[tokio::test]
async fn quotas_hold_even_before_writes_are_seen() {
    let quota = json!({"metadata": {"name": "q", "namespace": "a"}, "spec": {"hard": {"pods": "2", "requests.cpu": "1"}}});
    let mut world = world(&[("resourcequotas", quota)]);
    expect![[r#"pods "p" is forbidden: failed quota: q: must specify requests.cpu for: c"#]]
        .assert_eq(&create(&world, "pods", pod("p", json!({}))).await.unwrap_err());
    let wants = |cpu: &str| json!({"requests": {"cpu": cpu}});
    let first = create(&world, "pods", pod("p1", wants("600m"))).await.unwrap();
    expect![[r#"pods "p2" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1"#]]
        .assert_eq(&create(&world, "pods", pod("p2", wants("500m"))).await.unwrap_err());
    world.objects.entry("pods".to_owned()).or_default().push(first);
    expect![[r#"pods "p2" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1"#]]
        .assert_eq(&create(&world, "pods", pod("p2", wants("500m"))).await.unwrap_err());
    assert!(create(&world, "pods", pod("p3", wants("400m"))).await.is_ok());
    expect![[r#"pods "p4" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"#]]
        .assert_eq(&create(&world, "pods", pod("p4", wants("0"))).await.unwrap_err());
}

#[tokio::test]
async fn growth_is_reserved_until_it_is_seen() {
    let quota = json!({"metadata": {"name": "q", "namespace": "a"}, "spec": {"hard": {"services.loadbalancers": "1"}}});
    let service = |name: &str, version: &str, kind: &str| json!({"metadata": {"name": name, "namespace": "a", "uid": name, "resourceVersion": version}, "spec": {"type": kind, "ports": [{"port": 80}]}});
    let (one, two) = (service("s1", "1", "ClusterIP"), service("s2", "2", "ClusterIP"));
    let mut world = world(&[("resourcequotas", quota), ("services", one.clone()), ("services", two.clone())]);
    let (grown, other) = (service("s1", "1", "LoadBalancer"), service("s2", "2", "LoadBalancer"));
    admit(&world, "services", grown.clone(), Some(&one)).await.unwrap();
    admit(&world, "services", grown, Some(&one)).await.expect("the same again asks for nothing more");
    expect![[r#"services "s2" is forbidden: exceeded quota: q, requested: services.loadbalancers=1, used: services.loadbalancers=1, limited: services.loadbalancers=1"#]]
        .assert_eq(&admit(&world, "services", other.clone(), Some(&two)).await.unwrap_err());
    // The first service was written as something else.
    world.objects.get_mut("services").unwrap()[0] = service("s1", "3", "ClusterIP");
    admit(&world, "services", other, Some(&two)).await.unwrap();
}

#[tokio::test]
async fn a_reservation_counts_where_its_object_does() {
    let quota = |name: &str, scope: &str| json!({"metadata": {"name": name, "namespace": "a"}, "spec": {"hard": {"pods": "1"}, "scopes": [scope]}});
    let world = world(&[("resourcequotas", quota("best", "BestEffort")), ("resourcequotas", quota("other", "NotBestEffort"))]);
    create(&world, "pods", pod("p1", json!({}))).await.unwrap();
    create(&world, "pods", pod("p2", json!({"requests": {"cpu": "1"}}))).await.expect("its quota has a place");
    expect![[r#"pods "p3" is forbidden: exceeded quota: best, requested: pods=1, used: pods=1, limited: pods=1"#]]
        .assert_eq(&create(&world, "pods", pod("p3", json!({}))).await.unwrap_err());
}

#[tokio::test]
async fn defaults_of_classes_are_taken() {
    let class = |resource: &str, mark: &str| {
        let object = json!({"metadata": {"name": "std", "annotations": {mark: "true"}}});
        (resource.to_owned(), object)
    };
    let mut world = world(&[]);
    for (resource, object) in [
        class("storageclasses.storage.k8s.io", "storageclass.kubernetes.io/is-default-class"),
        class("ingressclasses.networking.k8s.io", "ingressclass.kubernetes.io/is-default-class"),
    ] {
        world.objects.insert(resource, vec![object]);
    }
    let claim = create(&world, "persistentvolumeclaims", json!({"metadata": {"name": "c"}, "spec": {}})).await.unwrap();
    assert_eq!(claim.str_at(&["spec", "storageClassName"]), "std");
    let ingress = create(&world, "networking.k8s.io/ingresses", json!({"metadata": {"name": "i"}, "spec": {}})).await.unwrap();
    assert_eq!(ingress.str_at(&["spec", "ingressClassName"]), "std");
}

#[tokio::test]
async fn a_pod_on_a_node_carries_its_zone_and_region() {
    let labels = json!({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "topology.kubernetes.io/rack": "k", "a": "b"});
    let world = world(&[("nodes", json!({"metadata": {"name": "n", "labels": labels}}))]);
    let mut bound = pod("p", json!({}));
    bound["spec"]["nodeName"] = "n".into();
    bound["metadata"]["labels"] = json!({"app": "a", "topology.kubernetes.io/zone": "elsewhere"});
    let made = create(&world, "pods", bound.clone()).await.unwrap();
    expect![[r#"{"app":"a","topology.kubernetes.io/region":"r","topology.kubernetes.io/zone":"z"}"#]]
        .assert_eq(&made["metadata"]["labels"].to_string());
    bound["spec"]["nodeName"] = "unknown".into();
    assert_eq!(create(&world, "pods", bound.clone()).await.unwrap()["metadata"]["labels"], bound["metadata"]["labels"]);
}

#[tokio::test]
async fn a_new_node_is_tainted_whatever_it_says_of_itself() {
    let taints = async |spec: Value| {
        let node = json!({"metadata": {"name": "n"}, "spec": spec, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        create(&world(&[]), "nodes", node).await.unwrap()["spec"]["taints"].to_string()
    };
    expect![[r#"[{"effect":"NoSchedule","key":"node.kubernetes.io/not-ready"}]"#]].assert_eq(&taints(json!({})).await);
    let own = json!({"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]});
    expect![[r#"[{"effect":"NoExecute","key":"node.kubernetes.io/not-ready"},{"effect":"NoSchedule","key":"node.kubernetes.io/not-ready"}]"#]]
        .assert_eq(&taints(own).await);
    let there = json!({"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule", "value": "v"}]});
    expect![[r#"[{"effect":"NoSchedule","key":"node.kubernetes.io/not-ready","value":"v"}]"#]].assert_eq(&taints(there).await);
}

#[tokio::test]
async fn a_claim_grows_once_it_is_bound_and_its_class_allows() {
    let class = |name: &str, grows: bool| json!({"metadata": {"name": name}, "allowVolumeExpansion": grows});
    let mut world = world(&[]);
    world.objects.insert("storageclasses.storage.k8s.io".to_owned(), vec![class("fixed", false), class("grows", true)]);
    let claim = |class: &str, phase: &str, size: &str| json!({"metadata": {"name": "c"}, "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}, "status": {"phase": phase}});
    let cache = Cache::open(pintle_store::embedded::memory(), Limits::default()).await.unwrap();
    let resource = Resource::new(strategy("persistentvolumeclaims").into(), &cache, false);
    let grow = |old: Value, new: Value| {
        let (operation, old, pod_security) = (Operation::Update, Some(&old), &PodSecurity::default());
        let attributes = AdmissionAttributes { operation, resource: &resource, subresource: "", namespace: "a", name: "c", old, pod_security };
        world.with(|context| super::claim_resize::validate(&new, &attributes, context).map_err(|s| s.message))
    };
    assert!(grow(claim("grows", "Bound", "1Gi"), claim("grows", "Bound", "2Gi")).is_ok());
    assert!(grow(claim("fixed", "Bound", "2Gi"), claim("fixed", "Bound", "2048Mi")).is_ok());
    let early = grow(claim("grows", "Pending", "1Gi"), claim("grows", "Pending", "2Gi")).unwrap_err();
    expect![[r#"persistentvolumeclaims "c" is forbidden: Only bound persistent volume claims can be expanded"#]].assert_eq(&early);
    let fixed = grow(claim("fixed", "Bound", "1Gi"), claim("fixed", "Bound", "2Gi")).unwrap_err();
    expect![[r#"persistentvolumeclaims "c" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"#]].assert_eq(&fixed);
}

#[tokio::test]
async fn what_a_pod_says_of_its_class_by_itself() {
    let class = json!({"metadata": {"name": "heavy"}, "handler": "h", "overhead": {"podFixed": {"cpu": "10m"}}});
    let world = world(&[("runtimeclasses.node.k8s.io", class)]);
    let with = |field: &str, value: Value| {
        let mut pod = pod("p", json!({}));
        pod["spec"][field] = value;
        pod
    };
    let refused = "pods \"p\" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
    assert_eq!(create(&world, "pods", with("overhead", json!({"cpu": "1"}))).await.unwrap_err(), refused);
    assert_eq!(create(&world, "pods", with("runtimeClassName", "".into())).await.unwrap_err(), "resource name may not be empty");
    let why = create(&world, "pods", with("preemptionPolicy", "".into())).await.unwrap_err();
    assert!(why.contains("the string value of PreemptionPolicy () must not be provided"), "{why}");
    // Mutation alone lets an overhead pass: whether it is valid at all is told first.
    let made = create(&world, "pods", with("runtimeClassName", "heavy".into())).await.map(|pod| pod["spec"]["overhead"].clone());
    assert_eq!(made, Ok(json!({"cpu": "10m"})));
}
