//! `set image`, `set env` and `set resources`: changes of the pod template.

use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use clap::Subcommand;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::files::FileArgs;
use super::print;
use super::resolve::{Found, Selectors, targets};
use super::session::{Global, STRATEGIC_PATCH, Session, with_query};
use super::workloads::pod_spec_path;
use super::written::{DryRun, DryRunArgs, show};

#[derive(clap::Args, Debug)]
pub struct SetArgs {
    #[command(subcommand)]
    pub what: What,
    #[command(flatten)]
    pub global: Global,
}

#[derive(Subcommand, Debug)]
pub enum What {
    /// TYPE/NAME... CONTAINER=IMAGE...; * for all containers
    Image(Words),
    /// TYPE/NAME... KEY=VALUE... KEY-
    Env(Words),
    /// TYPE/NAME... --limits=... --requests=...
    Resources(Words),
}

#[derive(clap::Args, Debug)]
pub struct Words {
    pub words: Vec<String>,
    #[command(flatten)]
    pub files: FileArgs,
    #[command(flatten)]
    pub selectors: Selectors,
    #[arg(long)]
    pub all: bool,
    /// Only these containers; * for all
    #[arg(short, long, default_value = "*")]
    pub containers: String,
    /// env: take all keys of configmap/NAME or secret/NAME
    #[arg(long)]
    pub from: Option<String>,
    /// env: before each name from --from
    #[arg(long, default_value = "")]
    pub prefix: String,
    /// env: show instead of change
    #[arg(long)]
    pub list: bool,
    /// resources: NAME=AMOUNT,...
    #[arg(long)]
    pub limits: Option<String>,
    /// resources: NAME=AMOUNT,...
    #[arg(long)]
    pub requests: Option<String>,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
    #[arg(short, long)]
    pub output: Option<String>,
}

pub async fn run(args: SetArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let (words, verb) = match &args.what {
        What::Image(words) => (words, "image updated"),
        What::Env(words) => (words, "env updated"),
        What::Resources(words) => (words, "resource requirements updated"),
    };
    let dry_run = words.dry_run.mode()?;
    let is_change = |w: &String| w.contains('=') || (w.ends_with('-') && matches!(args.what, What::Env(_)));
    let (changes, resources): (Vec<String>, Vec<String>) = words.words.iter().cloned().partition(is_change);
    if words.files.is_empty() && resources.is_empty() {
        bail!("one or more resources must be specified as <resource> <name> or <resource>/<name>");
    }
    let found = targets(&session, &words.files, &resources, &words.selectors, words.all).await?;
    let sourced = match &words.from {
        Some(from) => from_source(&session, from, &words.prefix).await?,
        None => Vec::new(),
    };
    for target in found {
        let path = pod_spec_path(target.object.kind()).ok_or_else(|| anyhow!("{} has no pod template", target.title()))?;
        let spec = target.object.at(path).cloned().unwrap_or_default();
        if words.list {
            list_env(&target, &spec);
            continue;
        }
        let containers = match &args.what {
            What::Image(_) => images(&spec, &changes)?,
            What::Env(_) => env(&spec, words, &changes, &sourced)?,
            What::Resources(_) => resources_of(&spec, words)?,
        };
        write(&session, &target, path, containers, verb, words, dry_run).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Patches of containers, by list.
type Containers = Vec<(&'static str, Vec<Value>)>;

async fn write(session: &Session, target: &Found, path: &[&str], containers: Containers, verb: &str, words: &Words, dry_run: DryRun) -> Result<()> {
    let mut patch = json!({});
    for (list, changed) in containers.into_iter().filter(|(_, c)| !c.is_empty()) {
        let mut whole = path.to_vec();
        whole.push(list);
        patch.set_at(&whole, changed.into());
    }
    if patch == json!({}) {
        return Ok(());
    }
    let path = with_query(&target.path(""), &[("fieldManager", "kubectl-set"), ("dryRun", dry_run.query())]);
    let before = target.object.resource_version();
    let object = if dry_run == DryRun::Client { target.object.clone() } else { session.patch(&path, STRATEGIC_PATCH, &patch).await? };
    if dry_run == DryRun::None && object.resource_version() == before && words.output.is_none() {
        return Ok(());
    }
    show(&target.def, object, verb, dry_run, words.output.as_deref())
}

fn images(spec: &Value, changes: &[String]) -> Result<Containers> {
    if changes.is_empty() {
        bail!("at least one image update is required");
    }
    let mut found: Containers = vec![("initContainers", Vec::new()), ("containers", Vec::new())];
    for change in changes {
        let (name, image) = change.split_once('=').ok_or_else(|| anyhow!("invalid argument {change:?}"))?;
        let mut hit = false;
        for (list, changed) in &mut found {
            for container in spec.list_at(&[list]).iter().filter(|c| name == "*" || c.str_at(&["name"]) == name) {
                changed.push(json!({"name": container["name"], "image": image}));
                hit = true;
            }
        }
        if !hit {
            bail!("unable to find container named {name:?}");
        }
    }
    Ok(found)
}

fn chosen<'s>(spec: &'s Value, words: &Words) -> Result<Vec<&'s Value>> {
    let found: Vec<&Value> =
        spec.list_at(&["containers"]).iter().filter(|c| words.containers == "*" || c.str_at(&["name"]) == words.containers).collect();
    if found.is_empty() {
        bail!("unable to find container named {:?}", words.containers);
    }
    Ok(found)
}

fn env(spec: &Value, words: &Words, changes: &[String], sourced: &[Value]) -> Result<Containers> {
    if changes.is_empty() && sourced.is_empty() {
        bail!("at least one environment variable must be provided");
    }
    let mut variables: Vec<Value> = sourced.to_vec();
    for change in changes {
        variables.push(match change.split_once('=') {
            Some((name, value)) => json!({"name": name, "value": value, "valueFrom": null}),
            None => json!({"$patch": "delete", "name": change.trim_end_matches('-')}),
        });
    }
    Ok(vec![("containers", chosen(spec, words)?.into_iter().map(|c| json!({"name": c["name"], "env": variables})).collect())])
}

async fn from_source(session: &Session, from: &str, prefix: &str) -> Result<Vec<Value>> {
    let (kind, name) = from.split_once('/').ok_or_else(|| anyhow!("--from must be configmap/NAME or secret/NAME"))?;
    let def = session.discovery().await?.find(kind)?;
    let reference = match &*def.kind {
        "ConfigMap" => "configMapKeyRef",
        "Secret" => "secretKeyRef",
        _ => bail!("unsupported resource specified in --from"),
    };
    let object = session.get_object(def, Some(&session.namespace), name).await?;
    let keys = object.map_at(&["data"]).into_iter().flatten().map(|(key, _)| key);
    let variable = |key: &String| {
        let shouted: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
        json!({"name": format!("{prefix}{shouted}"), "valueFrom": {reference: {"name": name, "key": key}}})
    };
    Ok(keys.map(variable).collect())
}

fn list_env(target: &Found, spec: &Value) {
    for container in spec.list_at(&["containers"]) {
        print::line(&format!("# {} {}, container {}", target.def.kind, target.name(), container.str_at(&["name"])));
        for variable in container.list_at(&["env"]) {
            let name = variable.str_at(&["name"]);
            if variable["valueFrom"].is_object() {
                print::line(&format!("# {name} from {}", variable["valueFrom"]));
            } else {
                print::line(&format!("{name}={}", variable.str_at(&["value"])));
            }
        }
    }
}

fn resources_of(spec: &Value, words: &Words) -> Result<Containers> {
    let mut amounts = json!({});
    for (field, text) in [("limits", &words.limits), ("requests", &words.requests)] {
        for pair in text.iter().flat_map(|t| t.split(',')) {
            let (name, amount) = super::create::pair(pair)?;
            // Nothing takes the amount away.
            amounts[field][name] = if amount == "0" { Value::Null } else { amount.into() };
        }
    }
    if amounts == json!({}) {
        bail!("you must specify an update to requests or limits (in the form of --requests/--limits)");
    }
    Ok(vec![("containers", chosen(spec, words)?.into_iter().map(|c| json!({"name": c["name"], "resources": amounts})).collect())])
}
