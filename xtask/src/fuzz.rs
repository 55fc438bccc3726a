//! `fuzz`: libFuzzer over the decoders of `tests/decoders`, by cargo-fuzz and a nightly compiler.
//!
//! Built without AddressSanitizer: no code of ours is unsafe, the build takes half the time and an input a third. What is looked for are panics
//! (overflows among them, since debug assertions are on), calls that do not end, and memory.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::programs;

const SEEDS: &str = "tests/decoders/seeds";
const LOCK: &str = "tests/fuzz/Cargo.lock";
/// What fuzzers found worth keeping; not checked in.
const CORPUS: &str = "target/fuzz-corpus";
/// Objects of each kind as upstream's own code writes them, and requests that it refuses.
const OBJECTS: &str = "host/crates/api/src/protobuf/goldens";
const REQUESTS: &str = "tests/goldens/validation";
const DEFAULT_SECONDS: u64 = 60;
/// An input of this size is decoded in milliseconds; one that takes longer than the next limit is a find.
const MAX_INPUT_BYTES: u32 = 16 << 10;
const MAX_CALL_SECONDS: u32 = 5;
const MAX_MEMORY_MIB: u32 = 512;

/// `[decoder...] [--seconds N] [--build]`: each named decoder, or all of them, for so long. What fails lies in `tests/fuzz/artifacts/`; mended, it
/// moves to `tests/decoders/found/`.
pub fn run(args: &[String]) -> Result<()> {
    let Wanted { seconds, targets, only_build } = Wanted::parse(args)?;
    require_nightly()?;
    require_cargo_fuzz()?;
    if !Path::new(LOCK).exists() {
        // The same dependencies as everywhere else; cargo adds the fuzzer's own.
        fs::copy("Cargo.lock", LOCK)?;
    }
    cargo_fuzz(&["build", "--fuzz-dir", "tests/fuzz", "--sanitizer", "none"])?;
    if only_build {
        return Ok(());
    }
    let mut failed = Vec::new();
    for target in targets {
        let corpus = format!("{CORPUS}/{target}");
        fs::create_dir_all(&corpus)?;
        add_goldens(&target, Path::new(&corpus))?;
        let limits = [
            format!("-max_total_time={seconds}"),
            format!("-max_len={MAX_INPUT_BYTES}"),
            format!("-timeout={MAX_CALL_SECONDS}"),
            format!("-rss_limit_mb={MAX_MEMORY_MIB}"),
            "-print_final_stats=1".to_owned(),
        ];
        let seeds = format!("{SEEDS}/{target}");
        let mut all = vec!["run", "--fuzz-dir", "tests/fuzz", "--sanitizer", "none", &target, &corpus, &seeds, "--"];
        all.extend(limits.iter().map(String::as_str));
        println!("{target}: {seconds} s");
        if cargo_fuzz(&all).is_err() {
            failed.push(target);
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

struct Wanted {
    seconds: u64,
    targets: Vec<String>,
    only_build: bool,
}

impl Wanted {
    fn parse(args: &[String]) -> Result<Self> {
        let mut wanted = Self { seconds: DEFAULT_SECONDS, targets: Vec::new(), only_build: false };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--seconds" => wanted.seconds = args.next().and_then(|text| text.parse().ok()).context("--seconds wants a number")?,
                "--build" => wanted.only_build = true,
                target => wanted.targets.push(target.to_owned()),
            }
        }
        if wanted.targets.is_empty() {
            for folder in fs::read_dir(SEEDS)? {
                wanted.targets.push(folder?.file_name().to_string_lossy().into_owned());
            }
            wanted.targets.sort();
        }
        Ok(wanted)
    }
}

/// `cargo +nightly` is understood by rustup's proxy alone, not by the cargo that runs this. A build folder that is shared with other builds
/// would be rebuilt with the fuzzer's flags.
fn cargo_fuzz(args: &[&str]) -> Result<()> {
    let status =
        Command::new("cargo").args(["+nightly", "fuzz"]).args(args).env_remove("CARGO_BUILD_BUILD_DIR").status().context("starting cargo")?;
    if status.success() { Ok(()) } else { bail!("cargo fuzz {} ended with {status}", args.join(" ")) }
}

/// The project's goldens as inputs, in the form that the decoder takes.
fn add_goldens(target: &str, corpus: &Path) -> Result<()> {
    let (folder, ending, first): (_, _, &[u8]) = match target {
        "json_body" => (OBJECTS, "json", b""),
        "yaml_body" => (REQUESTS, "yaml", b""),
        // The kind of a body that names none.
        "protobuf_body" => (OBJECTS, "pb", b"\0"),
        _ => return Ok(()),
    };
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        if path.extension().is_some_and(|found| found == ending) {
            let name = path.file_name().context("a file has a name")?;
            fs::write(corpus.join(name), [first, &fs::read(&path)?].concat())?;
        }
    }
    Ok(())
}

fn require_nightly() -> Result<()> {
    if programs::run("cargo", &["+nightly", "--version"]).is_ok() {
        return Ok(());
    }
    programs::run("rustup", &["toolchain", "install", "nightly", "--profile", "minimal"]).context("libFuzzer wants a nightly compiler, by rustup")
}

fn require_cargo_fuzz() -> Result<()> {
    if programs::run("cargo", &["fuzz", "--version"]).is_ok() {
        return Ok(());
    }
    programs::run("cargo", &["install", "--quiet", "--locked", "cargo-fuzz"])
}
