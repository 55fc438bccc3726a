//! A controller built against `pintle:controller@0.1.0` as it was released, without the SDK: what a component looks like that its author
//! did not build again. A Secret's `data.for` names the ConfigMap that learns of it; `route` logs what it is asked about. The host's tests
//! run it beside components of the present version.

#![allow(unsafe_code, clippy::all)]

wit_bindgen::generate!({
    path: ["../../wit/released/host@0.1.0", "../../wit/released/controller@0.1.0"],
    world: "pintle:controller/controller",
    generate_all,
});

use pintle::controller::objects::{self, Query};
use pintle::controller::types::{ApiError, Relation};
use pintle::host::env;
use pintle::host::types::ResourceId;
use serde_json::{Value, json};

struct Component;

impl Guest for Component {
    fn watches() -> Vec<Watch> {
        let watch = |name, relation| Watch { resource: id(name), relation, label_selector: String::new(), field_selector: String::new() };
        vec![watch("configmaps", Relation::Primary), watch("secrets", Relation::Routed)]
    }

    fn route(_index: u32, before: Vec<u8>, after: Vec<u8>) -> Vec<Key> {
        let secret: Value = serde_json::from_slice(if after.is_empty() { &before } else { &after }).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        env::log(env::Level::Info, &format!("asked about {}", text(&secret["metadata"]["name"])));
        let name = text(&secret["data"]["for"]);
        if name.is_empty() { Vec::new() } else { vec![Key { namespace: text(&secret["metadata"]["namespace"]), name }] }
    }

    fn reconcile(key: Key) -> Result<Option<u64>, Failure> {
        let object = match objects::get(&id("configmaps"), &key.namespace, &key.name) {
            Ok(object) => object,
            Err(ApiError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(Failure::Retry(format!("{error:?}"))),
        };
        let value: Value = serde_json::from_slice(&object.json).map_err(|e| Failure::Terminal(e.to_string()))?;
        let query = Query { resource: id("secrets"), namespace: key.namespace.clone(), ..Query::default() };
        let found = objects::list_summaries(&query).map_err(|error| Failure::Retry(format!("{error:?}")))?;
        let missing = objects::get_live(&id("configmaps"), &key.namespace, "missing").err();
        let done = format!("secrets {}, {missing:?}", found.len());
        if value["data"]["done"] != *done {
            let body = json!({"data": {"done": done}}).to_string();
            let patched = objects::patch(&id("configmaps"), &key.namespace, &key.name, "", objects::PatchType::Merge, body.as_bytes());
            patched.map_err(|error| Failure::Retry(format!("{error:?}")))?;
        }
        Ok(None)
    }
}

impl Default for Query {
    fn default() -> Self {
        Self { resource: id(""), namespace: String::new(), label_selector: String::new(), field_selector: String::new(), owner_uid: String::new() }
    }
}

fn id(name: &str) -> ResourceId {
    ResourceId { group: String::new(), version: "v1".to_owned(), name: name.to_owned() }
}

export!(Component);
