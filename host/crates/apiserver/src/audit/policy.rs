//! Which requests are logged, and how much of them: upstream's `audit.k8s.io/v1` Policy, read from a file.
//!
//! Pure but for the reading. The first rule that fits decides; without one nothing is logged. A field that is not known is told
//! of in the server's log and ignored, as upstream does; a value that is not known refuses the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pintle_api::Cause;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::auth::Attributes;
use crate::config_file;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Level {
    #[default]
    None,
    Metadata,
    Request,
    RequestResponse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

const LEVELS: [(&str, Level); 4] =
    [("None", Level::None), ("Metadata", Level::Metadata), ("Request", Level::Request), ("RequestResponse", Level::RequestResponse)];
const STAGES: [(&str, Stage); 4] = [
    ("RequestReceived", Stage::RequestReceived),
    ("ResponseStarted", Stage::ResponseStarted),
    ("ResponseComplete", Stage::ResponseComplete),
    ("Panic", Stage::Panic),
];

#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("{path}: {why}")]
    Read { path: PathBuf, why: std::io::Error },
    #[error("failed decoding: {0}")]
    Syntax(String),
    #[error("unknown group version field {0} in policy")]
    Version(String),
    #[error("{0}")]
    Invalid(String),
    #[error("loaded illegal policy with 0 rules")]
    Empty,
}

#[derive(Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
}

#[derive(Debug, Default)]
struct Rule {
    given: GivenRule,
    selected: Selected,
}

/// What the policy says of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    pub level: Level,
    pub omit_managed_fields: bool,
    omitted: [bool; STAGES.len()],
}

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Given {
    api_version: String,
    kind: String,
    #[serde(rename = "metadata")]
    _metadata: Value,
    rules: Vec<GivenRule>,
    omit_stages: Vec<String>,
    omit_managed_fields: bool,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GivenRule {
    level: String,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GroupResources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

impl Policy {
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let text = std::fs::read_to_string(path).map_err(|why| PolicyError::Read { path: path.to_owned(), why })?;
        Self::parse(&text)
    }

    /// YAML or JSON.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let given: Given = config_file::parse(text).map_err(PolicyError::Syntax)?;
        if given.api_version != "audit.k8s.io/v1" || given.kind != "Policy" {
            return Err(PolicyError::Version(format!("{}, Kind={}", given.api_version, given.kind)));
        }
        config_file::refuse("audit.k8s.io", "Policy", given.check()).map_err(PolicyError::Invalid)?;
        if given.rules.is_empty() {
            return Err(PolicyError::Empty);
        }
        for field in given.unknown_fields() {
            tracing::warn!(field, "the audit policy has a field that is not known; it is ignored");
        }
        let Given { rules, omit_stages, omit_managed_fields, .. } = given;
        let rules = rules.into_iter().map(|rule| Rule { selected: rule.selected(&omit_stages, omit_managed_fields), given: rule });
        Ok(Self { rules: rules.collect() })
    }

    pub fn select(&self, asked: &Attributes<'_>) -> Selected {
        self.rules.iter().find(|rule| rule.given.fits(asked)).map(|rule| rule.selected).unwrap_or_default()
    }
}

impl Selected {
    pub fn omits(&self, stage: Stage) -> bool {
        self.omitted[stage as usize]
    }
}

impl Given {
    fn check(&self) -> Vec<Cause> {
        let mut causes = check_stages("omitStages", &self.omit_stages);
        self.rules.iter().enumerate().for_each(|(at, rule)| causes.extend(rule.check(&format!("rules[{at}]"))));
        causes
    }

    fn unknown_fields(&self) -> Vec<&str> {
        let of_rules = self.rules.iter().flat_map(|rule| rule.unknown.keys().chain(rule.resources.iter().flat_map(|r| r.unknown.keys())));
        self.unknown.keys().chain(of_rules).map(String::as_str).collect()
    }
}

impl GivenRule {
    fn check(&self, path: &str) -> Vec<Cause> {
        let mut causes = Vec::new();
        match self.level.as_str() {
            "" => causes.push(Cause::required(format!("{path}.level"), "")),
            level if LEVELS.iter().any(|(name, _)| *name == level) => {}
            level => causes.push(Cause::not_supported(format!("{path}.level"), &json!(level), &LEVELS.map(|(name, _)| name))),
        }
        for (at, url) in self.non_resource_urls.iter().enumerate().filter(|(_, url)| *url != "*") {
            let mut refuse = |why: &str| causes.push(Cause::invalid(format!("{path}.nonResourceURLs[{at}]"), &json!(url), why));
            if !url.starts_with('/') {
                refuse("non-resource URL rules must begin with a '/' character");
            }
            if url.strip_suffix('*').unwrap_or(url).contains('*') {
                refuse("non-resource URL wildcards '*' must be the final character of the rule");
            }
        }
        for resources in &self.resources {
            if !resources.resource_names.is_empty() && resources.resources.is_empty() {
                let field = format!("{path}.resources.resourceNames");
                causes.push(Cause::invalid(field, &json!(resources.resource_names), "using resourceNames requires at least one resource"));
            }
            let group = resources.group.as_str();
            if !matches!(group, "" | "*") && !is_subdomain(group) {
                let why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end \
                           with an alphanumeric character";
                causes.push(Cause::invalid(format!("{path}.resources.group"), &json!(group), why));
            }
        }
        causes.extend(check_stages(&format!("{path}.omitStages"), &self.omit_stages));
        if !self.non_resource_urls.is_empty() && (!self.resources.is_empty() || !self.namespaces.is_empty()) {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            causes.push(Cause::invalid(format!("{path}.nonResourceURLs"), &json!(self.non_resource_urls), why));
        }
        causes
    }

    fn selected(&self, omit_stages: &[String], omit_managed_fields: bool) -> Selected {
        let level = LEVELS.iter().find(|(name, _)| *name == self.level).map(|(_, level)| *level).unwrap_or_default();
        let omitted = STAGES.map(|(name, _)| omit_stages.iter().chain(&self.omit_stages).any(|omitted| omitted == name));
        Selected { level, omitted, omit_managed_fields: self.omit_managed_fields.unwrap_or(omit_managed_fields) }
    }

    fn fits(&self, asked: &Attributes<'_>) -> bool {
        let lists = |list: &[String], value: &str| list.iter().any(|item| item == value);
        if !self.users.is_empty() && !lists(&self.users, &asked.user.name) {
            return false;
        }
        if !self.user_groups.is_empty() && !asked.user.groups.iter().any(|group| lists(&self.user_groups, group)) {
            return false;
        }
        if !self.verbs.is_empty() && !lists(&self.verbs, asked.verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return !asked.resource.is_empty()
                && (self.namespaces.is_empty() || lists(&self.namespaces, asked.namespace))
                && (self.resources.is_empty() || self.resources.iter().any(|resources| resources.fits(asked)));
        }
        self.non_resource_urls.is_empty() || (asked.resource.is_empty() && self.non_resource_urls.iter().any(|url| url_fits(url, asked.path)))
    }
}

impl GroupResources {
    fn fits(&self, asked: &Attributes<'_>) -> bool {
        if self.group != "*" && self.group != asked.group {
            return false;
        }
        let named = self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == asked.name);
        let fits = |listed: &String| match listed.split_once('/') {
            None => listed == "*" || (asked.subresource.is_empty() && listed == asked.resource),
            Some(("*", sub)) if !asked.subresource.is_empty() && sub == asked.subresource => true,
            // `pods/*` is pods as well, as upstream has it.
            Some((resource, "*")) => resource == asked.resource,
            Some((resource, sub)) => resource == asked.resource && !asked.subresource.is_empty() && sub == asked.subresource,
        };
        self.resources.is_empty() || (named && self.resources.iter().any(fits))
    }
}

fn url_fits(listed: &str, path: &str) -> bool {
    match listed.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == listed,
    }
}

fn check_stages(path: &str, stages: &[String]) -> Vec<Cause> {
    let known = |stage: &String| STAGES.iter().any(|(name, _)| name == stage);
    let why = "allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic";
    let refuse = |(at, stage): (usize, &String)| Cause::invalid(format!("{path}[{at}]"), &json!(stage), why);
    stages.iter().enumerate().filter(|(_, stage)| !known(stage)).map(refuse).collect()
}

fn is_subdomain(text: &str) -> bool {
    let label = |l: &str| !l.is_empty() && !l.starts_with('-') && !l.ends_with('-');
    text.split('.').all(label) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
}
