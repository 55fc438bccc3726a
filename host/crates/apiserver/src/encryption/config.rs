//! Which resources are encrypted at rest, and with which keys: upstream's EncryptionConfiguration, read from a file.
//!
//! Pure but for the reading. Providers: aesgcm, aescbc, secretbox, identity. No kms.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pintle_api::Cause;
use serde::Deserialize;
use serde_json::{Value, json};

use super::provider::{Kind, Provider};
use crate::config_file;

const VERSIONS: [&str; 2] = ["apiserver.config.k8s.io/v1", "v1"];

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("error reading encryption provider configuration file {path:?}: {why}")]
    Read { path: PathBuf, why: std::io::Error },
    #[error("error decoding encryption provider configuration: {0}")]
    Syntax(String),
    #[error("invalid encryption provider configuration: {0}")]
    Invalid(String),
}

/// What is done with each resource's values.
#[derive(Default)]
pub struct Sealing {
    /// The first that names a resource counts for it.
    lists: Vec<List>,
}

struct List {
    resources: Vec<String>,
    /// The first writes; all read.
    providers: Vec<Provider>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Given {
    api_version: String,
    kind: String,
    #[serde(default)]
    resources: Vec<GivenList>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenList {
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    providers: Vec<GivenProvider>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GivenProvider {
    aesgcm: Option<GivenKeys>,
    aescbc: Option<GivenKeys>,
    secretbox: Option<GivenKeys>,
    identity: Option<Value>,
    kms: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GivenKeys {
    keys: Vec<GivenKey>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GivenKey {
    name: String,
    secret: String,
}

/// A key is not shown, wherever its configuration is.
impl std::fmt::Debug for GivenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Name: {}, Secret: [REDACTED]", self.name)
    }
}

impl Sealing {
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|why| ConfigError::Read { path: path.to_owned(), why })?;
        Self::parse(&text)
    }

    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let given: Given = config_file::parse(text).map_err(ConfigError::Syntax)?;
        if given.kind != "EncryptionConfiguration" || !VERSIONS.contains(&given.api_version.as_str()) {
            return Err(ConfigError::Syntax(format!("got unexpected config type: {}, Kind={}", given.api_version, given.kind)));
        }
        config_file::refuse("apiserver.config.k8s.io", "EncryptionConfiguration", given.check()).map_err(ConfigError::Invalid)?;
        let list = |list: GivenList| List { resources: list.resources, providers: list.providers.iter().flat_map(GivenProvider::read).collect() };
        Ok(Self { lists: given.resources.into_iter().map(list).collect() })
    }

    /// What encrypts and decrypts the values of a resource; `None`: they lie as they are.
    pub fn of(&self, group: &str, resource: &str) -> Option<&[Provider]> {
        let names = |listed: &String| match listed.split_once('.') {
            None => group.is_empty() && listed == resource,
            Some(("*", "*")) => true,
            Some(("*", of)) => of == group,
            Some((name, of)) => of == group && name == resource,
        };
        self.lists.iter().find(|list| list.resources.iter().any(names)).map(|list| list.providers.as_slice())
    }
}

impl Given {
    fn check(&self) -> Vec<Cause> {
        if self.resources.is_empty() {
            return vec![Cause::required("resources", "at least one resources is required")];
        }
        let mut causes = Vec::new();
        for (at, list) in self.resources.iter().enumerate() {
            let (resources, providers) = (format!("resources[{at}].resources"), format!("resources[{at}].providers"));
            if list.resources.is_empty() {
                causes.push(Cause::required(resources.as_str(), &format!("at least one {resources} is required")));
            }
            causes.extend(check_overlap(&list.resources, &resources));
            let names = list.resources.iter().enumerate();
            causes.extend(names.filter_map(|(at, name)| Some(Cause::invalid(format!("{resources}[{at}]"), &json!(name), name_fault(name)?))));
            if list.providers.is_empty() {
                causes.push(Cause::required(providers.as_str(), &format!("at least one {providers} is required")));
            }
            list.providers.iter().enumerate().for_each(|(at, provider)| causes.extend(provider.check(&format!("{providers}[{at}]"))));
        }
        causes
    }
}

fn check_overlap(resources: &[String], path: &str) -> Vec<Cause> {
    let parse = |name: &'_ String| {
        let (resource, group) = name.split_once('.').unwrap_or((name, ""));
        (resource.to_owned(), group.to_owned())
    };
    let parsed: Vec<(String, String)> = resources.iter().map(parse).collect();
    let pairs =
        || (0..parsed.len()).flat_map(|a| (0..parsed.len()).filter(move |b| *b != a).map(move |b| (a, b))).map(|(a, b)| (&parsed[a], &parsed[b]));
    let all = |name: &(String, String)| name.0 == "*" && name.1 == "*";
    let overlaps = |(a, b): (&(String, String), &(String, String))| a != b && (all(a) || (a.1 == b.1 && (a.0 == "*" || b.0 == "*")));
    let mut causes = Vec::new();
    if pairs().any(|(a, b)| a == b) {
        causes.push(Cause::invalid(path, &json!(resources), "the same resource cannot be specified multiple times"));
    }
    if pairs().any(overlaps) {
        let why = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked";
        causes.push(Cause::invalid(path, &json!(resources), why));
    }
    causes
}

fn name_fault(name: &str) -> Option<&'static str> {
    if name.chars().any(char::is_uppercase) {
        return Some("resource name should not contain capital letters");
    }
    match name.split_once('.') {
        None if name == "*" => Some("use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"),
        None if matches!(name, "apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations") => {
            Some("resources which do not have REST API/s cannot be encrypted")
        }
        Some((_, "events.k8s.io")) => {
            Some("'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file")
        }
        Some((_, "extensions")) => Some("'extensions' group has been removed and cannot be used for encryption"),
        Some((resource, "*")) if resource != "*" => Some("encrypting the same resource across groups is not supported"),
        _ => None,
    }
}

impl GivenProvider {
    fn keyed(&self) -> [(Kind, &Option<GivenKeys>); 3] {
        [(Kind::AesGcm, &self.aesgcm), (Kind::AesCbc, &self.aescbc), (Kind::SecretBox, &self.secretbox)]
    }

    fn check(&self, path: &str) -> Vec<Cause> {
        if self.kms.is_some() {
            return vec![Cause::invalid(format!("{path}.kms"), &json!("kms"), "KMS providers are not served here: use aesgcm, secretbox or aescbc")];
        }
        let found = self.keyed().iter().filter(|(_, keys)| keys.is_some()).count() + usize::from(self.identity.is_some());
        match found {
            0 => {
                let why = "provider does not contain any of the expected providers: AESGCM, AESCBC, Secretbox, Identity";
                return vec![Cause::invalid(path, &json!({}), why)];
            }
            1 => {}
            _ => {
                let why = "more than one provider specified in a single element, should split into different list elements";
                return vec![Cause::invalid(path, &json!({}), why)];
            }
        }
        let mut causes = Vec::new();
        for (kind, keys) in self.keyed() {
            let Some(GivenKeys { keys }) = keys else { continue };
            let path = format!("{path}.{}.keys", kind.name());
            if keys.is_empty() {
                causes.push(Cause::required(path.as_str(), "at least one keys is required"));
            }
            keys.iter().enumerate().for_each(|(at, key)| causes.extend(key.check(kind, &format!("{path}[{at}]"))));
        }
        causes
    }

    /// One for each key.
    fn read(&self) -> Vec<Provider> {
        let keys = self.keyed().into_iter().flat_map(|(kind, keys)| keys.iter().flat_map(|k| &k.keys).map(move |key| (kind, key)));
        let keyed = keys.filter_map(|(kind, key)| Provider::new(kind, &key.name, &STANDARD.decode(&key.secret).ok()?));
        keyed.chain(self.identity.iter().map(|_| Provider::identity())).collect()
    }
}

impl GivenKey {
    fn check(&self, kind: Kind, path: &str) -> Vec<Cause> {
        let mut causes = Vec::new();
        if self.name.is_empty() {
            causes.push(Cause::required(format!("{path}.name"), "key.name is a mandatory field for a key"));
        }
        if self.name.contains(':') {
            causes.push(Cause::invalid(format!("{path}.name"), &json!(self.name), "must not contain ':'"));
        }
        let secret = |why: &str| Cause::invalid(format!("{path}.secret"), &json!("REDACTED"), why);
        match STANDARD.decode(&self.secret) {
            _ if self.secret.is_empty() => causes.push(Cause::required(format!("{path}.secret"), "key.secret is a mandatory field for a key")),
            Err(_) => causes.push(secret("secrets must be base64 encoded")),
            Ok(key) if !kind.key_sizes().contains(&key.len()) => {
                let sizes: Vec<String> = kind.key_sizes().iter().map(usize::to_string).collect();
                let why = format!("secret is not of the expected length, got {}, expected one of [{}]", key.len(), sizes.join(" "));
                causes.push(secret(&why));
            }
            Ok(_) => {}
        }
        causes
    }
}
