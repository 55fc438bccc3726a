//! How fast nodes may be emptied. Where much fails at once the fault is more likely ours or the network's than the nodes', and moving
//! everything would make it worse.

use std::collections::HashMap;

use pintle_controller_common::resources;
use pintle_sdk::controller::{Api, Failure, Query, Summary};

use crate::config::Config;

/// Nodes with it do not count when a zone is judged.
const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";
const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
/// A zone with fewer unhealthy nodes is never mostly unhealthy.
const FEW: usize = 2;

/// By zone: when the next node may be emptied, in seconds since 1970.
#[derive(Default)]
pub struct Pace(HashMap<String, f64>);

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// No node of the cluster is ready: nothing is emptied, and what was begun is taken back.
    Never,
    /// Not while the zone is like this.
    Paused,
    PerSecond(f64),
}

impl Pace {
    /// `Err(seconds)`: not before.
    pub fn allow(&mut self, zone: &str, rate: f64, now: i64) -> Result<(), i64> {
        let next = self.0.entry(zone.to_owned()).or_insert(0.0);
        let wait = *next - now as f64;
        if wait > 0.0 {
            return Err(wait.ceil() as i64);
        }
        *next = now as f64 + 1.0 / rate.max(f64::MIN_POSITIVE);
        Ok(())
    }
}

/// The zone of a node by its labels, and how fast that zone may be emptied.
pub fn judge(api: &dyn Api, node: &str, config: &Config) -> Result<(String, Rate), Failure> {
    let all = api.list_summaries(resources::NODES, &Query::default())?;
    let zone = all.iter().find(|n| n.name == node).map(zone_of).unwrap_or_default();
    let counted: Vec<&Summary> = all.iter().filter(|n| !n.labels.iter().any(|l| l.0 == EXCLUDED)).collect();
    if !counted.is_empty() && counted.iter().all(|n| !n.ready) {
        return Ok((zone, Rate::Never));
    }
    let here = counted.iter().filter(|n| zone_of(n) == zone);
    let (total, sick) = here.fold((0, 0), |(total, sick), n| (total + 1, sick + usize::from(!n.ready)));
    let mostly_sick = sick > FEW && sick as f64 / total as f64 >= config.unhealthy_threshold;
    let rate = if sick == total || !mostly_sick { config.eviction_rate } else { config.secondary_eviction_rate };
    let paused = rate <= 0.0 || mostly_sick && sick < total && total <= config.large_zone;
    Ok((zone, if paused { Rate::Paused } else { Rate::PerSecond(rate) }))
}

fn zone_of(node: &Summary) -> String {
    let label = |key: &str| node.labels.iter().find(|l| l.0 == key).map_or("", |l| l.1.as_str());
    format!("{}:{}", label(REGION), label(ZONE))
}
