//! `plugin replay`: a candidate over recorded decisions, in this process. Needs no cluster.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use pintle_plugins::replay::{Change, Report, Request, replay};

use crate::cli::print::{self, Format};
use crate::cli::tabs;

/// Changes that the text shows; `-o json` has up to a thousand.
const SHOWN_CHANGES: usize = 20;

#[derive(clap::Args, Debug)]
pub struct ReplayArgs {
    /// The component to try
    pub component: PathBuf,
    /// What `pintle plugin decisions NAME --export` wrote, or a data folder
    #[arg(long, value_name = "LOG")]
    pub from: PathBuf,
    /// Whose decisions, when the log has several plugins of that world
    #[arg(long)]
    pub plugin: Option<String>,
    /// A configuration in place of the recorded one
    #[arg(long, value_name = "TEXT")]
    pub config: Option<String>,
    /// Fail when anything would have changed
    #[arg(long)]
    pub exit_code: bool,
    /// json or yaml
    #[arg(short, long)]
    pub output: Option<String>,
}

pub async fn run(args: ReplayArgs) -> Result<ExitCode> {
    let component = std::fs::read(&args.component).with_context(|| format!("reading {}", args.component.display()))?;
    let format = Format::parse(args.output.as_deref())?;
    // Compiled code of a private folder alone is run, and it is of no use afterwards.
    let cache = scratch()?;
    let request = Request { log: args.from, component, plugin: args.plugin, config: args.config, cache: cache.join("compiled") };
    let outcome = replay(request).await;
    let _ = std::fs::remove_dir_all(&cache);
    let report = outcome?;
    if format.is_table() {
        print::text(&words(&report));
    } else {
        format.print_value(&serde_json::to_value(&report)?)?;
    }
    let unlike = report.changed > 0 || report.faults > 0;
    Ok(if args.exit_code && unlike { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn scratch() -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let nanos = jiff::Timestamp::now().as_nanosecond();
    let path = std::env::temp_dir().join(format!("pintle-replay-{}-{nanos}", std::process::id()));
    std::fs::DirBuilder::new().mode(0o700).create(&path).with_context(|| format!("creating {}", path.display()))?;
    Ok(path)
}

fn words(report: &Report) -> String {
    let recorded: Vec<&str> = report.recorded.iter().map(|d| super::short_digest(d)).collect();
    let kinds: Vec<String> = report.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let changed = if kinds.is_empty() { report.changed.to_string() } else { format!("{} ({})", report.changed, kinds.join(", ")) };
    let rows = [
        ("Plugin", report.plugin.clone()),
        ("Recorded", recorded.join(", ")),
        ("Candidate", super::short_digest(&report.candidate).to_owned()),
        ("Decisions", report.decisions.to_string()),
        ("Identical", report.identical.to_string()),
        ("Same in effect", report.same.to_string()),
        ("Changed", changed),
        ("Not replayable", report.skipped.to_string()),
        ("Faults", report.faults.to_string()),
        ("Answers", report.answers.clone()),
    ];
    let rows: String = rows.iter().map(|(name, value)| format!("{name}:\t{value}\n")).collect();
    let mut out = tabs::align(&rows, tabs::DESCRIPTION);
    for change in report.changes.iter().take(SHOWN_CHANGES) {
        out.push_str(&line(change));
    }
    let left = report.changed.saturating_sub(SHOWN_CHANGES as u64);
    if left > 0 {
        out.push_str(&format!("\nand {left} more\n"));
    }
    out
}

fn line(change: &Change) -> String {
    let Change { time, resource, namespace, name, kind, before, after, reasons } = change;
    let mut out = format!("\n{time}  {resource} {namespace}/{name}: {kind}\n  before: {before}\n  after:  {after}\n");
    reasons.iter().for_each(|reason| out.push_str(&format!("    {reason}\n")));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_report_in_words() {
        let [time, resource, namespace, name] = ["2026-01-01T12:00:00.000001Z", "pods", "n", "a"].map(str::to_owned);
        let [kind, before, after] = ["other node", "x (score 1, 2 of 2 nodes fit)", "y (score 9, 2 of 2 nodes fit)"].map(str::to_owned);
        let changes = vec![Change { time, resource, namespace, name, kind: kind.clone(), before, after, reasons: vec!["y scores 9".to_owned()] }];
        let report = Report {
            plugin: "s".to_owned(),
            recorded: ["sha256:0123456789abcdef".to_owned()].into(),
            candidate: "sha256:fedcba9876543210".to_owned(),
            decisions: 3,
            identical: 2,
            changed: 1,
            kinds: [(kind, 1)].into(),
            changes,
            answers: "sha256:aa".to_owned(),
            ..Report::default()
        };
        expect![[r#"
            Plugin:          s
            Recorded:        sha256:0123456789ab
            Candidate:       sha256:fedcba987654
            Decisions:       3
            Identical:       2
            Same in effect:  0
            Changed:         1 (1 other node)
            Not replayable:  0
            Faults:          0
            Answers:         sha256:aa

            2026-01-01T12:00:00.000001Z  pods n/a: other node
              before: x (score 1, 2 of 2 nodes fit)
              after:  y (score 9, 2 of 2 nodes fit)
                y scores 9
        "#]]
        .assert_eq(&words(&report));
    }
}
