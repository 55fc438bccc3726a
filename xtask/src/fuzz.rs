//! `fuzz`: libFuzzer over the decoders of `tests/decoders`, by cargo-fuzz and a nightly compiler.

use anyhow::{Result, bail};

use crate::programs;

const SEEDS: &str = "tests/decoders/seeds";
/// What fuzzers found worth keeping; not checked in.
const CORPUS: &str = "target/fuzz-corpus";
const DEFAULT_SECONDS: u64 = 60;
/// An input of this size is decoded in milliseconds; one that takes longer than the next limit is a find.
const MAX_INPUT_BYTES: u32 = 16 << 10;
const MAX_CALL_SECONDS: u32 = 10;
const MAX_MEMORY_MIB: u32 = 2048;

/// `[decoder...] [--seconds N]`: each named decoder, or all of them, for so long. What fails lies in `tests/fuzz/artifacts/`; mended, it
/// moves to `tests/decoders/found/`.
pub fn run(args: &[String]) -> Result<()> {
    let (seconds, targets) = parse(args)?;
    require_cargo_fuzz()?;
    let mut failed = Vec::new();
    for target in targets {
        let corpus = format!("{CORPUS}/{target}");
        std::fs::create_dir_all(&corpus)?;
        let limits = [
            format!("-max_total_time={seconds}"),
            format!("-max_len={MAX_INPUT_BYTES}"),
            format!("-timeout={MAX_CALL_SECONDS}"),
            format!("-rss_limit_mb={MAX_MEMORY_MIB}"),
            "-print_final_stats=1".to_owned(),
        ];
        let seeds = format!("{SEEDS}/{target}");
        let mut all = vec!["+nightly", "fuzz", "run", "--fuzz-dir", "tests/fuzz", &target, &corpus, &seeds, "--"];
        all.extend(limits.iter().map(String::as_str));
        // `cargo +nightly` is understood by rustup's proxy alone, not by the cargo that runs this.
        if programs::run("cargo", &all).is_err() {
            failed.push(target);
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

fn parse(args: &[String]) -> Result<(u64, Vec<String>)> {
    let mut seconds = DEFAULT_SECONDS;
    let mut targets = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seconds" => seconds = args.next().and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_SECONDS),
            target => targets.push(target.to_owned()),
        }
    }
    if targets.is_empty() {
        for folder in std::fs::read_dir(SEEDS)? {
            targets.push(folder?.file_name().to_string_lossy().into_owned());
        }
        targets.sort();
    }
    Ok((seconds, targets))
}

fn require_cargo_fuzz() -> Result<()> {
    if programs::run("cargo", &["fuzz", "--version"]).is_ok() {
        return Ok(());
    }
    programs::run("cargo", &["install", "--quiet", "--locked", "cargo-fuzz"])
}
