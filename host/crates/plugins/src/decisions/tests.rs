//! The log on disk: what goes in comes out, within its bounds, and every segment stands alone.

use std::time::Duration;

use bytes::Bytes;
use pintle_plugin_bindings::common::types::Pair;
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{
    Choice, Delta, Namespace, Outcome, Placement as Placed, Pod, Ranked, Resources, Scope, Toleration,
};

use super::fold::State;
use super::log::{Log, Stream};
use super::notes::PlacementNote;
use super::read::{Wanted, each, export, find};
use super::record::{Answer, Decision, Feed, Heard, Placement, Question, Reconcile, Record, Reply, Session, Subject, Verb, Verdict, What};
use super::segment::{SegmentReader, segments};
use super::tape::Tape;
use super::writer::{Bounds, MAX_LOG_BYTES};
use crate::load::World;

const PATIENCE: Duration = Duration::from_secs(30);
const SMALL: Bounds = Bounds { log_bytes: 40_000, segments: 4, segment_bytes: 10_000, segment_decisions: 20 };

fn session(log: &Log, plugin: &str, world: World, task: &str) -> Stream {
    let session =
        Session { id: log.now(), plugin: plugin.into(), digest: "sha256:00".into(), revision: 1, world, config: "".into(), task: task.into() };
    log.open_session(session)
}

fn subject(resource: &str, name: &str) -> Subject {
    Subject { resource: resource.into(), namespace: "n".into(), name: name.into(), uid: "".into() }
}

fn namespace(name: &str) -> Delta {
    Delta::UpsertNamespace(Namespace { name: name.to_owned(), labels: Vec::new() })
}

fn place(stream: &Stream, name: &str) {
    let scope = Scope { start: 0, limit: 0, top: 3, seed: 7 };
    let placement = Placement {
        pod: Bytes::from_static(b"pod"),
        scope,
        nodes: 1,
        answer: Answer::Returned(Ok(Outcome::None(Vec::new()))),
        names: Vec::new(),
        preemption: None,
        weighed: None,
        verdict: Verdict::Unschedulable("why".to_owned()),
    };
    stream.decided(subject("pods", name), Duration::ZERO, Default::default(), None, What::Placement(placement));
}

/// A reconcile that read one object of some size and created a pod.
fn reconcile(stream: &Stream, name: &str, object: &str) {
    let resource = pintle_plugin_bindings::common::types::ResourceId { group: String::new(), version: "v1".to_owned(), name: "pods".to_owned() };
    let mut tape = Tape::default();
    tape.start();
    let recording = tape.recording().expect("it records");
    let seen = recording.object(object.as_bytes(), 7, false);
    recording.asked(Question::new(Verb::Get, &resource, "n", "seen"), Reply::Object(seen));
    let made = recording.object(b"{}", 8, false);
    recording.asked(Question::write(Verb::Create, &resource, "n", "", "", b"{}"), Reply::Written(made, format!("{name}-pod")));
    let what = What::Reconcile(Reconcile { instance: 1, answer: Answer::Returned(Ok(None)) });
    stream.decided(subject("replicasets.apps", name), Duration::from_micros(5), tape.stop(), None, what);
}

fn names(log: &Log, wanted: Wanted) -> Vec<String> {
    log.flush(PATIENCE);
    let found = find(log.folder(), &Wanted { limit: 100, ..wanted }).expect("a log");
    found.iter().map(|f| format!("{} {}", f.session.plugin, f.decision.subject.name)).collect()
}

fn decisions(path: &std::path::Path) -> Vec<Decision> {
    let mut all = Vec::new();
    let take = |record: Option<Record>| {
        if let Some(Record::Decision(decision)) = record {
            all.push(*decision);
        }
        Ok(())
    };
    each(path, take).expect("a log");
    all
}

#[test]
fn a_decision_is_found_by_what_it_was_about_and_by_what_it_wrote() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Log::start(folder.path().join("log"), Bounds::default()).expect("a log");
    let (scheduler, sets) = (session(&log, "s", World::Scheduler, "default-scheduler"), session(&log, "c", World::Controller, "replicasets.apps"));
    scheduler.fed(Feed::Fresh, Default::default(), vec![namespace("n")]);
    reconcile(&sets, "web", "{}");
    reconcile(&sets, "other", "{}");
    place(&scheduler, "web-pod");
    let of =
        |resource: &str, name: &str| Wanted { resource: resource.to_owned(), namespace: "n".to_owned(), name: name.to_owned(), ..Wanted::default() };
    assert_eq!(names(&log, of("pods", "web-pod")), ["s web-pod", "c web"]);
    assert_eq!(names(&log, of("replicasets.apps", "web")), ["c web"]);
    assert_eq!(names(&log, of("pods", "nobody")), [""; 0]);
    assert_eq!(names(&log, Wanted { plugin: "c".to_owned(), ..Wanted::default() }), ["c other", "c web"]);
    use std::os::unix::fs::MetadataExt;
    let file = segments(log.folder()).expect("segments").pop().expect("one");
    assert_eq!(std::fs::metadata(file).expect("a file").mode() & 0o777, 0o600);
}

#[test]
fn several_decide_for_one_task_until_each_one_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Log::start(folder.path().to_owned(), SMALL).expect("a log");
    let (live, canary) = (session(&log, "live", World::Scheduler, "x"), session(&log, "canary", World::Scheduler, "x"));
    for stream in [&live, &canary] {
        stream.fed(Feed::Fresh, Default::default(), vec![namespace("n")]);
        place(stream, "p");
    }
    drop(canary);
    // Enough that the first segments, and the sessions of then, are gone.
    for _ in 0..100 {
        place(&live, "q");
        log.flush(PATIENCE);
    }
    let names = names(&log, Wanted::default());
    assert!(names.iter().all(|n| n == "live q"), "{names:?}");
    let mut begun = Vec::new();
    let take = |record: Option<Record>| {
        if let Some(Record::Session(session)) = record {
            begun.push(session.plugin.to_string());
        }
        Ok(())
    };
    each(log.folder(), take).expect("a log");
    assert!(begun.iter().all(|plugin| plugin == "live"), "a segment repeats who still decides: {begun:?}");
}

#[test]
fn both_of_a_task_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Log::start(folder.path().to_owned(), Bounds::default()).expect("a log");
    let (live, canary) = (session(&log, "live", World::Scheduler, "x"), session(&log, "canary", World::Scheduler, "x"));
    place(&live, "p");
    place(&canary, "q");
    place(&live, "r");
    assert_eq!(names(&log, Wanted::default()), ["live r", "canary q", "live p"]);
}

#[test]
fn old_segments_go_and_each_one_that_stays_begins_with_all_that_was_fed() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Log::start(folder.path().to_owned(), SMALL).expect("a log");
    let (scheduler, sets) = (session(&log, "s", World::Scheduler, "x"), session(&log, "c", World::Controller, "replicasets.apps"));
    scheduler.fed(Feed::Fresh, Default::default(), vec![namespace("first")]);
    for n in 0..300 {
        scheduler.fed(Feed::More, Default::default(), vec![namespace(&format!("n{n}"))]);
        place(&scheduler, &format!("p{n}"));
        reconcile(&sets, "web", &format!("{{\"n\": {n}}}"));
        // Blocks end where it is flushed, and segments at the ends of blocks.
        log.flush(PATIENCE);
    }
    let kept = segments(log.folder()).expect("segments");
    assert!(kept.len() <= SMALL.segments, "{kept:?}");
    assert!(kept[0].file_stem().is_some_and(|n| n != "000000000001"), "{kept:?}");
    for segment in &kept {
        let mut state: Option<State> = None;
        let mut seen = std::collections::HashSet::new();
        let take = |record: Option<Record>| {
            match record {
                Some(Record::Fed(fed)) => {
                    assert!(fed.feed.is_whole() || state.is_some(), "a segment begins with everything");
                    state.get_or_insert_default().apply(fed.feed.is_whole(), fed.deltas);
                }
                Some(Record::Content(content)) => drop(seen.insert(content.id)),
                Some(Record::Decision(decision)) => {
                    assert!(decision.intact);
                    assert!(decision.refs().all(|id| seen.contains(&id)), "what it refers to is in its segment");
                    if let What::Placement(_) = decision.what {
                        let number: usize = decision.subject.name[1..].parse().expect("a number");
                        // The first, and one for each placement so far.
                        assert_eq!(state.clone().expect("it was fed").into_deltas().len(), number + 3);
                    }
                }
                _ => {}
            }
            Ok(())
        };
        each(segment, take).expect("a segment");
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    export(log.folder(), "c", &mut std::fs::File::create(file.path()).expect("a file")).expect("an export");
    let exported = decisions(file.path());
    assert!(exported.len() > 20 && exported.iter().all(|d| &*d.subject.resource == "replicasets.apps"));
}

#[test]
fn everything_that_is_known_may_be_larger_than_a_segment() {
    const ALL: usize = 3_000;
    let folder = tempfile::tempdir().expect("a folder");
    // The decision may be the end of its segment: the next one must not push it out.
    let bounds = Bounds { log_bytes: MAX_LOG_BYTES, ..SMALL };
    let log = Log::start(folder.path().to_owned(), bounds).expect("a log");
    let scheduler = session(&log, "s", World::Scheduler, "x");
    scheduler.fed(Feed::Fresh, Default::default(), vec![namespace("of an instance before")]);
    // Half a kilobyte each, which lz4 does not make small.
    let noise = |n: usize| (0..40).map(move |at| format!("{:x}", (n * 40 + at).wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect::<String>();
    scheduler.fed_everything(Default::default(), ALL, (0..ALL).map(move |n| namespace(&noise(n))));
    place(&scheduler, "p");
    log.flush(PATIENCE);
    let kept = segments(log.folder()).expect("segments");
    assert!(kept.last().and_then(|path| path.file_stem()).is_some_and(|n| n != "000000000001"), "{kept:?}");
    // The decision's segment stands alone, as each does.
    let mut decided = Vec::new();
    for segment in &kept {
        let mut state = State::default();
        let take = |record: Option<Record>| {
            match record {
                Some(Record::Fed(fed)) => state.apply(fed.feed.is_whole(), fed.deltas),
                Some(Record::Decision(decision)) => decided.push((decision.intact, state.clone().into_deltas().len())),
                _ => {}
            }
            Ok(())
        };
        each(segment, take).expect("a segment");
    }
    assert_eq!(decided, [(true, ALL + 1)], "and the budgets");
}

#[test]
fn feeds_are_found_among_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Log::start(folder.path().to_owned(), Bounds::default()).expect("a log");
    let (scheduler, sets) = (session(&log, "s", World::Scheduler, "x"), session(&log, "c", World::Controller, "replicasets.apps"));
    let other = session(&log, "s", World::Scheduler, "y");
    scheduler.fed(Feed::Fresh, Default::default(), vec![namespace("n")]);
    other.fed(Feed::Fresh, Default::default(), vec![namespace("others")]);
    for n in 0..3 {
        place(&scheduler, "p");
        reconcile(&sets, "web", "{}");
        scheduler.fed(Feed::More, Default::default(), vec![namespace(&n.to_string())]);
    }
    log.flush(PATIENCE);
    let mut reader = SegmentReader::open(&segments(log.folder()).expect("segments")[0]).expect("a segment");
    let block = reader.next_block().expect("a block");
    let debug = |records: Vec<Record>| records.iter().map(|r| format!("{r:?}")).collect::<Vec<_>>();
    let all = reader.records(&block).expect("records");
    let session = |record: &Record| if let Record::Fed(fed) = record { Some(fed.session) } else { None };
    let first = all.iter().find_map(session).expect("a feed");
    let fed: Vec<Record> = all.iter().filter(|r| session(r) == Some(first)).cloned().collect();
    assert_eq!((fed.len(), all.iter().filter_map(session).count(), all.len() > 8), (4, 5, true));
    assert_eq!(debug(reader.feeds(&block, |id| id == first).expect("records")), debug(fed));
    assert_eq!(debug(reader.feeds(&block, |_| false).expect("records")), debug(Vec::new()));
}

#[test]
fn a_torn_end_is_passed_over_and_another_format_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Log::start(folder.path().to_owned(), Bounds::default()).expect("a log");
    let sets = session(&log, "c", World::Controller, "replicasets.apps");
    reconcile(&sets, "whole", "{}");
    log.flush(PATIENCE);
    reconcile(&sets, "torn", "{}");
    log.flush(PATIENCE);
    let path = segments(log.folder()).expect("segments").remove(0);
    let bytes = std::fs::read(&path).expect("the file");
    std::fs::write(&path, &bytes[..bytes.len() - 3]).expect("written");
    assert_eq!(decisions(&path).iter().map(|d| d.subject.name.to_string()).collect::<Vec<_>>(), ["whole"]);
    let mut other = bytes.clone();
    other[8] = 99;
    std::fs::write(&path, &other).expect("written");
    let error = each(&path, |_| Ok(())).expect_err("another format");
    assert!(error.to_string().ends_with("a decision log of format 99; this pintle reads format 6"), "{error}");
    std::fs::write(&path, b"hello").expect("written");
    assert!(each(&path, |_| Ok(())).expect_err("no log").to_string().ends_with("not a decision log"));
}

#[test]
fn a_version_is_kept_once_and_secrets_without_their_values() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Log::start(folder.path().to_owned(), Bounds::default()).expect("a log");
    let sets = session(&log, "c", World::Controller, "replicasets.apps");
    let large = format!("{{\"large\": \"{}\"}}", "x".repeat(5000));
    (0..10).for_each(|_| reconcile(&sets, "web", &large));
    let mut tape = Tape::default();
    tape.start();
    let recording = tape.recording().expect("it records");
    let secret = recording.object(br#"{"kind":"Secret","metadata":{"name":"s"},"data":{"k":"aHVudGVyMg=="}}"#, 9, true);
    let resource = pintle_plugin_bindings::common::types::ResourceId { group: String::new(), version: "v1".to_owned(), name: "secrets".to_owned() };
    let body = br#"{"kind":"Secret","data":{"k":"aHVudGVyMg=="}}"#;
    recording.asked(Question::write(Verb::Update, &resource, "n", "s", "", body), Reply::Written(secret, "s".to_owned()));
    let what = What::Reconcile(Reconcile { instance: 1, answer: Answer::Returned(Ok(None)) });
    sets.decided(subject("replicasets.apps", "web"), Duration::ZERO, tape.stop(), None, what);
    log.flush(PATIENCE);
    let mut versions = 0;
    let take = |record: Option<Record>| {
        let text = format!("{record:?}");
        assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMg"), "{text}");
        versions += usize::from(text.contains("xxxxx"));
        Ok(())
    };
    each(log.folder(), take).expect("a log");
    assert_eq!(versions, 1);
}

/// How long the deciding side is kept, for a pod of usual size: printed, and far below what a decision takes.
#[test]
fn handing_over_costs_microseconds() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Log::start(folder.path().to_owned(), Bounds::default()).expect("a log");
    let scheduler = session(&log, "s", World::Scheduler, "x");
    scheduler.fed(Feed::Fresh, Default::default(), vec![namespace("n")]);
    let pod = usual_pod();
    let count = 5000;
    let begun = std::time::Instant::now();
    for _ in 0..count {
        let mut note = PlacementNote::new(&pod, Scope { start: 0, limit: 0, top: 3, seed: 7 }, 5000);
        let ranked = (0..3).map(|node| Ranked { node, score: 100 }).collect();
        let choice = Choice { ranked, feasible: 500, looked_at: 500, next_start: 500 };
        note.answered(Duration::ZERO, Default::default(), &Ok(Ok(Outcome::Fits(choice))), |_| Some("node-with-a-name"));
        scheduler.fed(Feed::More, Default::default(), vec![Delta::Place(Placed { pod: pod.clone(), node: 1 })]);
        note.finish(&scheduler, Verdict::Placed("node-with-a-name".to_owned()));
    }
    let each = begun.elapsed() / count;
    log.flush(PATIENCE);
    println!("{each:?} for each decision (one clone of its pod included)\n{}", log.counters().render());
    assert!(each < Duration::from_millis(1), "{each:?}");
}

fn usual_pod() -> Pod {
    let pairs = |n: usize| (0..n).map(|i| Pair { key: format!("app.kubernetes.io/key-{i}"), value: format!("value-{i}") }).collect::<Vec<_>>();
    let resources = Resources { milli_cpu: 250, memory: 1 << 28, ephemeral_storage: 0, extended: Vec::new() };
    let toleration = || Toleration { key: "node.kubernetes.io/not-ready".to_owned(), exists: true, value: String::new(), effect: None };
    Pod {
        uid: "0b5e7bd2-8d3c-4d6c-9d53-3c8f1c4e7a10".to_owned(),
        namespace: "default".to_owned(),
        name: "web-6d4cf56db6-abcde".to_owned(),
        labels: pairs(4),
        annotations: pairs(1),
        priority: 0,
        may_preempt: true,
        requests: resources,
        scored_milli_cpu: 250,
        scored_memory: 1 << 28,
        tolerations: vec![toleration(), toleration()],
        images: vec!["registry.example/team/web:v1.2.3".to_owned()],
        constraints: None,
        nominated: None,
        started: 1_700_000_000,
        deleting: false,
    }
}

#[test]
fn what_was_heard_is_part_of_the_inputs() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Log::start(folder.path().to_owned(), Bounds::default()).expect("a log");
    let sets = session(&log, "c", World::Controller, "replicasets.apps");
    for now in [1, 1, 2] {
        let mut tape = Tape::default();
        tape.start();
        tape.now(|| now);
        let what = What::Reconcile(Reconcile { instance: 1, answer: Answer::Returned(Ok(None)) });
        sets.decided(subject("replicasets.apps", "web"), Duration::ZERO, tape.stop(), None, what);
    }
    log.flush(PATIENCE);
    let all = decisions(log.folder());
    assert_eq!(all[0].heard, [Heard::Now(1)]);
    assert_eq!(all[0].inputs, all[1].inputs);
    assert_ne!(all[1].inputs, all[2].inputs);
    assert!(all[0].number < all[1].number, "no number twice");
}
