//! Conversion of custom resources between versions by a webhook.
//!
//! Reads are answered from the cache without waiting, so whoever reads first has the objects of other versions converted, in one
//! call for all that are not known yet; each keeps its forms with itself (`cache/stored.rs`). Called by `resources`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pintle_api::object::ObjectExt;
use pintle_api::{Object, Status};
use pintle_registry::Lookup;
use pintle_registry::custom::Definition;
use serde_json::{Value, json};

use crate::outbound::Remote;

const TIMEOUT: Duration = Duration::from_secs(30);

pub struct Conversion {
    /// Another for each that was ever made, as a resource has.
    pub serial: u64,
    remote: Result<Remote, String>,
    objects: Arc<dyn Lookup>,
    kind: String,
    stored_version: String,
    turn: tokio::sync::Mutex<()>,
}

impl Conversion {
    /// From a definition's `spec.conversion`; `None`: no webhook is asked.
    pub fn of(definition: &Definition, objects: impl FnOnce() -> Arc<dyn Lookup>) -> Option<Self> {
        let conversion = definition.object.at(&["spec", "conversion"]).filter(|c| c.str_at(&["strategy"]) == "Webhook")?;
        let remote = Remote::from_client_config(conversion.at(&["webhook", "clientConfig"]).unwrap_or(&Value::Null));
        let stored_version = format!("{}/{}", definition.group, definition.storage_version());
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Some(Self { serial, remote, objects: objects(), kind: definition.kind().to_owned(), stored_version, turn: tokio::sync::Mutex::default() })
    }

    /// The `apiVersion` that objects are stored in.
    pub fn stored_version(&self) -> &str {
        &self.stored_version
    }

    /// For those who come in a crowd for the same object: one asks, and the others find what it was told. Nobody waits for longer than for an answer.
    pub async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, Status> {
        let turn = tokio::time::timeout(TIMEOUT, self.turn.lock()).await;
        turn.map_err(|_| Status::internal(format!("conversion webhook for Kind={} did not answer others in time", self.kind)))
    }

    /// Asks the webhook. Of metadata only labels and annotations may change.
    pub async fn convert(&self, objects: Vec<Object>, version: &str) -> Result<Vec<Object>, Status> {
        let failed = |why: &str| {
            Status::internal(format!("conversion webhook for {}, Kind={} failed: {why}", objects.first().map_or("", |o| o.api_version()), self.kind))
        };
        let remote = self.remote.as_ref().map_err(|why| failed(why))?;
        let uid = uuid::Uuid::new_v4().to_string();
        let request = json!({"uid": uid, "desiredAPIVersion": version, "objects": objects});
        let review = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "request": request});
        let (code, body) =
            remote.post(&*self.objects, &format!("?timeout={}s", TIMEOUT.as_secs()), &review, TIMEOUT).await.map_err(|why| failed(&why))?;
        if !(200..300).contains(&code) {
            return Err(failed(&format!("the server answered with code {code}")));
        }
        let answer: Value = serde_json::from_slice(&body).map_err(|why| failed(&why.to_string()))?;
        let response = answer.get("response").unwrap_or(&Value::Null);
        if response.str_at(&["uid"]) != uid {
            return Err(failed("expected the uid of the request in the response"));
        }
        if response.str_at(&["result", "status"]) != "Success" {
            return Err(failed(response.str_at(&["result", "message"])));
        }
        let converted = response.list_at(&["convertedObjects"]);
        if converted.len() != objects.len() {
            return Err(failed(&format!("expected {} converted objects, got {}", objects.len(), converted.len())));
        }
        objects.iter().zip(converted).map(|(before, after)| checked(before, after, version).map_err(|why| failed(&why))).collect()
    }
}

fn checked(before: &Object, after: &Object, version: &str) -> Result<Object, String> {
    if after.api_version() != version || after.kind() != before.kind() {
        return Err(format!("expected {version}, Kind={}, got {}, Kind={}", before.kind(), after.api_version(), after.kind()));
    }
    for field in ["name", "namespace", "uid"] {
        if after.at(&["metadata", field]) != before.at(&["metadata", field]) {
            return Err(format!("invalid metadata: {field} must not change"));
        }
    }
    let mut out = after.clone();
    let mut metadata = before.get("metadata").cloned().unwrap_or_else(|| json!({}));
    for field in ["labels", "annotations"] {
        match after.at(&["metadata", field]) {
            Some(value) => metadata.set_at(&[field], value.clone()),
            None => drop(metadata.remove_at(&[field])),
        }
    }
    out.set_at(&["metadata"], metadata);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_labels_and_annotations_may_change() {
        let before = json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a", "uid": "1", "resourceVersion": "7", "labels": {"x": "1"}}, "spec": {"old": 1}});
        let after = json!({"apiVersion": "g/v2", "kind": "K", "metadata": {"name": "a", "uid": "1", "resourceVersion": "9", "annotations": {"y": "2"}}, "spec": {"new": 1}});
        let made = checked(&before, &after, "g/v2").unwrap();
        assert_eq!(made["metadata"], json!({"name": "a", "uid": "1", "resourceVersion": "7", "annotations": {"y": "2"}}));
        assert_eq!(made["spec"], json!({"new": 1}));
        let mut renamed = after.clone();
        renamed.set_at(&["metadata", "name"], json!("b"));
        assert!(checked(&before, &renamed, "g/v2").is_err());
        assert!(checked(&before, &after, "g/v3").is_err());
    }
}
