//! `networking.k8s.io/v1` Ingress.

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use crate::checks::balancer_address;
use crate::core::services::ingress_points;
use crate::def::namespaced;
use crate::faults::{Faults, Path};
use crate::fields::is_set;
use crate::kind::Kind;
use crate::print::{AGE, NAME, NONE, age, text, text_or};
use crate::strategy::{Column, Part};
use crate::warnings;
use crate::workload::SPEC;

const SHOWN_HOSTS: usize = 3;
/// The class in older clients' words.
const CLASS: &str = "kubernetes.io/ingress.class";
const COLUMNS: &[Column] = &[
    NAME,
    text("Class", "Class of the controller that serves it."),
    text("Hosts", "Host names of the rules."),
    text("Address", "Where it is reached."),
    text("Ports", "Ports that are open."),
    AGE,
];

pub fn kind() -> Kind {
    Kind {
        generation: true,
        warn: warnings::ingress,
        create: |ingress, _| ingress.set_at(&["status"], json!({"loadBalancer": {}})),
        validate,
        validate_new,
        validate_change: |ingress, _, part, faults| {
            if part == Part::Status {
                let list = Path::root("status.loadBalancer.ingress");
                for (i, point) in ingress.list_at(&["status", "loadBalancer", "ingress"]).iter().enumerate() {
                    balancer_address(point, &list.index(i), faults);
                }
            }
        },
        ..Kind::new(namespaced("networking.k8s.io/v1", "ingresses", "Ingress").short(&["ing"]).status()).table(COLUMNS, |ingress, now| {
            let ports = if ingress.list_at(&["spec", "tls"]).is_empty() { "80" } else { "80, 443" };
            vec![
                ingress.name().into(),
                text_or(ingress, &["spec", "ingressClassName"], NONE),
                hosts(ingress).into(),
                ingress_points(ingress).join(",").into(),
                ports.into(),
                age(ingress, now),
            ]
        })
    }
}

fn hosts(ingress: &Value) -> String {
    let rules = ingress.list_at(&["spec", "rules"]);
    let named: Vec<&str> = rules.iter().map(|r| r.str_at(&["host"])).filter(|h| !h.is_empty()).collect();
    match named.len() {
        0 => "*".to_owned(),
        n if n > SHOWN_HOSTS => format!("{} + {} more...", named[..SHOWN_HOSTS].join(","), rules.len() - SHOWN_HOSTS),
        _ => named.join(","),
    }
}

fn validate_new(ingress: &Value, faults: &mut Faults) {
    let class = ingress.at(&["spec", "ingressClassName"]).and_then(Value::as_str);
    if let (Some(said), Some(class)) = (ingress.annotation(CLASS), class)
        && said != class
    {
        faults.invalid_str(&Path::root("annotations").field(CLASS), said, "must match `ingressClassName` when both are specified");
    }
}

fn validate(ingress: &Value, faults: &mut Faults) {
    let spec = ingress.get("spec").unwrap_or(&Value::Null);
    let (rules, default) = (spec.list_at(&["rules"]), spec.get("defaultBackend").filter(|b| !b.is_null()));
    if rules.is_empty() && default.is_none() {
        faults.invalid(&SPEC, spec.get("rules").unwrap_or(&Value::Null), "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(default) = default {
        backend(default, &SPEC.field("defaultBackend"), faults);
    }
    let list = SPEC.field("rules");
    for (i, rule) in rules.iter().enumerate() {
        validate_rule(rule, &list.index(i), faults);
    }
    let list = SPEC.field("tls");
    for (i, tls) in spec.list_at(&["tls"]).iter().enumerate() {
        let here = list.index(i);
        let hosts = here.field("hosts");
        for (j, name) in tls.list_at(&["hosts"]).iter().filter_map(Value::as_str).enumerate() {
            host(name, &hosts.index(j), faults);
        }
        let secret = tls.str_at(&["secretName"]);
        if !secret.is_empty() {
            faults.texts(&here.field("secretName"), secret, names::dns1123_subdomain(secret));
        }
    }
    if let Some(class) = spec.get("ingressClassName").and_then(Value::as_str) {
        faults.texts(&SPEC.field("ingressClassName"), class, names::dns1123_subdomain(class));
    }
}

fn host(name: &str, path: &Path<'_>, faults: &mut Faults) {
    let messages = if name.contains('*') { names::wildcard_subdomain(name) } else { names::dns1123_subdomain(name) };
    faults.texts(path, name, messages);
}

fn validate_rule(rule: &Value, path: &Path<'_>, faults: &mut Faults) {
    let name = rule.str_at(&["host"]);
    if !name.is_empty() {
        if name.parse::<std::net::IpAddr>().is_ok() {
            faults.invalid_str(&path.field("host"), name, "must be a DNS name, not an IP address");
        }
        host(name, &path.field("host"), faults);
    }
    let Some(http) = rule.get("http").filter(|h| !h.is_null()) else { return };
    let list = path.field("http.paths");
    if http.list_at(&["paths"]).is_empty() {
        faults.required(&list, "");
    }
    for (i, entry) in http.list_at(&["paths"]).iter().enumerate() {
        validate_path(entry, &list.index(i), faults);
    }
}

fn validate_path(entry: &Value, path: &Path<'_>, faults: &mut Faults) {
    let text = entry.str_at(&["path"]);
    let at = path.field("path");
    match entry.str_at(&["pathType"]) {
        "" if entry.get("pathType").is_none_or(Value::is_null) => return faults.required(&path.field("pathType"), "pathType must be specified"),
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                faults.invalid_str(&at, text, "must be an absolute path");
            }
            for bad in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|bad| text.contains(**bad)) {
                faults.invalid_str(&at, text, &format!("must not contain '{bad}'"));
            }
            for bad in ["/..", "/."].iter().filter(|bad| text.ends_with(**bad)) {
                faults.invalid_str(&at, text, &format!("cannot end with '{bad}'"));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                faults.invalid_str(&at, text, "must be an absolute path");
            }
        }
        other => faults.not_supported(&path.field("pathType"), other, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    backend(entry.get("backend").unwrap_or(&Value::Null), &path.field("backend"), faults);
}

fn backend(backend: &Value, path: &Path<'_>, faults: &mut Faults) {
    let service = backend.get("service").filter(|s| !s.is_null());
    match (is_set(backend.get("resource")), service) {
        (true, Some(_)) => faults.invalid_str(path, "", "cannot set both resource and service backends"),
        (true, None) => {
            let here = path.field("resource");
            for field in ["kind", "name"].iter().filter(|f| backend.str_at(&["resource", f]).is_empty()) {
                faults.required(&here.field(field), "");
            }
            let group = backend.str_at(&["resource", "apiGroup"]);
            if !group.is_empty() {
                faults.texts(&here.field("apiGroup"), group, names::dns1123_subdomain(group));
            }
        }
        (false, None) => faults.invalid_str(path, "", "resource or service backend is required"),
        (false, Some(service)) => service_backend(service, path, faults),
    }
}

fn service_backend(service: &Value, path: &Path<'_>, faults: &mut Faults) {
    let name = service.str_at(&["name"]);
    if name.is_empty() {
        faults.required(&path.field("service.name"), "");
    } else {
        faults.texts(&path.field("service.name"), name, names::dns1123_label(name));
    }
    let (port_name, number) = (service.str_at(&["port", "name"]), service.i64_at(&["port", "number"]).unwrap_or(0));
    match (port_name.is_empty(), number) {
        (false, 0) => faults.texts(&path.field("service.port.name"), port_name, names::port_name(port_name)),
        (false, _) => faults.invalid_str(path, "", "cannot set both port name & port number"),
        (true, 0) => faults.required(path, "port name or number is required"),
        (true, number) => faults.values(&path.field("service.port.number"), &number.into(), names::port_number(number)),
    }
}
