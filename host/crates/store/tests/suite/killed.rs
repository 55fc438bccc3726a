//! kill -9 while a process writes: what it acknowledged is on disk, and nothing is there by halves.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use pintle_store::{Revision, Store, embedded};

use crate::{put, write};

const CHILD_FILE: &str = "STORE_TEST_CHILD_FILE";
const CHILD_ROUND: &str = "STORE_TEST_CHILD_ROUND";
const KILLS: usize = 12;
const WRITERS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let mut acknowledged: HashMap<String, (usize, Revision)> = HashMap::new();
    for round in 0..KILLS {
        // Acknowledgements to wait for before the kill: each round dies at another moment.
        write_and_kill(&path, round, 1 + round * round * 11, &mut acknowledged);
        let store = embedded::open(&path, embedded::Options::default()).unwrap();
        let newest = store.revision().await.unwrap();
        for (name, &(n, revision)) in &acknowledged {
            assert!(newest >= revision, "{revision} was acknowledged, the file ends at {newest}");
            let pair = [store.get(format!("/a/{name}").as_bytes()).await.unwrap(), store.get(format!("/b/{name}").as_bytes()).await.unwrap()];
            let [a, b] = pair.map(|entry| entry.expect("an acknowledged write is there"));
            assert!(a.revision == b.revision && a.value == b.value, "half a transaction: {a:?} {b:?}");
            let found: usize = std::str::from_utf8(&a.value).unwrap().parse().unwrap();
            assert!(a.revision >= revision && found >= n, "{name}: {n} at {revision} was acknowledged, {found} is there");
        }
        store.close().await.unwrap();
    }
    assert!(acknowledged.len() > KILLS, "hardly anything was written");
}

/// Runs this test binary again as the writer and kills it after so many lines.
fn write_and_kill(path: &Path, round: usize, lines: usize, acknowledged: &mut HashMap<String, (usize, Revision)>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::child_that_writes", "--nocapture", "--test-threads=1"])
        .env(CHILD_FILE, path)
        .env(CHILD_ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut seen = 0;
    let mut line = String::new();
    // To the end of the pipe: what was printed before the kill was acknowledged too.
    while output.read_line(&mut line).unwrap() > 0 {
        if let Some(("ack", [name, n, revision])) = parse(&line) {
            acknowledged.insert(name.to_owned(), (n.parse().unwrap(), revision.parse().unwrap()));
            seen += 1;
            if seen == lines {
                child.kill().unwrap();
            }
        }
        line.clear();
    }
    child.wait().unwrap();
    assert!(seen >= lines, "the writer ended by itself after {seen} lines");
}

/// A line that the kill cut off has no newline and counts as not sent.
fn parse(line: &str) -> Option<(&str, [&str; 3])> {
    let mut words = line.strip_suffix('\n')?.split(' ');
    Some((words.next()?, [words.next()?, words.next()?, words.next()?]))
}

/// The writer. As a test of its own it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_writes() {
    let Ok(path) = std::env::var(CHILD_FILE) else { return };
    let round = std::env::var(CHILD_ROUND).unwrap();
    let store = embedded::open(path, embedded::Options::default()).unwrap();
    println!();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, round) = (store.clone(), round.clone());
            tokio::spawn(async move {
                let name = format!("{round}-{writer}");
                for n in 0usize.. {
                    let value = n.to_string();
                    let ops = [put(&format!("/a/{name}"), &value), put(&format!("/b/{name}"), &value)];
                    let revision = store.commit(write(ops)).await.unwrap();
                    let line = format!("ack {name} {n} {revision}\n");
                    // One write call a line: a kill between lines, never between halves of two.
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}
