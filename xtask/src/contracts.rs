//! `wit-check` and `wit-freeze`: released WIT packages stand as they were released.
//!
//! `wit/released/<name>@<version>/` holds a package as it was released, `wit/released/digests` what it said then. `wit/<name>` is the
//! package as it is worked on: under a released version it says the same, comments aside; under a later patch of one it only adds; under
//! a new minor it may say anything. Which versions the host links is a table of its own (`plugins/src/contract.rs`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use wit_parser::{PackageId, Resolve};

const WIT: &str = "wit";

pub fn check() -> Result<()> {
    let checked = check_in(Path::new(WIT))?;
    println!("wit-check: {checked} released packages stand as released");
    Ok(())
}

/// Copies packages, or all whose version is not released yet, and writes their digests down.
pub fn freeze(names: &[String]) -> Result<()> {
    let wit = Path::new(WIT);
    check_in(wit)?;
    for frozen in freeze_in(wit, names)? {
        println!("wit-freeze: {frozen}");
    }
    Ok(())
}

fn check_in(wit: &Path) -> Result<usize> {
    let mut digests = digests(wit)?;
    let mut checked = 0;
    for folder in folders(&wit.join("released"))? {
        let release = Release::of(&folder)?;
        let Some(then) = digests.remove(&release.to_string()) else {
            bail!("wit/released/{release} is not in wit/released/digests: it was never frozen")
        };
        ensure!(digest(&folder)? == then, "wit/released/{release} was changed: a released package stays as it is");
        release.check_current(wit, &folder)?;
        checked += 1;
    }
    if let Some((gone, _)) = digests.first_key_value() {
        bail!("wit/released/{gone} is gone: a released package stays");
    }
    Ok(checked)
}

fn freeze_in(wit: &Path, names: &[String]) -> Result<Vec<String>> {
    let mut digests = digests(wit)?;
    let mut frozen = Vec::new();
    for folder in folders(wit)?.into_iter().filter(|f| !f.ends_with("released")) {
        let package = name_of(&folder);
        if !names.is_empty() && !names.contains(&package) {
            continue;
        }
        let release = format!("{package}@{}", declared(&folder, &package)?);
        if digests.contains_key(&release) {
            continue;
        }
        let copy = wit.join("released").join(&release);
        std::fs::create_dir_all(&copy)?;
        for file in sources(&folder)? {
            std::fs::copy(&file, copy.join(name_of(&file)))?;
        }
        digests.insert(release.clone(), digest(&copy)?);
        frozen.push(release);
    }
    let lines: String = digests.iter().map(|(release, digest)| format!("{digest}  {release}\n")).collect();
    std::fs::write(wit.join("released/digests"), lines)?;
    Ok(frozen)
}

/// A released package: its name and version.
struct Release {
    package: String,
    version: String,
}

impl Release {
    fn of(folder: &Path) -> Result<Self> {
        let name = name_of(folder);
        let Some((package, version)) = name.split_once('@') else { bail!("wit/released/{name}: not named package@version") };
        ensure!(declared(folder, package)? == version, "wit/released/{name} declares another version");
        Ok(Self { package: package.to_owned(), version: version.to_owned() })
    }

    /// What is worked on may not take this release's version for something else.
    fn check_current(&self, wit: &Path, released: &Path) -> Result<()> {
        let Self { package, version } = self;
        let current = wit.join(package);
        let now = declared(&current, package)?;
        if now == *version {
            ensure!(statements(&current)? == statements(released)?, "wit/{package} differs from what {version} released: give it a new version");
        } else if numbers(&now)?[..2] == numbers(version)?[..2] {
            ensure!(numbers(&now)? > numbers(version)?, "wit/{package} is {now}, older than the released {version}");
            only_adds(wit, package, released, &current)
                .with_context(|| format!("wit/{package} {now} does not only add to {version}: it must be a new minor version"))?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.package, self.version)
    }
}

/// Whoever is built against the release finds everything in the later patch: it may import more, and need export no more.
fn only_adds(wit: &Path, package: &str, released: &Path, current: &Path) -> Result<()> {
    let mut resolve = Resolve::default();
    let host = declared(&wit.join("host"), "host")?;
    if package != "host" {
        for folder in folders(&wit.join("released"))?.iter().filter(|f| name_of(f).starts_with("host@") && name_of(f) != format!("host@{host}")) {
            resolve.push_path(folder)?;
        }
        resolve.push_path(wit.join("host"))?;
    }
    let before = resolve.push_path(released)?.0;
    let after = resolve.push_path(current)?.0;
    let world = |resolve: &Resolve, id: PackageId| resolve.packages[id].worlds.values().next().copied();
    match (world(&resolve, before), world(&resolve, after)) {
        (Some(before), Some(after)) => wit_component::semver_check(resolve, before, after),
        // A package of interfaces: what it had must be there line by line.
        _ => {
            let now = statements(current)?;
            let gone =
                statements(released)?.lines().find(|line| !line.starts_with("package ") && !now.lines().any(|l| l == *line)).map(str::to_owned);
            gone.map_or(Ok(()), |line| bail!("`{line}` is gone"))
        }
    }
}

fn declared(folder: &Path, package: &str) -> Result<String> {
    let text = statements(folder)?;
    let start = format!("package pintle:{package}@");
    let version = text.lines().find_map(|line| line.strip_prefix(&start)?.strip_suffix(';'));
    version.map(str::to_owned).with_context(|| format!("{} declares no `{start}VERSION;`", folder.display()))
}

fn numbers(version: &str) -> Result<[u32; 3]> {
    let parts: Vec<u32> = version.split('.').map(str::parse).collect::<Result<_, _>>().with_context(|| format!("the version {version}"))?;
    parts.try_into().ok().with_context(|| format!("the version {version} has not three numbers"))
}

fn digests(wit: &Path) -> Result<BTreeMap<String, String>> {
    let path = wit.join("released/digests");
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let text = std::fs::read_to_string(&path)?;
    let parsed = text.lines().map(|line| line.split_once("  ").map(|(digest, release)| (release.to_owned(), digest.to_owned())));
    parsed.collect::<Option<_>>().with_context(|| format!("{}: lines are `DIGEST  NAME@VERSION`", path.display()))
}

/// Of the names and bytes of its files.
fn digest(folder: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    for file in sources(folder)? {
        let bytes = std::fs::read(&file)?;
        hasher.update(format!("{} {}\n", name_of(&file), bytes.len()));
        hasher.update(bytes);
    }
    Ok(hasher.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}

/// The package's text without comments and blank lines, files in name order.
fn statements(folder: &Path) -> Result<String> {
    let mut text = String::new();
    for file in sources(folder)? {
        for line in std::fs::read_to_string(file)?.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("//")) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|p| p.extension().is_some_and(|e| e == "wit")).collect())
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|p| p.is_dir()).collect())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let listed = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut paths = listed.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    const HOST: &str = "package pintle:host@0.1.0;\ninterface env {\n  now: func() -> u64;\n}\n";
    const GREETER: &str = "package pintle:greeter@0.1.0;\nworld greeter {\n  import pintle:host/env@0.1.0;\n  export greet: func() -> string;\n}\n";

    /// Two packages, frozen; then `edit` has its way.
    fn check(edit: impl FnOnce(&Path), expected: Expect) {
        let folder = tempfile::tempdir().expect("a folder");
        let wit = folder.path();
        write(wit, "host/host.wit", HOST);
        write(wit, "greeter/greeter.wit", GREETER);
        std::fs::create_dir(wit.join("released")).expect("a folder");
        freeze_in(wit, &[]).expect("frozen");
        edit(wit);
        let told = check_in(wit).map_or_else(|e| format!("{e}"), |checked| format!("{checked} stand"));
        expected.assert_eq(&told);
    }

    fn write(wit: &Path, path: &str, text: &str) {
        let path = wit.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    fn greeter(wit: &Path, version: &str, export: &str) {
        write(
            wit,
            "greeter/greeter.wit",
            &GREETER.replace("@0.1.0;\nworld", &format!("@{version};\nworld")).replace("  export greet: func() -> string;\n", export),
        );
    }

    #[test]
    fn what_was_released_stands() {
        check(|_| {}, expect!["2 stand"]);
        check(|wit| greeter(wit, "0.1.0", "  /// Better words.\n  export greet: func() -> string;\n"), expect!["2 stand"]);
    }

    #[test]
    fn a_released_copy_that_is_changed_or_gone() {
        let copy = "released/greeter@0.1.0/greeter.wit";
        check(
            |wit| write(wit, copy, &format!("{GREETER}// nothing\n")),
            expect!["wit/released/greeter@0.1.0 was changed: a released package stays as it is"],
        );
        let gone = |wit: &Path| std::fs::remove_dir_all(wit.join("released/greeter@0.1.0")).expect("removed");
        check(gone, expect!["wit/released/greeter@0.1.0 is gone: a released package stays"]);
        let smuggled = |wit: &Path| write(wit, "released/greeter@0.0.9/greeter.wit", &GREETER.replace("greeter@0.1.0", "greeter@0.0.9"));
        check(smuggled, expect!["wit/released/greeter@0.0.9 is not in wit/released/digests: it was never frozen"]);
    }

    #[test]
    fn a_released_version_says_what_it_said() {
        check(
            |wit| greeter(wit, "0.1.0", "  export greet: func(name: string) -> string;\n"),
            expect!["wit/greeter differs from what 0.1.0 released: give it a new version"],
        );
    }

    #[test]
    fn a_patch_only_adds_and_a_minor_may_break() {
        let more = "  import more: func();\n  export greet: func() -> string;\n";
        check(|wit| greeter(wit, "0.1.1", more), expect!["2 stand"]);
        let other = "  export greet: func(name: string) -> string;\n";
        check(|wit| greeter(wit, "0.1.1", other), expect!["wit/greeter 0.1.1 does not only add to 0.1.0: it must be a new minor version"]);
        check(|wit| greeter(wit, "0.2.0", other), expect!["2 stand"]);
        check(
            |wit| write(wit, "host/host.wit", &HOST.replace("host@0.1.0", "host@0.1.1").replace("now", "time")),
            expect!["wit/host 0.1.1 does not only add to 0.1.0: it must be a new minor version"],
        );
    }

    #[test]
    fn the_repository_holds() {
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
        assert!(check_in(&wit).expect("everything stands") >= 5);
    }
}
