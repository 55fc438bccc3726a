//! The parts of the API objects that routing reads.

use std::collections::BTreeMap;

use pintle_sdk::ingress::{Endpoint, Object};
use serde::Deserialize;
use serde::de::DeserializeOwned;

type Key = (String, String);

#[derive(Default)]
pub struct World {
    /// Oldest first.
    pub ingresses: Vec<Ingress>,
    services: BTreeMap<Key, Service>,
    /// By the service that they belong to.
    slices: BTreeMap<Key, Vec<Slice>>,
}

impl World {
    pub fn read(objects: &[Object]) -> Result<Self, String> {
        let mut world = Self::default();
        for object in objects {
            match object.kind.as_str() {
                "Ingress" => world.ingresses.push(parse(object)?),
                "Service" => {
                    let service: Service = parse(object)?;
                    world.services.insert((service.metadata.namespace.clone(), service.metadata.name.clone()), service);
                }
                "EndpointSlice" => {
                    let slice: Slice = parse(object)?;
                    let service = slice.metadata.labels.get("kubernetes.io/service-name").cloned().unwrap_or_default();
                    world.slices.entry((slice.metadata.namespace.clone(), service)).or_default().push(slice);
                }
                _ => {}
            }
        }
        world.ingresses.sort_by_key(|i| (i.metadata.creation_timestamp.clone(), i.metadata.path()));
        Ok(world)
    }

    /// Those that are ready, each with its zone, in an order of their own.
    pub fn endpoints(&self, namespace: &str, wanted: &ServiceRef) -> Result<Vec<(String, Endpoint)>, String> {
        let key = (namespace.to_owned(), wanted.name.clone());
        let service = self.services.get(&key).ok_or_else(|| format!("service {}/{} does not exist", key.0, key.1))?;
        let port = service.spec.ports.iter().find(|p| wanted.port.means(p));
        let port = port.ok_or_else(|| format!("service {}/{} has no port {}", key.0, key.1, wanted.port))?;
        let mut found = Vec::new();
        for slice in self.slices.get(&key).into_iter().flatten() {
            let Some(number) = slice.ports.iter().flatten().find(|p| p.name == port.name).and_then(|p| p.port) else { continue };
            for endpoint in slice.endpoints.iter().flatten().filter(|e| e.conditions.ready != Some(false)) {
                let address = endpoint.addresses.first().cloned().unwrap_or_default();
                found.push((endpoint.zone.clone(), Endpoint { address, port: number }));
            }
        }
        found.sort_by(|a, b| (&a.0, &a.1.address, a.1.port).cmp(&(&b.0, &b.1.address, b.1.port)));
        found.dedup();
        Ok(found)
    }
}

fn parse<T: DeserializeOwned>(object: &Object) -> Result<T, String> {
    serde_json::from_slice(&object.json).map_err(|error| format!("{}: {error}", object.kind))
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    pub name: String,
    pub namespace: String,
    creation_timestamp: String,
    labels: BTreeMap<String, String>,
}

impl Metadata {
    pub fn path(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Ingress {
    pub metadata: Metadata,
    pub spec: IngressSpec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressSpec {
    pub ingress_class_name: Option<String>,
    pub default_backend: Option<BackendRef>,
    pub rules: Vec<Rule>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Rule {
    pub host: Option<String>,
    pub http: Option<Http>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Http {
    pub paths: Vec<HttpPath>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpPath {
    pub path: Option<String>,
    pub path_type: String,
    pub backend: BackendRef,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct BackendRef {
    pub service: Option<ServiceRef>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ServiceRef {
    pub name: String,
    pub port: PortRef,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct PortRef {
    name: Option<String>,
    number: Option<u16>,
}

impl PortRef {
    fn means(&self, port: &Port) -> bool {
        match &self.name {
            Some(name) => *name == port.name,
            None => self.number == port.port,
        }
    }
}

impl std::fmt::Display for PortRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.name, self.number) {
            (Some(name), _) => f.write_str(name),
            (None, number) => write!(f, "{}", number.unwrap_or_default()),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Service {
    metadata: Metadata,
    spec: ServiceSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServiceSpec {
    ports: Vec<Port>,
}

/// Of a Service or an EndpointSlice.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Port {
    name: String,
    port: Option<u16>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Slice {
    metadata: Metadata,
    endpoints: Option<Vec<SliceEndpoint>>,
    ports: Option<Vec<Port>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SliceEndpoint {
    addresses: Vec<String>,
    conditions: Conditions,
    zone: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
}
