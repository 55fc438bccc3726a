//! An issuer's keys: fetched from where its discovery document says, kept, and fetched again for a key that is not known.
//!
//! Bounded in time, bytes, keys and how often; while an issuer does not answer, the keys that were known stay good.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use pintle_api::object::ObjectExt;
use pintle_registry::Lookup;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::config::Jwt;
use crate::outbound::{Bounds, Remote};

/// For the discovery document and for the keys, each.
const FETCH_BOUNDS: Bounds = Bounds::within(Duration::from_secs(10));
/// An issuer is not asked more often, however many tokens name keys that it does not have.
const ASK_AT_MOST_EVERY: Duration = Duration::from_secs(5);
/// Keys that were taken back are refused after this at the latest.
const KEEP: Duration = Duration::from_secs(10 * 60);
/// Of an issuer; more are not looked at.
const MAX_KEYS: usize = 64;
const MAX_DOCUMENT_BYTES: usize = 1 << 20;

pub struct Keys {
    discovery_url: String,
    issuer: String,
    authority: String,
    known: ArcSwap<Known>,
    /// When the issuer was asked last; held while it is asked.
    asked: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Known {
    keys: Vec<(String, Arc<DecodingKey>)>,
    fetched: Option<Instant>,
}

impl Keys {
    pub fn of(jwt: &Jwt) -> Self {
        Self {
            discovery_url: jwt.discovery_url.clone(),
            issuer: jwt.url.clone(),
            authority: jwt.authority.clone(),
            known: ArcSwap::default(),
            asked: Mutex::default(),
        }
    }

    /// The keys that may have signed: the named one, or all where no name is given.
    pub fn candidates(&self, id: Option<&str>) -> Vec<Arc<DecodingKey>> {
        let known = self.known.load();
        known.keys.iter().filter(|(name, _)| id.is_none_or(|id| id == name)).map(|(_, key)| key.clone()).collect()
    }

    /// Whether the issuer has to be asked before a token with this key's name can be judged.
    pub fn must_ask(&self, id: Option<&str>) -> bool {
        let known = self.known.load();
        let old = known.fetched.is_none_or(|fetched| fetched.elapsed() > KEEP);
        old || !known.keys.iter().any(|(name, _)| id.is_none_or(|id| id == name))
    }

    /// Asks the issuer, unless somebody did just now.
    pub async fn ask(&self, objects: &dyn Lookup) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|asked| asked.elapsed() < ASK_AT_MOST_EVERY) {
            return;
        }
        match self.fetch(objects).await {
            Ok(keys) => self.known.store(Arc::new(Known { keys, fetched: Some(Instant::now()) })),
            Err(why) => tracing::warn!(issuer = self.issuer, why, "an issuer's keys cannot be fetched"),
        }
        *asked = Some(Instant::now());
    }

    async fn fetch(&self, objects: &dyn Lookup) -> Result<Vec<(String, Arc<DecodingKey>)>, String> {
        let document = self.get(objects, &self.discovery_url).await?;
        if document.str_at(&["issuer"]) != self.issuer {
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {:?} got {:?}",
                self.issuer,
                document.str_at(&["issuer"])
            ));
        }
        let set = self.get(objects, document.str_at(&["jwks_uri"])).await?;
        // A key of a kind that is not known here does not make the others useless.
        let keys = set.list_at(&["keys"]).iter().take(MAX_KEYS).filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok());
        let set = JwkSet { keys: keys.collect() };
        let signs = |key: &&Jwk| key.common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature);
        let usable = set.keys.iter().filter(signs).filter_map(|key| {
            let decoding = DecodingKey::from_jwk(key).ok()?;
            Some((key.common.key_id.clone().unwrap_or_default(), Arc::new(decoding)))
        });
        Ok(usable.collect())
    }

    async fn get(&self, objects: &dyn Lookup, url: &str) -> Result<Value, String> {
        let bundle = if self.authority.is_empty() { String::new() } else { STANDARD.encode(&self.authority) };
        let remote = Remote::from_client_config(&json!({"url": url, "caBundle": bundle}))?;
        let (code, body) = remote.get(objects, remote.path(), HeaderMap::new(), FETCH_BOUNDS).await.map_err(|why| format!("Get {url:?}: {why}"))?;
        if code != 200 {
            return Err(format!("Get {url:?}: {code}"));
        }
        if body.len() > MAX_DOCUMENT_BYTES {
            return Err(format!("Get {url:?}: more than {MAX_DOCUMENT_BYTES} bytes"));
        }
        serde_json::from_slice(&body).map_err(|why| format!("Get {url:?}: {why}"))
    }
}
