//! For tests, here and in the server: objects in memory instead of a cache, and a strategy by its resource's name.

use std::collections::BTreeMap;
use std::sync::Arc;

use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, User};
use serde_json::Value;

use crate::allocator::Allocators;
use crate::{Lookup, Strategy, WriteContext};

pub const NOW: &str = "2026-01-01T12:00:00Z";

/// Objects by resource, for checks across kinds.
#[derive(Default)]
pub struct World {
    pub objects: BTreeMap<String, Vec<Object>>,
    pub allocators: Allocators,
}

impl Lookup for World {
    fn get(&self, resource: &GroupVersionResource, namespace: Option<&str>, name: &str) -> Option<Arc<Object>> {
        self.list(resource, namespace).into_iter().find(|o| o.name() == name)
    }
    fn list(&self, resource: &GroupVersionResource, namespace: Option<&str>) -> Vec<Arc<Object>> {
        let all = self.objects.get(&resource.to_string()).cloned().unwrap_or_default();
        all.into_iter().filter(|o| namespace.is_none_or(|n| o.namespace() == n)).map(Arc::new).collect()
    }
}

impl World {
    /// As alice, at [`NOW`].
    pub fn with<T>(&self, run: impl FnOnce(&WriteContext<'_>) -> T) -> T {
        let user = User { name: "alice".to_owned(), groups: vec!["system:authenticated".to_owned()], ..User::default() };
        let now = NOW.parse().unwrap();
        run(&WriteContext { now, user: &user, dry_run: false, objects: self, allocators: &self.allocators })
    }
}

/// `pods` or `apps/deployments`. Panics where there is none.
pub fn strategy(resource: &str) -> Box<dyn Strategy> {
    let (group, name) = resource.split_once('/').unwrap_or(("", resource));
    let found = crate::all().into_iter().rfind(|s| s.def().group == group && s.def().resource == name);
    found.unwrap_or_else(|| panic!("no resource {resource}"))
}

pub fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}
