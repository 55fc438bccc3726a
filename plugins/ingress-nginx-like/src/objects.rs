//! The parts of the API objects that routing reads.

use std::collections::BTreeMap;

use pintle_sdk::ingress::{Object, Problem};
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub type Key = (String, String);

/// Everything that a compilation is given, by namespace and name.
#[derive(Default)]
pub struct World {
    /// Oldest first: where two want the same, the older has it.
    pub ingresses: Vec<Ingress>,
    pub classes: BTreeMap<String, IngressClass>,
    pub services: BTreeMap<Key, Service>,
    /// By the service that they belong to.
    pub slices: BTreeMap<Key, Vec<Slice>>,
    pub secrets: BTreeMap<Key, Secret>,
}

impl World {
    pub fn read(objects: &[Object], problems: &mut Vec<Problem>) -> Self {
        let mut world = Self::default();
        for object in objects {
            let read = match object.kind.as_str() {
                "Ingress" => parse(object).map(|o| world.ingresses.push(o)),
                "IngressClass" => parse(object).map(|o: IngressClass| drop(world.classes.insert(o.metadata.name.clone(), o))),
                "Service" => parse(object).map(|o: Service| drop(world.services.insert(o.metadata.key(), o))),
                "Secret" => parse(object).map(|o: Secret| drop(world.secrets.insert(o.metadata.key(), o))),
                "EndpointSlice" => parse(object).map(|o: Slice| {
                    if let Some(service) = o.metadata.labels.get("kubernetes.io/service-name") {
                        world.slices.entry((o.metadata.namespace.clone(), service.clone())).or_default().push(o);
                    }
                }),
                _ => Ok(()),
            };
            if let Err(message) = read {
                problems.push(Problem {
                    kind: object.kind.clone(),
                    namespace: String::new(),
                    name: String::new(),
                    reason: "Unreadable".to_owned(),
                    message,
                });
            }
        }
        world.ingresses.sort_by(|a, b| a.metadata.age().cmp(&b.metadata.age()));
        world
    }
}

fn parse<T: DeserializeOwned>(object: &Object) -> Result<T, String> {
    serde_json::from_slice(&object.json).map_err(|e| e.to_string())
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    pub name: String,
    pub namespace: String,
    pub creation_timestamp: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

impl Metadata {
    pub fn key(&self) -> Key {
        (self.namespace.clone(), self.name.clone())
    }
    pub fn path(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
    fn age(&self) -> (&str, &str, &str) {
        (self.creation_timestamp.as_deref().unwrap_or(""), &self.namespace, &self.name)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ingress {
    pub metadata: Metadata,
    pub spec: IngressSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressSpec {
    pub ingress_class_name: Option<String>,
    pub default_backend: Option<IngressBackend>,
    pub tls: Vec<Tls>,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Tls {
    pub hosts: Vec<String>,
    pub secret_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rule {
    pub host: Option<String>,
    pub http: Option<Http>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Http {
    pub paths: Vec<HttpPath>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpPath {
    pub path: Option<String>,
    pub path_type: String,
    pub backend: IngressBackend,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct IngressBackend {
    pub service: Option<ServiceBackend>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceBackend {
    pub name: String,
    pub port: ServicePortRef,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServicePortRef {
    pub name: Option<String>,
    pub number: Option<u16>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct IngressClass {
    pub metadata: Metadata,
    pub spec: ClassSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClassSpec {
    pub controller: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    pub metadata: Metadata,
    pub spec: ServiceSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    pub ports: Vec<ServicePort>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServicePort {
    pub name: Option<String>,
    pub port: u16,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Slice {
    pub metadata: Metadata,
    pub address_type: String,
    pub endpoints: Option<Vec<Endpoint>>,
    pub ports: Option<Vec<SlicePort>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    pub addresses: Vec<String>,
    pub conditions: Conditions,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Conditions {
    pub ready: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SlicePort {
    pub name: Option<String>,
    pub port: Option<u16>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Secret {
    pub metadata: Metadata,
    /// Base64.
    pub data: BTreeMap<String, String>,
}

impl Secret {
    /// A value, decoded.
    pub fn value(&self, key: &str) -> Option<Vec<u8>> {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.decode(self.data.get(key)?).ok()
    }
}
