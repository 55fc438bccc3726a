//! `create`: from a manifest, or from the words of a subcommand.

mod access;
mod data;
mod policy;
mod service;
mod workload;

use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use clap::Subcommand;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::apply::annotated;
use super::files::FileArgs;
use super::session::{Global, Session, collection_path, refusal, while_doing, with_query};
use super::written::{self, DryRun, DryRunArgs};

const MANAGER: &str = "kubectl-create";

#[derive(clap::Args, Debug)]
pub struct CreateArgs {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    files: FileArgs,
    /// Keep the manifest in the object's annotation, for a later apply
    #[arg(long, global = true)]
    save_config: bool,
    #[command(flatten)]
    dry_run: DryRunArgs,
    /// json, yaml, name, ...
    #[arg(short, long, global = true)]
    output: Option<String>,
    #[command(flatten)]
    global: Global,
}

#[derive(Subcommand, Debug)]
enum What {
    #[command(visible_alias = "ns")]
    Namespace {
        name: String,
    },
    #[command(visible_alias = "deploy")]
    Deployment(workload::Deployment),
    Job(workload::Job),
    #[command(visible_alias = "cj")]
    Cronjob(workload::CronJob),
    #[command(visible_alias = "cm")]
    Configmap(data::ConfigMap),
    #[command(subcommand)]
    Secret(data::Secret),
    #[command(subcommand, visible_alias = "svc")]
    Service(service::Service),
    #[command(visible_alias = "ing")]
    Ingress(service::Ingress),
    #[command(visible_alias = "sa")]
    Serviceaccount {
        name: String,
    },
    /// A token of a service account
    Token(access::Token),
    Role(access::Role),
    Clusterrole(access::ClusterRole),
    Rolebinding(access::Binding),
    Clusterrolebinding(access::Binding),
    #[command(visible_alias = "resourcequota")]
    Quota(policy::Quota),
    #[command(visible_alias = "pdb")]
    Poddisruptionbudget(policy::Budget),
    #[command(visible_alias = "pc")]
    Priorityclass(policy::Priority),
}

pub async fn run(args: CreateArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let dry_run = args.dry_run.mode()?;
    let Some(what) = &args.what else { return from_files(&session, &args, dry_run).await };
    let object = match what {
        What::Token(token) => return token.create(&session, args.output.as_deref()).await,
        What::Job(job) => job.object(&session).await?,
        What::Role(role) => role.object(session.discovery().await?)?,
        What::Clusterrole(role) => role.object(session.discovery().await?)?,
        other => other.object()?,
    };
    let object = if args.save_config { annotated(&object)? } else { object };
    if let What::Namespace { .. } = what {
        written::create_plainly(&session, object, dry_run, MANAGER, args.output.as_deref()).await?;
        return Ok(ExitCode::SUCCESS);
    }
    written::create(&session, object, dry_run, MANAGER, args.output.as_deref()).await?;
    Ok(ExitCode::SUCCESS)
}

impl What {
    fn object(&self) -> Result<Value> {
        Ok(match self {
            Self::Namespace { name } => plain("v1", "Namespace", name),
            Self::Serviceaccount { name } => plain("v1", "ServiceAccount", name),
            Self::Deployment(d) => d.object()?,
            Self::Cronjob(c) => c.object(),
            Self::Configmap(c) => c.object()?,
            Self::Secret(s) => s.object()?,
            Self::Service(s) => s.object()?,
            Self::Ingress(i) => i.object()?,
            Self::Rolebinding(b) => b.object("RoleBinding")?,
            Self::Clusterrolebinding(b) => b.object("ClusterRoleBinding")?,
            Self::Quota(q) => q.object()?,
            Self::Poddisruptionbudget(b) => b.object()?,
            Self::Priorityclass(p) => p.object(),
            Self::Token(_) | Self::Job(_) | Self::Role(_) | Self::Clusterrole(_) => bail!("made elsewhere"),
        })
    }
}

async fn from_files(session: &Session, args: &CreateArgs, dry_run: DryRun) -> Result<ExitCode> {
    let mut failed = false;
    for (source, found) in args.files.resolved(session).await? {
        let object = if args.save_config { annotated(&found.object)? } else { found.object.clone() };
        let path = with_query(&collection_path(&found.def, found.namespace()), &[("fieldManager", MANAGER), ("dryRun", dry_run.query())]);
        let created = if dry_run == DryRun::Client { Ok(object) } else { session.create(&path, &object).await };
        match created {
            Ok(object) => written::show(&found.def, object, "created", dry_run, args.output.as_deref())?,
            Err(error) => {
                super::complain(&while_doing(error, format!("error when creating {source:?}")));
                failed = true;
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// `failed to create deployment: ...`: a refusal by the verbs that make the object themselves.
pub fn failed(error: anyhow::Error, what: &str) -> anyhow::Error {
    match refusal(&error) {
        Some(status) if status.code != 0 => anyhow!("{what}: {}", status.message),
        _ => error,
    }
}

fn plain(api_version: &str, kind: &str, name: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}})
}

/// `key=value` words.
pub fn pair(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => bail!("invalid argument {text:?}, expected key=value"),
    }
}

fn labelled(mut object: Value, key: &str, value: &str) -> Value {
    object.set_at(&["metadata", "labels", key], value.into());
    object
}
