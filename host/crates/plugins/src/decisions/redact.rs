//! Secrets stay out of the log: their values are replaced by digests under a key that nobody keeps, so that equal values are still equal.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub type Salt = [u8; 16];

/// A Secret, or what is written to one, without its values.
pub fn secret(json: &[u8], salt: &Salt) -> Bytes {
    let Ok(mut object) = serde_json::from_slice::<Value>(json) else { return digest(json, salt).into() };
    if object["kind"] != "Secret" {
        // A patch may have its values anywhere.
        return json!({"redacted": digest(json, salt)}).to_string().into();
    }
    for field in ["data", "stringData"] {
        for value in object[field].as_object_mut().into_iter().flat_map(|map| map.values_mut()) {
            let text = digest(value.as_str().unwrap_or_default().as_bytes(), salt);
            *value = if field == "data" { STANDARD.encode(text).into() } else { text.into() };
        }
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        // `kubectl apply` keeps the whole object there.
        metadata.remove("annotations");
        metadata.remove("managedFields");
    }
    object.to_string().into()
}

fn digest(value: &[u8], salt: &Salt) -> String {
    crate::engine::hex(&Sha256::new().chain_update(salt).chain_update(value).finalize()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_gone_and_equal_ones_are_still_equal() {
        let applied = json!({"kubectl.kubernetes.io/last-applied-configuration": "aHVudGVyMg=="});
        let object = json!({"kind": "Secret", "metadata": {"name": "s", "annotations": applied}, "data": {"a": "aHVudGVyMg==", "b": "aHVudGVyMg==", "c": "eA=="}});
        let clean: Value = serde_json::from_slice(&secret(object.to_string().as_bytes(), &[1; 16])).expect("JSON");
        assert!(!clean.to_string().contains("aHVudGVyMg"));
        assert_eq!(clean["data"]["a"], clean["data"]["b"]);
        assert_ne!(clean["data"]["a"], clean["data"]["c"]);
        assert_eq!(clean["metadata"]["name"], "s");
        let patch = secret(br#"{"data": {"a": "aHVudGVyMg=="}}"#, &[1; 16]);
        assert!(!String::from_utf8_lossy(&patch).contains("aHVudGVyMg"));
    }
}
