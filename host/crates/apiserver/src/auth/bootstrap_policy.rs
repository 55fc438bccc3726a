//! The roles and bindings that every cluster starts with, read from compact rows.
//!
//! Data and its reading only; `bookkeeping::rbac` writes them into the cluster. A row that cannot be read is a fault of
//! this build, found by a test.

use std::sync::LazyLock;

use pintle_api::Object;
use serde_json::{Map, Value, json};

use super::rbac::GROUP;
use super::rules::Rule;

const ROWS: &str = include_str!("default_roles.rows");
const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

static PARSED: LazyLock<Vec<Row>> = LazyLock::new(|| parse(ROWS));

/// One default object.
#[derive(Clone, Debug)]
pub struct Row {
    /// `clusterroles`, `roles`, `clusterrolebindings` or `rolebindings`.
    pub resource: &'static str,
    pub namespace: String,
    pub name: String,
    labels: Vec<String>,
    aggregates: Vec<String>,
    pub rules: Vec<Rule>,
    role_ref: Option<(&'static str, String)>,
    subjects: Vec<Value>,
}

pub fn rows() -> &'static [Row] {
    &PARSED
}

/// The rules of a default cluster role; empty for an unknown one.
pub fn rules_of(cluster_role: &str) -> Vec<Rule> {
    rows().iter().find(|r| r.resource == "clusterroles" && r.name == cluster_role).map(|r| r.rules.clone()).unwrap_or_default()
}

impl Row {
    /// The object as it is created.
    pub fn object(&self) -> Object {
        let mut labels = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
        for label in &self.labels {
            labels[key(label)] = json!("true");
        }
        let mut metadata = json!({
            "name": self.name, "labels": labels,
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        });
        if !self.namespace.is_empty() {
            metadata["namespace"] = json!(self.namespace);
        }
        let mut object = json!({"apiVersion": format!("{GROUP}/v1"), "kind": self.kind(), "metadata": metadata});
        match &self.role_ref {
            Some((kind, name)) => {
                object["roleRef"] = json!({"apiGroup": GROUP, "kind": kind, "name": name});
                if !self.subjects.is_empty() {
                    object["subjects"] = json!(self.subjects);
                }
            }
            None => object["rules"] = Value::Array(self.rules.iter().map(Rule::to_value).collect()),
        }
        if !self.aggregates.is_empty() {
            let selectors: Vec<Value> = self.aggregates.iter().map(|a| json!({"matchLabels": Map::from_iter([(key(a), json!("true"))])})).collect();
            object["aggregationRule"] = json!({"clusterRoleSelectors": selectors});
        }
        object
    }

    fn kind(&self) -> &'static str {
        match self.resource {
            "clusterroles" => "ClusterRole",
            "roles" => "Role",
            "clusterrolebindings" => "ClusterRoleBinding",
            _ => "RoleBinding",
        }
    }
}

fn key(short: &str) -> String {
    format!("{GROUP}/{short}")
}

fn parse(text: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for line in text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.starts_with(' ') {
            rows.last_mut().expect("a rule follows its role").rules.push(rule(&words));
        } else {
            rows.push(head(&words));
        }
    }
    rows
}

fn head(words: &[&str]) -> Row {
    let binding = words[0] == "bind";
    let mut row = Row {
        resource: if binding { "clusterrolebindings" } else { "clusterroles" },
        namespace: String::new(),
        name: words[1].to_owned(),
        labels: Vec::new(),
        aggregates: Vec::new(),
        rules: Vec::new(),
        role_ref: None,
        subjects: Vec::new(),
    };
    let mut rest = words[2..].iter();
    while let Some(word) = rest.next() {
        let mut value = || (*rest.next().expect("a word follows")).to_owned();
        match *word {
            "in" => {
                row.namespace = value();
                row.resource = if binding { "rolebindings" } else { "roles" };
            }
            "label" => row.labels.push(value()),
            "aggregate" => row.aggregates.push(value()),
            "to" => {
                let role = value();
                row.role_ref = Some(match role.strip_prefix("role/") {
                    Some(name) => ("Role", name.to_owned()),
                    None => ("ClusterRole", role),
                });
            }
            "for" => {}
            subject => row.subjects.push(self::subject(subject)),
        }
    }
    row
}

fn subject(word: &str) -> Value {
    let (kind, name) = word.split_once(':').expect("KIND:NAME");
    match kind {
        "user" => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
        "group" => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
        "sa" => {
            let (namespace, name) = name.split_once('/').expect("NAMESPACE/NAME");
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
        other => panic!("unknown kind of subject {other}"),
    }
}

fn rule(words: &[&str]) -> Rule {
    let list = |word: &str| -> Vec<String> { word.split(',').map(str::to_owned).collect() };
    if words[0] == "url" {
        return Rule { non_resource_urls: list(words[1]), verbs: verbs(words[2]), ..Rule::default() };
    }
    Rule {
        api_groups: words[0].split(',').map(|g| if g == "core" { "" } else { g }.to_owned()).collect(),
        resources: list(words[1]),
        verbs: verbs(words[2]),
        resource_names: words.get(3).map(|names| list(names)).unwrap_or_default(),
        ..Rule::default()
    }
}

fn verbs(word: &str) -> Vec<String> {
    let expand = |v: &str| -> Vec<String> {
        match v {
            "READ" => READ.map(str::to_owned).into(),
            "WRITE" => WRITE.map(str::to_owned).into(),
            other => vec![other.to_owned()],
        }
    };
    word.split(',').flat_map(expand).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pintle_api::object::ObjectExt;

    #[test]
    fn every_row_reads_and_refers_to_a_row() {
        assert!(rows().len() > 130, "{}", rows().len());
        for row in rows() {
            if let Some((kind, name)) = &row.role_ref {
                let resource = if *kind == "Role" { "roles" } else { "clusterroles" };
                assert!(rows().iter().any(|r| r.resource == resource && &r.name == name), "{} binds a role that is not there", row.name);
            }
        }
    }

    #[test]
    fn shapes() {
        let object = |resource: &str, name: &str| rows().iter().find(|r| r.resource == resource && r.name == name).unwrap().object();
        assert_eq!(
            object("clusterroles", "cluster-admin")["rules"],
            json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]}])
        );
        let edit = object("clusterroles", "edit");
        assert_eq!(edit.label("rbac.authorization.k8s.io/aggregate-to-admin"), Some("true"));
        assert_eq!(
            edit["aggregationRule"],
            json!({"clusterRoleSelectors": [{"matchLabels": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"}}]})
        );
        assert_eq!(object("clusterrolebindings", "system:public-info-viewer")["subjects"].as_array().unwrap().len(), 2);
    }
}
