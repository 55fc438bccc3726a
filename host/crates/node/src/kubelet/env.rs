//! A container's environment: literal values, references to fields, resources, ConfigMaps and Secrets, `envFrom`,
//! service variables, and `$(NAME)` expansion. Pure: the caller fetched what [`references`] names.

use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, ResourceFieldSelector, Service};
use pintle_api::object::{Object, ObjectExt};

use super::follow::{CONFIG_MAPS, Key, SECRETS};
use super::resources::milli;
use super::state::container_spec;

/// What values can be drawn from.
pub struct Sources<'a> {
    pub pod: &'a Pod,
    pub pod_ips: &'a [String],
    pub host_ips: &'a [String],
    /// By the keys of [`references`]; an absent entry is an object that does not exist.
    pub objects: &'a HashMap<Key, Object>,
    pub services: &'a [Service],
    /// What the node can give, for limits that a container leaves open.
    pub allocatable: &'a BTreeMap<String, String>,
}

/// The ConfigMaps and Secrets that a container's environment names.
pub fn references(container: &Container, namespace: &str) -> Vec<Key> {
    let mut keys = Vec::new();
    for from in container.env_from.iter().flatten() {
        keys.extend(from.config_map_ref.iter().map(|r| Key::new(CONFIG_MAPS, namespace, &r.name)));
        keys.extend(from.secret_ref.iter().map(|r| Key::new(SECRETS, namespace, &r.name)));
    }
    for source in container.env.iter().flatten().filter_map(|v| v.value_from.as_ref()) {
        keys.extend(source.config_map_key_ref.iter().map(|r| Key::new(CONFIG_MAPS, namespace, &r.name)));
        keys.extend(source.secret_key_ref.iter().map(|r| Key::new(SECRETS, namespace, &r.name)));
    }
    keys.sort();
    keys.dedup();
    keys
}

/// Name and value pairs, in the order in which they were defined.
pub fn resolve(container: &Container, sources: &Sources) -> Result<Vec<(String, String)>, String> {
    let mut found = Ordered::default();
    let namespace = sources.pod.metadata.namespace.as_deref().unwrap_or("");
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or("");
        if let Some(r) = &from.config_map_ref {
            take_all(&mut found, sources, Key::new(CONFIG_MAPS, namespace, &r.name), prefix, r.optional == Some(true))?;
        }
        if let Some(r) = &from.secret_ref {
            take_all(&mut found, sources, Key::new(SECRETS, namespace, &r.name), prefix, r.optional == Some(true))?;
        }
    }
    let service_values: HashMap<String, String> = service_variables(sources).into_iter().collect();
    for var in container.env.iter().flatten() {
        let value = match &var.value_from {
            None => {
                let text = var.value.as_deref().unwrap_or("");
                Some(expand(text, |name| found.get(name).or_else(|| service_values.get(name).map(String::as_str)).map(str::to_owned)))
            }
            Some(_) => referred(var, container, sources, namespace)?,
        };
        if let Some(value) = value {
            found.put(var.name.clone(), value);
        }
    }
    for (name, value) in service_variables(sources) {
        if found.get(&name).is_none() {
            found.put(name, value);
        }
    }
    Ok(found.list)
}

/// Replaces `$(NAME)` by the variable's value; `$$` is a dollar sign, an unknown name stays as written.
pub fn expand(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = tail.strip_prefix('(').and_then(|t| t.split_once(')')) {
            match value(name) {
                Some(known) => out.push_str(&known),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
            rest = tail;
        }
    }
    out.push_str(rest);
    out
}

/// A field of the pod by the downward API's path.
pub fn field(path: &str, pod: &Pod, pod_ips: &[String], host_ips: &[String]) -> Result<String, String> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let text = |v: &Option<String>| v.clone().unwrap_or_default();
    if let Some((list, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        let map = match list {
            "metadata.annotations" => &meta.annotations,
            "metadata.labels" => &meta.labels,
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return Ok(map.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.name" => text(&meta.name),
        "metadata.namespace" => text(&meta.namespace),
        "metadata.uid" => text(&meta.uid),
        "spec.nodeName" => spec.map(|s| text(&s.node_name)).unwrap_or_default(),
        "spec.serviceAccountName" => spec.map(|s| text(&s.service_account_name)).unwrap_or_default(),
        "status.hostIP" => host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => host_ips.join(","),
        "status.podIP" => pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => pod_ips.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// A request or limit as a number of its divisor's size, rounded up.
pub fn resource(selector: &ResourceFieldSelector, pod: &Pod, own: &str, allocatable: &BTreeMap<String, String>) -> Result<String, String> {
    let name = selector.container_name.as_deref().filter(|n| !n.is_empty()).unwrap_or(own);
    let (container, _) = container_spec(pod, name).ok_or_else(|| format!("container {name} not found"))?;
    let resources = container.resources.clone().unwrap_or_default();
    let (side, kind) = selector.resource.split_once('.').ok_or_else(|| format!("unsupported container resource : {}", selector.resource))?;
    let from = |m: &Option<BTreeMap<_, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>| {
        m.as_ref().and_then(|m| m.get(kind)).map(|q| milli(&q.0)).filter(|v| *v != 0)
    };
    let value = match side {
        "limits" => from(&resources.limits).or_else(|| allocatable.get(kind).map(|q| milli(q))).unwrap_or(0),
        "requests" => from(&resources.requests).unwrap_or(0),
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    let divisor = selector.divisor.as_ref().map(|q| milli(&q.0)).filter(|d| *d > 0).unwrap_or(1000);
    Ok(((value + divisor - 1) / divisor).to_string())
}

/// The variables that name the namespace's services (and always the API's).
fn service_variables(sources: &Sources) -> Vec<(String, String)> {
    let namespace = sources.pod.metadata.namespace.as_deref().unwrap_or("");
    let links = sources.pod.spec.as_ref().and_then(|s| s.enable_service_links).unwrap_or(true);
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in sources.services {
        let (name, from) = (service.metadata.name.as_deref().unwrap_or(""), service.metadata.namespace.as_deref().unwrap_or(""));
        let has_ip = service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()).is_some_and(|ip| !ip.is_empty() && ip != "None");
        if !has_ip {
            continue;
        }
        if from == namespace && links {
            chosen.insert(name, service);
        } else if from == "default" && name == "kubernetes" {
            chosen.entry(name).or_insert(service);
        }
    }
    chosen.into_iter().flat_map(|(name, service)| variables_of(name, service)).collect()
}

fn variables_of(name: &str, service: &Service) -> Vec<(String, String)> {
    let prefix = name.replace('-', "_").to_uppercase();
    let Some(spec) = &service.spec else { return Vec::new() };
    let ip = spec.cluster_ip.clone().unwrap_or_default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first() else { return Vec::new() };
    let mut out = vec![(format!("{prefix}_SERVICE_HOST"), ip.clone()), (format!("{prefix}_SERVICE_PORT"), first.port.to_string())];
    for port in ports {
        if let Some(port_name) = port.name.as_deref().filter(|n| !n.is_empty()) {
            out.push((format!("{prefix}_SERVICE_PORT_{}", port_name.replace('-', "_").to_uppercase()), port.port.to_string()));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
        let url = format!("{protocol}://{host}:{}", port.port);
        if index == 0 {
            out.push((format!("{prefix}_PORT"), url.clone()));
        }
        let base = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
        out.push((base.clone(), url));
        out.push((format!("{base}_PROTO"), protocol));
        out.push((format!("{base}_PORT"), port.port.to_string()));
        out.push((format!("{base}_ADDR"), ip.clone()));
    }
    out
}

fn referred(var: &EnvVar, container: &Container, sources: &Sources, namespace: &str) -> Result<Option<String>, String> {
    let Some(source) = &var.value_from else { return Ok(None) };
    if let Some(r) = &source.field_ref {
        return field(&r.field_path, sources.pod, sources.pod_ips, sources.host_ips).map(Some);
    }
    if let Some(r) = &source.resource_field_ref {
        return resource(r, sources.pod, &container.name, sources.allocatable).map(Some);
    }
    if let Some(r) = &source.config_map_key_ref {
        return one_key(sources, Key::new(CONFIG_MAPS, namespace, &r.name), &r.key, r.optional == Some(true));
    }
    if let Some(r) = &source.secret_key_ref {
        return one_key(sources, Key::new(SECRETS, namespace, &r.name), &r.key, r.optional == Some(true));
    }
    Ok(None)
}

fn one_key(sources: &Sources, from: Key, key: &str, optional: bool) -> Result<Option<String>, String> {
    let is_secret = from.resource == SECRETS;
    let Some(object) = sources.objects.get(&from) else {
        return if optional { Ok(None) } else { Err(not_found(&from)) };
    };
    let value = object.at(&["data", key]).and_then(|v| v.as_str());
    match value {
        Some(text) if is_secret => Ok(Some(decoded(text)?)),
        Some(text) => Ok(Some(text.to_owned())),
        None if optional => Ok(None),
        None => {
            let kind = if is_secret { "Secret" } else { "ConfigMap" };
            Err(format!("couldn't find key {key} in {kind} {}/{}", from.namespace, from.name))
        }
    }
}

fn take_all(found: &mut Ordered, sources: &Sources, from: Key, prefix: &str, optional: bool) -> Result<(), String> {
    let is_secret = from.resource == SECRETS;
    let Some(object) = sources.objects.get(&from) else {
        return if optional { Ok(()) } else { Err(not_found(&from)) };
    };
    for (key, value) in object.map_at(&["data"]).into_iter().flatten() {
        let text = value.as_str().unwrap_or("");
        let value = if is_secret { decoded(text)? } else { text.to_owned() };
        let name = format!("{prefix}{key}");
        // What cannot be a variable's name is left out, as upstream does.
        if !name.is_empty() && !name.contains('=') && !name.chars().any(char::is_control) {
            found.put(name, value);
        }
    }
    Ok(())
}

pub fn not_found(key: &Key) -> String {
    let kind = key.resource.resource.trim_end_matches('s');
    format!("{kind} {:?} not found", key.name)
}

fn decoded(text: &str) -> Result<String, String> {
    let bytes = STANDARD.decode(text).map_err(|e| format!("secret value is not base64: {e}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let quoted = |v: &str| serde_json::to_string(v).unwrap_or_default();
    map.into_iter().flatten().map(|(k, v)| format!("{k}={}", quoted(v))).collect::<Vec<_>>().join("\n")
}

/// A map that remembers the order of first definition.
#[derive(Default)]
struct Ordered {
    list: Vec<(String, String)>,
    index: HashMap<String, usize>,
}

impl Ordered {
    fn put(&mut self, name: String, value: String) {
        match self.index.get(&name) {
            Some(at) => self.list[*at].1 = value,
            None => {
                self.index.insert(name.clone(), self.list.len());
                self.list.push((name, value));
            }
        }
    }
    fn get(&self, name: &str) -> Option<&str> {
        self.index.get(name).map(|at| self.list[*at].1.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion() {
        let known = |n: &str| (n == "A").then(|| "x".to_owned());
        let cases = [("$(A)-$(B)", "x-$(B)"), ("$$(A)", "$(A)"), ("$A $", "$A $"), ("$(A", "$(A"), ("$$$(A)", "$x")];
        for (text, expected) in cases {
            assert_eq!(expand(text, known), expected, "{text}");
        }
    }
}
