//! Two schedulers' answers for one pod side by side, and the words for what differs. Pure.

use std::collections::BTreeMap;

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Attempt, Outcome, Preemption, Ranking, Reason, Rejection};

use super::weigh::{FULL, normalised};

/// Of the 100 that the best node gets: scores that are nearer to each other are the same.
const POINT: i64 = FULL / 100;

pub const FEASIBLE: &str = "Feasible";

pub fn best(outcome: &Result<Outcome, String>) -> Option<u32> {
    match outcome {
        Ok(Outcome::Fits(choice)) => choice.ranked.first().map(|r| r.node),
        _ => None,
    }
}

/// The kind of the difference, if there is one. Nodes of equal score stand in any order: the other's choice is as good.
pub fn differ(live: &Result<Outcome, String>, candidate: &Result<Outcome, String>) -> Option<&'static str> {
    match (live, candidate) {
        (Ok(Outcome::Fits(live)), Ok(Outcome::Fits(candidate))) => {
            let (chosen, best) = (live.ranked.first()?, candidate.ranked.first());
            let equal = candidate.ranked.iter().take_while(|r| best.is_some_and(|b| b.score == r.score)).any(|r| r.node == chosen.node);
            if !equal {
                return Some("Choice");
            }
            (live.feasible != candidate.feasible).then_some(FEASIBLE)
        }
        (Ok(Outcome::None(_)), Ok(Outcome::None(_))) | (Err(_), Err(_)) => None,
        _ => Some("Choice"),
    }
}

pub fn same_preemption(live: &Result<Attempt, String>, candidate: &Result<Attempt, String>) -> bool {
    match (live, candidate) {
        (Ok(Attempt::Evict(a)), Ok(Attempt::Evict(b))) => {
            let sorted = |p: &Preemption| {
                let mut victims = p.victims.clone();
                victims.sort();
                victims
            };
            a.node == b.node && sorted(a) == sorted(b)
        }
        (Ok(Attempt::None(_)), Ok(Attempt::None(_))) | (Err(_), Err(_)) => true,
        _ => false,
    }
}

/// Two extenders' words on the same nodes: the kind of the difference, and the nodes that show it, two at most. Scores are compared as they
/// count, in proportion to each one's best.
pub fn rankings_differ(live: &Result<Ranking, String>, candidate: &Result<Ranking, String>) -> Option<(&'static str, Vec<u32>)> {
    let (live, candidate) = match (live, candidate) {
        (Ok(live), Ok(candidate)) => (scores(live), scores(candidate)),
        (Err(_), Err(_)) => return None,
        _ => return Some(("Outcome", Vec::new())),
    };
    let only = |a: &BTreeMap<u32, i64>, b: &BTreeMap<u32, i64>| a.keys().copied().find(|node| !b.contains_key(node));
    let shown: Vec<u32> = [only(&live, &candidate), only(&candidate, &live)].into_iter().flatten().collect();
    if !shown.is_empty() {
        return Some(("Filter", shown));
    }
    let gap = |node: &u32| candidate[node] - live[node];
    let (up, down) = (live.keys().max_by_key(|node| gap(node))?, live.keys().min_by_key(|node| gap(node))?);
    let shown: Vec<u32> = [up, down].into_iter().filter(|node| gap(node).abs() >= POINT).copied().collect();
    (!shown.is_empty()).then_some(("Scores", shown))
}

/// What each node that is kept contributes.
fn scores(ranking: &Ranking) -> BTreeMap<u32, i64> {
    let own: Vec<Option<i64>> = ranking.ranked.iter().map(|r| Some(r.score)).collect();
    ranking.ranked.iter().map(|r| r.node).zip(normalised(&own)).collect()
}

pub fn rejected(side: &str, r: &Rejection) -> String {
    format!("{side} rejects {} node(s): {}: {}", r.nodes, r.filter, r.message)
}

/// Rejections node by node, and criteria whose scores differ between the nodes.
pub fn explained(told: &[(String, Vec<Reason>)]) -> Vec<String> {
    let mut lines = Vec::new();
    for (node, reasons) in told {
        let of = |r: &Reason| r.rejected.as_ref().map(|why| format!("the candidate rejects {node}: {}: {why}", r.criterion));
        lines.extend(reasons.iter().filter_map(of));
    }
    let [(first, a), (second, b)] = told else { return lines };
    let score = |reasons: &[Reason], criterion: &str| reasons.iter().find(|r| r.criterion == criterion).and_then(|r| r.score);
    for reason in a.iter().filter(|r| r.score.is_some()) {
        let (x, y) = (reason.score.unwrap_or_default(), score(b, &reason.criterion).unwrap_or_default());
        if x != y {
            lines.push(format!("the candidate scores {}: {first} {x}, {second} {y}", reason.criterion));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Choice, Ranked};

    fn fits(ranked: &[(u32, i64)], feasible: u32) -> Result<Outcome, String> {
        let ranked = ranked.iter().map(|(node, score)| Ranked { node: *node, score: *score }).collect();
        Ok(Outcome::Fits(Choice { ranked, feasible, looked_at: 3, next_start: 0 }))
    }
    fn none() -> Result<Outcome, String> {
        Ok(Outcome::None(Vec::new()))
    }

    #[test]
    fn a_tie_is_no_difference_and_another_count_is_told_apart() {
        assert_eq!(differ(&fits(&[(1, 9)], 2), &fits(&[(1, 5)], 2)), None);
        assert_eq!(differ(&fits(&[(1, 9)], 2), &fits(&[(2, 5), (1, 5)], 2)), None);
        assert_eq!(differ(&fits(&[(1, 9)], 2), &fits(&[(2, 5), (1, 4)], 2)), Some("Choice"));
        assert_eq!(differ(&fits(&[(1, 9)], 2), &fits(&[(1, 5)], 1)), Some("Feasible"));
        assert_eq!(differ(&fits(&[(1, 9)], 2), &none()), Some("Choice"));
        assert_eq!(differ(&none(), &fits(&[(1, 9)], 2)), Some("Choice"));
        assert_eq!(differ(&none(), &none()), None);
        assert_eq!(differ(&none(), &Err("x".to_owned())), Some("Choice"));
    }

    fn ranking(ranked: &[(u32, i64)]) -> Result<Ranking, String> {
        let ranked = ranked.iter().map(|(node, score)| Ranked { node: *node, score: *score }).collect();
        Ok(Ranking { ranked, rejections: Vec::new() })
    }

    #[test]
    fn scores_count_in_proportion_and_refusals_first() {
        let differ = |a: &[(u32, i64)], b: &[(u32, i64)]| rankings_differ(&ranking(a), &ranking(b));
        assert_eq!(differ(&[(1, 100), (2, 50)], &[(2, 5), (1, 10)]), None);
        assert_eq!(differ(&[(1, 1000), (2, 500)], &[(1, 1000), (2, 505)]), None, "half a point");
        assert_eq!(differ(&[(1, 100), (2, 50)], &[(1, 100), (2, 60)]), Some(("Scores", vec![2])));
        assert_eq!(differ(&[(1, 100), (2, 50)], &[(1, 50), (2, 100)]), Some(("Scores", vec![2, 1])));
        assert_eq!(differ(&[(1, 1), (2, 2)], &[(2, 1)]), Some(("Filter", vec![1])));
        assert_eq!(differ(&[(1, 1)], &[(2, 1)]), Some(("Filter", vec![1, 2])));
        assert_eq!(differ(&[], &[]), None);
        assert_eq!(rankings_differ(&Err("x".to_owned()), &Err("y".to_owned())), None);
        assert_eq!(rankings_differ(&Err("x".to_owned()), &ranking(&[])), Some(("Outcome", Vec::new())));
    }

    #[test]
    fn reasons_name_what_is_rejected_and_what_scores_differ() {
        let reason = |criterion: &str, rejected: Option<&str>, score| Reason {
            stage: String::new(),
            criterion: criterion.to_owned(),
            rejected: rejected.map(str::to_owned),
            score,
        };
        let told = [
            ("a".to_owned(), vec![reason("Cost", None, Some(10)), reason("Spread", None, Some(5))]),
            ("b".to_owned(), vec![reason("Cost", None, Some(90)), reason("Spread", None, Some(5)), reason("Taints", Some("no"), None)]),
        ];
        expect![[r#"
            [
                "the candidate rejects b: Taints: no",
                "the candidate scores Cost: a 10, b 90",
            ]
        "#]]
        .assert_debug_eq(&explained(&told));
    }
}
