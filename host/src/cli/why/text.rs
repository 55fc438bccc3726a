//! Decisions in words.

use pintle_api::ResourceDef;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::super::plugin::short_digest;
use super::super::tabs;
use super::str_of;

/// Writes of one reconcile that are shown.
const MAX_WRITES: usize = 10;

/// About an object on which nothing is on record.
pub fn nobody(def: &ResourceDef, object: &Value) -> String {
    let node = object.str_at(&["spec", "nodeName"]);
    let mut text = format!("No decision about {} {} is on record.\n", def.kind, object.name());
    if &*def.resource == "pods" && !node.is_empty() {
        text.push_str(&format!("It is on {node}: named in its spec when it was created, or placed longer ago than the log reaches.\n"));
    } else if &*def.resource == "pods" {
        let scheduler = object.str_at(&["spec", "schedulerName"]);
        text.push_str(&format!("It waits for the scheduler {scheduler:?}: see 'pintle plugin list' for who serves that name.\n"));
    } else {
        text.push_str("No plugin reconciles it, or it did so longer ago than the log reaches.\n");
    }
    text
}

/// Placements first, then what was done about the object, then who wrote it.
pub fn tell(title: &str, resource: &str, name: &str, decisions: &[Value], last: usize, nodes: bool) -> String {
    let is_own = |d: &&Value| str_of(d, &["regarding", "resource"]) == resource && str_of(d, &["regarding", "name"]) == name;
    let mut out = String::new();
    let placements: Vec<&Value> = decisions.iter().filter(|d| d["scheduling"].is_object()).collect();
    if let Some((newest, before)) = placements.split_first() {
        out.push_str(&placement(title, newest, nodes));
        out.push_str(&extenders(decisions, str_of(newest, &["plugin"]), nodes));
        if !before.is_empty() && last > 1 {
            out.push_str("\nBefore:\n");
            let lines = before.iter().take(last - 1).map(|d| format!("  {}\t{}\n", str_of(d, &["time"]), verdict(d)));
            out.push_str(&tabs::align(&lines.collect::<String>(), tabs::DESCRIPTION));
        }
    }
    let reconciles: Vec<&Value> = decisions.iter().filter(|d| d["reconcile"].is_object()).filter(is_own).collect();
    if !reconciles.is_empty() {
        section(&mut out, &format!("{title} was reconciled:"));
        reconciles.iter().take(last).for_each(|d| out.push_str(&reconcile(d)));
    }
    let tables: Vec<&Value> = decisions.iter().filter(|d| d["routing"].is_object()).collect();
    if !tables.is_empty() {
        section(&mut out, &format!("{title} was compiled into routes:"));
        tables.iter().take(last).for_each(|d| out.push_str(&routing(d, name)));
    }
    let writers: Vec<&Value> = decisions.iter().filter(|d| d["reconcile"].is_object() && !is_own(d)).collect();
    if !writers.is_empty() {
        section(&mut out, "Written by:");
        // Who made it matters most, and is the oldest.
        let creation = writers.iter().rev().find(|d| writes_of(d, resource, name).any(|w| str_of(w, &["verb"]) == "create"));
        let newest = writers.iter().take(last).filter(|d| creation.is_none_or(|c| !std::ptr::eq(*c, **d)));
        let lines: String = newest.chain(creation).map(|d| written(d, resource, name)).collect();
        out.push_str(&tabs::align(&lines, tabs::DESCRIPTION));
    }
    out
}

fn section(out: &mut String, head: &str) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(head);
    out.push('\n');
}

fn verdict(decision: &Value) -> String {
    let node = str_of(decision, &["scheduling", "node"]);
    let message = str_of(decision, &["message"]);
    match str_of(decision, &["outcome"]) {
        "Scheduled" => format!("placed on {node}"),
        "Unschedulable" => message.to_owned(),
        other => format!("{other}: {message}"),
    }
}

fn placement(title: &str, decision: &Value, nodes: bool) -> String {
    let scheduling = &decision["scheduling"];
    let node = str_of(scheduling, &["node"]);
    let mut out = match str_of(decision, &["outcome"]) {
        "Scheduled" => {
            let number = |field: &str| scheduling.i64_at(&[field]).unwrap_or(0);
            let (feasible, looked, total) = (number("feasibleNodes"), number("evaluatedNodes"), number("totalNodes"));
            let looked = if looked == total { String::new() } else { format!(", {looked} looked at") };
            format!("{title} was placed on {node}: {feasible} of {total} nodes fit{looked}.\n")
        }
        "Unschedulable" => format!("{title} is not scheduled: {}\n", str_of(decision, &["message"])),
        other => format!("{title}: {other}: {}\n", str_of(decision, &["message"])),
    };
    let micros = decision.i64_at(&["durationMicroseconds"]).unwrap_or(0);
    let rows = format!(
        "  When:\t{}, in {micros} µs\n  By:\t{}, for {}\n  Inputs:\t{}{}\n",
        str_of(decision, &["time"]),
        who(decision),
        str_of(decision, &["schedulerName"]),
        str_of(decision, &["inputs", "hash"]),
        if decision["inputs"]["replayable"] == true { "" } else { " (not all on record: cannot be replayed)" },
    );
    out.push_str(&tabs::align(&rows, tabs::DESCRIPTION));
    refused(&mut out, scheduling);
    scored(&mut out, scheduling);
    weighed(&mut out, scheduling);
    if let Some(preemption) = scheduling.get("preemption") {
        let victims: Vec<&str> = preemption.list_at(&["victims"]).iter().filter_map(Value::as_str).collect();
        if !victims.is_empty() {
            out.push_str(&format!("Evicts on {}: {}\n", str_of(preemption, &["node"]), victims.join(", ")));
        }
    }
    if nodes {
        each_node(&mut out, scheduling);
    }
    out
}

/// `scheduler-default, revision 1 (sha256:0123456789ab)`.
fn who(decision: &Value) -> String {
    let revision = decision.i64_at(&["revision"]).unwrap_or(0);
    format!("{}, revision {revision} ({})", str_of(decision, &["plugin"]), short_digest(str_of(decision, &["digest"])))
}

fn refused(out: &mut String, scheduling: &Value) {
    let rejections = scheduling.list_at(&["rejections"]);
    if rejections.is_empty() {
        return;
    }
    let mut rows = "  NODES\tFILTER\tREASON\n".to_owned();
    for rejection in rejections {
        let nodes = rejection.i64_at(&["nodes"]).unwrap_or(0);
        rows.push_str(&format!("  {nodes}\t{}\t{}\n", str_of(rejection, &["filter"]), str_of(rejection, &["message"])));
    }
    out.push_str("Refused:\n");
    out.push_str(&tabs::align(&rows, tabs::DESCRIPTION));
}

fn scored(out: &mut String, scheduling: &Value) {
    let ranked = scheduling.list_at(&["ranked"]);
    if ranked.is_empty() {
        return;
    }
    let row = |r: &Value| format!("  {}\t{}\n", str_of(r, &["node"]), r.i64_at(&["score"]).unwrap_or(0));
    let rows: String = std::iter::once("  NODE\tSCORE\n".to_owned()).chain(ranked.iter().map(row)).collect();
    out.push_str("Best:\n");
    out.push_str(&tabs::align(&rows, tabs::DESCRIPTION));
    let scores = scheduling.list_at(&["scores"]);
    if !scores.is_empty() {
        let row = |s: &Value| format!("  {}\t{}\n", str_of(s, &["criterion"]), s.i64_at(&["score"]).unwrap_or(0));
        let of = Some(str_of(scheduling, &["scoredNode"])).filter(|n| !n.is_empty()).unwrap_or(str_of(&ranked[0], &["node"]));
        out.push_str(&format!("Scores of {of}:\n"));
        out.push_str(&tabs::align(&scores.iter().map(row).collect::<String>(), tabs::DESCRIPTION));
    }
}

/// The sums over several components, and what each extender refused.
fn weighed(out: &mut String, scheduling: &Value) {
    let Some(profile) = scheduling.get("profile") else { return };
    for extender in profile.list_at(&["extenders"]) {
        let (plugin, ignored) = (str_of(extender, &["plugin"]), str_of(extender, &["ignored"]));
        let number = |field: &str| extender.i64_at(&[field]).unwrap_or(0);
        let mut line = format!("Extender {plugin}, weight {}: keeps {} of {} nodes", number("weight"), number("keptNodes"), number("askedNodes"));
        if !ignored.is_empty() {
            line = format!("Extender {plugin} was passed over: {ignored}");
        }
        out.push_str(&format!("{line}\n"));
        refused(out, extender);
    }
    let totals = profile.list_at(&["totals"]);
    let Some(best) = totals.first() else { return };
    let weight = |at: usize, plugin: &str| match at {
        0 => profile.i64_at(&["weight"]),
        _ => profile.list_at(&["extenders"]).iter().find(|e| str_of(e, &["plugin"]) == plugin).and_then(|e| e.i64_at(&["weight"])),
    };
    let heads = best.list_at(&["scores"]).iter().map(|s| str_of(s, &["plugin"])).enumerate();
    let heads: String = heads.map(|(at, plugin)| format!("\t{} × {plugin}", weight(at, plugin).unwrap_or(1))).collect();
    let row = |t: &Value| {
        let scores: String = t.list_at(&["scores"]).iter().map(|s| format!("\t{}", s["score"])).collect();
        format!("  {}\t{}{scores}\n", str_of(t, &["node"]), t["total"])
    };
    let rows: String = std::iter::once(format!("  NODE\tTOTAL{heads}\n")).chain(totals.iter().map(row)).collect();
    out.push_str("Weighed:\n");
    out.push_str(&tabs::align(&rows, tabs::DESCRIPTION));
}

/// The last word of each extender in its own terms.
fn extenders(decisions: &[Value], primary: &str, nodes: bool) -> String {
    let (mut out, mut told) = (String::new(), vec![primary]);
    for decision in decisions.iter().filter(|d| d["ranking"].is_object()) {
        let plugin = str_of(decision, &["plugin"]);
        if told.contains(&plugin) {
            continue;
        }
        told.push(plugin);
        let micros = decision.i64_at(&["durationMicroseconds"]).unwrap_or(0);
        section(&mut out, &format!("By {}, for {}, in {micros} µs:", who(decision), str_of(decision, &["schedulerName"])));
        let message = str_of(decision, &["message"]);
        if !message.is_empty() {
            out.push_str(&format!("{}: {message}\n", str_of(decision, &["outcome"])));
        }
        refused(&mut out, &decision["ranking"]);
        scored(&mut out, &decision["ranking"]);
        if nodes {
            each_node(&mut out, &decision["ranking"]);
        }
    }
    if out.is_empty() { out } else { format!("\n{out}") }
}

fn each_node(out: &mut String, scheduling: &Value) {
    let mut rows = "  NODE\tSCORE\tWHY\n".to_owned();
    for node in scheduling.list_at(&["nodes"]) {
        let name = str_of(node, &["name"]);
        let rejected: Vec<String> =
            node.list_at(&["rejected"]).iter().map(|r| format!("{}: {}", str_of(r, &["filter"]), str_of(r, &["message"]))).collect();
        let scores: Vec<String> = node.list_at(&["scores"]).iter().map(|s| format!("{} {}", str_of(s, &["criterion"]), s["score"])).collect();
        let score = node.i64_at(&["totalScore"]).map_or("-".to_owned(), |s| s.to_string());
        rows.push_str(&format!("  {name}\t{score}\t{}\n", if rejected.is_empty() { scores.join(", ") } else { rejected.join("; ") }));
    }
    out.push_str("Nodes, as they were:\n");
    out.push_str(&tabs::align(&rows, tabs::DESCRIPTION));
    if let Some(left) = scheduling.i64_at(&["unexplainedNodes"]) {
        out.push_str(&format!("  and {left} more\n"));
    }
}

fn reconcile(decision: &Value) -> String {
    let reconcile = &decision["reconcile"];
    let message = str_of(decision, &["message"]);
    let mut outcome = match str_of(decision, &["outcome"]) {
        "Reconciled" => String::new(),
        "Retry" => format!(", to be tried again: {message}"),
        other => format!(", {}: {message}", other.to_lowercase()),
    };
    if let Some(after) = reconcile.i64_at(&["requeueAfterMilliseconds"]) {
        outcome.push_str(&format!(", again in {after} ms"));
    }
    let writes = reconcile.list_at(&["writes"]);
    let count = reconcile.i64_at(&["writeCount"]).unwrap_or(0);
    let what = match count {
        0 => "nothing to write".to_owned(),
        1 => "1 write".to_owned(),
        count => format!("{count} writes"),
    };
    let mut out = format!("  {}  {}: {what}{outcome}\n", str_of(decision, &["time"]), who(decision));
    writes.iter().take(MAX_WRITES).for_each(|w| out.push_str(&format!("    {}\n", write(w))));
    if writes.len() > MAX_WRITES {
        out.push_str(&format!("    and {} more\n", count - MAX_WRITES as i64));
    }
    out
}

fn write(write: &Value) -> String {
    let sub = write.get("subresource").and_then(Value::as_str).map(|s| format!("/{s}")).unwrap_or_default();
    let error = write.get("error").and_then(Value::as_str).map(|e| format!(": {e}")).unwrap_or_default();
    format!("{} {}{sub} {}{error}", str_of(write, &["verb"]), str_of(write, &["resource"]), str_of(write, &["name"]))
}

fn writes_of<'v>(decision: &'v Value, resource: &'v str, name: &'v str) -> impl Iterator<Item = &'v Value> {
    let writes = decision.list_at(&["reconcile", "writes"]).iter();
    writes.filter(move |w| str_of(w, &["resource"]) == resource && str_of(w, &["name"]) == name)
}

fn written(decision: &Value, resource: &str, name: &str) -> String {
    let verbs: Vec<String> = writes_of(decision, resource, name)
        .map(|w| {
            let sub = w.get("subresource").and_then(Value::as_str).map(|s| format!(" of {s}")).unwrap_or_default();
            format!("{}{sub}", str_of(w, &["verb"]))
        })
        .collect();
    let verbs = if verbs.is_empty() { "write".to_owned() } else { verbs.join(", ") };
    let regarding = &decision["regarding"];
    let about = format!("{} {}", str_of(regarding, &["resource"]), str_of(regarding, &["name"]));
    format!("  {}\t{verbs}\t{}, reconciling {about}\n", str_of(decision, &["time"]), who(decision))
}

fn routing(decision: &Value, name: &str) -> String {
    let table = &decision["routing"]["table"];
    let number = |field: &str| table.i64_at(&[field]).unwrap_or(0);
    let mut out = format!(
        "  {}  {}: {} hosts, {} routes, {} backends, table {}\n",
        str_of(decision, &["time"]),
        who(decision),
        number("hosts"),
        number("routes"),
        number("backends"),
        str_of(table, &["hash"]),
    );
    for problem in table.list_at(&["problems"]).iter().filter(|p| str_of(p, &["name"]) == name) {
        out.push_str(&format!("    {}: {}\n", str_of(problem, &["reason"]), str_of(problem, &["message"])));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    fn decision(more: Value) -> Value {
        let mut decision = json!({"time": "2026-01-01T12:00:00.000001Z", "plugin": "scheduler-default", "revision": 2, "digest": "sha256:0123456789abcdef",
            "schedulerName": "default-scheduler", "durationMicroseconds": 120, "inputs": {"hash": "00ff", "replayable": true},
            "regarding": {"resource": "pods", "namespace": "n", "name": "a"}});
        decision.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        decision
    }

    #[test]
    fn a_placement_and_who_made_the_pod() {
        let placed = decision(json!({"outcome": "Scheduled", "scheduling": {"node": "y", "totalNodes": 3, "evaluatedNodes": 3, "feasibleNodes": 2,
            "ranked": [{"node": "y", "score": 310}, {"node": "x", "score": 290}], "scores": [{"criterion": "NodeResourcesFit", "score": 80}],
            "rejections": [{"filter": "TaintToleration", "message": "node(s) had untolerated taint(s)", "nodes": 1}],
            "nodes": [{"name": "x", "totalScore": 290, "scores": [{"criterion": "NodeResourcesFit", "score": 70}]},
                {"name": "z", "rejected": [{"filter": "TaintToleration", "message": "node(s) had untolerated taint(s)"}]}]}}));
        let made = decision(
            json!({"plugin": "controller-replicaset", "outcome": "Reconciled", "regarding": {"resource": "replicasets.apps", "name": "web"},
            "reconcile": {"writes": [{"verb": "create", "resource": "pods", "name": "a"}], "writeCount": 1}}),
        );
        expect![[r#"
            Pod n/a was placed on y: 2 of 3 nodes fit.
              When:    2026-01-01T12:00:00.000001Z, in 120 µs
              By:      scheduler-default, revision 2 (sha256:0123456789ab), for default-scheduler
              Inputs:  00ff
            Refused:
              NODES  FILTER           REASON
              1      TaintToleration  node(s) had untolerated taint(s)
            Best:
              NODE  SCORE
              y     310
              x     290
            Scores of y:
              NodeResourcesFit  80
            Nodes, as they were:
              NODE  SCORE  WHY
              x     290    NodeResourcesFit 70
              z     -      TaintToleration: node(s) had untolerated taint(s)

            Written by:
              2026-01-01T12:00:00.000001Z  create  controller-replicaset, revision 2 (sha256:0123456789ab), reconciling replicasets.apps web
        "#]]
        .assert_eq(&tell("Pod n/a", "pods", "a", &[placed, made], 3, true));
    }

    #[test]
    fn a_placement_of_several_components() {
        let dear = json!([{"filter": "Price", "message": "node(s) were dear", "nodes": 1}]);
        let placed = decision(json!({"outcome": "Scheduled", "scheduling": {"node": "x", "totalNodes": 3, "evaluatedNodes": 3, "feasibleNodes": 2,
            "ranked": [{"node": "y", "score": 310}, {"node": "x", "score": 155}], "scoredNode": "x", "scores": [{"criterion": "NodeResourcesFit", "score": 80}],
            "profile": {"weight": 1, "extenders": [
                    {"plugin": "price", "weight": 2, "askedNodes": 3, "keptNodes": 2, "rejections": dear},
                    {"plugin": "slow", "weight": 9, "askedNodes": 2, "keptNodes": 2, "rejections": [], "ignored": "rests after a fault"}],
                "totals": [{"node": "x", "total": 250.0, "scores": [{"plugin": "scheduler-default", "score": 50.0}, {"plugin": "price", "score": 100.0}]},
                    {"node": "y", "total": 166.666, "scores": [{"plugin": "scheduler-default", "score": 100.0}, {"plugin": "price", "score": 33.333}]}]}}}));
        let ranked = decision(json!({"plugin": "price", "outcome": "Ranked", "ranking": {"askedNodes": 3, "keptNodes": 2, "rejections": dear,
            "ranked": [{"node": "x", "score": 30}], "scoredNode": "x", "scores": [{"criterion": "PerHour", "score": 30}]}}));
        let older = decision(json!({"plugin": "price", "outcome": "Failed", "message": "long ago", "ranking": {"askedNodes": 3}}));
        expect![[r#"
            Pod n/a was placed on x: 2 of 3 nodes fit.
              When:    2026-01-01T12:00:00.000001Z, in 120 µs
              By:      scheduler-default, revision 2 (sha256:0123456789ab), for default-scheduler
              Inputs:  00ff
            Best:
              NODE  SCORE
              y     310
              x     155
            Scores of x:
              NodeResourcesFit  80
            Extender price, weight 2: keeps 2 of 3 nodes
            Refused:
              NODES  FILTER  REASON
              1      Price   node(s) were dear
            Extender slow was passed over: rests after a fault
            Weighed:
              NODE  TOTAL    1 × scheduler-default  2 × price
              x     250.0    50.0                   100.0
              y     166.666  100.0                  33.333

            By price, revision 2 (sha256:0123456789ab), for default-scheduler, in 120 µs:
            Refused:
              NODES  FILTER  REASON
              1      Price   node(s) were dear
            Best:
              NODE  SCORE
              x     30
            Scores of x:
              PerHour  30
        "#]]
        .assert_eq(&tell("Pod n/a", "pods", "a", &[placed, ranked, older], 3, false));
    }

    #[test]
    fn a_pending_pod_and_a_reconcile() {
        let why = "0/1 nodes are available: 1 Insufficient cpu.";
        let pending = decision(json!({"outcome": "Unschedulable", "message": why, "inputs": {"hash": "01"},
            "scheduling": {"totalNodes": 1, "rejections": [{"filter": "NodeResourcesFit", "message": "Insufficient cpu", "nodes": 1}]}}));
        expect![[r#"
            Pod n/a is not scheduled: 0/1 nodes are available: 1 Insufficient cpu.
              When:    2026-01-01T12:00:00.000001Z, in 120 µs
              By:      scheduler-default, revision 2 (sha256:0123456789ab), for default-scheduler
              Inputs:  01 (not all on record: cannot be replayed)
            Refused:
              NODES  FILTER            REASON
              1      NodeResourcesFit  Insufficient cpu

            Before:
              2026-01-01T12:00:00.000001Z  0/1 nodes are available: 1 Insufficient cpu.
        "#]]
        .assert_eq(&tell("Pod n/a", "pods", "a", &[pending.clone(), pending], 3, false));
        let set = decision(json!({"plugin": "controller-deployment", "outcome": "Retry", "message": "conflict",
            "regarding": {"resource": "deployments.apps", "name": "web"},
            "reconcile": {"writes": [{"verb": "update", "resource": "replicasets.apps", "subresource": "status", "name": "web-1", "error": "Conflict"}],
                "writeCount": 1, "requeueAfterMilliseconds": 500}}));
        expect![[r#"
            Deployment n/web was reconciled:
              2026-01-01T12:00:00.000001Z  controller-deployment, revision 2 (sha256:0123456789ab): 1 write, to be tried again: conflict, again in 500 ms
                update replicasets.apps/status web-1: Conflict
        "#]]
        .assert_eq(&tell("Deployment n/web", "deployments.apps", "web", &[set], 3, false));
    }
}
