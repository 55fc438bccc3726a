//! More about a placement than was written down: the cluster as it stood is folded from the log, a fresh instance of the component that
//! decided is fed it, and asked about every node. Costs what feeding a new revision costs, so one question at a time.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Pod, Reason};
use serde_json::{Value, json};

use super::fold::State;
use super::offline::{Maker, Then};
use super::read::Found;
use super::record::{Record, Verdict, What};
use super::segment::{LogError, SegmentReader};

/// For all nodes together; those that are left over are counted.
const PATIENCE: Duration = Duration::from_secs(5);

/// What each criterion said of each node.
pub struct Detail {
    /// Name, reasons.
    nodes: Vec<(String, Vec<Reason>)>,
    /// The node that it is about, and the reasons.
    chosen: Option<(String, Vec<Reason>)>,
    /// Not asked about, for lack of time.
    left_out: usize,
    /// Wanted node by node.
    each: bool,
}

/// What the deciding instance knew when it decided. `None`: the log does not reach back so far.
pub fn state_at(found: &Found) -> Result<Option<State>, LogError> {
    let (number, session) = (found.decision.number, found.decision.session);
    if !found.decision.intact {
        return Ok(None);
    }
    fold_until(&found.segment, session, number)
}

fn fold_until(path: &Path, session: u64, number: u64) -> Result<Option<State>, LogError> {
    let mut state: Option<State> = None;
    let mut reader = SegmentReader::open(path)?;
    while let Some(block) = reader.next_block() {
        for record in reader.records(&block)? {
            match record {
                Record::Fed(fed) if fed.session == session && (fed.feed.is_whole() || state.is_some()) => {
                    state.get_or_insert_default().apply(fed.feed.is_whole(), fed.deltas);
                }
                Record::Decision(decision) if decision.number == number => return Ok(state),
                _ => {}
            }
        }
    }
    Ok(None)
}

/// `each`: the answer shall have every node.
pub async fn explain(maker: &Maker, found: &Found, state: State, each: bool) -> Result<Option<Detail>, String> {
    let (pod, best) = match &found.decision.what {
        What::Placement(placement) => match &placement.verdict {
            Verdict::Placed(node) | Verdict::BindsVolumes(node) if placement.weighed.is_some() => (&placement.pod, Some(node)),
            _ => (&placement.pod, placement.names.first()),
        },
        What::Ranking(ranking) => (&ranking.pod, ranking.best.first().map(|(name, _)| name)),
        What::Reconcile(_) | What::Compile(_) => return Ok(None),
    };
    let pod: Pod = postcard::from_bytes(pod).map_err(|e| e.to_string())?;
    let nodes: Vec<(u32, String)> = state.nodes.values().map(|node| (node.id, node.name.clone())).collect();
    let mut instance = maker.scheduler(&found.session).await?;
    let fault = |f: crate::guest::Fault| f.to_string();
    instance.feed(&state.into_deltas(), Then::beginning(&found.session)).await.map_err(fault)?;
    let chosen = best.and_then(|name| nodes.iter().find(|(_, n)| n == name));
    let mut detail = Detail { nodes: Vec::new(), chosen: None, left_out: 0, each };
    if let Some((chosen, name)) = chosen {
        detail.chosen = Some((name.clone(), instance.explain(&pod, *chosen).await.map_err(fault)?));
    }
    let begun = Instant::now();
    for (id, name) in &nodes {
        if begun.elapsed() > PATIENCE {
            detail.left_out += 1;
            continue;
        }
        detail.nodes.push((name.clone(), instance.explain(&pod, *id).await.map_err(fault)?));
    }
    let told = detail.nodes.iter().any(|(_, reasons)| !reasons.is_empty());
    Ok(told.then_some(detail))
}

impl Detail {
    /// Into `scheduling` or `ranking` of a Decision.
    pub fn add_to(&self, shown: &mut Value) {
        let mut sums: BTreeMap<(&str, &str), u32> = BTreeMap::new();
        for reason in self.nodes.iter().flat_map(|(_, reasons)| reasons) {
            if let Some(message) = &reason.rejected {
                *sums.entry((&reason.criterion, message)).or_default() += 1;
            }
        }
        if shown.get("rejections").is_none() {
            shown["rejections"] =
                sums.iter().map(|((filter, message), nodes)| json!({"filter": filter, "message": message, "nodes": nodes})).collect();
        }
        if let Some((name, chosen)) = &self.chosen {
            shown["scoredNode"] = name.as_str().into();
            let score = |r: &Reason| Some(json!({"criterion": r.criterion, "score": r.score?}));
            shown["scores"] = chosen.iter().filter_map(score).collect();
        }
        if self.each {
            shown["nodes"] = self.nodes.iter().map(|(name, reasons)| node(name, reasons)).collect();
        }
        if self.left_out > 0 {
            shown["unexplainedNodes"] = self.left_out.into();
        }
    }
}

fn node(name: &str, reasons: &[Reason]) -> Value {
    let mut shown = json!({"name": name});
    let rejected: Vec<Value> = reasons.iter().filter_map(|r| Some(json!({"filter": r.criterion, "message": r.rejected.as_ref()?}))).collect();
    let scores: Vec<Value> = reasons.iter().filter_map(|r| Some(json!({"criterion": r.criterion, "score": r.score?}))).collect();
    if !rejected.is_empty() {
        shown["rejected"] = rejected.into();
    }
    if !scores.is_empty() {
        shown["totalScore"] = reasons.iter().filter_map(|r| r.score).sum::<i64>().into();
        shown["scores"] = scores.into();
    }
    shown
}
