//! Service account tokens: signing, verifying and describing them for others (OpenID discovery).
//!
//! Signatures and times only. Whether the account, pod or secret behind a token still lives is [`super::authn`]'s
//! question. Verified tokens are remembered by digest, because a signature costs more than the whole rest of a request.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PublicKeyData};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Verified tokens kept in memory; at about 500 bytes each this is 4 MiB. When full, the table starts anew.
const REMEMBERED_TOKENS: usize = 8192;
/// Longer ones are refused before any work is done, in bytes.
const TOKEN_LIMIT: usize = 16 * 1024;
/// Clocks may differ by this, in seconds.
const LEEWAY_SECONDS: i64 = 60;
/// Issuer of tokens that live in Secrets and never expire.
pub const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

#[derive(Debug, thiserror::Error)]
#[error("the service account key is unusable: {0}")]
pub struct KeyError(String);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// Not ours: another authenticator may know it.
    #[error("not a service account token of this cluster")]
    Foreign,
    #[error("service account token has expired")]
    Expired,
    #[error("service account token is not valid yet")]
    NotYet,
    #[error("invalid bearer token")]
    Invalid,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// What a token is bound to, under its claim `kubernetes.io`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    #[serde(default)]
    pub namespace: String,
    #[serde(default)]
    pub serviceaccount: Reference,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub sub: String,
    /// Empty only in legacy tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aud: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    #[serde(default, rename = "kubernetes.io", skip_serializing_if = "Option::is_none")]
    pub bound: Option<Bound>,
    // The claims of legacy tokens.
    #[serde(default, rename = "kubernetes.io/serviceaccount/namespace", skip_serializing_if = "String::is_empty")]
    pub legacy_namespace: String,
    #[serde(default, rename = "kubernetes.io/serviceaccount/secret.name", skip_serializing_if = "String::is_empty")]
    pub legacy_secret: String,
    #[serde(default, rename = "kubernetes.io/serviceaccount/service-account.name", skip_serializing_if = "String::is_empty")]
    pub legacy_account: String,
    #[serde(default, rename = "kubernetes.io/serviceaccount/service-account.uid", skip_serializing_if = "String::is_empty")]
    pub legacy_uid: String,
}

pub struct Tokens {
    issuer: String,
    header: Header,
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
    /// Coordinates of the public key, for the key set.
    x: String,
    y: String,
    remembered: RwLock<HashMap<[u8; 32], Arc<Claims>>>,
}

impl Tokens {
    /// `key`: PKCS#8 PEM of a P-256 key.
    pub fn new(key: &str, issuer: &str) -> Result<Self, KeyError> {
        let fault = |e: &dyn std::fmt::Display| KeyError(e.to_string());
        let pair = KeyPair::from_pem(key).map_err(|e| fault(&e))?;
        // An uncompressed point: 4, x, y.
        let point = pair.der_bytes();
        let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else { return Err(KeyError("not a P-256 key".into())) };
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let mut header = Header::new(Algorithm::ES256);
        header.typ = None;
        header.kid = Some(URL_SAFE_NO_PAD.encode(Sha256::digest(pair.subject_public_key_info())));
        let mut validation = Validation::new(Algorithm::ES256);
        // Times and audiences are checked by us, on each use; the library checks the signature once.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.set_required_spec_claims::<&str>(&[]);
        Ok(Self {
            issuer: issuer.to_owned(),
            header,
            signing: EncodingKey::from_ec_pem(key.as_bytes()).map_err(|e| fault(&e))?,
            verifying: DecodingKey::from_ec_components(&x, &y).map_err(|e| fault(&e))?,
            validation,
            x,
            y,
            remembered: RwLock::default(),
        })
    }

    /// A token bound to `bound`, valid from `now` on. Times are Unix seconds.
    pub fn issue(&self, bound: Bound, audiences: &[String], now: i64, lifetime_seconds: i64) -> Result<String, TokenError> {
        self.sign(&Claims {
            iss: self.issuer.clone(),
            sub: super::service_account_user_name(&bound.namespace, &bound.serviceaccount.name),
            aud: audiences.to_vec(),
            exp: Some(now + lifetime_seconds),
            iat: Some(now),
            nbf: Some(now),
            jti: uuid::Uuid::new_v4().to_string(),
            bound: Some(bound),
            ..Claims::default()
        })
    }

    /// A token without end, for a Secret of type `kubernetes.io/service-account-token`.
    pub fn issue_legacy(&self, namespace: &str, account: &Reference, secret: &str) -> Result<String, TokenError> {
        self.sign(&Claims {
            iss: LEGACY_ISSUER.to_owned(),
            sub: super::service_account_user_name(namespace, &account.name),
            legacy_namespace: namespace.to_owned(),
            legacy_secret: secret.to_owned(),
            legacy_account: account.name.clone(),
            legacy_uid: account.uid.clone(),
            ..Claims::default()
        })
    }

    /// Signature, issuer and times. `now` is Unix seconds.
    pub fn verify(&self, token: &str, now: i64) -> Result<Arc<Claims>, TokenError> {
        if token.len() > TOKEN_LIMIT {
            return Err(TokenError::Invalid);
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        let known = self.remembered.read().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned();
        let claims = match known {
            Some(claims) => claims,
            None => {
                let claims = Arc::new(self.verify_signature(token)?);
                let mut remembered = self.remembered.write().unwrap_or_else(PoisonError::into_inner);
                if remembered.len() >= REMEMBERED_TOKENS {
                    remembered.clear();
                }
                remembered.insert(digest, claims.clone());
                claims
            }
        };
        if claims.exp.is_some_and(|exp| exp + LEEWAY_SECONDS < now) {
            return Err(TokenError::Expired);
        }
        if claims.nbf.into_iter().chain(claims.iat).any(|from| from > now + LEEWAY_SECONDS) {
            return Err(TokenError::NotYet);
        }
        Ok(claims)
    }

    fn verify_signature(&self, token: &str) -> Result<Claims, TokenError> {
        if token.split('.').count() != 3 {
            return Err(TokenError::Foreign);
        }
        let unverified: Claims = jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| TokenError::Foreign)?;
        if unverified.iss != self.issuer && unverified.iss != LEGACY_ISSUER {
            return Err(TokenError::Foreign);
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verifying, &self.validation).map_err(|_| TokenError::Invalid)?.claims;
        // Only legacy tokens may be without end and audience, and they name their Secret.
        let legacy = claims.iss == LEGACY_ISSUER && !claims.legacy_secret.is_empty();
        if legacy || (claims.exp.is_some() && !claims.aud.is_empty() && claims.bound.is_some()) { Ok(claims) } else { Err(TokenError::Invalid) }
    }

    fn sign(&self, claims: &Claims) -> Result<String, TokenError> {
        jsonwebtoken::encode(&self.header, claims, &self.signing).map_err(|_| TokenError::Invalid)
    }

    /// The body of `/.well-known/openid-configuration`.
    pub fn discovery_document(&self, external_url: &str) -> Value {
        json!({
            "issuer": self.issuer,
            "jwks_uri": format!("{external_url}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    /// The body of `/openid/v1/jwks` (`application/jwk-set+json`).
    pub fn key_set(&self) -> Value {
        json!({"keys": [{"use": "sig", "kty": "EC", "kid": self.header.kid, "crv": "P-256", "alg": "ES256", "x": self.x, "y": self.y}]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens::new(&KeyPair::generate().unwrap().serialize_pem(), "https://issuer").unwrap()
    }

    fn bound() -> Bound {
        let account = Reference { name: "bot".into(), uid: "u".into() };
        Bound { namespace: "a".into(), serviceaccount: account, ..Bound::default() }
    }

    #[test]
    fn a_token_lives_between_its_times() {
        let tokens = tokens();
        let token = tokens.issue(bound(), &["api".into()], 1000, 600).unwrap();
        let claims = tokens.verify(&token, 1001).unwrap();
        assert_eq!((claims.sub.as_str(), claims.aud.as_slice()), ("system:serviceaccount:a:bot", ["api".to_owned()].as_slice()));
        assert_eq!(tokens.verify(&token, 1600 + LEEWAY_SECONDS + 1), Err(TokenError::Expired), "also when it was remembered");
        assert_eq!(tokens.verify(&token, 1000 - LEEWAY_SECONDS - 1), Err(TokenError::NotYet));
    }

    #[test]
    fn others_signatures_are_refused() {
        let (ours, others) = (tokens(), tokens());
        let forged = others.issue(bound(), &["api".into()], 1000, 600).unwrap();
        assert_eq!(ours.verify(&forged, 1000), Err(TokenError::Invalid));
        assert_eq!(ours.verify("a.b.c", 1000), Err(TokenError::Foreign));
        assert_eq!(ours.verify("abcdef.0123456789abcdef", 1000), Err(TokenError::Foreign));
    }

    #[test]
    fn a_legacy_token_has_no_end() {
        let tokens = tokens();
        let token = tokens.issue_legacy("a", &bound().serviceaccount, "bot-token").unwrap();
        assert_eq!(tokens.verify(&token, i64::MAX / 2).unwrap().legacy_secret, "bot-token");
    }
}
