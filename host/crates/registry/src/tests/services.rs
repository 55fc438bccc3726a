//! Services: cluster addresses, node ports and what may change of them.

use expect_test::{Expect, expect};
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::{World, create_faults, pretty, strategy, update_faults};
use crate::Part;

fn service(spec: Value) -> Value {
    json!({"metadata": {"name": "s", "namespace": "a", "uid": "u"}, "spec": spec})
}

/// Creates the service as the write pipeline does.
fn create(world: &World, mut object: Value) -> Result<Value, pintle_api::Status> {
    let services = strategy("services");
    services.default(&mut object);
    world.with(|context| {
        services.prepare_create(&mut object, context);
        services.claimable(&object, context)?;
        services.before_commit(&mut object, None, context).map(|()| object)
    })
}

fn update(world: &World, old: &Value, change: impl FnOnce(&mut Value)) -> Result<Value, pintle_api::Status> {
    let services = strategy("services");
    let mut new = old.clone();
    change(&mut new);
    services.default(&mut new);
    world.with(|context| {
        services.prepare_update(&mut new, old, Part::Main, context);
        services.before_commit(&mut new, Some(old), context)?;
        services.after_commit(Some(&new), Some(old), context);
        Ok(new)
    })
}

fn faults(object: Value, expected: Expect) {
    expected.assert_eq(&create_faults("services", object));
}

#[test]
fn a_service_gets_an_address_and_a_node_port() {
    let world = World::default();
    let made = create(
        &world,
        service(json!({"type": "NodePort", "clusterIP": "10.96.0.77", "ports": [
            {"name": "dns", "port": 53, "nodePort": 30053, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53},
        ]})),
    );
    expect![[r#"
        {
          "metadata": {
            "name": "s",
            "namespace": "a",
            "uid": "u"
          },
          "spec": {
            "clusterIP": "10.96.0.77",
            "clusterIPs": [
              "10.96.0.77"
            ],
            "externalTrafficPolicy": "Cluster",
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": [
              "IPv4"
            ],
            "ipFamilyPolicy": "SingleStack",
            "ports": [
              {
                "name": "dns",
                "nodePort": 30053,
                "port": 53,
                "protocol": "UDP",
                "targetPort": 53
              },
              {
                "name": "dns-tcp",
                "nodePort": 30053,
                "port": 53,
                "protocol": "TCP",
                "targetPort": 53
              }
            ],
            "sessionAffinity": "None",
            "type": "NodePort"
          },
          "status": {
            "loadBalancer": {}
          }
        }"#]]
    .assert_eq(&pretty(&made.unwrap()));
}

#[test]
fn numbers_are_taken_once_and_given_back() {
    let world = World::default();
    let first = create(&world, service(json!({"type": "NodePort", "clusterIP": "10.96.0.77", "ports": [{"port": 80, "nodePort": 30001}]}))).unwrap();
    let mut other = service(json!({"clusterIP": "10.96.0.77", "ports": [{"port": 80}]}));
    other["metadata"]["name"] = "t".into();
    expect![[r#"Service "t" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.77"]: failed to allocate IP 10.96.0.77: provided IP is already allocated"#]].assert_eq(&create(&world, other.clone()).unwrap_err().message);
    other["spec"] = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]});
    expect![[r#"Service "t" is invalid: spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated"#]]
        .assert_eq(&create(&world, other.clone()).unwrap_err().message);
    other["spec"]["ports"][0]["nodePort"] = 80.into();
    expect![[r#"Service "t" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"#]].assert_eq(&create(&world, other.clone()).unwrap_err().message);
    other["spec"]["ports"][0]["nodePort"] = 30001.into();
    let plain = update(&world, &first, |s| s["spec"]["type"] = "ClusterIP".into()).unwrap();
    assert_eq!(plain.at(&["spec", "ports"]).unwrap()[0].get("nodePort"), None);
    assert!(create(&world, other).is_ok(), "the port is free again");
    let named = update(&world, &plain, |s| {
        s["spec"]["type"] = "ExternalName".into();
        s["spec"]["externalName"] = "example.com".into();
    });
    assert_eq!(named.unwrap().at(&["spec", "clusterIP"]), None);
    let mut third = service(json!({"clusterIP": "10.96.0.77", "ports": [{"port": 80}]}));
    third["metadata"]["name"] = "third".into();
    assert!(create(&world, third).is_ok(), "the address is free again");
}

#[test]
fn the_server_keeps_what_it_chose() {
    let world = World::default();
    let made = create(&world, service(json!({"type": "NodePort", "ports": [{"port": 80}]}))).unwrap();
    let again = update(&world, &made, |s| s["spec"] = json!({"type": "NodePort", "ports": [{"port": 80}], "selector": {"a": "b"}})).unwrap();
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "ports"] {
        assert_eq!(again["spec"][field], made["spec"][field], "{field}");
    }
}

#[test]
fn headless_services_have_no_address() {
    let made = create(&World::default(), service(json!({"clusterIP": "None"}))).unwrap();
    expect![[r#"
        {
          "clusterIP": "None",
          "clusterIPs": [
            "None"
          ],
          "internalTrafficPolicy": "Cluster",
          "ipFamilies": [
            "IPv4",
            "IPv6"
          ],
          "ipFamilyPolicy": "RequireDualStack",
          "sessionAffinity": "None",
          "type": "ClusterIP"
        }"#]]
    .assert_eq(&pretty(&made["spec"]));
}

#[test]
fn wrong_services_are_told() {
    faults(service(json!({})), expect!["spec.ports: Required value"]);
    faults(
        service(json!({"type": "ExternalName", "clusterIP": "10.96.0.9"})),
        expect![[r#"
        spec.clusterIPs: Forbidden: may not be set for ExternalName services
        spec.externalName: Required value"#]],
    );
    faults(
        service(json!({"ports": [{"port": 0}, {"port": 80, "nodePort": 30000, "protocol": "ICMP", "name": "A"}], "sessionAffinity": "Maybe"})),
        expect![[r#"
        spec.ports[0].name: Required value
        spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
        spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive
        spec.ports[1].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        spec.ports[1].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"
        spec.ports[1].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'
        spec.sessionAffinity: Unsupported value: "Maybe": supported values: "ClientIP", "None""#]],
    );
    let changed = update_faults("services", service(json!({"clusterIP": "10.96.0.9", "ports": [{"port": 80}]})), Part::Main, |s| {
        s["spec"]["clusterIP"] = "10.96.0.10".into();
        s["spec"]["clusterIPs"] = json!(["10.96.0.10"]);
    });
    expect![[r#"spec.clusterIPs[0]: Invalid value: ["10.96.0.10"]: may not change once set"#]].assert_eq(&changed);
}

#[test]
fn wrong_addresses_are_told_alone_also_of_a_change() {
    let moved_to = |addresses: Value| {
        update_faults("services", service(json!({"clusterIP": "10.96.0.9", "ports": [{"port": 80}]})), Part::Main, |s| {
            s["spec"]["clusterIP"] = addresses[0].clone();
            s["spec"]["clusterIPs"] = addresses;
            s["spec"]["sessionAffinity"] = "Maybe".into();
        })
    };
    expect![[r#"spec.clusterIPs: Invalid value: ["10.96.0.10","10.96.0.11"]: may specify no more than one IP for each IP family"#]]
        .assert_eq(&moved_to(json!(["10.96.0.10", "10.96.0.11"])));
    expect![[r#"
        spec.sessionAffinity: Unsupported value: "Maybe": supported values: "ClientIP", "None"
        spec.clusterIPs[0]: Invalid value: ["10.96.0.10"]: may not change once set"#]]
    .assert_eq(&moved_to(json!(["10.96.0.10"])));
}

#[test]
fn a_second_service_of_that_name_neither_takes_nor_gives_back_the_numbers_of_the_first() {
    let mut world = World::default();
    let on = |name: &str, port: i64| {
        let mut made = service(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}));
        made["metadata"]["name"] = name.into();
        made
    };
    let first = create(&world, on("s", 31000)).unwrap();
    world.objects.insert("services".to_owned(), vec![first]);
    let taken = create(&world, on("s", 31000)).unwrap_err();
    expect![[r#"Service "s" is invalid: spec.ports[0].nodePort: Invalid value: 31000: provided port is already allocated"#]]
        .assert_eq(&taken.message);
    let second = create(&world, on("s", 31001)).unwrap();
    world.with(|context| strategy("services").after_commit(None, Some(&second), context));
    assert!(create(&world, on("t", 31000)).is_err(), "still the first one's");
    assert!(create(&world, on("t", 31001)).is_ok(), "given back");
}

#[test]
fn ports_with_one_number_are_one_port() {
    let world = World::default();
    let two = |second: Value| create(&world, service(json!({"type": "NodePort", "ports": [{"name": "a", "port": 80, "nodePort": 31002}, second]})));
    let told = two(json!({"name": "b", "port": 81, "protocol": "UDP", "nodePort": 31002})).unwrap_err().message;
    expect![[r#"Service "s" is invalid: spec.ports[1].nodePort: Invalid value: 31002: provided port is already allocated"#]].assert_eq(&told);
    assert!(two(json!({"name": "b", "port": 80, "protocol": "UDP", "nodePort": 31002})).is_ok());
}
