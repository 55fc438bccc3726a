//! The Website operator: a Website becomes a Deployment, a Service and an Ingress. `../README.md` says what it promises.
//!
//! `hosts` keeps the claims that no two Websites share a host.

mod hosts;

use std::time::Duration;

use pintle_sdk::controller::{Api, ApiError, Controller, Failure, Key, PatchType, Relation, Resource, Watch};
use serde_json::{Value, json};

const WEBSITES: Resource = Resource::new("web.example.com", "v1", "websites");
const DEPLOYMENTS: Resource = Resource::new("apps", "v1", "deployments");
const SERVICES: Resource = Resource::new("", "v1", "services");
const INGRESSES: Resource = Resource::new("networking.k8s.io", "v1", "ingresses");

const FINALIZER: &str = "web.example.com/host";
/// A host that somebody else has may become free without a word to us.
const TAKEN_RETRY: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct Operator;

impl Controller for Operator {
    fn watches() -> Vec<Watch> {
        let owned = |resource| Watch::new(resource, Relation::Owned("Website"));
        vec![Watch::new(WEBSITES, Relation::Primary), owned(DEPLOYMENTS), owned(SERVICES), owned(INGRESSES)]
    }

    fn reconcile(&mut self, api: &dyn Api, key: &Key) -> Result<Option<Duration>, Failure> {
        let Some(object) = find(api, WEBSITES, &key.namespace, &key.name)? else { return Ok(None) };
        let site = Site { object };
        if !site.object["metadata"]["deletionTimestamp"].is_null() {
            return site.finish(api).map(|()| None);
        }
        if !site.finalizers().contains(&FINALIZER) {
            site.set_finalizers(api, site.finalizers().into_iter().chain([FINALIZER]).collect())?;
        }
        let holder = hosts::claim(api, &site)?;
        if holder != site.id() {
            let message = format!("{} belongs to {holder}", site.host());
            site.report(api, 0, "False", "HostTaken", &message)?;
            return Ok(Some(TAKEN_RETRY));
        }
        ensure(api, SERVICES, &site.service())?;
        ensure(api, INGRESSES, &site.ingress())?;
        let deployment = ensure(api, DEPLOYMENTS, &site.deployment())?;
        let ready = deployment["status"]["readyReplicas"].as_i64().unwrap_or(0);
        let wanted = site.object["spec"]["replicas"].as_i64().unwrap_or(1);
        let (status, reason) = if ready >= wanted { ("True", "Served") } else { ("False", "Starting") };
        site.report(api, ready, status, reason, &format!("{ready} of {wanted} replicas are ready"))?;
        Ok(None)
    }
}

pintle_sdk::export_controller!(Operator);

/// A Website as the server has it: defaults applied.
pub struct Site {
    object: Value,
}

impl Site {
    /// `NAMESPACE/NAME`.
    fn id(&self) -> String {
        format!("{}/{}", self.namespace(), self.name())
    }

    fn namespace(&self) -> &str {
        self.object["metadata"]["namespace"].as_str().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    fn host(&self) -> &str {
        self.object["spec"]["host"].as_str().unwrap_or_default()
    }

    fn finalizers(&self) -> Vec<&str> {
        self.object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Gives the host back and lets the object go. What the site owns is collected.
    fn finish(&self, api: &dyn Api) -> Result<(), Failure> {
        if self.finalizers().contains(&FINALIZER) {
            hosts::release(api, self, None)?;
            self.set_finalizers(api, self.finalizers().into_iter().filter(|f| *f != FINALIZER).collect())?;
        }
        Ok(())
    }

    fn set_finalizers(&self, api: &dyn Api, finalizers: Vec<&str>) -> Result<(), Failure> {
        let metadata = json!({"finalizers": finalizers, "resourceVersion": self.object["metadata"]["resourceVersion"]});
        api.patch(WEBSITES, self.namespace(), self.name(), "", PatchType::Merge, &json!({"metadata": metadata}))?;
        Ok(())
    }

    fn report(&self, api: &dyn Api, ready: i64, status: &str, reason: &str, message: &str) -> Result<(), Failure> {
        let conditions = self.object["status"]["conditions"].as_array().into_iter().flatten();
        let before = conditions.into_iter().find(|c| c["type"] == "Ready" && c["status"] == status);
        let since = before.map_or_else(|| json!(now(api)), |c| c["lastTransitionTime"].clone());
        let condition = json!({"type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": since});
        let status = json!({
            "observedGeneration": self.object["metadata"]["generation"],
            "readyReplicas": ready,
            "url": format!("http://{}/", self.host()),
            "conditions": [condition],
        });
        if !contains(&self.object["status"], &status) {
            api.patch(WEBSITES, self.namespace(), self.name(), "status", PatchType::Merge, &json!({"status": status}))?;
        }
        Ok(())
    }

    fn deployment(&self) -> Value {
        let spec = &self.object["spec"];
        let container = json!({"name": "site", "image": spec["image"], "ports": [{"name": "http", "containerPort": spec["port"]}]});
        let template = json!({"metadata": {"labels": self.labels()}, "spec": {"containers": [container]}});
        self.child("apps/v1", "Deployment", json!({"replicas": spec["replicas"], "selector": {"matchLabels": self.labels()}, "template": template}))
    }

    fn service(&self) -> Value {
        self.child("v1", "Service", json!({"selector": self.labels(), "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}))
    }

    fn ingress(&self) -> Value {
        let backend = json!({"service": {"name": self.name(), "port": {"name": "http"}}});
        let rule = json!({"host": self.host(), "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}});
        self.child("networking.k8s.io/v1", "Ingress", json!({"rules": [rule]}))
    }

    fn labels(&self) -> Value {
        json!({"web.example.com/website": self.name()})
    }

    fn child(&self, api_version: &str, kind: &str, spec: Value) -> Value {
        let owner = json!({
            "apiVersion": "web.example.com/v1", "kind": "Website", "name": self.name(), "uid": self.object["metadata"]["uid"],
            "controller": true, "blockOwnerDeletion": true,
        });
        let metadata = json!({"namespace": self.namespace(), "name": self.name(), "ownerReferences": [owner]});
        json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})
    }
}

/// Applies what is wanted, unless it is there. An object of that name that is not the site's is left alone.
fn ensure(api: &dyn Api, resource: Resource, wanted: &Value) -> Result<Value, Failure> {
    let text = |field: &str| wanted["metadata"][field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let Some(found) = find(api, resource, namespace, name)? else { return Ok(api.create(resource, namespace, wanted)?) };
    let owners = found["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    if !owners.into_iter().any(|owner| owner["uid"] == wanted["metadata"]["ownerReferences"][0]["uid"]) {
        return Err(Failure::Terminal(format!("{} {namespace}/{name} is there and is not this Website's", resource.name)));
    }
    if contains(&found, wanted) {
        return Ok(found);
    }
    Ok(api.patch(resource, namespace, name, "", PatchType::Merge, wanted)?)
}

/// Whether everything that is wanted is there; what the server or others added does not count.
fn contains(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted.iter().all(|(key, value)| contains(found.get(key).unwrap_or(&Value::Null), value)),
        (Value::Array(found), Value::Array(wanted)) => found.len() == wanted.len() && found.iter().zip(wanted).all(|(f, w)| contains(f, w)),
        _ => found == wanted,
    }
}

/// As `metadata.creationTimestamp` has it.
fn now(api: &dyn Api) -> String {
    let seconds = i64::try_from(api.now_nanoseconds() / 1_000_000_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map(|t| t.to_string()).unwrap_or_default()
}

fn find(api: &dyn Api, resource: Resource, namespace: &str, name: &str) -> Result<Option<Value>, Failure> {
    match api.get(resource, namespace, name) {
        Ok(object) => Ok(Some(object)),
        Err(ApiError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pintle_sdk::testing::FakeCluster;

    fn add(cluster: &FakeCluster, name: &str, host: &str) {
        let metadata = json!({"namespace": "n", "name": name, "generation": 1});
        cluster.add(WEBSITES, json!({"metadata": metadata, "spec": {"host": host, "image": "x", "replicas": 2, "port": 80}}));
    }

    fn reason(cluster: &FakeCluster, name: &str) -> Value {
        cluster.object(WEBSITES, "n", name).unwrap()["status"]["conditions"][0]["reason"].clone()
    }

    #[test]
    fn a_site_is_made_once_and_its_status_follows_its_deployment() {
        let (cluster, mut operator) = (FakeCluster::new(), Operator);
        add(&cluster, "shop", "shop.example");
        cluster.reconcile(&mut operator, "n", "shop").unwrap();
        assert_eq!(reason(&cluster, "shop"), "Starting");
        assert!(!cluster.take_actions().is_empty());
        cluster.reconcile(&mut operator, "n", "shop").unwrap();
        assert_eq!(cluster.take_actions(), "");
        cluster.change(DEPLOYMENTS, "n", "shop", |d| d["status"]["readyReplicas"] = json!(2));
        cluster.reconcile(&mut operator, "n", "shop").unwrap();
        assert_eq!(reason(&cluster, "shop"), "Served");
        cluster.change(DEPLOYMENTS, "n", "shop", |d| d["spec"]["replicas"] = json!(9));
        cluster.reconcile(&mut operator, "n", "shop").unwrap();
        assert_eq!(cluster.object(DEPLOYMENTS, "n", "shop").unwrap()["spec"]["replicas"], 2);
    }

    #[test]
    fn a_host_belongs_to_one_site_until_that_one_goes() {
        let (cluster, mut operator) = (FakeCluster::new(), Operator);
        add(&cluster, "shop", "shop.example");
        add(&cluster, "copy", "shop.example");
        cluster.reconcile(&mut operator, "n", "shop").unwrap();
        assert_eq!(cluster.reconcile(&mut operator, "n", "copy").unwrap(), Some(TAKEN_RETRY));
        assert_eq!(reason(&cluster, "copy"), "HostTaken");
        api_delete(&cluster, "shop");
        cluster.reconcile(&mut operator, "n", "shop").unwrap();
        assert!(cluster.object(WEBSITES, "n", "shop").is_none());
        cluster.reconcile(&mut operator, "n", "copy").unwrap();
        assert_eq!(reason(&cluster, "copy"), "Starting");
    }

    #[test]
    fn an_object_of_somebody_elses_is_left_alone() {
        let (cluster, mut operator) = (FakeCluster::new(), Operator);
        add(&cluster, "shop", "shop.example");
        cluster.add(DEPLOYMENTS, json!({"metadata": {"namespace": "n", "name": "shop"}, "spec": {"replicas": 7}}));
        assert!(matches!(cluster.reconcile(&mut operator, "n", "shop"), Err(Failure::Terminal(_))));
        assert_eq!(cluster.object(DEPLOYMENTS, "n", "shop").unwrap()["spec"]["replicas"], 7);
    }

    fn api_delete(cluster: &FakeCluster, name: &str) {
        Api::delete(cluster, WEBSITES, "n", name, &Default::default()).unwrap();
    }
}
