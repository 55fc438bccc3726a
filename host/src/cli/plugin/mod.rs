//! `plugin`: policies as API objects, and the making of new ones. Everything about running plugins goes through the Plugin object, so
//! whoever may write that may do the same without this command.

mod apply;
mod build;
mod decisions;
mod dev;
mod lang;
mod live;
mod new;
pub mod registry;
mod replay;
mod sdk;
mod stages;
mod succession;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{Subcommand, ValueEnum};
use pintle_api::ResourceDef;
use serde_json::Value;

use super::session::{Global, Session};

#[derive(clap::Args, Debug)]
pub struct PluginArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    global: Global,
}

const DIFF_OF: &str = "A plugin that has a candidate; or a component or a project's folder, for what apply would change (./NAME where a plugin \
    with a candidate has the same name)";

#[derive(Subcommand, Debug)]
enum What {
    /// What decides in this cluster
    #[command(visible_alias = "ls")]
    List {
        #[arg(short, long)]
        output: Option<String>,
    },
    /// A plugin with its conditions, revisions and events
    Describe { name: String },
    /// Load a component, or replace one that runs, or put one beside it (--stage)
    Apply(apply::ApplyArgs),
    /// Where a plugin's candidate disagrees with the live revision, and why; with a file: what apply would change
    #[command(mut_arg("file", |file| file.value_name("NAME|FILE").help(DIFF_OF)))]
    Diff {
        #[command(flatten)]
        apply: apply::ApplyArgs,
        /// Go on with what comes
        #[arg(short, long)]
        watch: bool,
    },
    /// Make the candidate the live revision, or let a plugin that is paused decide
    Promote {
        name: String,
        /// How long to wait until it serves
        #[arg(long, default_value = "60s")]
        timeout: String,
    },
    /// Take a plugin's decisions away from it; a plugin of the same task that stands by takes over
    Pause { name: String },
    /// Withdraw the candidate; without one, back to an earlier revision, or to the plugin that stands by
    Rollback {
        name: String,
        /// 0: the one before
        #[arg(long, default_value_t = 0)]
        to_revision: i64,
        /// How long to wait until it serves
        #[arg(long, default_value = "60s")]
        timeout: String,
    },
    /// What a plugin logged last
    Logs {
        name: String,
        /// Lines from the end; -1: all
        #[arg(long, allow_negative_numbers = true, default_value_t = -1)]
        tail: i64,
        /// Go on with what it logs from now
        #[arg(short, long)]
        follow: bool,
    },
    /// What a plugin decided lately
    Decisions {
        name: String,
        /// How many, the newest first
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Write all that is on record to a file, for replay
        #[arg(long, value_name = "FILE")]
        export: Option<PathBuf>,
        #[arg(short, long)]
        output: Option<String>,
    },
    /// Run a candidate over recorded decisions, offline, and tell what would have changed
    Replay(replay::ReplayArgs),
    /// Remove plugins
    #[command(visible_alias = "rm")]
    Delete {
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Write a project to start from
    New {
        world: World,
        name: String,
        /// What it is written in; go is experimental
        #[arg(long, default_value = lang::DEFAULT, value_parser = PossibleValuesParser::new(lang::names()))]
        lang: String,
        /// The folder to make; the name when not given
        #[arg(long)]
        path: Option<PathBuf>,
    },
    /// Make a component of a plugin's project
    Build {
        /// The project's folder
        #[arg(default_value = ".")]
        path: PathBuf,
        /// The component's file; NAME.wasm in the project's folder when not given
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
    /// Build a project on each save and put it beside the live revision, or in its place
    Dev(dev::DevArgs),
    /// Write a component into an OCI registry
    Push(registry::PushArgs),
    /// Read a component from an OCI registry
    Pull(registry::PullArgs),
    /// Write a signature of a component beside it
    Sign(registry::SignArgs),
    /// Run the tests of a plugin's project
    Test {
        #[arg(default_value = ".")]
        path: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum World {
    Admission,
    Scheduler,
    Controller,
    Ingress,
}

impl World {
    pub fn name(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::Scheduler => "scheduler",
            Self::Controller => "controller",
            Self::Ingress => "ingress",
        }
    }
}

pub async fn run(args: PluginArgs) -> Result<ExitCode> {
    match args.what {
        What::New { world, name, lang, path } => new::run(world, &name, &lang, path),
        What::Build { path, output } => build::run(&path, output),
        What::Push(args) => registry::push(args).await,
        What::Pull(args) => registry::pull(args).await,
        What::Sign(args) => registry::sign(&args),
        What::Test { path } => build::test(&path),
        What::Replay(args) => replay::run(args).await,
        other => {
            let session = Session::open(&args.global)?;
            on_cluster(&session, other).await
        }
    }
}

async fn on_cluster(session: &Session, what: What) -> Result<ExitCode> {
    match what {
        What::List { output } => live::list(session, output.as_deref()).await?,
        What::Describe { name } => live::describe(session, &name).await?,
        What::Apply(args) => apply::run(session, args).await?,
        What::Diff { apply, watch } if watch || !apply.file.exists() || stages::is_meant(session, &apply.file).await? => {
            return stages::diff(session, &apply.file.to_string_lossy(), watch).await;
        }
        What::Diff { apply, .. } => return apply::diff(session, apply).await,
        What::Promote { name, timeout } => {
            if !stages::promote(session, &name, &timeout).await? {
                live::resume(session, &name, &timeout).await?;
            }
        }
        What::Pause { name } => live::pause(session, &name).await?,
        What::Rollback { name, to_revision, timeout } => live::rollback(session, &name, to_revision, &timeout).await?,
        What::Dev(args) => dev::run(session, args).await?,
        What::Logs { name, tail, follow } => live::logs(session, &name, tail, follow).await?,
        What::Decisions { name, export: Some(file), .. } => decisions::export(session, &name, &file).await?,
        What::Decisions { name, limit, output, export: None } => decisions::list(session, &name, limit, output.as_deref()).await?,
        What::Delete { names } => live::delete(session, &names).await?,
        What::Push(_) | What::Pull(_) | What::Sign(_) | What::New { .. } | What::Build { .. } | What::Test { .. } | What::Replay(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn plugins(session: &Session) -> Result<&ResourceDef> {
    session.discovery().await?.find("plugins.pintle.dev")
}

/// `sha256:0123456789ab`.
pub fn short_digest(digest: &str) -> &str {
    digest.get(..19).unwrap_or(digest)
}

fn text<'v>(value: &'v Value, path: &[&str]) -> &'v str {
    use pintle_api::object::ObjectExt;
    value.str_at(path)
}
