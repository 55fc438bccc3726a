//! Rules for small clusters, as text.

use std::sync::Arc;

use expect_test::{Expect, expect};
use pintle_api::client::Served;
use serde_json::{Value, json};

use super::*;
use crate::proxy::model::{read_service, read_slice};

const RECENT: Abilities = Abilities { recent: true };

fn served(value: &Value) -> Served {
    Served { json: value.to_string().into(), revision: 1 }
}

fn service(spec: Value) -> Value {
    json!({"metadata": {"namespace": "default", "name": "web"}, "spec": spec})
}

/// Address, node, and what the endpoint is: `ready`, `leaving`, `unready`.
fn slice(endpoints: &[(&str, &str, &str)]) -> Value {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|(address, node, state)| {
            json!({"addresses": [address], "nodeName": node,
                   "conditions": {"ready": *state == "ready", "serving": *state != "unready", "terminating": *state == "leaving"}})
        })
        .collect();
    json!({"metadata": {"namespace": "default", "name": "web-x", "labels": {"kubernetes.io/service-name": "web"}},
           "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]})
}

fn snapshot(service: &Value, slice: &Value) -> Snapshot {
    let mut snapshot = Snapshot { node_name: "here".into(), node_address: Some([10, 89, 0, 1].into()), ..Snapshot::default() };
    let key = ("default".to_owned(), "web".to_owned());
    snapshot.services.insert(key.clone(), Arc::new(read_service(&served(service)).unwrap()));
    if let Some((name, slice)) = read_slice(&served(slice)) {
        snapshot.slices.entry(key).or_default().insert(name, Arc::new(slice));
    }
    snapshot
}

/// Only what the service adds to an empty cluster.
fn check(service: Value, endpoints: &[(&str, &str, &str)], abilities: Abilities, expected: Expect) {
    let empty = rules(&Snapshot::default(), abilities);
    let text = rules(&snapshot(&service, &slice(endpoints)), abilities).changes_since(&empty);
    expected.assert_eq(&text);
}

fn plain() -> Value {
    json!({"type": "ClusterIP", "clusterIP": "10.96.7.7", "clusterIPs": ["10.96.7.7"], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]})
}

#[test]
fn cluster_ip_with_two_endpoints() {
    check(
        service(plain()),
        &[("10.244.0.5", "here", "ready"), ("10.244.1.5", "there", "ready"), ("10.244.1.6", "there", "unready")],
        RECENT,
        expect![[r#"
        *nat
        :KUBE-SEP-7U6MWNJWR3SADOJA - [0:0]
        :KUBE-SEP-AFGSLHOD2HFNCBX4 - [0:0]
        :KUBE-SERVICES - [0:0]
        :KUBE-SVC-CDGGSHYLG3RE2FKL - [0:0]
        -A KUBE-SEP-7U6MWNJWR3SADOJA -m comment --comment "default/web:http" -s 10.244.0.5/32 -j KUBE-MARK-MASQ
        -A KUBE-SEP-7U6MWNJWR3SADOJA -m comment --comment "default/web:http" -p tcp -m tcp -j DNAT --to-destination 10.244.0.5:8080
        -A KUBE-SEP-AFGSLHOD2HFNCBX4 -m comment --comment "default/web:http" -s 10.244.1.5/32 -j KUBE-MARK-MASQ
        -A KUBE-SEP-AFGSLHOD2HFNCBX4 -m comment --comment "default/web:http" -p tcp -m tcp -j DNAT --to-destination 10.244.1.5:8080
        -A KUBE-SERVICES -m comment --comment "default/web:http cluster IP" -p tcp -m tcp -d 10.96.7.7/32 --dport 80 -j KUBE-SVC-CDGGSHYLG3RE2FKL
        -A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
        -A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http cluster IP" -p tcp -m tcp -d 10.96.7.7/32 --dport 80 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
        -A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http -> 10.244.0.5:8080" -m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-7U6MWNJWR3SADOJA
        -A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http -> 10.244.1.5:8080" -j KUBE-SEP-AFGSLHOD2HFNCBX4
        COMMIT
    "#]],
    );
}

#[test]
fn no_endpoints_is_a_refusal() {
    check(
        service(plain()),
        &[("10.244.1.6", "there", "unready")],
        RECENT,
        expect![[r#"
        *filter
        :KUBE-SERVICES - [0:0]
        -A KUBE-SERVICES -m comment --comment "default/web:http has no endpoints" -p tcp -m tcp -d 10.96.7.7/32 --dport 80 -j REJECT --reject-with icmp-port-unreachable
        COMMIT
    "#]],
    );
}

#[test]
fn sticky_node_port_with_local_policy() {
    let mut spec = plain();
    spec["type"] = json!("NodePort");
    spec["ports"][0]["nodePort"] = json!(30080);
    spec["sessionAffinity"] = json!("ClientIP");
    spec["externalTrafficPolicy"] = json!("Local");
    check(
        service(spec),
        &[("10.244.0.5", "here", "leaving"), ("10.244.1.5", "there", "ready")],
        RECENT,
        expect![[r#"
        *nat
        :KUBE-EXT-CDGGSHYLG3RE2FKL - [0:0]
        :KUBE-NODEPORTS - [0:0]
        :KUBE-SEP-7U6MWNJWR3SADOJA - [0:0]
        :KUBE-SEP-AFGSLHOD2HFNCBX4 - [0:0]
        :KUBE-SERVICES - [0:0]
        :KUBE-SVC-CDGGSHYLG3RE2FKL - [0:0]
        :KUBE-SVL-CDGGSHYLG3RE2FKL - [0:0]
        -A KUBE-EXT-CDGGSHYLG3RE2FKL -m comment --comment "pod traffic for default/web:http external destinations" -s 10.244.0.0/16 -j KUBE-SVC-CDGGSHYLG3RE2FKL
        -A KUBE-EXT-CDGGSHYLG3RE2FKL -m comment --comment "masquerade LOCAL traffic for default/web:http external destinations" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ
        -A KUBE-EXT-CDGGSHYLG3RE2FKL -m comment --comment "route LOCAL traffic for default/web:http external destinations" -m addrtype --src-type LOCAL -j KUBE-SVC-CDGGSHYLG3RE2FKL
        -A KUBE-EXT-CDGGSHYLG3RE2FKL -j KUBE-SVL-CDGGSHYLG3RE2FKL
        -A KUBE-NODEPORTS -m comment --comment "default/web:http" -p tcp -m tcp --dport 30080 -j KUBE-EXT-CDGGSHYLG3RE2FKL
        -A KUBE-SEP-7U6MWNJWR3SADOJA -m comment --comment "default/web:http" -s 10.244.0.5/32 -j KUBE-MARK-MASQ
        -A KUBE-SEP-7U6MWNJWR3SADOJA -m comment --comment "default/web:http" -m recent --name KUBE-SEP-7U6MWNJWR3SADOJA --set -p tcp -m tcp -j DNAT --to-destination 10.244.0.5:8080
        -A KUBE-SEP-AFGSLHOD2HFNCBX4 -m comment --comment "default/web:http" -s 10.244.1.5/32 -j KUBE-MARK-MASQ
        -A KUBE-SEP-AFGSLHOD2HFNCBX4 -m comment --comment "default/web:http" -m recent --name KUBE-SEP-AFGSLHOD2HFNCBX4 --set -p tcp -m tcp -j DNAT --to-destination 10.244.1.5:8080
        -A KUBE-SERVICES -m comment --comment "default/web:http cluster IP" -p tcp -m tcp -d 10.96.7.7/32 --dport 80 -j KUBE-SVC-CDGGSHYLG3RE2FKL
        -A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
        -A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http cluster IP" -p tcp -m tcp -d 10.96.7.7/32 --dport 80 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
        -A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http -> 10.244.1.5:8080" -m recent --name KUBE-SEP-AFGSLHOD2HFNCBX4 --rcheck --seconds 10800 --reap -j KUBE-SEP-AFGSLHOD2HFNCBX4
        -A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http -> 10.244.1.5:8080" -j KUBE-SEP-AFGSLHOD2HFNCBX4
        -A KUBE-SVL-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http -> 10.244.0.5:8080" -m recent --name KUBE-SEP-7U6MWNJWR3SADOJA --rcheck --seconds 10800 --reap -j KUBE-SEP-7U6MWNJWR3SADOJA
        -A KUBE-SVL-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http -> 10.244.0.5:8080" -j KUBE-SEP-7U6MWNJWR3SADOJA
        COMMIT
    "#]],
    );
}

#[test]
fn balancer_with_source_ranges_and_no_local_endpoint() {
    let mut object = service(plain());
    object["spec"]["type"] = json!("LoadBalancer");
    object["spec"]["internalTrafficPolicy"] = json!("Local");
    object["spec"]["externalIPs"] = json!(["192.0.2.9"]);
    object["spec"]["loadBalancerSourceRanges"] = json!(["10.89.0.0/24"]);
    object["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}});
    check(
        object,
        &[("10.244.1.5", "there", "ready")],
        RECENT,
        expect![[r#"
        *filter
        :KUBE-PROXY-FIREWALL - [0:0]
        :KUBE-SERVICES - [0:0]
        -A KUBE-PROXY-FIREWALL -m comment --comment "default/web:http traffic not accepted by KUBE-FW-CDGGSHYLG3RE2FKL" -p tcp -m tcp -d 192.0.2.10/32 --dport 80 -j DROP
        -A KUBE-SERVICES -m comment --comment "default/web:http has no local endpoints" -p tcp -m tcp -d 10.96.7.7/32 --dport 80 -j DROP
        COMMIT
        *nat
        :KUBE-EXT-CDGGSHYLG3RE2FKL - [0:0]
        :KUBE-FW-CDGGSHYLG3RE2FKL - [0:0]
        :KUBE-SEP-AFGSLHOD2HFNCBX4 - [0:0]
        :KUBE-SERVICES - [0:0]
        :KUBE-SVC-CDGGSHYLG3RE2FKL - [0:0]
        -A KUBE-EXT-CDGGSHYLG3RE2FKL -m comment --comment "masquerade traffic for default/web:http external destinations" -j KUBE-MARK-MASQ
        -A KUBE-EXT-CDGGSHYLG3RE2FKL -j KUBE-SVC-CDGGSHYLG3RE2FKL
        -A KUBE-FW-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http loadbalancer IP" -s 10.89.0.0/24 -j KUBE-EXT-CDGGSHYLG3RE2FKL
        -A KUBE-FW-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http loadbalancer IP" -s 192.0.2.10/32 -j KUBE-EXT-CDGGSHYLG3RE2FKL
        -A KUBE-SEP-AFGSLHOD2HFNCBX4 -m comment --comment "default/web:http" -s 10.244.1.5/32 -j KUBE-MARK-MASQ
        -A KUBE-SEP-AFGSLHOD2HFNCBX4 -m comment --comment "default/web:http" -p tcp -m tcp -j DNAT --to-destination 10.244.1.5:8080
        -A KUBE-SERVICES -m comment --comment "default/web:http external IP" -p tcp -m tcp -d 192.0.2.9/32 --dport 80 -j KUBE-EXT-CDGGSHYLG3RE2FKL
        -A KUBE-SERVICES -m comment --comment "default/web:http loadbalancer IP" -p tcp -m tcp -d 192.0.2.10/32 --dport 80 -j KUBE-FW-CDGGSHYLG3RE2FKL
        -A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
        -A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http -> 10.244.1.5:8080" -j KUBE-SEP-AFGSLHOD2HFNCBX4
        COMMIT
    "#]],
    );
}

#[test]
fn sticky_without_the_kernels_memory() {
    let mut spec = plain();
    spec["sessionAffinity"] = json!("ClientIP");
    check(
        service(spec),
        &[("10.244.0.5", "here", "ready"), ("10.244.1.5", "there", "ready")],
        Abilities { recent: false },
        expect![[r#"
        *nat
        :KUBE-SEP-7U6MWNJWR3SADOJA - [0:0]
        :KUBE-SEP-AFGSLHOD2HFNCBX4 - [0:0]
        :KUBE-SERVICES - [0:0]
        :KUBE-SVC-CDGGSHYLG3RE2FKL - [0:0]
        -A KUBE-SEP-7U6MWNJWR3SADOJA -m comment --comment "default/web:http" -s 10.244.0.5/32 -j KUBE-MARK-MASQ
        -A KUBE-SEP-7U6MWNJWR3SADOJA -m comment --comment "default/web:http" -p tcp -m tcp -j DNAT --to-destination 10.244.0.5:8080
        -A KUBE-SEP-AFGSLHOD2HFNCBX4 -m comment --comment "default/web:http" -s 10.244.1.5/32 -j KUBE-MARK-MASQ
        -A KUBE-SEP-AFGSLHOD2HFNCBX4 -m comment --comment "default/web:http" -p tcp -m tcp -j DNAT --to-destination 10.244.1.5:8080
        -A KUBE-SERVICES -m comment --comment "default/web:http cluster IP" -p tcp -m tcp -d 10.96.7.7/32 --dport 80 -j KUBE-SVC-CDGGSHYLG3RE2FKL
        -A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
        -A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http cluster IP" -p tcp -m tcp -d 10.96.7.7/32 --dport 80 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
        -A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http -> 10.244.0.5:8080" -s 0.0.0.0/0.0.0.7 -j KUBE-SEP-7U6MWNJWR3SADOJA
        -A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http -> 10.244.1.5:8080" -s 0.0.0.1/0.0.0.7 -j KUBE-SEP-AFGSLHOD2HFNCBX4
        -A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http -> 10.244.0.5:8080" -s 0.0.0.2/0.0.0.7 -j KUBE-SEP-7U6MWNJWR3SADOJA
        -A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http -> 10.244.1.5:8080" -s 0.0.0.3/0.0.0.7 -j KUBE-SEP-AFGSLHOD2HFNCBX4
        -A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http -> 10.244.0.5:8080" -s 0.0.0.4/0.0.0.7 -j KUBE-SEP-7U6MWNJWR3SADOJA
        -A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http -> 10.244.1.5:8080" -s 0.0.0.5/0.0.0.7 -j KUBE-SEP-AFGSLHOD2HFNCBX4
        -A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http -> 10.244.0.5:8080" -s 0.0.0.6/0.0.0.7 -j KUBE-SEP-7U6MWNJWR3SADOJA
        -A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http -> 10.244.1.5:8080" -s 0.0.0.7/0.0.0.7 -j KUBE-SEP-AFGSLHOD2HFNCBX4
        COMMIT
    "#]],
    );
}

#[test]
fn hints_keep_traffic_in_the_zone() {
    let mut object = slice(&[("10.244.0.5", "here", "ready"), ("10.244.1.5", "there", "ready")]);
    object["endpoints"][0]["hints"] = json!({"forZones": [{"name": "a"}]});
    object["endpoints"][1]["hints"] = json!({"forZones": [{"name": "b"}]});
    let mut snapshot = snapshot(&service(plain()), &object);
    let count = |s: &Snapshot| rules(s, RECENT).changes_since(&RuleSet::default()).matches("--to-destination").count();
    assert_eq!(count(&snapshot), 2, "this node has no zone");
    snapshot.zone = "a".into();
    assert_eq!(count(&snapshot), 1);
    snapshot.zone = "c".into();
    assert_eq!(count(&snapshot), 2, "no hint names its zone");
}
