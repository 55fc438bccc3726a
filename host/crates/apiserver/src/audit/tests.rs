//! The policy's choice, the log's files and what is lost, without a server.

use std::path::Path;

use expect_test::{Expect, expect};

use super::log::Mode;
use super::*;
use crate::auth::User;

/// Upstream's cases (`pkg/audit/policy/checker_test.go`), and what they leave out.
const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [Panic]
omitManagedFields: true
rules:
- {level: Metadata, users: [tim]}
- {level: Request, userGroups: [admins], verbs: [delete]}
- {level: None, nonResourceURLs: [/healthz*, /version]}
- {level: Metadata, resources: [{group: "", resources: [pods/*], resourceNames: [named]}]}
- {level: RequestResponse, resources: [{group: "", resources: [pods, "*/scale"]}], namespaces: [one, ""], omitStages: [RequestReceived]}
- {level: Request, resources: [{group: rbac.authorization.k8s.io}], omitManagedFields: false}
- {level: None, resources: [{group: "*", resources: ["*"]}], verbs: [get]}
- {level: Metadata, resources: [{group: ""}]}
"#;

fn check(policy: &Policy, user: &str, groups: &[&str], asked: &str, expected: Expect) {
    let user = User { name: user.into(), groups: groups.iter().map(|g| (*g).to_owned()).collect(), ..User::default() };
    let words: Vec<&str> = asked.split(' ').collect();
    let selected = match words.as_slice() {
        [verb, path] => policy.select(&Attributes::of_path(&user, verb, path)),
        [verb, group, resource, namespace, name] => {
            let blank = |text: &'static str, word: &str| if word == "-" { text.to_owned() } else { word.to_owned() };
            let (group, namespace, name) = (blank("", group), blank("", namespace), blank("", name));
            let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
            policy.select(&Attributes::of_resource(&user, verb, &group, "v1", resource, &namespace, &name).with_subresource(sub))
        }
        _ => panic!("{asked}"),
    };
    let omitted: Vec<Stage> =
        [Stage::RequestReceived, Stage::ResponseStarted, Stage::ResponseComplete, Stage::Panic].into_iter().filter(|s| selected.omits(*s)).collect();
    expected.assert_eq(&format!("{:?} without {omitted:?} {}", selected.level, if selected.omit_managed_fields { "" } else { "managed" }));
}

#[test]
fn the_first_rule_that_fits_decides() {
    let policy = Policy::parse(POLICY).unwrap();
    let check = |user: &str, groups: &[&str], asked: &str, expected: Expect| check(&policy, user, groups, asked, expected);
    check("tim", &[], "get /healthz", expect!["Metadata without [Panic] "]);
    check("ann", &["admins"], "delete - pods one p", expect!["Request without [Panic] "]);
    check("ann", &["admins"], "delete /x", expect!["Request without [Panic] "]);
    check("ann", &["others"], "get /healthz/ping", expect!["None without [Panic] "]);
    check("ann", &[], "get /version/", expect!["None without [] managed"]);
    check("ann", &[], "get - pods/log two named", expect!["Metadata without [Panic] "]);
    check("ann", &[], "get - pods two named", expect!["Metadata without [Panic] "]);
    check("ann", &[], "get - pods one p", expect!["RequestResponse without [RequestReceived, Panic] "]);
    check("ann", &[], "update - replicationcontrollers/scale one p", expect!["RequestResponse without [RequestReceived, Panic] "]);
    check("ann", &[], "list - pods - -", expect!["RequestResponse without [RequestReceived, Panic] "]);
    check("ann", &[], "list - pods three -", expect!["Metadata without [Panic] "]);
    check("ann", &[], "get - pods/log one p", expect!["None without [Panic] "]);
    check("ann", &[], "list rbac.authorization.k8s.io roles one -", expect!["Request without [Panic] managed"]);
    check("ann", &[], "get apps deployments one d", expect!["None without [Panic] "]);
    check("ann", &[], "list apps deployments one -", expect!["None without [] managed"]);
}

#[test]
fn a_policy_that_says_nothing_is_refused() {
    let refused = |text: &str, expected: Expect| expected.assert_eq(&Policy::parse(text).map(drop).unwrap_err().to_string());
    let with = |rules: &str| format!("{{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{rules}]}}");
    refused("apiVersion: audit.k8s.io/v1beta1\nkind: Policy", expect!["unknown group version field audit.k8s.io/v1beta1, Kind=Policy in policy"]);
    refused(&with(""), expect!["loaded illegal policy with 0 rules"]);
    refused(
        &with("{level: Some}"),
        expect![[r#"rules[0].level: Unsupported value: "Some": supported values: "None", "Metadata", "Request", "RequestResponse""#]],
    );
    refused(&with("{verbs: [get]}"), expect!["rules[0].level: Required value"]);
    refused(
        &with("{level: None, nonResourceURLs: [healthz]}"),
        expect![[r#"rules[0].nonResourceURLs[0]: Invalid value: "healthz": non-resource URL rules must begin with a '/' character"#]],
    );
    refused(
        &with("{level: None, nonResourceURLs: ['/a*b']}"),
        expect![[r#"rules[0].nonResourceURLs[0]: Invalid value: "/a*b": non-resource URL wildcards '*' must be the final character of the rule"#]],
    );
    refused(
        &with("{level: None, nonResourceURLs: [/a], namespaces: [x]}"),
        expect![[r#"rules[0].nonResourceURLs: Invalid value: ["/a"]: rules cannot apply to both regular resources and non-resource URLs"#]],
    );
    refused(
        &with("{level: None, resources: [{group: '', resourceNames: [a]}]}"),
        expect![[r#"rules[0].resources.resourceNames: Invalid value: ["a"]: using resourceNames requires at least one resource"#]],
    );
    refused(
        &with("{level: None, resources: [{group: rbac/v1}]}"),
        expect![[
            r#"rules[0].resources.group: Invalid value: "rbac/v1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"#
        ]],
    );
    refused(
        &with("{level: None, omitStages: [Later]}"),
        expect![[r#"rules[0].omitStages[0]: Invalid value: "Later": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic"#]],
    );
    assert!(Policy::parse(&with("{level: None, verb: [get]}")).is_ok(), "a field that is not known is told of, and ignored");
}

fn settings(path: &Path) -> LogSettings {
    LogSettings { path: path.to_owned(), mode: Mode::Blocking, ..LogSettings::default() }
}

fn event(agent_bytes: usize) -> Event {
    Event { user_agent: "a".repeat(agent_bytes), ..Event::new(Level::Metadata, "id", "/".into(), "get") }
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_that_is_full_becomes_an_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let log = Log::open(&LogSettings { max_size: 1, max_backups: 2, compress: true, ..settings(&path) }).unwrap();
    for _ in 0..10 {
        assert!(log.write(&mut event(400 << 10)));
    }
    let names = files(dir.path());
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names[..2].iter().all(|n| n.starts_with("audit-20") && n.ends_with(".log.gz")) && names[2] == "audit.log", "{names:?}");
    assert!(std::fs::metadata(&path).unwrap().len() < 1 << 20);
    // What was there before is gone on with.
    let before = std::fs::metadata(&path).unwrap().len();
    drop(log);
    Log::open(&settings(&path)).unwrap().write(&mut event(1));
    assert!(std::fs::metadata(&path).unwrap().len() > before);
}

#[test]
fn what_does_not_fit_is_lost_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody reads the pipe, so nothing is ever written: the buffer fills and no event waits for it.
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let log = Log::open(&LogSettings { mode: Mode::Batch, buffered_events: 4, ..settings(&pipe) }).unwrap();
    for _ in 0..100 {
        assert!(log.write(&mut event(1 << 20)));
    }
    assert!((90..=98).contains(&log.lost()), "{}", log.lost());
    drop(reader);
}

#[test]
fn large_events_lose_their_objects() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let log = Log::open(&LogSettings { max_event_bytes: Some(1000), ..settings(&path) }).unwrap();
    let mut large = event(1);
    large.request_object = raw(&json!("x".repeat(1000)));
    assert!(log.write(&mut large) && log.write(&mut event(2000)));
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!((text.lines().count(), text.contains(r#""audit.k8s.io/truncated":"true""#), log.lost()), (1, true, 1));
}

#[test]
fn an_event_looks_like_upstreams() {
    let mut event = Event {
        user: user_info(&User { name: "ann".into(), groups: vec!["dev".into()], ..User::default() }),
        source_ips: vec!["127.0.0.1".into()],
        request_received_timestamp: event::micros("2026-11-21T16:00:00.1234567Z".parse().unwrap()),
        stage_timestamp: event::micros("2026-11-21T16:00:00Z".parse().unwrap()),
        ..Event::new(Level::Request, "id", "/api/v1/namespaces/a/pods".into(), "create")
    };
    event.set_code(201);
    event.request_object = raw(&without_managers(&json!({"metadata": {"name": "p", "managedFields": []}}), true));
    expect![[r#"
        {"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"id","stage":"RequestReceived","requestURI":"/api/v1/namespaces/a/pods","verb":"create","user":{"groups":["dev"],"username":"ann"},"sourceIPs":["127.0.0.1"],"responseStatus":{"code":201,"metadata":{}},"requestObject":{"metadata":{"name":"p"}},"requestReceivedTimestamp":"2026-11-21T16:00:00.123456Z","stageTimestamp":"2026-11-21T16:00:00.000000Z"}
    "#]]
    .assert_eq(std::str::from_utf8(&event.line()).unwrap());
}

#[test]
fn addresses_are_those_of_proxies_and_of_the_connection() {
    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-for", "10.0.0.1, not-one, 10.0.0.2".parse().unwrap());
    headers.insert("x-real-ip", "10.0.0.1".parse().unwrap());
    assert_eq!(event::source_ips(Some(&headers), Some("::ffff:127.0.0.1".parse().unwrap())), ["10.0.0.1", "10.0.0.2", "127.0.0.1"]);
    assert_eq!(event::source_ips(None, None), Vec::<String>::new());
}
