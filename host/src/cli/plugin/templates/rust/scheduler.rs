//! A scheduler for pintle: among the nodes that can run a pod, the one with the fewest pods wins.
//!
//! `filter` and `score` are the policy; change them. `cluster.rs` keeps what the host feeds: nodes and the pods on them.

mod cluster;

use cluster::{Cluster, OnNode};
use pintle_sdk::scheduler::Pod;

/// Why the pod cannot run on the node, or `None` when it can.
fn filter(pod: &Pod, here: &OnNode) -> Option<&'static str> {
    if here.is_closed_to(pod) {
        return Some("node(s) were unschedulable");
    }
    if !here.labels_match(pod) {
        return Some("node(s) didn't match Pod's node affinity/selector");
    }
    if here.has_untolerated_taint(pod) {
        return Some("node(s) had untolerated taint(s)");
    }
    here.lacks(pod)
}

/// From 0 to 100, higher is better.
fn score(_pod: &Pod, here: &OnNode) -> i64 {
    100 - i64::from(here.pods).min(100)
}

/// The host calls it with pods to place.
#[derive(Default)]
pub struct Policy {
    cluster: Cluster,
}

pintle_sdk::export_scheduler!(Policy);

#[cfg(test)]
mod tests {
    use super::*;
    use pintle_sdk::scheduler::{Delta, Node, Outcome, Placement, Scheduler, Scope};
    use pintle_sdk::testing::FakeCluster;

    const WHOLE: Scope = Scope { start: 0, limit: 0, top: 1, seed: 0 };

    /// The names of the nodes that pods of 500 millicores go to, each placed before the next is asked for.
    fn places(count: usize, nodes: Vec<Node>) -> Vec<Option<String>> {
        let (env, mut policy) = (FakeCluster::new(), Policy::default());
        let names: Vec<String> = nodes.iter().map(|n| n.name.clone()).collect();
        policy.feed(&env, nodes.into_iter().map(Delta::UpsertNode).collect());
        let mut place = |name: String| {
            let mut pod = Pod::named(&name);
            pod.requests.milli_cpu = 500;
            match policy.schedule(&env, pod.clone(), WHOLE).unwrap() {
                Outcome::Fits(choice) => {
                    let node = choice.ranked[0].node;
                    policy.feed(&env, vec![Delta::Place(Placement { pod, node })]);
                    Some(names[node as usize].clone())
                }
                Outcome::None(_) => None,
            }
        };
        (0..count).map(|n| place(format!("pod-{n}"))).collect()
    }

    #[test]
    fn pods_spread_until_nodes_are_full() {
        let nodes = vec![Node::sized(0, "a", 1000, 1 << 30, 110), Node::sized(1, "b", 500, 1 << 30, 110)];
        let found = places(4, nodes);
        assert_eq!(found[3], None);
        let on_a = found.iter().flatten().filter(|n| *n == "a").count();
        assert_eq!((on_a, found.iter().flatten().count()), (2, 3));
    }

    #[test]
    fn cordoned_nodes_get_nothing() {
        let mut node = Node::sized(0, "a", 1000, 1 << 30, 110);
        node.unschedulable = true;
        assert_eq!(places(1, vec![node]), [None]);
    }
}
