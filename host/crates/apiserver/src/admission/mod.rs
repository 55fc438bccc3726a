//! Built-in admission: a list of plain functions between decoding and validation, in upstream's order.
//!
//! A plugin sees the object to be, what was there before, and the rest of the cluster through the context's lookup. It
//! writes nothing but the object. The write pipeline calls the chain; plugins live in their own files here.

mod authorizing;
pub mod claim_resize;
pub mod component;
pub mod configuration;
pub mod default_class;
pub mod default_toleration_seconds;
pub mod limit_ranger;
pub mod matching;
pub mod namespace_lifecycle;
pub mod node_taint;
pub mod pod_security;
pub mod policy;
pub mod priority;
pub mod request;
pub mod resource_quota;
pub mod runtime_class;
pub mod service_account;
#[cfg(test)]
mod tests;
pub mod topology_labels;
pub mod webhook;

use pintle_api::{Object, Status};
use pintle_registry::WriteContext;

use crate::resources::Resource;

/// What is asked for, for plugins that act on few resources or operations.
#[derive(Clone, Copy)]
pub struct AdmissionAttributes<'a> {
    pub operation: Operation,
    pub resource: &'a Resource,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// Empty for cluster-scoped resources.
    pub namespace: &'a str,
    pub name: &'a str,
    /// The object before; `None` on creation.
    pub old: Option<&'a Object>,
    pub pod_security: &'a pod_security::PodSecurity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// Changes or refuses an object. On `Delete` it gets the present object, and changes to it have no effect.
pub type Mutate = fn(&mut Object, &AdmissionAttributes<'_>, &WriteContext<'_>) -> Result<(), Status>;
/// Refuses an object that is otherwise ready to be written, or says what its writer is to be warned of.
pub type Validate = fn(&Object, &AdmissionAttributes<'_>, &WriteContext<'_>) -> Result<Vec<String>, Status>;

pub struct Chain {
    pub mutate: Vec<Mutate>,
    pub validate: Vec<Validate>,
}

impl Chain {
    /// Upstream's default plugins in upstream's order.
    pub fn standard() -> Self {
        Self {
            mutate: vec![
                namespace_lifecycle::admit,
                limit_ranger::admit,
                service_account::admit,
                node_taint::admit,
                topology_labels::admit,
                priority::admit,
                default_toleration_seconds::admit,
                default_class::storage,
                runtime_class::admit,
                default_class::ingress,
            ],
            // The quota is last: it reserves what it lets through.
            validate: vec![
                limit_ranger::validate,
                pod_security::validate,
                priority::validate,
                claim_resize::validate,
                runtime_class::validate,
                resource_quota::validate,
            ],
        }
    }
    pub fn mutate(&self, object: &mut Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<(), Status> {
        self.mutate.iter().try_for_each(|plugin| plugin(object, attributes, context))
    }
    pub fn validate(&self, object: &Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<Vec<String>, Status> {
        let mut warnings = Vec::new();
        for plugin in &self.validate {
            warnings.extend(plugin(object, attributes, context)?);
        }
        Ok(warnings)
    }
}

impl AdmissionAttributes<'_> {
    pub fn is(&self, group: &str, resource: &str) -> bool {
        self.resource.def().group == group && self.resource.def().resource == resource
    }
    pub fn is_main(&self) -> bool {
        self.subresource.is_empty()
    }
    pub fn forbidden(&self, why: &str) -> Status {
        let def = self.resource.def();
        Status::forbidden(&def.group, &def.resource, self.name, why)
    }
}
