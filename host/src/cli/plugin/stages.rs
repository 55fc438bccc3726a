//! Candidates beside the live revision: put into a stage, watched disagreeing, promoted, withdrawn. All of it is a change of the Plugin
//! object's `spec.candidate` or a look at its `status.candidate`.

use std::path::{Component, Path};
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use clap::ValueEnum;
use http::Method;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::{live, plugins, short_digest, text};
use crate::cli::print;
use crate::cli::session::{JSON, MERGE_PATCH, Session, object_path, refusal};
use crate::cli::wait::{condition, duration, until};

/// Writes that are tried again when somebody else, mostly the host with its status, was faster.
const CONFLICTS: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// Compared with the live revision, decides nothing
    #[value(alias = "Shadow")]
    Shadow,
    /// Decides a share
    #[value(alias = "Canary")]
    Canary,
    /// Takes the live revision's place
    #[value(alias = "Live")]
    Live,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Stage::Shadow => "Shadow",
            Stage::Canary => "Canary",
            Stage::Live => "Live",
        }
    }
}

/// What `apply --stage` says of the stage.
#[derive(clap::Args, Clone, Debug)]
pub struct StageArgs {
    /// Put it beside the live revision; a canary takes --percent, or the namespaces of --namespace (A,B)
    #[arg(long, ignore_case = true)]
    pub stage: Option<Stage>,
    /// Share of a canary
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=100), requires = "stage")]
    percent: Option<u32>,
    /// Promote by itself: agreement=0.99,decisions=500,faults=allowed; each may be left out
    #[arg(long, value_name = "TERMS", requires = "stage")]
    promote_when: Option<String>,
}

impl StageArgs {
    /// `spec.candidate` for a revision; none when it is to be live at once.
    pub fn candidate(&self, session: &Session, spec: &Value) -> Result<Option<Value>> {
        let stage = match self.stage {
            None | Some(Stage::Live) => return Ok(None),
            Some(stage) => stage.name(),
        };
        let mut candidate = json!({"source": spec["source"], "stage": stage});
        for field in ["digest", "config", "limits"] {
            if !spec[field].is_null() {
                candidate[field] = spec[field].clone();
            }
        }
        if stage == "Canary" {
            let mut canary = json!({});
            if let Some(percent) = self.percent {
                canary["percent"] = percent.into();
            }
            if session.namespace_is_explicit {
                canary["namespaces"] = session.namespace.split(',').map(Value::from).collect();
            }
            if canary == json!({}) {
                bail!("a canary needs its share: --percent N or --namespace A,B");
            }
            candidate["canary"] = canary;
        }
        if let Some(terms) = &self.promote_when {
            candidate["promoteWhen"] = promote_when(terms)?;
        }
        Ok(Some(candidate))
    }
}

/// Puts the candidate beside the live revision and waits until it is at work; a refused one is taken away again.
pub async fn apply(session: &Session, name: &str, candidate: Value, timeout: Option<&str>) -> Result<()> {
    let def = plugins(session).await?;
    let path = object_path(def, None, name, "");
    for attempt in 1.. {
        let Some(mut plugin) = session.get_optional(&path).await? else {
            bail!("there is no plugin {name:?} to put a candidate beside: apply it without --stage, or give --name");
        };
        let before = plugin["spec"]["candidate"].take();
        plugin["spec"]["candidate"] = candidate.clone();
        match session.send(Method::PUT, &path, JSON, serde_json::to_vec(&plugin)?).await {
            Ok(written) => {
                print::line(&format!("plugin.pintle.dev/{name} configured"));
                let Some(timeout) = timeout else { return Ok(()) };
                let Err(refused) = until_at_work(session, &written, timeout).await else { return Ok(()) };
                session.patch(&path, MERGE_PATCH, &json!({"spec": {"candidate": null}})).await?;
                if !before.is_null() {
                    session.patch(&path, MERGE_PATCH, &json!({"spec": {"candidate": before}})).await?;
                }
                return Err(refused);
            }
            Err(error) if attempt < CONFLICTS && refusal(&error).is_some_and(|s| s.code == 409) => {}
            Err(error) if attempt < CONFLICTS && refusal(&error).is_some_and(|s| s.code == 413) => {
                let Some(source) = by_digest(&plugin) else { return Err(error) };
                session.patch(&path, MERGE_PATCH, &json!({"spec": {"source": source}})).await?;
                eprintln!("two components do not fit into one object: the live one's is kept by the server and named by its digest from now on");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The live revision's source without its bytes, which the server has kept. A promotion does the same to a candidate's.
fn by_digest(plugin: &Value) -> Option<Value> {
    let digest = text(&plugin["status"], &["activeDigest"]);
    let inline = !text(plugin, &["spec", "source", "inline"]).is_empty();
    (inline && !digest.is_empty()).then(|| json!({"inline": null, "digest": digest}))
}

async fn until_at_work(session: &Session, written: &Value, timeout: &str) -> Result<()> {
    let def = plugins(session).await?;
    let (name, generation) = (written.name(), written.i64_at(&["metadata", "generation"]).unwrap_or(1));
    let mut told = None;
    let settled = until(session, def, None, name, |plugin| {
        let Some(plugin) = plugin else { bail!("plugin {name:?} was deleted") };
        let ready = condition(plugin, "CandidateReady").filter(|c| c.i64_at(&["observedGeneration"]).is_some_and(|g| g >= generation));
        // Promoted already: there is no candidate any more.
        let gone = plugin["spec"]["candidate"].is_null();
        told = ready.map(|c| (c["status"] == "True", format!("{}: {}", text(c, &["reason"]), text(c, &["message"])), plugin.clone()));
        Ok(told.is_some() || gone)
    });
    match tokio::time::timeout(duration(timeout)?, settled).await {
        Ok(done) => done?,
        Err(_) => bail!("timed out: the candidate of plugin {name:?} is not at work after {timeout}"),
    }
    match told {
        Some((false, why, _)) => Err(anyhow!("the candidate of plugin {name:?} was refused: {why}")),
        Some((true, _, plugin)) => {
            let status = &plugin["status"]["candidate"];
            print::line(&format!("Candidate: {}{}, {}", text(status, &["stage"]), share(&plugin), text(status, &["digest"])));
            print::line(&format!("See where it disagrees with 'pintle plugin diff {name}', and let it decide with 'pintle plugin promote {name}'."));
            Ok(())
        }
        None => Ok(()),
    }
}

/// True when there was a candidate, which lives now.
pub async fn promote(session: &Session, name: &str, timeout: &str) -> Result<bool> {
    let def = plugins(session).await?;
    let path = object_path(def, None, name, "");
    let plugin = session.get_object(def, None, name).await?;
    if plugin["spec"]["candidate"].is_null() {
        return Ok(false);
    }
    let written = session.patch(&path, MERGE_PATCH, &json!({"spec": {"candidate": {"stage": "Live"}}})).await?;
    let generation = written.i64_at(&["metadata", "generation"]).unwrap_or(1);
    let mut moved = None;
    let settled = until(session, def, None, name, |plugin| {
        let Some(plugin) = plugin else { bail!("plugin {name:?} was deleted") };
        if plugin["spec"]["candidate"].is_null() {
            moved = Some(plugin.clone());
            return Ok(true);
        }
        let fresh = condition(plugin, "CandidateReady").filter(|c| c.i64_at(&["observedGeneration"]).is_some_and(|g| g >= generation));
        match fresh.filter(|c| c["status"] == "False") {
            Some(fault) => bail!("the candidate of plugin {name:?} was refused: {}: {}", text(fault, &["reason"]), text(fault, &["message"])),
            None => Ok(false),
        }
    });
    match tokio::time::timeout(duration(timeout)?, settled).await {
        Ok(done) => done?,
        Err(_) => bail!("timed out: the candidate of plugin {name:?} is not live after {timeout}"),
    }
    let serving = live::until_serving(session, &moved.unwrap_or(written), timeout).await?;
    live::report(&serving, "promoted");
    Ok(true)
}

/// True when there was a candidate, which is gone now.
pub async fn withdraw(session: &Session, plugin: &Value) -> Result<bool> {
    if plugin["spec"]["candidate"].is_null() {
        return Ok(false);
    }
    let def = plugins(session).await?;
    let path = object_path(def, None, plugin.name(), "");
    session.patch(&path, MERGE_PATCH, &json!({"spec": {"candidate": null}})).await?;
    let revision = plugin.i64_at(&["status", "activeRevision"]).unwrap_or(0);
    print::line(&format!("plugin.pintle.dev/{} candidate withdrawn; revision {revision} decides", plugin.name()));
    Ok(true)
}

/// Whether a word on the command line means this plugin's candidate, though a file or folder has the same name.
pub async fn is_meant(session: &Session, word: &Path) -> Result<bool> {
    let Some(name) = word.to_str().filter(|_| word.extension().is_none() && word.components().eq([Component::Normal(word.as_os_str())])) else {
        return Ok(false);
    };
    let plugin = session.get_optional(&object_path(plugins(session).await?, None, name, "")).await?;
    Ok(plugin.is_some_and(|plugin| plugin["status"]["candidate"].is_object()))
}

/// Where the candidate disagrees and why; goes on with what comes when `follow`.
pub async fn diff(session: &Session, name: &str, follow: bool) -> Result<ExitCode> {
    let def = plugins(session).await?;
    let mut shown: Vec<Value> = Vec::new();
    let mut differs = false;
    let mut first = true;
    let watched = until(session, def, None, name, |plugin| {
        let Some(plugin) = plugin else { bail!("plugins.pintle.dev {name:?} not found") };
        let status = &plugin["status"]["candidate"];
        if first && !status.is_object() {
            bail!("plugin {name:?} has no candidate: put one beside it with 'pintle plugin apply FILE --name {name} --stage Shadow'");
        }
        if first {
            print::line(&summary(plugin));
        }
        first = false;
        let now = status.list_at(&["differences"]);
        now[overlap(&shown, now)..].iter().for_each(|d| print::text(&difference(d)));
        differs |= !now.is_empty();
        shown = now.to_vec();
        // A promoted or withdrawn candidate has nothing more to say.
        Ok(!follow || !status.is_object())
    });
    watched.await?;
    Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Cells of the candidate's row in `plugin list`, where there is one.
pub fn row(plugin: &Value) -> Option<[String; 5]> {
    let status = plugin["status"].get("candidate").filter(|c| c.is_object())?;
    let ready = condition(plugin, "CandidateReady").map_or("Unknown", |c| text(c, &["status"]));
    let since = pintle_api::table::since(text(status, &["since"]), jiff::Timestamp::now());
    Some([text(status, &["stage"]).to_owned(), short_digest(text(status, &["digest"])).to_owned(), ready.to_owned(), agreement(status), since])
}

fn agreement(status: &Value) -> String {
    let compared = status.i64_at(&["compared"]).unwrap_or(0);
    match text(status, &["agreement"]) {
        "" => "<none>".to_owned(),
        share => format!("{share} of {compared}"),
    }
}

fn summary(plugin: &Value) -> String {
    let status = &plugin["status"]["candidate"];
    let count = |field: &str| status.i64_at(&[field]).unwrap_or(0);
    let (stage, digest) = (text(status, &["stage"]), short_digest(text(status, &["digest"])));
    let mut line = format!("{}: {stage}{} {digest}; ", plugin.name(), share(plugin));
    // A canary has nothing to agree with.
    line.push_str(&match is_canary(plugin) {
        true => format!("{} decisions, {} failed", count("compared"), count("compared") - count("agreed")),
        false => format!("{} of {} decisions agreed", count("agreed"), count("compared")),
    });
    line.push_str(&format!(", {} faults", count("faults")));
    for (field, what) in [("feasibleDiffers", "with other feasible nodes"), ("skipped", "skipped")] {
        if count(field) > 0 {
            line.push_str(&format!(", {} {what}", count(field)));
        }
    }
    if !text(status, &["message"]).is_empty() {
        line.push_str(&format!("; {}", text(status, &["message"])));
    }
    line
}

fn is_canary(plugin: &Value) -> bool {
    text(plugin, &["spec", "candidate", "stage"]) == "Canary"
}

/// What a canary decides, in brackets; nothing of others.
fn share(plugin: &Value) -> String {
    if !is_canary(plugin) {
        return String::new();
    }
    let canary = &plugin["spec"]["candidate"]["canary"];
    let percent = canary.i64_at(&["percent"]).map(|percent| format!("{percent}%"));
    let names: Vec<&str> = canary.list_at(&["namespaces"]).iter().filter_map(Value::as_str).collect();
    let namespaces = (!names.is_empty()).then(|| format!("namespaces {}", names.join(",")));
    format!(" ({})", percent.into_iter().chain(namespaces).collect::<Vec<_>>().join(" and "))
}

fn difference(d: &Value) -> String {
    let mut out = format!("{} {} {}\n", text(d, &["time"]), text(d, &["kind"]), text(d, &["subject"]));
    for (mark, field) in [("-", "live"), ("+", "candidate")] {
        if !text(d, &[field]).is_empty() {
            out.push_str(&format!("{mark} {field}: {}\n", text(d, &[field])));
        }
    }
    for reason in d.list_at(&["reasons"]) {
        out.push_str(&format!("  {}\n", reason.as_str().unwrap_or_default()));
    }
    out
}

/// How many of `now` were already there: the longest end of `before` that `now` begins with.
fn overlap(before: &[Value], now: &[Value]) -> usize {
    (0..=before.len().min(now.len())).rev().find(|n| before[before.len() - n..] == now[..*n]).unwrap_or(0)
}

fn promote_when(terms: &str) -> Result<Value> {
    let mut when = json!({});
    for term in terms.split(',') {
        let bad = || anyhow!("--promote-when takes agreement=SHARE, decisions=NUMBER and faults=allowed, not {term:?}");
        match term.split_once('=').ok_or_else(bad)? {
            ("agreement", share) => {
                let (number, unit) = share.strip_suffix('%').map_or((share, 1.0), |percent| (percent, 100.0));
                when["agreement"] = (number.parse::<f64>().map_err(|_| bad())? / unit).into();
            }
            ("decisions", count) => when["decisions"] = count.parse::<u32>().map_err(|_| bad())?.into(),
            ("faults", "allowed") => when["noFaults"] = false.into(),
            ("faults", "none") => when["noFaults"] = true.into(),
            _ => return Err(bad()),
        }
    }
    Ok(when)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_of_a_promotion() {
        assert_eq!(promote_when("agreement=99%,decisions=500").unwrap(), json!({"agreement": 0.99, "decisions": 500}));
        assert_eq!(promote_when("agreement=0.5,faults=allowed").unwrap(), json!({"agreement": 0.5, "noFaults": false}));
        for bad in ["", "agreement", "agreement=all", "decisions=-1", "faults=some", "time=1h"] {
            assert!(promote_when(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_what_lies_in_the_object_and_runs_is_named_by_its_digest() {
        let plugin = |source: Value, digest: &str| json!({"spec": {"source": source}, "status": {"activeDigest": digest}});
        let named = by_digest(&plugin(json!({"inline": "AGFzbQ=="}), "sha256:1"));
        assert_eq!(named, Some(json!({"inline": null, "digest": "sha256:1"})));
        assert_eq!(by_digest(&plugin(json!({"inline": "AGFzbQ=="}), "")), None);
        assert_eq!(by_digest(&plugin(json!({"file": "x.wasm"}), "sha256:1")), None);
    }

    #[test]
    fn a_canary_has_a_share_and_no_agreement() {
        let plugin = |candidate: Value| {
            json!({"metadata": {"name": "p"}, "spec": {"candidate": candidate},
                "status": {"candidate": {"stage": candidate["stage"], "digest": "sha256:0123456789abcdef", "compared": 10, "agreed": 8, "faults": 1}}})
        };
        let shadow = summary(&plugin(json!({"stage": "Shadow", "canary": {"percent": 5}})));
        assert_eq!(shadow, "p: Shadow sha256:0123456789ab; 8 of 10 decisions agreed, 1 faults");
        let canary = summary(&plugin(json!({"stage": "Canary", "canary": {"percent": 5, "namespaces": ["a", "b"]}})));
        assert_eq!(canary, "p: Canary (5% and namespaces a,b) sha256:0123456789ab; 10 decisions, 2 failed, 1 faults");
    }

    #[test]
    fn a_difference_reads_like_a_diff() {
        let found = json!({"time": "2026-11-21T13:00:00Z", "kind": "Choice", "subject": "pod default/web", "live": "a (9)", "candidate": "b (7)",
            "reasons": ["the candidate scores Cost: a 1, b 7"]});
        let lines = ["2026-11-21T13:00:00Z Choice pod default/web", "- live: a (9)", "+ candidate: b (7)", "  the candidate scores Cost: a 1, b 7"];
        assert_eq!(difference(&found).lines().collect::<Vec<_>>(), lines);
    }
}
