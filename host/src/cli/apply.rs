//! `apply`: makes the cluster hold what manifests say. By default the way of the last-applied annotation, so that it can be mixed
//! with other tools that keep it; `--server-side` leaves the merge to the server. Also `diff`, which says what apply would change.

use std::process::ExitCode;

use anyhow::{Result, bail};
use bytes::Bytes;
use http::Method;
use pintle_api::object::ObjectExt;
use pintle_api::schema::TypeRef;
use pintle_api::{GroupVersionKind, ResourceDef};
use serde_json::{Value, json};

use super::files::FileArgs;
use super::print::Format;
use super::resolve::Found;
use super::session::{APPLY_PATCH, Global, MERGE_PATCH, STRATEGIC_PATCH, Session, collection_path, is_not_found, while_doing, with_query};
use super::threeway;
use super::written::{DryRun, DryRunArgs, report};

pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const CLIENT_SIDE_MANAGER: &str = "kubectl-client-side-apply";
/// The manager of server-side apply: the same as that of other tools, for they share the fields.
const SERVER_SIDE_MANAGER: &str = "kubectl";

#[derive(clap::Args, Debug)]
pub struct ApplyArgs {
    #[command(flatten)]
    pub files: FileArgs,
    /// Let the server merge
    #[arg(long)]
    pub server_side: bool,
    /// With --server-side: take fields over from other managers
    #[arg(long)]
    pub force_conflicts: bool,
    #[arg(long)]
    pub field_manager: Option<String>,
    /// Only manifests with these labels
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
    /// json, yaml, name, ...
    #[arg(short, long)]
    pub output: Option<String>,
    #[command(flatten)]
    pub global: Global,
}

#[derive(clap::Args, Debug)]
pub struct DiffArgs {
    #[command(flatten)]
    pub files: FileArgs,
    #[command(flatten)]
    pub global: Global,
}

pub async fn run(args: ApplyArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let format = Format::parse(args.output.as_deref())?;
    let dry_run = args.dry_run.mode()?;
    let manifests = args.files.read()?;
    let selector = args.selector.as_deref().map(pintle_api::selector::LabelSelector::parse).transpose()?;
    let mut failed = false;
    let mut done = Vec::new();
    for manifest in manifests {
        if let Some(selector) = &selector
            && !selector.matches(manifest.object.map_at(&["metadata", "labels"]))
        {
            continue;
        }
        let source = manifest.source.clone();
        let outcome = match super::files::place(&session, session.discovery().await?, manifest) {
            Ok(found) => one(&session, &args, dry_run, &source, found).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok((def, object, verb)) if format.is_table() => report(&def, object.name(), verb, dry_run),
            Ok((def, object, _)) => done.push((def, object)),
            Err(error) => {
                failed = true;
                super::complain(&error);
            }
        }
    }
    if !format.is_table() && !done.is_empty() {
        let single = done.len() == 1;
        format.print(&done, single)?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn one(session: &Session, args: &ApplyArgs, dry_run: DryRun, source: &str, found: Found) -> Result<(ResourceDef, Value, &'static str)> {
    let (object, verb) = if args.server_side {
        let manager = args.field_manager.as_deref().unwrap_or(SERVER_SIDE_MANAGER);
        (server_side(session, &found, manager, args.force_conflicts, dry_run).await?, "serverside-applied")
    } else {
        let manager = args.field_manager.as_deref().unwrap_or(CLIENT_SIDE_MANAGER);
        client_side(session, &found, manager, dry_run, source).await?
    };
    Ok((found.def, object, verb))
}

pub async fn server_side(session: &Session, found: &Found, manager: &str, force: bool, dry_run: DryRun) -> Result<Value> {
    let force = if force { "true" } else { "" };
    let query = [("fieldManager", manager), ("force", force), ("dryRun", dry_run.query())];
    let body = Bytes::from(serde_json::to_vec(&found.object)?);
    session.send(Method::PATCH, &with_query(&found.path(""), &query), APPLY_PATCH, body).await
}

async fn client_side(session: &Session, found: &Found, manager: &str, dry_run: DryRun, source: &str) -> Result<(Value, &'static str)> {
    if found.name().is_empty() {
        bail!(
            "error when retrieving current configuration of: resource name may not be empty\nfrom server for: {source:?}: resource name may not be empty"
        );
    }
    let wanted = annotated(&found.object)?;
    let query = [("fieldManager", manager), ("dryRun", dry_run.query())];
    let current = match session.get(&found.path("")).await {
        Ok(current) => current,
        Err(error) if is_not_found(&error) => {
            if dry_run == DryRun::Client {
                return Ok((wanted, "created"));
            }
            let path = with_query(&collection_path(&found.def, found.namespace()), &query);
            let created = session.create(&path, &wanted).await;
            return Ok((created.map_err(|e| while_doing(e, format!("error when creating {source:?}")))?, "created"));
        }
        Err(error) => return Err(while_doing(error, format!("error when retrieving current configuration of {source:?}"))),
    };
    let (kind, patch) = patch_for(&found.def, &wanted, &current);
    if current.annotation(LAST_APPLIED).is_none() {
        eprintln!(
            "Warning: resource {} is missing the {LAST_APPLIED} annotation which is required by pintle apply. pintle apply should only be used on resources created declaratively by either pintle create --save-config or pintle apply. The missing annotation will be patched automatically.",
            super::resolve::title(&found.def, found.name()).replacen(&*found.def.singular, &found.def.resource, 1)
        );
    }
    if patch == json!({}) {
        return Ok((current, "unchanged"));
    }
    if dry_run == DryRun::Client {
        return Ok((wanted, "configured"));
    }
    let before = current.resource_version().to_owned();
    let patched = session.patch(&with_query(&found.path(""), &query), kind, &patch).await;
    let patched = patched.map_err(|e| while_doing(e, format!("error when applying patch:\n{patch}\nto {source:?}")))?;
    let verb = if patched.resource_version() == before && dry_run == DryRun::None { "unchanged" } else { "configured" };
    Ok((patched, verb))
}

fn patch_for(def: &ResourceDef, wanted: &Value, current: &Value) -> (&'static str, Value) {
    let original: Value = current.annotation(LAST_APPLIED).and_then(|t| serde_json::from_str(t).ok()).unwrap_or(Value::Null);
    let gvk = GroupVersionKind::new(def.group.clone(), def.version.clone(), def.kind.clone());
    match pintle_api::schema::builtin().for_kind(&gvk) {
        Some(schema) => (STRATEGIC_PATCH, threeway::patch(&original, wanted, current, schema)),
        None => (MERGE_PATCH, threeway::patch(&original, wanted, current, TypeRef::unknown())),
    }
}

/// The manifest with itself in the annotation.
pub fn annotated(object: &Value) -> Result<Value> {
    let mut plain = object.clone();
    plain.remove_at(&["metadata", "annotations", LAST_APPLIED]);
    if plain.at(&["metadata", "annotations"]).is_none() {
        plain.set_at(&["metadata", "annotations"], json!({}));
    }
    let text = format!("{}\n", serde_json::to_string(&plain)?);
    plain.set_at(&["metadata", "annotations", LAST_APPLIED], text.into());
    Ok(plain)
}

/// Ends with 1 when there is a difference.
pub async fn diff(args: DiffArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let mut differs = false;
    for found in args.files.found(&session).await? {
        let live = session.get_optional(&found.path("")).await?;
        let after = server_side(&session, &found, SERVER_SIDE_MANAGER, true, DryRun::Server).await?;
        let shown = |object: &Value| {
            let mut object = object.clone();
            for noise in [&["metadata", "managedFields"][..], &["metadata", "resourceVersion"], &["status"]] {
                object.remove_at(noise);
            }
            super::yaml::to_string(&object)
        };
        let name = format!("{}.{}.{}", found.def.kind, found.namespace().unwrap_or("-"), found.name());
        differs |= super::difference::show(&name, &live.as_ref().map_or(String::new(), shown), &shown(&after));
    }
    Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
