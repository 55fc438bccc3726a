//! A scheduler that takes the first node with room for the pod's CPU. Small enough to read whole, and the host's tests drive it;
//! `spec.config` and a pod's annotation `probe` make it misbehave.

use std::collections::{BTreeMap, HashMap};

use pintle_sdk::scheduler::{Choice, Delta, Node, NodeId, Outcome, Pod, Ranked, Ranking, Reason, Rejection, Scheduler, Scope};
use pintle_sdk::{Env, export_scheduler};

/// Steps that it takes for each node when it is slow: a few milliseconds.
const SLOWNESS: u64 = 50_000_000;

#[derive(Default)]
pub struct FirstFit {
    nodes: BTreeMap<NodeId, Node>,
    /// Uid to node and millicores.
    placed: HashMap<String, (NodeId, i64)>,
    used: HashMap<NodeId, i64>,
    from_the_end: bool,
    panics: bool,
    /// As an extender: the node that is best, and the one that is refused.
    prefers: String,
    refuses: String,
    slow: bool,
    decided: bool,
}

impl FirstFit {
    fn forget(&mut self, uid: &str) {
        if let Some((node, cpu)) = self.placed.remove(uid) {
            *self.used.entry(node).or_default() -= cpu;
        }
    }
    fn fits(&self, node: &Node, pod: &Pod) -> bool {
        let used = self.used.get(&node.id).copied().unwrap_or_default();
        !node.unschedulable && used + pod.requests.milli_cpu <= node.allocatable.milli_cpu
    }
}

impl Scheduler for FirstFit {
    fn configure(&mut self, _env: &dyn Env, config: &str) -> Result<(), String> {
        match config {
            "" => Ok(()),
            "last" => {
                self.from_the_end = true;
                Ok(())
            }
            "slow" => {
                self.slow = true;
                Ok(())
            }
            "panics" => {
                self.panics = true;
                Ok(())
            }
            other if other.starts_with("prefers ") => {
                self.prefers = other["prefers ".len()..].to_owned();
                Ok(())
            }
            other if other.starts_with("refuses ") => {
                self.refuses = other["refuses ".len()..].to_owned();
                Ok(())
            }
            other => Err(format!("unknown order {other:?}")),
        }
    }

    fn reset(&mut self) {
        let Self { from_the_end, panics, slow, prefers, refuses, .. } = std::mem::take(self);
        *self = Self { from_the_end, panics, slow, prefers, refuses, ..Self::default() };
    }

    fn feed(&mut self, _env: &dyn Env, deltas: Vec<Delta>) {
        for delta in deltas {
            match delta {
                Delta::UpsertNode(node) => {
                    if self.slow {
                        busy();
                    }
                    self.nodes.insert(node.id, node);
                }
                Delta::RemoveNode(id) => {
                    self.nodes.remove(&id);
                }
                Delta::Place(placement) => {
                    let poison = placement.pod.annotations.iter().any(|a| a.key == "probe" && a.value == "spare");
                    assert!(self.decided || !poison, "fed before it decided");
                    self.forget(&placement.pod.uid);
                    let cpu = placement.pod.requests.milli_cpu;
                    *self.used.entry(placement.node).or_default() += cpu;
                    self.placed.insert(placement.pod.uid, (placement.node, cpu));
                }
                Delta::Forget(uid) => self.forget(&uid),
                // The SDK spells it out.
                Delta::Assume(_) => {}
                Delta::UpsertNamespace(_) | Delta::RemoveNamespace(_) | Delta::Budgets(_) | Delta::Nominate(_) | Delta::Withdraw(_) => {}
            }
        }
    }

    fn schedule(&mut self, _env: &dyn Env, pod: Pod, scope: Scope) -> Result<Outcome, String> {
        self.decided = true;
        assert!(!self.panics, "configured to panic");
        match pod.annotations.iter().find(|a| a.key == "probe").map(|a| a.value.as_str()) {
            Some("panic") => panic!("asked to panic"),
            Some("loop") => loop {
                std::hint::black_box(&self.used);
            },
            Some("overflow") => return Err(endless(u64::from(scope.limit), u64::MAX).to_string()),
            Some("grow") => {
                let mut kept = Vec::new();
                loop {
                    kept.push(std::hint::black_box(vec![1u8; 16 << 20]));
                }
            }
            Some("many") => {
                let first = self.nodes.keys().next().copied().unwrap_or_default();
                let ranked = vec![Ranked { node: first, score: 1 }; 100_000];
                return Ok(Outcome::Fits(Choice { ranked, feasible: 1, looked_at: 1, next_start: scope.start }));
            }
            Some("long") => return Err("x".repeat(100 << 20)),
            Some("twice") => {
                let first = self.nodes.keys().next().copied().unwrap_or_default();
                let ranked = vec![Ranked { node: first, score: 2 }, Ranked { node: first, score: 1 }];
                return Ok(Outcome::Fits(Choice { ranked, feasible: 1, looked_at: 1, next_start: scope.start }));
            }
            Some("nowhere") => {
                let first = self.nodes.keys().next().copied().unwrap_or_default();
                return Ok(Outcome::Fits(Choice {
                    ranked: vec![Ranked { node: first + 1_000_000, score: 1 }],
                    feasible: 1,
                    looked_at: 1,
                    next_start: scope.start,
                }));
            }
            _ => {}
        }
        let fitting = self.nodes.values().filter(|n| self.fits(n, &pod)).map(|n| n.id);
        let chosen = if self.from_the_end { fitting.max() } else { fitting.min() };
        let nodes = self.nodes.len() as u32;
        Ok(match chosen {
            Some(node) => Outcome::Fits(Choice { ranked: vec![Ranked { node, score: 100 }], feasible: 1, looked_at: nodes, next_start: 0 }),
            None if nodes == 0 => Outcome::None(Vec::new()),
            None => Outcome::None(vec![Rejection {
                filter: "NodeResourcesFit".to_owned(),
                message: "Insufficient cpu".to_owned(),
                nodes,
                resolvable: true,
            }]),
        })
    }

    fn rank(&mut self, _env: &dyn Env, pod: Pod, nodes: Vec<NodeId>) -> Result<Ranking, String> {
        assert!(!self.panics, "configured to panic");
        assert!(!pod.annotations.iter().any(|a| a.key == "probe" && a.value == "extender"), "asked to panic");
        assert!(nodes.iter().all(|id| self.nodes.contains_key(id)), "asked about a node that it was not fed");
        let named = |id: &NodeId, name: &str| self.nodes.get(id).is_some_and(|n| n.name == name);
        let (refused, kept): (Vec<NodeId>, Vec<NodeId>) = nodes.into_iter().partition(|id| named(id, &self.refuses));
        let ranked = kept.iter().map(|id| Ranked { node: *id, score: if named(id, &self.prefers) { 100 } else { 10 } }).collect();
        let message = "node(s) were dear".to_owned();
        let rejection = |nodes: usize| Rejection { filter: "Price".to_owned(), message, nodes: nodes as u32, resolvable: false };
        Ok(Ranking { ranked, rejections: Some(refused.len()).filter(|n| *n > 0).map(rejection).into_iter().collect() })
    }

    fn explain(&mut self, _env: &dyn Env, pod: Pod, node: NodeId) -> Vec<Reason> {
        let fits = self.nodes.get(&node).is_some_and(|n| self.fits(n, &pod));
        let rejected = if fits { None } else { Some("Insufficient cpu".to_owned()) };
        vec![Reason { stage: "Filter".to_owned(), criterion: "NodeResourcesFit".to_owned(), rejected, score: None }]
    }
}

/// Needs the engine's stack alone.
#[inline(never)]
fn endless(depth: u64, limit: u64) -> u64 {
    if depth == limit { 0 } else { endless(depth + 1, limit).wrapping_mul(3) ^ depth }
}

export_scheduler!(FirstFit);

fn busy() {
    for n in 0..SLOWNESS {
        std::hint::black_box(n);
    }
}
