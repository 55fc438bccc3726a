//! The order in which the API server's modules stand on each other: each may import those before it in [`LAYERS`], none after it.
//!
//! Read off the sources as text, for `tidy`. What stands in `mod tests` or in a file of tests is not looked at.

use std::path::Path;

use anyhow::{Context, Result, ensure};

const SOURCES: &str = "host/crates/apiserver/src";

/// From the ground up.
const LAYERS: &[&str] = &[
    "config_file",
    "storage",
    "encryption",
    "cache",
    "pieces",
    "outbound",
    "auth",
    "audit",
    "conversion",
    "resources",
    "lookup",
    "scope",
    "admission",
    "aggregation",
    "config",
    "handlers",
    "backup",
    "http",
    "local",
    "custom",
    "apiservices",
    "bookkeeping",
    "server",
];

/// Faults, one a line: a module that is not listed, and each import that runs up.
pub fn check(sources: &[std::path::PathBuf]) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for file in sources.iter().filter(|file| file.strip_prefix("./").unwrap_or(file).starts_with(SOURCES)) {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let Some(own) = module_of(file) else { continue };
        faults.extend(faults_of(&own, &text).into_iter().map(|fault| format!("{}: {fault}", file.display())));
    }
    ensure!(Path::new(SOURCES).exists(), "{SOURCES} is gone: its layers are checked here");
    Ok(faults)
}

/// The top module that a file belongs to; none for the crate's root and for tests.
fn module_of(file: &Path) -> Option<String> {
    let inner = file.strip_prefix("./").unwrap_or(file).strip_prefix(SOURCES).ok()?;
    if inner.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs") {
        return None;
    }
    let top = inner.components().next()?.as_os_str().to_str()?.trim_end_matches(".rs").to_owned();
    (top != "lib").then_some(top)
}

fn faults_of(own: &str, text: &str) -> Vec<String> {
    let height = |module: &str| LAYERS.iter().position(|layer| *layer == module);
    let Some(mine) = height(own) else { return vec![format!("the module {own} has no place among the API server's layers (xtask/src/layers.rs)")] };
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let named = lines.flat_map(|line| line.split("crate::").skip(1)).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    });
    let mut above: Vec<&str> = named.filter(|module| height(module).is_some_and(|theirs| theirs > mine)).collect();
    above.sort_unstable();
    above.dedup();
    above.into_iter().map(|module| format!("{own} must not import {module}, which stands on it")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_run_down() {
        assert!(faults_of("handlers", "use crate::cache::Cache;\nuse crate::{GIT_VERSION, LocalClient};\n// crate::http\n").is_empty());
        assert_eq!(faults_of("cache", "use crate::handlers::Core;\n"), ["cache must not import handlers, which stands on it"]);
        assert!(faults_of("cache", "#[cfg(test)]\nmod tests {\n    use crate::server::Server;\n}\n").is_empty());
        assert_eq!(faults_of("new", "").len(), 1);
        assert_eq!(module_of(Path::new("./host/crates/apiserver/src/cache/feed.rs")).as_deref(), Some("cache"));
        assert_eq!(module_of(Path::new("./host/crates/apiserver/src/cache/tests.rs")), None);
    }
}
