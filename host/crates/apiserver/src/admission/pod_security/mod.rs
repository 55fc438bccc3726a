//! PodSecurity: pods keep to the Pod Security Standard that their namespace's labels ask for
//! (<https://kubernetes.io/docs/concepts/security/pod-security-standards/>).
//!
//! Refuses pods that violate the enforced level, and namespaces whose labels say nothing known; warns of pods, templates, and of what runs already when a
//! namespace is made stricter; annotates the request's audit event. Who is exempt, and what is asked without labels, a file may say (`config`); without one nobody is, and nothing.

mod baseline;
mod checks;
pub mod config;
mod levels;
mod pod;
mod restricted;
pub mod tally;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Status};
use pintle_registry::WriteContext;
use pintle_registry::fields::by_name;
use serde_json::Value;

use super::{AdmissionAttributes, Operation};
use crate::audit::annotating::annotate;
use checks::violations;
use config::Configuration;
use levels::{Asked, Level, Modes};
use pod::Pod;
use tally::Tally;

const NAMESPACES: GroupVersionResource = GroupVersionResource::constant("", "v1", "namespaces");
const PODS: GroupVersionResource = GroupVersionResource::constant("", "v1", "pods");
/// Annotations of audit events.
const ENFORCED: &str = "pod-security.kubernetes.io/enforce-policy";
const AUDITED: &str = "pod-security.kubernetes.io/audit-violations";
const EXEMPT: &str = "pod-security.kubernetes.io/exempt";
/// Of the pods of a namespace that is made stricter: those looked at.
const MAX_PODS_CHECKED: usize = 3000;
/// Parts of a pod that can change what its containers are.
const PARTS: [&str; 3] = ["", "ephemeralcontainers", "resize"];

/// Of a server.
#[derive(Default)]
pub struct PodSecurity {
    pub configuration: Configuration,
    pub tally: Tally,
}

/// What the writer is to be warned of.
pub fn validate(object: &Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<Vec<String>, Status> {
    if !matches!(attributes.operation, Operation::Create | Operation::Update) {
        return Ok(Vec::new());
    }
    if attributes.is("", "namespaces") && attributes.is_main() {
        return namespace(object, attributes, context);
    }
    if attributes.is("", "pods") {
        return if PARTS.contains(&attributes.subresource) { of_pod(object, attributes, context) } else { Ok(Vec::new()) };
    }
    match template(attributes).filter(|_| attributes.is_main()).map(|path| object.at(path)) {
        Some(Some(_)) if is_exempt_here(attributes, context) => Ok(Vec::new()),
        Some(Some(template)) => {
            let modes = modes(attributes, context);
            if !modes.warn_or_audit() || is_exempt_by_class(template, attributes) {
                return Ok(Vec::new());
            }
            let pod = Pod::new(template);
            audit(modes.audit, &pod, attributes);
            Ok(warn(modes.warn, &pod, attributes))
        }
        _ => Ok(Vec::new()),
    }
}

fn of_pod(object: &Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<Vec<String>, Status> {
    if is_exempt_here(attributes, context) {
        return Ok(Vec::new());
    }
    let modes = modes(attributes, context);
    let asked = modes.enforce;
    if modes.ask_nothing() {
        annotate(ENFORCED, || Some(asked.to_string()));
        attributes.pod_security.tally.evaluated(true, "enforce", asked, attributes);
        return Ok(Vec::new());
    }
    if attributes.old.is_some_and(|old| !brings_containers(object, old)) {
        return Ok(Vec::new());
    }
    if is_exempt_by_class(object, attributes) {
        return Ok(Vec::new());
    }
    let pod = Pod::new(object);
    annotate(ENFORCED, || Some(asked.to_string()));
    let found = violations(asked, &pod);
    attributes.pod_security.tally.evaluated(found.is_empty(), "enforce", asked, attributes);
    audit(modes.audit, &pod, attributes);
    if !found.is_empty() {
        return Err(attributes.forbidden(&format!("violates PodSecurity \"{asked}\": {}", checks::detailed(&found))));
    }
    Ok(if modes.warn == asked { Vec::new() } else { warn(modes.warn, &pod, attributes) })
}

/// By namespace or by who asks.
fn is_exempt_here(attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> bool {
    let Configuration { namespaces, usernames, .. } = &attributes.pod_security.configuration;
    let why = if namespaces.contains(attributes.namespace) {
        "namespace"
    } else if usernames.contains(&context.user.name) {
        "user"
    } else {
        return false;
    };
    exempt(why, attributes);
    true
}

/// `holder`: a pod or a template.
fn is_exempt_by_class(holder: &Value, attributes: &AdmissionAttributes<'_>) -> bool {
    let is_exempt = attributes.pod_security.configuration.runtime_classes.contains(holder.str_at(&["spec", "runtimeClassName"]));
    if is_exempt {
        exempt("runtimeClass", attributes);
    }
    is_exempt
}

fn exempt(why: &str, attributes: &AdmissionAttributes<'_>) {
    annotate(EXEMPT, || Some(why.to_owned()));
    attributes.pod_security.tally.exempted(attributes);
}

fn audit(asked: Asked, pod: &Pod<'_>, attributes: &AdmissionAttributes<'_>) {
    if let Some(told) = would_violate(asked, pod) {
        attributes.pod_security.tally.evaluated(false, "audit", asked, attributes);
        annotate(AUDITED, || Some(told));
    }
}

fn warn(asked: Asked, pod: &Pod<'_>, attributes: &AdmissionAttributes<'_>) -> Vec<String> {
    let told = would_violate(asked, pod);
    if told.is_some() {
        attributes.pod_security.tally.evaluated(false, "warn", asked, attributes);
    }
    told.into_iter().collect()
}

fn would_violate(asked: Asked, pod: &Pod<'_>) -> Option<String> {
    let found = violations(asked, pod);
    (!found.is_empty()).then(|| format!("would violate PodSecurity \"{asked}\": {}", checks::detailed(&found)))
}

fn modes(attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Modes {
    let namespace = context.objects.get(&NAMESPACES, None, attributes.namespace);
    let (modes, causes) = Modes::of(namespace.as_deref().unwrap_or(&Value::Null), &attributes.pod_security.configuration.defaults);
    if !causes.is_empty() {
        attributes.pod_security.tally.misread(attributes);
    }
    modes
}

/// Where kinds have their pods' template.
fn template(attributes: &AdmissionAttributes<'_>) -> Option<&'static [&'static str]> {
    let def = attributes.resource.def();
    match (&*def.group, &*def.resource) {
        ("apps", "deployments" | "replicasets" | "daemonsets" | "statefulsets") | ("", "replicationcontrollers") | ("batch", "jobs") => {
            Some(&["spec", "template"])
        }
        ("batch", "cronjobs") => Some(&["spec", "jobTemplate", "spec", "template"]),
        ("", "podtemplates") => Some(&["template"]),
        _ => None,
    }
}

/// Of all that can change in a pod, images and new containers alone are looked at again.
fn brings_containers(new: &Object, old: &Object) -> bool {
    let lists = |pod: &'_ Object, list: &str| pod.list_at(&["spec", list]).to_vec();
    let same_images = |list: &str| {
        let (new, old) = (lists(new, list), lists(old, list));
        new.len() == old.len() && new.iter().zip(&old).all(|(new, old)| new.get("image") == old.get("image"))
    };
    let before = old.list_at(&["spec", "ephemeralContainers"]);
    let before = by_name(before);
    let known = |container: &Value| before.get(container.str_at(&["name"])).is_some_and(|(_, old)| old.get("image") == container.get("image"));
    !(same_images("containers") && same_images("initContainers") && new.list_at(&["spec", "ephemeralContainers"]).iter().all(known))
}

fn namespace(new: &Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<Vec<String>, Status> {
    let Configuration { defaults, namespaces, runtime_classes, .. } = &attributes.pod_security.configuration;
    let (modes, causes) = Modes::of(new, defaults);
    let before = attributes.old.map(|old| Modes::of(old, defaults));
    // Labels that were wrong before may stay, so that other changes pass.
    if !causes.is_empty() && before.as_ref().is_none_or(|(_, had)| *had != causes) {
        return Err(Status::invalid("", "Namespace", attributes.name, causes));
    }
    let is_exempt = namespaces.contains(attributes.name);
    let ignored = || {
        let told = (!modes.ask_nothing() && !modes.ask_the_same(defaults)).then(|| modes.labelled(new));
        told.map(|policy| format!("namespace {:?} is exempt from Pod Security, and the policy ({policy}) will be ignored", attributes.name))
    };
    let Some((before, _)) = before else {
        return Ok(if is_exempt { ignored().into_iter().collect() } else { Vec::new() });
    };
    let (asked, was) = (modes.enforce, before.enforce);
    let is_no_stricter = asked == was || asked.level == Level::Privileged || (asked.minor == was.minor && asked.level <= was.level);
    if is_no_stricter {
        return Ok(Vec::new());
    }
    if is_exempt {
        return Ok(ignored().into_iter().collect());
    }
    let mut pods = context.objects.list(&PODS, Some(attributes.name));
    pods.retain(|pod| !runtime_classes.contains(pod.str_at(&["spec", "runtimeClassName"])));
    Ok(warnings_of_running(attributes.name, asked, &pods))
}

fn warnings_of_running(namespace: &str, asked: Asked, pods: &[std::sync::Arc<Object>]) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in one_of_each_owner_first(pods).into_iter().take(MAX_PODS_CHECKED) {
        let violations = violations(asked, &Pod::new(pod));
        if !violations.is_empty() {
            found.entry(checks::reasons(&violations)).or_default().push(pod.name());
        }
    }
    if pods.len() > MAX_PODS_CHECKED {
        let all = pods.len();
        warnings.push(format!("new PodSecurity enforce level only checked against the first {MAX_PODS_CHECKED} of {all} existing pods"));
    }
    if !found.is_empty() {
        warnings.push(format!("existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{asked}\""));
    }
    let mut told: Vec<String> = found.into_iter().map(|(reasons, names)| told_together(&reasons, &names)).collect();
    told.sort_unstable();
    warnings.extend(told);
    warnings
}

/// Pods of one owner are alike: if not all are looked at, then one of each.
fn one_of_each_owner_first(pods: &[std::sync::Arc<Object>]) -> Vec<&Object> {
    let mut owners = HashSet::new();
    let owner = |pod: &'_ Object| {
        let all = pod.list_at(&["metadata", "ownerReferences"]);
        all.iter().find(|owner| owner.bool_at(&["controller"])).map(|owner| owner.str_at(&["uid"]).to_owned())
    };
    let (first, more): (Vec<&Object>, Vec<&Object>) = pods.iter().map(|pod| &**pod).partition(|pod| owner(pod).is_none_or(|uid| owners.insert(uid)));
    first.into_iter().chain(more).collect()
}

fn told_together(reasons: &str, names: &[&str]) -> String {
    let first = names.iter().min().copied().unwrap_or("");
    match names.len() {
        0 | 1 => format!("{first}: {reasons}"),
        2 => format!("{first} (and 1 other pod): {reasons}"),
        all => format!("{first} (and {} other pods): {reasons}", all - 1),
    }
}
