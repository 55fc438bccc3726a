//! The cache as strategies and admission see it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use pintle_api::{GroupVersionResource, Object};
use pintle_registry::Lookup;

use crate::cache::{Cache, Filter, Stored};
use crate::resources::{Resource, Table};

pub struct CacheLookup<'a> {
    pub cache: &'a Cache,
    pub table: &'a Table,
}

impl Lookup for CacheLookup<'_> {
    fn get(&self, resource: &GroupVersionResource, namespace: Option<&str>, name: &str) -> Option<Arc<Object>> {
        let resource = self.table.find(resource)?;
        let stored = self.cache.get(&resource.slot, &resource.key(namespace.unwrap_or(""), name))?;
        parsed(resource, &stored)
    }
    fn list(&self, resource: &GroupVersionResource, namespace: Option<&str>) -> Vec<Arc<Object>> {
        let Some(resource) = self.table.find(resource) else { return Vec::new() };
        let page = self.cache.snapshot(&resource.slot).page(&Filter::everything(namespace.unwrap_or("")), None, 0);
        page.items.iter().filter_map(|stored| parsed(resource, stored)).collect()
    }
}

/// The same for those who keep their view as long as the server lives.
pub struct SharedLookup {
    pub cache: Arc<Cache>,
    pub resources: Arc<ArcSwap<Table>>,
}

impl Lookup for SharedLookup {
    fn get(&self, resource: &GroupVersionResource, namespace: Option<&str>, name: &str) -> Option<Arc<Object>> {
        CacheLookup { cache: &self.cache, table: &self.resources.load() }.get(resource, namespace, name)
    }
    fn list(&self, resource: &GroupVersionResource, namespace: Option<&str>) -> Vec<Arc<Object>> {
        CacheLookup { cache: &self.cache, table: &self.resources.load() }.list(resource, namespace)
    }
}

fn parsed(resource: &Resource, stored: &Stored) -> Option<Arc<Object>> {
    if resource.converts { resource.parse(stored).ok().map(Arc::new) } else { stored.parse_shared().ok() }
}
