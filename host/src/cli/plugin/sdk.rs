//! The SDK and the WIT packages inside this binary, so that a new plugin's crate builds anywhere without a registry that has them.

use std::path::Path;

use anyhow::{Context, Result};

type File = (&'static str, &'static str);

macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../", $name)))),*]
    };
}

const FILES: &[File] = embedded![
    "sdk/rust/src/controller.rs",
    "sdk/rust/src/controller_glue.rs",
    "sdk/rust/src/glue.rs",
    "sdk/rust/src/ingress.rs",
    "sdk/rust/src/lib.rs",
    "sdk/rust/src/scheduler.rs",
    "sdk/rust/src/selector.rs",
    "sdk/rust/src/testing.rs",
    "wit/controller/controller.wit",
    "wit/host/host.wit",
    "wit/ingress/ingress.wit",
    "wit/scheduler/scheduler.wit",
];

/// The crate's own manifest leans on this workspace; this one stands alone.
const MANIFEST: &str = include_str!("templates/sdk.toml");

/// Writes the SDK below a folder: the crate at `sdk/rust`, where its sources look for `../../wit`.
pub fn write(folder: &Path) -> Result<()> {
    for (name, content) in FILES.iter().chain([&("sdk/rust/Cargo.toml", MANIFEST)]) {
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

    #[test]
    fn nothing_is_left_out() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let mut there = Vec::new();
        for folder in ["sdk/rust/src", "wit/controller", "wit/host", "wit/ingress", "wit/scheduler"] {
            for entry in std::fs::read_dir(root.join(folder)).unwrap() {
                there.push(format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy()));
            }
        }
        there.sort();
        assert_eq!(there, FILES.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
    }
}
