//! Scores of several components made one: each component's are brought to 0 to 100, multiplied by its weight, and summed. Plain sums; the
//! profile's calls are in [`super::members`].

use std::collections::HashMap;

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Ranked, Rejection};

/// What a component's best score becomes, in thousandths: the 100 of upstream's scores, fine enough that near scores stay apart.
pub const FULL: i64 = 100_000;

/// One node's sum, and what each component contributed before its weight, in the order of the components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Total {
    pub node: u32,
    pub total: i64,
    pub scores: Vec<i64>,
}

/// A component's scores with its weight. Of the nodes that it did not rank it says nothing.
pub struct Scores<'a> {
    pub weight: u32,
    pub ranked: &'a [Ranked],
}

/// Of the nodes that are left, best first. `primary`'s order decides among equals, for chance is in it.
pub fn combine(primary: &Scores<'_>, extenders: &[Scores<'_>], left: impl Fn(u32) -> bool) -> Vec<Total> {
    let nodes: Vec<u32> = primary.ranked.iter().map(|r| r.node).filter(|node| left(*node)).collect();
    let mut totals: Vec<Total> = nodes.iter().map(|node| Total { node: *node, total: 0, scores: Vec::with_capacity(1 + extenders.len()) }).collect();
    for scores in std::iter::once(primary).chain(extenders) {
        let by_node: HashMap<u32, i64> = scores.ranked.iter().map(|r| (r.node, r.score)).collect();
        let own: Vec<Option<i64>> = nodes.iter().map(|node| by_node.get(node).copied()).collect();
        for (total, score) in totals.iter_mut().zip(normalised(&own)) {
            total.total += i64::from(scores.weight) * score;
            total.scores.push(score);
        }
    }
    // Stable.
    totals.sort_by_key(|t| std::cmp::Reverse(t.total));
    totals
}

/// As upstream's `DefaultNormalizeScore`: in proportion to the best, which gets [`FULL`]. Below zero they are lifted first.
pub fn normalised(scores: &[Option<i64>]) -> Vec<i64> {
    let lowest = i128::from(scores.iter().flatten().copied().min().unwrap_or(0).min(0));
    let highest = i128::from(scores.iter().flatten().copied().max().unwrap_or(0)) - lowest;
    let one = |score: &Option<i64>| match score {
        Some(score) if highest > 0 => i64::try_from((i128::from(*score) - lowest) * i128::from(FULL) / highest).unwrap_or(FULL),
        _ => 0,
    };
    scores.iter().map(one).collect()
}

/// Several components' reasons; the same one counts once with the sum of its nodes.
pub fn merged(all: impl IntoIterator<Item = Vec<Rejection>>) -> Vec<Rejection> {
    let mut sums: Vec<Rejection> = Vec::new();
    for rejection in all.into_iter().flatten() {
        match sums.iter_mut().find(|r| r.filter == rejection.filter && r.message == rejection.message && r.resolvable == rejection.resolvable) {
            Some(known) => known.nodes = known.nodes.saturating_add(rejection.nodes),
            None => sums.push(rejection),
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(components: &[(u32, &[(u32, i64)])], without: &[u32], expected: Expect) {
        let ranked: Vec<Vec<Ranked>> =
            components.iter().map(|(_, scores)| scores.iter().map(|(node, score)| Ranked { node: *node, score: *score }).collect()).collect();
        let mut scores: Vec<Scores<'_>> = components.iter().zip(&ranked).map(|((weight, _), ranked)| Scores { weight: *weight, ranked }).collect();
        let primary = scores.remove(0);
        let lines: Vec<String> = combine(&primary, &scores, |node| !without.contains(&node))
            .iter()
            .map(|t| format!("{}: {} = {}", t.node, t.total, t.scores.iter().map(i64::to_string).collect::<Vec<_>>().join(" + ")))
            .collect();
        expected.assert_eq(&lines.join(", "));
    }

    #[test]
    fn weights_decide_between_components() {
        let (primary, cost): (&[_], &[_]) = (&[(1, 500), (2, 400), (3, 250)], &[(3, 40), (2, 30), (1, 10)]);
        check(&[(1, primary), (1, cost)], &[], expect!["2: 155000 = 80000 + 75000, 3: 150000 = 50000 + 100000, 1: 125000 = 100000 + 25000"]);
        check(&[(1, primary), (3, cost)], &[], expect!["3: 350000 = 50000 + 100000, 2: 305000 = 80000 + 75000, 1: 175000 = 100000 + 25000"]);
        check(&[(5, primary), (1, cost)], &[], expect!["1: 525000 = 100000 + 25000, 2: 475000 = 80000 + 75000, 3: 350000 = 50000 + 100000"]);
    }

    #[test]
    fn what_is_refused_counts_for_nothing_and_equals_keep_the_primarys_order() {
        check(
            &[(1, &[(7, 10), (4, 10), (9, 90)]), (1, &[(4, 1), (7, 1)])],
            &[9],
            expect!["7: 200000 = 100000 + 100000, 4: 200000 = 100000 + 100000"],
        );
    }

    #[test]
    fn scores_of_any_range() {
        check(&[(1, &[(1, 0), (2, 0)]), (2, &[(1, -50), (2, 50)])], &[], expect!["2: 200000 = 0 + 100000, 1: 0 = 0 + 0"]);
        check(&[(1, &[(1, i64::MAX), (2, i64::MIN)])], &[], expect!["1: 100000 = 100000, 2: 0 = 0"]);
        check(&[(1, &[(1, 5), (2, 5)]), (1, &[(2, 3)])], &[], expect!["2: 200000 = 100000 + 100000, 1: 100000 = 100000 + 0"]);
    }
}
