//! The row of a pod in `kubectl get pods`: how many containers are ready, one word for the state, restarts.

use std::cmp::max;
use std::collections::HashSet;

use jiff::Timestamp;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::print::{AGE, NAME, NONE, age, since, text, text_or, wide};
use crate::strategy::Column;
use pintle_partial::Needed;

pub const COLUMNS: &[Column] = &[
    NAME,
    text("Ready", "Containers that are ready, of all."),
    text("Status", "State of the containers in one word."),
    text("Restarts", "Restarts of all containers, and when the last was."),
    AGE,
    wide("IP", "Address of the pod."),
    wide("Node", "Node that the pod is bound to."),
    wide("Nominated Node", "Node that is cleared for the pod by preemption."),
    wide("Readiness Gates", "Conditions beyond the containers' that are true, of all."),
];

/// What [`cells`] looks at.
pub const NEEDED: Needed = Needed::Only(&[
    ("metadata", Needed::Only(&[("name", Needed::All), ("creationTimestamp", Needed::All), ("deletionTimestamp", Needed::All)])),
    ("spec", Needed::Only(SPEC)),
    ("status", Needed::Only(STATUS)),
]);
const SPEC: &[(&str, Needed)] = &[
    ("containers", Needed::Only(&[])),
    ("initContainers", Needed::Only(&[("name", Needed::All), ("restartPolicy", Needed::All)])),
    ("nodeName", Needed::All),
    ("readinessGates", Needed::All),
];
const STATUS: &[(&str, Needed)] = &[
    ("conditions", Needed::Only(&[("type", Needed::All), ("status", Needed::All), ("reason", Needed::All)])),
    ("containerStatuses", CONTAINER),
    ("initContainerStatuses", CONTAINER),
    ("nominatedNodeName", Needed::All),
    ("phase", Needed::All),
    ("podIPs", Needed::All),
    ("reason", Needed::All),
];
const CONTAINER: Needed = Needed::Only(&[
    ("lastState", Needed::All),
    ("name", Needed::All),
    ("ready", Needed::All),
    ("restartCount", Needed::All),
    ("started", Needed::All),
    ("state", Needed::All),
]);

pub fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let row = Summary::of(pod);
    let restarts = match row.last_restart {
        Some(last) if row.restarts != 0 => format!("{} ({} ago)", row.restarts, since(last, now)),
        _ => row.restarts.to_string(),
    };
    let first_ip = pod.list_at(&["status", "podIPs"]).first().map_or("", |p| p.str_at(&["ip"]));
    vec![
        pod.name().into(),
        format!("{}/{}", row.ready, row.total).into(),
        row.state.into(),
        restarts.into(),
        age(pod, now),
        if first_ip.is_empty() { NONE.into() } else { first_ip.into() },
        text_or(pod, &["spec", "nodeName"], NONE),
        text_or(pod, &["status", "nominatedNodeName"], NONE),
        readiness_gates(pod).into(),
    ]
}

struct Summary<'a> {
    ready: usize,
    total: usize,
    state: String,
    restarts: i64,
    /// RFC 3339 in UTC, so text order is time order.
    last_restart: Option<&'a str>,
}

impl<'a> Summary<'a> {
    fn of(pod: &'a Value) -> Self {
        let phase = pod.str_at(&["status", "phase"]);
        let reason = pod.str_at(&["status", "reason"]);
        let gated = conditions(pod).any(|c| c.str_at(&["type"]) == "PodScheduled" && c.str_at(&["reason"]) == "SchedulingGated");
        let state = if gated {
            "SchedulingGated"
        } else if reason.is_empty() {
            phase
        } else {
            reason
        };
        let sidecars = pod.list_at(&["spec", "initContainers"]).iter().filter(|c| is_sidecar(c)).count();
        let total = pod.list_at(&["spec", "containers"]).len() + sidecars;
        let mut row = Summary { ready: 0, total, state: state.to_owned(), restarts: 0, last_restart: None };
        let (initializing, sidecar_restarts, sidecar_last) = row.add_init_containers(pod);
        if !initializing || is_true(pod, "Initialized") {
            (row.restarts, row.last_restart) = (sidecar_restarts, sidecar_last);
            row.add_containers(pod);
        }
        if pod.is_being_deleted() {
            if reason == "NodeLost" {
                row.state = "Unknown".to_owned();
            } else if !matches!(phase, "Succeeded" | "Failed") {
                row.state = "Terminating".to_owned();
            }
        }
        row
    }

    /// Whether init containers still hold the pod, and the restarts of those that run beside the others.
    fn add_init_containers(&mut self, pod: &'a Value) -> (bool, i64, Option<&'a str>) {
        let specs = pod.list_at(&["spec", "initContainers"]);
        let sidecars: HashSet<&str> = specs.iter().filter(|c| is_sidecar(c)).map(|c| c.str_at(&["name"])).collect();
        let (mut restarts, mut last) = (0, None);
        for (i, status) in pod.list_at(&["status", "initContainerStatuses"]).iter().enumerate() {
            let sidecar = sidecars.contains(status.str_at(&["name"]));
            self.restarts += status.i64_at(&["restartCount"]).unwrap_or(0);
            self.last_restart = max(self.last_restart, finished_last(status));
            if sidecar {
                restarts += status.i64_at(&["restartCount"]).unwrap_or(0);
                last = max(last, finished_last(status));
            }
            let ended = status.at(&["state", "terminated"]).filter(|t| !t.is_null());
            let waiting = status.str_at(&["state", "waiting", "reason"]);
            if ended.is_some_and(|t| t.i64_at(&["exitCode"]).unwrap_or(0) == 0) {
                continue;
            }
            if sidecar && status.bool_at(&["started"]) {
                self.ready += usize::from(status.bool_at(&["ready"]));
                continue;
            }
            self.state = match ended {
                Some(ended) => format!("Init:{}", end_reason(ended)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
                None => format!("Init:{i}/{}", specs.len()),
            };
            return (true, restarts, last);
        }
        (false, restarts, last)
    }

    fn add_containers(&mut self, pod: &'a Value) {
        let mut running = false;
        let mut failure = String::new();
        for status in pod.list_at(&["status", "containerStatuses"]).iter().rev() {
            self.restarts += status.i64_at(&["restartCount"]).unwrap_or(0);
            self.last_restart = max(self.last_restart, finished_last(status));
            let waiting = status.str_at(&["state", "waiting", "reason"]);
            if !waiting.is_empty() {
                self.state = waiting.to_owned();
            } else if let Some(ended) = status.at(&["state", "terminated"]).filter(|t| !t.is_null()) {
                self.state = end_reason(ended);
                if ended.i64_at(&["exitCode"]).unwrap_or(0) != 0 {
                    failure.clone_from(&self.state);
                }
            } else if status.bool_at(&["ready"]) && status.at(&["state", "running"]).is_some() {
                running = true;
                self.ready += 1;
            }
        }
        // One container that ended does not make the pod completed while another runs.
        if self.state == "Completed" {
            if running && is_true(pod, "Ready") {
                self.state = "Running".to_owned();
            } else if !failure.is_empty() {
                self.state = failure;
            } else if running {
                self.state = "NotReady".to_owned();
            }
        }
    }
}

fn is_sidecar(container: &Value) -> bool {
    container.str_at(&["restartPolicy"]) == "Always"
}

fn conditions(pod: &Value) -> impl Iterator<Item = &Value> {
    pod.list_at(&["status", "conditions"]).iter()
}

fn is_true(pod: &Value, kind: &str) -> bool {
    conditions(pod).any(|c| c.str_at(&["type"]) == kind && c.str_at(&["status"]) == "True")
}

fn finished_last(status: &Value) -> Option<&str> {
    status.at(&["lastState", "terminated", "finishedAt"]).and_then(Value::as_str)
}

fn end_reason(ended: &Value) -> String {
    match (ended.str_at(&["reason"]), ended.i64_at(&["signal"]).unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", ended.i64_at(&["exitCode"]).unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn readiness_gates(pod: &Value) -> String {
    let gates = pod.list_at(&["spec", "readinessGates"]);
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let open = gates.iter().filter(|gate| is_true(pod, gate.str_at(&["conditionType"]))).count();
    format!("{open}/{}", gates.len())
}
