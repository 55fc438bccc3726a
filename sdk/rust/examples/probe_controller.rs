//! A controller that misbehaves on request. It reconciles ConfigMaps: `data.do` names what to do, the answer goes to `data.done`.
//! The host's tests drive it through every fault that a plugin can have.

use std::time::Duration;

use pintle_sdk::controller::{Api, Controller, EventType, Failure, Key, Query, Relation, Resource, Watch};
use pintle_sdk::{Level, export_controller};
use serde_json::{Value, json};

const CONFIG_MAPS: Resource = Resource::new("", "v1", "configmaps");
const SECRETS: Resource = Resource::new("", "v1", "secrets");

#[derive(Default)]
pub struct Probe {
    calls: u64,
}

impl Controller for Probe {
    fn watches() -> Vec<Watch> {
        vec![Watch::new(CONFIG_MAPS, Relation::Primary), Watch::new(CONFIG_MAPS, Relation::Owned("ConfigMap"))]
    }

    fn reconcile(&mut self, api: &dyn Api, key: &Key) -> Result<Option<Duration>, Failure> {
        self.calls += 1;
        let mut object = match api.get(CONFIG_MAPS, &key.namespace, &key.name) {
            Ok(object) => object,
            Err(pintle_sdk::controller::ApiError::NotFound(_)) => {
                api.log(Level::Info, &format!("gone {}", key.name));
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let done = match object["data"]["do"].as_str() {
            None => return Ok(None),
            Some("count") => self.calls.to_string(),
            Some("config") => api.config(),
            Some("panic") => panic!("asked to panic"),
            Some("loop") => loop {
                std::hint::black_box(&self.calls);
            },
            Some("grow") => hoard(),
            Some("overflow") => endless(self.calls, u64::MAX).to_string(),
            Some("write") => write_for_ever(api, &object),
            Some("garbage") => {
                let garbage = [0xff, 0xfe, b'{'];
                let error = pintle_sdk::controller_glue::create_raw(CONFIG_MAPS, &key.namespace, "garbage", &garbage);
                format!("{error:?}")
            }
            Some("huge") => {
                let error = pintle_sdk::controller_glue::create_raw(CONFIG_MAPS, &key.namespace, "huge", &vec![b' '; 48 << 20]);
                format!("{}", error.is_err())
            }
            Some("again") => return Ok(Some(Duration::from_millis(10))),
            Some("secrets") => match api.list(SECRETS, &Query::default()) {
                Ok(list) => format!("read {}", list.len()),
                Err(error) => format!("{error:?}"),
            },
            Some("child") => make_child(api, &object)?,
            Some("event") => {
                api.event(CONFIG_MAPS, &key.namespace, &key.name, EventType::Normal, "Probed", "as asked");
                "event".to_owned()
            }
            Some(other) => {
                api.log(Level::Warn, &format!("cannot {other}"));
                return Err(Failure::Terminal(format!("cannot {other}")));
            }
        };
        if object["data"]["done"].is_null() {
            object["data"]["done"] = Value::String(done);
            api.update(CONFIG_MAPS, &key.namespace, &key.name, &object)?;
        }
        Ok(None)
    }
}

/// Creates a child and counts what a list by owner then sees: its own write, at once.
fn make_child(api: &dyn Api, owner: &Value) -> Result<String, Failure> {
    let metadata = &owner["metadata"];
    let (namespace, uid) = (metadata["namespace"].as_str().unwrap_or_default(), metadata["uid"].as_str().unwrap_or_default());
    let child = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": format!("{}-child", metadata["name"].as_str().unwrap_or_default()), "namespace": namespace, "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": metadata["name"], "uid": uid, "controller": true},
        ]},
    });
    api.create(CONFIG_MAPS, namespace, &child)?;
    let children = api.list_summaries(CONFIG_MAPS, &Query { namespace, owner_uid: uid, ..Query::default() })?;
    Ok(format!("children {}", children.len()))
}

/// Needs the engine's stack alone.
#[inline(never)]
fn endless(depth: u64, limit: u64) -> u64 {
    if depth == limit { 0 } else { endless(depth + 1, limit).wrapping_mul(3) ^ depth }
}

fn write_for_ever(api: &dyn Api, object: &Value) -> String {
    let metadata = &object["metadata"];
    let (namespace, name) = (metadata["namespace"].as_str().unwrap_or_default(), format!("{}-target", metadata["name"].as_str().unwrap_or_default()));
    let target = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}});
    let _ = api.create(CONFIG_MAPS, namespace, &target);
    for n in 0u64.. {
        let patch = json!({"data": {"n": n.to_string()}});
        let _ = api.patch(CONFIG_MAPS, namespace, &name, "", pintle_sdk::controller::PatchType::Merge, &patch);
    }
    String::new()
}

fn hoard() -> String {
    let mut kept = Vec::new();
    loop {
        kept.push(std::hint::black_box(vec![1u8; 16 << 20]));
    }
}

export_controller!(Probe);
