//! Counters of requests as Prometheus text, under upstream's metric names.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the latency buckets, in seconds.
const BUCKETS: [f64; 10] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 60.0];

#[derive(Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(String, &'static str, u16), u64>>,
    latency: Mutex<BTreeMap<(String, &'static str), Latency>>,
    pub in_flight_reads: AtomicI64,
    pub in_flight_writes: AtomicI64,
    pub watches: AtomicI64,
}

#[derive(Default)]
struct Latency {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

/// Counts one while it lives.
pub struct Gauge<'a>(&'a AtomicI64);

impl<'a> Gauge<'a> {
    pub fn raise(gauge: &'a AtomicI64) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(gauge)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub fn count(&self, resource: &str, verb: &'static str, code: u16, took: Option<Duration>) {
        *lock(&self.requests).entry((resource.to_owned(), verb, code)).or_default() += 1;
        let Some(took) = took.map(|t| t.as_secs_f64()) else { return };
        let mut latency = lock(&self.latency);
        let entry = latency.entry((resource.to_owned(), verb)).or_default();
        entry.count += 1;
        entry.sum += took;
        for (bucket, bound) in entry.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(took <= bound);
        }
    }

    pub fn render(&self, objects: &[(String, usize)], revision: u64) -> String {
        let mut out = String::new();
        let mut line = |text: std::fmt::Arguments<'_>| out.write_fmt(text).expect("a string takes all");
        line(format_args!("# HELP apiserver_request_total Requests by verb, resource and code.\n# TYPE apiserver_request_total counter\n"));
        for ((resource, verb, code), count) in lock(&self.requests).iter() {
            line(format_args!("apiserver_request_total{{verb=\"{}\",resource=\"{resource}\",code=\"{code}\"}} {count}\n", verb.to_uppercase()));
        }
        line(format_args!(
            "# HELP apiserver_request_duration_seconds Latency but for watches.\n# TYPE apiserver_request_duration_seconds histogram\n"
        ));
        for ((resource, verb), latency) in lock(&self.latency).iter() {
            let labels = format!("verb=\"{}\",resource=\"{resource}\"", verb.to_uppercase());
            for (bound, count) in BUCKETS.iter().zip(latency.buckets) {
                line(format_args!("apiserver_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {count}\n"));
            }
            line(format_args!("apiserver_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} {}\n", latency.count));
            line(format_args!("apiserver_request_duration_seconds_sum{{{labels}}} {}\n", latency.sum));
            line(format_args!("apiserver_request_duration_seconds_count{{{labels}}} {}\n", latency.count));
        }
        line(format_args!("# HELP apiserver_current_inflight_requests Requests being served.\n# TYPE apiserver_current_inflight_requests gauge\n"));
        for (kind, gauge) in [("readOnly", &self.in_flight_reads), ("mutating", &self.in_flight_writes)] {
            line(format_args!("apiserver_current_inflight_requests{{request_kind=\"{kind}\"}} {}\n", gauge.load(Ordering::Relaxed)));
        }
        line(format_args!("# HELP apiserver_longrunning_requests Watches and streams.\n# TYPE apiserver_longrunning_requests gauge\n"));
        line(format_args!("apiserver_longrunning_requests {}\n", self.watches.load(Ordering::Relaxed)));
        line(format_args!("# HELP apiserver_storage_objects Objects by resource.\n# TYPE apiserver_storage_objects gauge\n"));
        for (resource, count) in objects {
            line(format_args!("apiserver_storage_objects{{resource=\"{resource}\"}} {count}\n"));
        }
        line(format_args!(
            "# HELP pintle_store_revision The newest revision.\n# TYPE pintle_store_revision counter\npintle_store_revision {revision}\n"
        ));
        out
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
