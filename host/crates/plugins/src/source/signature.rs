//! Signatures of components, as cosign makes them with a key: ECDSA over P-256 and SHA-256, DER, base64.
//!
//! In a registry what is signed is a "simple signing" payload that names the manifest's digest; elsewhere it is the component's bytes
//! (`cosign sign-blob`). Only keys that the operator names count: there is no certificate, no transparency log.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{DerSignature, SigningKey, VerifyingKey};
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePublicKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::engine::hex;

/// Of a payload: those that cosign writes.
const PAYLOAD_TYPES: [&str; 2] = ["cosign container image signature", "atomic container signature"];

/// A key that components must be signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// What was found beside a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// Over the component's bytes; base64.
    Blob(String),
    /// Over a payload that names the manifest; base64.
    Payload { payload: Vec<u8>, signature: String },
}

impl PublicKey {
    /// From PEM (`-----BEGIN PUBLIC KEY-----`).
    pub fn parse(pem: &str) -> Result<Self, String> {
        VerifyingKey::from_public_key_pem(pem.trim()).map(Self).map_err(|e| format!("no ECDSA P-256 public key in PEM: {e}"))
    }

    /// `sha256:...` of the key's DER form.
    pub fn fingerprint(&self) -> String {
        let der = self.0.to_public_key_der().map(|d| d.as_bytes().to_vec()).unwrap_or_default();
        format!("sha256:{}", hex(&Sha256::digest(der)))
    }

    /// Whether the signature is this key's, over these bytes or, in a registry, over this manifest.
    pub fn accepts(&self, signature: &Signature, bytes: &[u8], manifest: &str) -> bool {
        match signature {
            Signature::Blob(signature) => self.verify(bytes, signature),
            Signature::Payload { payload, signature } => self.verify(payload, signature) && names(payload, manifest),
        }
    }

    fn verify(&self, message: &[u8], signature: &str) -> bool {
        let Ok(der) = STANDARD.decode(signature.trim()) else { return false };
        DerSignature::from_bytes(&der).is_ok_and(|signature| self.0.verify(message, &signature).is_ok())
    }
}

/// Whether a payload is one about this manifest.
fn names(payload: &[u8], manifest: &str) -> bool {
    let Ok(payload) = serde_json::from_slice::<Value>(payload) else { return false };
    let critical = &payload["critical"];
    !manifest.is_empty()
        && critical["image"]["docker-manifest-digest"] == manifest
        && critical["type"].as_str().is_some_and(|t| PAYLOAD_TYPES.contains(&t))
}

/// What cosign would sign for a manifest.
pub fn payload(repository: &str, manifest: &str) -> Vec<u8> {
    let critical = json!({"identity": {"docker-reference": repository}, "image": {"docker-manifest-digest": manifest}, "type": PAYLOAD_TYPES[0]});
    json!({"critical": critical, "optional": null}).to_string().into_bytes()
}

/// Signs with a private key in PEM (PKCS #8, or SEC 1 as `openssl ecparam -genkey` writes it); base64.
pub fn sign(private_key: &str, message: &[u8]) -> Result<String, String> {
    let key = SigningKey::from_pkcs8_pem(private_key.trim()).or_else(|error| sec1(private_key).ok_or(error));
    let key = key.map_err(|e| format!("no ECDSA P-256 private key in PEM: {e}"))?;
    let signature: DerSignature = key.sign(message);
    Ok(STANDARD.encode(signature.as_bytes()))
}

/// The key's block, wherever the file holds it: openssl puts the curve's parameters before it.
fn sec1(pem: &str) -> Option<SigningKey> {
    let block = &pem[pem.find("-----BEGIN EC PRIVATE KEY-----")?..];
    p256::SecretKey::from_sec1_pem(block).ok().map(SigningKey::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl ecparam -name prime256v1 -genkey` and `openssl ec -pubout`; the signature over "hello\n" by `openssl dgst -sha256 -sign`.
    const PRIVATE: &str = include_str!("testdata/key.pem");
    const PUBLIC: &str = include_str!("testdata/key.pub");
    const HELLO: &str = include_str!("testdata/hello.sig");

    #[test]
    fn what_openssl_and_cosign_sign_is_accepted() {
        let key = PublicKey::parse(PUBLIC).expect("a key");
        assert!(key.accepts(&Signature::Blob(HELLO.to_owned()), b"hello\n", ""));
        assert!(!key.accepts(&Signature::Blob(HELLO.to_owned()), b"hallo\n", ""));
        let own = sign(PRIVATE, b"abc").expect("signed");
        assert!(key.accepts(&Signature::Blob(own.clone()), b"abc", ""));
        assert!(!key.accepts(&Signature::Blob(own[..own.len() - 8].to_owned()), b"abc", ""));
        assert!(!key.accepts(&Signature::Blob("!".to_owned()), b"abc", ""));
    }

    #[test]
    fn a_payload_counts_for_its_own_manifest_alone() {
        let key = PublicKey::parse(PUBLIC).expect("a key");
        let signed = |payload: Vec<u8>| Signature::Payload { signature: sign(PRIVATE, &payload).expect("signed"), payload };
        let good = signed(payload("r/a", "sha256:1"));
        assert!(key.accepts(&good, b"anything", "sha256:1"));
        assert!(!key.accepts(&good, b"anything", "sha256:2"));
        assert!(!key.accepts(&good, b"anything", ""));
        let odd = json!({"critical": {"image": {"docker-manifest-digest": "sha256:1"}, "type": "something else"}});
        assert!(!key.accepts(&signed(odd.to_string().into_bytes()), b"anything", "sha256:1"));
        let Signature::Payload { signature, .. } = good else { panic!("a payload") };
        assert!(!key.accepts(&Signature::Payload { payload: payload("r/b", "sha256:1"), signature }, b"", "sha256:1"));
    }

    #[test]
    fn what_is_no_key_says_so() {
        assert!(PublicKey::parse("hello").expect_err("no key").starts_with("no ECDSA P-256 public key in PEM"));
        assert!(sign("hello", b"").is_err());
    }
}
