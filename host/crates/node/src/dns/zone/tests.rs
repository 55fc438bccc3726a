//! Questions to a small zone, with the answers as a resolver would print them.

use expect_test::{Expect, expect};
use pintle_api::client::Served;
use serde_json::{Value, json};

use super::*;
use crate::dns::model::{read_service, read_slice};

fn served(value: Value) -> Served {
    Served { json: value.to_string().into(), revision: 1 }
}

fn zone() -> Zone {
    let mut zone = Zone::new("cluster.local", [10, 96, 0, 10].into());
    let services = [
        json!({"metadata": {"namespace": "default", "name": "web"}, "spec": {"type": "ClusterIP", "clusterIP": "10.96.7.7", "clusterIPs": ["10.96.7.7"],
            "ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]}}),
        json!({"metadata": {"namespace": "default", "name": "db"}, "spec": {"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "ports": [{"name": "sql", "port": 5432}]}}),
        json!({"metadata": {"namespace": "default", "name": "empty"}, "spec": {"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"]}}),
        json!({"metadata": {"namespace": "default", "name": "out"}, "spec": {"type": "ExternalName", "externalName": "foo.example.com"}}),
        json!({"metadata": {"namespace": "default", "name": "in"}, "spec": {"type": "ExternalName", "externalName": "web.default.svc.cluster.local"}}),
        json!({"metadata": {"namespace": "default", "name": "loop"}, "spec": {"type": "ExternalName", "externalName": "loop.default.svc.cluster.local"}}),
    ];
    services.into_iter().for_each(|s| zone.put_service(read_service(&served(s)).unwrap()));
    let slice = json!({"metadata": {"namespace": "default", "name": "db-1", "labels": {"kubernetes.io/service-name": "db"}}, "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.0.5"], "hostname": "db-0"}, {"addresses": ["10.244.1.6"], "conditions": {"ready": true}},
                      {"addresses": ["10.244.1.7"], "conditions": {"ready": false}}],
        "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}]});
    let (name, slice) = read_slice(&served(slice)).unwrap();
    zone.put_slice(&name, slice);
    zone
}

fn ask(zone: &Zone, name: &str, kind: RecordType) -> String {
    match zone.answer(&Name::from_ascii(name).unwrap(), kind) {
        Answer::Found(found) => {
            let line = |r: &Record| format!("{} {} {}", r.name, r.record_type(), r.data);
            let mut lines: Vec<String> = found.records.iter().map(line).collect();
            lines.extend(found.additional.iter().map(|r| format!("+ {}", line(r))));
            lines.extend(found.follow.iter().map(|n| format!("then {n}")));
            lines.join("\n")
        }
        other => format!("{other:?}"),
    }
}

fn check(questions: &[(&str, RecordType)], expected: Expect) {
    let zone = zone();
    let answers: Vec<String> = questions.iter().map(|(name, kind)| format!("{kind} {name}\n{}\n", ask(&zone, name, *kind))).collect();
    expected.assert_eq(&answers.concat());
}

#[test]
fn services() {
    use RecordType::{A, AAAA, CNAME, SRV};
    check(
        &[
            ("web.default.svc.cluster.local.", A),
            ("WEB.default.svc.cluster.local.", A),
            ("web.default.svc.cluster.local.", AAAA),
            ("_http._tcp.web.default.svc.cluster.local.", SRV),
            ("_http._udp.web.default.svc.cluster.local.", SRV),
            ("web.default.svc.cluster.local.", SRV),
            ("db.default.svc.cluster.local.", A),
            ("db-0.db.default.svc.cluster.local.", A),
            ("10-244-1-6.db.default.svc.cluster.local.", A),
            ("10-244-1-7.db.default.svc.cluster.local.", A),
            ("_sql._tcp.db.default.svc.cluster.local.", SRV),
            ("empty.default.svc.cluster.local.", A),
            ("out.default.svc.cluster.local.", A),
            ("out.default.svc.cluster.local.", CNAME),
            ("in.default.svc.cluster.local.", A),
            ("loop.default.svc.cluster.local.", A),
        ],
        expect![[r#"
            A web.default.svc.cluster.local.
            web.default.svc.cluster.local. A 10.96.7.7
            A WEB.default.svc.cluster.local.
            WEB.default.svc.cluster.local. A 10.96.7.7
            AAAA web.default.svc.cluster.local.
            NoData
            SRV _http._tcp.web.default.svc.cluster.local.
            _http._tcp.web.default.svc.cluster.local. SRV 0 100 80 web.default.svc.cluster.local.
            + web.default.svc.cluster.local. A 10.96.7.7
            SRV _http._udp.web.default.svc.cluster.local.
            NoName
            SRV web.default.svc.cluster.local.
            web.default.svc.cluster.local. SRV 0 50 80 web.default.svc.cluster.local.
            web.default.svc.cluster.local. SRV 0 50 53 web.default.svc.cluster.local.
            + web.default.svc.cluster.local. A 10.96.7.7
            A db.default.svc.cluster.local.
            db.default.svc.cluster.local. A 10.244.0.5
            db.default.svc.cluster.local. A 10.244.1.6
            A db-0.db.default.svc.cluster.local.
            db-0.db.default.svc.cluster.local. A 10.244.0.5
            A 10-244-1-6.db.default.svc.cluster.local.
            10-244-1-6.db.default.svc.cluster.local. A 10.244.1.6
            A 10-244-1-7.db.default.svc.cluster.local.
            NoName
            SRV _sql._tcp.db.default.svc.cluster.local.
            _sql._tcp.db.default.svc.cluster.local. SRV 0 50 5432 db-0.db.default.svc.cluster.local.
            _sql._tcp.db.default.svc.cluster.local. SRV 0 50 5432 10-244-1-6.db.default.svc.cluster.local.
            + 10-244-1-6.db.default.svc.cluster.local. A 10.244.1.6
            + db-0.db.default.svc.cluster.local. A 10.244.0.5
            A empty.default.svc.cluster.local.
            NoName
            A out.default.svc.cluster.local.
            out.default.svc.cluster.local. CNAME foo.example.com.
            then foo.example.com.
            CNAME out.default.svc.cluster.local.
            out.default.svc.cluster.local. CNAME foo.example.com.
            A in.default.svc.cluster.local.
            in.default.svc.cluster.local. CNAME web.default.svc.cluster.local.
            web.default.svc.cluster.local. A 10.96.7.7
            A loop.default.svc.cluster.local.
            loop.default.svc.cluster.local. CNAME loop.default.svc.cluster.local.
        "#]],
    );
}

#[test]
fn everything_else() {
    use RecordType::{A, NS, PTR, SOA, TXT};
    check(
        &[
            ("10-244-1-7.default.pod.cluster.local.", A),
            ("nonsense.default.pod.cluster.local.", A),
            ("nothing.default.svc.cluster.local.", A),
            ("default.svc.cluster.local.", A),
            ("a.b.cluster.local.", A),
            ("cluster.local.", SOA),
            ("cluster.local.", NS),
            ("cluster.local.", A),
            ("dns-version.cluster.local.", TXT),
            ("7.7.96.10.in-addr.arpa.", PTR),
            ("5.0.244.10.in-addr.arpa.", PTR),
            ("9.9.244.10.in-addr.arpa.", PTR),
            ("1.2.0.192.in-addr.arpa.", PTR),
            ("example.com.", A),
            ("notcluster.local.", A),
        ],
        expect![[r#"
            A 10-244-1-7.default.pod.cluster.local.
            10-244-1-7.default.pod.cluster.local. A 10.244.1.7
            A nonsense.default.pod.cluster.local.
            NoName
            A nothing.default.svc.cluster.local.
            NoName
            A default.svc.cluster.local.
            NoData
            A a.b.cluster.local.
            NoName
            SOA cluster.local.
            cluster.local. SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5
            NS cluster.local.
            cluster.local. NS ns.dns.cluster.local.
            + ns.dns.cluster.local. A 10.96.0.10
            A cluster.local.
            NoData
            TXT dns-version.cluster.local.
            dns-version.cluster.local. TXT 1.1.0
            PTR 7.7.96.10.in-addr.arpa.
            7.7.96.10.in-addr.arpa. PTR web.default.svc.cluster.local.
            PTR 5.0.244.10.in-addr.arpa.
            5.0.244.10.in-addr.arpa. PTR db-0.db.default.svc.cluster.local.
            PTR 9.9.244.10.in-addr.arpa.
            NoName
            PTR 1.2.0.192.in-addr.arpa.
            Elsewhere
            A example.com.
            Elsewhere
            A notcluster.local.
            Elsewhere
        "#]],
    );
}

#[test]
fn what_goes_is_forgotten() {
    let mut zone = zone();
    zone.remove_slice("default", "db", "db-1");
    zone.remove_service("default", "web");
    let name = |n: &str| Name::from_ascii(n).unwrap();
    assert_eq!(zone.answer(&name("db.default.svc.cluster.local."), RecordType::A), Answer::NoName);
    assert_eq!(zone.answer(&name("7.7.96.10.in-addr.arpa."), RecordType::PTR), Answer::NoName);
    assert_eq!(zone.answer(&name("5.0.244.10.in-addr.arpa."), RecordType::PTR), Answer::NoName);
    assert!(zone.by_cluster_ip.is_empty() && zone.by_endpoint.is_empty());
}
