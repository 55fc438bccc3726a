//! `networking.k8s.io/v1` IPAddress: an address in use, named by itself.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::checks::{immutable_object, ip};
use crate::def::cluster;
use crate::faults::{Faults, Path};
use crate::kind::Kind;
use crate::print::{NAME, NONE, text};
use crate::workload::SPEC;

pub fn kind() -> Kind {
    Kind {
        names: pintle_api::names::NameRule::PathSegment,
        validate,
        validate_change: |new, old, _, faults| {
            immutable_object(new, old, &["spec", "parentRef"], "networking.ParentReference", faults);
        },
        fields: &[("metadata.name", |a| a.name().to_owned())],
        ..Kind::new(cluster("networking.k8s.io/v1", "ipaddresses", "IPAddress").short(&["ip"]))
            .table(&[NAME, text("ParentRef", "What the address belongs to.")], |address, _| vec![address.name().into(), parent(address).into()])
    }
}

fn parent(address: &Value) -> String {
    let Some(parent) = address.at(&["spec", "parentRef"]).filter(|p| !p.is_null()) else { return NONE.to_owned() };
    let (group, resource) = (parent.str_at(&["group"]), parent.str_at(&["resource"]));
    let mut text = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }.to_ascii_lowercase();
    for part in [parent.str_at(&["namespace"]), parent.str_at(&["name"])].iter().filter(|p| !p.is_empty()) {
        text.push('/');
        text.push_str(part);
    }
    text
}

fn validate(address: &Value, faults: &mut Faults) {
    let name = address.name();
    if !name.is_empty() {
        ip(name, &Path::root("metadata.name"), faults);
    }
    if let Some(plain) = name.parse::<std::net::IpAddr>().ok().map(|ip| ip.to_string()).filter(|plain| plain != name) {
        faults.invalid_str(&Path::root("metadata.name"), name, &format!("must be in canonical form ({plain:?})"));
    }
    let Some(parent) = address.at(&["spec", "parentRef"]).filter(|p| !p.is_null()) else {
        return faults.required(&SPEC.field("parentRef"), "");
    };
    let here = SPEC.field("parentRef");
    for field in ["resource", "name"].iter().filter(|f| parent.str_at(&[f]).is_empty()) {
        faults.required(&here.field(field), "");
    }
    for field in ["resource", "name", "namespace"] {
        let word = parent.str_at(&[field]);
        faults.texts(&here.field(field), word, pintle_api::names::path_segment(word, false));
    }
    let group = parent.str_at(&["group"]);
    if !group.is_empty() {
        faults.texts(&here.field("group"), group, pintle_api::names::dns1123_subdomain(group));
    }
}
