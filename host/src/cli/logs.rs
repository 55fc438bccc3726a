//! `logs`: what containers wrote, once or as it comes.

use std::process::ExitCode;

use anyhow::{Result, bail};
use futures::StreamExt;
use http_body_util::BodyExt;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::get::lines;
use super::print;
use super::session::{Global, Session, collection_path, object_path, with_query};
use super::wait::seconds;
use super::workloads::{container_of, one_pod, pods_of};

/// Logs that are followed side by side, so that a selector of everything does not open a thousand connections.
const MAX_FOLLOWED: usize = 5;

#[derive(clap::Args, Debug)]
pub struct LogsArgs {
    /// POD or TYPE/NAME, and perhaps a container
    pub target: Vec<String>,
    #[arg(short, long)]
    pub container: Option<String>,
    /// Every container of the pod
    #[arg(long)]
    pub all_containers: bool,
    /// Every pod of the workload
    #[arg(long)]
    pub all_pods: bool,
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    #[arg(short, long)]
    pub follow: bool,
    /// Of the container's run before this one
    #[arg(short, long)]
    pub previous: bool,
    #[arg(long)]
    pub timestamps: bool,
    /// Say which pod and container a line is from
    #[arg(long)]
    pub prefix: bool,
    /// Lines from the end; -1: all
    #[arg(long, allow_negative_numbers = true)]
    pub tail: Option<i64>,
    /// Not older than: 5s, 2m, 3h
    #[arg(long)]
    pub since: Option<String>,
    /// Not older than a time (RFC 3339)
    #[arg(long)]
    pub since_time: Option<String>,
    #[arg(long)]
    pub limit_bytes: Option<u64>,
    #[arg(long)]
    pub ignore_errors: bool,
    #[arg(long, default_value_t = MAX_FOLLOWED)]
    pub max_log_requests: usize,
    #[command(flatten)]
    pub global: Global,
}

struct Source {
    pod: String,
    container: String,
    path: String,
}

pub async fn run(args: LogsArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    if args.since.is_some() && args.since_time.is_some() {
        bail!("at most one of `sinceTime` or `sinceSeconds` may be specified");
    }
    let sources = sources(&session, &args).await?;
    if !args.follow {
        for source in &sources {
            copy(&session, &args, source, sources.len() > 1).await?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if sources.len() > args.max_log_requests {
        bail!(
            "you are attempting to follow {} log streams, but maximum allowed concurrency is {}, use --max-log-requests to increase the limit",
            sources.len(),
            args.max_log_requests
        );
    }
    let copies = sources.iter().map(|source| copy(&session, &args, source, sources.len() > 1));
    futures::future::try_join_all(copies).await?;
    Ok(ExitCode::SUCCESS)
}

async fn sources(session: &Session, args: &LogsArgs) -> Result<Vec<Source>> {
    let (pods, several) = match (&args.selector, args.target.as_slice()) {
        (Some(selector), []) => {
            let def = session.discovery().await?.find("pods")?;
            let path = with_query(&collection_path(def, Some(&session.namespace)), &[("labelSelector", selector)]);
            (session.list(&path).await?, true)
        }
        (Some(_), _) => bail!("only a selector (-l) or a POD name is allowed"),
        (None, [target] | [target, _]) => (by_name(session, args, target).await?, args.all_pods),
        (None, []) => {
            bail!("expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for the logs command")
        }
        (None, _) => bail!("logs takes one POD or TYPE/NAME, and a container"),
    };
    if pods.is_empty() {
        eprintln!("No resources found in {} namespace.", session.namespace);
    }
    let wanted = args.container.as_deref().or_else(|| args.target.get(1).map(String::as_str));
    let mut sources = Vec::new();
    for pod in &pods {
        let containers = if args.all_containers { all_containers(pod) } else { vec![container_of(pod, wanted, several)?] };
        for container in containers {
            sources.push(source(session, args, pod, container).await?);
        }
    }
    Ok(sources)
}

async fn by_name(session: &Session, args: &LogsArgs, target: &str) -> Result<Vec<Value>> {
    let Some((kind, name)) = target.split_once('/') else { return Ok(vec![one_pod(session, target).await?]) };
    let def = session.discovery().await?.find(kind)?;
    let object = session.get_object(def, session.namespace_for(def), name).await?;
    if def.kind == "Pod" {
        return Ok(vec![object]);
    }
    let mut pods = pods_of(session, &object).await?;
    if !args.all_pods && !pods.is_empty() {
        if pods.len() > 1 {
            eprintln!("Found {} pods, using pod/{}", pods.len(), pods[0].name());
        }
        pods.truncate(1);
    }
    if pods.is_empty() {
        bail!("timed out waiting for the condition: {target} has no pods");
    }
    Ok(pods)
}

fn all_containers(pod: &Value) -> Vec<String> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    lists.iter().flat_map(|l| pod.list_at(&["spec", l])).map(|c| c.str_at(&["name"]).to_owned()).collect()
}

async fn source(session: &Session, args: &LogsArgs, pod: &Value, container: String) -> Result<Source> {
    let def = session.discovery().await?.find("pods")?;
    let flag = |set: bool| if set { "true" } else { "" };
    // A selector shows the ends of many logs unless told otherwise.
    let tail = match (args.tail, &args.selector) {
        (Some(-1), _) | (None, None) => String::new(),
        (Some(lines), _) => lines.to_string(),
        (None, Some(_)) => "10".to_owned(),
    };
    let since = args.since.as_deref().map(seconds).transpose()?.map_or(String::new(), |s| s.to_string());
    let limit = args.limit_bytes.map_or(String::new(), |b| b.to_string());
    let path = with_query(
        &object_path(def, Some(pod.namespace()), pod.name(), "log"),
        &[
            ("container", &container),
            ("follow", flag(args.follow)),
            ("previous", flag(args.previous)),
            ("timestamps", flag(args.timestamps)),
            ("tailLines", &tail),
            ("sinceSeconds", &since),
            ("sinceTime", args.since_time.as_deref().unwrap_or("")),
            ("limitBytes", &limit),
        ],
    );
    Ok(Source { pod: pod.name().to_owned(), container, path })
}

async fn copy(session: &Session, args: &LogsArgs, source: &Source, several: bool) -> Result<()> {
    let mut body = match session.stream(&source.path, false).await {
        Ok(body) => body,
        Err(error) if args.ignore_errors => {
            super::complain(&error);
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if args.prefix || (several && args.follow) {
        let mark = if args.prefix { format!("[pod/{}/{}] ", source.pod, source.container) } else { String::new() };
        let mut lines = lines(body);
        while let Some(line) = lines.next().await {
            print::line(&format!("{mark}{}", String::from_utf8_lossy(&line?)));
        }
        return Ok(());
    }
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            print::bytes(&data);
        }
    }
    Ok(())
}
