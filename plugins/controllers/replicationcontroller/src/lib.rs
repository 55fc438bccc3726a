//! ReplicationControllers: as many pods of a template as asked for, no more. The work is in `common::replicas`.

use std::time::Duration;

use pintle_controller_common::fields::Fields;
use pintle_controller_common::replicas::{Replicas, watches};
use pintle_controller_common::resources;
use pintle_sdk::controller::{Api, Controller, Failure, Key, Watch};
use pintle_sdk::selector::Selector;
use serde_json::Value;

const REPLICATION_CONTROLLER: Replicas = Replicas {
    resource: resources::REPLICATION_CONTROLLERS,
    api_version: "v1",
    kind: "ReplicationController",
    selector: |set| Selector::from_map(set.at(&["spec", "selector"]).or_else(|| set.at(&["spec", "template", "metadata", "labels"]))),
};

#[derive(Default)]
pub struct ReplicationController;

impl Controller for ReplicationController {
    fn watches() -> Vec<Watch> {
        watches(&REPLICATION_CONTROLLER)
    }
    fn route(&mut self, api: &dyn Api, _index: usize, before: Option<&Value>, after: Option<&Value>) -> Vec<Key> {
        REPLICATION_CONTROLLER.route(api, before, after)
    }
    fn reconcile(&mut self, api: &dyn Api, key: &Key) -> Result<Option<Duration>, Failure> {
        REPLICATION_CONTROLLER.reconcile(api, key)
    }
}

pintle_sdk::export_controller!(ReplicationController);
