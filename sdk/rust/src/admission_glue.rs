//! Ties [`crate::admission::Admission`] to the WIT world: JSON bytes become values. Reached through `export_admission!` only.

use serde_json::Value;

use crate::admission::{
    ApiError, Change, Kind, Operation, Phase, Query, Reader, Request, Resource, ResourceId, Response, Rule, Scope, Summary, User,
};
use bindings::pintle::admission::{objects, types};
use bindings::pintle::host::types as host;

/// Makes a type that implements [`crate::admission::Admission`] the component's policy.
#[macro_export]
macro_rules! export_admission {
    ($policy:ty) => {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code)]
        const _: () = {
            use $crate::admission::Admission;
            use $crate::admission_glue::{self as glue, bindings};
            ::std::thread_local! {
                static POLICY: ::std::cell::RefCell<$policy> = ::std::default::Default::default();
            }
            struct Component;
            impl bindings::Guest for Component {
                fn rules() -> ::std::result::Result<Vec<bindings::Rule>, String> {
                    glue::set_up();
                    let rules = POLICY.with_borrow_mut(|p| p.rules(&glue::Host))?;
                    Ok(rules.into_iter().map(glue::lower_rule).collect())
                }
                fn admit(request: bindings::Request) -> bindings::Response {
                    glue::set_up();
                    glue::lower_response(POLICY.with_borrow_mut(|p| p.admit(&glue::Host, &glue::lift_request(request))))
                }
            }
    bindings::export_world!(Component with_types_in bindings);
        };
    };
}

pub fn lower_rule(rule: Rule) -> types::Rule {
    types::Rule {
        phases: rule.phases.into_iter().map(|p| if p == Phase::Mutate { types::Phase::Mutate } else { types::Phase::Validate }).collect(),
        operations: rule.operations.into_iter().map(lower_operation).collect(),
        api_groups: rule.api_groups,
        api_versions: rule.api_versions,
        resources: rule.resources,
        scope: match rule.scope {
            Scope::Any => types::Scope::Any,
            Scope::Cluster => types::Scope::Cluster,
            Scope::Namespaced => types::Scope::Namespaced,
        },
    }
}

pub fn lift_request(request: types::Request) -> Request {
    Request {
        phase: match request.phase {
            types::Phase::Mutate => Phase::Mutate,
            types::Phase::Validate => Phase::Validate,
        },
        operation: match request.operation {
            types::Operation::Create => Operation::Create,
            types::Operation::Update => Operation::Update,
            types::Operation::Delete => Operation::Delete,
            types::Operation::Connect => Operation::Connect,
        },
        kind: Kind { group: request.kind.group, version: request.kind.version, kind: request.kind.kind },
        resource: ResourceId { group: request.resource.group, version: request.resource.version, name: request.resource.name },
        subresource: request.subresource,
        name: request.name,
        namespace: request.namespace,
        user: User { username: request.user.username, uid: request.user.uid, groups: request.user.groups, extra: request.user.extra },
        object: value(&request.object),
        old_object: value(&request.old_object),
        dry_run: request.dry_run,
        options: value(&request.options),
    }
}

pub fn lower_response(response: Response) -> types::Response {
    types::Response {
        refusal: response.refusal.map(|r| types::Refusal { code: r.code, reason: r.reason, message: r.message }),
        change: match response.change {
            Change::None => types::Change::None,
            Change::Patch(operations) => types::Change::Patch(Value::Array(operations).to_string().into_bytes()),
            Change::Object(object) => types::Change::Object(object.to_string().into_bytes()),
        },
        warnings: response.warnings,
        audit_annotations: response.audit_annotations.into_iter().map(|(key, value)| host::Pair { key, value }).collect(),
    }
}

impl Reader for Host {
    fn get(&self, resource: Resource, namespace: &str, name: &str) -> Result<Value, ApiError> {
        objects::get(&id(resource), namespace, name).map_err(lift_error).and_then(|json| parse(&json))
    }
    fn list(&self, resource: Resource, query: &Query<'_>) -> Result<Vec<Value>, ApiError> {
        let found = objects::list(&lower_query(resource, query)).map_err(lift_error)?;
        found.iter().map(|json| parse(json)).collect()
    }
    fn list_summaries(&self, resource: Resource, query: &Query<'_>) -> Result<Vec<Summary>, ApiError> {
        let found = objects::list_summaries(&lower_query(resource, query)).map_err(lift_error)?;
        Ok(found.into_iter().map(lift_summary).collect())
    }
}

fn lower_operation(operation: Operation) -> types::Operation {
    match operation {
        Operation::Create => types::Operation::Create,
        Operation::Update => types::Operation::Update,
        Operation::Delete => types::Operation::Delete,
        Operation::Connect => types::Operation::Connect,
    }
}

fn lower_query(resource: Resource, query: &Query<'_>) -> objects::Query {
    objects::Query {
        resource: id(resource),
        namespace: query.namespace.to_owned(),
        label_selector: query.label_selector.clone(),
        field_selector: query.field_selector.clone(),
    }
}

fn lift_error(error: objects::ReadError) -> ApiError {
    match error {
        objects::ReadError::NotFound(m) => ApiError::NotFound(m),
        objects::ReadError::Forbidden(m) => ApiError::Forbidden(m),
        objects::ReadError::Invalid(m) => ApiError::Invalid(m),
        objects::ReadError::Unavailable(m) => ApiError::Unavailable(m),
    }
}

fn value(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or_default()
}

crate::glue::host_env!(bindings);
crate::glue::read_objects!(bindings);

#[doc(hidden)]
#[allow(unsafe_code, clippy::all)]
pub mod bindings {
    wit_bindgen::generate!({
        path: ["../../wit/host", "../../wit/admission"],
        world: "pintle:admission/admission",
        pub_export_macro: true,
        export_macro_name: "export_admission_world",
        generate_all,
    });
    pub use export_admission_world as export_world;
}
