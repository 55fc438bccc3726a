//! What writers are warned of. The corpus of `tests/goldens/validation` compares many of these with upstream's answers.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::strategy;

fn warned(resource: &str, object: Value, old: Option<Value>, expected: Expect) {
    let strategy = strategy(resource);
    let mut said = strategy.early_warnings(&object);
    said.extend(strategy.warnings(&object, old.as_ref()));
    expected.assert_eq(&said.join("\n"));
}

fn pod(spec: Value, annotations: Value) -> Value {
    json!({"metadata": {"name": "p", "annotations": annotations}, "spec": spec})
}

#[test]
fn pods_that_are_old_in_style() {
    let annotations = json!({
        "container.apparmor.security.beta.kubernetes.io/a": "unconfined", "container.apparmor.security.beta.kubernetes.io/b": "nonsense",
        "container.seccomp.security.alpha.kubernetes.io/a": "unconfined", "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
        "scheduler.alpha.kubernetes.io/critical-pod": "",
    });
    let spec = json!({
        "nodeSelector": {"beta.kubernetes.io/os": "linux", "mine": "x"},
        "topologySpreadConstraints": [{"topologyKey": "failure-domain.beta.kubernetes.io/zone", "labelSelector": {}}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"preference": {"matchExpressions": [{"key": "beta.kubernetes.io/arch", "operator": "In", "values": ["a b"]}]}}]}},
        "volumes": [{"name": "v", "gitRepo": {}}, {"name": "w", "storageos": {}},
            {"name": "c", "ephemeral": {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": "1500m"}}}}}}],
        "dnsConfig": {"nameservers": ["fd00::01"]}, "hostAliases": [{"ip": "010.0.0.1"}, {"ip": "::ffff:1.2.3.4"}],
        "overhead": {"memory": "1m"}, "terminationGracePeriodSeconds": -1,
        "initContainers": [{"name": "b", "securityContext": {"appArmorProfile": {"type": "Unconfined"}}}],
        "containers": [{"name": "a", "resources": {"limits": {"memory": "100m"}},
            "env": [{"name": "X", "value": "1"}, {"name": "X", "value": "$(X)2"}, {"name": "X", "value": "3"}]}],
    });
    warned(
        "pods",
        pod(spec, annotations),
        None,
        expect![[r#"
        metadata.annotations[container.apparmor.security.beta.kubernetes.io/a]: deprecated since v1.30; use the "appArmorProfile" field instead
        spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead
        spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].key: beta.kubernetes.io/arch is deprecated since v1.14; use "kubernetes.io/arch" instead
        spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values[0]: a b is invalid, a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
        spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use "topology.kubernetes.io/zone" instead
        metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the "priorityClassName" field instead
        spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+
        spec.volumes[1].storageOS: deprecated in v1.22, non-functional in v1.25+
        spec.volumes[2].ephemeral.volumeClaimTemplate.spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer
        spec.overhead[memory]: fractional byte value "1m" is invalid, must be an integer
        metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "seccompProfile" field instead
        metadata.annotations[container.seccomp.security.alpha.kubernetes.io/a]: non-functional in v1.27+; use the "seccompProfile" field instead
        spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer
        spec.containers[0].env[2]: hides previous definition of "X", which may be dropped when using apply
        spec.dnsConfig.nameservers[0]: IPv6 address "fd00::01" should be in RFC 5952 canonical format ("fd00::1")
        spec.hostAliases[0].ip: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1"
        spec.hostAliases[1].ip: non-standard IP address "::ffff:1.2.3.4" is invalid: use "1.2.3.4""#]],
    );
    let mut named = pod(json!({}), json!({}));
    named["metadata"]["name"] = "a.b".into();
    warned(
        "pods",
        named.clone(),
        None,
        expect![
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"
        ],
    );
    warned("pods", named.clone(), Some(named), expect![""]);
}

#[test]
fn ports_and_paths_that_meet() {
    let spec = json!({
        "containers": [
            {"name": "a", "ports": [{"name": "web", "containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP", "hostPort": 8080}]},
            {"name": "b", "ports": [{"name": "web", "containerPort": 80, "protocol": "TCP", "hostPort": 8080, "hostIP": "10.0.0.1"},
                {"containerPort": 81, "protocol": "TCP", "hostIP": "10.0.0.1"}]},
        ],
        "volumes": [
            {"name": "s", "secret": {"secretName": "k", "items": [{"key": "a", "path": "d/"}, {"key": "b", "path": "d/e"}, {"key": "c", "path": "de"}]}},
            {"name": "p", "projected": {"sources": [{"configMap": {"name": "m", "items": [{"key": "a", "path": "x"}]}}, {},
                {"serviceAccountToken": {"path": "x/y"}}]}},
        ],
    });
    warned(
        "pods",
        pod(spec, json!({})),
        None,
        expect![[r#"
        volume "s" (Secret "k"): overlapping paths: "d/e" with "d"
        volume "p" (Projected) has no sources provided
        volume "p" (Projected): overlapping paths: "x/y" (ServiceAccountToken) with "x" (ConfigMap "m")
        spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]
        spec.containers[1].ports[0]: overlapping port definition with spec.containers[0].ports[0]
        spec.containers[1].ports[0]: dangerously ambiguous port definition with spec.containers[0].ports[1]
        spec.containers[1].ports[1]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:81 Protocol:TCP HostIP:10.0.0.1}
        spec.containers[1].ports[0]: duplicate port name "web" with spec.containers[0].ports[0], services and probes that select ports by name will use spec.containers[0].ports[0]"#]],
    );
}

#[test]
fn templates_are_looked_at_when_something_changed() {
    let annotations = json!({"container.apparmor.security.beta.kubernetes.io/a": "runtime/default"});
    let set = |generation: i64, profile: Value| {
        let template = pod(json!({"containers": [{"name": "a"}], "securityContext": {"appArmorProfile": profile}}), annotations.clone());
        json!({"metadata": {"name": "s", "generation": generation}, "spec": {"template": template, "revisionHistoryLimit": -1}})
    };
    let other = json!({"type": "Unconfined"});
    warned(
        "apps/statefulsets",
        set(1, other.clone()),
        None,
        expect![[r#"
        spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/a]: deprecated since v1.30; use the "appArmorProfile" field instead
        spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"#]],
    );
    warned(
        "apps/statefulsets",
        set(1, other.clone()),
        Some(set(1, other.clone())),
        expect!["spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"],
    );
    warned(
        "apps/statefulsets",
        set(2, json!({"type": "RuntimeDefault"})),
        Some(set(1, other)),
        expect!["spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"],
    );
}

#[test]
fn addresses_of_services() {
    let service = |spec: Value| json!({"metadata": {"name": "s"}, "spec": spec});
    let ranges = ["10.0.0.1/8", "010.0.0.0/8", "fd00:0::/8"];
    let balancer = json!({"type": "LoadBalancer", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "loadBalancerSourceRanges": ranges,
        "externalIPs": ["fd00::01"], "sessionAffinity": "None"});
    warned(
        "services",
        service(balancer),
        None,
        expect![[r#"
        spec.externalIPs[0]: IPv6 address "fd00::01" should be in RFC 5952 canonical format ("fd00::1")
        spec.externalIPs is deprecated and may no longer be implemented in some clusters
        spec.loadBalancerSourceRanges[0]: CIDR value "10.0.0.1/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.0.0.1/32"?)
        spec.loadBalancerSourceRanges[1]: non-standard CIDR value "010.0.0.0/8" is invalid: use "10.0.0.0/8"
        spec.loadBalancerSourceRanges[2]: IPv6 CIDR value "fd00:0::/8" should be in RFC 5952 canonical format ("fd00::/8")"#]],
    );
    let headless =
        json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "sessionAffinity": "ClientIP", "externalIPs": ["10.0.0.1"]});
    warned(
        "services",
        service(headless),
        None,
        expect![[r#"
        spec.externalIPs is ignored for headless services
        spec.SessionAffinity is ignored for headless services"#]],
    );
}

#[test]
fn secrets_for_tls_and_slices_of_names() {
    let secret = |crt: &str, key: &str| json!({"type": "kubernetes.io/tls", "data": {"tls.crt": crt, "tls.key": key}});
    warned("secrets", secret("eA==", "eA=="), None, expect![[r#"tls: failed to find any PEM data in certificate input"#]]);
    warned("discovery.k8s.io/endpointslices", json!({"addressType": "FQDN"}), None, expect![[r#"spec.addressType: FQDN endpoints are deprecated"#]]);
}
