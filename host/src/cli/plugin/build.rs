//! `plugin build` and `plugin test`: a project through its language's tools.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::lang;
use crate::cli::print;

pub fn run(folder: &Path, output: Option<PathBuf>) -> Result<ExitCode> {
    let (output, bytes) = component(folder, output)?;
    print::line(&format!("{} ({bytes} bytes)", output.display()));
    Ok(ExitCode::SUCCESS)
}

pub fn test(folder: &Path) -> Result<ExitCode> {
    lang::project(folder)?.language.test(folder)
}

/// Makes the component and writes it: where it is now, and its size.
fn component(folder: &Path, output: Option<PathBuf>) -> Result<(PathBuf, usize)> {
    let project = lang::project(folder)?;
    let component = project.language.build(folder)?;
    let output = output.unwrap_or_else(|| folder.join(format!("{}.wasm", project.name)));
    std::fs::write(&output, &component).with_context(|| format!("writing {}", output.display()))?;
    Ok((output, component.len()))
}
