//! Decisions in a line each, for reports.

use pintle_plugin_bindings::controller::Failure;
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Outcome, Ranking, Rejection};

use crate::decisions::record::{Answer, Question, Table};

/// As the API writes times.
pub fn time(micros: u64) -> String {
    let time = jiff::Timestamp::from_microsecond(i64::try_from(micros).unwrap_or(i64::MAX)).unwrap_or_default();
    format!("{time:.6}")
}

pub fn placement(answer: &Answer<Result<Outcome, String>>, chosen: Option<&str>) -> String {
    match answer {
        Answer::Returned(Ok(Outcome::Fits(choice))) => {
            let score = choice.ranked.first().map_or(0, |r| r.score);
            format!("{} (score {score}, {} of {} nodes fit)", chosen.unwrap_or("no node"), choice.feasible, choice.looked_at)
        }
        Answer::Returned(Ok(Outcome::None(rejections))) => format!("unschedulable: {}", rejected(rejections).join(", ")),
        Answer::Returned(Err(why)) => format!("refused: {why}"),
        Answer::Fault(fault) => format!("failed: {fault}"),
    }
}

pub fn ranking(answer: &Answer<Result<Ranking, String>>, asked: usize, name: impl Fn(u32) -> String) -> String {
    match answer {
        Answer::Returned(Ok(ranking)) => {
            let best = ranking.ranked.iter().max_by_key(|r| (r.score, std::cmp::Reverse(r.node)));
            let best = best.map_or_else(|| rejected(&ranking.rejections).join(", "), |r| format!("best {} (score {})", name(r.node), r.score));
            format!("keeps {} of {asked} nodes: {best}", ranking.ranked.len())
        }
        Answer::Returned(Err(why)) => format!("refused: {why}"),
        Answer::Fault(fault) => format!("failed: {fault}"),
    }
}

pub fn rejected(rejections: &[Rejection]) -> Vec<String> {
    rejections.iter().map(|r| format!("{} {}", r.nodes, r.message)).collect()
}

pub fn reconcile(answer: &Answer<Result<Option<u64>, Failure>>, writes: &[&Question]) -> String {
    let mut text = match answer {
        Answer::Returned(Ok(None)) => String::new(),
        Answer::Returned(Ok(Some(after))) => format!("again in {after} ms"),
        Answer::Returned(Err(Failure::Retry(why))) => format!("retry: {why}"),
        Answer::Returned(Err(Failure::Terminal(why))) => format!("terminal: {why}"),
        Answer::Fault(fault) => format!("failed: {fault}"),
    };
    let lines = if writes.is_empty() { "no writes".to_owned() } else { grouped(writes) };
    if text.is_empty() {
        return lines;
    }
    text.insert_str(0, "; ");
    text.insert_str(0, &lines);
    text
}

/// `create pods 3, update replicasets.apps/status web`.
fn grouped(writes: &[&Question]) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for write in writes {
        let sub = if write.subresource.is_empty() { String::new() } else { format!("/{}", write.subresource) };
        let what = format!("{} {}{sub}", write.verb.name(), write.qualified_resource());
        match groups.last_mut() {
            Some((last, names)) if *last == what => names.push(&write.name),
            _ => groups.push((what, vec![&write.name])),
        }
    }
    let line = |(what, names): &(String, Vec<&str>)| match names.as_slice() {
        [name] if !name.is_empty() => format!("{what} {name}"),
        [_] => what.clone(),
        many => format!("{what} ({})", many.len()),
    };
    groups.iter().map(line).collect::<Vec<_>>().join(", ")
}

pub fn table(answer: &Answer<Result<Table, String>>) -> String {
    match answer {
        Answer::Returned(Ok(t)) => {
            let hash = crate::engine::hex(&t.hash[..6]);
            format!(
                "table {hash}: {} hosts, {} routes, {} backends, {} certificates, {} problems",
                t.hosts,
                t.routes,
                t.backends,
                t.certificates,
                t.problems.len()
            )
        }
        Answer::Returned(Err(why)) => format!("refused: {why}"),
        Answer::Fault(fault) => format!("failed: {fault}"),
    }
}
