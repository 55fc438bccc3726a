//! EndpointSlices of Services with a selector: the pods behind each, in slices of at most a hundred, changed as little as can be.

use std::time::Duration;

use pintle_controller_common::fields::Fields;
use pintle_controller_common::slices::{Group, plan};
use pintle_controller_common::{pods, resources, services, template};
use pintle_sdk::controller::{Api, ApiError, Controller, DeleteOptions, Failure, Key, Query, Relation, Watch};
use serde_json::{Value, json};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpointslice-controller.k8s.io";

#[derive(Default)]
pub struct EndpointSliceController;

impl Controller for EndpointSliceController {
    fn watches() -> Vec<Watch> {
        vec![
            Watch::new(resources::SERVICES, Relation::Primary),
            Watch::new(resources::PODS, Relation::Local).reading(services::POD_READS),
            Watch::new(resources::ENDPOINT_SLICES, Relation::Local),
            Watch::new(resources::NODES, Relation::Indexed),
        ]
    }

    fn route(&mut self, api: &dyn Api, index: usize, before: Option<&Value>, after: Option<&Value>) -> Vec<Key> {
        if index == 1 {
            return services::of_pod(api, before, after);
        }
        let service = |slice: &Value| {
            let ours = slice.label(MANAGED_BY) == CONTROLLER && !slice.label(SERVICE_NAME).is_empty();
            ours.then(|| Key { namespace: slice.namespace().to_owned(), name: slice.label(SERVICE_NAME).to_owned() })
        };
        let mut keys: Vec<Key> = [before, after].into_iter().flatten().filter_map(service).collect();
        keys.dedup();
        keys
    }

    fn reconcile(&mut self, api: &dyn Api, key: &Key) -> Result<Option<Duration>, Failure> {
        let service = match api.get(resources::SERVICES, &key.namespace, &key.name) {
            Ok(service) => service,
            // The slices are the Service's own and go with it.
            Err(ApiError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let existing = own_slices(api, key)?;
        let Some(selector) = services::selector(&service).filter(|_| !service.deleting()) else {
            if service.text(&["spec", "type"]) == "ExternalName" {
                for slice in &existing {
                    delete(api, slice)?;
                }
            }
            return Ok(None);
        };
        let pods = services::serving_pods(api, &service, &selector)?;
        let mut rest = existing;
        for family in families(&service) {
            let (of_family, others): (Vec<Value>, Vec<Value>) = rest.into_iter().partition(|s| s.text(&["addressType"]) == family);
            rest = others;
            bring_about(api, &service, family, &pods, of_family)?;
        }
        for slice in &rest {
            delete(api, slice)?;
        }
        Ok(None)
    }
}

fn own_slices(api: &dyn Api, key: &Key) -> Result<Vec<Value>, Failure> {
    let selector = format!("{SERVICE_NAME}={},{MANAGED_BY}={CONTROLLER}", key.name);
    let mut slices = api.list(resources::ENDPOINT_SLICES, &Query { namespace: &key.namespace, label_selector: selector, ..Query::default() })?;
    slices.retain(|s| !s.deleting());
    slices.sort_by(|a, b| a.name().cmp(b.name()));
    Ok(slices)
}

fn families(service: &Value) -> Vec<&'static str> {
    let named = service.items(&["spec", "ipFamilies"]);
    if named.is_empty() {
        return vec!["IPv4"];
    }
    named.iter().map(|f| if f == "IPv6" { "IPv6" } else { "IPv4" }).collect()
}

fn bring_about(api: &dyn Api, service: &Value, family: &'static str, pods: &[Value], existing: Vec<Value>) -> Result<(), Failure> {
    let groups = group(api, service, family, pods);
    let plan = plan(groups, existing);
    for mut slice in plan.update {
        label(&mut slice, service);
        match api.update(resources::ENDPOINT_SLICES, service.namespace(), slice.name(), &slice) {
            Ok(_) | Err(ApiError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for slice in plan.keep {
        let mut labelled = slice.clone();
        label(&mut labelled, service);
        if labelled != slice {
            api.update(resources::ENDPOINT_SLICES, service.namespace(), slice.name(), &labelled)?;
        }
    }
    for (ports, endpoints) in plan.create {
        let mut slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "generateName": format!("{}-", service.name()), "namespace": service.namespace(),
                "ownerReferences": [template::controller_reference(service, "v1", "Service")],
            },
            "addressType": family, "endpoints": endpoints, "ports": ports,
        });
        label(&mut slice, service);
        api.create(resources::ENDPOINT_SLICES, service.namespace(), &slice)?;
    }
    for slice in &plan.delete {
        delete(api, slice)?;
    }
    Ok(())
}

/// The Service's labels are the slices' labels, besides the controller's own.
fn label(slice: &mut Value, service: &Value) {
    let mut labels = service.labels().cloned().filter(Value::is_object).unwrap_or_else(|| json!({}));
    labels[SERVICE_NAME] = json!(service.name());
    labels[MANAGED_BY] = json!(CONTROLLER);
    if services::is_headless(service) {
        labels[services::HEADLESS_LABEL] = json!("");
    }
    slice["metadata"]["labels"] = labels;
}

fn group(api: &dyn Api, service: &Value, family: &str, pods: &[Value]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for pod in pods {
        let addresses = services::addresses(pod, family == "IPv6");
        if addresses.is_empty() {
            continue;
        }
        let ports = services::ports_on(service, pod);
        if ports.is_empty() && !services::is_headless(service) {
            continue;
        }
        let endpoint = endpoint(api, service, pod, &addresses);
        match groups.iter_mut().find(|g| g.ports == ports) {
            Some(group) => group.endpoints.push(endpoint),
            None => groups.push(Group { ports, endpoints: vec![endpoint] }),
        }
    }
    groups
}

fn endpoint(api: &dyn Api, service: &Value, pod: &Value, addresses: &[&str]) -> Value {
    let publish_all = service.flag(&["spec", "publishNotReadyAddresses"]);
    let serving = pods::is_ready(pod);
    let terminating = pod.deleting();
    let mut endpoint = json!({
        "addresses": addresses,
        "conditions": {"ready": publish_all || (serving && !terminating), "serving": serving, "terminating": terminating},
        "targetRef": services::target_reference(pod),
    });
    if let Some(hostname) = services::hostname(service, pod) {
        endpoint["hostname"] = json!(hostname);
    }
    let node = pod.text(&["spec", "nodeName"]);
    if !node.is_empty() {
        endpoint["nodeName"] = json!(node);
        if let Ok(node) = api.get(resources::NODES, "", node) {
            let zone = node.label("topology.kubernetes.io/zone");
            if !zone.is_empty() {
                endpoint["zone"] = json!(zone);
            }
        }
    }
    endpoint
}

fn delete(api: &dyn Api, slice: &Value) -> Result<(), Failure> {
    match api.delete(resources::ENDPOINT_SLICES, slice.namespace(), slice.name(), &DeleteOptions { uid: slice.uid(), ..DeleteOptions::default() }) {
        Ok(()) | Err(ApiError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pintle_sdk::export_controller!(EndpointSliceController);

#[cfg(test)]
mod tests;
