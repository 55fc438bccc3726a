//! NoExecute taints drive pods away: at once, or after the seconds that the pod tolerates them. Pods of nodes that are gone, or out of
//! service, are deleted without waiting for a kubelet.

use std::collections::HashMap;

use pintle_controller_common::fields::Fields;
use pintle_controller_common::nodes::{taints, tolerates};
use pintle_controller_common::{conditions, pods, resources, time};
use pintle_sdk::controller::{Api, ApiError, DeleteOptions, EventType, Failure};
use serde_json::{Map, Value};

const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
const EVENT: &str = "TaintManagerEviction";

/// By node and pod's uid: since when the pod's time runs.
#[derive(Default)]
pub struct Waiting(HashMap<String, HashMap<String, i64>>);

impl Waiting {
    pub fn forget(&mut self, node: &str) {
        self.0.remove(node);
    }

    /// Whether a pod's time runs there.
    pub fn on(&self, node: &str) -> bool {
        self.0.contains_key(node)
    }
}

/// Returns when the next pod's time is over.
pub fn evict(api: &dyn Api, waiting: &mut Waiting, node: &Value, all: &[Value]) -> Result<Option<i64>, Failure> {
    let now = time::now_seconds(api);
    let executes: Vec<&Value> = taints(node).iter().filter(|t| t.text(&["effect"]) == "NoExecute").collect();
    let before = waiting.0.remove(node.name()).unwrap_or_default();
    let mut after = HashMap::new();
    let mut next: Option<i64> = None;
    for pod in all.iter().filter(|p| !p.deleting()) {
        let since = before.get(pod.uid()).copied();
        match verdict(pod, &executes) {
            Verdict::Stays => {
                if since.is_some() {
                    let message = format!("Cancelling deletion of Pod {}/{}", pod.namespace(), pod.name());
                    api.event(resources::PODS, pod.namespace(), pod.name(), EventType::Normal, EVENT, &message);
                }
            }
            Verdict::Goes { after: seconds } => {
                let since = since.unwrap_or_else(|| began(pod, &executes, now));
                if since + seconds <= now {
                    delete(api, pod)?;
                } else {
                    after.insert(pod.uid().to_owned(), since);
                    next = Some(next.map_or(since + seconds - now, |n| n.min(since + seconds - now)));
                }
            }
        }
    }
    if !after.is_empty() {
        waiting.0.insert(node.name().to_owned(), after);
    }
    Ok(next)
}

enum Verdict {
    Stays,
    Goes { after: i64 },
}

fn verdict(pod: &Value, executes: &[&Value]) -> Verdict {
    let tolerations = pod.items(&["spec", "tolerations"]);
    if executes.iter().any(|taint| !tolerations.iter().any(|t| tolerates(t, taint))) {
        return Verdict::Goes { after: 0 };
    }
    let used = executes.iter().flat_map(|taint| tolerations.iter().filter(move |t| tolerates(t, taint)));
    used.filter_map(|t| t.integer(&["tolerationSeconds"])).min().map_or(Verdict::Stays, |seconds| Verdict::Goes { after: seconds.max(0) })
}

/// The taint's own time, where all have one, so that a fresh instance does not begin anew.
fn began(pod: &Value, executes: &[&Value], now: i64) -> i64 {
    let added: Option<Vec<i64>> = executes.iter().map(|t| time::seconds(t.text(&["timeAdded"]))).collect();
    added.and_then(|times| times.into_iter().max()).unwrap_or(now).max(pod.created()).min(now)
}

fn delete(api: &dyn Api, pod: &Value) -> Result<(), Failure> {
    let message = format!("Marking for deletion Pod {}/{}", pod.namespace(), pod.name());
    api.event(resources::PODS, pod.namespace(), pod.name(), EventType::Normal, EVENT, &message);
    let reason = ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint");
    mark(api, pod, Some(reason), false)?;
    gone(api.delete(resources::PODS, pod.namespace(), pod.name(), &DeleteOptions { uid: pod.uid(), ..DeleteOptions::default() }))
}

/// Without a node there is no kubelet that would end the pods.
pub fn delete_orphans(api: &dyn Api, all: &[Value]) -> Result<(), Failure> {
    all.iter().try_for_each(|pod| force(api, pod, Some(("DeletionByPodGC", "PodGC: node no longer exists"))))
}

/// On a node that an operator declared out of service, pods on their way out will not be ended by anyone else.
pub fn delete_out_of_service(api: &dyn Api, node: &Value, all: &[Value]) -> Result<(), Failure> {
    let declared = taints(node).iter().any(|t| t.text(&["key"]) == OUT_OF_SERVICE);
    if !declared || conditions::is_true(node, "Ready") {
        return Ok(());
    }
    all.iter().filter(|p| p.deleting()).try_for_each(|pod| force(api, pod, None))
}

fn force(api: &dyn Api, pod: &Value, reason: Option<(&str, &str)>) -> Result<(), Failure> {
    if !pods::is_finished(pod) {
        mark(api, pod, reason, true)?;
    }
    let options = DeleteOptions { uid: pod.uid(), grace_period_seconds: Some(0), ..DeleteOptions::default() };
    gone(api.delete(resources::PODS, pod.namespace(), pod.name(), &options))
}

/// Says in the pod's status why it goes.
fn mark(api: &dyn Api, pod: &Value, reason: Option<(&str, &str)>, failed: bool) -> Result<(), Failure> {
    let mut next = pod.clone();
    if let Some((reason, message)) = reason {
        let condition = conditions::Condition { kind: "DisruptionTarget", status: true, reason, message };
        conditions::set(&mut next["status"], &condition, &time::now_text(api), Map::new());
    }
    if failed {
        next["status"]["phase"] = serde_json::json!("Failed");
    }
    if next == *pod {
        return Ok(());
    }
    gone(api.update_status(resources::PODS, pod.namespace(), pod.name(), &next).map(|_| ()))
}

fn gone(result: Result<(), ApiError>) -> Result<(), Failure> {
    match result {
        Ok(()) | Err(ApiError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
