//! `describe`: an object in words, with what belongs to it and its events.

mod events;
mod generic;
mod network;
mod node;
mod pod;
mod text;
mod workload;

use std::process::ExitCode;

use anyhow::{Result, bail};
use pintle_api::ResourceDef;
use pintle_api::object::ObjectExt;
use serde_json::Value;

pub use self::events::last_seen;
pub use self::node::taint;
use self::text::Text;
use super::files::FileArgs;
use super::print;
use super::resolve::{Found, Selectors, objects, picks};
use super::session::{Global, Session, collection_path, is_not_found};
use super::tabs;

#[derive(clap::Args, Debug)]
pub struct DescribeArgs {
    /// TYPE [NAME...] or TYPE/NAME...; a name may be the beginning of names
    pub resources: Vec<String>,
    #[command(flatten)]
    pub files: FileArgs,
    #[command(flatten)]
    pub selectors: Selectors,
    /// With the events; true for one object, false for several when not given
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub show_events: Option<bool>,
    #[command(flatten)]
    pub global: Global,
}

pub async fn run(args: DescribeArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let (found, exact) = find(&session, &args).await?;
    let with_events = args.show_events.unwrap_or(exact && found.len() == 1);
    if found.is_empty() {
        eprintln!(
            "No resources found{}",
            if args.selectors.all_namespaces { String::new() } else { format!(" in {} namespace.", session.namespace) }
        );
    }
    for (index, target) in found.iter().enumerate() {
        if index > 0 {
            print::text("\n\n");
        }
        print::text(&one(&session, &target.def, &target.object, with_events).await?);
    }
    Ok(ExitCode::SUCCESS)
}

/// What to describe, and whether it was named exactly.
async fn find(session: &Session, args: &DescribeArgs) -> Result<(Vec<Found>, bool)> {
    if !args.files.is_empty() {
        return Ok((args.files.live(session).await?, true));
    }
    match objects(session, &args.resources, &args.selectors, true).await {
        Err(error) if is_not_found(&error) => match by_prefix(session, args).await? {
            found if found.is_empty() => Err(error),
            found => Ok((found, false)),
        },
        other => other.map(|found| (found, true)),
    }
}

/// The one name that is no object may be the beginning of names.
async fn by_prefix(session: &Session, args: &DescribeArgs) -> Result<Vec<Found>> {
    let picks = picks(session.discovery().await?, &args.resources)?;
    let [pick] = picks.as_slice() else { return Ok(Vec::new()) };
    let Some(prefix) = &pick.name else { bail!("no name") };
    let all = session.list(&collection_path(&pick.def, session.namespace_for(&pick.def))).await?;
    let matching = all.into_iter().filter(|o| o.name().starts_with(prefix.as_str()));
    Ok(matching.map(|object| Found { def: pick.def.clone(), object }).collect())
}

/// The description of one object.
pub async fn one(session: &Session, def: &ResourceDef, object: &Value, with_events: bool) -> Result<String> {
    let mut text = Text::default();
    let mut has_events = with_events;
    match (&*def.group, &*def.kind) {
        ("", "Pod") => pod::describe(object, &mut text),
        ("apps", "Deployment") => workload::deployment(session, object, &mut text).await?,
        ("apps", "ReplicaSet") | ("", "ReplicationController") => workload::replicas(session, object, &mut text).await?,
        ("apps", "DaemonSet") => workload::daemon_set(session, object, &mut text).await?,
        ("apps", "StatefulSet") => workload::stateful_set(session, object, &mut text).await?,
        ("batch", "Job") => workload::job(object, &mut text),
        ("batch", "CronJob") => workload::cron_job(object, &mut text),
        ("", "Service") => network::service(session, object, &mut text).await?,
        ("networking.k8s.io", "Ingress") => network::ingress(session, object, &mut text).await?,
        ("", "Node") => node::describe(session, object, &mut text).await?,
        ("", "ConfigMap") => generic::config_map(object, &mut text),
        ("", "Namespace") => {
            generic::namespace(session, object, &mut text).await?;
            has_events = false;
        }
        ("", "Secret") => {
            generic::secret(object, &mut text);
            has_events = false;
        }
        ("", "ServiceAccount") => generic::service_account(object, &mut text),
        ("", "PersistentVolumeClaim") => generic::claim(object, &mut text),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => {
            generic::role(object, &mut text);
            has_events = false;
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            generic::binding(object, &mut text);
            has_events = false;
        }
        _ => generic::any(object, &mut text),
    }
    if has_events {
        events::append(session, object, &mut text).await?;
    }
    Ok(tabs::align(&text.0, tabs::DESCRIPTION))
}

/// A pod template as a description shows it, not yet aligned.
pub fn pod_template(template: &Value, out: &mut String) {
    let mut text = Text::default();
    pod::template(template, &mut text);
    out.push_str(&text.0);
}
