//! `cargo xtask profile`: what the release binary executes under load, written down for the compiler.
//!
//! A release is optimised by `host/pintle.profdata.gz` (`programs::cargo_release`): functions that run often are inlined and laid out together. The
//! profile is taken by a build that counts, under `cargo xtask bench` and the validation corpus, and is checked in, for taking it builds the binary
//! twice. It goes stale slowly: a function that was changed since is compiled as if it had none, and so is all of a build by another compiler, whose names
//! for functions differ. It changes nothing that the product does. Called by hand: after larger changes of what requests run through, and with each new compiler.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::machine;
use crate::programs::{self, run};

/// Relative to the workspace, as all paths here.
const CHECKED_IN: &str = "host/pintle.profdata.gz";
const UNPACKED: &str = "target/pintle.profdata";
/// Beside `target`'s own folders, for nothing in it is compiled as there.
const COUNTING: &str = "target/counting";

pub fn run_all() -> Result<()> {
    machine::require_profiler()?;
    crate::build_contents()?;
    let counts = std::env::current_dir()?.join(COUNTING).join("counts");
    build_counting(&counts)?;
    // Build scripts counted as well, if they ran.
    if counts.exists() {
        std::fs::remove_dir_all(&counts)?;
    }
    let binary = format!("{COUNTING}/release/pintle");
    load(&binary, "bench")?;
    load(&binary, "corpus")?;
    merge(&counts)
}

/// The profile as the compiler reads it.
pub fn unpacked() -> Result<PathBuf> {
    let packed = std::fs::File::open(CHECKED_IN).context(CHECKED_IN)?;
    let mut profile = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut profile).context(CHECKED_IN)?;
    std::fs::create_dir_all("target")?;
    programs::write_if_changed(UNPACKED, &profile)?;
    Ok(std::env::current_dir()?.join(UNPACKED))
}

fn build_counting(counts: &Path) -> Result<()> {
    let mut cargo = programs::cargo_command();
    cargo.args(["build", "--release", "--package", "pintle", "--target-dir", COUNTING]);
    programs::finish(cargo.env("RUSTFLAGS", format!("-Cprofile-generate={}", counts.display())))
}

/// The tools start the server, and let it end by itself: it writes its counts then.
fn load(binary: &str, tool: &str) -> Result<()> {
    let mut cargo = programs::cargo_command();
    cargo.args(["run", "--quiet", "--package", "pintle-tests", "--bin", tool]);
    programs::finish(cargo.env("PINTLE_BIN", binary))
}

fn merge(counts: &Path) -> Result<()> {
    let files: Vec<PathBuf> = std::fs::read_dir(counts)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    ensure!(!files.is_empty(), "the server counted nothing");
    let merge = format!("{}/llvm-profdata", machine::rust_programs()?);
    let files: Vec<&str> = files.iter().filter_map(|file| file.to_str()).collect();
    run(&merge, &[&["merge", "--sparse", "--output", UNPACKED], files.as_slice()].concat())?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&std::fs::read(UNPACKED)?)?;
    let packed = packed.finish()?;
    std::fs::write(CHECKED_IN, &packed)?;
    println!("{CHECKED_IN}: {} KiB", packed.len() / 1024);
    Ok(())
}
