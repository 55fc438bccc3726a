//! What writing verbs share: dry runs, and the line that says what became of an object.

use anyhow::{Result, bail};
use pintle_api::ResourceDef;
use serde_json::Value;

use super::print::{self, Format};
use super::resolve::title;
use super::session::{Session, collection_path, with_query};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DryRun {
    None,
    Client,
    Server,
}

#[derive(clap::Args, Clone, Debug, Default)]
pub struct DryRunArgs {
    /// none, client, or server
    #[arg(long, global = true, value_name = "MODE", num_args = 0..=1, default_missing_value = "unchanged", default_value = "none", require_equals = true)]
    pub dry_run: String,
}

impl DryRunArgs {
    pub fn mode(&self) -> Result<DryRun> {
        Ok(match self.dry_run.as_str() {
            "none" | "" => DryRun::None,
            "client" | "unchanged" => DryRun::Client,
            "server" => DryRun::Server,
            other => bail!("Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."),
        })
    }
}

impl DryRun {
    pub fn query(self) -> &'static str {
        if self == Self::Server { "All" } else { "" }
    }
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

/// `deployment.apps/web created`.
pub fn report(def: &ResourceDef, name: &str, verb: &str, dry_run: DryRun) {
    print::line(&format!("{} {verb}{}", title(def, name), dry_run.suffix()));
}

/// The line, or the object in the format that was asked for.
pub fn show(def: &ResourceDef, object: Value, verb: &str, dry_run: DryRun, output: Option<&str>) -> Result<()> {
    let format = Format::parse(output)?;
    if format.is_table() {
        report(def, object["metadata"]["name"].as_str().unwrap_or_default(), verb, dry_run);
        return Ok(());
    }
    let mut object = object;
    print::without_managed_fields(&mut object);
    format.print(&[(def.clone(), object)], true)
}

/// Creates and reports.
pub async fn create(session: &Session, object: Value, dry_run: DryRun, manager: &str, output: Option<&str>) -> Result<()> {
    let def = session.discovery().await?.for_object(&object)?.clone();
    let created = if dry_run == DryRun::Client {
        object
    } else {
        let path = with_query(&collection_path(&def, session.namespace_for(&def)), &[("fieldManager", manager), ("dryRun", dry_run.query())]);
        let failed = format!("failed to create {}", def.singular);
        session.create(&path, &object).await.map_err(|e| super::create::failed(e, &failed))?
    };
    show(&def, created, "created", dry_run, output)
}

/// As [`create`], with the server's refusal as it is.
pub async fn create_plainly(session: &Session, mut object: Value, dry_run: DryRun, manager: &str, output: Option<&str>) -> Result<()> {
    let def = session.discovery().await?.for_object(&object)?.clone();
    if dry_run != DryRun::Client {
        let path = with_query(&collection_path(&def, session.namespace_for(&def)), &[("fieldManager", manager), ("dryRun", dry_run.query())]);
        object = session.create(&path, &object).await?;
    }
    show(&def, object, "created", dry_run, output)
}
