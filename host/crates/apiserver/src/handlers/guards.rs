//! Which writes clash although they touch different objects, see [`crate::cache::Turn`].

use pintle_api::{GroupVersionResource, Status};

use super::{Core, Scope};
use crate::cache::{Filter, Turn};

const QUOTAS: GroupVersionResource = GroupVersionResource::constant("", "v1", "resourcequotas");
/// Who takes addresses and ports.
const SERVICES: &str = "services";
/// Kinds whose changes, and not their creation alone, are charged to a quota.
const GROWS: [&str; 3] = ["services", "persistentvolumeclaims", "pods"];

impl Core {
    /// The turn of a creation (`creates`) or change; the cache is caught up.
    pub(super) async fn turn(&self, scope: &Scope, creates: bool) -> Result<Turn<'_>, Status> {
        if !self.cache.store().is_shared() {
            return Ok(Turn::default());
        }
        self.cache.catch_up().await?;
        let def = scope.resource.def();
        let plain = scope.subresource.is_empty();
        let mut names = Vec::new();
        if def.group.is_empty() && def.resource == SERVICES && plain {
            names.push(SERVICES.to_owned());
        }
        let charged = creates || def.group.is_empty() && GROWS.contains(&&*def.resource) && (plain || scope.subresource == "resize");
        if charged && !scope.namespace.is_empty() && self.has_quota(&scope.namespace)? {
            names.push(format!("quota/{}", scope.namespace));
        }
        self.cache.turn(&names).await
    }

    fn has_quota(&self, namespace: &str) -> Result<bool, Status> {
        let quotas = self.resource(&QUOTAS)?;
        let page = self.cache.snapshot(&quotas.slot).page(&Filter::everything(namespace), None, 1);
        Ok(!page.items.is_empty())
    }
}
