//! The languages that policies are written in. Another one is a file here, its templates in `templates/LANGUAGE/`, and a line in [`ALL`];
//! everything else (`new`, `build`, `test`, `dev`) asks this table.
//!
//! A project's language stands in its `plugin.json` as `language`; one without is Rust's.

mod c;
mod go;
mod javascript;
mod python;
mod rust;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::World;

/// A file's path inside a project and what it holds.
pub type File = (&'static str, &'static str);

/// Files of this repository inside the binary, each under its path from the root.
macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../", $name)))),*]
    };
}
pub(super) use embedded;

pub trait Language: Sync {
    /// As `--lang` and `plugin.json` have it.
    fn name(&self) -> &'static str;

    /// A project that builds, passes its tests and does something. `{{name}}` and `{{world}}` are filled in. None: the language has no
    /// template for this world.
    fn template(&self, world: World) -> Option<Vec<File>>;

    /// What authors import, written below the project's `.pintle`, where the WIT packages stand as well (`wit/WORLD/WORLD.wit`).
    fn sdk(&self) -> Vec<File>;

    /// Makes the component, with tools that it installs in the project's folder where the machine has none. `folder` is the project's.
    fn build(&self, folder: &Path) -> Result<Vec<u8>>;

    /// The same for the loop of edit and try: what is built soonest, not what runs fastest.
    fn build_quickly(&self, folder: &Path) -> Result<Vec<u8>> {
        self.build(folder)
    }

    /// Runs the project's tests natively, without a cluster.
    fn test(&self, folder: &Path) -> Result<ExitCode>;

    /// What an author is told before choosing it.
    fn caution(&self) -> Option<&'static str> {
        None
    }
}

/// Every language that `--lang` takes; the first one is the default.
pub const ALL: &[&dyn Language] = &[&rust::Rust, &javascript::JavaScript, &python::Python, &c::C, &go::Go];

pub const DEFAULT: &str = "rust";

/// For `--lang`.
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|l| l.name()).collect()
}

pub fn named(name: &str) -> Result<&'static dyn Language> {
    match ALL.iter().find(|l| l.name() == name) {
        Some(language) => Ok(*language),
        None => bail!("{name:?} is none of the languages {}", names().join(", ")),
    }
}

/// What `plugin.json` says of the project.
pub struct Project {
    pub language: &'static dyn Language,
    /// The Plugin object's name, and the component's file without `.wasm`.
    pub name: String,
}

pub fn project(folder: &Path) -> Result<Project> {
    let path = folder.join("plugin.json");
    let manifest = manifest(folder)?;
    let or = |given: &str, default: &str| {
        if given.is_empty() { default.to_owned() } else { given.to_owned() }
    };
    let language = named(&or(manifest.str_at(&["language"]), DEFAULT)).with_context(|| path.display().to_string())?;
    let of_folder = folder.canonicalize()?.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Project { language, name: or(manifest.str_at(&["name"]), &of_folder) })
}

/// The world that the project's `plugin.json` names.
fn world_of(folder: &Path) -> Result<World> {
    let manifest = manifest(folder)?;
    let name = manifest.str_at(&["world"]);
    match World::value_variants().iter().find(|w| w.name() == name) {
        Some(world) => Ok(*world),
        None => bail!("{}: {name:?} is no world", folder.join("plugin.json").display()),
    }
}

fn manifest(folder: &Path) -> Result<Value> {
    let path = folder.join("plugin.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{} is no plugin's project: reading {}", folder.display(), path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}

/// Runs a tool to its end, its output shown as it comes. `advice` is what to try when it is not there or fails.
fn run(command: &mut Command, advice: &str) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("running {program}; {advice}"))?;
    if !status.success() {
        bail!("{program}: {status}; {advice}");
    }
    Ok(())
}

/// Runs a tool whose answer is the command's own: a project's tests.
fn exit_code(command: &mut Command) -> Result<ExitCode> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("running {program}"))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_a_template_and_says_no_twice() {
        let mut names = names();
        assert_eq!(names.first(), Some(&DEFAULT));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for language in ALL {
            assert!(language.template(World::Scheduler).is_some(), "{}", language.name());
        }
    }

    #[test]
    fn a_project_without_a_language_is_in_rust() {
        let folder = tempfile::tempdir().unwrap();
        assert!(project(folder.path()).is_err());
        std::fs::write(folder.path().join("plugin.json"), r#"{"name": "mine"}"#).unwrap();
        let found = project(folder.path()).unwrap();
        assert_eq!((found.language.name(), found.name.as_str()), ("rust", "mine"));
        std::fs::write(folder.path().join("plugin.json"), r#"{"language": "cobol"}"#).unwrap();
        assert!(project(folder.path()).is_err());
    }
}
