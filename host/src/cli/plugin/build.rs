//! `plugin build` and `plugin test`: a project through its language's tools.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::{lang, sdk};
use crate::cli::print;

/// With what costs: a release, or what is there soonest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    Careful,
    Quick,
}

pub fn run(folder: &Path, output: Option<PathBuf>) -> Result<ExitCode> {
    let (output, bytes) = component(folder, output, Pace::Careful)?;
    print::line(&format!("{} ({bytes} bytes)", output.display()));
    Ok(ExitCode::SUCCESS)
}

pub fn test(folder: &Path) -> Result<ExitCode> {
    let project = lang::project(folder)?;
    ensure_sdk(folder, &project)?;
    project.language.test(folder)
}

/// Makes the component and writes it: where it is now, and its size.
pub fn component(folder: &Path, output: Option<PathBuf>, pace: Pace) -> Result<(PathBuf, usize)> {
    let project = lang::project(folder)?;
    ensure_sdk(folder, &project)?;
    let component = match pace {
        Pace::Careful => project.language.build(folder)?,
        Pace::Quick => project.language.build_quickly(folder)?,
    };
    let output = output.unwrap_or_else(|| folder.join(format!("{}.wasm", project.name)));
    std::fs::write(&output, &component).with_context(|| format!("writing {}", output.display()))?;
    Ok((output, component.len()))
}

/// A project under version control may leave out what this binary has.
fn ensure_sdk(folder: &Path, project: &lang::Project) -> Result<()> {
    let sdk = folder.join(".pintle");
    if sdk.exists() { Ok(()) } else { sdk::write(project.language, &sdk) }
}
