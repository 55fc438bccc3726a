//! The stages of a policy as a user drives them: the `pintle` command line and kubectl against a running server, and nothing else.

use std::process::Command;

use super::cluster::Server;
use super::plugins::{bound_pods, with_a_node};
use super::run::{output, pintle, wait, workspace};

pub const POLICY: &str = "namespace-budget";

/// The candidate's configuration: it writes an owner on pods of namespaces that name none, where the live one writes nothing.
pub const OWNER: &str = "operations";

/// The folder of the policy's project, with its component.
pub fn built_policy() -> String {
    let folder = workspace().join("examples").join(POLICY);
    // One folder for the examples' crates, so that dependencies are compiled once.
    output(Command::new(pintle()).args(["plugin", "build"]).arg(&folder).env("CARGO_TARGET_DIR", workspace().join("target/examples"))).ok();
    folder.display().to_string()
}

fn with_the_policy() -> Server {
    let folder = built_policy();
    let server = Server::start();
    let told = server.pintle(&["plugin", "apply", &folder]).ok();
    assert!(told.contains("Ready: Live, revision 1, sha256:"), "{told}");
    for namespace in ["poor", "rich", "other"] {
        server.kubectl(&["create", "namespace", namespace]).ok();
        let account = ["get", "serviceaccount", "default", "-n", namespace];
        wait("the namespace's account", 30, || Some(server.kubectl(&account)).filter(|o| o.success).map(drop).ok_or_else(String::new));
    }
    server.kubectl(&["annotate", "namespace", "poor", "budget.pintle.dev/pods=1", "budget.pintle.dev/owner=team-a"]).ok();
    server
}

/// Whom the policy that decided made the pod's owner; empty: nobody.
fn owner(server: &Server, namespace: &str, pod: &str) -> String {
    server.kubectl(&["run", pod, "-n", namespace, "--image=x"]).ok();
    server.kubectl(&["get", "pod", pod, "-n", namespace, "-o", r"jsonpath={.metadata.labels.budget\.pintle\.dev/owner}"]).ok()
}

fn row(table: &str, name: &str) -> String {
    let rows: Vec<&str> = table.lines().filter(|l| l.split_whitespace().next() == Some(name)).collect();
    rows.join("\n")
}

#[test]
fn an_admission_policy_disagrees_in_the_shadow_is_a_canary_is_promoted_and_rolled_back() {
    let server = with_the_policy();
    let config = server.data_dir().join("candidate.config");
    std::fs::write(&config, OWNER).expect("is writable");
    let (folder, config) = (workspace().join("examples").join(POLICY).display().to_string(), config.display().to_string());
    let apply = |stage: &[&str]| server.pintle(&[&["plugin", "apply", &folder, "--config", &config, "--stage"], stage].concat()).ok();
    let diff = || server.pintle_in(&workspace().join("examples"), &["plugin", "diff", POLICY]);

    // In the shadow: the live one decides, and what would have been otherwise is seen.
    let told = apply(&["Shadow"]);
    assert!(told.contains("Candidate: Shadow, sha256:"), "{told}");
    assert_eq!((owner(&server, "rich", "a"), owner(&server, "poor", "a")), (String::new(), "team-a".to_owned()));
    let refused = server.kubectl(&["run", "b", "-n", "poor", "--image=x"]).refused();
    let why = "admission plugin \"namespace-budget\" denied the request: exceeded the budget of namespace poor: requested pods=1, used pods=1, limited pods=1";
    assert!(refused.contains(why), "{refused}");
    // Three pods, each asked about when it is changed and when it is validated. The folder of that name is not what is meant.
    let seen = wait("what was compared", 30, || {
        let output = diff();
        if output.stdout.contains("5 of 6 decisions agreed, 0 faults") { Ok(output) } else { Err(format!("{output:?}")) }
    });
    let lines = [
        "Object CREATE pods rich/a, Mutate",
        "- live: allowed",
        "+ candidate: allowed, changed",
        "  metadata.labels.budget.pintle.dev/owner: none, candidate \"operations\"",
    ];
    assert!(!seen.success, "a difference is no success");
    assert!(lines.iter().all(|line| seen.stdout.lines().any(|l| l.ends_with(line))), "{}", seen.stdout);
    let list = server.pintle(&["plugin", "list"]).ok();
    assert!(row(&list, POLICY).contains("Shadow") && row(&list, POLICY).contains("83.3% of 6"), "{list}");
    let table = server.kubectl(&["get", "plugin", POLICY, "-o", "wide"]).ok();
    assert!(row(&table, POLICY).contains("Shadow") && row(&table, POLICY).contains("83.3%"), "{table}");
    let metrics = server.kubectl(&["get", "--raw", "/metrics"]).ok();
    for (family, count) in [("compared_total", 6), ("agreed_total", 5)] {
        let line = format!("pintle_plugin_{family}{{plugin=\"{POLICY}\",stage=\"shadow\"}} {count}");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }

    // As a canary: it decides for its share, and for nobody else.
    let told = apply(&["Canary", "--namespace", "rich"]);
    assert!(told.contains("Candidate: Canary (namespaces rich), sha256:"), "{told}");
    assert_eq!((owner(&server, "rich", "b"), owner(&server, "other", "b")), (OWNER.to_owned(), String::new()));
    wait("what the canary decided", 30, || {
        let output = diff();
        let told = output.stdout.contains("Canary (namespaces rich)") && output.stdout.contains("; 2 decisions, 0 failed, 0 faults");
        if told && output.success { Ok(()) } else { Err(format!("{output:?}")) }
    });
    apply(&["canary", "--percent", "50"]);
    let owners: Vec<String> = (0..12).map(|n| owner(&server, "other", &format!("c{n}"))).collect();
    let taken = owners.iter().filter(|o| *o == OWNER).count();
    assert!((1..12).contains(&taken), "half of them, by their names: {owners:?}");

    // Promoted: it decides for everybody, until it is rolled back.
    wait("what the canary decided", 30, || {
        let told = diff().stdout;
        if told.contains(&format!("; {} decisions, 0 failed", 2 * taken)) { Ok(()) } else { Err(told) }
    });
    let told = server.pintle(&["plugin", "promote", POLICY]).ok();
    assert!(told.contains("promoted") && told.contains("Ready: Live, revision 2"), "{told}");
    assert_eq!(owner(&server, "other", "promoted"), OWNER);
    let event = ["get", "events", "-o", r#"jsonpath={.items[?(@.reason=="Promoted")].message}"#];
    let told = wait("the event of the promotion", 30, || Some(server.kubectl(&event).ok()).filter(|e| !e.is_empty()).ok_or_else(String::new));
    assert!(told.ends_with(&format!("is promoted: asked for; as a canary it made {} decisions, 0 failed", 2 * taken)), "{told}");
    let again = server.pintle(&["plugin", "promote", POLICY]).refused();
    assert!(again.contains("has no candidate to promote"), "{again}");
    let told = server.pintle(&["plugin", "rollback", POLICY]).ok();
    assert!(told.contains("rolled back to revision 1"), "{told}");
    assert_eq!(owner(&server, "other", "after"), "");
    // With nobody beside the live one it is the folder that is meant: what applying it would change, which is nothing.
    let unchanged = diff();
    assert!(unchanged.success && unchanged.stdout.is_empty(), "{unchanged:?}");
    let refused = server.pintle(&["plugin", "diff", POLICY]).refused();
    assert!(refused.contains("has no candidate"), "{refused}");
}

#[test]
fn one_plugin_places_the_pods_of_several_scheduler_names_and_its_candidate_looks_on_for_each() {
    let server = with_a_node();
    let component = workspace().join("target/plugins/scheduler-default.wasm").display().to_string();
    let apply = |more: &[&str]| server.pintle(&[&["plugin", "apply", &component, "--name", "teams"], more].concat()).ok();
    let pod = |name: &str, scheduler: &str| {
        let overrides = format!(r#"{{"spec": {{"schedulerName": "{scheduler}"}}}}"#);
        server.kubectl(&["run", name, "--image=x", "--overrides", &overrides]).ok();
    };
    let placed = |name: &str| {
        wait(&format!("a node for {name}"), 30, || {
            let bound = bound_pods(&server);
            if bound.iter().any(|line| line.split(' ').next() == Some(name)) { Ok(()) } else { Err(format!("{bound:?}")) }
        });
    };
    let shown = |serves: &str| {
        let (list, table) = (server.pintle(&["plugin", "list"]).ok(), server.kubectl(&["get", "plugins", "-o", "wide"]).ok());
        for table in [list, table] {
            assert!(table.lines().next().is_some_and(|head| head.ends_with("SERVES")), "{table}");
            assert!(row(&table, "teams").ends_with(serves) && row(&table, "scheduler-default").ends_with(" default-scheduler"), "{table}");
        }
    };

    apply(&["--scheduler-name", "red,blue", "--grant", "*:*.*"]);
    shown(" red,blue");
    for scheduler in ["red", "blue", "green"] {
        pod(scheduler, scheduler);
    }
    for scheduler in ["red", "blue"] {
        placed(scheduler);
        let why = server.pintle(&["why", &format!("pod/{scheduler}")]).ok();
        assert!(why.contains(&format!("Pod default/{scheduler} was placed on n1")), "{why}");
        assert!(why.lines().any(|l| l.contains("By:      teams, revision 1") && l.ends_with(&format!(", for {scheduler}"))), "{why}");
    }
    let why = server.pintle(&["why", "pod/green"]).ok();
    assert!(why.contains("It waits for the scheduler \"green\": see 'pintle plugin list'"), "{why}");

    // One candidate beside both.
    let config = server.data_dir().join("candidate.config");
    std::fs::write(&config, r#"{"weights": {"NodeResourcesFit": 100}}"#).expect("is writable");
    apply(&["--config", &config.display().to_string(), "--stage", "Shadow"]);
    for scheduler in ["red", "blue"] {
        pod(&format!("{scheduler}-beside"), scheduler);
        placed(&format!("{scheduler}-beside"));
    }
    wait("what was compared", 30, || {
        let told = server.pintle(&["plugin", "diff", "teams"]).stdout;
        if told.contains("2 of 2 decisions agreed") { Ok(()) } else { Err(told) }
    });
    let told = server.pintle(&["plugin", "promote", "teams"]).ok();
    assert!(told.contains("Ready: Live, revision 2"), "{told}");

    // Names come and go: who waited for one that comes is placed, who names one that goes waits.
    apply(&["--scheduler-name", "red,green"]);
    shown(" red,green");
    placed("green");
    pod("blue-late", "blue");
    pod("red-late", "red");
    placed("red-late");
    assert!(!bound_pods(&server).iter().any(|line| line.starts_with("blue-late ")), "nobody serves that name");
    let why = server.pintle(&["why", "pod/green"]).ok();
    assert!(why.contains("teams, revision "), "{why}");
}
