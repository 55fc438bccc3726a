//! `cordon`, `uncordon` and `drain`: nodes are closed, opened and emptied.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use pintle_api::object::ObjectExt;
use pintle_api::selector::LabelSelector;
use serde_json::{Value, json};

use super::print;
use super::resolve::{Found, Selectors, objects};
use super::session::{Global, STRATEGIC_PATCH, Session, collection_path, is_not_found, object_path, refusal, with_query};
use super::wait;
use super::written::{DryRun, DryRunArgs, report};

const MIRROR: &str = "kubernetes.io/config.mirror";
/// Between two tries to evict a pod that a disruption budget protects.
const RETRY: Duration = Duration::from_secs(5);

#[derive(clap::Args, Debug)]
pub struct CordonArgs {
    pub nodes: Vec<String>,
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
    #[command(flatten)]
    pub global: Global,
}

#[derive(clap::Args, Debug)]
pub struct DrainArgs {
    pub nodes: Vec<String>,
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// Only pods with these labels
    #[arg(long)]
    pub pod_selector: Option<String>,
    /// Also pods that nobody makes again
    #[arg(long)]
    pub force: bool,
    #[arg(long)]
    pub ignore_daemonsets: bool,
    /// Also pods with emptyDir volumes, whose data is lost
    #[arg(long)]
    pub delete_emptydir_data: bool,
    /// Delete instead of evict: budgets are passed by
    #[arg(long)]
    pub disable_eviction: bool,
    #[arg(long, allow_negative_numbers = true, default_value_t = -1)]
    pub grace_period: i64,
    /// 0s: as long as it takes
    #[arg(long, default_value = "0s")]
    pub timeout: String,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
    #[command(flatten)]
    pub global: Global,
}

pub async fn cordon(args: CordonArgs, closed: bool) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let dry_run = args.dry_run.mode()?;
    for node in nodes(&session, &args.nodes, args.selector.as_ref()).await? {
        close(&session, &node, closed, dry_run).await?;
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn drain(args: DrainArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let dry_run = args.dry_run.mode()?;
    let nodes = nodes(&session, &args.nodes, args.selector.as_ref()).await?;
    for node in &nodes {
        close(&session, node, true, dry_run).await?;
    }
    let limit = wait::duration(&args.timeout)?;
    for node in &nodes {
        let emptied = empty(&session, &args, node, dry_run);
        let outcome = if limit.is_zero() {
            emptied.await
        } else {
            tokio::time::timeout(limit, emptied).await.unwrap_or_else(|_| Err(anyhow::anyhow!("global timeout reached: {}", args.timeout)))
        };
        if let Err(error) = outcome {
            bail!("unable to drain node {:?} due to error: {error:#}", node.name());
        }
        report(&node.def, node.name(), "drained", dry_run);
    }
    Ok(ExitCode::SUCCESS)
}

async fn nodes(session: &Session, names: &[String], selector: Option<&String>) -> Result<Vec<Found>> {
    if names.is_empty() && selector.is_none() {
        bail!("name a node, or nodes by --selector");
    }
    if !names.is_empty() && selector.is_some() {
        bail!("cannot specify both a node name and a --selector option");
    }
    let names = names.iter().map(|n| n.trim_start_matches("nodes/").trim_start_matches("node/").to_owned());
    let words: Vec<String> = std::iter::once("nodes".to_owned()).chain(names).collect();
    let selectors = Selectors { selector: selector.cloned(), ..Selectors::default() };
    objects(session, &words, &selectors, false).await
}

async fn close(session: &Session, node: &Found, closed: bool, dry_run: DryRun) -> Result<()> {
    let verb = if closed { "cordoned" } else { "uncordoned" };
    if node.object.bool_at(&["spec", "unschedulable"]) == closed {
        report(&node.def, node.name(), &format!("already {verb}"), dry_run);
        return Ok(());
    }
    if dry_run != DryRun::Client {
        let patch = json!({"spec": {"unschedulable": if closed { Value::Bool(true) } else { Value::Null }}});
        session.patch(&with_query(&node.path(""), &[("dryRun", dry_run.query())]), STRATEGIC_PATCH, &patch).await?;
    }
    report(&node.def, node.name(), verb, dry_run);
    Ok(())
}

async fn empty(session: &Session, args: &DrainArgs, node: &Found, dry_run: DryRun) -> Result<()> {
    let pods = session.discovery().await?.find("pods")?;
    let field = format!("spec.nodeName={}", node.name());
    let on_node = session.list(&with_query(&collection_path(pods, None), &[("fieldSelector", &field)])).await?;
    let selector = args.pod_selector.as_deref().map(LabelSelector::parse).transpose()?;
    let chosen = on_node.into_iter().filter(|p| selector.as_ref().is_none_or(|s| s.matches(p.map_at(&["metadata", "labels"]))));
    let leaving = args.sort(chosen.collect())?;
    let mut evicted = Vec::new();
    for pod in &leaving {
        let suffix = dry_run.suffix();
        eprintln!("evicting pod {}/{}{suffix}", pod.namespace(), pod.name());
        if dry_run == DryRun::None {
            evicted.push(evict(session, args, pod));
        }
    }
    futures::future::try_join_all(evicted).await?;
    Ok(())
}

impl DrainArgs {
    /// Which pods go. Pods that may not be touched without a flag are an error, all named at once.
    fn sort(&self, pods: Vec<Value>) -> Result<Vec<Value>> {
        let (mut leaving, mut orphans, mut daemons, mut local) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for pod in pods {
            let name = format!("{}/{}", pod.namespace(), pod.name());
            let finished = matches!(pod.str_at(&["status", "phase"]), "Succeeded" | "Failed");
            let owner = pod.controller_ref().map(|r| r.str_at(&["kind"]));
            if pod.annotation(MIRROR).is_some() {
                continue;
            }
            if owner == Some("DaemonSet") && !finished {
                daemons.push(name);
                continue;
            }
            if owner.is_none() && !finished {
                orphans.push(name.clone());
            }
            if !finished && pod.list_at(&["spec", "volumes"]).iter().any(|v| v["emptyDir"].is_object()) {
                local.push(name);
            }
            leaving.push(pod);
        }
        let mut faults = Vec::new();
        if !daemons.is_empty() && !self.ignore_daemonsets {
            faults.push(format!("cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): {}", daemons.join(", ")));
        }
        if !orphans.is_empty() && !self.force {
            faults.push(format!("cannot delete Pods that declare no controller (use --force to override): {}", orphans.join(", ")));
        }
        if !local.is_empty() && !self.delete_emptydir_data {
            faults.push(format!("cannot delete Pods with local storage (use --delete-emptydir-data to override): {}", local.join(", ")));
        }
        if !faults.is_empty() {
            bail!("[{}]", faults.join(", "));
        }
        if !daemons.is_empty() {
            eprintln!("Warning: ignoring DaemonSet-managed Pods: {}", daemons.join(", "));
        }
        if !orphans.is_empty() {
            eprintln!("Warning: deleting Pods that declare no controller: {}", orphans.join(", "));
        }
        Ok(leaving)
    }
}

async fn evict(session: &Session, args: &DrainArgs, pod: &Value) -> Result<()> {
    let def = session.discovery().await?.find("pods")?;
    let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
    if args.grace_period >= 0 {
        options["gracePeriodSeconds"] = args.grace_period.into();
    }
    let path = object_path(def, Some(pod.namespace()), pod.name(), "");
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": pod.name(), "namespace": pod.namespace()},
        "deleteOptions": options,
    });
    loop {
        let answer =
            if args.disable_eviction { session.delete(&path, &options).await } else { session.create(&format!("{path}/eviction"), &eviction).await };
        match answer {
            Ok(_) => break,
            Err(error) if is_not_found(&error) => break,
            Err(error) if refusal(&error).is_some_and(|s| s.code == 429) => {
                eprintln!(
                    "error when evicting pods/{:?} -n {:?} (will retry after 5s): {}",
                    pod.name(),
                    pod.namespace(),
                    refusal(&error).map_or("", |s| &s.message)
                );
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(error),
        }
    }
    let uid = pod.uid();
    wait::until(session, def, Some(pod.namespace()), pod.name(), |now| Ok(now.is_none_or(|n| n.uid() != uid))).await?;
    print::line(&format!("pod/{} evicted", pod.name()));
    Ok(())
}
