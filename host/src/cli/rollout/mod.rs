//! `rollout`: how a change of a workload's template goes, its earlier revisions, and the way back.

mod history;
mod status;

pub use self::history::same_template;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Subcommand;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::files::FileArgs;
use super::print;
use super::resolve::{Found, Selectors, objects};
use super::session::{Global, MERGE_PATCH, STRATEGIC_PATCH, Session, with_query};
use super::written::{DryRun, DryRunArgs};

#[derive(clap::Args, Debug)]
pub struct RolloutArgs {
    #[command(subcommand)]
    pub what: What,
    #[command(flatten)]
    pub global: Global,
}

#[derive(Subcommand, Debug)]
pub enum What {
    /// Follow a rollout until it is done
    Status {
        #[command(flatten)]
        targets: Targets,
        #[arg(short, long, num_args = 0..=1, default_missing_value = "true", default_value = "true", require_equals = true)]
        watch: String,
        /// 0s: as long as it takes
        #[arg(long, default_value = "0s")]
        timeout: String,
        /// Fail if another revision than this is rolled out
        #[arg(long, default_value_t = 0)]
        revision: i64,
    },
    /// Earlier revisions
    History {
        #[command(flatten)]
        targets: Targets,
        /// The template of one revision
        #[arg(long, default_value_t = 0)]
        revision: i64,
        #[arg(short, long)]
        output: Option<String>,
    },
    /// Back to an earlier revision
    Undo {
        #[command(flatten)]
        targets: Targets,
        /// 0: the one before
        #[arg(long, default_value_t = 0)]
        to_revision: i64,
        #[command(flatten)]
        dry_run: DryRunArgs,
    },
    /// Replace all pods, one after another
    Restart {
        #[command(flatten)]
        targets: Targets,
    },
    /// Take no notice of changes for now
    Pause {
        #[command(flatten)]
        targets: Targets,
    },
    /// Take notice of changes again
    Resume {
        #[command(flatten)]
        targets: Targets,
    },
}

#[derive(clap::Args, Debug)]
pub struct Targets {
    /// TYPE NAME... or TYPE/NAME...
    pub resources: Vec<String>,
    #[command(flatten)]
    pub files: FileArgs,
    #[command(flatten)]
    pub selectors: Selectors,
}

pub async fn run(args: RolloutArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    match &args.what {
        What::Status { targets, watch, timeout, revision } => {
            for target in targets.find(&session).await? {
                status::follow(&session, &target, watch == "true", timeout, *revision).await?;
            }
        }
        What::History { targets, revision, output } => {
            for target in targets.find(&session).await? {
                history::show(&session, &target, *revision, output.as_deref()).await?;
            }
        }
        What::Undo { targets, to_revision, dry_run } => {
            let dry_run = dry_run.mode()?;
            for target in targets.find(&session).await? {
                undo(&session, &target, *to_revision, dry_run).await?;
            }
        }
        What::Restart { targets } => {
            for target in targets.find(&session).await? {
                restart(&session, &target).await?;
            }
        }
        What::Pause { targets } => pause(&session, targets, true).await?,
        What::Resume { targets } => pause(&session, targets, false).await?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Targets {
    async fn find(&self, session: &Session) -> Result<Vec<Found>> {
        if self.files.is_empty() { objects(session, &self.resources, &self.selectors, true).await } else { self.files.live(session).await }
    }
}

async fn undo(session: &Session, target: &Found, to: i64, dry_run: DryRun) -> Result<()> {
    if target.object.bool_at(&["spec", "paused"]) {
        bail!("you cannot rollback a paused deployment; resume it first with 'pintle rollout resume {}' and try again", target.title());
    }
    let revisions = history::revisions(session, target).await?;
    let Some(chosen) = history::choose(&revisions, to)? else { bail!("no rollout history found for {} {:?}", target.def.singular, target.name()) };
    let done = |verb: &str| print::line(&format!("{} {verb}{}", target.title(), dry_run.suffix()));
    if history::same_template(&target.object["spec"]["template"], &chosen.template) {
        done(&format!("skipped rollback (current template already matches revision {})", chosen.number));
        return Ok(());
    }
    if dry_run != DryRun::Client {
        let path = with_query(&target.path(""), &[("dryRun", dry_run.query())]);
        match &chosen.patch {
            Some(patch) => session.patch(&path, STRATEGIC_PATCH, patch).await?,
            None => {
                // A merge of templates would keep what the newer one added.
                let patch = json!([
                    {"op": "replace", "path": "/spec/template", "value": chosen.template},
                ]);
                session.patch(&path, super::session::JSON_PATCH, &patch).await?
            }
        };
    }
    done("rolled back");
    Ok(())
}

async fn restart(session: &Session, target: &Found) -> Result<()> {
    if target.object.bool_at(&["spec", "paused"]) {
        bail!("can't restart paused deployment (run rollout resume first)");
    }
    if !matches!(target.object.kind(), "Deployment" | "DaemonSet" | "StatefulSet") {
        bail!("restarting is not supported for {}", target.def.resource);
    }
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}});
    session.patch(&target.path(""), STRATEGIC_PATCH, &patch).await?;
    print::line(&format!("{} restarted", target.title()));
    Ok(())
}

async fn pause(session: &Session, targets: &Targets, paused: bool) -> Result<()> {
    for target in targets.find(session).await? {
        if target.object.kind() != "Deployment" {
            bail!("{} is not supported for {}", if paused { "pausing" } else { "resuming" }, target.def.resource);
        }
        if target.object.bool_at(&["spec", "paused"]) == paused {
            bail!("{} {:?} is {} paused", target.def.gvr(), target.name(), if paused { "already" } else { "not" });
        }
        let value = if paused { Value::Bool(true) } else { Value::Null };
        session.patch(&target.path(""), MERGE_PATCH, &json!({"spec": {"paused": value}})).await?;
        print::line(&format!("{} {}", target.title(), if paused { "paused" } else { "resumed" }));
    }
    Ok(())
}
