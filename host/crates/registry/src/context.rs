//! What a strategy may see of the world while a write is prepared.

use pintle_api::{GroupVersionResource, User};

/// Who writes, when, and what else is in the cluster. Lent for one call.
pub struct WriteContext<'a> {
    pub now: jiff::Timestamp,
    pub user: &'a User,
    pub dry_run: bool,
    /// The objects of any resource as the cache holds them.
    pub objects: &'a dyn Lookup,
    pub allocators: &'a super::allocator::Allocators,
}

/// Reads of current objects, for checks across kinds (does the namespace end, which PriorityClass is the default).
pub trait Lookup: Send + Sync {
    fn get(&self, resource: &GroupVersionResource, namespace: Option<&str>, name: &str) -> Option<std::sync::Arc<pintle_api::Object>>;
    fn list(&self, resource: &GroupVersionResource, namespace: Option<&str>) -> Vec<std::sync::Arc<pintle_api::Object>>;
}
