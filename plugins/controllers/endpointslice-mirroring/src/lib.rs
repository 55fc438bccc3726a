//! EndpointSlices for Endpoints that somebody wrote by hand: those of Services without a selector. A key is an Endpoints object; its
//! slices bear the Service's name and are this controller's alone.

use std::time::Duration;

use pintle_controller_common::fields::Fields;
use pintle_controller_common::slices::{Group, plan};
use pintle_controller_common::{resources, template};
use pintle_sdk::controller::{Api, ApiError, Controller, DeleteOptions, EventType, Failure, Key, Query, Relation, Watch};
use serde_json::{Value, json};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that say nothing about the endpoints.
const NOT_MIRRORED: [&str; 2] = ["endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration"];
/// Addresses of a subset; more are left out, and an event says so.
const MAX_ADDRESSES: usize = 1000;

#[derive(Default)]
pub struct MirroringController;

impl Controller for MirroringController {
    fn watches() -> Vec<Watch> {
        vec![
            Watch::new(resources::ENDPOINTS, Relation::Primary),
            Watch::new(resources::SERVICES, Relation::Local),
            Watch::new(resources::ENDPOINT_SLICES, Relation::Local),
        ]
    }

    fn route(&mut self, _api: &dyn Api, index: usize, before: Option<&Value>, after: Option<&Value>) -> Vec<Key> {
        let Some(object) = after.or(before) else { return Vec::new() };
        let key = |name: &str| vec![Key { namespace: object.namespace().to_owned(), name: name.to_owned() }];
        if index == 1 {
            let selects = |s: &Value| has_selector(s);
            let same = before.zip(after).is_some_and(|(b, a)| selects(b) == selects(a));
            return if same { Vec::new() } else { key(object.name()) };
        }
        if object.label(MANAGED_BY) == CONTROLLER { key(object.label(SERVICE_NAME)) } else { Vec::new() }
    }

    fn reconcile(&mut self, api: &dyn Api, key: &Key) -> Result<Option<Duration>, Failure> {
        let selector = format!("{SERVICE_NAME}={},{MANAGED_BY}={CONTROLLER}", key.name);
        let mut existing =
            api.list(resources::ENDPOINT_SLICES, &Query { namespace: &key.namespace, label_selector: selector, ..Query::default() })?;
        existing.retain(|s| !s.deleting());
        existing.sort_by(|a, b| a.name().cmp(b.name()));
        match to_mirror(api, key)? {
            Some(endpoints) => mirror(api, &endpoints, existing)?,
            None => existing.iter().try_for_each(|slice| delete(api, slice))?,
        }
        Ok(None)
    }
}

/// `None`: there are none, or their slices are somebody else's work.
fn to_mirror(api: &dyn Api, key: &Key) -> Result<Option<Value>, Failure> {
    let found = |result: pintle_sdk::controller::Result<Value>| match result {
        Ok(object) => Ok(Some(object)),
        Err(ApiError::NotFound(_)) => Ok(None),
        Err(error) => Err(Failure::from(error)),
    };
    let Some(endpoints) = found(api.get(resources::ENDPOINTS, &key.namespace, &key.name))? else { return Ok(None) };
    if endpoints.label(SKIP) == "true" || !endpoints.annotation(LEADER).is_empty() || endpoints.deleting() {
        return Ok(None);
    }
    let service = found(api.get(resources::SERVICES, &key.namespace, &key.name))?;
    Ok(service.filter(|s| !has_selector(s)).map(|_| endpoints))
}

fn has_selector(service: &Value) -> bool {
    service.at(&["spec", "selector"]).is_some_and(|s| !s.is_null())
}

fn mirror(api: &dyn Api, endpoints: &Value, existing: Vec<Value>) -> Result<(), Failure> {
    let mut rest = existing;
    for family in ["IPv4", "IPv6"] {
        let (of_family, others): (Vec<Value>, Vec<Value>) = rest.into_iter().partition(|s| s.text(&["addressType"]) == family);
        rest = others;
        let groups = groups(endpoints, family);
        if groups.is_empty() {
            of_family.iter().try_for_each(|slice| delete(api, slice))?;
            continue;
        }
        bring_about(api, endpoints, family, groups, of_family)?;
    }
    rest.iter().try_for_each(|slice| delete(api, slice))?;
    warn(api, endpoints);
    Ok(())
}

fn bring_about(api: &dyn Api, endpoints: &Value, family: &str, groups: Vec<Group>, existing: Vec<Value>) -> Result<(), Failure> {
    let plan = plan(groups, existing);
    let update = plan.update.into_iter().map(|slice| (slice, true)).chain(plan.keep.into_iter().map(|slice| (slice, false)));
    for (slice, changed) in update {
        let mut next = slice.clone();
        describe(&mut next, endpoints);
        if changed || next != slice {
            api.update(resources::ENDPOINT_SLICES, endpoints.namespace(), slice.name(), &next)?;
        }
    }
    for (ports, list) in plan.create {
        let mut slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "generateName": format!("{}-", endpoints.name()), "namespace": endpoints.namespace(),
                "ownerReferences": [template::controller_reference(endpoints, "v1", "Endpoints")],
            },
            "addressType": family, "endpoints": list, "ports": ports,
        });
        describe(&mut slice, endpoints);
        api.create(resources::ENDPOINT_SLICES, endpoints.namespace(), &slice)?;
    }
    plan.delete.iter().try_for_each(|slice| delete(api, slice))
}

/// Labels and annotations of the Endpoints are the slices', too.
fn describe(slice: &mut Value, endpoints: &Value) {
    let mut labels = endpoints.labels().cloned().filter(Value::is_object).unwrap_or_else(|| json!({}));
    labels[SERVICE_NAME] = json!(endpoints.name());
    labels[MANAGED_BY] = json!(CONTROLLER);
    slice["metadata"]["labels"] = labels;
    let mut annotations = endpoints.at(&["metadata", "annotations"]).and_then(Value::as_object).cloned().unwrap_or_default();
    annotations.retain(|key, _| !NOT_MIRRORED.contains(&key.as_str()));
    let metadata = slice["metadata"].as_object_mut().expect("an object");
    if annotations.is_empty() {
        metadata.remove("annotations");
    } else {
        metadata.insert("annotations".to_owned(), json!(annotations));
    }
}

fn groups(endpoints: &Value, family: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for subset in endpoints.items(&["subsets"]) {
        let list: Vec<Value> =
            addresses(subset).filter(|(a, _)| family_of(a) == Some(family)).take(MAX_ADDRESSES).map(|(a, ready)| endpoint(a, ready)).collect();
        if list.is_empty() {
            continue;
        }
        let ports: Vec<Value> = subset.items(&["ports"]).iter().map(port).collect();
        match groups.iter_mut().find(|g| g.ports == ports) {
            Some(group) => group.endpoints.extend(list),
            None => groups.push(Group { ports, endpoints: list }),
        }
    }
    groups
}

fn addresses(subset: &Value) -> impl Iterator<Item = (&Value, bool)> {
    let ready = subset.items(&["addresses"]).iter().map(|a| (a, true));
    ready.chain(subset.items(&["notReadyAddresses"]).iter().map(|a| (a, false)))
}

fn family_of(address: &Value) -> Option<&'static str> {
    let ip: std::net::IpAddr = address.text(&["ip"]).parse().ok()?;
    Some(if ip.is_ipv4() { "IPv4" } else { "IPv6" })
}

fn endpoint(address: &Value, ready: bool) -> Value {
    let mut endpoint = json!({"addresses": [address["ip"]], "conditions": {"ready": ready}});
    for field in ["targetRef", "nodeName", "hostname"] {
        if let Some(value) = address.at(&[field]).filter(|v| !v.is_null() && **v != json!("")) {
            endpoint[field] = value.clone();
        }
    }
    endpoint
}

fn port(port: &Value) -> Value {
    let protocol = if port.text(&["protocol"]).is_empty() { "TCP" } else { port.text(&["protocol"]) };
    let mut mirrored = json!({"name": port.text(&["name"]), "port": port["port"], "protocol": protocol});
    if !port.text(&["appProtocol"]).is_empty() {
        mirrored["appProtocol"] = port["appProtocol"].clone();
    }
    mirrored
}

/// Tells what could not be mirrored.
fn warn(api: &dyn Api, endpoints: &Value) {
    let event = |reason, message: &str| api.event(resources::ENDPOINTS, endpoints.namespace(), endpoints.name(), EventType::Warning, reason, message);
    let subsets = || endpoints.items(&["subsets"]).iter();
    let invalid = subsets().flat_map(addresses).filter(|(a, _)| family_of(a).is_none()).count();
    if invalid > 0 {
        event("InvalidIPAddress", &format!("Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices"));
    }
    let skipped: usize = subsets().map(|s| addresses(s).count().saturating_sub(MAX_ADDRESSES)).sum();
    if skipped > 0 {
        event(
            "TooManyAddressesToMirror",
            &format!("A max of {MAX_ADDRESSES} addresses can be mirrored to EndpointSlices per Endpoints subset. {skipped} addresses were skipped"),
        );
    }
}

fn delete(api: &dyn Api, slice: &Value) -> Result<(), Failure> {
    match api.delete(resources::ENDPOINT_SLICES, slice.namespace(), slice.name(), &DeleteOptions { uid: slice.uid(), ..DeleteOptions::default() }) {
        Ok(()) | Err(ApiError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pintle_sdk::export_controller!(MirroringController);

#[cfg(test)]
mod tests {
    //! The controller natively, against a cluster in memory.

    use super::*;
    use expect_test::{Expect, expect};
    use pintle_controller_common::resources::{ENDPOINT_SLICES, ENDPOINTS, SERVICES};
    use pintle_sdk::testing::FakeCluster;

    fn check(cluster: &FakeCluster, expected: Expect) {
        cluster.reconcile(&mut MirroringController, "d", "ext").expect("works");
        let mut text = cluster.take_actions();
        for slice in cluster.all(ENDPOINT_SLICES) {
            text.push_str(&format!(
                "\n{} {} {} {} {}",
                slice.name(),
                slice["addressType"],
                slice["metadata"]["labels"],
                slice["ports"],
                slice["endpoints"]
            ));
        }
        expected.assert_eq(text.trim_start());
    }

    #[test]
    fn endpoints_by_hand_become_slices_and_follow_them() {
        let cluster = FakeCluster::new();
        cluster.add(SERVICES, json!({"metadata": {"name": "ext", "namespace": "d"}, "spec": {"clusterIP": "10.96.0.9"}}));
        cluster.add(ENDPOINTS, json!({"metadata": {"name": "ext", "namespace": "d", "labels": {"a": "b"}}, "subsets": [
            {"addresses": [{"ip": "10.1.2.3"}, {"ip": "fd00::1"}], "notReadyAddresses": [{"ip": "10.1.2.4", "nodeName": "n"}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]}));
        check(
            &cluster,
            expect![[r#"
            create endpointslices d/ext-3
            create endpointslices d/ext-4
            ext-3 "IPv4" {"a":"b","endpointslice.kubernetes.io/managed-by":"endpointslicemirroring-controller.k8s.io","kubernetes.io/service-name":"ext"} [{"name":"http","port":80,"protocol":"TCP"}] [{"addresses":["10.1.2.3"],"conditions":{"ready":true}},{"addresses":["10.1.2.4"],"conditions":{"ready":false},"nodeName":"n"}]
            ext-4 "IPv6" {"a":"b","endpointslice.kubernetes.io/managed-by":"endpointslicemirroring-controller.k8s.io","kubernetes.io/service-name":"ext"} [{"name":"http","port":80,"protocol":"TCP"}] [{"addresses":["fd00::1"],"conditions":{"ready":true}}]"#]],
        );
        check(
            &cluster,
            expect![[r#"
            ext-3 "IPv4" {"a":"b","endpointslice.kubernetes.io/managed-by":"endpointslicemirroring-controller.k8s.io","kubernetes.io/service-name":"ext"} [{"name":"http","port":80,"protocol":"TCP"}] [{"addresses":["10.1.2.3"],"conditions":{"ready":true}},{"addresses":["10.1.2.4"],"conditions":{"ready":false},"nodeName":"n"}]
            ext-4 "IPv6" {"a":"b","endpointslice.kubernetes.io/managed-by":"endpointslicemirroring-controller.k8s.io","kubernetes.io/service-name":"ext"} [{"name":"http","port":80,"protocol":"TCP"}] [{"addresses":["fd00::1"],"conditions":{"ready":true}}]"#]],
        );
        cluster.change(ENDPOINTS, "d", "ext", |e| e["subsets"][0]["addresses"] = json!([{"ip": "10.1.2.9"}, {"ip": "nonsense"}]));
        check(
            &cluster,
            expect![[r#"
            update endpointslices d/ext-3
            delete endpointslices d/ext-4
            event ext Warning InvalidIPAddress: Skipped 1 invalid IP addresses when mirroring to EndpointSlices
            ext-3 "IPv4" {"a":"b","endpointslice.kubernetes.io/managed-by":"endpointslicemirroring-controller.k8s.io","kubernetes.io/service-name":"ext"} [{"name":"http","port":80,"protocol":"TCP"}] [{"addresses":["10.1.2.4"],"conditions":{"ready":false},"nodeName":"n"},{"addresses":["10.1.2.9"],"conditions":{"ready":true}}]"#]],
        );
        cluster.change(SERVICES, "d", "ext", |s| s["spec"]["selector"] = json!({"app": "x"}));
        check(&cluster, expect!["delete endpointslices d/ext-3"]);
    }
}
