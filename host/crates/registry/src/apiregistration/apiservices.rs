//! `apiregistration.k8s.io/v1` APIService: who serves a group's version.

use base64::Engine as _;
use pintle_api::names::{self, NameRule};
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::def::cluster;
use crate::faults::{Faults, Path};
use crate::fields::{default_missing, is_set, object_mut, spec_mut};
use crate::kind::Kind;
use crate::print::{AGE, NAME, age, text};
use crate::workload::SPEC;

pub fn kind() -> Kind {
    Kind {
        unconditional_update: false,
        // The core group's is `v1.`; the rest of the name's form is the kind's own check.
        names: NameRule::PathSegment,
        default: |service| {
            if let Some(service) = spec_mut(service).and_then(|spec| object_mut(spec, "service")) {
                default_missing(service, "port", 443);
            }
        },
        validate,
        ..Kind::new(cluster("apiregistration.k8s.io/v1", "apiservices", "APIService").categories(&["api-extensions"]).status())
            .table(&[NAME, text("Service", "The service behind it."), text("Available", "Whether it answers."), AGE], |service, now| {
                vec![service.name().into(), backend(service).into(), available(service).into(), age(service, now)]
            })
    }
}

fn backend(service: &Value) -> String {
    match service.at(&["spec", "service"]).filter(|s| !s.is_null()) {
        Some(backend) => format!("{}/{}", backend.str_at(&["namespace"]), backend.str_at(&["name"])),
        None => "Local".to_owned(),
    }
}

fn available(service: &Value) -> String {
    let found = service.list_at(&["status", "conditions"]).iter().find(|c| c.str_at(&["type"]) == "Available");
    found.map_or("Unknown".to_owned(), |c| match c.str_at(&["status"]) {
        "True" => "True".to_owned(),
        other => format!("{other} ({})", c.str_at(&["reason"])),
    })
}

fn validate(service: &Value, faults: &mut Faults) {
    let at = |field: &str| service.str_at(&["spec", field]);
    let expected = format!("{}.{}", at("version"), at("group"));
    if !service.name().is_empty() && service.name() != expected {
        let shown = service.name();
        faults.invalid_str(&Path::root("metadata.name"), shown, &format!("must be `spec.version+\".\"+spec.group`: {expected:?}"));
    }
    faults.texts(&SPEC.field("version"), at("version"), names::dns1035_label(at("version")));
    if at("group").is_empty() && at("version") != "v1" {
        faults.required(&SPEC.field("group"), "only v1 may have an empty group and it better be legacy kube");
    }
    let number = |field: &str| service.i64_at(&["spec", field]).unwrap_or(0);
    for (field, high) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        if !(1..=high).contains(&number(field)) {
            let detail = format!("must be positive and less than {}", if high == 20_000 { "20000" } else { "1000" });
            faults.invalid(&SPEC.field(field), &number(field).into(), &detail);
        }
    }
    let insecure = service.bool_at(&["spec", "insecureSkipTLSVerify"]);
    match service.at(&["spec", "service"]).filter(|s| !s.is_null()) {
        None => {
            if is_set(service.at(&["spec", "caBundle"])) {
                let detail = "local APIServices may not have a caBundle";
                let bundle = service.str_at(&["spec", "caBundle"]);
                let bytes = base64::engine::general_purpose::STANDARD.decode(bundle).map_or(bundle.len(), |bytes| bytes.len());
                faults.invalid_str(&SPEC.field("caBundle"), &format!("{bytes} bytes"), detail);
            }
            if insecure {
                let detail = "local APIServices may not have insecureSkipTLSVerify";
                faults.invalid(&SPEC.field("insecureSkipTLSVerify"), &Value::Bool(true), detail);
            }
        }
        Some(backend) => {
            for field in ["namespace", "name"].iter().filter(|f| backend.str_at(&[f]).is_empty()) {
                faults.required(&SPEC.field("service").field(field), "");
            }
            let port = backend.i64_at(&["port"]).unwrap_or(443);
            for message in names::port_number(port) {
                faults.invalid(&SPEC.field("service.port"), &port.into(), &format!("port is not valid: {message}"));
            }
            if insecure && is_set(service.at(&["spec", "caBundle"])) {
                let detail = "may not be true if caBundle is present";
                faults.invalid(&SPEC.field("insecureSkipTLSVerify"), &Value::Bool(true), detail);
            }
        }
    }
}
