//! `plugin dev`: a project is built on each save and goes to the running cluster, in stage Shadow or in the one that `--stage` names, or, with
//! `--live`, in place of the live revision. What does not build or is refused is told, and the loop goes on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};

use super::build::{self, Pace};
use super::stages::Stage;
use super::{apply, lang};
use crate::cli::print;
use crate::cli::session::Session;

/// Between two looks at the files. A look is a stat of each.
const INTERVAL: Duration = Duration::from_millis(50);
/// More than a policy's project has; a larger folder was named by mistake.
const MAX_FILES: usize = 10_000;
/// What tools make. Hidden files are left out as well, and components.
const MADE: &[&str] = &["node_modules", "target", "__pycache__", "Cargo.lock", "package-lock.json"];

#[derive(clap::Args, Debug)]
pub struct DevArgs {
    #[command(flatten)]
    apply: apply::ApplyArgs,
    /// Let each build decide, instead of comparing it with the revision that does
    #[arg(long, conflicts_with = "stage")]
    live: bool,
}

/// Until the user ends it.
pub async fn run(session: &Session, args: DevArgs) -> Result<()> {
    let folder = args.apply.file.clone();
    lang::project(&folder)?;
    print::line(&format!(
        "watching {}; each save is built and goes {}",
        folder.display(),
        if args.live { "live" } else { "beside the live revision" }
    ));
    let mut saves = Saves::default();
    loop {
        match saves.look(files(&folder)?) {
            Some(saved) => match round(session, &args, &folder).await {
                Ok(done) => print::line(&format!("{done}, {:.1} s after the save", since(saved).as_secs_f64())),
                Err(error) => eprintln!("error: {error:#}"),
            },
            None => tokio::time::sleep(INTERVAL).await,
        }
    }
}

async fn round(session: &Session, args: &DevArgs, folder: &Path) -> Result<String> {
    let project = lang::project(folder)?;
    let output = folder.join(".pintle").join("build").join(format!("{}.wasm", project.name));
    let built = {
        let (folder, output) = (folder.to_owned(), output.clone());
        tokio::task::spawn_blocking(move || {
            output.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            // The component lies beside a copy of the manifest, where `apply` looks for it.
            let built = build::component(&folder, Some(output.clone()), Pace::Quick)?;
            std::fs::copy(folder.join("plugin.json"), output.with_file_name("plugin.json"))?;
            anyhow::Ok(built)
        })
    };
    built.await.context("building")??;
    let mut apply = args.apply.with_file(output);
    let stage = if args.live { Stage::Live } else { apply.stage.stage.unwrap_or(Stage::Shadow) };
    apply.stage.stage = Some(stage);
    apply::run(session, apply).await?;
    Ok(stage.name().to_owned())
}

/// Tells a finished save from files that stand still and files that are being written.
#[derive(Default)]
struct Saves {
    /// As they were built last.
    built: Files,
    /// As they were a look ago.
    seen: Files,
}

/// Modification time and size.
type Files = BTreeMap<PathBuf, (SystemTime, u64)>;

impl Saves {
    /// The time of the newest change, when there is one and nothing has changed since the last look.
    fn look(&mut self, now: Files) -> Option<SystemTime> {
        let settled = now == self.seen;
        self.seen = now;
        if !settled || self.seen == self.built {
            return None;
        }
        self.built = self.seen.clone();
        self.built.values().map(|(modified, _)| *modified).max()
    }
}

fn files(folder: &Path) -> Result<Files> {
    let mut found = Files::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).with_context(|| format!("reading {}", next.display()))? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            // What is gone again between two calls was an editor's.
            let Ok(meta) = entry.metadata() else { continue };
            if name.starts_with('.') || MADE.contains(&name.as_str()) || name.ends_with(".wasm") || name.ends_with('~') {
                continue;
            }
            if meta.is_dir() {
                folders.push(path);
            } else if let Ok(modified) = meta.modified() {
                found.insert(path, (modified, meta.len()));
            }
            ensure!(found.len() <= MAX_FILES, "{} has more than {MAX_FILES} files: is it a plugin's project?", folder.display());
        }
    }
    if found.is_empty() {
        bail!("{} is empty", folder.display());
    }
    Ok(found)
}

fn since(time: SystemTime) -> Duration {
    time.elapsed().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> (SystemTime, u64) {
        (SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), 1)
    }

    fn some(files: &[(&str, u64)]) -> Files {
        files.iter().map(|(name, seconds)| (PathBuf::from(name), at(*seconds))).collect()
    }

    #[test]
    fn a_save_is_built_once_and_only_when_it_is_whole() {
        let mut saves = Saves::default();
        let (first, second, third) = (some(&[("a", 1)]), some(&[("a", 2)]), some(&[("a", 2), ("b", 3)]));
        assert_eq!(saves.look(first.clone()), None, "it may still be written");
        assert_eq!(saves.look(first.clone()), Some(at(1).0));
        assert_eq!(saves.look(first), None);
        assert_eq!(saves.look(second), None);
        assert_eq!(saves.look(third.clone()), None);
        assert_eq!(saves.look(third.clone()), Some(at(3).0));
        assert_eq!(saves.look(third), None);
        assert_eq!(saves.look(some(&[("b", 3)])), None);
        assert_eq!(saves.look(some(&[("b", 3)])), Some(at(3).0), "a removed file is a change");
    }

    #[test]
    fn what_tools_make_is_no_source() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["policy.js", "lib/rank.js", "node_modules/x.js", "target/y", ".pintle/z", "p.wasm", "policy.js~"] {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = files(folder.path()).unwrap();
        let names: Vec<_> = found.keys().map(|p| p.strip_prefix(folder.path()).unwrap().display().to_string()).collect();
        assert_eq!(names, ["lib/rank.js", "policy.js"]);
    }
}
