//! `networking.k8s.io/v1` IngressClass. The controller never changes.

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::checks::{immutable, one_of};
use crate::def::cluster;
use crate::faults::Faults;
use crate::fields::{default_missing, object_mut, spec_mut};
use crate::kind::Kind;
use crate::print::{AGE, NAME, NONE, age, text};
use crate::workload::SPEC;

const DEFAULT_MARK: &str = "ingressclass.kubernetes.io/is-default-class";
const MAX_CONTROLLER_BYTES: usize = 250;

pub fn kind() -> Kind {
    Kind {
        generation: true,
        default: |class| {
            if let Some(parameters) = spec_mut(class).and_then(|spec| object_mut(spec, "parameters")) {
                default_missing(parameters, "scope", "Cluster");
            }
        },
        validate,
        validate_change: |new, old, _, faults| immutable(new, old, &["spec", "controller"], faults),
        ..Kind::new(cluster("networking.k8s.io/v1", "ingressclasses", "IngressClass")).table(
            &[NAME, text("Controller", "Who serves the class."), text("Parameters", "Object with more settings."), AGE],
            |class, now| {
                let mark = if class.annotation(DEFAULT_MARK) == Some("true") { " (default)" } else { "" };
                let name = format!("{}{mark}", class.name());
                vec![name.into(), class.str_at(&["spec", "controller"]).into(), parameters(class).into(), age(class, now)]
            },
        )
    }
}

fn parameters(class: &Value) -> String {
    let Some(parameters) = class.at(&["spec", "parameters"]).filter(|p| !p.is_null()) else { return NONE.to_owned() };
    let (kind, name) = (parameters.str_at(&["kind"]), parameters.str_at(&["name"]));
    match parameters.get("apiGroup").and_then(Value::as_str) {
        Some(group) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

fn validate(class: &Value, faults: &mut Faults) {
    let controller = class.str_at(&["spec", "controller"]);
    let path = SPEC.field("controller");
    if controller.is_empty() {
        faults.required(&path, "");
    } else if controller.len() > MAX_CONTROLLER_BYTES {
        faults.too_long(&path, MAX_CONTROLLER_BYTES);
    } else if !controller.contains('/') {
        faults.invalid_str(&path, controller, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    } else if let Some((domain, _)) = controller.split_once('/') {
        faults.texts(&path, domain, names::dns1123_subdomain(domain));
    }
    let Some(parameters) = class.at(&["spec", "parameters"]).filter(|p| !p.is_null()) else { return };
    let here = SPEC.field("parameters");
    if let Some(group) = parameters.get("apiGroup").and_then(Value::as_str).filter(|g| !g.is_empty()) {
        faults.texts(&here.field("apiGroup"), group, names::dns1123_subdomain(group));
    }
    for field in ["kind", "name"] {
        let word = parameters.str_at(&[field]);
        faults.texts(&here.field(field), word, names::path_segment(word, false));
    }
    for field in ["kind", "name"].iter().filter(|f| parameters.str_at(&[f]).is_empty()) {
        faults.required(&here.field(field), "");
    }
    one_of(parameters.str_at(&["scope"]), &["Cluster", "Namespace"], &here.field("scope"), faults);
    match (parameters.str_at(&["scope"]), parameters.str_at(&["namespace"])) {
        ("Namespace", "") => faults.required(&here.field("namespace"), "`parameters.scope` is set to 'Namespace'"),
        ("Cluster", namespace) if !namespace.is_empty() => {
            faults.forbidden(&here.field("namespace"), "`parameters.scope` is set to 'Cluster'");
        }
        ("Namespace", namespace) => faults.texts(&here.field("namespace"), namespace, names::dns1123_label(namespace)),
        _ => {}
    }
}
