//! Requests a second for one client of one route, with five times as many at once: nginx's `limit-rps` and its burst.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many seconds' worth may come at once.
const BURST_SECONDS: f64 = 5.0;
/// Clients that are remembered; beyond, those that were quiet longest are forgotten, which only favours them.
const MOST_CLIENTS: usize = 100_000;
/// A client that was quiet for so long has all its burst back.
const QUIET: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Rates {
    clients: Mutex<HashMap<(Arc<str>, IpAddr), Bucket>>,
}

struct Bucket {
    left: f64,
    seen: Instant,
}

impl Rates {
    pub fn admits(&self, route: &Arc<str>, client: IpAddr, per_second: u32, now: Instant) -> bool {
        if per_second == 0 {
            return true;
        }
        let (rate, most) = (f64::from(per_second), f64::from(per_second) * BURST_SECONDS);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= MOST_CLIENTS {
            clients.retain(|_, bucket| now.duration_since(bucket.seen) < QUIET);
            if clients.len() >= MOST_CLIENTS {
                clients.clear();
            }
        }
        let bucket = clients.entry((route.clone(), client)).or_insert(Bucket { left: most, seen: now });
        bucket.left = (bucket.left + now.duration_since(bucket.seen).as_secs_f64() * rate).min(most);
        bucket.seen = now;
        let admitted = bucket.left >= 1.0;
        if admitted {
            bucket.left -= 1.0;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let (rates, route, begin) = (Rates::default(), Arc::from("r"), Instant::now());
        let client = IpAddr::from([10, 0, 0, 1]);
        let admitted = |seconds: f64, tries: usize| {
            let now = begin + Duration::from_secs_f64(seconds);
            (0..tries).filter(|_| rates.admits(&route, client, 2, now)).count()
        };
        assert_eq!(admitted(0.0, 20), 10);
        assert_eq!(admitted(1.0, 20), 2);
        assert_eq!(admitted(100.0, 20), 10);
        assert!(rates.admits(&route, IpAddr::from([10, 0, 0, 2]), 2, begin), "another client");
    }
}
