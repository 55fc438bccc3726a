//! Which issuers' tokens count, and whom they name: upstream's flags, or its AuthenticationConfiguration file.
//!
//! Pure but for the reading of files. Expressions are compiled here, so that a wrong one ends the server's start and no request.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jsonwebtoken::Algorithm;
use pintle_api::Cause;
use pintle_cel::Expression;
use serde::Deserialize;
use serde_json::json;

use super::super::Anonymous;
use crate::config_file;

const VERSIONS: [&str; 2] = ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1"];
/// Upstream allows as many issuers in a file.
const MAX_ISSUERS: usize = 64;
/// Signatures by a secret that is shared are not among them, as upstream.
const ALGORITHMS: [(&str, Algorithm); 8] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
];

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: {why}")]
    Read { path: PathBuf, why: std::io::Error },
    #[error("authentication configuration: {0}")]
    Invalid(String),
}

/// Upstream's `--oidc-*` flags.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub issuer_url: String,
    pub client_id: String,
    pub username_claim: String,
    pub username_prefix: Option<String>,
    pub groups_claim: String,
    pub groups_prefix: String,
    /// `claim=value`
    pub required_claims: Vec<String>,
    pub signing_algs: Vec<String>,
    pub ca_file: Option<PathBuf>,
}

/// One issuer.
#[derive(Debug)]
pub struct Jwt {
    pub url: String,
    pub discovery_url: String,
    pub audiences: Vec<String>,
    /// PEM; empty: the machine's authorities.
    pub authority: String,
    pub algorithms: Vec<Algorithm>,
    pub required: Vec<Required>,
    pub username: Mapping,
    pub groups: Mapping,
    pub uid: Mapping,
    /// By key.
    pub extra: Vec<(String, Checked)>,
    pub user_rules: Vec<Checked>,
}

/// Where a part of the user comes from.
#[derive(Debug)]
pub enum Mapping {
    None,
    Claim { claim: String, prefix: String },
    Expression(Checked),
}

#[derive(Debug)]
pub enum Required {
    Claim { claim: String, value: String },
    Rule(Checked),
}

/// An expression with the words for when it does not hold.
pub struct Checked {
    pub text: String,
    pub message: String,
    pub expression: Expression,
}

impl std::fmt::Debug for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A file: issuers, and what holds for requests without credentials.
#[derive(Debug, Default)]
pub struct Configuration {
    pub issuers: Vec<Jwt>,
    pub anonymous: Option<Anonymous>,
}

impl Flags {
    pub fn is_empty(&self) -> bool {
        self.issuer_url.is_empty() && self.client_id.is_empty()
    }

    pub fn read(&self) -> Result<Jwt, ConfigError> {
        let invalid = |why: String| ConfigError::Invalid(why);
        if self.issuer_url.is_empty() || self.client_id.is_empty() {
            return Err(invalid("oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set".into()));
        }
        let known = |name: &String| {
            ALGORITHMS.iter().find(|(n, _)| n == name).map(|(_, a)| *a).ok_or_else(|| invalid(format!("oidc: unsupported signing alg: {name:?}")))
        };
        let algs = if self.signing_algs.is_empty() { vec!["RS256".to_owned()] } else { self.signing_algs.clone() };
        let claim = if self.username_claim.is_empty() { "sub" } else { &self.username_claim };
        let prefix = match self.username_prefix.as_deref() {
            Some("-") => String::new(),
            Some(prefix) if !prefix.is_empty() => prefix.to_owned(),
            // Names of different issuers are told apart, but addresses are names already.
            _ if claim == "email" => String::new(),
            _ => format!("{}#", self.issuer_url),
        };
        let pair = |text: &String| {
            text.split_once('=')
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .ok_or_else(|| invalid(format!("--oidc-required-claim: {text:?} is no key=value")))
        };
        let required = self.required_claims.iter().map(pair).collect::<Result<BTreeMap<_, _>, _>>()?;
        let authority = self.ca_file.as_ref().map(|path| std::fs::read_to_string(path).map_err(|why| ConfigError::Read { path: path.clone(), why }));
        let groups = match self.groups_claim.as_str() {
            "" => Mapping::None,
            claim => Mapping::Claim { claim: claim.to_owned(), prefix: self.groups_prefix.clone() },
        };
        check_url("--oidc-issuer-url", &self.issuer_url).map_err(|cause| invalid(cause.message))?;
        Ok(Jwt {
            url: self.issuer_url.clone(),
            discovery_url: well_known(&self.issuer_url),
            audiences: vec![self.client_id.clone()],
            authority: authority.transpose()?.unwrap_or_default(),
            algorithms: algs.iter().map(known).collect::<Result<_, _>>()?,
            required: required.into_iter().map(|(claim, value)| Required::Claim { claim, value }).collect(),
            username: Mapping::Claim { claim: claim.to_owned(), prefix },
            groups,
            uid: Mapping::None,
            extra: Vec::new(),
            user_rules: Vec::new(),
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Given {
    api_version: String,
    kind: String,
    #[serde(default)]
    jwt: Vec<GivenJwt>,
    anonymous: Option<GivenAnonymous>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GivenAnonymous {
    enabled: bool,
    #[serde(default)]
    conditions: Vec<GivenPath>,
}

#[derive(Debug, Deserialize)]
struct GivenPath {
    path: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GivenJwt {
    issuer: GivenIssuer,
    #[serde(default)]
    claim_validation_rules: Vec<GivenRule>,
    claim_mappings: GivenMappings,
    #[serde(default)]
    user_validation_rules: Vec<GivenRule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GivenIssuer {
    url: String,
    #[serde(rename = "discoveryURL", default)]
    discovery_url: String,
    #[serde(default)]
    certificate_authority: String,
    #[serde(default)]
    audiences: Vec<String>,
    #[serde(default)]
    audience_match_policy: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct GivenRule {
    claim: String,
    required_value: String,
    expression: String,
    message: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenMappings {
    username: GivenMapping,
    #[serde(default)]
    groups: GivenMapping,
    #[serde(default)]
    uid: GivenMapping,
    #[serde(default)]
    extra: Vec<GivenExtra>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GivenMapping {
    claim: String,
    prefix: Option<String>,
    expression: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GivenExtra {
    key: String,
    value_expression: String,
}

impl Configuration {
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|why| ConfigError::Read { path: path.to_owned(), why })?;
        Self::parse(&text)
    }

    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let given: Given = config_file::parse(text).map_err(ConfigError::Invalid)?;
        if given.kind != "AuthenticationConfiguration" || !VERSIONS.contains(&given.api_version.as_str()) {
            return Err(ConfigError::Invalid(format!("expected AuthenticationConfiguration, got {}, Kind={}", given.api_version, given.kind)));
        }
        let mut causes = Vec::new();
        if given.jwt.len() > MAX_ISSUERS {
            causes.push(Cause::invalid("jwt", &json!(given.jwt.len()), &format!("must have at most {MAX_ISSUERS} items")));
        }
        for (at, jwt) in given.jwt.iter().enumerate() {
            if given.jwt[..at].iter().any(|other| other.issuer.url == jwt.issuer.url) {
                causes.push(Cause::duplicate(format!("jwt[{at}].issuer.url"), &json!(jwt.issuer.url)));
            }
        }
        let issuers: Vec<Jwt> = given.jwt.into_iter().enumerate().map(|(at, jwt)| jwt.read(&format!("jwt[{at}]"), &mut causes)).collect();
        let anonymous = given.anonymous.map(|anonymous| anonymous.read(&mut causes));
        config_file::refuse("apiserver.config.k8s.io", "AuthenticationConfiguration", causes).map_err(ConfigError::Invalid)?;
        Ok(Self { issuers, anonymous })
    }
}

impl GivenAnonymous {
    fn read(self, causes: &mut Vec<Cause>) -> Anonymous {
        if !self.enabled && !self.conditions.is_empty() {
            causes.push(Cause::invalid("anonymous.conditions", &json!("conditions"), "enabled should be set to true when conditions are defined"));
        }
        match (self.enabled, self.conditions.is_empty()) {
            (false, _) => Anonymous::Off,
            (true, true) => Anonymous::On,
            (true, false) => Anonymous::Paths(self.conditions.into_iter().map(|c| c.path).collect()),
        }
    }
}

impl GivenJwt {
    fn read(self, path: &str, causes: &mut Vec<Cause>) -> Jwt {
        let GivenIssuer { url, discovery_url, certificate_authority, audiences, audience_match_policy } = self.issuer;
        causes.extend(check_url(&format!("{path}.issuer.url"), &url).err());
        if !discovery_url.is_empty() {
            causes.extend(check_url(&format!("{path}.issuer.discoveryURL"), &discovery_url).err());
            if discovery_url.trim_end_matches('/') == url.trim_end_matches('/') {
                causes.push(Cause::invalid(format!("{path}.issuer.discoveryURL"), &json!(discovery_url), "discoveryURL must be different from URL"));
            }
        }
        match audiences.as_slice() {
            [] => causes.push(Cause::required(format!("{path}.issuer.audiences"), &format!("at least one {path}.issuer.audiences is required"))),
            [_, _, ..] if audience_match_policy != "MatchAny" => {
                let why = "audienceMatchPolicy must be MatchAny for multiple audiences";
                causes.push(Cause::invalid(format!("{path}.issuer.audienceMatchPolicy"), &json!(audience_match_policy), why));
            }
            _ => {}
        }
        let required = self.claim_validation_rules.into_iter().enumerate();
        let required: Vec<Required> =
            required.filter_map(|(at, rule)| rule.read_claim(&format!("{path}.claimValidationRules[{at}]"), causes)).collect();
        let GivenMappings { username, groups, uid, extra } = self.claim_mappings;
        let of = |name: &str| format!("{path}.claimMappings.{name}");
        if username.claim.is_empty() && username.expression.is_empty() {
            causes.push(Cause::required(of("username"), "claim or expression is required"));
        }
        if username.expression.contains("claims.email") && !username.expression.contains("email_verified") {
            let why = "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or \
                       claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression";
            let said = |rule: &Required| matches!(rule, Required::Rule(checked) if checked.text.contains("email_verified"));
            if !required.iter().any(said) && !extra.iter().any(|e| e.value_expression.contains("email_verified")) {
                causes.push(Cause::invalid(of("username.expression"), &json!(username.expression), why));
            }
        }
        let (username, groups, uid) =
            (username.read(&of("username"), true, causes), groups.read(&of("groups"), true, causes), uid.read(&of("uid"), false, causes));
        let extra = extra.into_iter().enumerate().filter_map(|(at, extra)| {
            let path = of(&format!("extra[{at}]"));
            if extra.key.split_once('/').is_none_or(|(domain, rest)| domain.is_empty() || rest.is_empty()) || extra.key != extra.key.to_lowercase() {
                causes.push(Cause::invalid(
                    format!("{path}.key"),
                    &json!(extra.key),
                    "must be a lowercase domain-prefixed path (such as \"acme.io/foo\")",
                ));
            }
            Some((extra.key, compile(&format!("{path}.valueExpression"), extra.value_expression, String::new(), causes)?))
        });
        let extra = extra.collect();
        let user_rules = self.user_validation_rules.into_iter().enumerate();
        let user_rules = user_rules
            .filter_map(|(at, rule)| compile(&format!("{path}.userValidationRules[{at}].expression"), rule.expression, rule.message, causes))
            .collect();
        let discovery_url = if discovery_url.is_empty() { well_known(&url) } else { discovery_url };
        let algorithms = ALGORITHMS.map(|(_, algorithm)| algorithm).into();
        Jwt { url, discovery_url, audiences, authority: certificate_authority, algorithms, required, username, groups, uid, extra, user_rules }
    }
}

impl GivenRule {
    fn read_claim(self, path: &str, causes: &mut Vec<Cause>) -> Option<Required> {
        match (self.claim.is_empty(), self.expression.is_empty()) {
            (false, true) => Some(Required::Claim { claim: self.claim, value: self.required_value }),
            (true, false) => compile(&format!("{path}.expression"), self.expression, self.message, causes).map(Required::Rule),
            (true, true) => {
                causes.push(Cause::required(path, "claim or expression is required"));
                None
            }
            (false, false) => {
                causes.push(Cause::invalid(path, &json!(self.claim), "claim and expression can't both be set"));
                None
            }
        }
    }
}

impl GivenMapping {
    fn read(self, path: &str, prefixed: bool, causes: &mut Vec<Cause>) -> Mapping {
        match (self.claim.is_empty(), self.expression.is_empty()) {
            (true, true) => Mapping::None,
            (true, false) if self.prefix.is_some() => {
                causes.push(Cause::invalid(path, &json!(self.expression), "expression and prefix can't both be set"));
                Mapping::None
            }
            (true, false) => {
                compile(&format!("{path}.expression"), self.expression, String::new(), causes).map_or(Mapping::None, Mapping::Expression)
            }
            (false, false) => {
                causes.push(Cause::invalid(path, &json!(self.claim), "claim and expression can't both be set"));
                Mapping::None
            }
            (false, true) => {
                if prefixed && self.prefix.is_none() {
                    causes.push(Cause::required(
                        format!("{path}.prefix"),
                        "prefix is required when claim is set. It can be set to an empty string to disable prefixing",
                    ));
                }
                Mapping::Claim { claim: self.claim, prefix: self.prefix.unwrap_or_default() }
            }
        }
    }
}

fn compile(path: &str, text: String, message: String, causes: &mut Vec<Cause>) -> Option<Checked> {
    if text.trim().is_empty() {
        causes.push(Cause::required(path, "expression is required"));
        return None;
    }
    let variable = if path.contains(".userValidationRules[") { "user" } else { "claims" };
    match Expression::compile_with(&text, &[variable]) {
        Ok(expression) => Some(Checked { text, message, expression }),
        Err(fault) => {
            causes.push(Cause::invalid(path, &json!(text), &format!("compilation failed: {fault}")));
            None
        }
    }
}

fn well_known(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}

fn check_url(path: &str, url: &str) -> Result<(), Cause> {
    let fault = match url.strip_prefix("https://") {
        _ if url.is_empty() => return Err(Cause::required(path, "URL is required")),
        None => "URL scheme must be https",
        Some("") => "URL must have a host",
        Some(rest) if rest.contains('@') => "URL must not contain a username or password",
        Some(rest) if rest.contains('?') => "URL must not contain a query",
        Some(rest) if rest.contains('#') => "URL must not contain a fragment",
        Some(_) => return Ok(()),
    };
    Err(Cause::invalid(path, &json!(url), fault))
}
