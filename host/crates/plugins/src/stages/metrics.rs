//! What plugins cost and how they fare, as Prometheus text, by plugin and stage. Guests count into a [`Meter`] with each call; the server
//! asks for the text through [`crate::Handle::metrics_reader`] and knows nothing else of plugins.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::spec::Stage;
use super::tally::Tally;

/// Upper bounds of the latency buckets, in microseconds: a decision takes 50 µs to some milliseconds, a reconciliation more.
const BUCKETS: [u64; 12] = [10, 50, 100, 250, 500, 1_000, 2_500, 10_000, 50_000, 250_000, 1_000_000, 10_000_000];
/// Faults by their reason, as `Fault::reason` gives them.
const REASONS: [&str; 4] = ["Trapped", "DeadlineExceeded", "OutOfMemory", "BadAnswer"];

/// One plugin in one stage.
#[derive(Default)]
pub struct Meter {
    buckets: [AtomicU64; BUCKETS.len()],
    calls: AtomicU64,
    nanoseconds: AtomicU64,
    faults: [AtomicU64; REASONS.len()],
    failed: AtomicU64,
    /// Bytes of all its instances.
    memory: AtomicI64,
    instances: AtomicI64,
    fuel: AtomicU64,
    /// Schedulers: how often and how long no pod could be decided, in nanoseconds.
    pauses: AtomicU64,
    paused: AtomicU64,
    longest_pause: AtomicU64,
    /// Spare instances that know everything, how often one went on after a fault, and how many changes were fed after faults before the next decision.
    spares: AtomicI64,
    spared: AtomicU64,
    recovered: AtomicU64,
}

#[derive(Default)]
pub struct Metrics(Mutex<BTreeMap<Arc<str>, Plugin>>);

#[derive(Default)]
struct Plugin {
    stages: BTreeMap<Stage, Arc<Meter>>,
    /// The candidate's, while there is one.
    tally: Option<(Stage, Arc<Tally>)>,
    promotions: u64,
    rollbacks: u64,
}

impl Meter {
    pub fn call(&self, took: Duration, fault: Option<&str>) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(at) = BUCKETS.iter().position(|bound| micros <= *bound) {
            self.buckets[at].fetch_add(1, Ordering::Relaxed);
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if let Some(at) = fault.and_then(|reason| REASONS.iter().position(|r| *r == reason)) {
            self.faults[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A decision that ended in an error of the plugin's own.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub fn fuel(&self, used: u64) {
        self.fuel.fetch_add(used, Ordering::Relaxed);
    }

    /// No pod could be decided for so long: the revision changed, or an instance was lost.
    pub fn paused(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.pauses.fetch_add(1, Ordering::Relaxed);
        self.paused.fetch_add(nanoseconds, Ordering::Relaxed);
        self.longest_pause.fetch_max(nanoseconds, Ordering::Relaxed);
    }

    /// One more spare instance that knows everything, or one less.
    pub fn spare_is_ready(&self, more: i64) {
        self.spares.fetch_add(more, Ordering::Relaxed);
    }

    /// A spare instance goes on after a fault.
    pub fn spared(&self) {
        self.spared.fetch_add(1, Ordering::Relaxed);
    }

    /// After a fault so many changes were fed before the next decision.
    pub fn recovered(&self, changes: usize) {
        self.recovered.fetch_add(changes as u64, Ordering::Relaxed);
    }

    /// An instance is made.
    pub fn opened(&self) {
        self.instances.fetch_add(1, Ordering::Relaxed);
    }

    /// An instance is gone.
    pub fn closed(&self) {
        self.instances.fetch_sub(1, Ordering::Relaxed);
    }

    /// Instances that there are, and bytes of their linear memory.
    pub fn holds(&self) -> (u64, u64) {
        let count = |value: &AtomicI64| u64::try_from(value.load(Ordering::Relaxed)).unwrap_or_default();
        (count(&self.instances), count(&self.memory))
    }

    pub fn grew(&self, bytes: usize) {
        self.memory.fetch_add(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    pub fn freed(&self, bytes: usize) {
        self.memory.fetch_sub(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

impl Metrics {
    pub fn meter(&self, plugin: &Arc<str>, stage: Stage) -> Arc<Meter> {
        self.lock().entry(plugin.clone()).or_default().stages.entry(stage).or_default().clone()
    }

    pub fn tally(&self, plugin: &Arc<str>, tally: Option<(Stage, Arc<Tally>)>) {
        self.lock().entry(plugin.clone()).or_default().tally = tally;
    }

    pub fn promoted(&self, plugin: &Arc<str>) {
        self.lock().entry(plugin.clone()).or_default().promotions += 1;
    }

    pub fn rolled_back(&self, plugin: &Arc<str>) {
        self.lock().entry(plugin.clone()).or_default().rollbacks += 1;
    }

    /// The plugin's object is gone.
    pub fn forget(&self, plugin: &str) {
        self.lock().remove(plugin);
    }

    pub fn render(&self) -> String {
        let plugins = self.lock();
        let mut out = Text::default();
        let meters = || plugins.iter().flat_map(|(name, p)| p.stages.iter().map(move |(stage, meter)| (labels(name, *stage), meter)));
        out.family("pintle_plugin_calls_total", "counter", "Calls of a component's exports.");
        meters().for_each(|(labels, m)| out.line("pintle_plugin_calls_total", &labels, m.calls.load(Ordering::Relaxed)));
        out.family("pintle_plugin_call_duration_seconds", "histogram", "How long calls took, waiting for the API included.");
        meters().for_each(|(labels, m)| out.histogram(&labels, m));
        out.family("pintle_plugin_faults_total", "counter", "Calls that trapped, missed their deadline or outgrew their memory.");
        for (labels, meter) in meters() {
            for (reason, count) in REASONS.iter().zip(&meter.faults) {
                out.line("pintle_plugin_faults_total", &format!("{labels},reason=\"{reason}\""), count.load(Ordering::Relaxed));
            }
        }
        out.family("pintle_plugin_failures_total", "counter", "Decisions that ended in an error of the plugin's own, such as a conflict.");
        meters().for_each(|(labels, m)| out.line("pintle_plugin_failures_total", &labels, m.failed.load(Ordering::Relaxed)));
        out.family("pintle_plugin_memory_bytes", "gauge", "Linear memory of all instances.");
        meters().for_each(|(labels, m)| out.line("pintle_plugin_memory_bytes", &labels, m.memory.load(Ordering::Relaxed).max(0)));
        out.family("pintle_plugin_instances", "gauge", "Instances of the component: none while it has nothing to do.");
        meters().for_each(|(labels, m)| out.line("pintle_plugin_instances", &labels, m.holds().0));
        out.family(
            "pintle_plugin_pauses_total",
            "counter",
            "Times that a scheduler decided nothing because its revision changed or an instance was lost.",
        );
        let paused = || meters().filter(|(_, m)| m.pauses.load(Ordering::Relaxed) > 0);
        let seconds = |nanoseconds: &AtomicU64| nanoseconds.load(Ordering::Relaxed) as f64 / 1e9;
        paused().for_each(|(labels, m)| out.line("pintle_plugin_pauses_total", &labels, m.pauses.load(Ordering::Relaxed)));
        out.family("pintle_plugin_pause_seconds_total", "counter", "How long these took, all together.");
        paused().for_each(|(labels, m)| out.line("pintle_plugin_pause_seconds_total", &labels, seconds(&m.paused)));
        out.family("pintle_plugin_longest_pause_seconds", "gauge", "How long the longest of them took.");
        paused().for_each(|(labels, m)| out.line("pintle_plugin_longest_pause_seconds", &labels, seconds(&m.longest_pause)));
        out.family("pintle_plugin_spares", "gauge", "Spare instances of a scheduler that would go on after a fault.");
        let spares = |m: &Meter| u64::try_from(m.spares.load(Ordering::Relaxed)).unwrap_or_default();
        meters().filter(|(_, m)| spares(m) > 0).for_each(|(labels, m)| out.line("pintle_plugin_spares", &labels, spares(m)));
        out.family("pintle_plugin_spares_used_total", "counter", "Faults after which a scheduler's spare instance went on.");
        // An extender that pods are decided without pauses nobody.
        let came_back = || meters().filter(|(_, m)| [&m.pauses, &m.spared, &m.recovered].iter().any(|count| count.load(Ordering::Relaxed) > 0));
        came_back().for_each(|(labels, m)| out.line("pintle_plugin_spares_used_total", &labels, m.spared.load(Ordering::Relaxed)));
        out.family("pintle_plugin_recovery_changes_total", "counter", "Changes that a scheduler was fed after faults before its next decision.");
        came_back().for_each(|(labels, m)| out.line("pintle_plugin_recovery_changes_total", &labels, m.recovered.load(Ordering::Relaxed)));
        out.family("pintle_plugin_fuel_total", "counter", "Fuel that calls in the shadow used.");
        let shadows = meters().filter(|(labels, _)| labels.ends_with("\"shadow\""));
        shadows.for_each(|(labels, m)| out.line("pintle_plugin_fuel_total", &labels, m.fuel.load(Ordering::Relaxed)));
        stages(&plugins, &mut out);
        out.0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Arc<str>, Plugin>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn stages(plugins: &BTreeMap<Arc<str>, Plugin>, out: &mut Text) {
    let tallies = || plugins.iter().filter_map(|(name, p)| p.tally.as_ref().map(|(stage, tally)| (labels(name, *stage), tally)));
    out.family("pintle_plugin_compared_total", "counter", "Decisions of a candidate that were compared, or taken by a canary.");
    tallies().for_each(|(labels, t)| out.line("pintle_plugin_compared_total", &labels, t.compared().0));
    out.family("pintle_plugin_agreed_total", "counter", "Of those, the ones that agreed with the live revision, or did not fail.");
    tallies().for_each(|(labels, t)| out.line("pintle_plugin_agreed_total", &labels, t.compared().1));
    out.family("pintle_plugin_agreement_ratio", "gauge", "The share of agreement over the last decisions.");
    for (labels, tally) in tallies() {
        if let Some(agreement) = tally.agreement() {
            out.line("pintle_plugin_agreement_ratio", &labels, agreement);
        }
    }
    out.family("pintle_plugin_promotions_total", "counter", "Candidates that became live by promoteWhen.");
    plugins.iter().for_each(|(name, p)| out.line("pintle_plugin_promotions_total", &format!("plugin=\"{name}\""), p.promotions));
    out.family("pintle_plugin_rollbacks_total", "counter", "Revisions that were rolled back because they failed.");
    plugins.iter().for_each(|(name, p)| out.line("pintle_plugin_rollbacks_total", &format!("plugin=\"{name}\""), p.rollbacks));
}

/// A plugin's name is a DNS name, so nothing in it needs an escape.
fn labels(plugin: &str, stage: Stage) -> String {
    format!("plugin=\"{plugin}\",stage=\"{}\"", stage.name().to_ascii_lowercase())
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }

    fn histogram(&mut self, labels: &str, meter: &Meter) {
        let name = "pintle_plugin_call_duration_seconds";
        let mut sum = 0;
        for (bound, count) in BUCKETS.iter().zip(&meter.buckets) {
            sum += count.load(Ordering::Relaxed);
            let bound = *bound as f64 / 1e6;
            self.line(&format!("{name}_bucket"), &format!("{labels},le=\"{bound}\""), sum);
        }
        let calls = meter.calls.load(Ordering::Relaxed);
        self.line(&format!("{name}_bucket"), &format!("{labels},le=\"+Inf\""), calls);
        self.line(&format!("{name}_sum"), labels, meter.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9);
        self.line(&format!("{name}_count"), labels, calls);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn text() {
        let metrics = Metrics::default();
        let name: Arc<str> = "s".into();
        let live = metrics.meter(&name, Stage::Live);
        live.call(Duration::from_micros(60), None);
        live.call(Duration::from_secs(60), Some("DeadlineExceeded"));
        live.grew(65_536);
        let shadow = metrics.meter(&name, Stage::Shadow);
        shadow.fuel(1000);
        let tally = Arc::new(Tally::new(None));
        tally.agreed();
        metrics.tally(&name, Some((Stage::Shadow, tally)));
        metrics.rolled_back(&name);
        let lines = metrics.render();
        let kept: Vec<&str> = lines.lines().filter(|l| !l.starts_with('#') && !l.ends_with(" 0")).collect();
        expect![[r#"
            pintle_plugin_calls_total{plugin="s",stage="live"} 2
            pintle_plugin_call_duration_seconds_bucket{plugin="s",stage="live",le="0.0001"} 1
            pintle_plugin_call_duration_seconds_bucket{plugin="s",stage="live",le="0.00025"} 1
            pintle_plugin_call_duration_seconds_bucket{plugin="s",stage="live",le="0.0005"} 1
            pintle_plugin_call_duration_seconds_bucket{plugin="s",stage="live",le="0.001"} 1
            pintle_plugin_call_duration_seconds_bucket{plugin="s",stage="live",le="0.0025"} 1
            pintle_plugin_call_duration_seconds_bucket{plugin="s",stage="live",le="0.01"} 1
            pintle_plugin_call_duration_seconds_bucket{plugin="s",stage="live",le="0.05"} 1
            pintle_plugin_call_duration_seconds_bucket{plugin="s",stage="live",le="0.25"} 1
            pintle_plugin_call_duration_seconds_bucket{plugin="s",stage="live",le="1"} 1
            pintle_plugin_call_duration_seconds_bucket{plugin="s",stage="live",le="10"} 1
            pintle_plugin_call_duration_seconds_bucket{plugin="s",stage="live",le="+Inf"} 2
            pintle_plugin_call_duration_seconds_sum{plugin="s",stage="live"} 60.00006
            pintle_plugin_call_duration_seconds_count{plugin="s",stage="live"} 2
            pintle_plugin_faults_total{plugin="s",stage="live",reason="DeadlineExceeded"} 1
            pintle_plugin_memory_bytes{plugin="s",stage="live"} 65536
            pintle_plugin_fuel_total{plugin="s",stage="shadow"} 1000
            pintle_plugin_compared_total{plugin="s",stage="shadow"} 1
            pintle_plugin_agreed_total{plugin="s",stage="shadow"} 1
            pintle_plugin_agreement_ratio{plugin="s",stage="shadow"} 1
            pintle_plugin_rollbacks_total{plugin="s"} 1
        "#]]
        .assert_eq(&(kept.join("\n") + "\n"));
    }
}
