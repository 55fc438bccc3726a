//! The policy natively: a small cluster is fed, a pod is asked about, the answer is compared.

use expect_test::{Expect, expect};
use pintle_sdk::scheduler::*;
use pintle_sdk::{Env, Level};

use crate::DefaultScheduler;

struct Fixed;

impl Env for Fixed {
    fn now_nanoseconds(&self) -> u64 {
        0
    }
    fn random(&self, count: u32) -> Vec<u8> {
        vec![1; count as usize]
    }
    fn log(&self, _level: Level, _message: &str) {}
    fn config(&self) -> String {
        String::new()
    }
}

const GIB: i64 = 1 << 30;

/// Three nodes, 4 CPUs and 8 GiB each, in zones a, a, b.
fn three_nodes() -> DefaultScheduler {
    let mut scheduler = DefaultScheduler::default();
    for (id, zone) in [(0, "a"), (1, "a"), (2, "b")] {
        let mut node = Node::sized(id, &format!("n{id}"), 4000, 8 * GIB, 10);
        node.labels.push(Pair::new("zone", zone));
        scheduler.feed(&Fixed, vec![Delta::UpsertNode(node)]);
    }
    scheduler
}

fn asking(name: &str, milli_cpu: i64, memory: i64) -> Pod {
    let requests = Resources { milli_cpu, memory, ..Resources::default() };
    Pod { requests, scored_milli_cpu: milli_cpu, scored_memory: memory, ..Pod::named(name) }
}

fn place(scheduler: &mut DefaultScheduler, pod: Pod, node: u32) {
    scheduler.feed(&Fixed, vec![Delta::Place(Placement { pod, node })]);
}

fn requirement(key: &str, value: &str) -> Requirement {
    Requirement { key: key.to_owned(), operator: Operator::In, values: vec![value.to_owned()] }
}

fn near(topology_key: &str, app: &str) -> PodAffinityTerm {
    PodAffinityTerm {
        selector: Some(vec![requirement("app", app)]),
        namespaces: vec!["default".to_owned()],
        namespace_selector: None,
        topology_key: topology_key.to_owned(),
    }
}

/// Web pods, at most one more in a zone than in another.
fn spread_over_zones(pod: &mut Pod) {
    pod.labels = vec![Pair::new("app", "web")];
    asks(pod).spread.get_or_insert_default().constraints = vec![SpreadConstraint {
        max_skew: 1,
        topology_key: "zone".to_owned(),
        when_unsatisfiable: Unsatisfiable::DoNotSchedule,
        selector: Some(vec![requirement("app", "web")]),
        min_domains: None,
        honor_node_affinity: true,
        honor_node_taints: false,
    }];
}

fn asks(pod: &mut Pod) -> &mut Constraints {
    pod.constraints.get_or_insert_default()
}

fn on_port(name: &str, host_ports: Vec<HostPort>) -> Pod {
    Pod { constraints: Some(Constraints { host_ports, ..Constraints::default() }), ..Pod::named(name) }
}

fn check(scheduler: &mut DefaultScheduler, pod: Pod, expected: Expect) {
    let outcome = scheduler.schedule(&Fixed, pod, Scope { start: 0, limit: 0, top: 10, seed: 7 }).expect("decides");
    let text = match outcome {
        Outcome::Fits(choice) => {
            let mut ranked: Vec<String> = choice.ranked.iter().map(|r| format!("n{}={}", r.node, r.score)).collect();
            ranked.sort();
            format!("{} of {}: {}", choice.feasible, choice.looked_at, ranked.join(" "))
        }
        Outcome::None(rejections) => rejections
            .iter()
            .map(|r| format!("{} {} ({}{})", r.nodes, r.message, r.filter, if r.resolvable { "" } else { ", final" }))
            .collect::<Vec<_>>()
            .join("; "),
    };
    expected.assert_eq(&text);
}

#[test]
fn an_empty_node_is_better_than_a_used_one() {
    let mut scheduler = three_nodes();
    place(&mut scheduler, asking("old", 2000, 4 * GIB), 0);
    check(&mut scheduler, asking("new", 1000, 2 * GIB), expect!["3 of 3: n0=400 n1=450 n2=450"]);
}

#[test]
fn each_lack_is_counted() {
    let mut scheduler = three_nodes();
    place(&mut scheduler, asking("old", 3500, 7 * GIB), 0);
    place(&mut scheduler, asking("old1", 3500, GIB), 1);
    place(&mut scheduler, asking("old2", 100, 7 * GIB), 2);
    check(&mut scheduler, asking("new", 1000, 2 * GIB), expect!["2 Insufficient cpu (NodeResourcesFit); 2 Insufficient memory (NodeResourcesFit)"]);
}

#[test]
fn taints_and_selectors_keep_pods_off() {
    let mut scheduler = three_nodes();
    let mut tainted = Node::sized(0, "n0", 4000, 8 * GIB, 10);
    tainted.taints = vec![Taint { key: "gpu".to_owned(), value: "yes".to_owned(), effect: Effect::NoSchedule }];
    scheduler.feed(&Fixed, vec![Delta::UpsertNode(tainted)]);
    let mut pod = asking("picky", 100, GIB);
    asks(&mut pod).nodes.get_or_insert_default().selector = vec![Pair::new("zone", "c")];
    check(
        &mut scheduler,
        pod.clone(),
        expect![
            "1 node(s) had untolerated taint(s) (TaintToleration, final); 2 node(s) didn't match Pod's node affinity/selector (NodeAffinity, final)"
        ],
    );
    asks(&mut pod).nodes.get_or_insert_default().selector = vec![Pair::new("zone", "b")];
    check(&mut scheduler, pod, expect!["1 of 3: n2=0"]);
}

#[test]
fn anti_affinity_holds_both_ways() {
    let mut scheduler = three_nodes();
    let term = near("zone", "db");
    let mut alone = asking("alone", 100, GIB);
    alone.labels = vec![Pair::new("app", "db")];
    asks(&mut alone).pods.get_or_insert_default().required_anti = vec![term];
    place(&mut scheduler, alone.clone(), 0);
    let mut other = asking("other", 100, GIB);
    other.labels = vec![Pair::new("app", "db")];
    check(&mut scheduler, other, expect!["1 of 3: n2=0"]);
    alone.uid = "second".to_owned();
    place(&mut scheduler, Pod { uid: "third".to_owned(), ..alone.clone() }, 2);
    check(&mut scheduler, alone, expect!["3 node(s) didn't match pod anti-affinity rules (InterPodAffinity)"]);
}

#[test]
fn affinity_lets_the_first_of_a_group_in() {
    let mut scheduler = three_nodes();
    let mut pod = asking("first", 100, GIB);
    pod.labels = vec![Pair::new("app", "web")];
    asks(&mut pod).pods.get_or_insert_default().required = vec![near("zone", "web")];
    check(&mut scheduler, pod.clone(), expect!["3 of 3: n0=464 n1=464 n2=464"]);
    place(&mut scheduler, pod.clone(), 2);
    pod.uid = "second".to_owned();
    check(&mut scheduler, pod, expect!["1 of 3: n2=0"]);
}

#[test]
fn hard_spread_keeps_the_skew() {
    let mut scheduler = three_nodes();
    let mut pod = asking("a", 100, GIB);
    spread_over_zones(&mut pod);
    place(&mut scheduler, pod.clone(), 0);
    pod.uid = "b".to_owned();
    check(&mut scheduler, pod, expect!["1 of 3: n2=0"]);
}

#[test]
fn host_ports_clash_on_one_node() {
    let mut scheduler = three_nodes();
    let port = |ip: &str| HostPort { ip: ip.to_owned(), protocol: "TCP".to_owned(), port: 80 };
    place(&mut scheduler, on_port("old", vec![port("0.0.0.0")]), 0);
    place(&mut scheduler, on_port("old1", vec![port("10.0.0.1")]), 1);
    place(&mut scheduler, on_port("old2", vec![port("10.0.0.2")]), 2);
    let mut pod = Pod::named("new");
    asks(&mut pod).host_ports = vec![port("10.0.0.1")];
    check(&mut scheduler, pod, expect!["1 of 3: n2=0"]);
}

#[test]
fn preemption_spares_the_important_and_leaves_no_trace() {
    let mut scheduler = three_nodes();
    place(&mut scheduler, Pod { priority: 5, ..asking("five", 4000, GIB) }, 0);
    place(&mut scheduler, Pod { priority: 1, ..asking("one", 3000, GIB) }, 1);
    place(&mut scheduler, Pod { priority: 1, ..asking("small", 1000, GIB) }, 1);
    place(&mut scheduler, Pod { priority: 2, ..asking("two", 4000, GIB) }, 2);
    let pod = Pod { priority: 10, ..asking("urgent", 2000, GIB) };
    let Attempt::Evict(chosen) = scheduler.preempt(&Fixed, pod.clone(), None).expect("decides") else { panic!("finds victims") };
    expect!["1 one"].assert_eq(&format!("{} {}", chosen.node, chosen.victims.join(" ")));
    check(&mut scheduler, pod, expect!["3 Insufficient cpu (NodeResourcesFit)"]);
    let meek = Pod { priority: 1, ..asking("meek", 2000, GIB) };
    let Attempt::None(reasons) = scheduler.preempt(&Fixed, meek, None).expect("decides") else { panic!("nobody is less important") };
    let said: Vec<String> = reasons.iter().map(|r| format!("{} {}", r.nodes, r.message)).collect();
    expect!["3 No preemption victims found for incoming pod"].assert_eq(&said.join(", "));
    let urgent = Pod { priority: 10, ..asking("urgent", 2000, GIB) };
    let Attempt::Evict(chosen) = scheduler.preempt(&Fixed, urgent, Some(vec![0, 2])).expect("decides") else { panic!("finds victims") };
    expect!["2 two"].assert_eq(&format!("{} {}", chosen.node, chosen.victims.join(" ")));
}

#[test]
fn a_ranking_is_of_the_asked_nodes_alone() {
    let mut scheduler = three_nodes();
    place(&mut scheduler, asking("a", 4000, GIB), 0);
    place(&mut scheduler, asking("b", 1000, GIB), 1);
    let mut rank = |nodes: &[u32]| {
        let mut ranking = scheduler.rank(&Fixed, asking("new", 1000, GIB), nodes.to_vec()).expect("ranks");
        ranking.ranked.sort_by_key(|r| r.node);
        let ranked: Vec<String> = ranking.ranked.iter().map(|r| format!("n{}={}", r.node, r.score)).collect();
        let refused: Vec<String> = ranking.rejections.iter().map(|r| format!("{} {}", r.nodes, r.message)).collect();
        format!("{} | {}", ranked.join(" "), refused.join(", "))
    };
    expect!["n1=434 n2=452 | 1 Insufficient cpu"].assert_eq(&rank(&[0, 1, 2]));
    expect![" | 1 Insufficient cpu"].assert_eq(&rank(&[0]));
    expect![" | "].assert_eq(&rank(&[]));
    check(&mut scheduler, asking("new", 1000, GIB), expect!["2 of 3: n1=434 n2=452"]);
}

#[test]
fn a_bad_configuration_is_refused() {
    let mut scheduler = DefaultScheduler::default();
    let error = scheduler.configure(&Fixed, r#"{"weights": {"Luck": 1}}"#).expect_err("no such score");
    expect!["config: weights.Luck: no such score; there are TaintToleration, NodeAffinity, PodTopologySpread, InterPodAffinity, NodeResourcesFit, NodeResourcesBalancedAllocation, ImageLocality"].assert_eq(&error);
}

#[test]
fn what_is_assumed_of_the_last_pod_counts_as_placed() {
    let full = |tell: &dyn Fn(&mut DefaultScheduler, Pod)| {
        let mut scheduler = DefaultScheduler::default();
        scheduler.feed(&Fixed, vec![Delta::UpsertNode(Node::sized(0, "n0", 1000, 1 << 30, 110))]);
        let mut pod = Pod::named("first");
        pod.requests.milli_cpu = 600;
        pod.labels = vec![Pair::new("app", "a")];
        asks(&mut pod).pods.get_or_insert_default().required_anti = vec![near("kubernetes.io/hostname", "a")];
        let scope = Scope { start: 0, limit: 0, top: 1, seed: 0 };
        scheduler.schedule(&Fixed, pod.clone(), scope).expect("decides");
        tell(&mut scheduler, pod);
        let mut next = Pod::named("next");
        next.requests.milli_cpu = 400;
        next.labels = vec![Pair::new("app", "a")];
        format!("{:?}", scheduler.schedule(&Fixed, next, scope).expect("decides"))
    };
    let assume = |uid: &'static str| {
        move |scheduler: &mut DefaultScheduler, _: Pod| {
            scheduler.feed(&Fixed, vec![Delta::Assume(Assumption { uid: uid.to_owned(), node: 0 })]);
        }
    };
    let placed = full(&|scheduler, pod| place(scheduler, pod, 0));
    assert_eq!(full(&assume("first")), placed);
    assert!(placed.contains("existing pods anti-affinity"), "{placed}");
    let untold = full(&|_, _| {});
    assert_eq!(full(&assume("another")), untold);
    assert!(untold.contains("Fits"), "{untold}");
}

#[test]
fn domains_follow_the_nodes_labels() {
    let mut scheduler = three_nodes();
    let mut pod = asking("p", 100, GIB);
    spread_over_zones(&mut pod);
    let decide = |scheduler: &mut DefaultScheduler| {
        let scope = Scope { start: 0, limit: 0, top: 10, seed: 7 };
        match scheduler.schedule(&Fixed, pod.clone(), scope).expect("decides") {
            Outcome::Fits(choice) => choice.ranked.len(),
            Outcome::None(_) => 0,
        }
    };
    place(&mut scheduler, Pod { uid: "other".to_owned(), ..pod.clone() }, 0);
    let before = decide(&mut scheduler);
    let mut fourth = Node::sized(3, "n3", 16_000, 64 * GIB, 110);
    fourth.labels.push(Pair::new("zone", "empty"));
    scheduler.feed(&Fixed, vec![Delta::UpsertNode(fourth.clone())]);
    assert_eq!(decide(&mut scheduler), before + 1, "a domain more");
    fourth.labels.pop();
    scheduler.feed(&Fixed, vec![Delta::UpsertNode(fourth)]);
    assert_eq!(decide(&mut scheduler), before, "and without it");
    scheduler.feed(&Fixed, vec![Delta::RemoveNode(1), Delta::RemoveNode(2)]);
    assert_eq!(decide(&mut scheduler), 1, "one domain is as full as the least full");
}

/// What is quick for most pods must not decide otherwise than what is slow for all.
#[test]
fn spread_is_decided_alike_by_the_quick_way_and_by_the_slow_one() {
    let mut scheduler = DefaultScheduler::default();
    for id in 0..24 {
        let mut node = Node::sized(id, &format!("n{id}"), 4000, 8 * GIB, 4);
        if id % 7 != 3 {
            node.labels.push(Pair::new("zone", format!("z{}", id % 4)));
        }
        if id % 5 != 4 {
            node.labels.push(Pair::new("kubernetes.io/hostname", format!("n{id}")));
        }
        scheduler.feed(&Fixed, vec![Delta::UpsertNode(node)]);
    }
    let constraint = |topology_key: &str, when_unsatisfiable, max_skew| SpreadConstraint {
        max_skew,
        topology_key: topology_key.to_owned(),
        when_unsatisfiable,
        selector: Some(vec![requirement("app", "web")]),
        min_domains: None,
        honor_node_affinity: true,
        honor_node_taints: false,
    };
    let (mut fitted, mut refused) = (0, 0);
    for step in 0..110 {
        let mut quick = asking(&format!("p{step}"), 100, GIB / 4);
        quick.labels = vec![Pair::new("app", "web")];
        quick.deleting = step % 6 == 5;
        asks(&mut quick).spread.get_or_insert_default().constraints = vec![
            constraint("zone", Unsatisfiable::DoNotSchedule, 1 + (step % 3) as i32),
            constraint("kubernetes.io/hostname", Unsatisfiable::ScheduleAnyway, 1),
            constraint("zone", Unsatisfiable::ScheduleAnyway, 2),
        ];
        if step % 4 == 1 {
            asks(&mut quick).spread.get_or_insert_default().constraints.push(constraint("kubernetes.io/hostname", Unsatisfiable::DoNotSchedule, 1));
        }
        // A port that nobody has: the other filters are asked at each node.
        let mut slow = quick.clone();
        asks(&mut slow).host_ports = vec![HostPort { ip: String::new(), protocol: "TCP".to_owned(), port: 1 }];
        // And a demand that all these pods meet: each of them is looked at.
        for spread in &mut asks(&mut slow).spread.get_or_insert_default().constraints {
            let has_app = Requirement { key: "app".to_owned(), operator: Operator::Exists, values: Vec::new() };
            spread.selector.get_or_insert_default().push(has_app);
        }
        let scope = Scope { start: step * 5, limit: 1 + step % 9, top: 5, seed: u64::from(step) };
        let slowly = scheduler.schedule(&Fixed, slow, scope).expect("decides");
        let outcome = scheduler.schedule(&Fixed, quick.clone(), scope).expect("decides");
        assert_eq!(format!("{outcome:?}"), format!("{slowly:?}"), "step {step}");
        match outcome {
            Outcome::Fits(choice) => {
                fitted += 1;
                place(&mut scheduler, quick, choice.ranked[0].node);
            }
            Outcome::None(_) => refused += 1,
        }
        if step % 5 == 4 {
            scheduler.feed(&Fixed, vec![Delta::Forget(format!("p{}", step - 4))]);
        }
    }
    assert!(fitted > 30 && refused > 5, "{fitted} fitted, {refused} did not");
}
