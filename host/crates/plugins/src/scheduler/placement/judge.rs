//! Takes the way from objects to a decision that the driver takes, and compares each part of the decision with upstream's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pintle_plugin_bindings::common::types::Pair;
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Attempt, Namespace, Outcome, Pod, Scope};
use serde_json::Value;

use super::golden::{Golden, Objects, Verdict, served};
use super::policy::Policy;
use crate::index::{Entry, Informer};
use crate::scheduler::cluster::Cluster;
use crate::scheduler::driver::budget;
use crate::scheduler::message::{self, Preemption};
use crate::scheduler::podspec;
use crate::scheduler::spread::Defaults;
use crate::scheduler::volumes::Volumes;
use crate::scheduler::wish::wish;

/// What differs for one pod.
pub struct Difference {
    pod: String,
    what: String,
}

#[derive(Default)]
pub struct Score {
    pods: usize,
    fit: usize,
    refused: usize,
    evicting: usize,
    differences: Vec<(u64, String, Difference)>,
}

/// All that the driver keeps.
struct World {
    cluster: Cluster,
    volumes: Volumes,
    defaults: Defaults,
    waiting: Vec<Arc<Entry>>,
    /// Uid to namespace and name.
    names: BTreeMap<String, String>,
}

/// What came out, in upstream's terms.
#[derive(Default)]
struct Decision {
    fit: BTreeMap<String, i64>,
    best: String,
    message: String,
    evict: Option<(String, Vec<String>)>,
}

pub fn compare(golden: &Golden, policy: &mut impl Policy) -> Vec<Difference> {
    let mut world = World::of(&golden.cluster);
    policy.know(world.cluster.everything());
    let waiting = world.waiting.clone();
    let mut differences = Vec::new();
    for (entry, verdict) in waiting.iter().zip(&golden.verdicts) {
        let what = world.differs(entry, verdict, policy);
        differences.extend(what.map(|what| Difference { pod: entry.meta.name.to_string(), what }));
    }
    differences
}

impl World {
    fn of(objects: &Objects) -> Self {
        let mut cluster = Cluster::default();
        for entry in entries(&objects.namespaces) {
            let labels = entry.meta.labels.iter().map(|(key, value)| Pair { key: key.to_string(), value: value.to_string() }).collect();
            cluster.upsert_namespace(Namespace { name: entry.meta.name.to_string(), labels });
        }
        for node in &objects.nodes {
            cluster.upsert_node(node.to_string().as_bytes()).expect("a node");
        }
        let pods = entries(&objects.pods);
        for entry in pods.iter().filter(|e| !matches!(&*e.meta.phase, "Succeeded" | "Failed")) {
            cluster.observe(entry).expect("a pod");
        }
        cluster.set_budgets(entries(&objects.budgets).iter().filter_map(budget).collect());
        let waiting = entries(&objects.pending);
        for entry in &waiting {
            let spec = podspec::parse(&entry.json).expect("a pod");
            if let Some(node) = cluster.id(&spec.nominated) {
                cluster.nominate(&spec.pod, node);
            }
        }
        let index = |objects: &[Value]| Informer::of(served(objects));
        let mut defaults = Defaults::of(index(&objects.replicasets), index(&objects.statefulsets));
        entries(&objects.services).iter().for_each(|service| defaults.service_changed(None, Some(service)));
        let volumes = Volumes { claims: index(&objects.claims), volumes: index(&objects.volumes), classes: index(&objects.classes) };
        let names = pods.iter().map(|e| (e.meta.uid.to_string(), format!("{}/{}", e.meta.namespace, e.meta.name))).collect();
        Self { cluster, volumes, defaults, waiting, names }
    }

    fn differs(&self, entry: &Entry, verdict: &Verdict, policy: &mut impl Policy) -> Option<String> {
        let spec = podspec::parse(&entry.json).expect("a pod");
        if spec.gated || verdict.gated {
            return (spec.gated != verdict.gated).then(|| format!("gated: {}, upstream: {}", spec.gated, verdict.gated));
        }
        let nodes = self.cluster.nodes();
        let decision = match wish(&spec, entry, &self.cluster, &self.volumes, &self.defaults) {
            Ok((pod, _)) => self.decide(&pod, policy),
            Err(why) => Decision { message: message::blocked(nodes, &why), ..Decision::default() },
        };
        let mut lines = decision.against(verdict);
        if decision.fit != verdict.fit && !verdict.scores.is_empty() {
            let pod = wish(&spec, entry, &self.cluster, &self.volumes, &self.defaults).expect("was asked before").0;
            lines.extend(self.criteria(&pod, verdict, policy));
        }
        (!lines.is_empty()).then(|| lines.join("\n    "))
    }

    fn decide(&self, pod: &Pod, policy: &mut impl Policy) -> Decision {
        let name = |id: u32| self.cluster.name(id).unwrap_or_default().to_owned();
        match policy.schedule(pod, Scope { start: 0, limit: 0, top: u32::MAX, seed: 1 }) {
            Outcome::Fits(choice) => Decision {
                best: choice.ranked.first().map(|r| name(r.node)).unwrap_or_default(),
                fit: choice.ranked.iter().map(|r| (name(r.node), r.score)).collect(),
                ..Decision::default()
            },
            Outcome::None(rejections) => {
                let mut evict = None;
                let tried = if !pod.may_preempt {
                    Preemption::Never
                } else if rejections.iter().any(|r| r.resolvable) {
                    match policy.preempt(pod) {
                        Attempt::Evict(choice) => {
                            self.cluster.victims(&choice, pod.priority).expect("the host lets them be evicted");
                            let mut victims: Vec<String> = choice.victims.iter().map(|uid| self.names[uid].clone()).collect();
                            victims.sort();
                            evict = Some((name(choice.node), victims));
                            Preemption::NotTried
                        }
                        Attempt::None(reasons) => Preemption::NoVictims(reasons),
                    }
                } else {
                    Preemption::NoVictims(Vec::new())
                };
                Decision { message: message::unschedulable(self.cluster.nodes(), &rejections, &tried), evict, ..Decision::default() }
            }
        }
    }

    /// Each criterion's weighted scores beside upstream's, as far as `explain` can tell: it ranks a node among all nodes.
    fn criteria(&self, pod: &Pod, verdict: &Verdict, policy: &mut impl Policy) -> Vec<String> {
        let line = |(node, theirs): (&String, &Vec<i64>)| {
            let ours = self.cluster.id(node).map(|id| policy.explain(pod, id)).unwrap_or_default();
            let ours: Vec<String> = ours.iter().filter_map(|r| Some(format!("{} {}", r.criterion, r.score?))).collect();
            format!("{node}: upstream (weighted) {theirs:?}; here (among all nodes) {}", ours.join(", "))
        };
        verdict.scores.iter().take(3).map(line).collect()
    }
}

impl Decision {
    fn against(&self, verdict: &Verdict) -> Vec<String> {
        let mut lines = Vec::new();
        let (ours, theirs): (BTreeSet<&String>, BTreeSet<&String>) = (self.fit.keys().collect(), verdict.fit.keys().collect());
        if ours != theirs {
            lines.push(format!("feasible: {ours:?}, upstream {theirs:?}"));
        }
        if !verdict.fit.is_empty() && verdict.fit.get(&self.best) != verdict.fit.values().max() {
            lines.push(format!("chosen: {}, upstream's scores {:?}", self.best, verdict.fit));
        }
        if self.fit != verdict.fit && ours == theirs {
            lines.push(format!("scores: {:?}, upstream {:?}", self.fit, verdict.fit));
        }
        if self.message != verdict.message {
            lines.push(format!("message: {}\n  upstream: {}", self.message, verdict.message));
        }
        let same = match &self.evict {
            Some((node, victims)) => verdict.evict.get(node) == Some(victims),
            None => verdict.evict.is_empty(),
        };
        if !same {
            lines.push(format!("evicts: {:?}, upstream one of {:?}", self.evict, verdict.evict));
        }
        lines
    }
}

impl Score {
    pub fn and(mut self, golden: &Golden, differences: &[Difference]) -> Self {
        for verdict in &golden.verdicts {
            self.pods += 1;
            self.fit += usize::from(!verdict.fit.is_empty());
            self.evicting += usize::from(!verdict.evict.is_empty());
            self.refused += usize::from(verdict.fit.is_empty() && verdict.evict.is_empty());
        }
        let cluster = &golden.cluster;
        let named = differences.iter().map(|d| (cluster.seed, cluster.theme.clone(), Difference { pod: d.pod.clone(), what: d.what.clone() }));
        self.differences.extend(named);
        self
    }

    /// Fails with every difference that nobody explained, and with explanations that explain nothing.
    pub fn demand_nothing_else_than(&self, explained: &[(u64, &str, &str)]) {
        let is = |(seed, pod, _): &(u64, &str, &str), found: &(u64, String, Difference)| found.0 == *seed && found.2.pod == *pod;
        let unexplained = self.differences.iter().filter(|found| !explained.iter().any(|e| is(e, found)));
        let report: Vec<String> = unexplained.map(|(seed, theme, d)| format!("cluster {seed} ({theme}), {}:\n    {}", d.pod, d.what)).collect();
        assert!(report.is_empty(), "{self}\n{}", report.join("\n"));
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pods, fit, refused, evicting, differences } = self;
        write!(f, "{pods} pods: {fit} fit, {evicting} evict others, {refused} neither; {} decided otherwise than upstream", differences.len())
    }
}

fn entries(objects: &[Value]) -> Vec<Arc<Entry>> {
    served(objects).into_iter().filter_map(Entry::parse).collect()
}
