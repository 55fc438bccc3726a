//! A scheduler built against `pintle:scheduler@0.2.0` as it was released, without the SDK: what a component looks like that its author
//! did not build again. It takes the node with the most free CPU, of those that have the labels of the pod's `nodeSelector`. The host's tests run it beside components of the present version.

#![allow(unsafe_code, clippy::all)]

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

wit_bindgen::generate!({
    path: ["../../wit/released/host@0.1.0", "../../wit/released/scheduler@0.2.0"],
    world: "pintle:scheduler/scheduler",
    generate_all,
});

use pintle::scheduler::types::{Choice, Node, Placement, Preemption, Ranked, Rejection};

#[derive(Default)]
struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    placed: HashMap<String, Placement>,
    asked: Option<Pod>,
}

thread_local! {
    static CLUSTER: RefCell<Cluster> = RefCell::default();
}

impl Cluster {
    /// Millicores that the pod would leave free; negative where it does not fit.
    fn free(&self, id: NodeId, pod: &Pod) -> i64 {
        let Some(node) = self.nodes.get(&id) else { return -1 };
        let mut wanted = pod.constraints.iter().flat_map(|asked| &asked.node_selector);
        if !wanted.all(|wanted| node.labels.iter().any(|label| (&label.key, &label.value) == (&wanted.key, &wanted.value))) {
            return -1;
        }
        let used: i64 = self.placed.values().filter(|p| p.node == id).map(|p| p.pod.requests.milli_cpu).sum();
        node.allocatable.milli_cpu - used - pod.requests.milli_cpu
    }

    fn refused(&self, nodes: usize) -> Vec<Rejection> {
        let (filter, message) = ("NodeResourcesFit".to_owned(), "Insufficient cpu".to_owned());
        if nodes == 0 { Vec::new() } else { vec![Rejection { filter, message, nodes: nodes as u32, resolvable: true }] }
    }

    fn place(&mut self, placement: Placement) {
        self.placed.insert(placement.pod.uid.clone(), placement);
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
                    Delta::Place(placement) => cluster.place(placement),
                    Delta::Assume(assumed) => {
                        if let Some(pod) = cluster.asked.take_if(|pod| pod.uid == assumed.uid) {
                            cluster.place(Placement { pod, node: assumed.node });
                        }
                    }
                    Delta::Forget(uid) => drop(cluster.placed.remove(&uid)),
                    _ => {}
                }
            }
        });
    }

    fn schedule(pod: Pod, scope: Scope) -> Result<Outcome, String> {
        CLUSTER.with_borrow_mut(|cluster| {
            let score = |id: &NodeId| Ranked { node: *id, score: cluster.free(*id, &pod) };
            let mut ranked: Vec<Ranked> = cluster.nodes.keys().map(score).filter(|r| r.score >= 0).collect();
            let looked_at = cluster.nodes.len();
            cluster.asked = Some(pod);
            if ranked.is_empty() {
                return Ok(Outcome::None(cluster.refused(looked_at)));
            }
            ranked.sort_by_key(|r| (-r.score, r.node));
            let feasible = ranked.len() as u32;
            ranked.truncate(scope.top as usize);
            Ok(Outcome::Fits(Choice { ranked, feasible, looked_at: looked_at as u32, next_start: 0 }))
        })
    }

    fn rank(pod: Pod, nodes: Vec<NodeId>) -> Result<Ranking, String> {
        CLUSTER.with_borrow(|cluster| {
            let score = |id: &NodeId| Ranked { node: *id, score: cluster.free(*id, &pod) };
            let ranked: Vec<Ranked> = nodes.iter().map(score).filter(|r| r.score >= 0).collect();
            let rejections = cluster.refused(nodes.len() - ranked.len());
            Ok(Ranking { ranked, rejections })
        })
    }

    fn preempt(pod: Pod, among: Option<Vec<NodeId>>) -> Result<Attempt, String> {
        CLUSTER.with_borrow(|cluster| {
            let permitted = |p: &&Placement| among.as_ref().is_none_or(|among| among.contains(&p.node));
            let helps = |p: &&Placement| p.pod.priority < pod.priority && cluster.free(p.node, &pod) + p.pod.requests.milli_cpu >= 0;
            let victim = cluster.placed.values().filter(permitted).filter(helps).min_by_key(|p| (p.node, p.pod.priority));
            Ok(match victim {
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
