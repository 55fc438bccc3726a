//! A decision of several components: the primary finds nodes, its extenders refuse and score them, weights decide.
//!
//! With a primary alone none of this runs. Where the extenders keep no node of a sampled search, the primary is asked about all nodes.

use std::hash::{DefaultHasher, Hash, Hasher};

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Choice, Outcome, Pod, Ranked, Ranking};

use super::super::desk::Who;
use super::super::members::{self, Round};
use super::super::weigh::{Scores, combine, merged};
use super::Driver;
use super::decide::TOP;
use crate::decisions::notes::PlacementNote;
use crate::decisions::record::{Total, Weighed};
use crate::guest::Moment;

/// Nodes of a decision whose sums are written down.
const MAX_TOTALS: usize = 10;

impl Driver {
    /// What becomes of the primary's choice. The error says why the pod cannot be decided now.
    pub(super) async fn weigh(&mut self, who: Who, pod: &Pod, moment: Moment, choice: Choice, note: &mut PlacementNote) -> Result<Outcome, String> {
        let round = self.ask_extenders(pod, choice.ranked.iter().map(|r| r.node).collect(), moment).await?;
        if !round.kept.is_empty() {
            return Ok(Outcome::Fits(self.chosen(choice, round, note)));
        }
        let Ranking { ranked, rejections } = self.rank_everywhere(who, pod, moment).await?;
        let mut round = self.ask_extenders(pod, ranked.iter().map(|r| r.node).collect(), moment).await?;
        if round.kept.is_empty() {
            let reasons = merged(std::iter::once(rejections).chain(std::mem::take(&mut round.rejections)));
            note.weighed(Weighed { weight: self.primary_weight(), components: round.components, totals: Vec::new() });
            return Ok(Outcome::None(reasons));
        }
        let mut ranked = ranked;
        ranked.sort_by_key(|r| (std::cmp::Reverse(r.score), shuffled(moment.seed, r.node)));
        Ok(Outcome::Fits(self.chosen(Choice { ranked, looked_at: u32::try_from(self.cluster.nodes()).unwrap_or(u32::MAX), ..choice }, round, note)))
    }

    /// Where evictions may help as far as the extenders are concerned: the nodes that they keep. `None` without extenders.
    pub(super) async fn permitted(&mut self, pod: &Pod) -> Result<Option<Vec<u32>>, String> {
        if self.desk.as_ref().is_none_or(|desk| desk.extenders.is_empty()) {
            return Ok(None);
        }
        let nodes = self.cluster.ids();
        let round = self.ask_extenders(pod, nodes.clone(), Moment::present()).await?;
        Ok(Some(nodes.into_iter().filter(|node| round.kept.contains(node)).collect()))
    }

    fn primary_weight(&self) -> u32 {
        self.desk.as_ref().map_or(1, |desk| desk.weight)
    }

    async fn ask_extenders(&mut self, pod: &Pod, nodes: Vec<u32>, moment: Moment) -> Result<Round, String> {
        let Some(desk) = &mut self.desk else { return Err("nobody serves".to_owned()) };
        members::ask(&mut desk.extenders, pod, nodes, moment, |id| self.cluster.name(id)).await
    }

    fn chosen(&self, choice: Choice, round: Round, note: &mut PlacementNote) -> Choice {
        let weight = self.primary_weight();
        let extenders: Vec<Scores<'_>> = round.scores.iter().map(|(weight, ranked)| Scores { weight: *weight, ranked }).collect();
        let totals = combine(&Scores { weight, ranked: &choice.ranked }, &extenders, |node| round.kept.contains(&node));
        let name = |node| self.cluster.name(node).unwrap_or_default().to_owned();
        let shown = totals.iter().take(MAX_TOTALS).map(|t| Total { node: name(t.node), total: t.total, scores: t.scores.clone() });
        note.weighed(Weighed { weight, components: round.components, totals: shown.collect() });
        let ranked = totals.iter().take(TOP as usize).map(|t| Ranked { node: t.node, score: t.total }).collect();
        Choice { ranked, feasible: u32::try_from(totals.len()).unwrap_or(u32::MAX), ..choice }
    }

    /// The primary's word on every node.
    async fn rank_everywhere(&mut self, who: Who, pod: &Pod, moment: Moment) -> Result<Ranking, String> {
        let nodes = self.cluster.ids();
        let Some(desk) = &mut self.desk else { return Err("nobody serves".to_owned()) };
        let answer = members::question(desk.decider(who), pod, &nodes, moment, |id| self.cluster.name(id)).await;
        answer.ok_or("rests after a fault")?.unwrap_or_else(|fault| {
            desk.fault(who, &fault, &format!("rank for {}/{}", pod.namespace, pod.name));
            Err(fault.to_string())
        })
    }
}

/// An order that chance gives, the same for the same seed.
fn shuffled(seed: u64, node: u32) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, node).hash(&mut hasher);
    hasher.finish()
}
