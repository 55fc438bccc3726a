//! Admission policies: rules in CEL that the server itself evaluates. A policy says what, its bindings say where and with which
//! parameters; a policy without a binding does nothing.
//!
//! Mutating policies run before mutating webhooks, validating ones before validating webhooks. Expressions see `object`,
//! `oldObject`, `request`, `params`, `namespaceObject`, `authorizer` and `variables`; when a policy is made names and functions are
//! checked, and their types. What a policy adds to audit events, and failures that a binding only audits, annotate the request's event.

mod rules;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use pintle_api::object::ObjectExt;
use pintle_api::selector::LabelSelector;
use pintle_api::{Cause, CauseKind, GroupVersionResource, Object, Reason, Status};
use pintle_registry::Lookup as _;
use serde_json::{Value, json};

use super::request::Request;
use crate::audit::annotating::annotate;
use crate::cache::Cache;
use crate::lookup::CacheLookup;
use crate::resources::{Resource, Table};
use rules::{Binding, Denied, Policy};

const GROUP: &str = "admissionregistration.k8s.io";
/// The annotation of a failure that a binding audits.
const FAILURE: &str = "validation.policy.admission.k8s.io/validation_failure";
const NAMESPACES: GroupVersionResource = GroupVersionResource::constant("", "v1", "namespaces");

/// A policy that is compiled when it is first needed, not where the cache is fed.
struct Written {
    object: Object,
    policy: OnceLock<Policy>,
}

/// The policies of one kind and their bindings.
#[derive(Default)]
struct Set {
    policies: Mutex<BTreeMap<String, Arc<Written>>>,
    bindings: Mutex<BTreeMap<String, Arc<Binding>>>,
    /// Bound policies in order of their names.
    bound: ArcSwap<Vec<(Arc<Written>, Arc<Binding>)>>,
}

#[derive(Default)]
pub struct Policies {
    validating: Arc<Set>,
    mutating: Arc<Set>,
}

impl Policies {
    /// Follows policies and bindings.
    pub fn observing(cache: &Cache, table: &Table) -> Self {
        let all = Self::default();
        for (kind, set) in [("validatingadmissionpolicies", &all.validating), ("mutatingadmissionpolicies", &all.mutating)] {
            let policies = set.clone();
            let put = move |name: &str, object: Option<&Object>| put(&policies.policies, name, object.map(|o| Arc::new(Written::of(o))), &policies);
            observe(cache, table, kind, put);
            let bindings = set.clone();
            let put = move |name: &str, object: Option<&Object>| put_binding(&bindings, name, object);
            observe(cache, table, &kind.replace("policies", "policybindings"), put);
        }
        all
    }

    pub fn is_empty(&self) -> bool {
        self.validating.bound.load().is_empty() && self.mutating.bound.load().is_empty()
    }

    /// Lets the policies change the object.
    pub async fn mutate(&self, request: &Request<'_>, object: &mut Object) -> Result<(), Status> {
        for (policy, binding) in self.mutating.bound.load_full().iter() {
            let policy = policy.compiled();
            let Some(seen) = matched(request, policy, binding, Some(object))? else { continue };
            let Some(params) = params(request, policy, binding)? else { continue };
            let old = match shown(request, &seen, request.old).await {
                Ok(old) => old,
                Err(_) if policy.ignores_failure => continue,
                Err(why) => return Err(why),
            };
            for params in params {
                let shown = request.shown(&seen, object).await?;
                let mut variables = policy.variables(request, &seen, Some(&shown), old.as_ref(), &params, &namespace_object(request));
                let changed = match policy.applies(&mut variables) {
                    Ok(true) => policy.mutated(&variables, &shown, &seen),
                    Ok(false) => continue,
                    Err(why) => Err(why),
                };
                match changed {
                    Ok(changed) => *object = request.taken_back(&seen, changed).await?,
                    Err(_) if policy.ignores_failure => {}
                    Err(why) => return Err(refused(request, policy, binding, &Denied::failed(why))),
                }
            }
        }
        Ok(())
    }

    /// Refuses what a policy refuses, once all were asked; the warnings of those that only warn.
    pub async fn validate(&self, request: &Request<'_>, object: Option<&Object>) -> Result<Vec<String>, Status> {
        let mut said = Said::default();
        for (policy, binding) in self.validating.bound.load_full().iter() {
            let policy = policy.compiled();
            let Some(seen) = matched(request, policy, binding, object)? else { continue };
            let Some(params) = params(request, policy, binding)? else { continue };
            let (shown, old) = match (shown(request, &seen, object).await, shown(request, &seen, request.old).await) {
                (Ok(shown), Ok(old)) => (shown, old),
                (Err(_), _) | (_, Err(_)) if policy.ignores_failure => continue,
                (Err(why), _) | (_, Err(why)) => return Err(why),
            };
            for params in params {
                let mut variables = policy.variables(request, &seen, shown.as_ref(), old.as_ref(), &params, &namespace_object(request));
                match policy.applies(&mut variables) {
                    Ok(true) => {
                        policy.denials(&variables).iter().for_each(|(i, denied)| said.denial(request, policy, binding, *i, denied));
                        match policy.annotations(&variables) {
                            Ok(annotations) => said.annotations(&policy.name, annotations),
                            Err(denied) => said.refuse(request, policy, binding, &denied),
                        }
                    }
                    Err(why) if !policy.ignores_failure => said.denial(request, policy, binding, 0, &Denied::failed(why)),
                    Ok(false) | Err(_) => {}
                }
            }
        }
        said.outcome()
    }
}

/// What the validating policies came to.
#[derive(Default)]
struct Said {
    warnings: Vec<String>,
    /// The first refusal is the answer.
    refusal: Option<Status>,
    /// Values by key; several parameters may make several.
    annotations: BTreeMap<String, Vec<String>>,
}

impl Said {
    fn denial(&mut self, request: &Request<'_>, policy: &Policy, binding: &Binding, place: usize, denied: &Denied) {
        if binding.denies {
            self.refuse(request, policy, binding, denied);
        }
        if binding.audits {
            annotate(FAILURE, || Some(failure(policy, binding, place, denied)));
        }
        if binding.warns {
            let (policy, binding) = (&policy.name, &binding.name);
            self.warnings.push(format!("Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {}", denied.message));
        }
    }

    fn refuse(&mut self, request: &Request<'_>, policy: &Policy, binding: &Binding, denied: &Denied) {
        self.refusal.get_or_insert_with(|| refused(request, policy, binding, denied));
    }

    fn annotations(&mut self, policy: &str, annotations: Vec<(&str, String)>) {
        for (key, value) in annotations {
            let values = self.annotations.entry(format!("{policy}/{key}")).or_default();
            if !values.contains(&value) {
                values.push(value);
            }
        }
    }

    fn outcome(self) -> Result<Vec<String>, Status> {
        for (key, values) in &self.annotations {
            annotate(key, || Some(values.join(", ")));
        }
        match self.refusal {
            Some(refusal) => Err(refusal.warned(&self.warnings)),
            None => Ok(self.warnings),
        }
    }
}

/// In upstream's order of fields.
fn failure(policy: &Policy, binding: &Binding, place: usize, denied: &Denied) -> String {
    let [message, policy, name] = [&denied.message, &policy.name, &binding.name].map(|text| json!(text));
    let (place, actions) = (json!(place), &binding.actions);
    format!(r#"[{{"message":{message},"policy":{policy},"binding":{name},"expressionIndex":{place},"validationActions":{actions}}}]"#)
}

fn observe(cache: &Cache, table: &Table, resource: &str, put: impl Fn(&str, Option<&Object>) + Send + Sync + 'static) {
    if let Some(resource) = table.get(GROUP, "v1", resource) {
        cache.observe(&resource.slot, Arc::new(move |_, name, object| put(name, object)));
    }
}

fn put<T>(kept: &Mutex<BTreeMap<String, Arc<T>>>, name: &str, value: Option<Arc<T>>, set: &Set) {
    let mut all = kept.lock().unwrap_or_else(PoisonError::into_inner);
    match value {
        Some(value) => drop(all.insert(name.to_owned(), value)),
        None => drop(all.remove(name)),
    }
    drop(all);
    set.join();
}

fn put_binding(set: &Set, name: &str, object: Option<&Object>) {
    put(&set.bindings, name, object.map(|o| Arc::new(Binding::of(o))), set);
}

impl Written {
    fn of(policy: &Object) -> Self {
        Self { object: policy.clone(), policy: OnceLock::new() }
    }
    fn compiled(&self) -> &Policy {
        self.policy.get_or_init(|| Policy::of(&self.object))
    }
}

impl Set {
    fn join(&self) {
        let policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        let bindings = self.bindings.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |policy: &Arc<Written>| {
            let own = bindings.values().filter(|b| b.policy == policy.object.name()).cloned().collect::<Vec<_>>();
            own.into_iter().map(|b| (policy.clone(), b)).collect::<Vec<_>>()
        };
        self.bound.store(Arc::new(policies.values().flat_map(of).collect()));
    }
}

/// The version in which both policy and binding care about the request.
fn matched(request: &Request<'_>, policy: &Policy, binding: &Binding, object: Option<&Object>) -> Result<Option<Arc<Resource>>, Status> {
    let Some(seen) = policy.matcher.wants(request, object)? else { return Ok(None) };
    Ok(binding.matcher.wants(request, object)?.map(|_| seen))
}

async fn shown(request: &Request<'_>, seen: &Arc<Resource>, object: Option<&Object>) -> Result<Option<Object>, Status> {
    match object {
        Some(object) => request.shown(seen, object).await.map(Some),
        None => Ok(None),
    }
}

fn namespace_object(request: &Request<'_>) -> Value {
    let table = request.resources.load_full();
    let objects = CacheLookup { cache: request.cache, table: &table };
    let name = request.namespace().or(Some(request.name).filter(|_| request.is_namespace()));
    name.and_then(|name| objects.get(&NAMESPACES, None, name)).map_or(Value::Null, Arc::unwrap_or_clone)
}

/// The parameters with which a policy is evaluated, one time each. `None`: there are none, and the binding lets that pass.
fn params(request: &Request<'_>, policy: &Policy, binding: &Binding) -> Result<Option<Vec<Value>>, Status> {
    let (Some((api_version, kind)), Some(reference)) = (&policy.param_kind, &binding.param_ref) else { return Ok(Some(vec![Value::Null])) };
    let table = request.resources.load_full();
    let resource = table.all.iter().find(|r| r.api_version == *api_version && r.def().kind == *kind);
    let failed = |why: String| refused(request, policy, binding, &Denied::failed(why));
    let resource = resource.ok_or_else(|| failed(format!("failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'")))?;
    let objects = CacheLookup { cache: request.cache, table: &table };
    let own = reference.str_at(&["namespace"]);
    let namespace = match (resource.is_namespaced(), own) {
        (false, _) => None,
        (true, "") => Some(
            request
                .namespace()
                .ok_or_else(|| failed("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".into()))?,
        ),
        (true, own) => Some(own),
    };
    let name = reference.str_at(&["name"]);
    let found: Vec<Value> = if name.is_empty() {
        let selector = LabelSelector::from_spec(reference.get("selector")).map_err(Status::internal)?;
        objects
            .list(&resource.def().gvr(), namespace)
            .into_iter()
            .filter(|o| selector.matches(o.map_at(&["metadata", "labels"])))
            .map(Arc::unwrap_or_clone)
            .collect()
    } else {
        objects.get(&resource.def().gvr(), namespace, name).into_iter().map(Arc::unwrap_or_clone).collect()
    };
    match (found.is_empty(), reference.str_at(&["parameterNotFoundAction"])) {
        (true, "Allow") => Ok(None),
        (true, _) if policy.ignores_failure => Ok(None),
        (true, _) => Err(failed("no params found for policy binding with `Deny` parameterNotFoundAction".into())),
        (false, _) => Ok(Some(found)),
    }
}

fn refused(request: &Request<'_>, policy: &Policy, binding: &Binding, denied: &Denied) -> Status {
    let def = request.scope.resource.def();
    let why = format!("{} '{}' with binding '{}' denied request: {}", policy.kind, policy.name, binding.name, denied.message);
    let mut status = Status::forbidden(&def.group, &def.resource, request.name, &why);
    (status.code, status.reason) = match denied.reason.as_str() {
        "Forbidden" => (403, Reason::Forbidden),
        "Unauthorized" => (401, Reason::Unauthorized),
        "RequestEntityTooLarge" => (413, Reason::RequestEntityTooLarge),
        _ => (422, Reason::Invalid),
    };
    status.details_mut().causes = vec![Cause::new(CauseKind::Unnamed, "", why)];
    status
}
