//! The verbs that check: `test`, `bench`, `validate-corpus`, `wit-check`.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::{build, machine, plugins, programs};

/// Unit and native plugin tests, then the product as a whole: real etcd, containerd, kubectl, nodes in namespaces of their own.
pub fn test(filter: &[String]) -> Result<()> {
    machine::require_build_tools()?;
    machine::require_node_packages()?;
    machine::require_test_packages()?;
    crate::tidy::run()?;
    wit_check()?;
    plugins::build(&[])?;
    programs::run("node", &["--test", "sdk/js/test"])?;
    let mut args = vec!["test", "--workspace", "--exclude", "pintle-tests", "--no-fail-fast"];
    let filter: Vec<&str> = filter.iter().map(String::as_str).collect();
    if !filter.is_empty() {
        args.push("--");
        args.extend(&filter);
    }
    programs::cargo(&args)?;
    build()?;
    let mut args = vec!["test", "--package", "pintle-tests", "--", "--test-threads", "1"];
    args.extend(&filter);
    programs::cargo(&args)
}

/// End-to-end figures of the release binary.
pub fn bench(args: &[String]) -> Result<()> {
    build()?;
    let mut all = vec!["run", "--release", "--quiet", "--package", "pintle-tests", "--bin", "bench", "--"];
    all.extend(args.iter().map(String::as_str));
    programs::cargo(&all)
}

/// Every case of the validation corpus against the release binary, or against the server that `--kubeconfig` names.
pub fn validate_corpus(args: &[String]) -> Result<()> {
    if !args.iter().any(|a| a == "--kubeconfig") {
        build()?;
    }
    let mut all = vec!["run", "--quiet", "--package", "pintle-tests", "--bin", "corpus", "--"];
    all.extend(args.iter().map(String::as_str));
    programs::cargo(&all)
}

/// A package under `wit/released/<name>@<version>/` is frozen: while `wit/<name>` carries the same version, it must say the same,
/// comments aside. A change takes a new version.
pub fn wit_check() -> Result<()> {
    let Ok(released) = std::fs::read_dir("wit/released") else {
        println!("wit-check: nothing is released yet");
        return Ok(());
    };
    let mut checked = 0;
    for folder in released {
        let folder = folder?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((package, version)) = name.split_once('@') else { bail!("wit/released/{name}: not named package@version") };
        let current = package_text(Path::new("wit").join(package).as_path())?;
        if current.contains(&format!("package pintle:{package}@{version};")) && current != package_text(&folder)? {
            bail!("wit/{package} differs from what {version} released: give it a new version");
        }
        checked += 1;
    }
    println!("wit-check: {checked} released packages stand as released");
    Ok(())
}

/// The package's text without comments and blank lines, files in name order.
fn package_text(folder: &Path) -> Result<String> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "wit"))
        .collect();
    files.sort();
    let mut text = String::new();
    for file in files {
        for line in std::fs::read_to_string(file)?.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("//")) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}
