//! `patch`, `replace` and `edit`: changes of an object as it is written.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::files::{self, FileArgs};
use super::print;
use super::resolve::{Found, Selectors, picks, targets};
use super::session::{Global, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Session, collection_path, is_not_found, while_doing, with_query};
use super::threeway;
use super::wait;
use super::written::{DryRun, DryRunArgs, show};
use super::yaml;

#[derive(clap::Args, Debug)]
pub struct PatchArgs {
    /// TYPE NAME or TYPE/NAME
    pub resources: Vec<String>,
    #[command(flatten)]
    pub files: FileArgs,
    /// The patch, in JSON or YAML
    #[arg(short, long)]
    pub patch: Option<String>,
    #[arg(long)]
    pub patch_file: Option<PathBuf>,
    #[arg(long = "type", value_enum, default_value = "strategic")]
    pub kind: Kind,
    /// status, scale, ...
    #[arg(long, default_value = "")]
    pub subresource: String,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
    #[arg(short, long)]
    pub output: Option<String>,
    #[command(flatten)]
    pub global: Global,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Json,
    Merge,
    Strategic,
}

#[derive(clap::Args, Debug)]
pub struct ReplaceArgs {
    #[command(flatten)]
    pub files: FileArgs,
    /// Delete, then create
    #[arg(long)]
    pub force: bool,
    #[arg(long, default_value = "")]
    pub subresource: String,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
    #[arg(short, long)]
    pub output: Option<String>,
    #[command(flatten)]
    pub global: Global,
}

#[derive(clap::Args, Debug)]
pub struct EditArgs {
    /// TYPE NAME or TYPE/NAME
    pub resources: Vec<String>,
    #[arg(long, default_value = "")]
    pub subresource: String,
    #[command(flatten)]
    pub global: Global,
}

impl Kind {
    fn content_type(self) -> &'static str {
        match self {
            Self::Json => JSON_PATCH,
            Self::Merge => MERGE_PATCH,
            Self::Strategic => STRATEGIC_PATCH,
        }
    }
}

pub async fn patch(args: PatchArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let dry_run = args.dry_run.mode()?;
    let text = match (&args.patch, &args.patch_file) {
        (Some(text), None) => text.clone(),
        (None, Some(file)) => std::fs::read_to_string(file).context("unable to read patch file")?,
        (Some(_), Some(_)) => bail!("cannot specify --patch and --patch-file together"),
        (None, None) => bail!("must specify --patch or --patch-file containing the contents of the patch"),
    };
    let patch: Value =
        serde_json::from_str(&text).or_else(|_| serde_saphyr::from_str(&text)).map_err(|e| anyhow!("unable to parse {text:?}: {e}"))?;
    for target in targets(&session, &args.files, &args.resources, &Selectors::default(), false).await? {
        let path = with_query(&target.path(&args.subresource), &[("fieldManager", "kubectl-patch"), ("dryRun", dry_run.query())]);
        let before = session.get(&target.path("")).await?.resource_version().to_owned();
        let object = if dry_run == DryRun::Client { target.object.clone() } else { session.patch(&path, args.kind.content_type(), &patch).await? };
        let same = dry_run == DryRun::None && object.resource_version() == before;
        show(&target.def, object, if same { "patched (no change)" } else { "patched" }, dry_run, args.output.as_deref())?;
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn replace(args: ReplaceArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let dry_run = args.dry_run.mode()?;
    let mut failed = false;
    for (source, found) in args.files.resolved(&session).await? {
        let query = [("fieldManager", "kubectl-replace"), ("dryRun", dry_run.query())];
        let replaced = if dry_run == DryRun::Client {
            Ok(found.object.clone())
        } else if args.force {
            recreate(&session, &found, &query).await
        } else {
            let path = with_query(&found.path(&args.subresource), &query);
            session.update(&path, &found.object).await
        };
        match replaced {
            Ok(object) => show(&found.def, object, "replaced", dry_run, args.output.as_deref())?,
            Err(error) => {
                super::complain(&while_doing(error, format!("error when replacing {source:?}")));
                failed = true;
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn recreate(session: &Session, found: &Found, query: &[(&str, &str)]) -> Result<Value> {
    match session.delete(&found.path(""), &json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0})).await {
        Ok(_) => wait::until(session, &found.def, found.namespace(), found.name(), |o| Ok(o.is_none())).await?,
        Err(error) if is_not_found(&error) => {}
        Err(error) => return Err(error),
    }
    let mut object = found.object.clone();
    object.remove_at(&["metadata", "resourceVersion"]);
    object.remove_at(&["metadata", "uid"]);
    session.create(&with_query(&collection_path(&found.def, found.namespace()), query), &object).await
}

/// Opens the object in an editor until it is accepted, unchanged, or left with its fault.
pub async fn edit(args: EditArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    for pick in picks(session.discovery().await?, &args.resources)? {
        let Some(name) = &pick.name else { bail!("resource(s) were provided, but no name was specified") };
        let mut live = session.get_object(&pick.def, session.namespace_for(&pick.def), name).await?;
        print::without_managed_fields(&mut live);
        let target = Found { def: pick.def.clone(), object: live };
        one_edit(&session, &target, &args.subresource).await?;
    }
    Ok(ExitCode::SUCCESS)
}

const EDIT_HEADER: &str = "# Please edit the object below. Lines beginning with a '#' will be ignored,
# and an empty file will abort the edit. If an error occurs while saving this file will be
# reopened with the relevant failures.
#
";

async fn one_edit(session: &Session, target: &Found, subresource: &str) -> Result<()> {
    let original = yaml::to_string(&target.object);
    let file = std::env::temp_dir().join(format!("pintle-edit-{}-{}.yaml", std::process::id(), target.name()));
    let mut shown = format!("{EDIT_HEADER}{original}");
    let mut last_failed = String::new();
    loop {
        std::fs::write(&file, &shown)?;
        open_editor(&file)?;
        let edited = std::fs::read_to_string(&file)?;
        let body: String = edited.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect();
        if body.trim().is_empty() || body == original {
            std::fs::remove_file(&file).ok();
            eprintln!("Edit cancelled, no changes made.");
            return Ok(());
        }
        if body == last_failed {
            bail!("Edit cancelled, no valid changes were saved.\nA copy of your changes has been stored to {:?}", file.display().to_string());
        }
        match save(session, target, &body, subresource).await {
            Ok(()) => {
                std::fs::remove_file(&file).ok();
                return Ok(());
            }
            Err(error) => {
                let comments: String = error.to_string().lines().map(|l| format!("# {l}\n")).collect();
                shown = format!("{EDIT_HEADER}{comments}#\n{body}");
                last_failed = body;
            }
        }
    }
}

async fn save(session: &Session, target: &Found, body: &str, subresource: &str) -> Result<()> {
    let edited = files::parse(body)?.into_iter().next().ok_or_else(|| anyhow!("the file holds no object"))?;
    for field in [&["apiVersion"][..], &["kind"], &["metadata", "name"]] {
        if edited.at(field) != target.object.at(field) {
            bail!("At least one of apiVersion, kind and name was changed");
        }
    }
    let gvk = target.def.gvk();
    let (kind, schema) = match pintle_api::schema::builtin().for_kind(&gvk) {
        Some(schema) => (STRATEGIC_PATCH, schema),
        None => (MERGE_PATCH, pintle_api::schema::TypeRef::unknown()),
    };
    let patch = threeway::patch(&target.object, &edited, &target.object, schema);
    let path = with_query(&target.path(subresource), &[("fieldManager", "kubectl-edit")]);
    let object = session.patch(&path, kind, &patch).await?;
    show(&target.def, object, "edited", DryRun::None, None)
}

fn open_editor(file: &std::path::Path) -> Result<()> {
    let named = ["KUBE_EDITOR", "VISUAL", "EDITOR"].into_iter().find_map(|v| std::env::var(v).ok().filter(|e| !e.is_empty()));
    let editor = named.unwrap_or_else(|| "vi".to_owned());
    // An editor with arguments, `code --wait`, is a line for the shell.
    let status = Command::new("sh").arg("-c").arg(format!("{editor} \"$0\"")).arg(file).status();
    let status = status.with_context(|| format!("unable to launch the editor {editor:?}"))?;
    if !status.success() {
        bail!("there was a problem with the editor {editor:?}");
    }
    Ok(())
}
