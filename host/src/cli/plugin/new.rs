//! `plugin new`: a project that builds, passes its tests and does something, to be changed into what is wanted.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{World, lang, sdk};
use crate::cli::print;

/// Of a DNS label, which the Plugin's name is.
const MAX_NAME: usize = 63;

pub fn run(world: World, name: &str, language: &str, path: Option<PathBuf>) -> Result<ExitCode> {
    let language = lang::named(language)?;
    check_name(name)?;
    let Some(template) = language.template(world) else {
        bail!("there is no template for a {} in {} yet", world.name(), language.name());
    };
    let folder = path.unwrap_or_else(|| PathBuf::from(name));
    if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{} exists and is not empty", folder.display());
    }
    for (file, content) in template {
        write(&folder.join(file), &content.replace("{{name}}", name).replace("{{world}}", world.name()))?;
    }
    let manifest = json!({"name": name, "world": world.name(), "language": language.name(), "grants": grants(world)?});
    write(&folder.join("plugin.json"), &format!("{manifest:#}\n"))?;
    sdk::write(language, &folder.join(".pintle"))?;
    let shown = folder.display();
    language.caution().into_iter().for_each(print::line);
    print::line(&format!("{} plugin {name:?} in {shown}. Next:", world.name()));
    print::line(&format!("  pintle plugin test {shown}\n  pintle plugin build {shown}\n  pintle plugin apply {shown}"));
    Ok(ExitCode::SUCCESS)
}

/// What the template needs. The host reads the cluster on behalf of a scheduler and an ingress controller: what the default ones are
/// granted, any other needs, too.
fn grants(world: World) -> Result<Value> {
    let of_default = |manifest: &str| -> Result<Value> { Ok(serde_json::from_str::<Value>(manifest)?["grants"].clone()) };
    match world {
        World::Scheduler => of_default(include_str!("../../../../plugins/scheduler-default/plugin.json")),
        World::Ingress => of_default(include_str!("../../../../plugins/ingress-nginx-like/plugin.json")),
        World::Admission => Ok(json!([])),
        World::Controller => Ok(json!([{"verbs": ["get", "list", "watch", "patch"], "apiGroups": [""], "resources": ["configmaps"]}])),
    }
}

fn check_name(name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = name.len() <= MAX_NAME && name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-') && name.chars().all(allowed);
    if !fits {
        bail!("{name:?}: a plugin's name is made of lower-case letters, digits and dashes, begins with a letter and ends with no dash");
    }
    Ok(())
}

fn write(path: &Path, content: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, content).with_context(|| format!("writing {}", path.display()))
}
