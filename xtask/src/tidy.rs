//! The rules of ARCHITECTURE.md that a machine can check, on the sources as text.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Longer files are listed here with the reason; everything else stays under [`MAX_LINES`].
const MAX_LINES: usize = 700;
/// Imports that a crate's manifest must not have: (crate, dependency, why).
const WALLS: &[(&str, &str, &str)] = &[
    ("host/crates/api", "tokio", "api is pure"),
    ("host/crates/api", "pintle-", "api imports none of ours"),
    ("host/crates/cel", "tokio", "an expression has no effects"),
    ("host/crates/cel", "pintle-registry", "expressions know no kind"),
    ("host/crates/registry", "tokio", "a strategy is synchronous and pure"),
    ("host/crates/registry", "hyper", "a strategy sees no request"),
    ("host/crates/registry", "pintle-store", "only the API server imports store"),
    ("host/crates/registry", "pintle-apiserver", "the server stands on the registry"),
    ("host/crates/node", "pintle-store", "only the API server imports store"),
    ("host/crates/node", "pintle-apiserver", "a node acts through the Client port"),
    ("host/crates/node", "wasmtime", "only plugin-bindings, plugins and host link wasmtime"),
    ("host/crates/plugins", "pintle-store", "only the API server imports store"),
    ("host/crates/plugins", "pintle-apiserver", "plugins act through the Client port"),
    ("host/crates/apiserver", "wasmtime", "only plugin-bindings, plugins and host link wasmtime"),
    ("host/crates/ingress", "pintle-store", "only the API server imports store"),
    ("host/crates/ingress", "wasmtime", "only plugin-bindings, plugins and host link wasmtime"),
    ("host/crates/client", "pintle-store", "only the API server imports store"),
    ("host", "pintle-store", "only the API server imports store"),
];
/// Words that mark unfinished work.
const UNFINISHED: &[&str] = &["todo!(", "unimplemented!(", "FIXME", "XXX", "dbg!("];

pub fn run() -> Result<()> {
    let mut faults = Vec::new();
    check_walls(&mut faults)?;
    check_format(&mut faults)?;
    let sources = sources(Path::new("."))?;
    for file in &sources {
        check_file(file, &mut faults)?;
    }
    faults.extend(crate::layers::check(&sources)?);
    for fault in &faults {
        println!("{fault}");
    }
    if !faults.is_empty() {
        bail!("{} breaches of the house's rules", faults.len());
    }
    println!("tidy: all rules hold");
    Ok(())
}

fn check_walls(faults: &mut Vec<String>) -> Result<()> {
    for (krate, dependency, why) in WALLS {
        let manifest = format!("{krate}/Cargo.toml");
        let text = std::fs::read_to_string(&manifest).with_context(|| manifest.clone())?;
        let dependencies = text.split("[dependencies]").nth(1).unwrap_or("").split("\n[").next().unwrap_or("");
        if dependencies.lines().any(|l| l.starts_with(dependency)) {
            faults.push(format!("{manifest}: {dependency} must not be imported: {why}"));
        }
    }
    Ok(())
}

/// As `rustfmt.toml` has it, so that a change shows what it changes and nothing else.
fn check_format(faults: &mut Vec<String>) -> Result<()> {
    let checked = Command::new("cargo").args(["fmt", "--all", "--check", "--", "--files-with-diff"]).output().context("starting cargo fmt")?;
    faults.extend(String::from_utf8_lossy(&checked.stdout).lines().map(|file| format!("{file}: not as `cargo fmt` writes it")));
    if !checked.status.success() && checked.stdout.is_empty() {
        bail!("cargo fmt: {}", String::from_utf8_lossy(&checked.stderr));
    }
    Ok(())
}

fn check_file(file: &Path, faults: &mut Vec<String>) -> Result<()> {
    let text = std::fs::read_to_string(file)?;
    let shown = file.display();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        faults.push(format!("{shown}: {lines} lines; a file has one purpose and at most {MAX_LINES}"));
    }
    if !text.starts_with("//!") {
        faults.push(format!("{shown}: opens without `//!` that says what it does"));
    }
    if file.ends_with("xtask/src/tidy.rs") {
        return Ok(());
    }
    // What a test expects is data, as `expect-test` writes it, trailing spaces and all.
    let mut in_expectation = false;
    for (number, line) in text.lines().enumerate() {
        in_expectation = (in_expectation || line.contains("expect![[r#\"")) && !line.contains("\"#]]");
        for word in UNFINISHED.iter().filter(|w| line.contains(**w)) {
            faults.push(format!("{shown}:{}: {word}", number + 1));
        }
        if !in_expectation && (line.ends_with(' ') || line.ends_with('\t')) {
            faults.push(format!("{shown}:{}: trailing space", number + 1));
        }
    }
    Ok(())
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    Ok(found)
}
