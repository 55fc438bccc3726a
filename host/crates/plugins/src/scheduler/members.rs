//! The extenders of a scheduler name: components beside its primary, each of which may refuse nodes and has a weight in their scores.
//!
//! The desk keeps them fed; the driver asks them about nodes that the primary found. One that cannot answer holds the pod back, unless
//! it is `ignorable`: then it is as if it were not there. A candidate may stand beside each ([`super::understudy`]).

use std::collections::HashSet;
use std::sync::Arc;

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Pod, Ranked, Ranking, Rejection};
use tokio::time::Instant;

use super::Extender;
use super::decider::{Asked, Decider, nonsense};
use super::understudy::Understudy;
use crate::decisions::Log;
use crate::decisions::record::Component;
use crate::guest::{Fault, Moment};

/// An extender at work.
pub struct Member {
    pub extender: Arc<Extender>,
    pub decider: Decider,
    pub understudy: Option<Understudy>,
    /// Since when it has no instance, because it lost one or its revision changed.
    lost_since: Option<Instant>,
}

/// Why there is no ranking.
#[derive(Debug, thiserror::Error)]
pub enum NoRanking {
    #[error("rests after a fault")]
    Rests,
    #[error("{0}")]
    Fault(Fault),
    /// The component's own word.
    #[error("{0}")]
    Error(String),
}

/// What the extenders made of some nodes.
#[derive(Default)]
pub struct Round {
    /// The nodes that all of them keep.
    pub kept: HashSet<u32>,
    /// Weight and scores of each that answered.
    pub scores: Vec<(u32, Vec<Ranked>)>,
    pub rejections: Vec<Vec<Rejection>>,
    /// For the decision log.
    pub components: Vec<Component>,
}

/// Takes the extenders of now, and keeps the instances of those that stay.
pub fn renew(members: &mut Vec<Member>, extenders: &[Arc<Extender>], log: &Log, scheduler: &str) {
    let mut known: Vec<Member> = std::mem::take(members);
    for extender in extenders {
        let at = known.iter().position(|m| Arc::ptr_eq(&m.extender.holder, &extender.holder));
        let mut member = match at {
            Some(at) => Member { extender: extender.clone(), ..known.swap_remove(at) },
            None => {
                let plugin = &extender.holder.revision.plugin;
                let lost_since = known.iter().any(|m| m.extender.holder.revision.plugin == *plugin).then(Instant::now);
                let decider = Decider::serving(extender.holder.clone(), log, scheduler);
                Member { extender: extender.clone(), decider, understudy: None, lost_since }
            }
        };
        member.set_trial(log, scheduler);
        members.push(member);
    }
}

/// Asks each about the nodes that those before it kept. The error says why the pod cannot be decided now.
pub async fn ask<'n>(
    members: &mut [Member],
    pod: &Pod,
    nodes: Vec<u32>,
    moment: Moment,
    name: impl Fn(u32) -> Option<&'n str>,
) -> Result<Round, String> {
    let mut round = Round::default();
    let mut left = nodes;
    for member in members {
        if left.is_empty() {
            break;
        }
        let extender = member.extender.clone();
        let asked = u32::try_from(left.len()).unwrap_or(u32::MAX);
        let mut component = Component { plugin: extender.holder.revision.plugin.clone(), weight: extender.weight, asked, ..Component::default() };
        match member.rank(pod, &left, moment, &name).await {
            Ok(ranking) => {
                let passed: HashSet<u32> = ranking.ranked.iter().map(|r| r.node).collect();
                left.retain(|node| passed.contains(node));
                component.kept = u32::try_from(left.len()).unwrap_or(u32::MAX);
                component.rejections.clone_from(&ranking.rejections);
                round.scores.push((extender.weight, ranking.ranked));
                round.rejections.push(ranking.rejections);
            }
            Err(why) if extender.ignorable => (component.kept, component.ignored) = (asked, why),
            Err(why) => return Err(format!("{}: {why}", component.plugin)),
        }
        round.components.push(component);
    }
    round.kept = left.into_iter().collect();
    Ok(round)
}

impl Member {
    /// Pods wait for it.
    pub fn is_needed(&self) -> bool {
        !self.extender.ignorable
    }

    /// A fault cost it its instance.
    pub fn lost(&mut self) {
        self.lost_since.get_or_insert_with(Instant::now);
    }

    /// It knows everything again, after so many changes.
    pub fn is_back(&mut self, fed: usize) {
        let Some(since) = self.lost_since.take() else { return };
        let meter = &self.extender.holder.revision.meter;
        meter.recovered(fed);
        // Others are decided without it.
        if self.is_needed() {
            meter.paused(since.elapsed());
        }
    }

    /// Takes the extender's candidate, where it is another than before.
    fn set_trial(&mut self, log: &Log, scheduler: &str) {
        let same = match (&self.understudy, &self.extender.trial) {
            (Some(known), Some(trial)) => Arc::ptr_eq(&known.trial, trial),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.understudy = self.extender.trial.clone().and_then(|trial| Understudy::of(trial, log, scheduler));
        }
    }

    async fn rank<'n>(&mut self, pod: &Pod, nodes: &[u32], moment: Moment, name: impl Fn(u32) -> Option<&'n str>) -> Result<Ranking, String> {
        if let Some(understudy) = &mut self.understudy
            && let Some(ranking) = understudy.stand_in(pod, nodes, moment, &name).await
        {
            return Ok(ranking);
        }
        let answer = rank(&mut self.decider, pod, nodes, moment, name).await;
        if let Some(understudy) = &self.understudy {
            understudy.look_on(pod, nodes, moment, &answer);
        }
        if matches!(answer, Err(NoRanking::Fault(_))) {
            self.lost();
        }
        answer.map_err(|why| why.to_string())
    }
}

/// Asks one revision.
pub async fn rank<'n>(
    decider: &mut Decider,
    pod: &Pod,
    nodes: &[u32],
    moment: Moment,
    name: impl Fn(u32) -> Option<&'n str>,
) -> Result<Ranking, NoRanking> {
    match question(decider, pod, nodes, moment, name).await.ok_or(NoRanking::Rests)? {
        Err(fault) => {
            decider.failed(&fault, &format!("rank for {}/{}", pod.namespace, pod.name));
            Err(NoRanking::Fault(fault))
        }
        Ok(answer) => {
            let revision = &decider.holder.revision;
            revision.health.decided(answer.is_err());
            if let Err(why) = &answer {
                revision.meter.failed();
                revision.log.write("warn", &format!("{}/{}: {why}", pod.namespace, pod.name));
            }
            answer.map_err(NoRanking::Error)
        }
    }
}

/// The same without what follows from it; `None` while there is no instance.
pub async fn question<'n>(
    decider: &mut Decider,
    pod: &Pod,
    nodes: &[u32],
    moment: Moment,
    name: impl Fn(u32) -> Option<&'n str>,
) -> Option<Result<Result<Ranking, String>, Fault>> {
    let mut question = decider.question(moment)?;
    let answer = question.instance.exports.call_rank(&mut question.instance.store, pod, nodes).await;
    let Asked { answer, took, recording } = decider.answered(question, answer, |answer| wrong(answer.as_ref().ok()?, nodes));
    if let Some(decisions) = &decider.decisions {
        decisions.ranked(pod, nodes, took, recording, &answer, name);
    }
    Some(answer)
}

/// Whether a ranking cannot be of these nodes.
pub fn wrong(ranking: &Ranking, asked: &[u32]) -> Option<String> {
    let mut left: HashSet<u32> = asked.iter().copied().collect();
    nonsense(&ranking.ranked, |node| left.remove(&node), |node| asked.contains(&node), "was not asked about")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ranking_is_of_the_asked_nodes_once_each() {
        let ranking = |nodes: &[u32]| Ranking { ranked: nodes.iter().map(|node| Ranked { node: *node, score: 1 }).collect(), rejections: Vec::new() };
        assert_eq!(wrong(&ranking(&[3, 1]), &[1, 2, 3]), None);
        assert_eq!(wrong(&ranking(&[4]), &[1, 2, 3]).as_deref(), Some("the node 4 was not asked about"));
        assert_eq!(wrong(&ranking(&[2, 2]), &[1, 2, 3]).as_deref(), Some("the node 2 is ranked more than once"));
    }
}
