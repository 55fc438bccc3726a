//! A controller that says what it reads of the Secrets that it routes, and logs what it is asked about. It reconciles nothing. The host's
//! tests count its lines.

use std::time::Duration;

use pintle_sdk::controller::{Api, Controller, Failure, Key, Relation, Resource, Watch};
use pintle_sdk::{Level, export_controller};
use serde_json::Value;

const CONFIG_MAPS: Resource = Resource::new("", "v1", "configmaps");
const SECRETS: Resource = Resource::new("", "v1", "secrets");

#[derive(Default)]
pub struct Probe;

impl Controller for Probe {
    fn watches() -> Vec<Watch> {
        vec![Watch::new(CONFIG_MAPS, Relation::Primary), Watch::new(SECRETS, Relation::Routed).reading(&["metadata.labels", "parts.name"])]
    }

    fn route(&mut self, api: &dyn Api, _index: usize, before: Option<&Value>, after: Option<&Value>) -> Vec<Key> {
        let told = |object: Option<&Value>| object.map_or_else(String::new, Value::to_string);
        api.log(Level::Info, &format!("asked {} -> {}", told(before), told(after)));
        Vec::new()
    }

    fn reconcile(&mut self, _api: &dyn Api, _key: &Key) -> Result<Option<Duration>, Failure> {
        Ok(None)
    }
}

export_controller!(Probe);
