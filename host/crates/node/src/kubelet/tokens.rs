//! Service account tokens for pods: asked of the API, bound to the pod, kept until four fifths of their life are over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use pintle_api::Client;
use pintle_api::client::{Target, WriteOptions};
use pintle_api::object::ObjectExt;
use serde_json::json;

use super::follow::SERVICE_ACCOUNTS;

pub struct Tokens {
    client: Arc<dyn Client>,
    kept: Mutex<HashMap<(String, String, i64), Kept>>,
}

struct Kept {
    token: String,
    renew_at: Timestamp,
}

impl Tokens {
    pub fn new(client: Arc<dyn Client>) -> Arc<Self> {
        Arc::new(Self { client, kept: Mutex::default() })
    }

    pub async fn get(&self, pod: &Pod, audience: Option<&str>, seconds: i64) -> Result<String, String> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let key = (uid.clone(), audience.unwrap_or("").to_owned(), seconds);
        let now = Timestamp::now();
        {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = kept.get(&key).filter(|k| k.renew_at > now) {
                return Ok(known.token.clone());
            }
        }
        let account = pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref()).filter(|n| !n.is_empty()).unwrap_or("default");
        let target = Target::object(SERVICE_ACCOUNTS, pod.metadata.namespace.as_deref(), account).subresource("token");
        let audiences: Vec<&str> = audience.into_iter().collect();
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "metadata": {"name": account, "namespace": pod.metadata.namespace},
            "spec": {
                "audiences": audiences, "expirationSeconds": seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": uid},
            },
        });
        let failed = |e: pintle_api::Status| format!("failed to fetch token: {e}");
        let answer = self.client.create(&target, body, &WriteOptions::default()).await.map_err(failed)?.parse().map_err(failed)?;
        let token = answer.str_at(&["status", "token"]).to_owned();
        if token.is_empty() {
            return Err("failed to fetch token: the answer holds none".into());
        }
        let expires: Timestamp = answer.str_at(&["status", "expirationTimestamp"]).parse().unwrap_or(now);
        let life = expires.duration_since(now).as_secs().max(0);
        let renew_at = now + SignedDuration::from_secs(life * 4 / 5);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(key, Kept { token: token.clone(), renew_at });
        Ok(token)
    }

    pub fn forget(&self, uid: &str) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _, _), _| of != uid);
    }
}
