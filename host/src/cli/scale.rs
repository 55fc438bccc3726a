//! `scale`: the number of replicas, through the scale subresource.

use std::process::ExitCode;

use anyhow::{Result, bail};
use pintle_api::object::ObjectExt;
use serde_json::json;

use super::files::FileArgs;
use super::resolve::{Selectors, targets};
use super::session::{Global, MERGE_PATCH, Session, with_query};
use super::written::{DryRun, DryRunArgs, show};

#[derive(clap::Args, Debug)]
pub struct ScaleArgs {
    /// TYPE NAME... or TYPE/NAME...
    pub resources: Vec<String>,
    #[command(flatten)]
    pub files: FileArgs,
    #[command(flatten)]
    pub selectors: Selectors,
    #[arg(long)]
    pub all: bool,
    #[arg(long)]
    pub replicas: u32,
    /// Only if there are that many now
    #[arg(long)]
    pub current_replicas: Option<i64>,
    #[arg(long, default_value = "")]
    pub resource_version: String,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
    #[arg(short, long)]
    pub output: Option<String>,
    #[command(flatten)]
    pub global: Global,
}

pub async fn run(args: ScaleArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let dry_run = args.dry_run.mode()?;
    for target in targets(&session, &args.files, &args.resources, &args.selectors, args.all).await? {
        if !target.def.subresources.iter().any(|s| s.name == "scale") {
            bail!("the {} resource has no replicas to scale", target.def.resource);
        }
        let live = session.get(&target.path("scale")).await?;
        let now = live.i64_at(&["spec", "replicas"]).unwrap_or_default();
        if let Some(expected) = args.current_replicas.filter(|e| *e != now) {
            bail!("Expected replicas to be {expected}, was {now}");
        }
        let mut patch = json!({"spec": {"replicas": args.replicas}});
        if !args.resource_version.is_empty() {
            patch["metadata"] = json!({"resourceVersion": args.resource_version});
        } else if args.current_replicas.is_some() {
            patch["metadata"] = json!({"resourceVersion": live.resource_version()});
        }
        if dry_run != DryRun::Client {
            session.patch(&with_query(&target.path("scale"), &[("dryRun", dry_run.query())]), MERGE_PATCH, &patch).await?;
        }
        show(&target.def, target.object, "scaled", dry_run, args.output.as_deref())?;
    }
    Ok(ExitCode::SUCCESS)
}
