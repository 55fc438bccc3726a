//! From a request's credentials to a [`User`]: client certificate, bearer token, or nobody.
//!
//! A service account token counts only while its account, pod, secret or node lives. A credential that is given but
//! wrong is 401, never anonymous. Impersonation follows, in the `impersonation` module.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderMap;
use http::request::Parts;
use jiff::Timestamp;
use pintle_api::client::BoxFuture;
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Status};
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

use super::impersonation::{self, Acting};
use super::oidc::OidcError;
use super::tokens::{Bound, Claims, LEGACY_ISSUER, Reference, TokenError};
use super::{AUTHENTICATED, Attributes, Auth, Authenticator, CREDENTIAL_ID, User, service_account_groups, service_account_user_name};

/// An object that is being deleted vouches for its tokens this much longer, in seconds.
const DELETION_LEEWAY_SECONDS: i64 = 60;
/// About a kilobyte each; when full, the table starts anew.
const REMEMBERED_CERTIFICATES: usize = 1024;
const WEBSOCKET_TOKEN_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

const SERVICE_ACCOUNTS: GroupVersionResource = GroupVersionResource::constant("", "v1", "serviceaccounts");
const SECRETS: GroupVersionResource = GroupVersionResource::constant("", "v1", "secrets");
const PODS: GroupVersionResource = GroupVersionResource::constant("", "v1", "pods");
const NODES: GroupVersionResource = GroupVersionResource::constant("", "v1", "nodes");

/// Who a token speaks for, and to which audiences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenIdentity {
    pub user: User,
    /// Those of the asked audiences that the token is for.
    pub audiences: Vec<String>,
}

impl Authenticator for Auth {
    fn authenticate(&self, parts: &Parts, peer: &[CertificateDer<'static>]) -> Result<Arc<User>, Status> {
        if let Some(user) = peer.first().and_then(|leaf| self.certificates.user(leaf, Timestamp::now())) {
            return Ok(user);
        }
        Ok(Arc::new(match bearer_token(parts) {
            Some(token) => {
                self.authenticate_token(&token, &self.settings.audiences)
                    .map_err(|e| {
                        tracing::debug!(error = %e, "bearer token refused");
                        Status::unauthorized()
                    })?
                    .user
            }
            None if self.settings.anonymous.allows(parts.uri.path()) => User::anonymous(),
            None => return Err(Status::unauthorized()),
        }))
    }

    fn prepare(&self, parts: &Parts) -> Option<BoxFuture<'static, ()>> {
        if self.oidc.is_empty() { None } else { self.prepare_token(&bearer_token(parts)?) }
    }

    fn impersonate(&self, headers: &HeaderMap, asked: &Attributes<'_>) -> Result<Option<Acting>, Status> {
        impersonation::apply(self, &self.impersonations, headers, asked)
    }

    fn issuer_document(&self, path: &str) -> Option<(&'static str, serde_json::Value)> {
        match path {
            "/.well-known/openid-configuration" => Some(("application/json", self.tokens.discovery_document(&self.settings.external_url))),
            "/openid/v1/jwks" => Some(("application/jwk-set+json", self.tokens.key_set())),
            _ => None,
        }
    }
}

/// The users of certificates that were seen, so that a connection's certificate is read once and not at each request.
#[derive(Default)]
pub struct Certificates {
    seen: RwLock<HashMap<Vec<u8>, (i64, Arc<User>)>>,
}

impl Certificates {
    /// The certificate was verified when the connection began; its end may have come since.
    fn user(&self, leaf: &CertificateDer<'_>, now: Timestamp) -> Option<Arc<User>> {
        let valid = |(end, user): &(i64, Arc<User>)| (*end > now.as_second()).then(|| user.clone());
        if let Some(known) = self.seen.read().unwrap_or_else(PoisonError::into_inner).get(leaf.as_ref()) {
            return valid(known);
        }
        let (_, certificate) = x509_parser::parse_x509_certificate(leaf).ok()?;
        let mut user = with_group(user_of_certificate(leaf)?, AUTHENTICATED);
        let digest: String = Sha256::digest(leaf).iter().map(|byte| format!("{byte:02x}")).collect();
        user.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={digest}")]);
        let read = (certificate.validity().not_after.timestamp(), Arc::new(user));
        let user = valid(&read);
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED_CERTIFICATES {
            seen.clear();
        }
        seen.insert(leaf.to_vec(), read);
        user
    }
}

impl Auth {
    /// What the token's issuer has to be asked first; `None`: nothing.
    pub fn prepare_token(&self, token: &str) -> Option<BoxFuture<'static, ()>> {
        self.oidc.needs_keys(token, &self.objects)
    }

    /// A token that names no audience is for this server.
    fn own_audiences(&self, asked: &[String]) -> Result<Vec<String>, String> {
        let own: Vec<String> = asked.iter().filter(|audience| self.settings.audiences.contains(audience)).cloned().collect();
        if own.is_empty() { Err(format!("token is for this server, and not for {asked:?}")) } else { Ok(own) }
    }

    /// A token of any kind, for at least one of the audiences.
    pub fn authenticate_token(&self, token: &str, audiences: &[String]) -> Result<TokenIdentity, String> {
        let now = Timestamp::now();
        let mut identity = match self.tokens.verify(token, now.as_second()) {
            Ok(claims) => self.user_of_claims(&claims, token, audiences, now)?,
            Err(TokenError::Foreign) => {
                let user = match self.bootstrap_user(token, now) {
                    Some(user) => user,
                    None => self.oidc.verify(token, now.as_second()).map_err(|why| match why {
                        OidcError::Foreign => "invalid bearer token".to_owned(),
                        OidcError::Refused(why) => why,
                    })?,
                };
                TokenIdentity { user, audiences: self.own_audiences(audiences)? }
            }
            Err(other) => return Err(other.to_string()),
        };
        identity.user = with_group(identity.user, AUTHENTICATED);
        Ok(identity)
    }

    fn user_of_claims(&self, claims: &Claims, token: &str, audiences: &[String], now: Timestamp) -> Result<TokenIdentity, String> {
        if claims.iss == LEGACY_ISSUER {
            let user = self.legacy_user(claims, token)?;
            return Ok(TokenIdentity { user, audiences: self.own_audiences(audiences)? });
        }
        let shared: Vec<String> = claims.aud.iter().filter(|a| audiences.contains(a)).cloned().collect();
        if shared.is_empty() {
            return Err(format!("token audiences {:?} is invalid for the target audiences {audiences:?}", claims.aud));
        }
        let bound = claims.bound.as_ref().ok_or("service account token without binding")?;
        self.check_alive(bound, now)?;
        Ok(TokenIdentity { user: user_of_binding(bound, &claims.jti), audiences: shared })
    }

    /// The account, and what else the token is bound to, must exist with the same uid.
    fn check_alive(&self, bound: &Bound, now: Timestamp) -> Result<(), String> {
        let account = &bound.serviceaccount;
        let gone = || format!("serviceaccounts {:?} not found", account.name);
        let live = self.objects.get(&SERVICE_ACCOUNTS, Some(&bound.namespace), &account.name).ok_or_else(gone)?;
        if live.uid() != account.uid {
            return Err(format!("service account UID ({}) does not match claim ({})", live.uid(), account.uid));
        }
        if is_gone(&live, now) {
            return Err(format!("service account {}/{} has been deleted", bound.namespace, account.name));
        }
        if let Some(secret) = &bound.secret {
            self.check_reference(&SECRETS, Some(&bound.namespace), secret, now)?;
        }
        match (&bound.pod, &bound.node) {
            // The index knows running pods without parsing them.
            (Some(pod), _) if self.nodes.is_live_pod(&bound.namespace, &pod.name, &pod.uid) => Ok(()),
            (Some(pod), _) => self.check_reference(&PODS, Some(&bound.namespace), pod, now),
            (None, Some(node)) => self.check_reference(&NODES, None, node, now),
            (None, None) => Ok(()),
        }
    }

    fn check_reference(&self, resource: &GroupVersionResource, namespace: Option<&str>, to: &Reference, now: Timestamp) -> Result<(), String> {
        let live = self.objects.get(resource, namespace, &to.name).filter(|o| !is_gone(o, now));
        let live = live.ok_or("service account token has been invalidated")?;
        if live.uid() == to.uid { Ok(()) } else { Err(format!("{resource} UID ({}) does not match service account claim ({})", live.uid(), to.uid)) }
    }

    fn legacy_user(&self, claims: &Claims, token: &str) -> Result<User, String> {
        let namespace = &claims.legacy_namespace;
        let secret = self.objects.get(&SECRETS, Some(namespace), &claims.legacy_secret).ok_or("service account token has been invalidated")?;
        let held = STANDARD.decode(secret.str_at(&["data", "token"])).unwrap_or_default();
        if secret.is_being_deleted() || !same(&held, token.as_bytes()) {
            return Err("service account token has been invalidated".into());
        }
        let account = self.objects.get(&SERVICE_ACCOUNTS, Some(namespace), &claims.legacy_account).ok_or("service account not found")?;
        if account.uid() != claims.legacy_uid || account.is_being_deleted() {
            return Err("service account UID does not match claim".into());
        }
        let account = Reference { name: claims.legacy_account.clone(), uid: claims.legacy_uid.clone() };
        Ok(user_of_binding(&Bound { namespace: namespace.clone(), serviceaccount: account, ..Bound::default() }, ""))
    }

    /// `ID.SECRET`, kept in the Secret kube-system/bootstrap-token-ID.
    fn bootstrap_user(&self, token: &str, now: Timestamp) -> Option<User> {
        let (id, secret_part) = token.split_once('.').filter(|(id, rest)| is_token_part(id, 6) && is_token_part(rest, 16))?;
        let secret = self.objects.get(&SECRETS, Some("kube-system"), &format!("bootstrap-token-{id}"))?;
        if secret.str_at(&["type"]) != "bootstrap.kubernetes.io/token" || secret.is_being_deleted() {
            return None;
        }
        let field = |key: &str| STANDARD.decode(secret.str_at(&["data", key])).ok().and_then(|b| String::from_utf8(b).ok()).unwrap_or_default();
        let ends = field("expiration");
        let expired = !ends.is_empty() && !ends.parse::<Timestamp>().is_ok_and(|end| end > now);
        let wrong = field("token-id") != id || !same(field("token-secret").as_bytes(), secret_part.as_bytes());
        if expired || wrong || field("usage-bootstrap-authentication") != "true" {
            return None;
        }
        let mut groups = BTreeSet::from(["system:bootstrappers".to_owned()]);
        let extra = field("auth-extra-groups");
        // One group that may not be given makes the token worthless.
        for group in extra.split(',').filter(|_| !extra.is_empty()) {
            groups.insert(is_bootstrap_group(group).then(|| group.to_owned())?);
        }
        let groups = groups.into_iter().collect();
        Some(User { name: format!("system:bootstrap:{id}"), groups, ..User::default() })
    }
}

/// The subject of a verified certificate: common name and organizations.
pub fn user_of_certificate(der: &CertificateDer<'_>) -> Option<User> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok().map(str::to_owned)).collect();
    (!name.is_empty()).then(|| User { name, groups, ..User::default() })
}

fn user_of_binding(bound: &Bound, token_id: &str) -> User {
    let mut user = User {
        name: service_account_user_name(&bound.namespace, &bound.serviceaccount.name),
        uid: bound.serviceaccount.uid.clone(),
        groups: service_account_groups(&bound.namespace),
        ..User::default()
    };
    if !token_id.is_empty() {
        user.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={token_id}")]);
    }
    let mut note = |key: &str, value: &str| {
        if !value.is_empty() {
            user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        }
    };
    for (what, reference) in [("pod", &bound.pod), ("node", &bound.node)] {
        let Some(reference) = reference else { continue };
        note(&format!("{what}-name"), &reference.name);
        note(&format!("{what}-uid"), &reference.uid);
    }
    user
}

fn with_group(mut user: User, group: &str) -> User {
    if !user.in_group(group) {
        user.groups.push(group.to_owned());
    }
    user
}

/// From `Authorization: Bearer`, or the sub-protocol by which browsers pass it to a WebSocket.
fn bearer_token(parts: &Parts) -> Option<String> {
    if let Some(value) = parts.headers.get(http::header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        let token = token.trim();
        return (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned());
    }
    let protocols = parts.headers.get_all("sec-websocket-protocol").iter().filter_map(|v| v.to_str().ok());
    let encoded = protocols.flat_map(|v| v.split(',')).find_map(|p| p.trim().strip_prefix(WEBSOCKET_TOKEN_PREFIX))?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

fn is_gone(object: &Object, now: Timestamp) -> bool {
    let deleted = object.str_at(&["metadata", "deletionTimestamp"]);
    deleted.parse::<Timestamp>().is_ok_and(|at| at.as_second() < now.as_second() - DELETION_LEEWAY_SECONDS)
}

fn is_bootstrap_group(group: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b':' | b'-');
    group
        .strip_prefix("system:bootstrappers:")
        .is_some_and(|rest| rest.len() <= 256 && rest.bytes().all(allowed) && !rest.is_empty() && !rest.ends_with([':', '-']))
}

fn is_token_part(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// Compares in a time that depends on the length only.
fn same(a: &[u8], b: &[u8]) -> bool {
    !a.is_empty() && a.len() == b.len() && a.iter().zip(b).fold(0, |different, (x, y)| different | (x ^ y)) == 0
}
