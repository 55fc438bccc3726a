//! Grace periods of pods, and an object's way through an older version and back.

use serde_json::{Value, json};

use super::strategy;

#[test]
fn pods_wait_for_their_grace_only_when_they_run() {
    let grace = |pod: Value, asked| strategy("pods").grace_period_seconds(&pod, asked);
    let bound = json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}, "status": {"phase": "Running"}});
    assert_eq!(grace(bound.clone(), None), Some(30));
    assert_eq!(grace(bound.clone(), Some(5)), Some(5));
    assert_eq!(grace(bound.clone(), Some(0)), None);
    assert_eq!(grace(bound, Some(-1)), Some(1));
    assert_eq!(grace(json!({"spec": {"terminationGracePeriodSeconds": 30}}), None), None);
    assert_eq!(grace(json!({"spec": {"nodeName": "n"}, "status": {"phase": "Succeeded"}}), Some(9)), None);
}

#[test]
fn older_views_come_back_as_they_went() {
    let scaler = json!({"apiVersion": "autoscaling/v1", "metadata": {"name": "h", "annotations": {}}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}, "status": {"currentReplicas": 1, "desiredReplicas": 1}});
    let event = json!({"apiVersion": "events.k8s.io/v1", "metadata": {"name": "e"}, "regarding": {"kind": "Pod"}, "note": "n", "reportingController": "c", "reason": "r"});
    let all = crate::all();
    for (version, resource, object) in [("autoscaling/v1", "horizontalpodautoscalers", scaler), ("events.k8s.io/v1", "events", event)] {
        let view = all.iter().find(|s| s.def().api_version() == version && s.def().resource == resource).unwrap();
        let mut turned = object.clone();
        view.to_storage(&mut turned);
        assert_ne!(turned, object);
        view.from_storage(&mut turned);
        assert_eq!(turned, object);
    }
}
