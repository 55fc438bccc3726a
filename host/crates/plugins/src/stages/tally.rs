//! Counts how a candidate fares beside the live revision: agreement over the last decisions, the last differences, and whether it may be
//! promoted. Drivers count, the actor reads; bounded whatever happens.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use super::spec::{DEFAULT_DECISIONS, Difference, MAX_DECISIONS, PromoteWhen};
use super::sums::Sums;

/// Differences that `status.candidate.differences` lists.
pub const MAX_DIFFERENCES: usize = 10;
/// Bytes of each side of a difference, and of each reason.
const MAX_SIDE_BYTES: usize = 1024;
const MAX_REASON_BYTES: usize = 256;
const MAX_REASONS: usize = 12;

pub struct Tally {
    counts: Mutex<Counts>,
    when: Option<PromoteWhen>,
    /// Woken when `promoteWhen` holds.
    pub promotable: Notify,
}

#[derive(Default)]
struct Counts {
    compared: u64,
    agreed: u64,
    skipped: u64,
    feasible_differs: u64,
    faults: u64,
    fuel: u64,
    metered: u64,
    /// The last decisions, newest last: true where they agreed.
    window: VecDeque<bool>,
    agreed_in_window: usize,
    differences: VecDeque<Difference>,
    last_fault: String,
}

impl Tally {
    pub fn new(when: Option<PromoteWhen>) -> Self {
        Self { counts: Mutex::default(), when, promotable: Notify::new() }
    }

    /// Goes on with what was counted before the process started again. The look back begins anew.
    pub fn resume(&self, before: &Sums) {
        let mut counts = self.lock();
        (counts.compared, counts.agreed, counts.faults) = (before.compared, before.agreed, before.faults);
        (counts.skipped, counts.feasible_differs) = (before.skipped, before.feasible_differs);
        (counts.fuel, counts.metered) = (before.fuel, before.metered);
        counts.last_fault.clone_from(&before.last_fault);
        counts.differences = before.differences.iter().cloned().collect();
    }

    pub fn agreed(&self) {
        self.count(true);
        if self.may_promote() {
            self.promotable.notify_one();
        }
    }

    pub fn disagreed(&self, difference: Difference) {
        self.count(false);
        self.note(difference);
    }

    /// A decision of a canary that failed: nothing to compare it with.
    pub fn failed(&self) {
        self.count(false);
    }

    /// The same decision on other grounds.
    pub fn feasible_differs(&self, difference: Difference) {
        self.lock().feasible_differs += 1;
        self.note(difference);
    }

    pub fn skipped(&self) {
        self.lock().skipped += 1;
    }

    pub fn fault(&self, difference: Difference) {
        let mut counts = self.lock();
        counts.faults += 1;
        counts.last_fault.clone_from(&difference.candidate);
        drop(counts);
        self.disagreed(difference);
    }

    pub fn fuel(&self, used: u64) {
        let mut counts = self.lock();
        counts.fuel = counts.fuel.saturating_add(used);
        counts.metered += 1;
    }

    /// Something to show that is no decision, such as other watches.
    pub fn note(&self, difference: Difference) {
        let mut counts = self.lock();
        if counts.differences.len() == MAX_DIFFERENCES {
            counts.differences.pop_front();
        }
        counts.differences.push_back(cut(difference));
    }

    /// Whether `promoteWhen` holds. Without one nothing is promoted by itself.
    pub fn may_promote(&self) -> bool {
        let Some(when) = &self.when else { return false };
        let counts = self.lock();
        holds(when, counts.faults, counts.window.len(), counts.share())
    }

    /// The same over what several servers counted.
    pub fn may_promote_by(&self, sums: &Sums) -> bool {
        let share = sums.agreement().unwrap_or_default();
        self.when.as_ref().is_some_and(|when| holds(when, sums.faults, usize::try_from(sums.looked_back).unwrap_or(usize::MAX), share))
    }

    pub fn compared(&self) -> (u64, u64) {
        let counts = self.lock();
        (counts.compared, counts.agreed)
    }

    /// The agreement over the window, and over how many decisions.
    pub fn agreement(&self) -> Option<f64> {
        let counts = self.lock();
        (!counts.window.is_empty()).then(|| counts.share())
    }

    pub fn sums(&self) -> Sums {
        let counts = self.lock();
        Sums {
            compared: counts.compared,
            agreed: counts.agreed,
            skipped: counts.skipped,
            feasible_differs: counts.feasible_differs,
            faults: counts.faults,
            fuel: counts.fuel,
            metered: counts.metered,
            looked_back: counts.window.len() as u64,
            agreed_lately: counts.agreed_in_window as u64,
            last_fault: counts.last_fault.clone(),
            differences: counts.differences.iter().cloned().collect(),
        }
    }

    fn count(&self, agreed: bool) {
        let bound = self.when.as_ref().map_or(DEFAULT_DECISIONS as usize, needed);
        let mut counts = self.lock();
        counts.compared += 1;
        counts.agreed += u64::from(agreed);
        while counts.window.len() >= bound {
            let dropped = counts.window.pop_front().unwrap_or_default();
            counts.agreed_in_window -= usize::from(dropped);
        }
        counts.window.push_back(agreed);
        counts.agreed_in_window += usize::from(agreed);
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Counts {
    fn share(&self) -> f64 {
        self.agreed_in_window as f64 / self.window.len().max(1) as f64
    }
}

fn needed(when: &PromoteWhen) -> usize {
    when.decisions.unwrap_or(DEFAULT_DECISIONS).clamp(1, MAX_DECISIONS) as usize
}

fn holds(when: &PromoteWhen, faults: u64, looked_back: usize, share: f64) -> bool {
    let faultless = faults == 0 || when.no_faults == Some(false);
    faultless && looked_back >= needed(when) && share >= when.agreement.unwrap_or(1.0)
}

fn cut(mut difference: Difference) -> Difference {
    let shorten = |text: &mut String, bytes: usize| {
        if text.len() > bytes {
            text.truncate(text.floor_char_boundary(bytes));
            text.push_str("...");
        }
    };
    shorten(&mut difference.live, MAX_SIDE_BYTES);
    shorten(&mut difference.candidate, MAX_SIDE_BYTES);
    shorten(&mut difference.subject, MAX_REASON_BYTES);
    difference.reasons.truncate(MAX_REASONS);
    difference.reasons.iter_mut().for_each(|r| shorten(r, MAX_REASON_BYTES));
    if difference.time.is_empty() {
        difference.time = crate::events::time();
    }
    difference
}

#[cfg(test)]
mod tests {
    use super::super::spec::CandidateStatus;
    use super::*;
    use expect_test::{Expect, expect};

    fn when(agreement: f64, decisions: u32) -> Option<PromoteWhen> {
        Some(PromoteWhen { agreement: Some(agreement), decisions: Some(decisions), no_faults: None })
    }
    fn differs(n: usize) -> Difference {
        Difference { time: "t".to_owned(), subject: format!("pod n/{n}"), live: "a".repeat(2 * MAX_SIDE_BYTES), ..Difference::default() }
    }
    /// `.` agrees, `x` disagrees, `!` is a fault; a `P` follows each decision after which it may be promoted.
    fn check(when: Option<PromoteWhen>, decisions: &str, expected: Expect) {
        let tally = Tally::new(when);
        let mut line = String::new();
        for (n, decision) in decisions.chars().enumerate() {
            match decision {
                '.' => tally.agreed(),
                'x' => tally.disagreed(differs(n)),
                _ => tally.fault(differs(n)),
            }
            line.push(decision);
            if tally.may_promote() {
                line.push('P');
            }
        }
        let mut status = CandidateStatus { stage: "Shadow".to_owned(), ..CandidateStatus::default() };
        assert_eq!(tally.may_promote_by(&tally.sums()), tally.may_promote());
        tally.sums().write(&mut status);
        line.push_str(&format!(" {}/{} {} faults {}", status.agreed, status.compared, status.agreement, status.faults));
        expected.assert_eq(&line);
    }

    #[test]
    fn it_is_promoted_when_the_last_decisions_agree_and_nothing_trapped() {
        check(when(1.0, 3), "..x....", expect!["..x...P.P 6/7 100% faults 0"]);
        check(when(0.75, 4), "..x.x....", expect!["..x.Px..P.P.P 7/9 100% faults 0"]);
        check(when(0.0, 2), "xx!", expect!["xxP! 0/3 0% faults 1"]);
        check(None, "....", expect![".... 4/4 100% faults 0"]);
        let forgiving = Some(PromoteWhen { no_faults: Some(false), decisions: Some(2), agreement: None });
        check(forgiving, "!..", expect!["!..P 2/3 100% faults 1"]);
    }

    #[test]
    fn one_disagreement_shows_and_differences_are_bounded() {
        let tally = Tally::new(when(0.5, 100_000));
        (0..9_999).for_each(|_| tally.agreed());
        (0..MAX_DIFFERENCES + 5).for_each(|n| tally.disagreed(differs(n)));
        let mut status = CandidateStatus::default();
        tally.sums().write(&mut status);
        assert_eq!(status.agreement, "99.8%");
        assert_eq!(status.differences.len(), MAX_DIFFERENCES);
        assert_eq!(status.differences[0].subject, "pod n/5");
        assert_eq!(status.differences[0].live.len(), MAX_SIDE_BYTES + 3);
    }

    #[test]
    fn a_restart_goes_on_counting() {
        let tally = Tally::new(when(1.0, 2));
        tally.agreed();
        tally.disagreed(differs(0));
        let mut status = CandidateStatus::default();
        tally.sums().write(&mut status);
        let again = Tally::new(when(1.0, 2));
        again.resume(&Sums::of(&status));
        again.agreed();
        assert_eq!(again.compared(), (3, 2));
        assert!(!again.may_promote(), "the look back begins anew");
    }
}
