//! `cargo xtask plugins [NAME...]`: the plugins under `plugins/` as components in `target/plugins/`.
//!
//! Cargo runs once a world: the SDK's feature names the world, and features of crates built together are united, but a component
//! has exactly one. Guests are core modules for wasm32-unknown-unknown, so they cannot import WASI; wit-component wraps them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::programs;

const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "plugin";
const SDK: &str = "pintle-sdk";

struct Plugin {
    package: String,
    /// The package without `pintle-`: the component's file name, and the name of the Plugin object.
    name: String,
    world: String,
    /// Grants and configuration of the default Plugin object; goes beside the component. Without one it is not embedded.
    manifest: PathBuf,
}

/// Builds the named plugins, or all when there is no name.
pub fn build(names: &[String]) -> Result<()> {
    let (target, plugins) = discover()?;
    for name in names {
        ensure!(plugins.iter().any(|p| p.name == *name), "there is no plugin {name:?} under plugins/");
    }
    let mut worlds: BTreeMap<&str, Vec<&Plugin>> = BTreeMap::new();
    for plugin in plugins.iter().filter(|p| names.is_empty() || names.contains(&p.name)) {
        worlds.entry(&plugin.world).or_default().push(plugin);
    }
    // A world that does not build must not keep the others from it.
    let faults: Vec<String> = worlds.values().filter_map(|plugins| build_world(&target, plugins).err()).map(|e| format!("{e:#}")).collect();
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

fn build_world(target: &Path, plugins: &[&Plugin]) -> Result<()> {
    compile(plugins)?;
    for plugin in plugins {
        componentize(target, plugin).with_context(|| format!("component {}", plugin.name))?;
        if !plugin.manifest.exists() {
            continue;
        }
        let beside = target.join("plugins").join(format!("{}.json", plugin.name));
        programs::copy_if_changed(&plugin.manifest.to_string_lossy(), &beside.to_string_lossy())?;
    }
    Ok(())
}

/// Target directory, and every workspace member below `plugins/` that is a cdylib, with the world that it asks the SDK for.
fn discover() -> Result<(PathBuf, Vec<Plugin>)> {
    let output = programs::cargo_command().args(["metadata", "--no-deps", "--format-version=1"]).output().context("cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let root = PathBuf::from(text(&metadata["workspace_root"])).join("plugins");
    let mut plugins = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        if !Path::new(&text(&package["manifest_path"])).starts_with(&root) {
            continue;
        }
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let Some(sdk) = dependencies.into_iter().find(|d| d["name"] == SDK && d["kind"].is_null()) else { continue };
        let is_component = |target: &Value| target["crate_types"].as_array().is_some_and(|types| types.iter().any(|t| t == "cdylib"));
        if !package["targets"].as_array().is_some_and(|targets| targets.iter().any(is_component)) {
            continue;
        }
        let manifest = PathBuf::from(text(&package["manifest_path"])).with_file_name("plugin.json");
        let package = text(&package["name"]);
        let [world] = sdk["features"].as_array().map(Vec::as_slice).unwrap_or_default() else {
            bail!("{package} must ask {SDK} for exactly one feature: its world");
        };
        let name = package.strip_prefix("pintle-").unwrap_or(&package).to_owned();
        plugins.push(Plugin { package, name, world: text(world), manifest });
    }
    Ok((PathBuf::from(text(&metadata["target_directory"])), plugins))
}

fn compile(plugins: &[&Plugin]) -> Result<()> {
    let mut command = programs::cargo_command();
    command.args(["build", "--quiet", "--target", TARGET, "--profile", PROFILE, "--lib"]);
    for plugin in plugins {
        command.args(["--package", &plugin.package]);
    }
    let status = command.status().context("cargo build")?;
    ensure!(status.success(), "cargo build of the plugins failed");
    Ok(())
}

fn componentize(target: &Path, plugin: &Plugin) -> Result<()> {
    let module = target.join(TARGET).join(PROFILE).join(format!("{}.wasm", plugin.package.replace('-', "_")));
    let component = target.join("plugins").join(format!("{}.wasm", plugin.name));
    if modified(&component) > modified(&module) {
        return Ok(());
    }
    let core = std::fs::read(&module).with_context(|| format!("read {}", module.display()))?;
    let encoded = wit_component::ComponentEncoder::default().module(&core)?.validate(true).encode()?;
    std::fs::create_dir_all(component.parent().context("a directory")?)?;
    let partial = component.with_extension("partial");
    std::fs::write(&partial, encoded)?;
    std::fs::rename(&partial, &component)?;
    Ok(())
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|m| m.modified()).ok()
}
