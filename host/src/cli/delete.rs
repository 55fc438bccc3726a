//! `delete`: by manifest, name, or selector; waits until the objects are gone unless told not to.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::files::FileArgs;
use super::print;
use super::resolve::{Found, Selectors, objects};
use super::session::{Global, Session, is_not_found, with_query};
use super::wait;
use super::written::{DryRun, DryRunArgs};

#[derive(clap::Args, Debug)]
pub struct DeleteArgs {
    /// TYPE NAME... or TYPE/NAME...
    pub resources: Vec<String>,
    #[command(flatten)]
    pub files: FileArgs,
    #[command(flatten)]
    pub selectors: Selectors,
    /// Every object of the types
    #[arg(long)]
    pub all: bool,
    /// Seconds that a pod has to end; with --force 0 is at once
    #[arg(long, allow_negative_numbers = true, default_value_t = -1)]
    pub grace_period: i64,
    /// Do not wait for the node to confirm
    #[arg(long)]
    pub force: bool,
    /// The same as --grace-period=1
    #[arg(long)]
    pub now: bool,
    /// background, foreground, or orphan
    #[arg(long, num_args = 0..=1, default_missing_value = "background", default_value = "background", require_equals = true)]
    pub cascade: String,
    /// Wait until the objects are gone
    #[arg(long, num_args = 0..=1, default_missing_value = "true", default_value = "true", require_equals = true)]
    pub wait: String,
    /// How long to wait; 0s: as long as it takes
    #[arg(long, default_value = "0s")]
    pub timeout: String,
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub ignore_not_found: Option<String>,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
    /// name
    #[arg(short, long)]
    pub output: Option<String>,
    #[command(flatten)]
    pub global: Global,
}

pub async fn run(mut args: DeleteArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let dry_run = args.dry_run.mode()?;
    args.settle_grace()?;
    let options = args.options(dry_run)?;
    let (targets, missing) = targets(&session, &args).await?;
    if targets.is_empty() && !missing && args.files.is_empty() {
        print::line("No resources found");
        return Ok(ExitCode::SUCCESS);
    }
    let mut failed = missing;
    let mut gone = Vec::new();
    for target in targets {
        let path = with_query(&target.path(""), &[("dryRun", dry_run.query())]);
        let answer = if dry_run == DryRun::Client { Ok(Value::Null) } else { session.delete(&path, &options).await };
        match answer {
            Ok(_) => {
                report(&args, &target, dry_run);
                gone.push(target);
            }
            Err(error) if is_not_found(&error) && args.ignores_missing() => {}
            Err(error) => {
                super::complain(&error);
                failed = true;
            }
        }
    }
    let waits = args.wait == "true" && args.cascade != "orphan" && dry_run == DryRun::None;
    if waits {
        until_gone(&session, &args, &gone).await?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl DeleteArgs {
    fn settle_grace(&mut self) -> Result<()> {
        if self.now {
            if self.grace_period != -1 {
                bail!("--now and --grace-period cannot be specified together");
            }
            self.grace_period = 1;
        }
        if self.force && self.grace_period > 0 {
            bail!("--force and --grace-period greater than 0 cannot be specified together");
        }
        match (self.force, self.grace_period) {
            (true, _) => {
                eprintln!(
                    "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely."
                );
                self.grace_period = 0;
            }
            // Without force a pod's node confirms; one second is the shortest that waits for it.
            (false, 0) => self.grace_period = 1,
            _ => {}
        }
        Ok(())
    }

    fn options(&self, dry_run: DryRun) -> Result<Value> {
        let policy = match self.cascade.as_str() {
            "background" | "true" => "Background",
            "foreground" => "Foreground",
            "orphan" | "false" => "Orphan",
            other => bail!("invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""),
        };
        let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy});
        if self.grace_period >= 0 {
            options["gracePeriodSeconds"] = self.grace_period.into();
        }
        if dry_run == DryRun::Server {
            options["dryRun"] = json!(["All"]);
        }
        Ok(options)
    }

    fn ignores_missing(&self) -> bool {
        // A collection may lose members while it is deleted.
        self.ignore_not_found.as_deref().map_or(self.all || self.selectors.is_set(), |v| v == "true")
    }
}

/// What to delete, and whether something that was named is not there.
async fn targets(session: &Session, args: &DeleteArgs) -> Result<(Vec<Found>, bool)> {
    if !args.files.is_empty() {
        return Ok((args.files.found(session).await?, false));
    }
    if args.resources.is_empty() {
        bail!("You must provide one or more resources by argument or filename.");
    }
    if !args.all && !args.selectors.is_set() {
        let picks = super::resolve::picks(session.discovery().await?, &args.resources)?;
        if picks.iter().any(|p| p.name.is_none()) {
            bail!("resource(s) were provided, but no name was specified");
        }
        return named(session, args, picks).await;
    }
    Ok((objects(session, &args.resources, &args.selectors, true).await?, false))
}

async fn named(session: &Session, args: &DeleteArgs, picks: Vec<super::resolve::Pick>) -> Result<(Vec<Found>, bool)> {
    let (mut found, mut missing) = (Vec::new(), false);
    for pick in picks {
        match session.get(&pick.path(session, "")).await {
            Ok(object) => found.push(Found { def: pick.def, object }),
            Err(error) if is_not_found(&error) && args.ignores_missing() => {}
            Err(error) if super::session::refusal(&error).is_some_and(|s| s.code != 0) => {
                super::complain(&error);
                missing = true;
            }
            Err(error) => return Err(error),
        }
    }
    Ok((found, missing))
}

fn report(args: &DeleteArgs, target: &Found, dry_run: DryRun) {
    if args.output.as_deref() == Some("name") {
        return print::line(&target.title());
    }
    let kind = super::resolve::singular_title(&target.def);
    let verb = if args.force { "force deleted" } else { "deleted" };
    let place = target.namespace().map_or(String::new(), |n| format!(" from {n} namespace"));
    print::line(&format!("{kind} {:?} {verb}{place}{}", target.name(), dry_run.suffix()));
}

async fn until_gone(session: &Session, args: &DeleteArgs, targets: &[Found]) -> Result<()> {
    let limit = match wait::duration(&args.timeout)? {
        Duration::ZERO => None,
        limit => Some(limit),
    };
    let all = async {
        for target in targets {
            let uid = target.object.uid().to_owned();
            wait::until(session, &target.def, target.namespace(), target.name(), |object| {
                Ok(object.is_none_or(|o| !uid.is_empty() && o.uid() != uid))
            })
            .await?;
        }
        Ok(())
    };
    match limit {
        None => all.await,
        Some(limit) => match tokio::time::timeout(limit, all).await {
            Ok(done) => done,
            Err(_) => bail!("timed out waiting for the condition"),
        },
    }
}
