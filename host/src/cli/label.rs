//! `label`, `annotate` and `taint`: words of the form `KEY=VALUE` and `KEY-` on objects.

use std::process::ExitCode;

use anyhow::{Result, bail};
use pintle_api::object::ObjectExt;
use serde_json::{Map, Value, json};

use super::describe::taint as taint_text;
use super::files::FileArgs;
use super::print;
use super::resolve::{Found, Selectors, objects, targets};
use super::session::{Global, MERGE_PATCH, Session, with_query};
use super::written::{DryRun, DryRunArgs, show};

#[derive(clap::Args, Debug)]
pub struct LabelArgs {
    /// TYPE NAME... or TYPE/NAME..., then KEY=VALUE and KEY-
    pub words: Vec<String>,
    #[command(flatten)]
    pub files: FileArgs,
    #[command(flatten)]
    pub selectors: Selectors,
    #[arg(long)]
    pub all: bool,
    /// Replace values that are there
    #[arg(long)]
    pub overwrite: bool,
    /// Show what there is instead
    #[arg(long)]
    pub list: bool,
    #[arg(long)]
    pub resource_version: Option<String>,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
    #[arg(short, long)]
    pub output: Option<String>,
    #[command(flatten)]
    pub global: Global,
}

#[derive(clap::Args, Debug)]
pub struct TaintArgs {
    /// node NAME..., then KEY[=VALUE]:EFFECT and KEY[:EFFECT]-
    #[arg(required = true)]
    pub words: Vec<String>,
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    #[arg(long)]
    pub all: bool,
    #[arg(long)]
    pub overwrite: bool,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
    #[command(flatten)]
    pub global: Global,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum What {
    Labels,
    Annotations,
}

/// What to set, and what to take away.
#[derive(Default)]
struct Changes {
    set: Vec<(String, String)>,
    remove: Vec<String>,
}

impl What {
    fn field(self) -> &'static str {
        if self == Self::Labels { "labels" } else { "annotations" }
    }
}

pub async fn run(args: LabelArgs, what: What) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let dry_run = args.dry_run.mode()?;
    let is_change = |w: &String| (w.contains('=') && !w.starts_with('=')) || w.ends_with('-');
    let (changes, resources): (Vec<String>, Vec<String>) = args.words.iter().cloned().partition(is_change);
    let changes = Changes::parse(&changes, what)?;
    if changes.is_empty() && !args.list {
        bail!("at least one {} update is required", if what == What::Labels { "label" } else { "annotation" });
    }
    if args.files.is_empty() && resources.is_empty() {
        bail!("one or more resources must be specified as <resource> <name> or <resource>/<name>");
    }
    let found = targets(&session, &args.files, &resources, &args.selectors, args.all).await?;
    let mut failed = false;
    for target in found {
        let live = session.get(&target.path("")).await?;
        if args.list {
            for (key, value) in live.map_at(&["metadata", what.field()]).into_iter().flatten() {
                print::line(&format!("{key}={}", value.as_str().unwrap_or_default()));
            }
            continue;
        }
        if let Err(error) = one(&session, &args, what, &changes, &target, &live, dry_run).await {
            super::complain(&error);
            failed = true;
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn one(session: &Session, args: &LabelArgs, what: What, changes: &Changes, target: &Found, live: &Value, dry_run: DryRun) -> Result<()> {
    let field = what.field();
    let empty = Map::new();
    let now = live.map_at(&["metadata", field]).unwrap_or(&empty);
    let mut patch = Map::new();
    for (key, value) in &changes.set {
        let before = now.get(key).and_then(Value::as_str);
        match before {
            Some(before) if before != value && !args.overwrite && what == What::Labels => {
                bail!("'{key}' already has a value ({before}), and --overwrite is false")
            }
            Some(before) if before != value && !args.overwrite => {
                bail!("--overwrite is false but found the following declared annotation(s): '{key}' already has a value ({before})")
            }
            Some(before) if before == value => {}
            _ => drop(patch.insert(key.clone(), value.clone().into())),
        }
    }
    let mut removed = false;
    for key in &changes.remove {
        if now.contains_key(key) {
            patch.insert(key.clone(), Value::Null);
            removed = true;
        } else if what == What::Labels {
            print::line(&format!("label {key:?} not found."));
        }
    }
    let verb = match (what, patch.is_empty(), removed && changes.set.is_empty()) {
        (What::Labels, true, _) => "not labeled",
        (What::Labels, _, true) => "unlabeled",
        (What::Labels, _, false) => "labeled",
        (What::Annotations, ..) => "annotated",
    };
    let mut object = live.clone();
    if !patch.is_empty() && dry_run != DryRun::Client {
        let mut body = json!({"metadata": {field: patch}});
        if let Some(version) = &args.resource_version {
            body["metadata"]["resourceVersion"] = version.clone().into();
        }
        object = session.patch(&with_query(&target.path(""), &[("dryRun", dry_run.query())]), MERGE_PATCH, &body).await?;
    } else if !patch.is_empty() {
        object = pintle_api::patch::merge::apply(object, json!({"metadata": {field: patch}}))?;
    }
    show(&target.def, object, verb, dry_run, args.output.as_deref())
}

impl Changes {
    fn parse(words: &[String], what: What) -> Result<Self> {
        let mut changes = Self::default();
        for word in words {
            match word.split_once('=') {
                Some((key, value)) => changes.set.push((key.to_owned(), value.to_owned())),
                None => changes.remove.push(word.trim_end_matches('-').to_owned()),
            }
        }
        if changes.set.iter().any(|(key, _)| changes.remove.contains(key)) {
            match what {
                What::Labels => bail!("can not both modify and remove a label in the same command"),
                What::Annotations => bail!("can not both modify and remove the following annotation(s) in the same command"),
            }
        }
        Ok(changes)
    }

    fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}

pub async fn taint(args: TaintArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let dry_run = args.dry_run.mode()?;
    let is_change = |w: &String| w.contains(':') || w.contains('=') || w.ends_with('-');
    let (changes, resources): (Vec<&String>, Vec<&String>) = args.words.iter().partition(|w| is_change(w));
    if changes.is_empty() {
        bail!("at least one taint update is required");
    }
    let resources: Vec<String> = resources.into_iter().cloned().collect();
    let selectors = Selectors { selector: args.selector.clone(), ..Selectors::default() };
    for target in objects(&session, &resources, &selectors, args.all).await? {
        if target.object.kind() != "Node" {
            bail!("invalid resource type {}, only node types are supported", target.def.resource);
        }
        let (taints, removed) = tainted(&target, &changes, args.overwrite)?;
        if dry_run != DryRun::Client {
            let patch = json!({"metadata": {"resourceVersion": target.object.resource_version()}, "spec": {"taints": taints}});
            session.patch(&with_query(&target.path(""), &[("dryRun", dry_run.query())]), MERGE_PATCH, &patch).await?;
        }
        show(&target.def, target.object.clone(), if removed { "untainted" } else { "tainted" }, dry_run, None)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The node's taints afterwards, and whether something was only taken away.
fn tainted(target: &Found, changes: &[&String], overwrite: bool) -> Result<(Vec<Value>, bool)> {
    let mut taints = target.object.list_at(&["spec", "taints"]).to_vec();
    let mut only_removed = true;
    for change in changes {
        let (rest, remove) = change.strip_suffix('-').map_or((change.as_str(), false), |rest| (rest, true));
        let (pair, effect) = rest.split_once(':').unwrap_or((rest, ""));
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let same = |t: &Value| t.str_at(&["key"]) == key && (effect.is_empty() || t.str_at(&["effect"]) == effect);
        if remove {
            let before = taints.len();
            taints.retain(|t| !same(t));
            if taints.len() == before {
                bail!("taint {rest:?} not found");
            }
            continue;
        }
        only_removed = false;
        if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            bail!("invalid taint spec: {change}, unsupported taint effect");
        }
        if let Some(at) = taints.iter().position(same) {
            if !overwrite {
                bail!("node {} already has {} taint(s) with same effect(s) and --overwrite is false", target.name(), taint_text(&taints[at]));
            }
            taints.remove(at);
        }
        let mut taint = json!({"key": key, "effect": effect});
        if !value.is_empty() {
            taint["value"] = value.into();
        }
        taints.push(taint);
    }
    Ok((taints, only_removed))
}
