//! What several verbs ask of workloads: where the pod template is, and which pods belong.

use anyhow::{Result, bail};
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::session::{Session, collection_path, with_query};

/// The path of the pod spec in an object of that kind.
pub fn pod_spec_path(kind: &str) -> Option<&'static [&'static str]> {
    Some(match kind {
        "Pod" => &["spec"],
        "CronJob" => &["spec", "jobTemplate", "spec", "template", "spec"],
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicationController" => &["spec", "template", "spec"],
        _ => return None,
    })
}

/// The label selector of a workload or a Service, in the query's grammar.
pub fn selector_text(object: &Value) -> Result<String> {
    let selector = &object["spec"]["selector"];
    let is_plain = matches!(object.kind(), "Service" | "ReplicationController");
    if selector.as_object().is_none_or(|s| s.is_empty()) {
        bail!("no pod selector on {} {:?}", object.kind(), object.name());
    }
    Ok(match (is_plain, selector.as_object()) {
        (true, Some(map)) => map.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect::<Vec<_>>().join(","),
        _ => label_selector(selector),
    })
}

/// A label selector of a spec in the query's grammar.
pub fn label_selector(selector: &Value) -> String {
    let mut terms: Vec<String> = Vec::new();
    for (key, value) in selector.map_at(&["matchLabels"]).into_iter().flatten() {
        terms.push(format!("{key}={}", value.as_str().unwrap_or_default()));
    }
    for rule in selector.list_at(&["matchExpressions"]) {
        let key = rule.str_at(&["key"]);
        let values: Vec<&str> = rule.list_at(&["values"]).iter().filter_map(Value::as_str).collect();
        terms.push(match rule.str_at(&["operator"]) {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    terms.join(",")
}

/// Pods that a workload or Service selects, the best to talk to first: ready, then running, then the oldest.
pub async fn pods_of(session: &Session, object: &Value) -> Result<Vec<Value>> {
    let selector = selector_text(object)?;
    let def = session.discovery().await?.find("pods")?;
    let namespace = Some(object.namespace()).filter(|n| !n.is_empty()).unwrap_or(&session.namespace);
    let path = with_query(&collection_path(def, Some(namespace)), &[("labelSelector", &selector)]);
    let mut pods = session.list(&path).await?;
    let rank = |pod: &Value| {
        let ready = super::wait::condition(pod, "Ready").is_some_and(|c| c["status"] == "True");
        (pod.is_being_deleted(), !ready, pod["status"]["phase"] != "Running", pod.str_at(&["metadata", "creationTimestamp"]).to_owned())
    };
    pods.sort_by_key(rank);
    Ok(pods)
}

/// A pod by the words `NAME`, `pod/NAME` or `deploy/NAME`.
pub async fn one_pod(session: &Session, word: &str) -> Result<Value> {
    let discovery = session.discovery().await?;
    let pods = discovery.find("pods")?;
    let Some((kind, name)) = word.split_once('/') else { return session.get_object(pods, Some(&session.namespace), word).await };
    let def = discovery.find(kind)?;
    let object = session.get_object(def, session.namespace_for(def), name).await?;
    if def == pods {
        return Ok(object);
    }
    let found = pods_of(session, &object).await?;
    match found.into_iter().find(|p| !p.is_being_deleted()) {
        Some(pod) => Ok(pod),
        None => bail!("no pods found for {}/{name}", def.resource),
    }
}

/// The container that a verb without `-c` means. Says so when there is a choice.
pub fn container_of(pod: &Value, wanted: Option<&str>, quiet: bool) -> Result<String> {
    const DEFAULT: &str = "kubectl.kubernetes.io/default-container";
    let names = |list: &str| pod.list_at(&["spec", list]).iter().map(|c| c.name_field().to_owned()).collect::<Vec<_>>();
    let (main, init, ephemeral) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    if let Some(wanted) = wanted {
        if [&main, &init, &ephemeral].iter().any(|list| list.iter().any(|n| n == wanted)) {
            return Ok(wanted.to_owned());
        }
        bail!("container {wanted} not found in pod {}", pod.name());
    }
    if let Some(default) = pod.annotation(DEFAULT).filter(|d| main.iter().any(|n| n == d)) {
        return Ok(default.to_owned());
    }
    let Some(first) = main.first() else { bail!("pod {} has no container", pod.name()) };
    if main.len() + init.len() + ephemeral.len() > 1 && !quiet {
        let listed = main.iter().cloned().chain(init.iter().map(|n| format!("{n} (init)"))).chain(ephemeral.iter().map(|n| format!("{n} (ephem)")));
        eprintln!("Defaulted container {first:?} out of: {}", listed.collect::<Vec<_>>().join(", "));
    }
    Ok(first.clone())
}

trait NameField {
    fn name_field(&self) -> &str;
}

impl NameField for Value {
    fn name_field(&self) -> &str {
        self.str_at(&["name"])
    }
}
