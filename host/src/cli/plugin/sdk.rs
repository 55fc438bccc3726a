//! The SDKs and the WIT packages inside this binary, so that a new project builds anywhere without a registry that has them.

use std::path::Path;

use anyhow::{Context, Result};

use super::lang::{File, Language, embedded};

const WIT: &[File] = embedded![
    "wit/admission/admission.wit",
    "wit/controller/controller.wit",
    "wit/host/host.wit",
    "wit/ingress/ingress.wit",
    "wit/scheduler/scheduler.wit"
];

/// Writes the WIT packages and a language's SDK below a folder, each at its path in this repository.
pub fn write(language: &dyn Language, folder: &Path) -> Result<()> {
    for (name, content) in WIT.iter().chain(&language.sdk()) {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plugin::lang;

    /// Every source file below the SDK folders and `wit/` is in the binary. An SDK's own tests and examples stay here.
    #[test]
    fn nothing_is_left_out() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let mut there = Vec::new();
        for folder in [
            "sdk/c/src",
            "sdk/go",
            "sdk/js/src",
            "sdk/partial/src",
            "sdk/python/pintle",
            "sdk/python/worlds",
            "sdk/rust/src",
            "wit/admission",
            "wit/controller",
            "wit/host",
            "wit/ingress",
            "wit/scheduler",
        ] {
            files(root, folder, &mut there);
        }
        there.sort();
        let mut known: Vec<String> = WIT.iter().map(|(name, _)| (*name).to_owned()).collect();
        for language in lang::ALL {
            known.extend(language.sdk().iter().map(|(name, _)| (*name).to_owned()));
        }
        // Written for projects alone, not kept here; or beside those folders.
        let beside = |name: &str| name.ends_with("Cargo.toml") || ["sdk/js/build.mjs", "sdk/js/package.json"].contains(&name);
        known.retain(|name| root.join(name).exists() && !beside(name));
        known.sort();
        assert_eq!(there, known);
    }

    fn files(root: &Path, folder: &str, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            match entry.file_type().unwrap().is_dir() {
                // What Python compiled of its sources, when an example was built.
                true if name.ends_with("__pycache__") => {}
                true => files(root, &name, found),
                // Go wants a package's tests in its folder.
                false if name.ends_with("_test.go") => {}
                false => found.push(name),
            }
        }
    }
}
