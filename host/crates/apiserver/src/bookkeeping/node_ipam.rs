//! Gives each Node a range of pod addresses: the lowest free /24 of the cluster's range, in `spec.podCIDR`.
//!
//! A range that a Node has already, from whomever, is respected. A deleted Node's range is free again. Nodes beyond the last
//! range wait until one is. Nodes of single-stack IPv4 clusters only.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::Ipv4Net;
use pintle_api::client::{Patch, Target, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Reason, Status};
use serde_json::json;

use super::Context;
use super::follow::{Change, Interest, follow};
use super::queue::{Outcome, Queue};

/// Of all pods of the cluster.
const CLUSTER_CIDR: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16);
/// Of one node's range, in bits.
const NODE_PREFIX: u8 = 24;
const NODES: GroupVersionResource = GroupVersionResource::constant("", "v1", "nodes");

/// By node. `None`: it has no range yet.
type Ranges = HashMap<String, Option<Ipv4Net>>;

pub async fn run(context: Context) {
    let ranges: Arc<Mutex<Ranges>> = Arc::default();
    let queue: Queue<String> = Queue::default();
    let watching = {
        let (ranges, queue) = (ranges.clone(), queue.clone());
        let mut synced = false;
        follow(context.client.clone(), Interest::all(NODES), move |change| {
            let mut ranges = ranges.lock().unwrap_or_else(PoisonError::into_inner);
            match change {
                Change::Restart => {
                    ranges.clear();
                    synced = false;
                }
                Change::Now(served) => {
                    let Ok(node) = served.parse() else { return };
                    let range = node.str_at(&["spec", "podCIDR"]).parse().ok();
                    ranges.insert(node.name().to_owned(), range);
                }
                Change::Gone(served) => {
                    let Ok(node) = served.parse() else { return };
                    ranges.remove(node.name());
                }
                Change::Synced => synced = true,
            }
            // Until all ranges are known none is known to be free.
            if synced {
                ranges.iter().filter(|(_, range)| range.is_none()).for_each(|(name, _)| queue.add(name.clone()));
            }
        })
    };
    // One at a time, so that two nodes never get the same.
    let working = queue.run(1, |name| {
        let (context, ranges) = (&context, &ranges);
        async move { assign(context, ranges, &name).await }
    });
    tokio::join!(watching, working);
}

async fn assign(context: &Context, ranges: &Mutex<Ranges>, name: &str) -> Outcome {
    let range = {
        let mut ranges = ranges.lock().unwrap_or_else(PoisonError::into_inner);
        if ranges.get(name).is_none_or(Option::is_some) {
            return Outcome::Done;
        }
        let Some(range) = lowest_free(&ranges) else {
            tracing::warn!(node = name, range = %CLUSTER_CIDR, "no range of pod addresses is left");
            return Outcome::Retry;
        };
        ranges.insert(name.to_owned(), Some(range));
        range
    };
    match write(context, name, range).await {
        Ok(()) => Outcome::Done,
        Err(status) => {
            let mut ranges = ranges.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(held) = ranges.get_mut(name).filter(|held| **held == Some(range)) {
                *held = None;
            }
            if status.is(Reason::NotFound) { Outcome::Done } else { Outcome::Retry }
        }
    }
}

async fn write(context: &Context, name: &str, range: Ipv4Net) -> Result<(), Status> {
    let patch = Patch::Merge(json!({"spec": {"podCIDR": range.to_string(), "podCIDRs": [range.to_string()]}}));
    context.client.patch(&Target::object(NODES, None, name), patch, &WriteOptions::default()).await.map(|_| ())
}

fn lowest_free(ranges: &Ranges) -> Option<Ipv4Net> {
    let overlaps = |a: &Ipv4Net, b: &Ipv4Net| a.contains(&b.network()) || b.contains(&a.network());
    CLUSTER_CIDR.subnets(NODE_PREFIX).ok()?.find(|free| !ranges.values().flatten().any(|taken| overlaps(taken, free)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_range() {
        let range = |text: &str| Some(text.parse().unwrap());
        let mut ranges = Ranges::from([("a".into(), range("10.244.0.0/24")), ("b".into(), None), ("c".into(), range("10.244.2.0/23"))]);
        assert_eq!(lowest_free(&ranges), range("10.244.1.0/24"));
        ranges.insert("b".into(), range("10.244.1.0/24"));
        assert_eq!(lowest_free(&ranges), range("10.244.4.0/24"));
        ranges.insert("all".into(), range("10.244.0.0/16"));
        assert_eq!(lowest_free(&ranges), None);
    }
}
