//! `v1` Endpoints.

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::services_validate::special_ip;
use crate::checks::{ip, one_of, without_leading_zeros};
use crate::def::namespaced;
use crate::faults::{Faults, Path};
use crate::fields::{default_empty, each_mut};
use crate::kind::Kind;
use crate::print::{AGE, NAME, NONE, age, shortened, text};

const SHOWN: usize = 3;

pub fn kind() -> Kind {
    Kind {
        create_on_update: true,
        default,
        validate,
        ..Kind::new(namespaced("v1", "endpoints", "Endpoints").short(&["ep"]))
            .table(&[NAME, text("Endpoints", "Addresses that are ready."), AGE], |e, now| vec![e.name().into(), listed(e).into(), age(e, now)])
    }
}

fn default(endpoints: &mut Value) {
    let Some(fields) = endpoints.as_object_mut() else { return };
    for port in each_mut(fields, "subsets").flat_map(|subset| each_mut(subset, "ports")) {
        default_empty(port, "protocol", "TCP");
    }
}

fn listed(endpoints: &Value) -> String {
    let mut words = Vec::new();
    for subset in endpoints.list_at(&["subsets"]) {
        let addresses = || subset.list_at(&["addresses"]).iter().map(|a| a.str_at(&["ip"]));
        let ports = subset.list_at(&["ports"]);
        if ports.is_empty() {
            words.extend(addresses().map(str::to_owned));
        }
        for port in ports.iter().map(|p| p.i64_at(&["port"]).unwrap_or(0)) {
            words.extend(addresses().map(|ip| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }));
        }
    }
    if endpoints.list_at(&["subsets"]).is_empty() { NONE.to_owned() } else { shortened(&words, SHOWN) }
}

fn validate(endpoints: &Value, faults: &mut Faults) {
    let list = Path::root("subsets");
    for (i, subset) in endpoints.list_at(&["subsets"]).iter().enumerate() {
        let here = list.index(i);
        let (ready, unready) = (subset.list_at(&["addresses"]), subset.list_at(&["notReadyAddresses"]));
        if ready.is_empty() && unready.is_empty() {
            faults.required(&here, "must specify `addresses` or `notReadyAddresses`");
        }
        for (field, addresses) in [("addresses", ready), ("notReadyAddresses", unready)] {
            let at = here.field(field);
            for (j, address) in addresses.iter().enumerate() {
                validate_address(address, &at.index(j), faults);
            }
        }
        let ports = subset.list_at(&["ports"]);
        let at = here.field("ports");
        for (j, port) in ports.iter().enumerate() {
            validate_port(port, ports.len() > 1, &at.index(j), faults);
        }
    }
}

fn validate_address(address: &Value, path: &Path<'_>, faults: &mut Faults) {
    let text = address.str_at(&["ip"]);
    ip(text, &path.field("ip"), faults);
    if without_leading_zeros(text).as_deref().unwrap_or(text).parse::<std::net::IpAddr>().is_err() {
        // Upstream asks twice, in other words, and the second time passes over zeros before a number.
        faults.invalid_str(&path.field("ip"), text, "must be a valid IP address");
    }
    special_ip(text, &path.field("ip"), faults);
    let hostname = address.str_at(&["hostname"]);
    if !hostname.is_empty() {
        faults.texts(&path.field("hostname"), hostname, names::dns1123_label(hostname));
    }
    let node = address.str_at(&["nodeName"]);
    if !node.is_empty() {
        faults.texts(&path.field("nodeName"), node, names::dns1123_subdomain(node));
    }
}

fn validate_port(port: &Value, needs_name: bool, path: &Path<'_>, faults: &mut Faults) {
    let name = port.str_at(&["name"]);
    if name.is_empty() {
        if needs_name {
            faults.required(&path.field("name"), "");
        }
    } else {
        faults.texts(&path.field("name"), name, names::dns1123_label(name));
    }
    let number = port.i64_at(&["port"]).unwrap_or(0);
    faults.values(&path.field("port"), &number.into(), names::port_number(number));
    one_of(port.str_at(&["protocol"]), &["SCTP", "TCP", "UDP"], &path.field("protocol"), faults);
    if let Some(name) = port.get("appProtocol").and_then(Value::as_str) {
        faults.texts(&path.field("appProtocol"), name, names::qualified_name(name));
    }
}
