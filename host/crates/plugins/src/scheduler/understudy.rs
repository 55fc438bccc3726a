//! A candidate of an extender: looks on beside it, or ranks nodes in its place for a share of the pods.
//!
//! A canary that cannot answer is stood in for by the live extender, so no pod waits for it. Called by the desk, which keeps it fed, and by
//! [`super::members`], which asks.

use std::sync::Arc;

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Delta, Pod, Ranking};
use tokio::sync::Notify;

use super::Holder;
use super::cluster::Cluster;
use super::decider::Decider;
use super::members::{NoRanking, rank};
use super::shadow::Shadow;
use crate::decisions::Log;
use crate::guest::{Fault, Moment};
use crate::stages::Trial;
use crate::stages::spec::{Difference, Stage};

pub struct Understudy {
    pub trial: Arc<Trial<Arc<Holder>>>,
    part: Part,
}

#[expect(clippy::large_enum_variant, reason = "one for each candidate, moved once")]
enum Part {
    Shadow(Shadow),
    Canary(Decider),
}

impl Understudy {
    pub fn of(trial: Arc<Trial<Arc<Holder>>>, log: &Log, scheduler: &str) -> Option<Self> {
        let part = match trial.stage {
            Stage::Shadow => Part::Shadow(Shadow::start(trial.clone())),
            Stage::Canary => Part::Canary(Decider::serving(trial.holder.clone(), log, scheduler)),
            Stage::Live => return None,
        };
        Some(Self { trial, part })
    }

    pub async fn tell(&mut self, news: &Arc<Vec<Delta>>, cluster: &mut Cluster, wake: &Arc<Notify>) {
        match &mut self.part {
            Part::Shadow(shadow) => shadow.feed(news, || cluster.snapshot()),
            Part::Canary(decider) => match decider.tell(news, cluster, wake).await {
                Ok(told) => decider.write_down(told, || (**news).clone(), cluster),
                Err((fault, what)) => {
                    decider.failed(&fault, what);
                    self.fault(what, &fault);
                }
            },
        }
    }

    /// The canary's ranking, where the pod is of its share and it has one.
    pub async fn stand_in<'n>(&mut self, pod: &Pod, nodes: &[u32], moment: Moment, name: impl Fn(u32) -> Option<&'n str>) -> Option<Ranking> {
        let Part::Canary(decider) = &mut self.part else { return None };
        if decider.instance.is_none() || !self.trial.share.holds(&pod.namespace, &pod.uid) {
            return None;
        }
        match rank(decider, pod, nodes, moment, name).await {
            Ok(ranking) => {
                self.trial.tally.agreed();
                return Some(ranking);
            }
            Err(NoRanking::Fault(fault)) => self.fault(&format!("pod {}/{}", pod.namespace, pod.name), &fault),
            Err(NoRanking::Error(_)) => self.trial.tally.failed(),
            Err(NoRanking::Rests) => {}
        }
        None
    }

    /// The live one has answered.
    pub fn look_on(&self, pod: &Pod, nodes: &[u32], moment: Moment, live: &Result<Ranking, NoRanking>) {
        let Part::Shadow(shadow) = &self.part else { return };
        match live {
            Ok(ranking) => shadow.ranked(pod, nodes, moment, Ok(ranking.clone())),
            Err(NoRanking::Error(why)) => shadow.ranked(pod, nodes, moment, Err(why.clone())),
            Err(NoRanking::Rests | NoRanking::Fault(_)) => {}
        }
    }

    fn fault(&self, subject: &str, fault: &Fault) {
        let (subject, candidate) = (subject.to_owned(), fault.to_string());
        self.trial.tally.fault(Difference { subject, kind: "Fault".to_owned(), candidate, ..Difference::default() });
    }
}
