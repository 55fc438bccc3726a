//! What evaluating costs, and the end of it: no expression holds a thread or memory for long.
//!
//! The unit and most prices are upstream's (`cel-go`'s cost tracker and Kubernetes' own estimator). An evaluation runs in one go on one
//! thread, so what it has left is the thread's. Once a charge failed all that follow fail, whatever `||` made of the first.
//!
//! Beyond upstream's prices, copies are paid for (a quarter of a value's weight), for the evaluator copies what upstream shares.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cel::ExecutionError;
use cel::common::types::{CelBytes, CelList, CelMap, CelString};
use cel::common::value::Val;

/// What one evaluation of one expression may cost.
pub const CALL_LIMIT: u64 = 1_000_000;
/// What all expressions may cost that one object, or one policy with one binding's parameters, brings about.
pub const BUDGET: u64 = 10_000_000;
/// What the match conditions of one webhook or policy may cost.
pub const CONDITIONS_BUDGET: u64 = 2_500_000;

/// Bytes of text that weigh as much as one value.
const BYTES_A_NODE: u64 = 16;

pub const CALL_EXCEEDED: &str = "operation cancelled: actual cost limit exceeded";
pub const BUDGET_EXCEEDED: &str = "validation failed due to running out of cost budget, no further validation rules will be run";

/// What expressions that belong together have left; clones share it.
#[derive(Clone, Debug)]
pub struct Budget(Arc<AtomicU64>);

impl Budget {
    pub fn new(units: u64) -> Self {
        Self(Arc::new(AtomicU64::new(units)))
    }
    /// Nothing is left.
    pub fn is_closed(&self) -> bool {
        self.left() == 0
    }
    pub fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
    fn set(&self, left: u64) {
        self.0.store(left, Ordering::Relaxed);
    }
    pub fn replace(&self, left: u64) -> u64 {
        self.0.swap(left, Ordering::Relaxed)
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(BUDGET)
    }
}

/// Sizes of an argument, noted before the call that they are charged for.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Bytes of a text, or entries; 1 of what has neither.
    pub len: u64,
    pub weight: u64,
    /// Bytes of all texts in it.
    pub text: u64,
}

struct Meter {
    left: Cell<u64>,
    exhausted: Cell<bool>,
    sizes: RefCell<Vec<Size>>,
}

thread_local! {
    static METER: Meter = const { Meter { left: Cell::new(CALL_LIMIT), exhausted: Cell::new(false), sizes: RefCell::new(Vec::new()) } };
}

/// Runs an evaluation within the budget. An evaluation that ran out fails, whatever it made of it.
pub fn metered<T>(budget: &Budget, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let whole = budget.left();
    let limit = whole.min(CALL_LIMIT);
    METER.with(|meter| {
        meter.left.set(limit);
        meter.exhausted.set(false);
        meter.sizes.borrow_mut().clear();
    });
    let result = work();
    METER.with(|meter| {
        let exhausted = meter.exhausted.replace(false);
        budget.set(whole - limit + if exhausted { 0 } else { meter.left.get() });
        meter.left.set(CALL_LIMIT);
        match (exhausted, limit < CALL_LIMIT) {
            (false, _) => result,
            (true, true) => Err(BUDGET_EXCEEDED.to_owned()),
            (true, false) => Err(CALL_EXCEEDED.to_owned()),
        }
    })
}

pub fn is_exhausted() -> bool {
    METER.with(|meter| meter.exhausted.get())
}

pub fn charge(cost: u64) -> Result<(), ExecutionError> {
    METER.with(|meter| match meter.left.get().checked_sub(cost) {
        Some(left) if !meter.exhausted.get() => {
            meter.left.set(left);
            Ok(())
        }
        _ => {
            meter.exhausted.set(true);
            Err(ExecutionError::function_error("cost", CALL_EXCEEDED))
        }
    })
}

/// For going over a text once.
pub fn charge_text(text: &str) -> Result<(), ExecutionError> {
    charge(tenth(text.len() as u64))
}

/// For a regular expression over a text.
pub fn charge_match(text: usize, pattern: usize) -> Result<(), ExecutionError> {
    charge(tenth(text as u64 + 1).saturating_mul((pattern as u64).div_ceil(4)))
}

pub fn tenth(size: u64) -> u64 {
    size.div_ceil(10)
}

pub fn note(size: Size) {
    METER.with(|meter| meter.sizes.borrow_mut().push(size));
}

/// The sizes noted last, in the order in which they were.
pub fn noted(count: usize) -> Vec<Size> {
    METER.with(|meter| {
        let mut sizes = meter.sizes.borrow_mut();
        let from = sizes.len().saturating_sub(count);
        sizes.split_off(from)
    })
}

/// How many values a value holds, long texts counting for more.
pub fn weight(value: &dyn Val) -> u64 {
    size(value).weight
}

pub fn size(value: &dyn Val) -> Size {
    if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        return of_text(text.inner().len());
    }
    if let Some(bytes) = value.downcast_ref::<CelBytes<'_>>() {
        return of_text(bytes.inner().len());
    }
    if let Some(list) = value.downcast_ref::<CelList<'_>>() {
        return list.inner().iter().map(|item| size(&**item)).fold(of_many(list.inner().len()), plus);
    }
    if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        let entries = map.inner().iter().map(|(key, value)| plus(size(key.inner()), size(&**value)));
        return entries.fold(of_many(map.inner().len()), plus);
    }
    if let Some(optional) = value.downcast_ref::<cel::common::types::CelOptional<'_>>().and_then(|o| o.inner()) {
        return size(optional);
    }
    Size { len: 1, weight: 1, text: 0 }
}

/// The same without looking into lists and maps.
pub fn shallow(value: &dyn Val) -> Size {
    if let Some(list) = value.downcast_ref::<CelList<'_>>() {
        of_many(list.inner().len())
    } else if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        of_many(map.inner().len())
    } else {
        size(value)
    }
}

fn of_text(bytes: usize) -> Size {
    let bytes = bytes as u64;
    Size { len: bytes, weight: 1 + bytes / BYTES_A_NODE, text: bytes }
}

fn of_many(entries: usize) -> Size {
    Size { len: entries as u64, weight: 1, text: 0 }
}

fn plus(sum: Size, one: Size) -> Size {
    Size { len: sum.len, weight: sum.weight + one.weight, text: sum.text + one.text }
}

/// What it costs to go over all of a value.
pub fn traversal(value: &dyn Val) -> u64 {
    let size = size(value);
    size.weight + size.text / 10
}
