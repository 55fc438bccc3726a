//! The table of all resources as discovery shows it.

use expect_test::expect;

use crate::all;

/// The lines of `kubectl api-resources -o wide`, and the subresources.
#[test]
fn every_resource_is_described() {
    let mut lines = Vec::new();
    for strategy in all() {
        let def = strategy.def();
        let namespaced = if def.is_namespaced() { "namespaced" } else { "cluster" };
        let subs: Vec<&str> = def.subresources.iter().map(|s| s.name.as_ref()).collect();
        let verbs = if def.verbs.len() == 8 { "all".to_owned() } else { def.verbs.join(",") };
        let line = [
            def.resource.to_string(),
            def.short_names.join(","),
            def.api_version(),
            namespaced.to_owned(),
            def.kind.to_string(),
            verbs,
            def.categories.join(","),
            subs.join(","),
        ];
        lines.push(line.join(" | "));
    }
    expect![[r#"
        bindings |  | v1 | namespaced | Binding | create |  | 
        componentstatuses | cs | v1 | cluster | ComponentStatus | get,list |  | 
        configmaps | cm | v1 | namespaced | ConfigMap | all |  | 
        endpoints | ep | v1 | namespaced | Endpoints | all |  | 
        events | ev | v1 | namespaced | Event | all |  | 
        limitranges | limits | v1 | namespaced | LimitRange | all |  | 
        namespaces | ns | v1 | cluster | Namespace | create,delete,get,list,patch,update,watch |  | status,finalize
        nodes | no | v1 | cluster | Node | all |  | status,proxy
        persistentvolumeclaims | pvc | v1 | namespaced | PersistentVolumeClaim | all |  | status
        persistentvolumes | pv | v1 | cluster | PersistentVolume | all |  | status
        pods | po | v1 | namespaced | Pod | all | all | status,attach,binding,ephemeralcontainers,eviction,exec,log,portforward,proxy,resize
        podtemplates |  | v1 | namespaced | PodTemplate | all |  | 
        replicationcontrollers | rc | v1 | namespaced | ReplicationController | all | all | status,scale
        resourcequotas | quota | v1 | namespaced | ResourceQuota | all |  | status
        secrets |  | v1 | namespaced | Secret | all |  | 
        serviceaccounts | sa | v1 | namespaced | ServiceAccount | all |  | token
        services | svc | v1 | namespaced | Service | all | all | status,proxy
        apiservices |  | apiregistration.k8s.io/v1 | cluster | APIService | all | api-extensions | status
        controllerrevisions |  | apps/v1 | namespaced | ControllerRevision | all |  | 
        daemonsets | ds | apps/v1 | namespaced | DaemonSet | all | all | status
        deployments | deploy | apps/v1 | namespaced | Deployment | all | all | status,scale
        replicasets | rs | apps/v1 | namespaced | ReplicaSet | all | all | status,scale
        statefulsets | sts | apps/v1 | namespaced | StatefulSet | all | all | status,scale
        events | ev | events.k8s.io/v1 | namespaced | Event | all |  | 
        selfsubjectreviews |  | authentication.k8s.io/v1 | cluster | SelfSubjectReview | create |  | 
        tokenreviews |  | authentication.k8s.io/v1 | cluster | TokenReview | create |  | 
        localsubjectaccessreviews |  | authorization.k8s.io/v1 | namespaced | LocalSubjectAccessReview | create |  | 
        selfsubjectaccessreviews |  | authorization.k8s.io/v1 | cluster | SelfSubjectAccessReview | create |  | 
        selfsubjectrulesreviews |  | authorization.k8s.io/v1 | cluster | SelfSubjectRulesReview | create |  | 
        subjectaccessreviews |  | authorization.k8s.io/v1 | cluster | SubjectAccessReview | create |  | 
        horizontalpodautoscalers | hpa | autoscaling/v1 | namespaced | HorizontalPodAutoscaler | all | all | status
        horizontalpodautoscalers | hpa | autoscaling/v2 | namespaced | HorizontalPodAutoscaler | all | all | status
        cronjobs | cj | batch/v1 | namespaced | CronJob | all | all | status
        jobs |  | batch/v1 | namespaced | Job | all | all | status
        certificatesigningrequests | csr | certificates.k8s.io/v1 | cluster | CertificateSigningRequest | all |  | status,approval
        ingressclasses |  | networking.k8s.io/v1 | cluster | IngressClass | all |  | 
        ingresses | ing | networking.k8s.io/v1 | namespaced | Ingress | all |  | status
        ipaddresses | ip | networking.k8s.io/v1 | cluster | IPAddress | all |  | 
        networkpolicies | netpol | networking.k8s.io/v1 | namespaced | NetworkPolicy | all |  | 
        servicecidrs |  | networking.k8s.io/v1 | cluster | ServiceCIDR | all |  | status
        poddisruptionbudgets | pdb | policy/v1 | namespaced | PodDisruptionBudget | all |  | status
        clusterrolebindings |  | rbac.authorization.k8s.io/v1 | cluster | ClusterRoleBinding | all |  | 
        clusterroles |  | rbac.authorization.k8s.io/v1 | cluster | ClusterRole | all |  | 
        rolebindings |  | rbac.authorization.k8s.io/v1 | namespaced | RoleBinding | all |  | 
        roles |  | rbac.authorization.k8s.io/v1 | namespaced | Role | all |  | 
        csidrivers |  | storage.k8s.io/v1 | cluster | CSIDriver | all |  | 
        csinodes |  | storage.k8s.io/v1 | cluster | CSINode | all |  | 
        csistoragecapacities |  | storage.k8s.io/v1 | namespaced | CSIStorageCapacity | all |  | 
        storageclasses | sc | storage.k8s.io/v1 | cluster | StorageClass | all |  | 
        volumeattachments |  | storage.k8s.io/v1 | cluster | VolumeAttachment | all |  | status
        volumeattributesclasses | vac | storage.k8s.io/v1 | cluster | VolumeAttributesClass | all |  | 
        mutatingadmissionpolicies |  | admissionregistration.k8s.io/v1 | cluster | MutatingAdmissionPolicy | all | api-extensions | 
        mutatingadmissionpolicybindings |  | admissionregistration.k8s.io/v1 | cluster | MutatingAdmissionPolicyBinding | all | api-extensions | 
        mutatingwebhookconfigurations |  | admissionregistration.k8s.io/v1 | cluster | MutatingWebhookConfiguration | all | api-extensions | 
        validatingadmissionpolicies |  | admissionregistration.k8s.io/v1 | cluster | ValidatingAdmissionPolicy | all | api-extensions | status
        validatingadmissionpolicybindings |  | admissionregistration.k8s.io/v1 | cluster | ValidatingAdmissionPolicyBinding | all | api-extensions | 
        validatingwebhookconfigurations |  | admissionregistration.k8s.io/v1 | cluster | ValidatingWebhookConfiguration | all | api-extensions | 
        customresourcedefinitions | crd,crds | apiextensions.k8s.io/v1 | cluster | CustomResourceDefinition | all | api-extensions | status
        priorityclasses | pc | scheduling.k8s.io/v1 | cluster | PriorityClass | all |  | 
        leases |  | coordination.k8s.io/v1 | namespaced | Lease | all |  | 
        runtimeclasses |  | node.k8s.io/v1 | cluster | RuntimeClass | all |  | 
        endpointslices |  | discovery.k8s.io/v1 | namespaced | EndpointSlice | all |  | 
        flowschemas |  | flowcontrol.apiserver.k8s.io/v1 | cluster | FlowSchema | all |  | status
        prioritylevelconfigurations |  | flowcontrol.apiserver.k8s.io/v1 | cluster | PriorityLevelConfiguration | all |  | status
        deviceclasses |  | resource.k8s.io/v1 | cluster | DeviceClass | all |  | 
        resourceclaims |  | resource.k8s.io/v1 | namespaced | ResourceClaim | all |  | status
        resourceclaimtemplates |  | resource.k8s.io/v1 | namespaced | ResourceClaimTemplate | all |  | 
        resourceslices |  | resource.k8s.io/v1 | cluster | ResourceSlice | all |  | 
        decisions |  | pintle.dev/v1alpha1 | namespaced | Decision | list |  | 
        plugins | plug | pintle.dev/v1alpha1 | cluster | Plugin | all |  | status,log,decisions"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn rows_have_a_cell_for_each_column() {
    let now = super::NOW.parse().unwrap();
    for strategy in all() {
        let object = serde_json::json!({"metadata": {"name": "x"}});
        assert_eq!(strategy.columns().len(), strategy.cells(&object, now).len(), "{}", strategy.def().resource);
    }
}

/// Nothing that a client sends makes a strategy panic, and defaulting twice changes nothing.
#[test]
fn odd_objects_are_survived_and_defaults_are_stable() {
    use serde_json::json;
    let odd = [
        json!({}),
        json!({"metadata": {"name": "x"}, "spec": null, "status": null}),
        json!({"metadata": {"name": "x"}, "spec": {"template": {"spec": {"containers": [null, {"ports": "x", "env": [3]}]}}, "ports": [null], "selector": 4}}),
        json!({"metadata": {"name": "x", "labels": {"a": 1}}, "spec": {"containers": [{}], "volumes": [{}], "rules": [{}], "metrics": [{}], "limits": [{}]}, "webhooks": [{}], "subsets": [{}], "endpoints": [{}], "ports": [{}]}),
    ];
    let now = super::NOW.parse().unwrap();
    for strategy in all() {
        for object in &odd {
            let mut object = object.clone();
            strategy.default(&mut object);
            let once = object.clone();
            strategy.default(&mut object);
            assert_eq!(once, object, "{}", strategy.def().resource);
            super::World::default().with(|context| strategy.prepare_create(&mut object, context));
            strategy.validate_create(&object);
            for part in [crate::Part::Main, crate::Part::Status] {
                let mut new = object.clone();
                super::World::default().with(|context| strategy.prepare_update(&mut new, &object, part, context));
                strategy.validate_update(&new, &object, part);
            }
            strategy.cells(&object, now);
            strategy.grace_period_seconds(&object, None);
            strategy.selectable_fields().iter().for_each(|(_, field)| drop(field(&object)));
            strategy.to_storage(&mut object);
            strategy.from_storage(&mut object);
        }
    }
}

/// What upstream's storages have under `ReturnDeletedObject`; a CSIStorageCapacity was once among them.
#[test]
fn who_gives_back_what_was_deleted() {
    let giving = all().iter().filter(|s| s.def().gives_back_what_was_deleted()).map(|s| s.def().gvr().to_string()).collect::<Vec<_>>().join(" ");
    expect!["namespaces persistentvolumeclaims persistentvolumes pods podtemplates resourcequotas serviceaccounts services csidrivers.storage.k8s.io csinodes.storage.k8s.io storageclasses.storage.k8s.io volumeattachments.storage.k8s.io volumeattributesclasses.storage.k8s.io deviceclasses.resource.k8s.io resourceclaims.resource.k8s.io resourceclaimtemplates.resource.k8s.io resourceslices.resource.k8s.io"].assert_eq(&giving);
}
