//! The cache as strategies and admission see it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use pintle_api::{GroupVersionResource, Object};

use crate::cache::{Cache, Filter};
use crate::registry::Lookup;
use crate::resources::Table;

pub struct CacheLookup<'a> {
    pub cache: &'a Cache,
    pub table: &'a Table,
}

impl Lookup for CacheLookup<'_> {
    fn get(&self, resource: &GroupVersionResource, namespace: Option<&str>, name: &str) -> Option<Object> {
        let resource = self.table.find(resource)?;
        let stored = self.cache.get(&resource.slot, &resource.key(namespace.unwrap_or(""), name))?;
        resource.parse(&stored).ok()
    }
    fn list(&self, resource: &GroupVersionResource, namespace: Option<&str>) -> Vec<Object> {
        let Some(resource) = self.table.find(resource) else { return Vec::new() };
        let page = self.cache.snapshot(&resource.slot).page(&Filter::everything(namespace.unwrap_or("")), None, 0);
        page.items.iter().filter_map(|stored| resource.parse(stored).ok()).collect()
    }
}

/// The same for those who keep their view as long as the server lives.
pub struct SharedLookup {
    pub cache: Arc<Cache>,
    pub resources: Arc<ArcSwap<Table>>,
}

impl Lookup for SharedLookup {
    fn get(&self, resource: &GroupVersionResource, namespace: Option<&str>, name: &str) -> Option<Object> {
        CacheLookup { cache: &self.cache, table: &self.resources.load() }.get(resource, namespace, name)
    }
    fn list(&self, resource: &GroupVersionResource, namespace: Option<&str>) -> Vec<Object> {
        CacheLookup { cache: &self.cache, table: &self.resources.load() }.list(resource, namespace)
    }
}
