//! An admission policy that keeps a namespace within its budget of pods and CPU, and writes on each pod who pays for it.
//!
//! The budget stands on the Namespace, as the annotations `budget.pintle.dev/pods` (a number) and `budget.pintle.dev/cpu` (a quantity,
//! the sum of the containers' requests). A namespace without them has no limit. A pod without the label `budget.pintle.dev/owner` gets
//! the namespace's annotation of that name, or what `spec.config` of the Plugin says. Pods that have ended cost nothing.
//!
//! Two pods that are made at the same moment may both be let in for the last place, as with any admission webhook: a ResourceQuota is
//! what counts exactly.

use pintle_sdk::admission::{Admission, ApiError, Operation, Phase, Query, Reader, Request, Resource, Response, Rule};
use pintle_sdk::{Env, export_admission};
use serde_json::Value;

pub const PODS: Resource = Resource::new("", "v1", "pods");
pub const NAMESPACES: Resource = Resource::new("", "v1", "namespaces");

pub const MAX_PODS: &str = "budget.pintle.dev/pods";
pub const MAX_CPU: &str = "budget.pintle.dev/cpu";
pub const OWNER: &str = "budget.pintle.dev/owner";

#[derive(Default)]
pub struct NamespaceBudget;

impl Admission for NamespaceBudget {
    fn rules(&mut self, _env: &dyn Env) -> Result<Vec<Rule>, String> {
        Ok(vec![Rule::writes(PODS, &[Phase::Mutate, Phase::Validate]).on(&[Operation::Create])])
    }

    fn admit(&mut self, cluster: &impl Reader, request: &Request) -> Response {
        let answer = match request.phase {
            Phase::Mutate => label(cluster, request),
            Phase::Validate => judge(cluster, request),
        };
        // What cannot be read cannot be counted: better no pod than one too many.
        answer.unwrap_or_else(|error| Response::refuse(500, "InternalError", format!("the budget cannot be read: {error}")))
    }
}

fn label(cluster: &impl Reader, request: &Request) -> Result<Response, ApiError> {
    if request.object["metadata"]["labels"][OWNER].is_string() {
        return Ok(Response::allow());
    }
    let namespace = cluster.get(NAMESPACES, "", &request.namespace)?;
    let owner = annotation(&namespace, OWNER).map_or_else(|| cluster.config(), str::to_owned);
    Ok(if owner.is_empty() { Response::allow() } else { Response::label(request, OWNER, &owner) })
}

fn judge(cluster: &impl Reader, request: &Request) -> Result<Response, ApiError> {
    let namespace = cluster.get(NAMESPACES, "", &request.namespace)?;
    let query = Query { namespace: &request.namespace, ..Query::default() };
    let refused = |what: &str, asked: String, used: String, limit: &str| {
        let message =
            format!("exceeded the budget of namespace {}: requested {what}={asked}, used {what}={used}, limited {what}={limit}", request.namespace);
        Response::deny(message).audit("exceeded", what)
    };
    if let Some(limit) = annotation(&namespace, MAX_PODS) {
        let Ok(most) = limit.parse::<usize>() else { return Ok(unreadable(MAX_PODS, limit)) };
        let used = cluster.list_summaries(PODS, &query)?.iter().filter(|p| !has_ended(&p.phase)).count();
        if used >= most {
            return Ok(refused("pods", "1".to_owned(), used.to_string(), limit));
        }
    }
    if let Some(limit) = annotation(&namespace, MAX_CPU) {
        let Some(most) = millicores(limit) else { return Ok(unreadable(MAX_CPU, limit)) };
        let pods = cluster.list(PODS, &query)?;
        let used: u64 = pods.iter().filter(|p| !has_ended(p["status"]["phase"].as_str().unwrap_or_default())).map(cpu_of).sum();
        let asked = cpu_of(&request.object);
        if used + asked > most {
            return Ok(refused("cpu", format!("{asked}m"), format!("{used}m"), limit));
        }
        if asked == 0 {
            return Ok(Response::allow().warn(format!("the pod requests no cpu, so the budget of namespace {} does not see it", request.namespace)));
        }
    }
    Ok(Response::allow())
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][key].as_str()
}

fn unreadable(key: &str, value: &str) -> Response {
    Response::deny(format!("the namespace's annotation {key} is {value:?}, which is no budget"))
}

fn has_ended(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

/// Of all containers. Init containers run before them and are not counted.
fn cpu_of(pod: &Value) -> u64 {
    let requested = |c: &Value| c["resources"]["requests"]["cpu"].as_str().and_then(millicores).unwrap_or_default();
    pod["spec"]["containers"].as_array().into_iter().flatten().map(requested).sum()
}

/// `2`, `1.5` or `250m`.
fn millicores(text: &str) -> Option<u64> {
    if let Some(milli) = text.strip_suffix('m') {
        return milli.parse().ok();
    }
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let part: u64 = format!("{part:0<3}").get(..3)?.parse().ok()?;
    Some(whole.parse::<u64>().ok()? * 1000 + part)
}

export_admission!(NamespaceBudget);

#[cfg(test)]
mod tests {
    use pintle_sdk::testing::{FakeCluster, admit};
    use serde_json::json;

    use super::*;

    fn cluster(annotations: Value) -> FakeCluster {
        let cluster = FakeCluster::new();
        cluster.add(NAMESPACES, json!({"metadata": {"name": "a", "annotations": annotations}}));
        cluster
    }

    fn pod(name: &str, cpu: &str) -> Value {
        let resources = if cpu.is_empty() { json!({}) } else { json!({"requests": {"cpu": cpu}}) };
        json!({"kind": "Pod", "metadata": {"name": name, "namespace": "a"}, "spec": {"containers": [{"name": "c", "resources": resources}]}})
    }

    /// Creates the pod; its owner, or why not.
    fn create(cluster: &FakeCluster, pod: Value) -> Result<String, String> {
        let (object, warnings) = admit(&mut NamespaceBudget, cluster, Request::create(PODS, pod)).map_err(|r| format!("{} {}", r.code, r.message))?;
        let owner = object["metadata"]["labels"][OWNER].as_str().unwrap_or("nobody").to_owned();
        cluster.add(PODS, object);
        Ok(warnings.into_iter().fold(owner, |text, warning| format!("{text}; {warning}")))
    }

    #[test]
    fn pods_beyond_the_budget_are_refused() {
        let cluster = cluster(json!({MAX_PODS: "2"}));
        create(&cluster, pod("p1", "")).unwrap();
        create(&cluster, pod("p2", "")).unwrap();
        let why = create(&cluster, pod("p3", "")).unwrap_err();
        assert_eq!(why, "403 exceeded the budget of namespace a: requested pods=1, used pods=2, limited pods=2");
        cluster.change(PODS, "a", "p1", |p| p["status"] = json!({"phase": "Succeeded"}));
        create(&cluster, pod("p3", "")).unwrap();
    }

    #[test]
    fn cpu_is_summed() {
        let cluster = cluster(json!({MAX_CPU: "1.5"}));
        create(&cluster, pod("p1", "1")).unwrap();
        let why = create(&cluster, pod("p2", "600m")).unwrap_err();
        assert_eq!(why, "403 exceeded the budget of namespace a: requested cpu=600m, used cpu=1000m, limited cpu=1.5");
        create(&cluster, pod("p2", "500m")).unwrap();
        assert!(create(&cluster, pod("p3", "")).unwrap().contains("the pod requests no cpu"));
    }

    #[test]
    fn who_pays_is_written_down() {
        let with = cluster(json!({OWNER: "team-a"}));
        assert_eq!(create(&with, pod("p1", "")).unwrap(), "team-a");
        let mut own = pod("p2", "");
        own["metadata"]["labels"] = json!({OWNER: "team-b"});
        assert_eq!(create(&with, own).unwrap(), "team-b");
        let without = cluster(json!({}));
        assert_eq!(create(&without, pod("p1", "")).unwrap(), "nobody");
        without.set_config("operations");
        assert_eq!(create(&without, pod("p2", "")).unwrap(), "operations");
    }

    #[test]
    fn a_budget_that_is_none_is_refused() {
        assert!(create(&cluster(json!({MAX_PODS: "many"})), pod("p", "")).unwrap_err().contains("which is no budget"));
        assert!(create(&FakeCluster::new(), pod("p", "")).unwrap_err().starts_with("500 the budget cannot be read"));
        let read: Vec<_> = ["2", "1.5", "250m", "0.25", "x", "1.x"].map(millicores).to_vec();
        assert_eq!(read, [Some(2000), Some(1500), Some(250), Some(250), None, None]);
    }
}
