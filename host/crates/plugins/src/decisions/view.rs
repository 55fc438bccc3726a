//! A decision as the API shows it: `Decision` of `pintle.dev/v1alpha1`, read-only.

use pintle_plugin_bindings::controller::Failure;
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Outcome, Rejection};
use serde_json::{Value, json};

use super::explain::Detail;
use super::read::Found;
use super::record::{Answer, Compile, Component, Heard, Placement, Question, Ranking, Reconcile, Reply, Table, Verdict, Weighed, What};
use super::replay::time;
use crate::engine::hex;
use crate::plugin::API_VERSION;

/// Writes that one decision shows; the rest is counted.
const MAX_WRITES: usize = 100;

/// `namespace`: who asks may see only that one; empty for all.
pub fn object(found: &Found, detail: Option<&Detail>, namespace: &str) -> Value {
    let (session, decision) = (&found.session, &found.decision);
    let subject = &decision.subject;
    let at = time(decision.number);
    let (outcome, message) = outcome(&decision.what);
    let mut metadata = json!({"name": name(decision.number), "creationTimestamp": format!("{}Z", at.split('.').next().unwrap_or_default())});
    if !subject.namespace.is_empty() {
        metadata["namespace"] = (*subject.namespace).into();
    }
    let mut object = json!({
        "apiVersion": API_VERSION, "kind": "Decision", "metadata": metadata,
        "plugin": &*session.plugin, "digest": &*session.digest, "revision": session.revision, "world": session.world.to_string(),
        "time": at, "durationMicroseconds": decision.took_micros,
        "inputs": {"hash": hex(&decision.inputs), "replayable": decision.intact},
        "regarding": {"resource": &*subject.resource, "namespace": &*subject.namespace, "name": &*subject.name, "uid": &*subject.uid},
        "outcome": outcome,
    });
    if !message.is_empty() {
        object["message"] = message.into();
    }
    match &decision.what {
        What::Placement(placement) => {
            object["schedulerName"] = (*session.task).into();
            object["scheduling"] = scheduling(placement, &session.plugin, detail);
        }
        What::Ranking(ranking) => {
            object["schedulerName"] = (*session.task).into();
            object["ranking"] = ranked(ranking, detail);
        }
        What::Reconcile(reconcile) => object["reconcile"] = reconciled(reconcile, &decision.heard, namespace),
        What::Compile(compile) => object["routing"] = routing(compile, namespace),
    }
    object
}

/// A number of microseconds, short, and in order as text for centuries.
fn name(number: u64) -> String {
    let (mut text, mut left) = (Vec::new(), number);
    while left > 0 || text.is_empty() {
        text.push(char::from_digit((left % 36) as u32, 36).unwrap_or('0'));
        left /= 36;
    }
    text.iter().rev().collect()
}

fn outcome(what: &What) -> (&'static str, String) {
    match what {
        What::Placement(placement) => match &placement.verdict {
            Verdict::Placed(_) => ("Scheduled", String::new()),
            Verdict::BindsVolumes(node) => ("BindsVolumes", format!("its claims are bound near {node} first")),
            Verdict::NoRoom => ("NoRoom", "the host knows none of the chosen nodes to have room".to_owned()),
            Verdict::Unschedulable(message) => ("Unschedulable", message.clone()),
            Verdict::Failed(why) => ("Failed", why.clone()),
        },
        What::Ranking(ranking) => match &ranking.answer {
            Answer::Returned(Ok(_)) => ("Ranked", String::new()),
            Answer::Returned(Err(why)) | Answer::Fault(why) => ("Failed", why.clone()),
        },
        What::Reconcile(reconcile) => match &reconcile.answer {
            Answer::Returned(Ok(_)) => ("Reconciled", String::new()),
            Answer::Returned(Err(Failure::Retry(why))) => ("Retry", why.clone()),
            Answer::Returned(Err(Failure::Terminal(why))) => ("Terminal", why.clone()),
            Answer::Fault(fault) => ("Failed", fault.clone()),
        },
        What::Compile(compile) => match &compile.answer {
            Answer::Returned(Ok(_)) => ("Compiled", String::new()),
            Answer::Returned(Err(why)) => ("Refused", why.clone()),
            Answer::Fault(fault) => ("Failed", fault.clone()),
        },
    }
}

fn scheduling(placement: &Placement, plugin: &str, detail: Option<&Detail>) -> Value {
    let mut shown = json!({"totalNodes": placement.nodes});
    match &placement.answer {
        Answer::Returned(Ok(Outcome::Fits(choice))) => {
            shown["feasibleNodes"] = choice.feasible.into();
            shown["evaluatedNodes"] = choice.looked_at.into();
            let ranked = choice.ranked.iter().zip(&placement.names).map(|(ranked, name)| json!({"node": name, "score": ranked.score}));
            shown["ranked"] = ranked.collect();
        }
        Answer::Returned(Ok(Outcome::None(rejections))) => {
            shown["feasibleNodes"] = 0.into();
            shown["rejections"] = rejections.iter().map(rejection).collect();
        }
        Answer::Returned(Err(_)) | Answer::Fault(_) => {}
    }
    if let Verdict::Placed(node) | Verdict::BindsVolumes(node) = &placement.verdict {
        shown["node"] = node.as_str().into();
    }
    if let Some(tried) = &placement.preemption {
        shown["preemption"] = if tried.victims.is_empty() { json!({}) } else { json!({"node": tried.node, "victims": tried.victims}) };
    }
    if let Some(weighed) = &placement.weighed {
        if let Some(last) = weighed.components.last() {
            shown["feasibleNodes"] = last.kept.into();
        }
        shown["profile"] = profile(weighed, plugin);
    }
    if let Some(detail) = detail {
        detail.add_to(&mut shown);
    }
    shown
}

/// Sums as people read them: the scores of 0 to 100 that upstream has.
fn profile(weighed: &Weighed, plugin: &str) -> Value {
    let answered = weighed.components.iter().filter(|c| c.ignored.is_empty()).map(|c| &*c.plugin);
    let plugins: Vec<&str> = std::iter::once(plugin).chain(answered).collect();
    let points = |thousandths: i64| thousandths as f64 / 1000.0;
    let total = |total: &super::record::Total| {
        let scores = total.scores.iter().zip(&plugins).map(|(score, plugin)| json!({"plugin": plugin, "score": points(*score)}));
        json!({"node": total.node, "total": points(total.total), "scores": scores.collect::<Value>()})
    };
    json!({"weight": weighed.weight, "extenders": weighed.components.iter().map(component).collect::<Value>(),
        "totals": weighed.totals.iter().map(total).collect::<Value>()})
}

fn component(component: &Component) -> Value {
    let Component { plugin, weight, asked, kept, rejections, ignored } = component;
    let mut shown = json!({"plugin": plugin, "weight": weight, "askedNodes": asked, "keptNodes": kept,
        "rejections": rejections.iter().map(rejection).collect::<Value>()});
    if !ignored.is_empty() {
        shown["ignored"] = ignored.as_str().into();
    }
    shown
}

fn ranked(ranking: &Ranking, detail: Option<&Detail>) -> Value {
    let mut shown = json!({"askedNodes": ranking.nodes.len()});
    if let Answer::Returned(Ok(answer)) = &ranking.answer {
        shown["keptNodes"] = answer.ranked.len().into();
        shown["ranked"] = ranking.best.iter().map(|(node, score)| json!({"node": node, "score": score})).collect();
        shown["rejections"] = answer.rejections.iter().map(rejection).collect();
    }
    if let Some(detail) = detail {
        detail.add_to(&mut shown);
    }
    shown
}

pub fn rejection(rejection: &Rejection) -> Value {
    let Rejection { filter, message, nodes, resolvable } = rejection;
    json!({"filter": filter, "message": message, "nodes": nodes, "resolvable": resolvable})
}

fn reconciled(reconcile: &Reconcile, heard: &[Heard], namespace: &str) -> Value {
    let asked = || heard.iter().filter_map(|h| if let Heard::Asked(question, reply) = h { Some((&**question, reply)) } else { None });
    let writes: Vec<Value> = asked().filter(|(q, _)| q.verb.is_write() && is_in(namespace, &q.namespace)).map(|(q, r)| write(q, r)).collect();
    let reads = asked().filter(|(q, _)| !q.verb.is_write() && q.verb.name() != "event").count();
    let mut shown = json!({"reads": reads, "writeCount": writes.len(), "writes": writes.into_iter().take(MAX_WRITES).collect::<Value>()});
    if let Answer::Returned(Ok(Some(after))) = &reconcile.answer {
        shown["requeueAfterMilliseconds"] = (*after).into();
    }
    shown
}

fn is_in(asked: &str, namespace: &str) -> bool {
    asked.is_empty() || asked == namespace
}

fn write(question: &Question, reply: &Reply) -> Value {
    let name = if let Reply::Written(_, name) = reply { name } else { &question.name };
    let mut shown = json!({"verb": question.verb.name(), "resource": question.qualified_resource(), "namespace": question.namespace, "name": name});
    if !question.subresource.is_empty() {
        shown["subresource"] = question.subresource.as_str().into();
    }
    if let Reply::Error(error) = reply {
        shown["error"] = format!("{error:?}").into();
    }
    shown
}

fn routing(compile: &Compile, namespace: &str) -> Value {
    let counts: serde_json::Map<String, Value> = compile.kinds.iter().map(|(kind, count)| (kind.clone(), (*count).into())).collect();
    let mut shown = json!({"objects": counts});
    if let Answer::Returned(Ok(table)) = &compile.answer {
        let Table { hash, hosts, routes, backends, certificates, served, problems } = table;
        let problem =
            |p: &super::record::Problem| json!({"kind": p.kind, "namespace": p.namespace, "name": p.name, "reason": p.reason, "message": p.message});
        shown["table"] = json!({"hash": hex(hash), "hosts": hosts, "routes": routes, "backends": backends, "certificates": certificates,
            "served": served.iter().filter(|path| is_in(namespace, path.split('/').next().unwrap_or_default())).collect::<Vec<_>>(),
            "problems": problems.iter().filter(|p| is_in(namespace, &p.namespace)).map(problem).collect::<Value>()});
    }
    shown
}
