//! Which of a backend's endpoints gets a request. What is counted here lives longer than a route table.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::compiled::Backend;
use crate::table::Balance;

/// Counters kept for endpoints that are no more, before all of them are begun anew.
const MOST_COUNTERS: usize = 10_000;

#[derive(Default)]
pub struct Balancer {
    turns: Mutex<HashMap<Arc<str>, Arc<AtomicUsize>>>,
    open: Mutex<HashMap<SocketAddr, Arc<AtomicUsize>>>,
}

/// A request under way to an endpoint; counts down when dropped.
pub struct Busy(Arc<AtomicUsize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Balancer {
    /// All endpoints, the one to ask first at the front, the ones to fall back to behind it.
    pub fn order(&self, backend: &Backend, client: IpAddr, uri: &str, sticky: Option<&str>) -> Vec<SocketAddr> {
        let mut order = backend.endpoints.clone();
        if order.len() < 2 {
            return order;
        }
        match backend.balance {
            Balance::RoundRobin => {
                let turn = self.turn(&backend.name) % order.len();
                order.rotate_left(turn);
            }
            Balance::LeastConnections => {
                let turn = self.turn(&backend.name) % order.len();
                order.rotate_left(turn);
                order.sort_by_key(|endpoint| self.counter(*endpoint).load(Ordering::Relaxed));
            }
            // Each endpoint draws a lot for the key: when one goes, only its own keys move.
            Balance::HashClient => order.sort_by_key(|endpoint| std::cmp::Reverse(lot(&client, endpoint))),
            Balance::HashUri => order.sort_by_key(|endpoint| std::cmp::Reverse(lot(&uri, endpoint))),
        }
        if let Some(at) = sticky.and_then(|value| order.iter().position(|endpoint| cookie_value(endpoint) == value)) {
            let chosen = order.remove(at);
            order.insert(0, chosen);
        }
        order
    }

    pub fn begin(&self, endpoint: SocketAddr) -> Busy {
        let counter = self.counter(endpoint);
        counter.fetch_add(1, Ordering::Relaxed);
        Busy(counter)
    }

    fn turn(&self, backend: &Arc<str>) -> usize {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() > MOST_COUNTERS {
            turns.clear();
        }
        turns.entry(backend.clone()).or_default().fetch_add(1, Ordering::Relaxed)
    }

    fn counter(&self, endpoint: SocketAddr) -> Arc<AtomicUsize> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() > MOST_COUNTERS {
            open.retain(|_, count| count.load(Ordering::Relaxed) > 0);
        }
        open.entry(endpoint).or_default().clone()
    }
}

/// What an affinity cookie says of an endpoint: not its address.
pub fn cookie_value(endpoint: &SocketAddr) -> String {
    format!("{:016x}", lot(&"cookie", endpoint))
}

fn lot(key: &impl Hash, endpoint: &SocketAddr) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    endpoint.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Endpoint, RouteTable};

    fn backend(balance: Balance, count: u8) -> Backend {
        let endpoints = (1..=count).map(|i| Endpoint { address: format!("10.0.0.{i}"), port: 80 }).collect();
        let table =
            RouteTable { backends: vec![crate::table::Backend { balance, ..crate::table::Backend::new("b", endpoints) }], ..RouteTable::default() };
        crate::compiled::Compiled::new(&table).backends.remove(0)
    }

    #[test]
    fn ways_to_choose() {
        let balancer = Balancer::default();
        let client = |i: u8| IpAddr::from([192, 0, 2, i]);
        let first = |backend: &Backend, i: u8, uri: &str| balancer.order(backend, client(i), uri, None)[0];
        let round = backend(Balance::RoundRobin, 3);
        assert_ne!(first(&round, 1, "/"), first(&round, 1, "/"));
        let least = backend(Balance::LeastConnections, 2);
        let busy = balancer.begin(least.endpoints[0]);
        assert!((0..4).all(|_| first(&least, 1, "/") == least.endpoints[1]));
        drop(busy);
        let (hash, fewer) = (backend(Balance::HashClient, 3), backend(Balance::HashClient, 2));
        for i in 0..50 {
            let chosen = first(&hash, i, "/x");
            assert_eq!(chosen, first(&hash, i, "/y"));
            // Those that did not choose the third stay where they were.
            assert!(chosen == hash.endpoints[2] || chosen == first(&fewer, i, "/"));
        }
    }

    #[test]
    fn a_cookie_wins_while_its_endpoint_is_there() {
        let (balancer, backend) = (Balancer::default(), backend(Balance::RoundRobin, 3));
        let wanted = backend.endpoints[1];
        let order = |value: &str| balancer.order(&backend, IpAddr::from([192, 0, 2, 1]), "/", Some(value));
        assert!((0..5).all(|_| order(&cookie_value(&wanted))[0] == wanted));
        assert_eq!(order("gone").len(), 3);
    }
}
