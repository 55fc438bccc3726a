//! Which nodes a DaemonSet's pod belongs on, and the pod made for one of them.

use pintle_controller_common::fields::Fields;
use pintle_controller_common::{nodes, template};
use serde_json::{Value, json};

use crate::HASH_LABEL;

const GENERATION_LABEL: &str = "pod-template-generation";
const GENERATION_ANNOTATION: &str = "deprecated.daemonset.template.generation";

/// What daemons bear beyond what their template says: key and effect. They outlive a node's trouble.
const TOLERATED: &[(&str, &str)] = &[
    (nodes::NOT_READY, "NoExecute"),
    (nodes::UNREACHABLE, "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// Borne only on the host's network.
const NETWORK_UNAVAILABLE: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

pub struct Placement<'a> {
    spec: &'a Value,
    tolerations: Vec<Value>,
}

impl<'a> Placement<'a> {
    pub fn of(set: &'a Value) -> Self {
        let spec = set.at(&["spec", "template", "spec"]).unwrap_or(&Value::Null);
        let mut tolerations = spec.items(&["tolerations"]).to_vec();
        let network = spec.flag(&["hostNetwork"]).then_some(&NETWORK_UNAVAILABLE);
        for (key, effect) in TOLERATED.iter().chain(network) {
            let own = json!({"key": key, "operator": "Exists", "effect": effect});
            // The template's own toleration of the same taint gives way: daemons tolerate for ever.
            let same = |t: &Value| t.text(&["key"]) == *key && t.text(&["effect"]) == *effect && t.text(&["operator"]) == "Exists";
            match tolerations.iter().position(same) {
                Some(place) => tolerations[place] = own,
                None => tolerations.push(own),
            }
        }
        Self { spec, tolerations }
    }

    /// Should a pod be made there; may one that is there stay.
    pub fn judge(&self, node: &Value) -> (bool, bool) {
        let named = self.spec.text(&["nodeName"]);
        if !named.is_empty() && named != node.name() || !nodes::is_selected_by(node, self.spec) {
            return (false, false);
        }
        let taints = nodes::taints(node);
        let free_of = |effects: &[&str]| nodes::untolerated(taints, &self.tolerations, effects).is_none();
        (free_of(&["NoExecute", "NoSchedule"]), free_of(&["NoExecute"]))
    }

    pub fn pod(&self, set: &Value, node: &str, hash: &str) -> Value {
        let mut pod = template::pod(&set["spec"]["template"], set, "apps/v1", "DaemonSet");
        pod["metadata"]["labels"][HASH_LABEL] = json!(hash);
        if let Some(generation) = generation(set) {
            pod["metadata"]["labels"][GENERATION_LABEL] = json!(generation);
        }
        pod["spec"]["tolerations"] = json!(self.tolerations);
        // The set's own required terms were judged above and hold on this node; the name is enough for the scheduler.
        pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
            json!({"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]});
        pod
    }
}

/// Bears the template that the set has now.
pub fn is_updated(pod: &Value, set: &Value, hash: &str) -> bool {
    pod.label(HASH_LABEL) == hash || generation(set).is_some_and(|g| pod.label(GENERATION_LABEL) == g)
}

fn generation(set: &Value) -> Option<String> {
    set.annotation(GENERATION_ANNOTATION).parse::<i64>().ok().map(|g| g.to_string())
}

/// Where a pod runs or is meant to run.
pub fn target(pod: &Value) -> &str {
    let bound = pod.text(&["spec", "nodeName"]);
    if !bound.is_empty() {
        return bound;
    }
    let terms = pod.items(&["spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"]);
    let mut fields = terms.iter().flat_map(|t| t.items(&["matchFields"]));
    let named = fields.find(|f| f.text(&["key"]) == "metadata.name" && f.text(&["operator"]) == "In");
    named.and_then(|f| f.items(&["values"]).first()).and_then(Value::as_str).unwrap_or("")
}
