//! Pods that wait for a node: active by priority and age, backing off after a failed attempt, or unschedulable until something changes
//! that could help. Pure: time is handed in. Holds each pod once, so it is bounded by the cluster's pods.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::cluster::Uid;
use super::podspec::PodSpec;
use crate::index::Entry;

/// After the first failed attempt; doubles. Upstream's figures.
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// An unschedulable pod is tried again after so long even if nothing seemed to change.
const STUCK: Duration = Duration::from_secs(300);

/// What happened in the cluster, as far as it can help a waiting pod; a set of bits.
pub type Happened = u8;
pub const NODE_CHANGED: Happened = 1;
pub const POD_GONE: Happened = 2;
pub const POD_CHANGED: Happened = 4;
pub const VOLUME_CHANGED: Happened = 8;
pub const ANYTHING: Happened = 0xff;

/// A waiting pod.
pub struct Waiting {
    pub entry: Arc<Entry>,
    pub spec: PodSpec,
    pub attempts: u32,
    /// The last message of its `PodScheduled` condition.
    pub told: String,
    /// Since when it waits in its present turn; the age in the active queue.
    since: Instant,
    state: State,
    /// Entries of the heaps count only with the pod's present turn.
    turn: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    Backoff,
    /// What may help.
    Unschedulable(Happened),
    Gated,
    /// Handed out at this count of happenings: being decided or bound.
    Out(u64),
}

pub struct Queue {
    pods: HashMap<Uid, Waiting>,
    /// The unschedulable ones, so that what happens looks at no others.
    parked: HashSet<Uid>,
    /// Counts what happened; `last` has the count at which each bit happened last.
    happenings: u64,
    last: [u64; Happened::BITS as usize],
    active: BinaryHeap<(i32, Reverse<Instant>, Reverse<u64>, Uid)>,
    later: BinaryHeap<Reverse<(Instant, u64, Uid)>>,
    turns: u64,
}

impl Default for Queue {
    fn default() -> Self {
        // Counts begin at 1: a pod that was handed out at 0 is one that changed meanwhile.
        let (pods, parked, active, later) = (HashMap::new(), HashSet::new(), BinaryHeap::new(), BinaryHeap::new());
        Self { pods, parked, happenings: 1, last: Default::default(), active, later, turns: 0 }
    }
}

impl Queue {
    /// A pod without a node, new or changed.
    pub fn upsert(&mut self, entry: Arc<Entry>, spec: PodSpec, now: Instant) {
        let uid = entry.meta.uid.clone();
        let turn = self.next_turn();
        let Some(known) = self.pods.get_mut(&uid) else {
            let state = if spec.gated { State::Gated } else { State::Active };
            let told = spec.told.clone();
            let (priority, gated) = (spec.pod.priority, spec.gated);
            self.pods.insert(uid.clone(), Waiting { entry, spec, attempts: 0, told, since: now, state, turn });
            if !gated {
                self.active.push((priority, Reverse(now), Reverse(turn), uid));
            }
            return;
        };
        // Its own status says nothing new about where it can go.
        let same = known.spec.pod == spec.pod && known.spec.gated == spec.gated && known.spec.claims == spec.claims;
        known.entry = entry;
        known.spec = spec;
        if same {
            return;
        }
        match known.state {
            // Decided as it was: whatever comes of that, it is looked at again.
            State::Out(_) => known.state = State::Out(0),
            _ if known.spec.gated => {
                known.state = State::Gated;
                self.parked.remove(&uid);
            }
            State::Backoff => {}
            State::Active | State::Gated | State::Unschedulable(_) => self.activate(&uid, now),
        }
    }

    pub fn remove(&mut self, uid: &str) -> Option<Waiting> {
        self.parked.remove(uid);
        self.pods.remove(uid)
    }

    pub fn get(&self, uid: &str) -> Option<&Waiting> {
        self.pods.get(uid)
    }

    pub fn get_mut(&mut self, uid: &str) -> Option<&mut Waiting> {
        self.pods.get_mut(uid)
    }

    /// The most important pod that is due; it stays in the queue as handed out until one of the calls below settles it.
    pub fn pop(&mut self, now: Instant) -> Option<Uid> {
        self.wake(now);
        while let Some((_, _, Reverse(turn), uid)) = self.active.pop() {
            if let Some(pod) = self.pods.get_mut(&uid)
                && pod.turn == turn
                && pod.state == State::Active
            {
                pod.state = State::Out(self.happenings);
                pod.attempts += 1;
                return Some(uid);
            }
        }
        None
    }

    /// The attempt failed for a passing reason.
    pub fn back_off(&mut self, uid: &str, now: Instant) {
        let turn = self.next_turn();
        let Some((uid, pod)) = self.pods.get_key_value(uid).map(|(uid, _)| uid.clone()).and_then(|uid| Some((uid.clone(), self.pods.get_mut(&uid)?)))
        else {
            return;
        };
        (pod.state, pod.turn) = (State::Backoff, turn);
        self.later.push(Reverse((now + back_off_of(pod.attempts), turn, uid.clone())));
        self.parked.remove(&uid);
    }

    /// No node fits until something of `helps` happens.
    pub fn park(&mut self, uid: &str, helps: Happened, now: Instant) {
        let Some(pod) = self.pods.get(uid) else { return };
        // What helps happened while it was decided.
        if matches!(pod.state, State::Out(since) if self.happened_since(helps, since)) {
            return self.back_off(uid, now);
        }
        let turn = self.next_turn();
        let Some((uid, _)) = self.pods.get_key_value(uid) else { return };
        let uid = uid.clone();
        if let Some(pod) = self.pods.get_mut(&uid) {
            (pod.state, pod.turn, pod.since) = (State::Unschedulable(helps), turn, now);
            self.later.push(Reverse((now + STUCK, turn, uid.clone())));
            self.parked.insert(uid);
        }
    }

    /// Something changed: whom it may help comes back, after the rest of its back-off.
    pub fn happened(&mut self, what: Happened, now: Instant) {
        self.happenings += 1;
        for (bit, last) in self.last.iter_mut().enumerate() {
            if what & (1 << bit) != 0 {
                *last = self.happenings;
            }
        }
        let helps = |uid: &&Uid| matches!(self.pods.get(*uid).map(|p| p.state), Some(State::Unschedulable(helps)) if helps & what != 0);
        let helped: Vec<Uid> = self.parked.iter().filter(helps).cloned().collect();
        for uid in helped {
            let turn = self.next_turn();
            let Some(pod) = self.pods.get_mut(&uid) else { continue };
            let due = pod.since + back_off_of(pod.attempts);
            if due <= now {
                self.activate(&uid, now);
            } else {
                (pod.state, pod.turn) = (State::Backoff, turn);
                self.parked.remove(&uid);
                self.later.push(Reverse((due, turn, uid)));
            }
        }
    }

    /// When the next pod is due by time alone.
    pub fn next_due(&self) -> Option<Instant> {
        self.later.peek().map(|Reverse((due, _, _))| *due)
    }

    /// A pod that was handed out at 0 changed meanwhile: for it everything did.
    fn happened_since(&self, helps: Happened, since: u64) -> bool {
        since == 0 || self.last.iter().enumerate().any(|(bit, last)| helps & (1 << bit) != 0 && *last > since)
    }

    fn wake(&mut self, now: Instant) {
        while let Some(Reverse((due, _, _))) = self.later.peek() {
            if *due > now {
                return;
            }
            let Some(Reverse((_, turn, uid))) = self.later.pop() else { return };
            if self.pods.get(&uid).is_some_and(|p| p.turn == turn && matches!(p.state, State::Backoff | State::Unschedulable(_))) {
                self.activate(&uid, now);
            }
        }
    }

    fn activate(&mut self, uid: &Uid, now: Instant) {
        let turn = self.next_turn();
        self.parked.remove(uid);
        if let Some(pod) = self.pods.get_mut(uid) {
            (pod.state, pod.turn, pod.since) = (State::Active, turn, now);
            self.active.push((pod.spec.pod.priority, Reverse(now), Reverse(turn), uid.clone()));
        }
    }

    fn next_turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }
}

fn back_off_of(attempts: u32) -> Duration {
    BACKOFF_MIN.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use pintle_api::client::Served;
    use serde_json::json;

    fn add(queue: &mut Queue, uid: &str, priority: i32, gates: serde_json::Value, now: Instant) {
        let value = json!({"metadata": {"name": uid, "uid": uid}, "spec": {"priority": priority, "schedulingGates": gates}});
        let entry = Entry::parse(Served { json: Bytes::from(value.to_string()), revision: 1 }).expect("a pod");
        let spec = super::super::podspec::parse(&entry.json).expect("a pod");
        queue.upsert(entry, spec, now);
    }
    fn pop(queue: &mut Queue, now: Instant) -> String {
        queue.pop(now).map_or_else(|| "-".to_owned(), |uid| uid.to_string())
    }

    #[test]
    fn priority_before_age_and_gates_hold() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        add(&mut queue, "old", 0, json!([]), now);
        add(&mut queue, "gated", 9, json!([{"name": "g"}]), now);
        add(&mut queue, "young", 0, json!([]), now + Duration::from_millis(1));
        add(&mut queue, "high", 5, json!([]), now + Duration::from_millis(2));
        assert_eq!([(); 4].map(|()| pop(&mut queue, now)), ["high", "old", "young", "-"]);
        add(&mut queue, "gated", 9, json!([]), now);
        assert_eq!(pop(&mut queue, now), "gated");
    }

    #[test]
    fn an_unschedulable_pod_comes_back_only_for_what_helps_and_not_before_its_back_off() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        add(&mut queue, "a", 0, json!([]), start);
        queue.pop(start);
        queue.park("a", NODE_CHANGED, start);
        queue.happened(POD_GONE, start + Duration::from_secs(5));
        assert_eq!(pop(&mut queue, start + Duration::from_secs(5)), "-");
        queue.happened(NODE_CHANGED, start + Duration::from_millis(300));
        assert_eq!(pop(&mut queue, start + Duration::from_millis(900)), "-");
        assert_eq!(pop(&mut queue, start + Duration::from_secs(1)), "a");
        queue.happened(NODE_CHANGED, start + Duration::from_secs(1));
        queue.park("a", NODE_CHANGED, start + Duration::from_secs(1));
        assert_eq!(pop(&mut queue, start + Duration::from_secs(3)), "a", "what helps happened while it was decided");
    }

    #[test]
    fn a_stuck_pod_is_tried_again() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        add(&mut queue, "a", 0, json!([]), start);
        queue.pop(start);
        queue.park("a", NODE_CHANGED, start);
        assert_eq!(pop(&mut queue, start + STUCK), "a");
    }
}
