//! One loaded revision of a plugin, as drivers run it, and how it fares.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::engine::Machine;
use crate::grants::PolicyRule;
use crate::guest::{Fault, Limits, PluginLog};
use crate::load::Loaded;
use crate::plugin::SourceStatus;
use crate::stages::metrics::Meter;
use crate::stages::spec::{DEFAULT_FAILED_OF, DEFAULT_FAILED_PERCENT, DEFAULT_FAULTS, RollbackSpec};
use crate::throttle::Throttle;

/// Good calls that make up for all faults before them.
pub const ABSOLUTION: u32 = 20;
/// The most that a share of failures looks back on.
const MAX_FAILED_OF: u32 = 10_000;
/// Pause before a fresh instance after the second fault in a row; doubles.
const RESTART_MIN: Duration = Duration::from_millis(50);
const RESTART_MAX: Duration = Duration::from_secs(10);

pub struct Revision {
    /// The Plugin's name.
    pub plugin: Arc<str>,
    pub number: i64,
    pub loaded: Loaded,
    /// What the component was compiled for: the shadow's counts fuel.
    pub machine: Machine,
    pub meter: Arc<Meter>,
    pub config: Arc<str>,
    pub limits: Limits,
    pub instances: u32,
    pub grants: Arc<[PolicyRule]>,
    /// What a reference to a registry stood for.
    pub source: Option<SourceStatus>,
    pub log: Arc<PluginLog>,
    /// The plugin's, whatever its revision.
    pub writes: Arc<Throttle>,
    pub health: Health,
}

/// Counted by drivers, watched by the manager.
pub struct Health {
    policy: Policy,
    calls: AtomicU64,
    traps: AtomicU64,
    strikes: AtomicU32,
    good: AtomicU32,
    /// How the last decisions ended: true where they failed.
    outcomes: Mutex<Outcomes>,
    last: Mutex<Option<Trouble>>,
    state: watch::Sender<State>,
}

/// When a revision counts as broken; 0 is never.
struct Policy {
    faults: u32,
    failed_percent: usize,
    failed_of: usize,
}

#[derive(Default)]
struct Outcomes {
    failed: VecDeque<bool>,
    failing: bool,
}

/// What is wrong with a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The reason of a condition.
    pub reason: &'static str,
    pub message: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Good,
    /// It failed, and has not made good for it.
    Faulty,
    /// It keeps failing.
    Broken,
}

/// How long the next instance waits after so many faults in a row.
pub fn pause_after(faults: u32) -> Duration {
    match faults {
        0 | 1 => Duration::ZERO,
        n => RESTART_MIN.saturating_mul(1 << (n - 2).min(16)).min(RESTART_MAX),
    }
}

impl Health {
    pub fn new(spec: &RollbackSpec) -> Self {
        let policy = Policy {
            faults: spec.faults.unwrap_or(DEFAULT_FAULTS),
            failed_percent: spec.failed_percent.unwrap_or(DEFAULT_FAILED_PERCENT) as usize,
            failed_of: spec.failed_of.unwrap_or(DEFAULT_FAILED_OF).clamp(1, MAX_FAILED_OF) as usize,
        };
        Self {
            policy,
            calls: AtomicU64::new(0),
            traps: AtomicU64::new(0),
            strikes: AtomicU32::new(0),
            good: AtomicU32::new(0),
            outcomes: Mutex::default(),
            last: Mutex::default(),
            state: watch::Sender::default(),
        }
    }

    pub fn returned(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.strikes.load(Ordering::Relaxed) > 0 && self.good.fetch_add(1, Ordering::Relaxed) + 1 >= ABSOLUTION {
            self.strikes.store(0, Ordering::Relaxed);
            self.turn(State::Good);
        }
    }

    /// How a reconciliation or decision that returned ended, by the plugin's own word.
    pub fn decided(&self, failed: bool) {
        let Policy { failed_percent, failed_of, .. } = self.policy;
        if failed_percent == 0 {
            return;
        }
        let mut outcomes = self.outcomes.lock().unwrap_or_else(|e| e.into_inner());
        outcomes.failed.push_back(failed);
        if outcomes.failed.len() > failed_of {
            outcomes.failed.pop_front();
        }
        if outcomes.failed.len() < failed_of || !failed && !outcomes.failing {
            return;
        }
        let count = outcomes.failed.iter().filter(|f| **f).count();
        let failing = count * 100 >= failed_percent * failed_of;
        if failing == outcomes.failing {
            return;
        }
        outcomes.failing = failing;
        drop(outcomes);
        if failing {
            let message = format!("failed {count} of its last {failed_of} decisions");
            *self.last.lock().unwrap_or_else(|e| e.into_inner()) = Some(Trouble { reason: "DecisionsFailed", message });
        }
        self.turn(if failing { State::Broken } else { State::Good });
    }

    /// Counts a fault and says how long to wait before the next instance.
    pub fn failed(&self, fault: &Fault) -> Duration {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.traps.fetch_add(1, Ordering::Relaxed);
        self.good.store(0, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(|e| e.into_inner()) = Some(Trouble { reason: fault.reason(), message: fault.to_string() });
        let strikes = self.strikes.fetch_add(1, Ordering::Relaxed) + 1;
        self.turn(if self.policy.faults > 0 && strikes >= self.policy.faults { State::Broken } else { State::Faulty });
        pause_after(strikes)
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
    pub fn traps(&self) -> u64 {
        self.traps.load(Ordering::Relaxed)
    }
    pub fn trouble(&self) -> Option<Trouble> {
        self.last.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    fn turn(&self, to: State) {
        self.state.send_if_modified(|state| std::mem::replace(state, to) != to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(faults: Option<u32>, failed_percent: Option<u32>, failed_of: Option<u32>) -> Health {
        Health::new(&RollbackSpec { faults, failed_percent, failed_of })
    }
    fn state(health: &Health) -> State {
        *health.state().borrow()
    }

    #[test]
    fn faults_break_it_and_good_calls_absolve_it() {
        let health = health(Some(3), None, None);
        let fault = Fault::Trap("x".to_owned());
        health.failed(&fault);
        health.failed(&fault);
        assert_eq!(state(&health), State::Faulty);
        (0..ABSOLUTION).for_each(|_| health.returned());
        assert_eq!(state(&health), State::Good);
        for _ in 0..3 {
            health.failed(&fault);
        }
        assert_eq!(state(&health), State::Broken);
        assert_eq!(health.trouble().map(|t| t.reason), Some("Trapped"));
    }

    #[test]
    fn zero_faults_is_never() {
        let health = health(Some(0), None, None);
        for _ in 0..100 {
            health.failed(&Fault::Trap("x".to_owned()));
        }
        assert_eq!(state(&health), State::Faulty);
    }

    #[test]
    fn a_share_of_failures_breaks_it_once_enough_were_seen() {
        let health = health(None, Some(50), Some(4));
        [true, true, true].into_iter().for_each(|failed| health.decided(failed));
        assert_eq!(state(&health), State::Good, "three are too few to judge by");
        health.decided(false);
        health.decided(true);
        assert_eq!(state(&health), State::Broken);
        assert_eq!(health.trouble().map(|t| t.message), Some("failed 3 of its last 4 decisions".to_owned()));
        (0..3).for_each(|_| health.decided(false));
        assert_eq!(state(&health), State::Good);
    }
}
