//! The words for a pod that fits nowhere, as kubectl users know them.

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::Rejection;

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s).`, and what became of preemption.
pub fn unschedulable(nodes: usize, rejections: &[Rejection], preemption: &Preemption) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut message = available(nodes, reasons(rejections));
    match preemption {
        Preemption::NotTried => {}
        Preemption::Terminating => message.push_str(&preemption_says("not eligible due to a terminating pod on the nominated node.")),
        Preemption::Never => message.push_str(&preemption_says("not eligible due to preemptionPolicy=Never.")),
        Preemption::NoVictims(tried) if !tried.is_empty() => {
            message.push_str(&preemption_says(""));
            message.push_str(&available(nodes, reasons(tried)));
        }
        Preemption::NoVictims(_) => {
            let count = |resolvable: bool| -> u32 { rejections.iter().filter(|r| r.resolvable == resolvable).map(|r| r.nodes).sum() };
            let (useless, victimless) = (count(false), count(true));
            // A node may be refused for several reasons: without one that evictions could take away it is all of the nodes.
            let useless = if victimless == 0 { u32::try_from(nodes).unwrap_or(u32::MAX) } else { useless };
            let mut why = Vec::new();
            if useless > 0 {
                why.push(format!("{useless} Preemption is not helpful for scheduling"));
            }
            if victimless > 0 {
                why.push(format!("{victimless} No preemption victims found for incoming pod"));
            }
            message.push_str(&preemption_says(""));
            message.push_str(&available(nodes, why));
        }
    }
    message
}

/// A reason that lies in the pod's volumes, whatever the nodes: no component is asked then. Upstream's allocation of devices has seen
/// nothing of the pod at that point and says so in two words.
pub fn blocked(nodes: usize, why: &str) -> String {
    format!("{} not found", available(nodes, vec![why.to_owned()]))
}

/// Upstream's allocation of devices has its word before preemption has: there is no claim whose devices could be freed.
fn preemption_says(what: &str) -> String {
    format!(" no new claims to deallocate, preemption: {what}")
}

pub enum Preemption {
    /// Victims were found, or none was asked for.
    NotTried,
    /// The pod's policy forbids it.
    Never,
    /// Why evictions would not help; empty where nobody said.
    NoVictims(Vec<Rejection>),
    /// Victims of an earlier attempt are still going.
    Terminating,
}

fn available(nodes: usize, reasons: Vec<String>) -> String {
    let mut message = format!("0/{nodes} nodes are available:");
    if !reasons.is_empty() {
        message.push_str(&format!(" {}.", reasons.join(", ")));
    }
    message
}

/// Sorted as text, so that the message does not change when nothing did.
fn reasons(rejections: &[Rejection]) -> Vec<String> {
    let mut sums: Vec<(&str, u32)> = Vec::new();
    for rejection in rejections {
        match sums.iter_mut().find(|(message, _)| *message == rejection.message) {
            Some((_, nodes)) => *nodes += rejection.nodes,
            None => sums.push((&rejection.message, rejection.nodes)),
        }
    }
    // What refuses the pod as such counts no nodes.
    let line = |(message, nodes): (&str, u32)| if nodes == 0 { message.to_owned() } else { format!("{nodes} {message}") };
    let mut lines: Vec<String> = sums.into_iter().map(line).collect();
    lines.sort();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn rejection(message: &str, nodes: u32, resolvable: bool) -> Rejection {
        Rejection { filter: "F".to_owned(), message: message.to_owned(), nodes, resolvable }
    }

    #[test]
    fn words() {
        let rejections = [rejection("node(s) had untolerated taint(s)", 2, false), rejection("Insufficient cpu", 1, true)];
        expect!["0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). no new claims to deallocate, preemption: 0/3 nodes are available: 2 Preemption is not helpful for scheduling, 1 No preemption victims found for incoming pod."]
            .assert_eq(&unschedulable(3, &rejections, &Preemption::NoVictims(Vec::new())));
        expect!["0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never."]
            .assert_eq(&unschedulable(3, &rejections, &Preemption::Never));
        expect!["no nodes available to schedule pods"].assert_eq(&unschedulable(0, &[], &Preemption::NotTried));
    }
}
