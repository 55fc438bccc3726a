//! kubectl against upstream's API server and against ours: the same commands, the same words.
//!
//! Each file of `kubectl/` is a table of commands with what upstream's kube-apiserver (and the controllers of upstream that are bookkeeping
//! of ours) made kubectl print; `files.rs` tells the format. The test runs the commands against `pintle server --no-plugins`, and whatever
//! reads otherwise must stand in `differences.txt` with its reason. A difference that is gone must leave that list.
//!
//! With `PINTLE_GOLDENS_FROM=KUBECONFIG` the test writes the goldens anew from that cluster instead: see `README.md` there.

mod files;
mod normal;
mod runner;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::clients::tools;
use crate::e2e::cluster::Server;
use crate::e2e::run::workspace;

use files::{Command, Table};

/// Files run side by side: kubectl's start is most of the time.
const LANES: usize = 3;

fn folder() -> PathBuf {
    workspace().join("tests/goldens/kubectl")
}

#[test]
fn kubectl_prints_what_it_prints_with_upstream() {
    let kubectl = tools::kubectl();
    let chosen = std::env::var("PINTLE_GOLDENS_ONLY").unwrap_or_default();
    let tables: Vec<Table> = tables().into_iter().filter(|t| t.name.contains(&chosen)).collect();
    if let Some(kubeconfig) = std::env::var_os("PINTLE_GOLDENS_FROM") {
        for (table, seen) in tables.iter().zip(run(&tables, &kubectl, Path::new(&kubeconfig), false)) {
            std::fs::write(folder().join(format!("{}.txt", table.name)), table.with(&seen).to_string()).expect("is writable");
        }
        return;
    }
    let server = Server::start_without_plugins();
    let seen = run(&tables, &kubectl, &server.kubeconfig(), true);
    let known = Table::parse("differences", &read(&folder().join("differences.txt")));
    let (faults, commands) = compare(&tables, &seen, &known, chosen.is_empty());
    if std::env::var_os("PINTLE_GOLDENS_SEEN").is_some() {
        println!("{faults}");
    }
    assert!(faults.is_empty(), "of {commands} commands some read otherwise than with upstream:\n{faults}");
    assert!(!chosen.is_empty() || commands >= 150, "{commands} commands are fewer than there were");
}

fn tables() -> Vec<Table> {
    let entries = std::fs::read_dir(folder()).expect("the goldens' folder").flatten().map(|e| e.path());
    let mut files: Vec<PathBuf> = entries.filter(|p| p.extension().is_some_and(|e| e == "txt") && !p.ends_with("differences.txt")).collect();
    files.sort();
    files.iter().map(|f| Table::parse(&f.file_stem().expect("a name").to_string_lossy(), &read(f))).collect()
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// What each command of each table printed, in order. `wait`: watches are given time until they printed what the golden has.
fn run(tables: &[Table], kubectl: &Path, kubeconfig: &Path, wait: bool) -> Vec<Vec<String>> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let seen = std::sync::Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some((at, table)) = take(&next, tables) {
                    let outputs = runner::run(table, kubectl, kubeconfig, &folder(), wait);
                    seen.lock().expect("no lane panicked").insert(at, outputs);
                }
            });
        }
    });
    seen.into_inner().expect("no lane panicked").into_values().collect()
}

fn take<'t>(next: &std::sync::atomic::AtomicUsize, tables: &'t [Table]) -> Option<(usize, &'t Table)> {
    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    tables.get(at).map(|table| (at, table))
}

/// Everything that is neither as upstream has it nor as the list of differences says, and how many commands were compared.
fn compare(tables: &[Table], seen: &[Vec<String>], known: &Table, whole: bool) -> (String, usize) {
    let mut faults = String::new();
    let mut commands = 0;
    let mut used = vec![false; known.commands.len()];
    for (table, seen) in tables.iter().zip(seen) {
        for (at, (command, seen)) in table.commands.iter().zip(seen).enumerate() {
            commands += 1;
            let title = table.title(at);
            let listed = known.commands.iter().position(|k| k.line == title);
            if let Some(at) = listed {
                used[at] = true;
            }
            judge(&title, command, listed.map(|at| &known.commands[at]), seen, &mut faults);
        }
    }
    let stale = known.commands.iter().zip(&used).filter(|(_, used)| whole && !**used);
    for (command, _) in stale {
        let _ = writeln!(faults, "\ndifferences.txt lists {:?}, which no table has", command.line);
    }
    (faults, commands)
}

fn judge(title: &str, golden: &Command, listed: Option<&Command>, seen: &str, faults: &mut String) {
    let (seen, upstream) = (normal::normal(seen), normal::normal(&golden.output));
    if let Some(listed) = listed {
        assert!(listed.comment.iter().any(|l| !l.trim_start_matches('#').trim().is_empty()), "{title}: a difference needs its reason");
        if seen == upstream {
            let _ = writeln!(faults, "\n{title}\nis as upstream has it now: take it off differences.txt");
        } else if seen != normal::normal(&listed.output) {
            let _ = writeln!(faults, "\n{title}\ndiffers, and not as listed:\n{}", files::shown(&seen));
        }
    } else if seen != upstream {
        let _ = writeln!(faults, "\n{title}\n--- upstream\n{}+++ pintle\n{}", files::shown(&upstream), files::shown(&seen));
    }
}
