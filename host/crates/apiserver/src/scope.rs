//! What one request is for: whose it is, and which resource, object and part of it.

use std::sync::Arc;

use pintle_api::Status;
use pintle_registry::Part;

use crate::auth::{Attributes, User};
use crate::resources::Resource;

/// One request for one resource.
#[derive(Clone)]
pub struct Scope {
    pub user: Arc<User>,
    pub resource: Arc<Resource>,
    /// Empty: cluster-scoped, or all namespaces.
    pub namespace: String,
    /// Empty: the collection.
    pub name: String,
    /// Empty: the object itself.
    pub subresource: String,
}

impl Scope {
    /// What an authorizer is asked. A namespace lies in itself.
    pub fn attributes<'a>(&'a self, verb: &'a str) -> Attributes<'a> {
        let def = self.resource.def();
        let namespace = if def.resource == "namespaces" && def.group.is_empty() { &self.name } else { &self.namespace };
        Attributes::of_resource(&self.user, verb, &def.group, &def.version, &def.resource, namespace, &self.name).with_subresource(&self.subresource)
    }
    pub fn key(&self) -> String {
        self.resource.key(&self.namespace, &self.name)
    }
    pub fn part(&self) -> Part {
        match self.subresource.as_str() {
            "" => Part::Main,
            "status" => Part::Status,
            "scale" => Part::Scale,
            "ephemeralcontainers" => Part::Other("ephemeralcontainers"),
            "resize" => Part::Other("resize"),
            "approval" => Part::Other("approval"),
            "finalize" => Part::Other("finalize"),
            _ => Part::Other("other"),
        }
    }
    pub fn not_found(&self) -> Status {
        self.resource.not_found(&self.name)
    }
    pub fn stale(&self) -> Status {
        let def = self.resource.def();
        Status::stale(&def.group, &def.resource, &self.name)
    }
    pub fn conflict(&self, why: &str) -> Status {
        let def = self.resource.def();
        Status::conflict(&def.group, &def.resource, &self.name, why)
    }
}
