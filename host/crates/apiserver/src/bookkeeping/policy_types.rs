//! Status of validating admission policies: what is wrong with their expressions for the kinds that they are about.
//!
//! A policy that was written is compared with the schemas of the kinds that its rules name; what does not fit is a warning in its status
//! (`typeChecking`) and changes nothing of what the policy does. Kinds behind wildcards and subresources are not looked at.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use pintle_api::client::{Patch, Target, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionKind, GroupVersionResource, Reason, ResourceDef};
use pintle_cel::{Declared, Expression, NAMESPACE, REQUEST, Scope, Type};
use serde_json::{Value, json};

use super::Context;
use super::follow::{Change, Interest, follow};
use super::queue::{Outcome, Queue};

const POLICIES: GroupVersionResource = GroupVersionResource::constant("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies");
const MANAGER: &str = "validatingadmissionpolicy-status";
/// Kinds that one policy is compared with.
const MAX_KINDS: usize = 10;
/// Of what makes a schema when its references are followed; deeper or wider ones are taken for anything.
const MAX_SCHEMA_NODES: usize = 100_000;

/// The OpenAPI document of a group's version.
pub type Schemas = Arc<dyn Fn(&str, &str) -> Option<Value> + Send + Sync>;

pub async fn run(context: Context) {
    let queue: Queue<String> = Queue::default();
    let watching = {
        let queue = queue.clone();
        follow(context.client.clone(), Interest::all(POLICIES), move |change| {
            if let Change::Now(served) = change
                && let Ok(policy) = served.parse()
                && is_due(&policy)
            {
                queue.add(policy.name().to_owned());
            }
        })
    };
    let working = queue.run(1, |name| {
        let context = context.clone();
        async move {
            let target = Target::object(POLICIES, None, &name);
            let policy = match context.client.get(&target).await.and_then(|served| served.parse()) {
                Ok(policy) if is_due(&policy) => policy,
                Err(status) if !status.is(Reason::NotFound) => return Outcome::Retry,
                _ => return Outcome::Done,
            };
            let generation = policy.i64_at(&["metadata", "generation"]).unwrap_or(0);
            let schemas = context.schemas.clone();
            let resources = (context.discover)();
            let Ok(warnings) = tokio::task::spawn_blocking(move || warnings(&policy, &resources, &schemas)).await else { return Outcome::Done };
            let checking = if warnings.is_empty() { json!({}) } else { json!({"expressionWarnings": warnings}) };
            let status = json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingAdmissionPolicy",
                "metadata": {"name": name},
                "status": {"observedGeneration": generation, "typeChecking": checking},
            });
            let options = WriteOptions { field_manager: MANAGER.to_owned(), force: true, ..WriteOptions::default() };
            match context.client.patch(&target.subresource("status"), Patch::Apply(status), &options).await {
                Ok(_) => Outcome::Done,
                Err(status) if status.is(Reason::NotFound) => Outcome::Done,
                Err(_) => Outcome::Retry,
            }
        }
    });
    tokio::join!(watching, working);
}

fn is_due(policy: &Value) -> bool {
    let at = |path: &[&str]| policy.i64_at(path).unwrap_or(0);
    at(&["metadata", "generation"]) > at(&["status", "observedGeneration"])
}

/// The policy's expressions that do not fit one of its kinds.
fn warnings(policy: &Value, resources: &[ResourceDef], schemas: &Schemas) -> Vec<Value> {
    let spec = policy.get("spec").unwrap_or(&Value::Null);
    let params = spec.get("paramKind").filter(|kind| !kind.is_null()).map(|kind| {
        let version = kind.str_at(&["apiVersion"]);
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        type_of(&GroupVersionKind::new(group.to_owned(), version.to_owned(), kind.str_at(&["kind"]).to_owned()), schemas).unwrap_or(Type::Dyn)
    });
    let scopes: Vec<(GroupVersionKind, Scope)> =
        kinds(spec, resources).into_iter().filter_map(|kind| Some((kind.clone(), scope(spec, type_of(&kind, schemas)?, params.clone())))).collect();
    let mut found = Vec::new();
    for (i, validation) in spec.list_at(&["validations"]).iter().enumerate() {
        for field in ["expression", "messageExpression"] {
            let text = validation.str_at(&[field]);
            let told: Vec<String> = scopes.iter().filter(|_| !text.is_empty()).filter_map(|(kind, scope)| told(text, kind, scope)).collect();
            if !told.is_empty() {
                found.push(json!({"fieldRef": format!("spec.validations[{i}].{field}"), "warning": told.join("\n")}));
            }
        }
    }
    found
}

fn told(text: &str, kind: &GroupVersionKind, scope: &Scope) -> Option<String> {
    let why = Expression::compile_in(text, scope).err()?;
    Some(format!("{}/{}, Kind={}: {why}\n", kind.group, kind.version, kind.kind))
}

fn scope(spec: &Value, object: Type, params: Option<Type>) -> Scope {
    const VARIABLES: &str = "variables";
    let mut scope = Scope::default()
        .with("object", object.clone())
        .with("oldObject", object)
        .with("request", REQUEST.clone())
        .with("namespaceObject", NAMESPACE.clone())
        .with("authorizer", Type::hidden("kubernetes.authorization.Authorizer"))
        // Upstream does not know it here and warns; it is there when the policy is evaluated.
        .with("authorizer.requestResource", Type::hidden("kubernetes.authorization.ResourceCheck"))
        .with(VARIABLES, Type::object("kubernetes.variables", []));
    if let Some(params) = params {
        scope = scope.with("params", params);
    }
    for variable in spec.list_at(&["variables"]) {
        let of = Expression::compile_in(variable.str_at(&["expression"]), &scope).ok().and_then(|e| e.result().cloned());
        scope.declare(VARIABLES, variable.str_at(&["name"]), of.map_or(Type::Dyn, Type::of_variable));
    }
    scope
}

/// The kinds that the policy's rules name, in order.
fn kinds(spec: &Value, resources: &[ResourceDef]) -> Vec<GroupVersionKind> {
    let mut found: BTreeSet<(String, String, String)> = BTreeSet::new();
    'rules: for rule in spec.list_at(&["matchConstraints", "resourceRules"]) {
        let texts = |field: &str| -> BTreeSet<&str> { rule.list_at(&[field]).iter().filter_map(Value::as_str).collect() };
        let (groups, versions) = (texts("apiGroups"), texts("apiVersions"));
        if groups.iter().chain(&versions).any(|text| text.contains('*')) {
            continue;
        }
        let named = texts("resources").into_iter().filter(|name| !name.contains(['*', '/'])).collect::<Vec<_>>();
        let mut count = 0;
        let versioned = groups.iter().flat_map(|group| versions.iter().map(move |version| (*group, *version)));
        for ((group, version), name) in versioned.flat_map(|of| named.iter().map(move |name| (of, *name))) {
            // As upstream looks them up, the core group stands for every one.
            let fits = |def: &&ResourceDef| (group.is_empty() || def.group == group) && def.version == version && def.resource == name;
            for def in resources.iter().filter(fits) {
                found.insert((def.group.to_string(), def.version.to_string(), def.kind.to_string()));
                count += 1;
                if count == MAX_KINDS {
                    break 'rules;
                }
            }
        }
    }
    found.into_iter().map(|(group, version, kind)| GroupVersionKind::new(group, version, kind)).collect()
}

/// Of a kind's objects, by its published schema.
fn type_of(kind: &GroupVersionKind, schemas: &Schemas) -> Option<Type> {
    let document = schemas(&kind.group, &kind.version)?;
    let all = document.at(&["components", "schemas"])?;
    let is_kind = |schema: &Value| {
        schema.list_at(&["x-kubernetes-group-version-kind"]).iter().any(|of| {
            let is = |field: &str, wanted: &str| of.str_at(&[field]) == wanted;
            is("group", &kind.group) && is("version", &kind.version) && is("kind", &kind.kind)
        })
    };
    let (name, schema) = all.as_object()?.iter().find(|(_, schema)| is_kind(schema))?;
    let mut whole = Whole { all, within: HashSet::from([name.as_str()]), nodes: 0 };
    let schema = whole.of(schema);
    Some(Type::declared(&Declared::of(&schema, true)?, &kind.kind))
}

/// Schemas with what they refer to in place of the references.
struct Whole<'a> {
    all: &'a Value,
    /// What is referred to around the present place.
    within: HashSet<&'a str>,
    nodes: usize,
}

impl<'a> Whole<'a> {
    fn of(&mut self, schema: &'a Value) -> Value {
        self.nodes += 1;
        let anything = || json!({"x-kubernetes-int-or-string": true});
        if self.nodes > MAX_SCHEMA_NODES {
            return anything();
        }
        let reference = std::iter::once(schema).chain(schema.list_at(&["allOf"])).find_map(|of| of.get("$ref")?.as_str());
        if let Some(reference) = reference {
            let name = reference.rsplit('/').next().unwrap_or(reference);
            let Some(referred) = self.all.get(name) else { return anything() };
            if !self.within.insert(name) {
                return anything();
            }
            let made = self.of(referred);
            self.within.remove(name);
            return made;
        }
        let mut made = serde_json::Map::new();
        for key in ["type", "format", "x-kubernetes-int-or-string", "x-kubernetes-embedded-resource"] {
            schema.get(key).into_iter().for_each(|value| drop(made.insert(key.to_owned(), value.clone())));
        }
        if schema.str_at(&["type"]).is_empty() || schema.str_at(&["format"]) == "int-or-string" {
            return anything();
        }
        if let Some(properties) = schema.map_at(&["properties"]) {
            let properties = properties.iter().map(|(name, schema)| (name.clone(), self.of(schema))).collect();
            made.insert("properties".to_owned(), Value::Object(properties));
        }
        for key in ["items", "additionalProperties"] {
            if let Some(below) = schema.get(key).filter(|below| below.is_object()) {
                made.insert(key.to_owned(), self.of(below));
            }
        }
        Value::Object(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_a_kind_is_told() {
        let schemas: Schemas = Arc::new(|group, version| {
            (group == "apps" && version == "v1").then(|| {
                json!({"components": {"schemas": {
                    "Deployment": {
                        "type": "object",
                        "x-kubernetes-group-version-kind": [{"group": "apps", "version": "v1", "kind": "Deployment"}],
                        "properties": {"spec": {"allOf": [{"$ref": "#/components/schemas/Spec"}], "default": {}}},
                    },
                    "Spec": {"type": "object", "properties": {
                        "replicas": {"type": "integer"}, "self": {"$ref": "#/components/schemas/Spec"}, "port": {"$ref": "#/components/schemas/IntOrString"},
                    }},
                    "IntOrString": {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
                }}})
            })
        });
        let def = |group: &'static str, resource: &'static str, kind: &'static str| ResourceDef {
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            singular: kind.to_lowercase().into(),
            kind: kind.into(),
            scope: pintle_api::Scope::Namespaced,
            short_names: [].as_slice().into(),
            categories: [].as_slice().into(),
            verbs: [].as_slice().into(),
            subresources: [].as_slice().into(),
        };
        let resources = [def("apps", "deployments", "Deployment"), def("", "pods", "Pod")];
        let policy = |validations: Value, resources: Value| {
            json!({"spec": {
                "variables": [{"name": "n", "expression": "object.spec.replicas"}],
                "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": resources}]},
                "validations": validations,
            }})
        };
        let check = |validations: Value, kinds: Value| warnings(&policy(validations, kinds), &resources, &schemas);
        let good =
            json!([{"expression": "object.spec.replicas > 1 && variables.n < 9 && object.spec.port == 'a' && object.spec.self.whatever == 1"}]);
        assert_eq!(check(good, json!(["deployments"])), Vec::<Value>::new());
        let bad = json!([{"expression": "object.spec.replics > 1", "messageExpression": "'n is ' + variables.n"}]);
        assert_eq!(
            check(bad.clone(), json!(["deployments", "deployments/status"])),
            [
                json!({"fieldRef": "spec.validations[0].expression", "warning":
                    "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'replics'\n | object.spec.replics > 1\n | ...........^\n"}),
                json!({"fieldRef": "spec.validations[0].messageExpression", "warning":
                    "apps/v1, Kind=Deployment: ERROR: <input>:1:9: found no matching overload for '_+_' applied to '(string, int)'\n | 'n is ' + variables.n\n | ........^\n"}),
            ]
        );
        assert_eq!(check(bad.clone(), json!(["*"])), Vec::<Value>::new());
        assert_eq!(check(bad, json!(["deployments/scale"])), Vec::<Value>::new());
    }
}
