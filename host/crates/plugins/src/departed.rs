//! Objects that a watch told to be gone, for as long as the answers of their last writes may still come. Used by the index.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// More than may go away while one write returns.
const MAX_DEPARTED: usize = 1024;

/// Uids of the last ones.
#[derive(Default)]
pub struct Departed {
    order: VecDeque<Arc<str>>,
    uids: HashSet<Arc<str>>,
}

impl Departed {
    pub fn note(&mut self, uid: &Arc<str>) {
        if !self.uids.insert(uid.clone()) {
            return;
        }
        self.order.push_back(uid.clone());
        if self.order.len() > MAX_DEPARTED
            && let Some(oldest) = self.order.pop_front()
        {
            self.uids.remove(&oldest);
        }
    }

    /// It is back: it had only left what the watch selects.
    pub fn forget(&mut self, uid: &Arc<str>) {
        self.uids.remove(uid);
    }

    pub fn has(&self, uid: &Arc<str>) -> bool {
        self.uids.contains(uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_remembered() {
        let mut departed = Departed::default();
        let uid = |number: usize| Arc::from(number.to_string());
        (0..MAX_DEPARTED + 10).for_each(|number| departed.note(&uid(number)));
        assert_eq!([9, 10, MAX_DEPARTED + 9].map(|number| departed.has(&uid(number))), [false, true, true]);
        assert_eq!((departed.order.len(), departed.uids.len()), (MAX_DEPARTED, MAX_DEPARTED));
        departed.forget(&uid(10));
        assert!(!departed.has(&uid(10)));
    }
}
