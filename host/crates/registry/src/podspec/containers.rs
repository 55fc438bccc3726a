//! Validation of containers, init containers and ephemeral containers.

use std::collections::HashSet;

use pintle_api::names;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::validate::Around;
use super::{environment, resources, security, volumes};
use crate::checks::{nonnegative, one_of, port_or_name};
use crate::faults::{Faults, Path};
use crate::fields::{is_set, is_zero};

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
const EPHEMERAL_FORBIDDEN: [&str; 8] =
    ["ports", "resources", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy", "restartPolicy"];

pub fn validate_all(spec: &Value, around: &Around<'_>, path: &Path<'_>, faults: &mut Faults) {
    let (regular, init) = (spec.list_at(&["containers"]), spec.list_at(&["initContainers"]));
    let list = path.field("containers");
    if regular.is_empty() {
        faults.required(&list, "");
    }
    let mut names_seen = HashSet::new();
    for (i, container) in regular.iter().enumerate() {
        let here = list.index(i);
        common(container, around, &here, faults);
        unique_name(container, &mut names_seen, &here, faults);
        lifecycle_and_probes(container, around, &here, faults);
        restart_rules(container, &here, faults);
    }
    unique_host_ports(regular, &list, faults);
    validate_init(init, around, &mut names_seen, &path.field("initContainers"), faults);
    validate_ephemeral(spec, around, &mut names_seen, &path.field("ephemeralContainers"), faults);
}

pub fn image(container: &Value, of_pod: bool, path: &Path<'_>, faults: &mut Faults) {
    let image = container.str_at(&["image"]);
    if image.is_empty() {
        faults.required(&path.field("image"), "");
    } else if of_pod && image.trim() != image {
        faults.invalid_str(&path.field("image"), image, "must not have leading or trailing whitespace");
    }
}

fn validate_init<'a>(init: &'a [Value], around: &Around<'_>, seen: &mut HashSet<&'a str>, list: &Path<'_>, faults: &mut Faults) {
    for (i, container) in init.iter().enumerate() {
        let here = list.index(i);
        common(container, around, &here, faults);
        unique_name(container, seen, &here, faults);
        restart_rules(container, &here, faults);
        if container.str_at(&["restartPolicy"]) == "Always" {
            lifecycle_and_probes(container, around, &here, faults);
            continue;
        }
        for field in ["lifecycle"].iter().chain(&PROBES).filter(|f| is_set(container.get(**f))) {
            faults.forbidden(&here.field(field), "may not be set for init containers without restartPolicy=Always");
        }
    }
}

fn validate_ephemeral<'a>(spec: &'a Value, around: &Around<'_>, seen: &mut HashSet<&'a str>, list: &Path<'_>, faults: &mut Faults) {
    let others: HashSet<&str> = ["containers", "initContainers"].iter().flat_map(|l| spec.list_at(&[l])).map(|c| c.str_at(&["name"])).collect();
    for (i, container) in spec.list_at(&["ephemeralContainers"]).iter().enumerate() {
        let here = list.index(i);
        common(container, around, &here, faults);
        unique_name(container, seen, &here, faults);
        let target = container.str_at(&["targetContainerName"]);
        if !target.is_empty() && !others.contains(target) {
            faults.not_found(&here.field("targetContainerName"), &target.into());
        }
        for field in EPHEMERAL_FORBIDDEN.iter().filter(|f| container.get(**f).is_some_and(|v| !is_zero(v))) {
            faults.forbidden(&here.field(field), "cannot be set for an Ephemeral Container");
        }
        let mounts = here.field("volumeMounts");
        for (j, mount) in container.list_at(&["volumeMounts"]).iter().enumerate() {
            for field in ["subPath", "subPathExpr"].iter().filter(|f| !mount.str_at(&[f]).is_empty()) {
                faults.forbidden(&mounts.index(j).field(field), "cannot be set for an Ephemeral Container");
            }
        }
    }
}

fn unique_name<'a>(container: &'a Value, seen: &mut HashSet<&'a str>, path: &Path<'_>, faults: &mut Faults) {
    let name = container.str_at(&["name"]);
    if !name.is_empty() && !seen.insert(name) {
        faults.duplicate(&path.field("name"), &name.into());
    }
}

fn common(container: &Value, around: &Around<'_>, path: &Path<'_>, faults: &mut Faults) {
    let name = container.str_at(&["name"]);
    if name.is_empty() {
        faults.required(&path.field("name"), "");
    } else {
        faults.texts(&path.field("name"), name, names::dns1123_label(name));
    }
    image(container, around.is_pod, path, faults);
    let policies = ["File", "FallbackToLogsOnError"];
    one_of(container.str_at(&["terminationMessagePolicy"]), &policies, &path.field("terminationMessagePolicy"), faults);
    ports(container.list_at(&["ports"]), &path.field("ports"), faults);
    environment::validate(container, &around.volumes, path, faults);
    volumes::mounts(container, &around.volumes, path, faults);
    one_of(container.str_at(&["imagePullPolicy"]), &["Always", "IfNotPresent", "Never"], &path.field("imagePullPolicy"), faults);
    if let Some(wanted) = container.get("resources") {
        resources::validate(wanted, &around.claims, &path.field("resources"), faults);
    }
    resize_policy(container.list_at(&["resizePolicy"]), around.restart_policy, &path.field("resizePolicy"), faults);
    if let Some(context) = container.get("securityContext") {
        security::validate_container(context, around.host_users, &path.field("securityContext"), faults);
    }
}

fn ports(list: &[Value], path: &Path<'_>, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (i, port) in list.iter().enumerate() {
        let here = path.index(i);
        let name = port.str_at(&["name"]);
        if !name.is_empty() {
            let messages = names::port_name(name);
            if messages.is_empty() && !seen.insert(name) {
                faults.duplicate(&here.field("name"), &name.into());
            }
            faults.texts(&here.field("name"), name, messages);
        }
        match port.i64_at(&["containerPort"]).unwrap_or(0) {
            0 => faults.required(&here.field("containerPort"), ""),
            number => faults.values(&here.field("containerPort"), &number.into(), names::port_number(number)),
        }
        let host = port.i64_at(&["hostPort"]).unwrap_or(0);
        if host != 0 {
            faults.values(&here.field("hostPort"), &host.into(), names::port_number(host));
        }
        one_of(port.str_at(&["protocol"]), &["SCTP", "TCP", "UDP"], &here.field("protocol"), faults);
    }
}

fn unique_host_ports(containers: &[Value], list: &Path<'_>, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (i, container) in containers.iter().enumerate() {
        let here = list.index(i);
        let ports = here.field("ports");
        for (j, port) in container.list_at(&["ports"]).iter().enumerate() {
            let number = port.i64_at(&["hostPort"]).unwrap_or(0);
            let key = (port.str_at(&["protocol"]), port.str_at(&["hostIP"]), number);
            if number != 0 && !seen.insert(key) {
                let shown = format!("{}/{}/{number}", key.0, key.1);
                faults.duplicate(&ports.index(j).field("hostPort"), &shown.into());
            }
        }
    }
}

fn lifecycle_and_probes(container: &Value, around: &Around<'_>, path: &Path<'_>, faults: &mut Faults) {
    if let Some(lifecycle) = container.get("lifecycle").filter(|l| !l.is_null()) {
        let here = path.field("lifecycle");
        for hook in ["postStart", "preStop"] {
            if let Some(handler) = lifecycle.get(hook).filter(|h| !h.is_null()) {
                validate_handler(handler, around.grace_seconds, &here.field(hook), faults);
            }
        }
        if is_set(lifecycle.get("stopSignal")) && around.os.is_empty() {
            faults.forbidden(&here.field("stopSignal"), "may not be set for containers with empty `spec.os.name`");
        }
    }
    for kind in PROBES {
        if let Some(probe) = container.get(kind).filter(|p| !p.is_null()) {
            validate_probe(probe, kind, around.grace_seconds, &path.field(kind), faults);
        }
    }
}

fn validate_probe(probe: &Value, kind: &str, grace: Option<i64>, path: &Path<'_>, faults: &mut Faults) {
    validate_handler(probe, grace, path, faults);
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        nonnegative(probe.get(field), &path.field(field), faults);
    }
    let own_grace = probe.get("terminationGracePeriodSeconds").filter(|v| !v.is_null());
    if let Some(value) = own_grace.filter(|v| v.as_i64().unwrap_or(0) <= 0) {
        faults.invalid(&path.field("terminationGracePeriodSeconds"), value, "must be greater than 0");
    }
    if kind == "readinessProbe" {
        if let Some(value) = own_grace {
            faults.invalid(&path.field("terminationGracePeriodSeconds"), value, "must not be set for readinessProbes");
        }
    } else if let Some(value) = probe.get("successThreshold").filter(|v| v.as_i64() != Some(1)) {
        faults.invalid(&path.field("successThreshold"), value, "must be 1");
    }
}

fn validate_handler(handler: &Value, grace: Option<i64>, path: &Path<'_>, faults: &mut Faults) {
    let mut handlers = 0;
    for kind in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let Some(action) = handler.get(kind).filter(|a| !a.is_null()) else { continue };
        let here = path.field(kind);
        handlers += 1;
        if handlers > 1 {
            faults.forbidden(&here, "may not specify more than 1 handler type");
            continue;
        }
        match kind {
            "exec" if action.list_at(&["command"]).is_empty() => faults.required(&here.field("command"), ""),
            "httpGet" => http_get(action, &here, faults),
            "tcpSocket" | "grpc" => port_or_name(action.get("port"), &here.field("port"), faults),
            "sleep" => sleep(action, grace, &here, faults),
            _ => {}
        }
    }
    if handlers == 0 {
        faults.required(path, "must specify a handler type");
    }
}

fn http_get(action: &Value, path: &Path<'_>, faults: &mut Faults) {
    if action.str_at(&["path"]).is_empty() {
        faults.required(&path.field("path"), "");
    }
    port_or_name(action.get("port"), &path.field("port"), faults);
    let scheme = action.str_at(&["scheme"]);
    if !matches!(scheme, "HTTP" | "HTTPS") {
        faults.not_supported(&path.field("scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for header in action.list_at(&["httpHeaders"]) {
        let name = header.str_at(&["name"]);
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            let detail = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
            faults.invalid_str(&path.field("httpHeaders"), name, detail);
        }
    }
}

fn sleep(action: &Value, grace: Option<i64>, path: &Path<'_>, faults: &mut Faults) {
    let seconds = action.i64_at(&["seconds"]).unwrap_or(0);
    if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        faults.invalid(path, &seconds.into(), &detail);
    }
}

fn restart_rules(container: &Value, path: &Path<'_>, faults: &mut Faults) {
    const MAX_RULES: usize = 20;
    let rules = container.list_at(&["restartPolicyRules"]);
    match container.get("restartPolicy").and_then(Value::as_str) {
        None if !rules.is_empty() => faults.required(&path.field("restartPolicy"), "must specify restartPolicy when restart rules are used"),
        None => {}
        Some("Always" | "Never" | "OnFailure") => {}
        Some(other) => faults.not_supported(&path.field("restartPolicy"), other, &["Always", "Never", "OnFailure"]),
    }
    let list = path.field("restartPolicyRules");
    if rules.len() > MAX_RULES {
        faults.too_many(&list, rules.len(), MAX_RULES);
    }
    for (i, rule) in rules.iter().enumerate() {
        let here = list.index(i);
        let action = rule.str_at(&["action"]);
        if !matches!(action, "Restart" | "RestartAllContainers") {
            faults.not_supported(&here.field("action"), action, &["Restart", "RestartAllContainers"]);
        }
        let codes = here.field("exitCodes");
        match rule.get("exitCodes").filter(|c| !c.is_null()) {
            None => faults.required(&codes, "must be specified"),
            Some(exit_codes) => {
                let operator = exit_codes.str_at(&["operator"]);
                if !matches!(operator, "In" | "NotIn") {
                    faults.not_supported(&codes.field("operator"), operator, &["In", "NotIn"]);
                }
            }
        }
    }
}

fn resize_policy(list: &[Value], restart_policy: &str, path: &Path<'_>, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (i, policy) in list.iter().enumerate() {
        let resource = policy.str_at(&["resourceName"]);
        if !seen.insert(resource) {
            faults.duplicate(&path.index(i), &resource.into());
        }
        one_of(resource, &["cpu", "memory"], path, faults);
        let restart = policy.str_at(&["restartPolicy"]);
        one_of(restart, &["NotRequired", "RestartContainer"], path, faults);
        if restart_policy == "Never" && restart != "NotRequired" {
            faults.invalid_str(path, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
        }
    }
}
