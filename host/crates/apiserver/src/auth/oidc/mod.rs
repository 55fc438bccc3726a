//! Tokens of other issuers (OpenID Connect): who they name, by an installation's rules.
//!
//! A token counts if its issuer is configured, one of the issuer's keys signed it by an algorithm that is allowed, it is for one of our
//! audiences, its time is now, and its claims and the user they make pass every rule. Distributed claims are not followed. Keys are fetched
//! before authentication ([`Oidc::needs_keys`]), which itself waits for nobody.

pub mod config;
mod keys;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Validation, decode, decode_header};
use pintle_api::client::BoxFuture;
use pintle_cel::Variables;
use pintle_registry::Lookup;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::User;
use super::reviews::user_info;
use config::{Checked, Jwt, Mapping, Required};
use keys::Keys;

/// Longer ones are refused before any work is done, in bytes.
const TOKEN_LIMIT: usize = 16 * 1024;
/// Clocks may differ by this for a token that is not good yet, in seconds.
const NOT_BEFORE_LEEWAY_SECONDS: i64 = 5 * 60;

#[derive(Debug, PartialEq, Eq)]
pub enum OidcError {
    /// Another authenticator may know it.
    Foreign,
    Refused(String),
}

#[derive(Default)]
pub struct Oidc {
    issuers: Vec<Issuer>,
}

struct Issuer {
    jwt: Arc<Jwt>,
    keys: Arc<Keys>,
}

impl Oidc {
    pub fn new(issuers: &[Arc<Jwt>]) -> Self {
        Self { issuers: issuers.iter().map(|jwt| Issuer { keys: Arc::new(Keys::of(jwt)), jwt: jwt.clone() }).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// What to wait for before the token can be judged; `None`: nothing.
    pub fn needs_keys(&self, token: &str, objects: &Arc<dyn Lookup>) -> Option<BoxFuture<'static, ()>> {
        let issuer = self.issuer_of(token)?;
        let id = decode_header(token).ok()?.kid;
        if !issuer.keys.must_ask(id.as_deref()) {
            return None;
        }
        let (keys, objects) = (issuer.keys.clone(), objects.clone());
        Some(Box::pin(async move { keys.ask(&*objects).await }))
    }

    /// `now` is Unix seconds.
    pub fn verify(&self, token: &str, now: i64) -> Result<User, OidcError> {
        let issuer = self.issuer_of(token).ok_or(OidcError::Foreign)?;
        issuer.verify(token, now).map_err(|why| OidcError::Refused(format!("oidc: {why}")))
    }

    fn issuer_of(&self, token: &str) -> Option<&Issuer> {
        if self.issuers.is_empty() || token.len() > TOKEN_LIMIT || token.split('.').count() != 3 {
            return None;
        }
        #[derive(Deserialize)]
        struct Iss {
            iss: String,
        }
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let Iss { iss } = serde_json::from_slice(&claims).ok()?;
        self.issuers.iter().find(|issuer| issuer.jwt.url == iss)
    }
}

type Claims = Map<String, Value>;

impl Issuer {
    fn verify(&self, token: &str, now: i64) -> Result<User, String> {
        let claims = self.signed_claims(token)?;
        self.check_times_and_audience(&claims, now)?;
        let variables = Variables::new().with("claims", &Value::Object(claims.clone()));
        self.check_claims(&claims, &variables)?;
        let user = self.user(&claims, &variables)?;
        let mut shown = user_info(&user);
        for (field, empty) in [("username", json!("")), ("uid", json!("")), ("groups", json!([])), ("extra", json!({}))] {
            if shown.get(field).is_none() {
                shown[field] = empty;
            }
        }
        let variables = Variables::new().with("user", &shown);
        self.jwt
            .user_rules
            .iter()
            .try_for_each(|rule| holds(rule, &variables).map_err(|why| format!("error evaluating user info validation rule: {why}")))?;
        Ok(user)
    }

    fn signed_claims(&self, token: &str) -> Result<Claims, String> {
        let header = decode_header(token).map_err(|why| format!("verify token: malformed jwt: {why}"))?;
        if !self.jwt.algorithms.contains(&header.alg) {
            return Err(format!("verify token: id token signed with unsupported algorithm, got {:?}", header.alg));
        }
        let mut validation = Validation::new(header.alg);
        // Times and audiences are checked by us.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.set_required_spec_claims::<&str>(&[]);
        let candidates = self.keys.candidates(header.kid.as_deref());
        let verified = candidates.iter().find_map(|key| decode::<Claims>(token, key, &validation).ok());
        verified.map(|data| data.claims).ok_or_else(|| "verify token: failed to verify signature: failed to verify id token signature".to_owned())
    }

    fn check_times_and_audience(&self, claims: &Claims, now: i64) -> Result<(), String> {
        let time = |name: &str| claims.get(name).and_then(|v| v.as_i64().or_else(|| v.as_f64().map(|f| f as i64)));
        match time("exp") {
            Some(end) if end > now => {}
            Some(end) => {
                let end = jiff::Timestamp::from_second(end).map(|t| t.to_string()).unwrap_or_default();
                return Err(format!("verify token: token is expired (Token Expiry: {end})"));
            }
            None => return Err("verify token: token is expired (Token Expiry: 0001-01-01 00:00:00 +0000 UTC)".to_owned()),
        }
        if time("nbf").is_some_and(|from| from > now + NOT_BEFORE_LEEWAY_SECONDS) {
            return Err("verify token: current time before the nbf (not before) time".to_owned());
        }
        let given: Vec<String> = match claims.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect(),
            _ => Vec::new(),
        };
        match given.iter().any(|aud| self.jwt.audiences.contains(aud)) {
            true => Ok(()),
            false => Err(format!("verify token: expected audience in {:?} got {given:?}", self.jwt.audiences)),
        }
    }

    fn check_claims(&self, claims: &Claims, variables: &Variables<'_>) -> Result<(), String> {
        for required in &self.jwt.required {
            match required {
                Required::Claim { claim, value } => {
                    let given = claims.get(claim).ok_or_else(|| format!("required claim {claim} not present in ID token"))?;
                    let given = given.as_str().ok_or_else(|| format!("parse claim {claim}: not a string"))?;
                    if given != value {
                        return Err(format!("required claim {claim} value does not match. Got = {given}, want = {value}"));
                    }
                }
                Required::Rule(rule) => holds(rule, variables).map_err(|why| format!("error evaluating claim validation expression: {why}"))?,
            }
        }
        Ok(())
    }

    fn user(&self, claims: &Claims, variables: &Variables<'_>) -> Result<User, String> {
        let mut user = User { name: self.username(claims, variables)?, ..User::default() };
        user.groups = match &self.jwt.groups {
            Mapping::None => Vec::new(),
            Mapping::Claim { claim, prefix } => match claims.get(claim) {
                None => Vec::new(),
                Some(groups) => texts(groups)
                    .ok_or_else(|| format!("parse groups claim {claim:?}: neither a string nor a list of strings"))?
                    .into_iter()
                    .map(|g| format!("{prefix}{g}"))
                    .collect(),
            },
            Mapping::Expression(checked) => listed(checked, variables).map_err(|why| format!("error evaluating group claim expression: {why}"))?,
        };
        user.uid = match &self.jwt.uid {
            Mapping::None => String::new(),
            Mapping::Claim { claim, .. } => text(claims, claim).map_err(|why| format!("parse uid claim {claim:?}: {why}"))?,
            Mapping::Expression(checked) => match checked.expression.evaluate(variables) {
                Ok(Value::String(uid)) => uid,
                Ok(_) => return Err("error evaluating uid claim expression: uid claim expression must return a string".to_owned()),
                Err(why) => return Err(format!("error evaluating uid claim expression: {why}")),
            },
        };
        let mut extra = BTreeMap::new();
        for (key, checked) in &self.jwt.extra {
            let values = listed(checked, variables).map_err(|why| format!("error evaluating extra claim expression: {why}"))?;
            if !values.is_empty() {
                extra.insert(key.clone(), values);
            }
        }
        if let Some(id) = claims.get("jti").and_then(Value::as_str).filter(|id| !id.is_empty()) {
            extra.insert(super::CREDENTIAL_ID.to_owned(), vec![format!("JTI={id}")]);
        }
        user.extra = extra;
        Ok(user)
    }

    fn username(&self, claims: &Claims, variables: &Variables<'_>) -> Result<String, String> {
        match &self.jwt.username {
            Mapping::Expression(checked) => match checked.expression.evaluate(variables) {
                Ok(Value::String(name)) if name.is_empty() => Err("empty username via CEL expression is not allowed".to_owned()),
                Ok(Value::String(name)) => Ok(name),
                Ok(_) => Err("error evaluating username claim expression: username claim expression must return a string".to_owned()),
                Err(why) => Err(format!("error evaluating username claim expression: {why}")),
            },
            Mapping::Claim { claim, prefix } => {
                let name = text(claims, claim).map_err(|why| format!("parse username claims {claim:?}: {why}"))?;
                if claim == "email" && claims.get("email_verified").is_some_and(|verified| verified != &json!(true)) {
                    return Err("email not verified".to_owned());
                }
                Ok(format!("{prefix}{name}"))
            }
            Mapping::None => Err("no username claim".to_owned()),
        }
    }
}

fn text(claims: &Claims, claim: &str) -> Result<String, String> {
    match claims.get(claim) {
        None => Err("claim not present".to_owned()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err("not a string".to_owned()),
    }
}

/// One text, or a list of them.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(many) => many.iter().map(|v| v.as_str().map(str::to_owned)).collect(),
        Value::Null => Some(Vec::new()),
        _ => None,
    }
}

fn listed(checked: &Checked, variables: &Variables<'_>) -> Result<Vec<String>, String> {
    let value = checked.expression.evaluate(variables)?;
    let values = texts(&value).ok_or("expression must return a string or a list of strings")?;
    Ok(values.into_iter().filter(|v| !v.is_empty()).collect())
}

fn holds(rule: &Checked, variables: &Variables<'_>) -> Result<(), String> {
    match rule.expression.is_true(variables) {
        Ok(true) => Ok(()),
        Ok(false) if rule.message.is_empty() => Err(format!("validation expression '{}' failed", rule.text)),
        Ok(false) => Err(format!("validation expression '{}' failed: {}", rule.text, rule.message)),
        Err(why) => Err(format!("expression '{}' resulted in error: {why}", rule.text)),
    }
}
