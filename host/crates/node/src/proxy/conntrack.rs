//! Forgets the kernel's UDP connections that still lead to an endpoint which is no more. A TCP client notices by itself; a UDP
//! client that keeps its port would talk to nobody for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::process::Command;

use super::model::{Protocol, Snapshot};

/// Connections forgotten at one change at most; the kernel's own time-out takes the rest.
const MOST_DELETIONS: usize = 4096;

type Ends = BTreeSet<(Ipv4Addr, u16)>;

/// Where each UDP service's traffic may go.
#[derive(Debug, Default)]
struct Fronts {
    addresses: BTreeMap<(Ipv4Addr, u16), Ends>,
    node_ports: BTreeMap<u16, Ends>,
}

/// One line of `conntrack -L`.
#[derive(Debug, PartialEq)]
struct Flow {
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    answers_from: (Ipv4Addr, u16),
}

pub async fn forget_stale(snapshot: &Snapshot) {
    static MISSING: AtomicBool = AtomicBool::new(false);
    let fronts = fronts(snapshot);
    if fronts.addresses.is_empty() || MISSING.load(Ordering::Relaxed) {
        return;
    }
    let listed = match Command::new("conntrack").args(["-L", "-f", "ipv4", "-p", "udp"]).output().await {
        Ok(output) => output,
        Err(error) => {
            MISSING.store(true, Ordering::Relaxed);
            tracing::warn!(%error, "no conntrack program: UDP clients may keep talking to endpoints that are gone");
            return;
        }
    };
    let listed = String::from_utf8_lossy(&listed.stdout);
    for flow in listed.lines().filter_map(read_flow).filter(|f| is_stale(f, &fronts)).take(MOST_DELETIONS) {
        let (source, destination) = (flow.source, flow.destination);
        let ends = [source.0.to_string(), destination.0.to_string(), source.1.to_string(), destination.1.to_string()];
        let arguments = ["-D", "-f", "ipv4", "-p", "udp", "-s", &ends[0], "-d", &ends[1], "--sport", &ends[2], "--dport", &ends[3]];
        // Fails where the flow ended meanwhile.
        let _ = Command::new("conntrack").args(arguments).output().await;
    }
}

fn fronts(snapshot: &Snapshot) -> Fronts {
    let mut fronts = Fronts::default();
    for service in snapshot.services.values() {
        for port in service.ports.iter().filter(|p| p.protocol == Protocol::Udp) {
            let ends: Ends = snapshot.endpoints(service, port).iter().filter(|e| e.serving).map(|e| (e.address, e.port)).collect();
            // With no endpoint there is nowhere better to send them.
            if ends.is_empty() {
                continue;
            }
            let addresses = [port.cluster_ip].into_iter().chain(port.external_ips.iter().copied()).chain(port.balancer_ips.iter().copied());
            for address in addresses {
                fronts.addresses.insert((address, port.port), ends.clone());
            }
            if let Some(node_port) = port.node_port {
                fronts.node_ports.insert(node_port, ends);
            }
        }
    }
    fronts
}

fn is_stale(flow: &Flow, fronts: &Fronts) -> bool {
    let ends = fronts.addresses.get(&flow.destination).or_else(|| fronts.node_ports.get(&flow.destination.1));
    ends.is_some_and(|ends| !ends.contains(&flow.answers_from))
}

/// `udp 17 29 src=A dst=B sport=1 dport=2 [UNREPLIED] src=C dst=D sport=3 dport=4 ...`
fn read_flow(line: &str) -> Option<Flow> {
    let values =
        |key: &str| line.split_whitespace().filter_map(move |w| w.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned).collect::<Vec<_>>();
    let address = |key: &str, index: usize| values(key).get(index)?.parse().ok();
    let port = |key: &str, index: usize| values(key).get(index)?.parse().ok();
    Some(Flow {
        source: (address("src", 0)?, port("sport", 0)?),
        destination: (address("dst", 0)?, port("dport", 0)?),
        answers_from: (address("src", 1)?, port("sport", 1)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_stale_when_no_endpoint_answers_it() {
        let fronts = Fronts {
            addresses: [((Ipv4Addr::new(10, 96, 0, 10), 53), Ends::from([(Ipv4Addr::new(10, 244, 0, 7), 5353)]))].into(),
            node_ports: [(30_053, Ends::from([(Ipv4Addr::new(10, 244, 0, 7), 5353)]))].into(),
        };
        let stale = |line: &str| is_stale(&read_flow(line).unwrap(), &fronts);
        let line = |destination: &str, answer: &str| {
            format!("udp      17 29 src=10.244.0.9 dst={destination} [UNREPLIED] src={answer} dst=10.244.0.9 sport=5353 dport=4000 mark=0 use=1")
                .replace(" [", " sport=4000 dport=PORT [")
        };
        let cluster = |answer: &str| line("10.96.0.10", answer).replace("PORT", "53");
        assert!(!stale(&cluster("10.244.0.7")));
        assert!(stale(&cluster("10.244.0.8")));
        // Sent while there was no endpoint: never translated.
        assert!(stale(&cluster("10.96.0.10")));
        assert!(stale(&line("10.89.0.1", "10.244.0.8").replace("PORT", "30053")));
        assert!(!stale(&line("10.89.0.1", "10.244.0.8").replace("PORT", "30054")));
        assert_eq!(read_flow("tcp gibberish"), None);
    }
}
