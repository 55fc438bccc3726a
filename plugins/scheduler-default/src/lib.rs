//! The default scheduling policy: upstream's default profile (filters, scores, preemption) over a cluster that is kept in columns
//! of small integers.
//!
//! The host feeds changes and asks; this crate decides and remembers nothing of its decisions: a choice counts once the host
//! feeds `place`. Order and weights of the criteria are upstream's `v1` defaults; `spec.config` may change weights and strategy.

mod affinity;
mod cluster;
mod config;
mod domains;
mod filter;
mod intern;
mod members;
mod preempt;
mod score;
mod select;
mod spread;
mod strides;
mod wish;

use pintle_sdk::Env;
use pintle_sdk::scheduler::{Assumption, Attempt, Choice, Delta, NodeId, Outcome, Pod, Ranking, Reason, Scheduler, Scope};

use crate::cluster::{Cluster, PlacedPod};
use crate::config::Config;
use crate::filter::{Facts, Rejections, Sifted, Why};
use crate::wish::Wish;

#[derive(Default)]
pub struct DefaultScheduler {
    cluster: Cluster,
    config: Config,
    asked: Option<Asked>,
}

/// The pod that was asked about last: it may be told of as assumed.
struct Asked {
    pod: Pod,
    wish: Wish,
}

impl DefaultScheduler {
    fn decide(&mut self, wish: &Wish, nominated: Option<NodeId>, scope: Scope) -> Outcome {
        let mut rejections = Rejections::default();
        if wish.names_none() {
            rejections.add(Why::NoSuchNode);
            return Outcome::None(rejections.report(&self.cluster.symbols));
        }
        let facts = Facts::gather(&mut self.cluster, wish);
        let count = self.cluster.nodes.len();
        let start = if count == 0 { 0 } else { scope.start as usize % count };
        let limit = if scope.limit == 0 { usize::MAX } else { scope.limit as usize };
        // The nominated node first: victims were evicted there for this pod.
        let nominated = nominated.filter(|id| filter::check(&mut self.cluster, wish, &facts, *id, &mut Rejections::default()));
        let Sifted { feasible, looked_at, next_start } = match nominated {
            Some(id) => Sifted { feasible: vec![id], looked_at: 1, next_start: start as u32 },
            None => filter::sift(&mut self.cluster, wish, &facts, start, limit, &mut rejections),
        };
        if feasible.is_empty() {
            return Outcome::None(rejections.report(&self.cluster.symbols));
        }
        let ranked = score::rank(&self.cluster, &self.config, wish, &feasible, scope.top as usize, scope.seed);
        Outcome::Fits(Choice { ranked, feasible: feasible.len() as u32, looked_at, next_start })
    }

    fn assume(&mut self, Assumption { uid, node }: &Assumption) {
        if let Some(Asked { pod, wish }) = self.asked.take_if(|asked| asked.pod.uid == *uid) {
            let placed = PlacedPod::decided(pod, wish, *node, &mut self.cluster.symbols);
            self.cluster.settle(placed);
        }
    }
}

impl Scheduler for DefaultScheduler {
    const TAKES_ASSUMPTIONS: bool = true;

    fn configure(&mut self, _env: &dyn Env, config: &str) -> Result<(), String> {
        self.config = Config::parse(config)?;
        Ok(())
    }

    fn reset(&mut self) {
        self.cluster = Cluster::default();
        self.asked = None;
    }

    fn feed(&mut self, _env: &dyn Env, deltas: Vec<Delta>) {
        for delta in deltas {
            match &delta {
                Delta::Assume(assumption) => self.assume(assumption),
                _ => self.cluster.apply(delta),
            }
        }
    }

    fn schedule(&mut self, _env: &dyn Env, pod: Pod, scope: Scope) -> Result<Outcome, String> {
        let wish = Wish::compile(&pod, &mut self.cluster.symbols);
        let outcome = self.decide(&wish, pod.nominated, scope);
        self.asked = Some(Asked { pod, wish });
        Ok(outcome)
    }

    fn rank(&mut self, _env: &dyn Env, pod: Pod, nodes: Vec<NodeId>) -> Result<Ranking, String> {
        let wish = Wish::compile(&pod, &mut self.cluster.symbols);
        let mut rejections = Rejections::default();
        if wish.names_none() {
            rejections.add(Why::NoSuchNode);
            return Ok(Ranking { ranked: Vec::new(), rejections: rejections.report(&self.cluster.symbols) });
        }
        let facts = Facts::gather(&mut self.cluster, &wish);
        let mut feasible = nodes;
        feasible.retain(|id| filter::accepts(&mut self.cluster, &wish, &facts, *id, &mut rejections));
        // The order means nothing here, so nothing is drawn for it.
        let ranked = if feasible.is_empty() { Vec::new() } else { score::rank(&self.cluster, &self.config, &wish, &feasible, feasible.len(), 0) };
        Ok(Ranking { ranked, rejections: rejections.report(&self.cluster.symbols) })
    }

    fn preempt(&mut self, env: &dyn Env, pod: Pod, among: Option<Vec<NodeId>>) -> Result<Attempt, String> {
        Ok(preempt::attempt(&mut self.cluster, &pod, among.as_deref(), draw(env)))
    }

    fn explain(&mut self, _env: &dyn Env, pod: Pod, node: NodeId) -> Vec<Reason> {
        let wish = Wish::compile(&pod, &mut self.cluster.symbols);
        let facts = Facts::gather(&mut self.cluster, &wish);
        let mut rejections = Rejections::default();
        let mut reasons = Vec::new();
        if filter::accepts(&mut self.cluster, &wish, &facts, node, &mut rejections) {
            reasons.extend(score::explain(&self.cluster, &self.config, &wish, node));
        }
        for rejection in rejections.report(&self.cluster.symbols) {
            reasons.push(Reason { stage: "filter".to_owned(), criterion: rejection.filter, rejected: Some(rejection.message), score: None });
        }
        reasons
    }
}

/// Eight bytes of the host's randomness.
fn draw(env: &dyn Env) -> u64 {
    u64::from_le_bytes(env.random(8).try_into().unwrap_or([7; 8]))
}

pintle_sdk::export_scheduler!(DefaultScheduler);

#[cfg(test)]
mod tests;
