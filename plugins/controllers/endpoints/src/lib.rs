//! Endpoints of Services with a selector: the older form of EndpointSlices, one object for a Service, for clients that still read it.

use std::time::Duration;

use pintle_controller_common::fields::Fields;
use pintle_controller_common::{pods, resources, services};
use pintle_sdk::controller::{Api, ApiError, Controller, DeleteOptions, Failure, Key, Relation, Watch};
use serde_json::{Value, json};

/// More addresses are left out, and an annotation says so.
const MAX_ADDRESSES: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpoint-controller";

#[derive(Default)]
pub struct EndpointsController;

impl Controller for EndpointsController {
    fn watches() -> Vec<Watch> {
        vec![
            Watch::new(resources::SERVICES, Relation::Primary),
            Watch::new(resources::PODS, Relation::Local).reading(services::POD_READS),
            Watch::new(resources::ENDPOINTS, Relation::Routed),
        ]
    }

    fn route(&mut self, api: &dyn Api, index: usize, before: Option<&Value>, after: Option<&Value>) -> Vec<Key> {
        if index == 1 {
            return services::of_pod(api, before, after);
        }
        // Endpoints bear their Service's name.
        after.or(before).map(|e| Key { namespace: e.namespace().to_owned(), name: e.name().to_owned() }).into_iter().collect()
    }

    fn reconcile(&mut self, api: &dyn Api, key: &Key) -> Result<Option<Duration>, Failure> {
        let service = match api.get(resources::SERVICES, &key.namespace, &key.name) {
            Ok(service) => service,
            Err(ApiError::NotFound(_)) => return remove_own(api, key),
            Err(error) => return Err(error.into()),
        };
        let Some(selector) = services::selector(&service) else { return Ok(None) };
        let (subsets, cut) = subsets(&service, &services::serving_pods(api, &service, &selector)?);
        let current = match api.get(resources::ENDPOINTS, &key.namespace, &key.name) {
            Ok(current) => Some(current),
            Err(ApiError::NotFound(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let mut next = current
            .clone()
            .unwrap_or_else(|| json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": key.name, "namespace": key.namespace}}));
        describe(&mut next, &service, subsets, cut);
        match current {
            Some(current) if current == next => {}
            Some(_) => {
                api.update(resources::ENDPOINTS, &key.namespace, &key.name, &next)?;
            }
            None => {
                api.create(resources::ENDPOINTS, &key.namespace, &next)?;
            }
        }
        Ok(None)
    }
}

/// The Service is gone: its Endpoints go, unless somebody else made them.
fn remove_own(api: &dyn Api, key: &Key) -> Result<Option<Duration>, Failure> {
    match api.get(resources::ENDPOINTS, &key.namespace, &key.name) {
        Ok(endpoints) if endpoints.label(MANAGED_BY) == CONTROLLER => {
            match api.delete(resources::ENDPOINTS, &key.namespace, &key.name, &DeleteOptions { uid: endpoints.uid(), ..DeleteOptions::default() }) {
                Ok(()) | Err(ApiError::NotFound(_)) => Ok(None),
                Err(error) => Err(error.into()),
            }
        }
        Ok(_) | Err(ApiError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn describe(endpoints: &mut Value, service: &Value, subsets: Vec<Value>, cut: bool) {
    let mut labels = service.labels().cloned().filter(Value::is_object).unwrap_or_else(|| json!({}));
    labels[MANAGED_BY] = json!(CONTROLLER);
    if services::is_headless(service) {
        labels[services::HEADLESS_LABEL] = json!("");
    }
    endpoints["metadata"]["labels"] = labels;
    let object = endpoints.as_object_mut().expect("an object");
    if subsets.is_empty() {
        object.remove("subsets");
    } else {
        object.insert("subsets".to_owned(), json!(subsets));
    }
    if cut {
        endpoints["metadata"]["annotations"][OVER_CAPACITY] = json!("truncated");
    } else if let Some(annotations) = endpoints.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(OVER_CAPACITY);
    }
}

/// Addresses that share their ports stand in one subset, the ready apart from the others. True when some were left out.
fn subsets(service: &Value, pods: &[Value]) -> (Vec<Value>, bool) {
    struct Subset {
        ports: Vec<Value>,
        ready: Vec<Value>,
        not_ready: Vec<Value>,
    }
    let publish_all = service.flag(&["spec", "publishNotReadyAddresses"]);
    let mut subsets: Vec<Subset> = Vec::new();
    let mut count = 0;
    for pod in pods {
        if pod.deleting() && !publish_all {
            continue;
        }
        let ports = services::ports_on(service, pod);
        let Some(ip) = services::addresses(pod, service.items(&["spec", "ipFamilies"]).first().is_some_and(|f| f == "IPv6")).first().copied() else {
            continue;
        };
        if ports.is_empty() && !services::is_headless(service) {
            continue;
        }
        count += 1;
        if count > MAX_ADDRESSES {
            break;
        }
        let mut address = json!({"ip": ip, "targetRef": services::target_reference(pod)});
        if !pod.text(&["spec", "nodeName"]).is_empty() {
            address["nodeName"] = pod["spec"]["nodeName"].clone();
        }
        if let Some(hostname) = services::hostname(service, pod) {
            address["hostname"] = json!(hostname);
        }
        let place = subsets.iter().position(|s| s.ports == ports).unwrap_or_else(|| {
            subsets.push(Subset { ports, ready: Vec::new(), not_ready: Vec::new() });
            subsets.len() - 1
        });
        let subset = &mut subsets[place];
        if publish_all || pods::is_ready(pod) { subset.ready.push(address) } else { subset.not_ready.push(address) }
    }
    let by_ip = |list: &mut Vec<Value>| list.sort_by(|a, b| a.text(&["ip"]).cmp(b.text(&["ip"])));
    let shown = subsets.into_iter().map(|mut subset| {
        by_ip(&mut subset.ready);
        by_ip(&mut subset.not_ready);
        let mut value = json!({});
        for (field, list) in [("addresses", subset.ready), ("notReadyAddresses", subset.not_ready), ("ports", unnamed(subset.ports))] {
            if !list.is_empty() {
                value[field] = json!(list);
            }
        }
        value
    });
    (shown.collect(), count > MAX_ADDRESSES)
}

/// Empty names are left out of Endpoints, though they stand in EndpointSlices.
fn unnamed(mut ports: Vec<Value>) -> Vec<Value> {
    for port in &mut ports {
        if port.text(&["name"]).is_empty() {
            port.as_object_mut().expect("an object").remove("name");
        }
    }
    ports
}

pintle_sdk::export_controller!(EndpointsController);
