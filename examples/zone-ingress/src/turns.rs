//! The order in which endpoints take their turns.

use std::collections::BTreeMap;

use pintle_sdk::ingress::Endpoint;

/// No list grows beyond this, whatever the zones' sizes have in common: then the shares are only nearly the same.
const MAX_TURNS: usize = 4096;

/// One of each zone after the other, each zone's endpoints in turn, until all have had theirs equally often.
pub fn by_zone(endpoints: Vec<(String, Endpoint)>) -> Vec<Endpoint> {
    let mut zones: BTreeMap<String, Vec<Endpoint>> = BTreeMap::new();
    for (zone, endpoint) in endpoints {
        zones.entry(zone).or_default().push(endpoint);
    }
    let largest = zones.values().map(Vec::len).max().unwrap_or_default();
    // After so many rounds every zone is at its first endpoint again.
    let whole = zones.values().map(Vec::len).fold(1, least_common_multiple);
    let rounds = if whole * zones.len() <= MAX_TURNS { whole } else { largest };
    let round = |n: usize| zones.values().map(move |zone| zone[n % zone.len()].clone());
    if largest == 0 { Vec::new() } else { (0..rounds).flat_map(round).collect() }
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut divisor, mut rest) = (a, b);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    // Beyond the limit anyway when it overflows.
    (a / divisor.max(1)).saturating_mul(b).min(usize::MAX / 2 / MAX_TURNS)
}
