//! From services and endpoints to iptables rules, as a pure function. Chains and their meaning are kube-proxy's.

use std::fmt::Write;

use super::model::{Endpoint, Protocol, ServicePort, Snapshot};
use super::names::{ChainNames, endpoint_chain};
use super::topology::Choice;
use crate::network::CLUSTER_CIDR;
use crate::network::iptables::{Jump, RuleSet, Table};

const SERVICES: &str = "KUBE-SERVICES";
const EXTERNAL_SERVICES: &str = "KUBE-EXTERNAL-SERVICES";
const NODE_PORTS: &str = "KUBE-NODEPORTS";
const POSTROUTING: &str = "KUBE-POSTROUTING";
const MARK_MASQ: &str = "KUBE-MARK-MASQ";
const FORWARD: &str = "KUBE-FORWARD";
const BALANCER_FIREWALL: &str = "KUBE-PROXY-FIREWALL";
const NODE_FIREWALL: &str = "KUBE-FIREWALL";
/// Empty; when it is gone, somebody flushed the tables.
pub const CANARY: &str = "KUBE-PROXY-CANARY";
const MARK: &str = "0x4000";

const NEW: &str = "-m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\"";
const NEW_EXTERNAL: &str = "-m conntrack --ctstate NEW -m comment --comment \"kubernetes externally-visible service portals\"";
const NEW_BALANCER: &str = "-m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\"";

/// Each is put before all others, so the last comes first.
pub const JUMPS: &[Jump] = &[
    jump(Table::Filter, "INPUT", EXTERNAL_SERVICES, NEW_EXTERNAL),
    jump(Table::Filter, "FORWARD", EXTERNAL_SERVICES, NEW_EXTERNAL),
    jump(Table::Filter, "INPUT", NODE_PORTS, "-m comment --comment \"kubernetes health check service ports\""),
    jump(Table::Filter, "FORWARD", SERVICES, NEW),
    jump(Table::Filter, "OUTPUT", SERVICES, NEW),
    jump(Table::Filter, "FORWARD", FORWARD, "-m comment --comment \"kubernetes forwarding rules\""),
    jump(Table::Filter, "INPUT", BALANCER_FIREWALL, NEW_BALANCER),
    jump(Table::Filter, "OUTPUT", BALANCER_FIREWALL, NEW_BALANCER),
    jump(Table::Filter, "FORWARD", BALANCER_FIREWALL, NEW_BALANCER),
    jump(Table::Filter, "INPUT", NODE_FIREWALL, ""),
    jump(Table::Filter, "OUTPUT", NODE_FIREWALL, ""),
    jump(Table::Nat, "OUTPUT", SERVICES, "-m comment --comment \"kubernetes service portals\""),
    jump(Table::Nat, "PREROUTING", SERVICES, "-m comment --comment \"kubernetes service portals\""),
    jump(Table::Nat, "POSTROUTING", POSTROUTING, "-m comment --comment \"kubernetes postrouting rules\""),
];

const fn jump(table: Table, from: &'static str, to: &'static str, matches: &'static str) -> Jump {
    Jump { table, from, to, matches, first: true }
}

/// What the kernel can do.
#[derive(Clone, Copy, Debug)]
pub struct Abilities {
    /// Remembers which endpoint an address had. Without it, the lowest bits of the client's address choose.
    pub recent: bool,
}

pub fn rules(snapshot: &Snapshot, abilities: Abilities) -> RuleSet {
    let mut set = frame();
    let mut shared = Shared::default();
    for service in snapshot.services.values() {
        for port in &service.ports {
            let endpoints = snapshot.endpoints(service, port);
            Writer::new(port, &endpoints, snapshot, abilities).write(&mut shared, &mut set);
        }
    }
    shared.services.push(format!(
        "-m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in this chain\" -m addrtype --dst-type LOCAL -j {NODE_PORTS}"
    ));
    set.insert(Table::Nat, SERVICES.to_owned(), shared.services);
    set.insert(Table::Nat, NODE_PORTS.to_owned(), shared.node_ports);
    set.insert(Table::Filter, SERVICES.to_owned(), shared.refused);
    set.insert(Table::Filter, EXTERNAL_SERVICES.to_owned(), shared.refused_external);
    set.insert(Table::Filter, NODE_PORTS.to_owned(), shared.health_ports);
    set.insert(Table::Filter, BALANCER_FIREWALL.to_owned(), shared.dropped);
    set
}

/// The chains that do not depend on any service.
fn frame() -> RuleSet {
    let mut set = RuleSet::default();
    set.chain(Table::Nat, CANARY);
    set.chain(Table::Nat, MARK_MASQ).push(format!("-j MARK --or-mark {MARK}"));
    let leaving = set.chain(Table::Nat, POSTROUTING);
    leaving.push(format!("-m mark ! --mark {MARK}/{MARK} -j RETURN"));
    // Unmarked again, or a packet that passes through once more would be rewritten twice.
    leaving.push(format!("-j MARK --xor-mark {MARK}"));
    leaving.push("-m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE --random-fully".to_owned());
    let forward = set.chain(Table::Filter, FORWARD);
    forward.push("-m conntrack --ctstate INVALID -j DROP".to_owned());
    forward.push(format!("-m comment --comment \"kubernetes forwarding rules\" -m mark --mark {MARK}/{MARK} -j ACCEPT"));
    forward.push("-m comment --comment \"kubernetes forwarding conntrack rule\" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT".to_owned());
    // NodePorts on 127.0.0.1 need `route_localnet`, which would let neighbours reach what listens on the loopback only.
    set.chain(Table::Filter, NODE_FIREWALL).push(
        "! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment \"block incoming localnet connections\" \
         -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"
            .to_owned(),
    );
    set
}

/// Rules of chains that all services share.
#[derive(Default)]
struct Shared {
    services: Vec<String>,
    node_ports: Vec<String>,
    refused: Vec<String>,
    refused_external: Vec<String>,
    health_ports: Vec<String>,
    dropped: Vec<String>,
}

/// Makes the rules of one service's port.
struct Writer<'a> {
    port: &'a ServicePort,
    choice: Choice<'a>,
    names: ChainNames,
    snapshot: &'a Snapshot,
    abilities: Abilities,
}

impl<'a> Writer<'a> {
    fn new(port: &'a ServicePort, endpoints: &[&'a Endpoint], snapshot: &'a Snapshot, abilities: Abilities) -> Self {
        Self { port, choice: Choice::new(endpoints, port, snapshot), names: ChainNames::new(port), snapshot, abilities }
    }

    fn write(&self, shared: &mut Shared, set: &mut RuleSet) {
        let (any, local) = (self.choice.any, !self.choice.local.is_empty());
        let internal = any && (!self.port.internal_local || local);
        let external = any && (!self.port.external_local || local);
        self.capture_cluster_ip(shared, internal);
        self.capture_external(shared, external);
        self.capture_node_port(shared, external);
        if let Some(port) = self.port.health_check_port {
            let name = &self.port.name;
            shared.health_ports.push(format!("-m comment --comment \"{name} health check node port\" -p tcp -m tcp --dport {port} -j ACCEPT"));
        }
        if internal || (any && self.port.is_external()) {
            self.write_chains(set, internal, external);
        }
    }

    fn capture_cluster_ip(&self, shared: &mut Shared, internal: bool) {
        let to = self.destination(self.port.cluster_ip);
        if internal {
            shared.services.push(format!("{} {to} -j {}", self.comment("cluster IP"), self.internal_chain()));
        } else {
            shared.refused.push(format!("{} {to} -j {}", self.refusal_comment(), self.refusal()));
        }
    }

    /// External addresses and those of load balancers.
    fn capture_external(&self, shared: &mut Shared, external: bool) {
        let addresses = [(&self.port.external_ips, "external IP", false), (&self.port.balancer_ips, "loadbalancer IP", self.has_firewall())];
        for (list, what, firewall) in addresses {
            for address in list {
                let to = self.destination(*address);
                let chain = if firewall { &self.names.firewall } else { &self.names.external };
                if self.choice.any {
                    shared.services.push(format!("{} {to} -j {chain}", self.comment(what)));
                }
                if firewall {
                    let comment = self.comment(&format!("traffic not accepted by {}", self.names.firewall));
                    shared.dropped.push(format!("{comment} {to} -j DROP"));
                }
                if !external {
                    shared.refused_external.push(format!("{} {to} -j {}", self.refusal_comment(), self.refusal()));
                }
            }
        }
    }

    fn capture_node_port(&self, shared: &mut Shared, external: bool) {
        let Some(port) = self.port.node_port else { return };
        let protocol = self.protocol();
        if self.choice.any {
            shared.node_ports.push(format!("-m comment --comment \"{}\" {protocol} --dport {port} -j {}", self.port.name, self.names.external));
        }
        if !external {
            shared.refused_external.push(format!(
                "{} -m addrtype --dst-type LOCAL {protocol} --dport {port} -j {}",
                self.refusal_comment(),
                self.refusal()
            ));
        }
    }

    fn write_chains(&self, set: &mut RuleSet, internal: bool, external: bool) {
        let mut masquerade_cluster_ip = None;
        if internal {
            // A route to the service range may lead from outside through this node: the answer has to come back here.
            let to = self.destination(self.port.cluster_ip);
            masquerade_cluster_ip = Some(format!("{} {to} ! -s {CLUSTER_CIDR} -j {MARK_MASQ}", self.comment("cluster IP")));
        }
        for (chain, endpoints) in [(&self.names.cluster, &self.choice.cluster), (&self.names.local, &self.choice.local)] {
            if endpoints.is_empty() {
                continue;
            }
            let mut rules = Vec::with_capacity(endpoints.len() * 2 + 1);
            if chain == self.internal_chain() {
                rules.extend(masquerade_cluster_ip.take());
            }
            self.balance(&mut rules, endpoints);
            set.insert(Table::Nat, chain.clone(), rules);
        }
        if self.choice.any && self.port.is_external() {
            set.insert(Table::Nat, self.names.external.clone(), self.external_rules(external));
            if self.has_firewall() {
                set.insert(Table::Nat, self.names.firewall.clone(), self.firewall_rules());
            }
        }
        for endpoint in self.choice.reachable() {
            set.insert(Table::Nat, endpoint_chain(self.port, endpoint), self.endpoint_rules(endpoint));
        }
    }

    fn external_rules(&self, external: bool) -> Vec<String> {
        let destinations = "external destinations";
        let mut rules = Vec::new();
        let mut rule = |what: &str, matches: &str, target: &str| {
            let space = if matches.is_empty() { "" } else { " " };
            rules.push(format!("-m comment --comment \"{what} for {} {destinations}\"{space}{matches} -j {target}", self.port.name));
        };
        if self.port.external_local {
            // Pods and this node itself are as if they came back from a load balancer: any endpoint will do.
            if !self.choice.cluster.is_empty() {
                rule("pod traffic", &format!("-s {CLUSTER_CIDR}"), &self.names.cluster);
            }
            rule("masquerade LOCAL traffic", "-m addrtype --src-type LOCAL", MARK_MASQ);
            if !self.choice.cluster.is_empty() {
                rule("route LOCAL traffic", "-m addrtype --src-type LOCAL", &self.names.cluster);
            }
        } else {
            rule("masquerade traffic", "", MARK_MASQ);
        }
        if external {
            let chain = if self.port.external_local { &self.names.local } else { &self.names.cluster };
            rules.push(format!("-j {chain}"));
        }
        rules
    }

    fn firewall_rules(&self) -> Vec<String> {
        let comment = self.comment("loadbalancer IP");
        let target = &self.names.external;
        let mut rules: Vec<String> = self.port.source_ranges.iter().map(|range| format!("{comment} -s {range} -j {target}")).collect();
        // This node reaches the balancer's address over its own loopback, with that address as source.
        if self.snapshot.node_address.is_some_and(|ip| self.port.source_ranges.iter().any(|range| range.contains(&ip))) {
            rules.extend(self.port.balancer_ips.iter().map(|ip| format!("{comment} -s {ip}/32 -j {target}")));
        }
        rules
    }

    fn balance(&self, rules: &mut Vec<String>, endpoints: &[&Endpoint]) {
        let chains: Vec<String> = endpoints.iter().map(|e| endpoint_chain(self.port, e)).collect();
        let comments: Vec<String> = endpoints.iter().map(|e| self.comment(&format!("-> {}:{}", e.address, e.port))).collect();
        match self.port.affinity_seconds {
            Some(seconds) if self.abilities.recent => {
                for (chain, comment) in chains.iter().zip(&comments) {
                    rules.push(format!("{comment} -m recent --name {chain} --rcheck --seconds {seconds} --reap -j {chain}"));
                }
            }
            Some(_) => return by_address_bits(rules, &chains, &comments),
            None => {}
        }
        let count = chains.len();
        for (index, (chain, comment)) in chains.iter().zip(&comments).enumerate() {
            let mut rule = comment.clone();
            if index + 1 < count {
                let _ = write!(rule, " -m statistic --mode random --probability {:.10}", 1.0 / (count - index) as f64);
            }
            let _ = write!(rule, " -j {chain}");
            rules.push(rule);
        }
    }

    fn endpoint_rules(&self, endpoint: &Endpoint) -> Vec<String> {
        let comment = format!("-m comment --comment \"{}\"", self.port.name);
        let recent = match self.port.affinity_seconds {
            Some(_) if self.abilities.recent => format!(" -m recent --name {} --set", endpoint_chain(self.port, endpoint)),
            _ => String::new(),
        };
        vec![
            // A pod that reaches itself by its service would answer itself directly.
            format!("{comment} -s {}/32 -j {MARK_MASQ}", endpoint.address),
            format!("{comment}{recent} {} -j DNAT --to-destination {}:{}", self.protocol(), endpoint.address, endpoint.port),
        ]
    }

    fn internal_chain(&self) -> &String {
        if self.port.internal_local { &self.names.local } else { &self.names.cluster }
    }

    fn has_firewall(&self) -> bool {
        self.choice.any && !self.port.balancer_ips.is_empty() && !self.port.source_ranges.is_empty()
    }

    /// Nothing anywhere is told at once; endpoints elsewhere only are none of the client's business.
    fn refusal(&self) -> &'static str {
        if self.choice.any { "DROP" } else { "REJECT --reject-with icmp-port-unreachable" }
    }

    fn refusal_comment(&self) -> String {
        self.comment(if self.choice.any { "has no local endpoints" } else { "has no endpoints" })
    }

    fn comment(&self, what: &str) -> String {
        format!("-m comment --comment \"{} {what}\"", self.port.name)
    }

    fn protocol(&self) -> &'static str {
        match self.port.protocol {
            Protocol::Tcp => "-p tcp -m tcp",
            Protocol::Udp => "-p udp -m udp",
            Protocol::Sctp => "-p sctp -m sctp",
        }
    }

    fn destination(&self, address: std::net::Ipv4Addr) -> String {
        format!("{} -d {address}/32 --dport {}", self.protocol(), self.port.port)
    }
}

/// Most parts that addresses are divided into where the kernel cannot remember clients.
const MOST_PARTS: usize = 256;

/// The client's lowest address bits choose the endpoint: sticky for as long as the endpoints stay the same.
fn by_address_bits(rules: &mut Vec<String>, chains: &[String], comments: &[String]) {
    let parts = (chains.len() * 4).next_power_of_two().min(MOST_PARTS.max(chains.len().next_power_of_two()));
    let mask = std::net::Ipv4Addr::from(parts as u32 - 1);
    for part in 0..parts {
        let bits = std::net::Ipv4Addr::from(part as u32);
        let index = part % chains.len();
        rules.push(format!("{} -s {bits}/{mask} -j {}", comments[index], chains[index]));
    }
}

#[cfg(test)]
mod tests;
