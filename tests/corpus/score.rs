//! Compares a server's answers with upstream's, and keeps what is known to differ.
//!
//! `want/KIND.json` holds upstream's answers, a line each. `known.txt` names the cases in which ours still differs: a case that is not
//! named there must agree, so no case that agreed once can fall.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::Result;
use super::answer::Answer;
use super::drive::Answers;

/// The folder of the corpus.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/validation")
}

#[derive(Clone, Copy, Default)]
pub struct Score {
    pub cases: usize,
    /// Code, reason, and the causes' fields and reasons agree.
    pub fields: usize,
    /// All messages and warnings too.
    pub exact: usize,
}

pub struct Report {
    pub by_kind: BTreeMap<String, Score>,
    /// `KIND: case`, what was wanted, what came; those whose fields agree are marked.
    pub differing: Vec<Difference>,
}

pub struct Difference {
    pub case: String,
    pub want: Answer,
    pub have: Answer,
}

pub fn read_wanted(kind: &str) -> Result<Answers> {
    let file = folder().join("want").join(format!("{kind}.json"));
    Ok(serde_json::from_slice(&std::fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?)?)
}

pub fn write_wanted(kind: &str, answers: &Answers) -> Result<()> {
    let mut text = String::from("{\n");
    for (i, (id, answer)) in answers.iter().enumerate() {
        let comma = if i + 1 < answers.len() { "," } else { "" };
        writeln!(text, "{}: {}{comma}", serde_json::to_string(id)?, serde_json::to_string(answer)?)?;
    }
    text.push_str("}\n");
    std::fs::create_dir_all(folder().join("want"))?;
    Ok(std::fs::write(folder().join("want").join(format!("{kind}.json")), text)?)
}

pub fn compare(wanted: &BTreeMap<String, Answers>, had: &BTreeMap<String, Answers>) -> Report {
    let mut report = Report { by_kind: BTreeMap::new(), differing: Vec::new() };
    for (kind, answers) in had {
        let score = report.by_kind.entry(kind.clone()).or_default();
        for (id, have) in answers {
            score.cases += 1;
            let want = wanted.get(kind).and_then(|w| w.get(id)).cloned().unwrap_or_default();
            score.fields += usize::from(want.same_fields(have));
            score.exact += usize::from(want.same(have));
            if !want.same(have) {
                report.differing.push(Difference { case: format!("{kind}: {id}"), want, have: have.clone() });
            }
        }
    }
    report
}

impl Report {
    pub fn total(&self) -> Score {
        self.by_kind.values().fold(Score::default(), |a, b| Score { cases: a.cases + b.cases, fields: a.fields + b.fields, exact: a.exact + b.exact })
    }

    /// A table in Markdown.
    pub fn table(&self) -> String {
        let mut text = String::from("| kind | cases | fields agree | all agrees |\n|---|---|---|---|\n");
        for (kind, score) in self.by_kind.iter().map(|(k, s)| (k.as_str(), *s)).chain([("**all**", self.total())]) {
            let _ = writeln!(text, "| {kind} | {} | {} | {} |", score.cases, score.fields, score.exact);
        }
        text
    }

    /// Cases that differ and are not known to.
    pub fn fallen(&self) -> Result<Vec<&Difference>> {
        let known = read_known()?;
        Ok(self.differing.iter().filter(|d| !known.contains(&d.line())).collect())
    }

    pub fn write_known(&self) -> Result<()> {
        let total = self.total();
        let mut text =
            format!("# {} of {} cases agree to the letter, {} in code, reason and fields. These differ:\n", total.exact, total.cases, total.fields);
        for difference in &self.differing {
            let _ = writeln!(text, "{}", difference.line());
        }
        Ok(std::fs::write(folder().join("known.txt"), text)?)
    }
}

impl Difference {
    /// As `known.txt` has it.
    fn line(&self) -> String {
        self.case.escape_debug().to_string()
    }

    pub fn told(&self) -> String {
        let show = |answer: &Answer| serde_json::to_string(answer).unwrap_or_default();
        let level = if self.want.same_fields(&self.have) { "words" } else { "fields" };
        format!("{level} {}\n   want {}\n   have {}", self.case, show(&self.want), show(&self.have))
    }
}

fn read_known() -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(folder().join("known.txt"))?;
    Ok(text.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect())
}
