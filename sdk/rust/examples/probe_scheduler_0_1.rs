//! A scheduler built against `pintle:scheduler@0.1.0` as it was released, without the SDK: what a component looks like that its author
//! did not build again. It takes the node with the most free CPU. The host's tests run it beside components of the present version.

#![allow(unsafe_code, clippy::all)]

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

wit_bindgen::generate!({
    path: ["../../wit/released/host@0.1.0", "../../wit/released/scheduler@0.1.0"],
    world: "pintle:scheduler/scheduler",
    generate_all,
});

use pintle::scheduler::types::{Choice, Node, Placement, Preemption, Ranked, Rejection};

#[derive(Default)]
struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    placed: HashMap<String, Placement>,
}

thread_local! {
    static CLUSTER: RefCell<Cluster> = RefCell::default();
}

impl Cluster {
    /// Millicores that the pod would leave free; negative where it does not fit.
    fn free(&self, id: NodeId, pod: &Pod) -> i64 {
        let used: i64 = self.placed.values().filter(|p| p.node == id).map(|p| p.pod.requests.milli_cpu).sum();
        self.nodes.get(&id).map_or(-1, |node| node.allocatable.milli_cpu - used - pod.requests.milli_cpu)
    }
}

struct Component;

impl Guest for Component {
    fn configure(config: String) -> Result<(), String> {
        if config.is_empty() { Ok(()) } else { Err("takes no configuration".to_owned()) }
    }

    fn reset() {
        CLUSTER.take();
    }

    fn feed(deltas: Vec<Delta>) {
        CLUSTER.with_borrow_mut(|cluster| {
            for delta in deltas {
                match delta {
                    Delta::UpsertNode(node) => drop(cluster.nodes.insert(node.id, node)),
                    Delta::RemoveNode(id) => drop(cluster.nodes.remove(&id)),
                    Delta::Place(placement) => drop(cluster.placed.insert(placement.pod.uid.clone(), placement)),
                    Delta::Forget(uid) => drop(cluster.placed.remove(&uid)),
                    _ => {}
                }
            }
        });
    }

    fn schedule(pod: Pod, scope: Scope) -> Result<Outcome, String> {
        CLUSTER.with_borrow(|cluster| {
            let score = |id: &NodeId| Ranked { node: *id, score: cluster.free(*id, &pod) };
            let mut ranked: Vec<Ranked> = cluster.nodes.keys().map(score).filter(|r| r.score >= 0).collect();
            let looked_at = cluster.nodes.len() as u32;
            if ranked.is_empty() {
                return Ok(Outcome::None(vec![Rejection {
                    filter: "NodeResourcesFit".to_owned(),
                    message: "Insufficient cpu".to_owned(),
                    nodes: looked_at,
                    resolvable: true,
                }]));
            }
            ranked.sort_by_key(|r| (-r.score, r.node));
            let feasible = ranked.len() as u32;
            ranked.truncate(scope.top as usize);
            Ok(Outcome::Fits(Choice { ranked, feasible, looked_at, next_start: 0 }))
        })
    }

    fn preempt(pod: Pod) -> Result<Attempt, String> {
        CLUSTER.with_borrow(|cluster| {
            let helps = |p: &&Placement| p.pod.priority < pod.priority && cluster.free(p.node, &pod) + p.pod.requests.milli_cpu >= 0;
            Ok(match cluster.placed.values().filter(helps).min_by_key(|p| (p.node, p.pod.priority)) {
                Some(victim) => Attempt::Evict(Preemption { node: victim.node, victims: vec![victim.pod.uid.clone()] }),
                None => Attempt::None(Vec::new()),
            })
        })
    }

    fn explain(pod: Pod, node: NodeId) -> Vec<Reason> {
        let free = CLUSTER.with_borrow(|cluster| cluster.free(node, &pod));
        let fits = free >= 0;
        vec![Reason {
            stage: if fits { "Score" } else { "Filter" }.to_owned(),
            criterion: "FreeCpu".to_owned(),
            rejected: (!fits).then(|| "Insufficient cpu".to_owned()),
            score: fits.then_some(free),
        }]
    }
}

export!(Component);
