//! ReplicaSets: as many pods of a template as asked for, no more. The work is in `common::replicas`.

use std::time::Duration;

use pintle_controller_common::fields::Fields;
use pintle_controller_common::replicas::{Replicas, watches};
use pintle_controller_common::resources;
use pintle_sdk::controller::{Api, Controller, Failure, Key, Watch};
use pintle_sdk::selector::Selector;
use serde_json::Value;

const REPLICA_SET: Replicas = Replicas {
    resource: resources::REPLICA_SETS,
    api_version: "apps/v1",
    kind: "ReplicaSet",
    selector: |set| Selector::from_object(set.at(&["spec", "selector"])),
};

#[derive(Default)]
pub struct ReplicaSetController;

impl Controller for ReplicaSetController {
    fn watches() -> Vec<Watch> {
        watches(&REPLICA_SET)
    }
    fn route(&mut self, api: &dyn Api, _index: usize, before: Option<&Value>, after: Option<&Value>) -> Vec<Key> {
        REPLICA_SET.route(api, before, after)
    }
    fn reconcile(&mut self, api: &dyn Api, key: &Key) -> Result<Option<Duration>, Failure> {
        REPLICA_SET.reconcile(api, key)
    }
}

pintle_sdk::export_controller!(ReplicaSetController);

#[cfg(test)]
mod tests;
