//! `networking.k8s.io/v1` NetworkPolicy.

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::checks::{cidr, label_selector};
use crate::def::namespaced;
use crate::faults::{Faults, Path};
use crate::fields::{default_missing, each_mut, is_zero, spec_mut};
use crate::kind::Kind;
use crate::print::{self, AGE, NAME, age, text};
use crate::workload::SPEC;

pub fn kind() -> Kind {
    Kind {
        generation: true,
        default,
        validate,
        ..Kind::new(namespaced("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy").short(&["netpol"]))
            .table(&[NAME, text("Pod-Selector", "Pods that the policy is about."), AGE], |policy, now| {
                vec![policy.name().into(), print::selector(policy.at(&["spec", "podSelector"])), age(policy, now)]
            })
    }
}

fn default(policy: &mut Value) {
    let Some(spec) = spec_mut(policy) else { return };
    default_missing(spec, "podSelector", json!({}));
    for side in ["ingress", "egress"] {
        for port in each_mut(spec, side).flat_map(|rule| each_mut(rule, "ports")) {
            default_missing(port, "protocol", "TCP");
        }
    }
    if spec.get("policyTypes").is_none_or(is_zero) {
        let types = if spec.get("egress").is_none_or(is_zero) { json!(["Ingress"]) } else { json!(["Ingress", "Egress"]) };
        spec.insert("policyTypes".to_owned(), types);
    }
}

fn validate(policy: &Value, faults: &mut Faults) {
    let spec = policy.get("spec").unwrap_or(&Value::Null);
    label_selector(spec.get("podSelector").unwrap_or(&Value::Null), &SPEC.field("podSelector"), faults);
    for (side, peers) in [("ingress", "from"), ("egress", "to")] {
        let list = SPEC.field(side);
        for (i, rule) in spec.list_at(&[side]).iter().enumerate() {
            let here = list.index(i);
            let at = here.field("ports");
            for (j, port) in rule.list_at(&["ports"]).iter().enumerate() {
                validate_port(port, &at.index(j), faults);
            }
            let at = here.field(peers);
            for (j, peer) in rule.list_at(&[peers]).iter().enumerate() {
                validate_peer(peer, &at.index(j), faults);
            }
        }
    }
    let types = spec.list_at(&["policyTypes"]);
    let list = SPEC.field("policyTypes");
    if types.len() > 2 {
        return faults.invalid(&list, &spec["policyTypes"], "may not specify more than two policyTypes");
    }
    for (i, kind) in types.iter().filter_map(Value::as_str).enumerate().filter(|(_, k)| !matches!(*k, "Ingress" | "Egress")) {
        faults.not_supported(&list.index(i), kind, &["Ingress", "Egress"]);
    }
}

fn validate_port(port: &Value, path: &Path<'_>, faults: &mut Faults) {
    if let Some(protocol) = port.get("protocol").and_then(Value::as_str).filter(|protocol| !matches!(*protocol, "TCP" | "UDP" | "SCTP")) {
        faults.not_supported(&path.field("protocol"), protocol, &["TCP", "UDP", "SCTP"]);
    }
    let end = port.get("endPort").filter(|e| !e.is_null());
    match port.get("port").filter(|p| !p.is_null()) {
        Some(Value::String(name)) => {
            if let Some(end) = end {
                faults.invalid(&path.field("endPort"), end, "may not be specified when `port` is non-numeric");
            }
            faults.texts(&path.field("port"), name, names::port_name(name));
        }
        Some(number) => {
            let first = number.as_i64().unwrap_or(0);
            faults.values(&path.field("port"), number, names::port_number(first));
            if let Some(last) = end.and_then(Value::as_i64) {
                if last < first {
                    faults.invalid(&path.field("endPort"), number, "must be greater than or equal to `port`");
                }
                faults.values(&path.field("endPort"), &last.into(), names::port_number(last));
            }
        }
        None => {
            if let Some(end) = end {
                faults.invalid(&path.field("endPort"), end, "may not be specified when `port` is not specified");
            }
        }
    }
}

fn validate_peer(peer: &Value, path: &Path<'_>, faults: &mut Faults) {
    let mut kinds = 0;
    for selector in ["podSelector", "namespaceSelector"] {
        if let Some(selected) = peer.get(selector).filter(|s| !s.is_null()) {
            kinds += 1;
            label_selector(selected, &path.field(selector), faults);
        }
    }
    match peer.get("ipBlock").filter(|b| !b.is_null()) {
        Some(_) if kinds > 0 => faults.forbidden(path, "may not specify both ipBlock and another peer"),
        Some(block) => ip_block(block, &path.field("ipBlock"), faults),
        None if kinds == 0 => faults.required(path, "must specify a peer"),
        None => {}
    }
}

fn ip_block(block: &Value, path: &Path<'_>, faults: &mut Faults) {
    let range = block.str_at(&["cidr"]);
    if range.is_empty() {
        return faults.required(&path.field("cidr"), "");
    }
    cidr(range, &path.field("cidr"), faults);
    let Ok(outer) = range.parse::<ipnet::IpNet>() else { return };
    let list = path.field("except");
    for (i, text) in block.list_at(&["except"]).iter().filter_map(Value::as_str).enumerate() {
        cidr(text, &list.index(i), faults);
        let inside = text.parse::<ipnet::IpNet>().is_ok_and(|inner| outer.contains(&inner) && outer.prefix_len() < inner.prefix_len());
        if !inside && text.parse::<ipnet::IpNet>().is_ok() {
            faults.invalid_str(&list.index(i), text, "must be a strict subset of `cidr`");
        }
    }
}
