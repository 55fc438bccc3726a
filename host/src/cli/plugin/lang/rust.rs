//! Rust: a crate through cargo for wasm32-unknown-unknown, and its module into a component.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::{File, Language, embedded, exit_code, run};
use crate::cli::plugin::World;

const TARGET: &str = "wasm32-unknown-unknown";

/// Cargo's development profile without what makes a component large: the host compiles all of it.
const QUICK: &[&str] = &[
    "--config",
    "profile.dev.opt-level=1",
    "--config",
    "profile.dev.debug=false",
    "--config",
    "profile.dev.strip=true",
    "--config",
    "profile.dev.panic=\"abort\"",
];

const SDK: &[File] = embedded![
    "sdk/partial/src/lib.rs",
    "sdk/partial/src/parts.rs",
    "sdk/partial/src/same.rs",
    "sdk/rust/src/admission.rs",
    "sdk/rust/src/admission_glue.rs",
    "sdk/rust/src/admission_testing.rs",
    "sdk/rust/src/controller.rs",
    "sdk/rust/src/controller_glue.rs",
    "sdk/rust/src/glue.rs",
    "sdk/rust/src/ingress.rs",
    "sdk/rust/src/lib.rs",
    "sdk/rust/src/scheduler.rs",
    "sdk/rust/src/selector.rs",
    "sdk/rust/src/testing.rs",
];
/// The crates' own manifests lean on this workspace; these stand alone.
const MANIFESTS: [File; 2] =
    [("sdk/rust/Cargo.toml", include_str!("../templates/rust/sdk.toml")), ("sdk/partial/Cargo.toml", include_str!("../templates/rust/partial.toml"))];

pub struct Rust;

impl Language for Rust {
    fn name(&self) -> &'static str {
        "rust"
    }

    fn template(&self, world: World) -> Option<Vec<File>> {
        let mut files =
            vec![("Cargo.toml", include_str!("../templates/rust/crate.toml")), (".gitignore", include_str!("../templates/rust/gitignore"))];
        match world {
            World::Admission => files.push(("src/lib.rs", include_str!("../templates/rust/admission.rs"))),
            World::Scheduler => files.extend([
                ("src/lib.rs", include_str!("../templates/rust/scheduler.rs")),
                ("src/cluster.rs", include_str!("../templates/rust/cluster.rs")),
            ]),
            World::Controller => files.push(("src/lib.rs", include_str!("../templates/rust/controller.rs"))),
            World::Ingress => files.push(("src/lib.rs", include_str!("../templates/rust/ingress.rs"))),
        }
        Some(files)
    }

    fn sdk(&self) -> Vec<File> {
        SDK.iter().copied().chain(MANIFESTS).collect()
    }

    fn build(&self, folder: &Path) -> Result<Vec<u8>> {
        build(folder, &["--release"], "release")
    }

    /// Without optimization across crates, and only the crate itself is compiled again.
    fn build_quickly(&self, folder: &Path) -> Result<Vec<u8>> {
        build(folder, QUICK, "debug")
    }

    fn test(&self, folder: &Path) -> Result<ExitCode> {
        exit_code(cargo(folder).arg("test"))
    }
}

fn build(folder: &Path, options: &[&str], profile: &str) -> Result<Vec<u8>> {
    let (package, target) = package(folder)?;
    let advice = format!("if the target is missing: rustup target add {TARGET}");
    run(cargo(folder).args(["build", "--lib", "--target", TARGET]).args(options), &advice)?;
    let module = target.join(TARGET).join(profile).join(format!("{}.wasm", package.replace('-', "_")));
    let core = std::fs::read(&module).with_context(|| format!("reading {}: is the crate's type cdylib?", module.display()))?;
    // The module carries the worlds that it was generated for. Guests import no WASI.
    wit_component::ComponentEncoder::default().module(&core)?.validate(true).encode().context("making the component")
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
