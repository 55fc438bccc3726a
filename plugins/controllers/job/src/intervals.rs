//! Sets of completion indexes, as the API writes them: `1,3-5,7`. Pure.

use std::collections::BTreeSet;

/// Ascending, neither overlapping nor adjacent: first and last of each run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intervals(Vec<(i64, i64)>);

impl Intervals {
    /// What is malformed or not below `completions` is left out.
    pub fn parse(text: &str, completions: i64) -> Self {
        let runs = text.split(',').filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (i64, i64) = (first.parse().ok()?, last.parse().ok()?);
            (first < completions).then_some((first, last.min(completions - 1)))
        });
        Self::join(runs.collect())
    }

    pub fn of(indexes: impl IntoIterator<Item = i64>) -> Self {
        Self::join(indexes.into_iter().map(|i| (i, i)).collect())
    }

    pub fn with(&self, other: &Self) -> Self {
        Self::join(self.0.iter().chain(&other.0).copied().collect())
    }

    fn join(mut runs: Vec<(i64, i64)>) -> Self {
        runs.sort_unstable();
        let mut joined: Vec<(i64, i64)> = Vec::with_capacity(runs.len());
        for (first, last) in runs {
            match joined.last_mut() {
                Some(run) if first <= run.1 + 1 => run.1 = run.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn total(&self) -> i64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    pub fn has(&self, index: i64) -> bool {
        let at = self.0.partition_point(|run| run.1 < index);
        self.0.get(at).is_some_and(|run| run.0 <= index)
    }

    /// How many indexes both have.
    pub fn overlap(&self, other: &Self) -> i64 {
        let of = |a: &(i64, i64)| other.0.iter().map(|b| (a.1.min(b.1) - a.0.max(b.0) + 1).max(0)).sum::<i64>();
        self.0.iter().map(of).sum()
    }

    /// The first `count` indexes below `end` that are missing here.
    pub fn gaps(&self, count: usize, end: i64) -> Vec<i64> {
        let mut candidate = 0;
        let mut found = Vec::new();
        for (first, last) in self.0.iter().copied().chain([(end, end)]) {
            let room = count - found.len();
            found.extend((candidate..first.min(end)).take(room));
            candidate = candidate.max(last + 1);
        }
        found
    }
}

impl From<&BTreeSet<i64>> for Intervals {
    fn from(indexes: &BTreeSet<i64>) -> Self {
        Self::of(indexes.iter().copied())
    }
}

impl std::fmt::Display for Intervals {
    /// Two neighbours stand as `1,2`, more as `1-3`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, (first, last)) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            match last - first {
                0 => write!(f, "{first}")?,
                1 => write!(f, "{first},{last}")?,
                _ => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(text: &str, expected: Expect) {
        let set = Intervals::parse(text, 10);
        expected.assert_eq(&format!("{set} total {} gaps {:?}", set.total(), set.gaps(4, 10)));
    }

    #[test]
    fn reads_and_writes() {
        check("", expect![" total 0 gaps [0, 1, 2, 3]"]);
        check("0-2,3,5", expect!["0-3,5 total 5 gaps [4, 6, 7, 8]"]);
        check("1,2,x,8-20", expect!["1,2,8,9 total 4 gaps [0, 3, 4, 5]"]);
        check("0-9", expect!["0-9 total 10 gaps []"]);
    }

    #[test]
    fn sets_join_and_overlap() {
        let set = Intervals::parse("1,3-5", 10);
        assert_eq!(set.with(&Intervals::of([2, 9])).to_string(), "1-5,9");
        assert_eq!(set.overlap(&Intervals::parse("0-4", 10)), 3);
        assert!(set.has(4) && !set.has(2) && !set.has(6));
    }
}
