//! Ties [`crate::controller::Controller`] to the WIT world: JSON bytes become values, typed errors become [`ApiError`]s.
//! Reached through `export_controller!` only.

use serde_json::Value;

use crate::controller::{Api, ApiError, DeleteOptions, EventType, Failure, Key, PatchType, Query, Relation, Resource, Result, Summary, Watch};
use bindings::pintle::controller::{objects, types};

/// Makes a type that implements [`crate::controller::Controller`] the component's controller.
#[macro_export]
macro_rules! export_controller {
    ($policy:ty) => {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code)]
        const _: () = {
            use $crate::controller::Controller;
            use $crate::controller_glue::{self as glue, bindings};
            ::std::thread_local! {
                static POLICY: ::std::cell::RefCell<$policy> = ::std::default::Default::default();
            }
            struct Component;
            impl bindings::Guest for Component {
                fn watches() -> Vec<bindings::Watch> {
                    glue::set_up();
                    glue::watches(<$policy as Controller>::watches())
                }
                fn route(index: u32, before: Vec<u8>, after: Vec<u8>) -> Vec<bindings::Key> {
                    glue::set_up();
                    let (before, after) = (glue::lift_state(&before), glue::lift_state(&after));
                    let keys = POLICY.with_borrow_mut(|p| p.route(&glue::Host, index as usize, before.as_ref(), after.as_ref()));
                    keys.into_iter().map(glue::lower_key).collect()
                }
                fn reconcile(key: bindings::Key) -> ::std::result::Result<Option<u64>, bindings::Failure> {
                    glue::set_up();
                    glue::lower_outcome(POLICY.with_borrow_mut(|p| p.reconcile(&glue::Host, &glue::lift_key(key))))
                }
            }
    bindings::export_world!(Component with_types_in bindings);
        };
    };
}

pub fn watches(watches: Vec<Watch>) -> Vec<types::Watch> {
    watches.into_iter().map(lower_watch).collect()
}

/// Empty where there was or is no object.
pub fn lift_state(json: &[u8]) -> Option<Value> {
    serde_json::from_slice(json).ok()
}

pub fn lift_key(key: types::Key) -> Key {
    Key { namespace: key.namespace, name: key.name }
}

pub fn lower_key(key: Key) -> types::Key {
    types::Key { namespace: key.namespace, name: key.name }
}

pub fn lower_outcome(outcome: std::result::Result<Option<std::time::Duration>, Failure>) -> std::result::Result<Option<u64>, types::Failure> {
    match outcome {
        Ok(after) => Ok(after.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))),
        Err(Failure::Retry(message)) => Err(types::Failure::Retry(message)),
        Err(Failure::Terminal(message)) => Err(types::Failure::Terminal(message)),
    }
}

impl Api for Host {
    fn get(&self, resource: Resource, namespace: &str, name: &str) -> Result<Value> {
        lift_object(objects::get(&id(resource), namespace, name))
    }
    fn get_live(&self, resource: Resource, namespace: &str, name: &str) -> Result<Value> {
        lift_object(objects::get_live(&id(resource), namespace, name))
    }
    fn list(&self, resource: Resource, query: &Query<'_>) -> Result<Vec<Value>> {
        let objects = objects::list(&lower_query(resource, query)).map_err(lift_error)?;
        objects.iter().map(|o| parse(&o.json)).collect()
    }
    fn list_summaries(&self, resource: Resource, query: &Query<'_>) -> Result<Vec<Summary>> {
        let summaries = objects::list_summaries(&lower_query(resource, query)).map_err(lift_error)?;
        Ok(summaries.into_iter().map(lift_summary).collect())
    }
    fn create(&self, resource: Resource, namespace: &str, object: &Value) -> Result<Value> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        lift_object(objects::create(&id(resource), namespace, name, "", &text(object)))
    }
    fn create_sub(&self, resource: Resource, namespace: &str, name: &str, subresource: &str, object: &Value) -> Result<Value> {
        lift_object(objects::create(&id(resource), namespace, name, subresource, &text(object)))
    }
    fn update(&self, resource: Resource, namespace: &str, name: &str, object: &Value) -> Result<Value> {
        lift_object(objects::update(&id(resource), namespace, name, "", &text(object)))
    }
    fn update_status(&self, resource: Resource, namespace: &str, name: &str, object: &Value) -> Result<Value> {
        lift_object(objects::update(&id(resource), namespace, name, "status", &text(object)))
    }
    fn patch(&self, resource: Resource, namespace: &str, name: &str, subresource: &str, kind: PatchType, body: &Value) -> Result<Value> {
        let kind = match kind {
            PatchType::Json => objects::PatchType::Json,
            PatchType::Merge => objects::PatchType::Merge,
            PatchType::Strategic => objects::PatchType::Strategic,
            PatchType::Apply => objects::PatchType::Apply,
        };
        lift_object(objects::patch(&id(resource), namespace, name, subresource, kind, &text(body)))
    }
    fn delete(&self, resource: Resource, namespace: &str, name: &str, options: &DeleteOptions<'_>) -> Result<()> {
        let options = objects::DeleteOptions {
            uid: options.uid.to_owned(),
            grace_period_seconds: options.grace_period_seconds.map_or(-1, i64::from),
            propagation_policy: options.propagation_policy.to_owned(),
        };
        objects::delete(&id(resource), namespace, name, &options).map_err(lift_error)
    }
    fn event(&self, resource: Resource, namespace: &str, name: &str, kind: EventType, reason: &str, message: &str) {
        let kind = match kind {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        };
        objects::event(&id(resource), namespace, name, kind, reason, message);
    }
}

/// A creation whose body is whatever these bytes are: for tests of what a plugin in another language could send.
#[doc(hidden)]
pub fn create_raw(resource: Resource, namespace: &str, name: &str, body: &[u8]) -> Result<Value> {
    lift_object(objects::create(&id(resource), namespace, name, "", body))
}

fn lower_watch(watch: Watch) -> types::Watch {
    types::Watch {
        resource: id(watch.resource),
        relation: match watch.relation {
            Relation::Primary => types::Relation::Primary,
            Relation::Owned(kind) => types::Relation::Owned(kind.to_owned()),
            Relation::Routed => types::Relation::Routed,
            Relation::Local => types::Relation::Local,
            Relation::Claimed(kind) => types::Relation::Claimed(kind.to_owned()),
            Relation::Indexed => types::Relation::Indexed,
        },
        label_selector: watch.label_selector.to_owned(),
        field_selector: watch.field_selector.to_owned(),
        reading: watch.reads.iter().map(|path| path.split('.').map(str::to_owned).collect()).collect(),
    }
}

fn lower_query(resource: Resource, query: &Query<'_>) -> objects::Query {
    objects::Query {
        resource: id(resource),
        namespace: query.namespace.to_owned(),
        label_selector: query.label_selector.clone(),
        field_selector: query.field_selector.clone(),
        owner_uid: query.owner_uid.to_owned(),
    }
}

fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn lift_object(answer: std::result::Result<objects::Object, types::ApiError>) -> Result<Value> {
    answer.map_err(lift_error).and_then(|object| parse(&object.json))
}

fn lift_error(error: types::ApiError) -> ApiError {
    match error {
        types::ApiError::NotFound(m) => ApiError::NotFound(m),
        types::ApiError::AlreadyExists(m) => ApiError::AlreadyExists(m),
        types::ApiError::Conflict(m) => ApiError::Conflict(m),
        types::ApiError::Forbidden(m) => ApiError::Forbidden(m),
        types::ApiError::Invalid(m) => ApiError::Invalid(m),
        types::ApiError::TooManyRequests(seconds) => ApiError::TooManyRequests(seconds),
        types::ApiError::Unavailable(m) => ApiError::Unavailable(m),
        types::ApiError::Other(m) => ApiError::Other(m),
    }
}

crate::glue::host_env!(bindings);
crate::glue::read_objects!(bindings);

#[doc(hidden)]
#[allow(unsafe_code, clippy::all)]
pub mod bindings {
    wit_bindgen::generate!({
        path: ["../../wit/host", "../../wit/controller"],
        world: "pintle:controller/controller",
        pub_export_macro: true,
        export_macro_name: "export_controller_world",
        generate_all,
    });
    pub use export_controller_world as export_world;
}
