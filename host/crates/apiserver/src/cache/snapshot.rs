//! A resource at one revision, and pages of it.

use std::ops::Bound;
use std::sync::Arc;

use super::filter::Filter;
use super::state::Objects;
use super::stored::Stored;

#[derive(Clone)]
pub struct Snapshot {
    pub(super) map: Objects,
    pub revision: u64,
}

/// Part of a list.
pub struct Page {
    pub items: Vec<Arc<Stored>>,
    /// The last key looked at, when more may follow.
    pub last_key: Option<Arc<str>>,
    /// How many objects follow; known only without selectors.
    pub remaining: Option<usize>,
}

impl Snapshot {
    pub fn get(&self, key: &str) -> Option<&Arc<Stored>> {
        self.map.get(key)
    }

    /// Matching objects after `after` in key order, at most `limit` (0: all).
    pub fn page(&self, filter: &Filter, after: Option<&str>, limit: usize) -> Page {
        let mut items = Vec::new();
        let mut rest = self.within(filter, after);
        let mut last_key = None;
        for stored in rest.by_ref() {
            if !filter.matches_inside(stored) {
                continue;
            }
            items.push(stored.clone());
            if limit != 0 && items.len() == limit {
                last_key = Some(stored.key.clone());
                break;
            }
        }
        if last_key.is_none() {
            return Page { items, last_key, remaining: None };
        }
        if filter.takes_all() {
            let remaining = rest.count();
            let last_key = last_key.filter(|_| remaining > 0);
            return Page { items, last_key, remaining: Some(remaining).filter(|n| *n > 0) };
        }
        let more = rest.any(|s| filter.matches_inside(s));
        Page { items, last_key: last_key.filter(|_| more), remaining: None }
    }

    /// Objects of the filter's namespace, whatever its selectors say.
    fn within<'a>(&'a self, filter: &'a Filter, after: Option<&str>) -> impl Iterator<Item = &'a Arc<Stored>> {
        // `/` is followed by `0`: the first key after those of the namespace.
        let ends = |last: char| if filter.namespace.is_empty() { String::new() } else { format!("{}{last}", filter.namespace) };
        let (first, end) = (ends('/'), ends('0'));
        let start = match after {
            Some(key) if *key >= *first => Bound::Excluded(key),
            _ => Bound::Included(first.as_str()),
        };
        let end = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end.as_str()) };
        // A token of another namespace: nothing follows it here.
        let empty = matches!((&start, &end), (Bound::Excluded(start), Bound::Excluded(end)) if start >= end);
        let range = (!empty).then(|| self.map.range::<_, str>((start, end)));
        range.into_iter().flatten().map(|(_, stored)| stored)
    }
}
