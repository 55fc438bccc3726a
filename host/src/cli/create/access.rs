//! Tokens, roles and their bindings.

use std::process::ExitCode;

use anyhow::{Result, bail};
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::plain;
use crate::cli::discovery::Discovery;
use crate::cli::print::{self, Format};
use crate::cli::session::{Session, object_path};
use crate::cli::wait::seconds;

const RBAC: &str = "rbac.authorization.k8s.io/v1";
const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

#[derive(clap::Args, Debug)]
pub struct Token {
    /// The service account
    name: String,
    /// How long it is good for: 10m, 2h
    #[arg(long)]
    duration: Option<String>,
    #[arg(long, value_delimiter = ',')]
    audience: Vec<String>,
}

#[derive(clap::Args, Debug)]
pub struct Role {
    name: String,
    #[command(flatten)]
    rules: Rules,
}

#[derive(clap::Args, Debug)]
pub struct ClusterRole {
    name: String,
    #[command(flatten)]
    rules: Rules,
    /// Paths that are no resources
    #[arg(long, value_delimiter = ',')]
    non_resource_url: Vec<String>,
    /// KEY=VALUE labels of the roles to unite
    #[arg(long, value_delimiter = ',')]
    aggregation_rule: Vec<String>,
}

#[derive(clap::Args, Debug)]
struct Rules {
    #[arg(long, value_delimiter = ',')]
    verb: Vec<String>,
    /// RESOURCE[.GROUP][/SUBRESOURCE]
    #[arg(long, value_delimiter = ',')]
    resource: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    resource_name: Vec<String>,
}

#[derive(clap::Args, Debug)]
pub struct Binding {
    name: String,
    #[arg(long)]
    clusterrole: Option<String>,
    #[arg(long)]
    role: Option<String>,
    #[arg(long, value_delimiter = ',')]
    user: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    group: Vec<String>,
    /// NAMESPACE:NAME
    #[arg(long, value_delimiter = ',')]
    serviceaccount: Vec<String>,
}

impl Token {
    pub async fn create(&self, session: &Session, output: Option<&str>) -> Result<ExitCode> {
        let def = session.discovery().await?.find("serviceaccounts")?;
        let mut request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        if !self.audience.is_empty() {
            request["spec"]["audiences"] = json!(self.audience);
        }
        if let Some(duration) = &self.duration {
            request["spec"]["expirationSeconds"] = seconds(duration)?.into();
        }
        let path = object_path(def, Some(&session.namespace), &self.name, "token");
        let answer = session.create(&path, &request).await.map_err(|e| super::failed(e, "failed to create token"))?;
        match Format::parse(output)? {
            Format::Human => print::line(answer["status"].str_at(&["token"])),
            format => format.print(&[(def.clone(), answer)], true)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Role {
    pub fn object(&self, discovery: &Discovery) -> Result<Value> {
        let mut object = plain(RBAC, "Role", &self.name);
        if self.rules.resource.is_empty() {
            bail!("at least one resource must be specified");
        }
        object["rules"] = self.rules.build(discovery)?.into();
        Ok(object)
    }
}

impl ClusterRole {
    pub fn object(&self, discovery: &Discovery) -> Result<Value> {
        let mut object = plain(RBAC, "ClusterRole", &self.name);
        if !self.aggregation_rule.is_empty() {
            let labels = self.aggregation_rule.iter().map(|l| super::pair(l)).collect::<Result<Vec<_>>>()?;
            let labels: Value = labels.into_iter().map(|(k, v)| (k, Value::from(v))).collect::<serde_json::Map<_, _>>().into();
            object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
            object["rules"] = json!([]);
            return Ok(object);
        }
        if self.rules.resource.is_empty() && self.non_resource_url.is_empty() {
            bail!("one of resource or nonResourceURL must be specified");
        }
        let mut rules = if self.rules.resource.is_empty() { Vec::new() } else { self.rules.build(discovery)? };
        if !self.non_resource_url.is_empty() {
            rules.push(json!({"verbs": self.rules.verb, "nonResourceURLs": self.non_resource_url}));
        }
        object["rules"] = rules.into();
        Ok(object)
    }
}

impl Rules {
    /// One rule a group.
    fn build(&self, discovery: &Discovery) -> Result<Vec<Value>> {
        if self.verb.is_empty() {
            bail!("at least one verb must be specified");
        }
        let mut rules: Vec<(String, Vec<String>)> = Vec::new();
        for resource in &self.resource {
            let (words, subresource) = resource.split_once('/').map_or((resource.as_str(), ""), |(r, s)| (r, s));
            let (group, mut name) = if words == "*" {
                (String::new(), "*".to_owned())
            } else {
                let def = discovery.find(words)?;
                (def.group.to_string(), def.resource.to_string())
            };
            if !subresource.is_empty() {
                name = format!("{name}/{subresource}");
            }
            match rules.iter_mut().find(|(g, _)| *g == group) {
                Some((_, names)) => names.push(name),
                None => rules.push((group, vec![name])),
            }
        }
        let rule = |(group, resources): (String, Vec<String>)| {
            let mut rule = json!({"apiGroups": [group], "resources": resources, "verbs": self.verb});
            if !self.resource_name.is_empty() {
                rule["resourceNames"] = json!(self.resource_name);
            }
            rule
        };
        Ok(rules.into_iter().map(rule).collect())
    }
}

impl Binding {
    pub fn object(&self, kind: &str) -> Result<Value> {
        let mut object = plain(RBAC, kind, &self.name);
        let (role_kind, role) = match (&self.clusterrole, &self.role) {
            (Some(role), None) => ("ClusterRole", role),
            (None, Some(role)) if kind == "RoleBinding" => ("Role", role),
            _ => bail!("exactly one of clusterrole or role must be specified"),
        };
        object["roleRef"] = json!({"apiGroup": RBAC_GROUP, "kind": role_kind, "name": role});
        let mut subjects: Vec<Value> = Vec::new();
        subjects.extend(self.user.iter().map(|name| json!({"apiGroup": RBAC_GROUP, "kind": "User", "name": name})));
        subjects.extend(self.group.iter().map(|name| json!({"apiGroup": RBAC_GROUP, "kind": "Group", "name": name})));
        for account in &self.serviceaccount {
            let Some((namespace, name)) = account.split_once(':') else { bail!("serviceaccount must be <namespace>:<name>") };
            subjects.push(json!({"kind": "ServiceAccount", "namespace": namespace, "name": name}));
        }
        if !subjects.is_empty() {
            object["subjects"] = subjects.into();
        }
        Ok(object)
    }
}
