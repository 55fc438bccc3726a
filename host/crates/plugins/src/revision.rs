//! One loaded revision of a plugin, as drivers run it, and how it fares.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::grants::PolicyRule;
use crate::guest::{Fault, Limits, PluginLog};
use crate::load::Loaded;

/// Faults without [`ABSOLUTION`] good calls between them after which a revision counts as broken.
pub const STRIKES: u32 = 5;
pub const ABSOLUTION: u32 = 20;
/// Pause before a fresh instance after the second fault in a row; doubles.
const RESTART_MIN: Duration = Duration::from_millis(50);
const RESTART_MAX: Duration = Duration::from_secs(10);

pub struct Revision {
    /// The Plugin's name.
    pub plugin: Arc<str>,
    pub number: i64,
    pub loaded: Loaded,
    pub config: Arc<str>,
    pub limits: Limits,
    pub instances: u32,
    pub grants: Arc<[PolicyRule]>,
    pub log: Arc<PluginLog>,
    pub health: Health,
}

/// Counted by drivers, watched by the manager.
pub struct Health {
    calls: AtomicU64,
    traps: AtomicU64,
    strikes: AtomicU32,
    good: AtomicU32,
    last: Mutex<Option<Fault>>,
    state: watch::Sender<State>,
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

impl Default for Health {
    fn default() -> Self {
        Self {
            calls: AtomicU64::new(0),
            traps: AtomicU64::new(0),
            strikes: AtomicU32::new(0),
            good: AtomicU32::new(0),
            last: Mutex::default(),
            state: watch::Sender::default(),
        }
    }
}

impl Health {
    pub fn returned(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.strikes.load(Ordering::Relaxed) > 0 && self.good.fetch_add(1, Ordering::Relaxed) + 1 >= ABSOLUTION {
            self.strikes.store(0, Ordering::Relaxed);
            self.turn(State::Good);
        }
    }

    /// Counts a fault and says how long to wait before the next instance.
    pub fn failed(&self, fault: &Fault) -> Duration {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.traps.fetch_add(1, Ordering::Relaxed);
        self.good.store(0, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(|e| e.into_inner()) = Some(fault.clone());
        let strikes = self.strikes.fetch_add(1, Ordering::Relaxed) + 1;
        self.turn(if strikes >= STRIKES { State::Broken } else { State::Faulty });
        match strikes {
            1 => Duration::ZERO,
            n => RESTART_MIN.saturating_mul(1 << (n - 2).min(16)).min(RESTART_MAX),
        }
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
    pub fn traps(&self) -> u64 {
        self.traps.load(Ordering::Relaxed)
    }
    pub fn last_fault(&self) -> Option<Fault> {
        self.last.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    fn turn(&self, to: State) {
        self.state.send_if_modified(|state| std::mem::replace(state, to) != to);
    }
}
