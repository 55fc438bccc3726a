//! A controller for pintle: it writes on each ConfigMap how many keys it has, as the label `{{name}}/keys`.
//!
//! `watches` says which objects there is work for, `reconcile` does the work for one of them: it looks at what is, compares it with
//! what should be, and changes the difference. It is called again after every change, and after a failure with back-off, so it must
//! be right when nothing is left to do. What it may read and write stands in `plugin.json`.

use std::time::Duration;

use pintle_sdk::Level;
use pintle_sdk::controller::{Api, ApiError, Controller, Failure, Key, PatchType, Relation, Resource, Watch};
use serde_json::json;

const CONFIG_MAPS: Resource = Resource::new("", "v1", "configmaps");
const LABEL: &str = "{{name}}/keys";

#[derive(Default)]
pub struct Policy;

impl Controller for Policy {
    fn watches() -> Vec<Watch> {
        vec![Watch::new(CONFIG_MAPS, Relation::Primary)]
    }

    fn reconcile(&mut self, api: &dyn Api, key: &Key) -> Result<Option<Duration>, Failure> {
        let object = match api.get(CONFIG_MAPS, &key.namespace, &key.name) {
            Ok(object) => object,
            Err(ApiError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let keys = object["data"].as_object().map_or(0, |data| data.len()).to_string();
        if object["metadata"]["labels"][LABEL] == keys {
            return Ok(None);
        }
        let patch = json!({"metadata": {"labels": {LABEL: keys}}});
        api.patch(CONFIG_MAPS, &key.namespace, &key.name, "", PatchType::Merge, &patch)?;
        api.log(Level::Info, &format!("{}/{} has {keys} keys", key.namespace, key.name));
        Ok(None)
    }
}

pintle_sdk::export_controller!(Policy);

#[cfg(test)]
mod tests {
    use super::*;
    use pintle_sdk::testing::FakeCluster;

    #[test]
    fn counts_once() {
        let cluster = FakeCluster::new();
        cluster.add(CONFIG_MAPS, json!({"metadata": {"name": "a", "namespace": "default"}, "data": {"x": "1", "y": "2"}}));
        let mut policy = Policy;
        cluster.reconcile(&mut policy, "default", "a").unwrap();
        let label = |cluster: &FakeCluster| cluster.object(CONFIG_MAPS, "default", "a").unwrap()["metadata"]["labels"][LABEL].clone();
        assert_eq!(label(&cluster), "2");
        assert!(!cluster.take_actions().is_empty());
        cluster.reconcile(&mut policy, "default", "a").unwrap();
        assert_eq!(cluster.take_actions(), "");
    }
}
