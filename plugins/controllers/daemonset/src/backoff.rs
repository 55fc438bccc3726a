//! How often a failed pod is replaced on one node: a node that refuses every pod must not be hammered. Kept in memory; a fresh instance
//! starts anew.

use std::collections::HashMap;

use pintle_sdk::controller::Key;

const FIRST_SECONDS: i64 = 1;
const MAX_SECONDS: i64 = 15 * 60;

#[derive(Default)]
pub struct Backoff {
    by_set: HashMap<Key, HashMap<String, Pause>>,
}

struct Pause {
    since: i64,
    seconds: i64,
}

impl Backoff {
    /// `Err(seconds)`: not yet. `Ok`: now, and the next one on this node waits longer.
    pub fn allow(&mut self, set: Key, node: &str, now: i64) -> Result<(), i64> {
        let pauses = self.by_set.entry(set).or_default();
        pauses.retain(|_, p| now - p.since <= 2 * MAX_SECONDS);
        let next = match pauses.get(node) {
            Some(pause) if now - pause.since < pause.seconds => return Err(pause.since + pause.seconds - now),
            Some(pause) => (pause.seconds * 2).min(MAX_SECONDS),
            None => FIRST_SECONDS,
        };
        pauses.insert(node.to_owned(), Pause { since: now, seconds: next });
        Ok(())
    }

    pub fn forget(&mut self, set: &Key) {
        self.by_set.remove(set);
    }
}
