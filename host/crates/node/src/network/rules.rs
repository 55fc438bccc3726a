//! Rules for pods' traffic: forwarding is allowed, and what leaves the cluster gets the node's address.

use std::sync::Arc;

use ipnet::Ipv4Net;

use super::iptables::{Jump, RuleSet, Table, Tool};
use super::{CLUSTER_CIDR, NetworkError, Node};

const FORWARD: &str = "PINTLE-FORWARD";
const POSTROUTING: &str = "PINTLE-POSTROUTING";

/// After all other rules of FORWARD: kube-proxy's refusals come first, a policy of DROP last.
const JUMPS: &[Jump] = &[
    Jump { table: Table::Filter, from: "FORWARD", to: FORWARD, matches: "-m comment --comment \"pods of the cluster\"", first: false },
    Jump { table: Table::Nat, from: "POSTROUTING", to: POSTROUTING, matches: "-m comment --comment \"pods leaving the cluster\"", first: false },
];

pub fn wanted(own: Ipv4Net, others: &[&Node]) -> RuleSet {
    let mut rules = RuleSet::default();
    let forward = rules.chain(Table::Filter, FORWARD);
    forward.push(format!("-s {CLUSTER_CIDR} -j ACCEPT"));
    forward.push(format!("-d {CLUSTER_CIDR} -j ACCEPT"));
    for address in others.iter().filter_map(|n| n.address) {
        forward.push(format!("-s {address}/32 -j ACCEPT"));
        forward.push(format!("-d {address}/32 -j ACCEPT"));
    }
    let leaving = rules.chain(Table::Nat, POSTROUTING);
    leaving.push(format!("-d {CLUSTER_CIDR} -j RETURN"));
    for address in others.iter().filter_map(|n| n.address) {
        leaving.push(format!("-d {address}/32 -j RETURN"));
    }
    leaving.push("-d 224.0.0.0/4 -j RETURN".to_owned());
    leaving.push(format!("-s {own} -m addrtype ! --dst-type LOCAL -j MASQUERADE"));
    // A node whose way out leads through this one, as those in namespaces of one machine do.
    for address in others.iter().filter_map(|n| n.address) {
        leaving.push(format!("-s {address}/32 -m addrtype ! --dst-type LOCAL -j MASQUERADE"));
    }
    rules
}

pub async fn apply(tool: &Arc<Tool>, rules: &RuleSet) -> Result<(), NetworkError> {
    // Small enough to write whole, which also mends what somebody else removed.
    let mut batch = rules.changes_since(&RuleSet::default());
    batch.push_str(&tool.mended_jumps(JUMPS).await?);
    Ok(tool.restore(&batch).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn rules_of_a_node_with_a_neighbour() {
        let other = Node { name: "b".into(), address: Some("10.89.0.2".parse().unwrap()), pod_cidr: Some("10.244.1.0/24".parse().unwrap()) };
        let rules = wanted("10.244.0.0/24".parse().unwrap(), &[&other]);
        expect![[r#"
            *filter
            :PINTLE-FORWARD - [0:0]
            -A PINTLE-FORWARD -s 10.244.0.0/16 -j ACCEPT
            -A PINTLE-FORWARD -d 10.244.0.0/16 -j ACCEPT
            -A PINTLE-FORWARD -s 10.89.0.2/32 -j ACCEPT
            -A PINTLE-FORWARD -d 10.89.0.2/32 -j ACCEPT
            COMMIT
            *nat
            :PINTLE-POSTROUTING - [0:0]
            -A PINTLE-POSTROUTING -d 10.244.0.0/16 -j RETURN
            -A PINTLE-POSTROUTING -d 10.89.0.2/32 -j RETURN
            -A PINTLE-POSTROUTING -d 224.0.0.0/4 -j RETURN
            -A PINTLE-POSTROUTING -s 10.244.0.0/24 -m addrtype ! --dst-type LOCAL -j MASQUERADE
            -A PINTLE-POSTROUTING -s 10.89.0.2/32 -m addrtype ! --dst-type LOCAL -j MASQUERADE
            COMMIT
        "#]]
        .assert_eq(&rules.changes_since(&RuleSet::default()));
    }
}
