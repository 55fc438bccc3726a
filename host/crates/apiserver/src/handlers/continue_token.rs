//! What a client sends to read the next page of a list. Opaque to clients; unsigned, since it gives nothing that its bearer may not list anyhow.
//!
//! Called by lists, which judge whether the revision can still be read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pintle_api::Status;
use serde::{Deserialize, Serialize};

const VERSION: &str = "meta.k8s.io/v1";
/// A revision of [`INCONSISTENT`]: what is there now, as the rest of a list whose revision is gone.
pub const INCONSISTENT: i64 = -1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContinueToken {
    v: String,
    pub rv: i64,
    /// The last key that was read.
    pub start: String,
    /// Seconds since 1970 when the first page was read.
    #[serde(default)]
    pub at: u64,
}

impl ContinueToken {
    pub fn new(revision: i64, last_key: &str, begun_unix_seconds: u64) -> Self {
        Self { v: VERSION.to_owned(), rv: revision, start: last_key.to_owned(), at: begun_unix_seconds }
    }
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("plain data"))
    }
    pub fn decode(text: &str) -> Result<Self, Status> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        let token: Option<Self> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        token
            .filter(|token| token.v == VERSION && token.rv >= INCONSISTENT && !token.start.is_empty())
            .ok_or_else(|| Status::bad_request("continue key is not valid: the token is not one of this server"))
    }
}
