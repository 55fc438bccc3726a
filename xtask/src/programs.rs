//! Runs programs and builds the static one that goes into pintle's images.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// musl: the only libc whose look-up of host names works in a static program.
pub const DEMO_TARGET: &str = "x86_64-unknown-linux-musl";

/// Runs a program to its end; its output is the user's.
pub fn run(program: &str, args: &[&str]) -> Result<()> {
    finish(Command::new(program).args(args))
}

pub fn cargo(args: &[&str]) -> Result<()> {
    finish(cargo_command().args(args))
}

/// Cargo with a release's flags: by the [profile](crate::profile), and with whatever flags the caller has set.
pub fn cargo_release(args: &[&str]) -> Result<()> {
    let profile = crate::profile::unpacked()?;
    let set = std::env::var("RUSTFLAGS").unwrap_or_default();
    // What changed since the profile was taken is not worth a warning for each function.
    let flags = format!("{set} -Cprofile-use={} -Cllvm-args=-no-pgo-warn-mismatch", profile.display());
    finish(cargo_command().args(args).env("RUSTFLAGS", flags.trim()))
}

pub fn cargo_command() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command that is more than a program and its arguments.
pub fn finish(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// Upstream's scheduler as a Go library, over generated clusters: `tests/goldens/placement/main.go` tells its verbs.
pub fn placement(args: &[String]) -> Result<()> {
    let verb = if args.is_empty() { vec!["generate".to_owned()] } else { args.to_vec() };
    let status = Command::new("go")
        .args(["run", "."])
        .args(verb)
        .current_dir("tests/goldens/placement")
        .env("CGO_ENABLED", "0")
        .status()
        .context("starting go: its 1.26 is needed to regenerate these goldens")?;
    if !status.success() {
        bail!("placement ended with {status}");
    }
    Ok(())
}

/// `target/images/pintle-demo`: static, so that it runs in an image that holds nothing else.
pub fn demo() -> Result<()> {
    cargo(&["build", "--quiet", "--package", "pintle-demo", "--profile", "plugin", "--target", DEMO_TARGET])?;
    std::fs::create_dir_all("target/images")?;
    let built = format!("target/{DEMO_TARGET}/plugin/pintle-demo");
    copy_if_changed(&built, "target/images/pintle-demo")
}

/// Copies only when the content differs, so that what embeds the file is not rebuilt.
pub fn copy_if_changed(from: &str, to: &str) -> Result<()> {
    write_if_changed(to, &std::fs::read(from).with_context(|| format!("reading {from}"))?)
}

pub fn write_if_changed(to: &str, new: &[u8]) -> Result<()> {
    if std::fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    std::fs::write(to, new).with_context(|| format!("writing {to}"))
}
