//! `plugin build` and `plugin test`: the crate of a plugin through cargo, and its module into a component.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::cli::print;

const TARGET: &str = "wasm32-unknown-unknown";

pub fn run(path: &Path, output: Option<PathBuf>) -> Result<ExitCode> {
    let (package, target) = package(path)?;
    let status = cargo(path).args(["build", "--release", "--lib", "--target", TARGET]).status().context("running cargo")?;
    if !status.success() {
        bail!("cargo build failed; if the target is missing: rustup target add {TARGET}");
    }
    let module = target.join(TARGET).join("release").join(format!("{}.wasm", package.replace('-', "_")));
    let core = std::fs::read(&module).with_context(|| format!("reading {}: is the crate's type cdylib?", module.display()))?;
    let component = componentize(&core)?;
    let output = output.unwrap_or_else(|| path.join(format!("{package}.wasm")));
    std::fs::write(&output, &component).with_context(|| format!("writing {}", output.display()))?;
    print::line(&format!("{} ({} bytes)", output.display(), component.len()));
    Ok(ExitCode::SUCCESS)
}

pub fn test(path: &Path) -> Result<ExitCode> {
    let status = cargo(path).arg("test").status().context("running cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A core module with the worlds that it was generated for becomes a component. Guests import no WASI.
pub fn componentize(core: &[u8]) -> Result<Vec<u8>> {
    wit_component::ComponentEncoder::default().module(core)?.validate(true).encode().context("making the component")
}

/// The package's name and cargo's target folder.
fn package(path: &Path) -> Result<(String, PathBuf)> {
    ensure!(path.join("Cargo.toml").exists(), "there is no Cargo.toml in {}", path.display());
    let output = cargo(path).args(["metadata", "--no-deps", "--format-version=1"]).output().context("running cargo")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let manifest = path.join("Cargo.toml").canonicalize()?;
    let own = metadata.list_at(&["packages"]).iter().find(|p| Path::new(p.str_at(&["manifest_path"])) == manifest);
    let own = own.with_context(|| format!("{} is no package", path.display()))?;
    Ok((own.str_at(&["name"]).to_owned(), PathBuf::from(metadata.str_at(&["target_directory"]))))
}

fn cargo(path: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(path);
    command
}
