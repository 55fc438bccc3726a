//! From a service's name and port to the addresses behind it.

use std::collections::HashMap;

use pintle_sdk::ingress::{Backend, Endpoint};

use crate::annotations::BackendSettings;
use crate::objects::{ServiceBackend, World};

/// The backends of the table so far; the same one is listed once.
#[derive(Default)]
pub struct Backends {
    pub list: Vec<Backend>,
    known: HashMap<String, u32>,
}

impl Backends {
    /// The backend's index, and what is wrong with it. A backend without endpoints is one all the same: it answers 503.
    pub fn index(&mut self, world: &World, namespace: &str, service: &ServiceBackend, settings: &BackendSettings) -> (u32, Option<String>) {
        let port = service.port.name.clone().or_else(|| service.port.number.map(|n| n.to_string())).unwrap_or_default();
        let name = format!("{namespace}/{}:{port}", service.name);
        let (endpoints, fault) = match endpoints(world, namespace, service, settings) {
            Ok(endpoints) => (endpoints, None),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        let key = format!("{name} {settings:?}");
        if let Some(index) = self.known.get(&key) {
            return (*index, fault);
        }
        let index = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.known.insert(key, index);
        self.list.push(Backend {
            name,
            endpoints,
            balance: settings.balance,
            protocol: settings.protocol,
            affinity: settings.affinity.clone(),
            connect_timeout_milliseconds: settings.connect_timeout_milliseconds,
            read_timeout_milliseconds: settings.read_timeout_milliseconds,
            retries: settings.retries,
        });
        (index, fault)
    }
}

fn endpoints(world: &World, namespace: &str, wanted: &ServiceBackend, settings: &BackendSettings) -> Result<Vec<Endpoint>, String> {
    let key = (namespace.to_owned(), wanted.name.clone());
    let service = world.services.get(&key).ok_or_else(|| format!("service {}/{} does not exist", key.0, key.1))?;
    if service.spec.kind == "ExternalName" {
        return Err(format!("service {}/{} is only a name elsewhere, which is not served", key.0, key.1));
    }
    let port = match (&wanted.port.name, wanted.port.number) {
        (Some(name), _) if !name.is_empty() => service.spec.ports.iter().find(|p| p.name.as_ref() == Some(name)),
        (_, number) => service.spec.ports.iter().find(|p| Some(p.port) == number),
    };
    let port = port.ok_or_else(|| format!("service {}/{} has no port {}", key.0, key.1, shown(wanted)))?;
    if settings.by_service_address {
        let address = service.spec.cluster_ip.clone().filter(|ip| !ip.is_empty() && ip != "None");
        return Ok(address.into_iter().map(|address| Endpoint { address, port: port.port }).collect());
    }
    let port_name = port.name.as_deref().unwrap_or_default();
    let mut found = Vec::new();
    for slice in world.slices.get(&key).into_iter().flatten().filter(|s| s.address_type != "FQDN") {
        let Some(number) = slice.ports.iter().flatten().find(|p| p.name.as_deref().unwrap_or_default() == port_name).and_then(|p| p.port) else {
            continue;
        };
        for endpoint in slice.endpoints.iter().flatten().filter(|e| e.conditions.ready.unwrap_or(true)) {
            found.extend(endpoint.addresses.first().map(|address| Endpoint { address: address.clone(), port: number }));
        }
    }
    found.sort_by(|a, b| (&a.address, a.port).cmp(&(&b.address, b.port)));
    found.dedup();
    Ok(found)
}

fn shown(wanted: &ServiceBackend) -> String {
    wanted.port.name.clone().or_else(|| wanted.port.number.map(|n| n.to_string())).unwrap_or_default()
}
