//! The default policy beside upstream's scheduler: what `tests/goldens/placement` wrote down for generated clusters must come out of the
//! host's reading of the same objects and the policy, natively for all of them and as the component for some.

mod golden;
#[allow(dead_code)]
#[path = "../../../tests/runtime/guests.rs"]
mod guests;
mod judge;
mod policy;

use judge::{Score, compare};
use policy::{Native, Wasm};

/// Clusters of the corpus that the component decides, too: every so-manyth.
const AS_COMPONENT: usize = 16;

/// v1.36.3 matches the `namespaceSelector` of the pod that is decided about a second time, against no labels at all (its
/// `mergeAffinityTermNamespacesIfNotEmpty` clears the selector of a copy): one that demands absence selects every namespace then. Here it
/// selects what the API says.
const ABSENCE: &str = "upstream lets a namespaceSelector that demands absence select every namespace";

/// What differs and why it may: cluster's seed, pod, the reason. Empty is the aim.
const EXPLAINED: &[(u64, &str, &str)] =
    &[(4, "w0", ABSENCE), (16, "w1", ABSENCE), (232, "w2", ABSENCE), (232, "w3", ABSENCE), (285, "w3", ABSENCE), (311, "w3", ABSENCE)];

#[test]
fn the_policy_decides_as_upstream_does() {
    let corpus = golden::read();
    assert!(corpus.len() >= 300, "{} clusters", corpus.len());
    let score = corpus.iter().fold(Score::default(), |score, golden| score.and(golden, &compare(golden, &mut Native::default())));
    println!("{score}");
    score.demand_nothing_else_than(EXPLAINED);
}

#[test]
fn the_component_decides_as_upstream_does() {
    let corpus = golden::read();
    let mut wasm = Wasm::load();
    let some = corpus.iter().step_by(AS_COMPONENT);
    let score = some.fold(Score::default(), |score, golden| score.and(golden, &compare(golden, &mut wasm)));
    println!("as a component: {score}");
    score.demand_nothing_else_than(EXPLAINED);
}
