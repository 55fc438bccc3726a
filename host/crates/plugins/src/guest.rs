//! One instance of a component: its store, its limits, what it may ask of the host outside of its world, and how its calls end.
//!
//! A call that traps, outlives its deadline or asks for more memory than it has is a [`Fault`]; the instance is then spent and its
//! owner makes another. Drivers own instances; an instance serves one call at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pintle_plugin_bindings::common::env;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock};
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::decisions::tape::Tape;
use crate::engine::{Machine, Running};
use crate::stages::metrics::Meter;

/// Memory of an instance when the Plugin names none.
pub const DEFAULT_MEMORY_BYTES: usize = 256 << 20;
/// Elements of all tables of an instance: function pointers, mostly.
const MAX_TABLE_ELEMENTS: usize = 200_000;
/// Core instances of one component: an interpreter of Python comes as 25.
const MAX_CORE_INSTANCES: usize = 64;
/// Bytes that one call of `random` may ask for.
const MAX_RANDOM_BYTES: u32 = 4096;
/// A log line is cut here.
const MAX_LOG_BYTES: usize = 8 << 10;
/// What the host takes of one call, arguments of an import or an answer, counted as it lies in the host's memory: a list of strings may
/// name the same megabyte a million times.
const MAX_TRANSFER_BYTES: usize = 32 << 20;
/// Log lines that are kept of a plugin.
const MAX_LOG_LINES: usize = 1000;

/// What a call gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub memory_bytes: usize,
    /// For one call. Waiting for the API does not count.
    pub deadline: Duration,
}

/// How a call ends without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("trapped: {0}")]
    Trap(String),
    #[error("did not return within {} ms", .0.as_millis())]
    Deadline(Duration),
    #[error("asked for more than its {} MiB of memory", .0 >> 20)]
    Memory(usize),
    #[error("answered what means nothing: {0}")]
    Answer(String),
}

impl Fault {
    /// The reason of the `Degraded` condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Fault::Trap(_) => "Trapped",
            Fault::Deadline(_) => "DeadlineExceeded",
            Fault::Memory(_) => "OutOfMemory",
            Fault::Answer(_) => "BadAnswer",
        }
    }
}

/// What a call sees of time and chance. One moment holds for a whole call, so that another revision, or the same one later, can be asked
/// the same under the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds since 1970.
    pub now: u64,
    /// Of the call's random bytes.
    pub seed: u64,
}

impl Moment {
    pub fn present() -> Self {
        Self { now: u64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or_default(), seed: rand::random() }
    }
}

/// The last lines that a plugin logged, and where they go.
pub struct PluginLog {
    plugin: String,
    lines: Mutex<VecDeque<LogLine>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub time: jiff::Timestamp,
    pub level: &'static str,
    pub message: String,
}

/// The host's state beside an instance. `T` is what the world's own imports need.
pub struct HostState<T> {
    pub world: T,
    /// What the component hears, for the decision log and its replays.
    pub tape: Tape,
    config: Arc<str>,
    log: Arc<PluginLog>,
    limiter: Limiter,
    /// When the running call must have returned.
    deadline: Instant,
    missed_deadline: bool,
    moment: Moment,
    /// Made when the running call asks for the first random byte.
    chance: Option<StdRng>,
    wasi: WasiCtx,
    table: ResourceTable,
}

struct Limiter {
    memory_bytes: usize,
    in_use: usize,
    refused: bool,
    meter: Arc<Meter>,
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.meter.freed(self.in_use);
        self.meter.closed();
    }
}

impl PluginLog {
    pub fn new(plugin: &str) -> Arc<Self> {
        Arc::new(Self { plugin: plugin.to_owned(), lines: Mutex::default() })
    }

    pub fn write(&self, level: &'static str, message: &str) {
        let end = message.floor_char_boundary(MAX_LOG_BYTES);
        let message = &message[..end];
        match level {
            "debug" => tracing::debug!(target: "plugin", plugin = self.plugin, "{message}"),
            "info" => tracing::info!(target: "plugin", plugin = self.plugin, "{message}"),
            "warn" => tracing::warn!(target: "plugin", plugin = self.plugin, "{message}"),
            _ => tracing::error!(target: "plugin", plugin = self.plugin, "{message}"),
        }
        let mut lines = self.lines.lock().unwrap_or_else(|e| e.into_inner());
        if lines.len() == MAX_LOG_LINES {
            lines.pop_front();
        }
        lines.push_back(LogLine { time: jiff::Timestamp::now(), level, message: message.to_owned() });
    }

    pub fn lines(&self) -> Vec<LogLine> {
        self.lines.lock().unwrap_or_else(|e| e.into_inner()).iter().cloned().collect()
    }

    fn last_error(&self) -> Option<String> {
        let lines = self.lines.lock().unwrap_or_else(|e| e.into_inner());
        let errors = || lines.iter().rev().map_while(|l| (l.level == "error").then_some(l.message.as_str()));
        let last = errors().next()?;
        // Go says why first, and then where, in lines of which the last is indented.
        let why = errors().find(|l| l.starts_with("panic: ") || l.starts_with("fatal error: "));
        Some(why.filter(|_| last.starts_with('\t')).unwrap_or(last).to_owned())
    }
}

impl<T: Send + 'static> HostState<T> {
    pub fn new(world: T, config: Arc<str>, log: Arc<PluginLog>, limits: Limits) -> Self {
        Self {
            world,
            tape: Tape::default(),
            config,
            log,
            limiter: Limiter { memory_bytes: limits.memory_bytes, in_use: 0, refused: false, meter: Arc::default() },
            deadline: Instant::now(),
            missed_deadline: false,
            moment: Moment { now: 0, seed: 0 },
            chance: None,
            wasi: WasiCtxBuilder::new().build(),
            table: ResourceTable::new(),
        }
    }

    /// Counts its calls and memory there.
    pub fn metered(mut self, meter: &Arc<Meter>) -> Self {
        self.limiter.meter = meter.clone();
        meter.opened();
        self
    }

    pub fn log(&self) -> &Arc<PluginLog> {
        &self.log
    }

    /// Takes away what WASI would tell of the real time and draw of real chance.
    pub fn make_deterministic(&mut self) {
        let fixed = || Deterministic::new(vec![7, 1, 8, 2, 8, 1, 8, 2]);
        self.wasi = WasiCtxBuilder::new()
            .secure_random(fixed())
            .insecure_random(fixed())
            .insecure_random_seed(0)
            .wall_clock(StoppedClock)
            .monotonic_clock(StoppedClock)
            .build();
    }

    /// What the running call takes for the present.
    pub fn present(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(self.moment.now.into()).unwrap_or_default()
    }

    /// The time that a host call took is not the guest's.
    pub fn credit(&mut self, since: Instant) {
        self.deadline += since.elapsed();
    }

    /// A store whose guest yields at each epoch and is stopped at its call's deadline.
    pub fn into_store(self, machine: &Machine) -> Store<Self> {
        let mut store = Store::new(machine.engine(), self);
        store.limiter(|state| &mut state.limiter);
        if machine.counts_fuel() {
            // The deadline ends a call; fuel is only counted.
            let _ = store.set_fuel(u64::MAX);
        }
        store.set_hostcall_fuel(MAX_TRANSFER_BYTES);
        store.epoch_deadline_callback(|mut context| {
            let state = context.data_mut();
            if Instant::now() >= state.deadline {
                state.missed_deadline = true;
                return Ok(UpdateDeadline::Interrupt);
            }
            Ok(UpdateDeadline::Yield(1))
        });
        store
    }
}

/// An instance and its typed exports.
pub struct Guest<T: 'static, B> {
    pub store: Store<HostState<T>>,
    pub exports: B,
    machine: Machine,
}

/// A call under way: the engine's clock runs while it is held.
pub struct Call {
    deadline: Duration,
    pub moment: Moment,
    begun: Instant,
    _running: Running,
}

impl<T: Send + 'static, B> Guest<T, B> {
    pub fn new(machine: &Machine, store: Store<HostState<T>>, exports: B) -> Self {
        Self { store, exports, machine: machine.clone() }
    }

    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Before each call of an export.
    pub fn begin(&mut self, deadline: Duration) -> Call {
        begin(&self.machine, &mut self.store, deadline)
    }

    /// The same under an earlier call's moment.
    pub fn begin_at(&mut self, deadline: Duration, moment: Moment) -> Call {
        begin_at(&self.machine, &mut self.store, deadline, moment)
    }

    /// Fuel that the last call used, where the machine counts it.
    pub fn fuel(&self) -> u64 {
        self.store.get_fuel().map_or(0, |left| u64::MAX - left)
    }

    /// After it, with what it returned. The instance is spent when this is a fault.
    pub fn end<R>(&self, call: Call, outcome: wasmtime::Result<R>) -> Result<R, Fault> {
        end(&self.store, call, outcome)
    }
}

/// As [`Guest::begin`], for a store whose exports are not known yet.
pub fn begin<T: Send + 'static>(machine: &Machine, store: &mut Store<HostState<T>>, deadline: Duration) -> Call {
    begin_at(machine, store, deadline, Moment::present())
}

pub fn begin_at<T: Send + 'static>(machine: &Machine, store: &mut Store<HostState<T>>, deadline: Duration, moment: Moment) -> Call {
    let begun = Instant::now();
    let state = store.data_mut();
    (state.deadline, state.moment, state.chance) = (begun + deadline, moment, None);
    store.set_epoch_deadline(1);
    if machine.counts_fuel() {
        let _ = store.set_fuel(u64::MAX);
    }
    Call { deadline, moment, begun, _running: machine.enter() }
}

pub fn end<T: Send + 'static, R>(store: &Store<HostState<T>>, call: Call, outcome: wasmtime::Result<R>) -> Result<R, Fault> {
    let outcome = outcome.map_err(|error| fault(store.data(), call.deadline, &error));
    let meter = &store.data().limiter.meter;
    meter.call(call.begun.elapsed(), outcome.as_ref().err().map(Fault::reason));
    if let Ok(left) = store.get_fuel() {
        meter.fuel(u64::MAX - left);
    }
    outcome
}

/// The imports that every world has, and WASI's empty ones for components that ask for them.
pub fn linker<T: Send + 'static>(machine: &Machine, component: &Component) -> wasmtime::Result<Linker<HostState<T>>> {
    let mut linker = Linker::new(machine.engine());
    env::add_to_linker::<HostState<T>, HasSelf<HostState<T>>>(&mut linker, |state| state)?;
    if component.component_type().imports(machine.engine()).any(|(name, _)| name.starts_with("wasi:")) {
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    }
    Ok(linker)
}

fn fault<T>(state: &HostState<T>, deadline: Duration, error: &wasmtime::Error) -> Fault {
    if state.limiter.refused {
        return Fault::Memory(state.limiter.memory_bytes);
    }
    if state.missed_deadline {
        return Fault::Deadline(deadline);
    }
    // The engine's own type for it is private.
    if format!("{error:#}").contains("too much data is being copied") {
        return Fault::Answer(format!("more than {} MiB in one call", MAX_TRANSFER_BYTES >> 20));
    }
    // A Rust guest logs its panic before it traps: those words say more than `unreachable`.
    let trap = error.downcast_ref::<wasmtime::Trap>().map_or_else(|| format!("{error:#}"), ToString::to_string);
    Fault::Trap(match state.log.last_error() {
        Some(panic) if trap.contains("unreachable") => panic,
        _ => trap,
    })
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.in_use + desired.saturating_sub(current);
        if wanted > self.memory_bytes {
            self.refused = true;
            return Ok(false);
        }
        self.meter.grew(wanted - self.in_use);
        self.in_use = wanted;
        Ok(true)
    }
    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES
    }
}

impl<T: Send + 'static> env::Host for HostState<T> {
    fn now(&mut self) -> u64 {
        self.tape.now(|| self.moment.now)
    }
    fn random(&mut self, count: u32) -> Vec<u8> {
        let count = count.min(MAX_RANDOM_BYTES) as usize;
        let (seed, chance) = (self.moment.seed, &mut self.chance);
        self.tape.random(count, || {
            let mut bytes = vec![0; count];
            chance.get_or_insert_with(|| StdRng::seed_from_u64(seed)).fill_bytes(&mut bytes);
            bytes
        })
    }
    fn log(&mut self, level: env::Level, message: String) {
        let level = match level {
            env::Level::Debug => "debug",
            env::Level::Info => "info",
            env::Level::Warn => "warn",
            env::Level::Error => "error",
        };
        self.log.write(level, &message);
    }
    fn config(&mut self) -> String {
        self.config.to_string()
    }
}

/// It is always the beginning of 1970.
struct StoppedClock;

impl HostWallClock for StoppedClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }
    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for StoppedClock {
    fn resolution(&self) -> u64 {
        1
    }
    fn now(&self) -> u64 {
        0
    }
}

/// Guests built for wasm32-wasip2 import WASI whether they use it or not. What they get is empty: no files, no sockets, no
/// environment, closed standard streams.
impl<T: Send + 'static> WasiView for HostState<T> {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_is_told_by_what_was_said_last_or_by_go_first() {
        let log = PluginLog::new("p");
        let after = |lines: &[(&'static str, &str)]| {
            lines.iter().for_each(|(level, line)| log.write(level, line));
            log.last_error()
        };
        assert_eq!(after(&[]), None);
        let trace = [("error", "panic: as asked"), ("error", "goroutine 1 [running]:"), ("error", "main.filter()"), ("error", "\tpolicy.go:19 +0x9")];
        assert_eq!(after(&trace).as_deref(), Some("panic: as asked"));
        assert_eq!(after(&[("error", "panicked at src/lib.rs:3: no")]).as_deref(), Some("panicked at src/lib.rs:3: no"));
        assert_eq!(after(&[("info", "fine")]), None);
        assert_eq!(after(&[("error", "\tindented")]).as_deref(), Some("\tindented"), "the panic before was another call's");
    }
}
