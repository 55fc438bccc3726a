//! `discovery.k8s.io/v1` EndpointSlice.

use std::collections::HashSet;

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::checks::{immutable, ip, one_of};
use crate::core::services_validate::special_ip;
use crate::def::namespaced;
use crate::faults::{Faults, Path};
use crate::fields::{default_missing, each_mut};
use crate::kind::Kind;
use crate::print::{AGE, NAME, UNSET, age, shortened, text};
use crate::strategy::Column;
use crate::warnings;

const MAX_HINTS: usize = 8;
const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const SHOWN: usize = 3;
const COLUMNS: &[Column] =
    &[NAME, text("AddressType", "Family of the addresses."), text("Ports", "Ports of the endpoints."), text("Endpoints", "Addresses."), AGE];

pub fn kind() -> Kind {
    Kind {
        generation: true,
        warn: |slice, _| warnings::endpoint_slice_type(slice).into_iter().collect(),
        default,
        validate: |slice, faults| {
            validate(slice, faults);
            if slice.resource_version().is_empty() {
                endpoints(slice, faults);
            }
        },
        validate_change: |new, old, _, faults| {
            // Older servers took what is refused today: who leaves it as it is may keep it.
            if new.get("endpoints") != old.get("endpoints") {
                endpoints(new, faults);
            }
            immutable(new, old, &["addressType"], faults);
        },
        ..Kind::new(namespaced("discovery.k8s.io/v1", "endpointslices", "EndpointSlice")).table(COLUMNS, cells)
    }
}

fn default(slice: &mut Value) {
    let Some(fields) = slice.as_object_mut() else { return };
    for port in each_mut(fields, "ports") {
        default_missing(port, "name", "");
        default_missing(port, "protocol", "TCP");
    }
}

fn cells(slice: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let port_word = |p: &Value| match (p.i64_at(&["port"]), p.get("name").and_then(Value::as_str)) {
        (Some(port), _) => port.to_string(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => "*".to_owned(),
    };
    let ports: Vec<String> = slice.list_at(&["ports"]).iter().map(port_word).collect();
    let addresses: Vec<String> =
        slice.list_at(&["endpoints"]).iter().flat_map(|e| e.list_at(&["addresses"])).filter_map(|a| a.as_str().map(str::to_owned)).collect();
    let shown = |words: &[String]| {
        let text = shortened(words, SHOWN);
        if text.is_empty() { UNSET.to_owned() } else { text }
    };
    vec![slice.name().into(), slice.str_at(&["addressType"]).into(), shown(&ports).into(), shown(&addresses).into(), age(slice, now)]
}

fn validate(slice: &Value, faults: &mut Faults) {
    let family = slice.str_at(&["addressType"]);
    one_of(family, &["FQDN", "IPv4", "IPv6"], &Path::root("addressType"), faults);
    ports(slice, faults);
}

fn endpoints(slice: &Value, faults: &mut Faults) {
    let family = slice.str_at(&["addressType"]);
    let list = Path::root("endpoints");
    let endpoints = slice.list_at(&["endpoints"]);
    if endpoints.len() > MAX_ENDPOINTS {
        return faults.too_many(&list, endpoints.len(), MAX_ENDPOINTS);
    }
    // Addresses of no known family are not looked at.
    let is_known = matches!(family, "FQDN" | "IPv4" | "IPv6" | "");
    for (i, endpoint) in endpoints.iter().enumerate().filter(|_| is_known) {
        validate_endpoint(endpoint, family, &list.index(i), faults);
    }
}

fn validate_endpoint(endpoint: &Value, family: &str, path: &Path<'_>, faults: &mut Faults) {
    let addresses = endpoint.list_at(&["addresses"]);
    let list = path.field("addresses");
    if addresses.is_empty() {
        faults.required(&list, "must contain at least 1 address");
    } else if addresses.len() > MAX_ADDRESSES {
        faults.too_many(&list, addresses.len(), MAX_ADDRESSES);
    }
    for (i, text) in addresses.iter().filter_map(Value::as_str).enumerate() {
        let here = list.index(i);
        if family == "FQDN" {
            let name = text.strip_suffix('.').unwrap_or(text);
            let said = names::dns1123_subdomain(name);
            if said.is_empty() && !name.contains('.') {
                faults.invalid_str(&here, text, "should be a domain with at least two segments separated by dots");
            }
            faults.texts(&here, text, said);
            continue;
        }
        match text.parse::<std::net::IpAddr>() {
            Ok(address) => {
                if matches!(family, "IPv4" | "IPv6") && address.is_ipv4() != (family == "IPv4") {
                    faults.invalid_str(&list, text, &format!("must be an {family} address"));
                } else if address.to_string() != text {
                    faults.invalid_str(&here, text, &format!("must be in canonical form (\"{address}\")"));
                }
                special_ip(text, &here, faults);
            }
            Err(_) => ip(text, &here, faults),
        }
    }
    hints(endpoint, &path.field("hints"), faults);
    if let Some(name) = endpoint.get("nodeName").and_then(Value::as_str) {
        faults.texts(&path.field("nodeName"), name, names::dns1123_subdomain(name));
    }
    if let Some(name) = endpoint.get("hostname").and_then(Value::as_str) {
        faults.texts(&path.field("hostname"), name, names::dns1123_label(name));
    }
}

/// Zones and nodes whose traffic an endpoint is meant for.
fn hints(endpoint: &Value, path: &Path<'_>, faults: &mut Faults) {
    let list = path.field("forZones");
    let zones = endpoint.list_at(&["hints", "forZones"]);
    if zones.len() > MAX_HINTS {
        faults.too_many(&list, zones.len(), MAX_HINTS);
    }
    let mut seen = HashSet::new();
    for (i, zone) in zones.iter().enumerate() {
        let (here, name) = (list.index(i), zone.str_at(&["name"]));
        if !seen.insert(name) {
            faults.duplicate(&here.field("name"), &name.into());
        }
    }
    let list = path.field("forNodes");
    for (i, node) in endpoint.list_at(&["hints", "forNodes"]).iter().enumerate() {
        let name = node.str_at(&["name"]);
        faults.texts(&list.index(i).field("name"), name, names::dns1123_subdomain(name));
    }
}

fn ports(slice: &Value, faults: &mut Faults) {
    let list = Path::root("ports");
    let ports = slice.list_at(&["ports"]);
    if ports.len() > MAX_PORTS {
        return faults.too_many(&list, ports.len(), MAX_PORTS);
    }
    let mut seen = HashSet::new();
    for (i, port) in ports.iter().enumerate() {
        let here = list.index(i);
        let name = port.str_at(&["name"]);
        if !name.is_empty() {
            faults.texts(&here.field("name"), name, names::dns1123_label(name));
        }
        if !seen.insert(name) {
            faults.duplicate(&here.field("name"), &name.into());
        }
        one_of(port.str_at(&["protocol"]), &["SCTP", "TCP", "UDP"], &here.field("protocol"), faults);
        if let Some(name) = port.get("appProtocol").and_then(Value::as_str) {
            faults.texts(&here.field("appProtocol"), name, names::qualified_name(name));
        }
    }
}
