//! Puts what `cargo xtask build` made (plugins as components, the images' program) where `include_bytes!` finds it. A plain
//! `cargo build` without those still compiles; such a binary says at run time that it carries nothing.

use std::path::{Path, PathBuf};

fn main() {
    pack_relocations();
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let target = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../target");
    let program = target.join("images/pintle-demo");
    println!("cargo:rerun-if-changed={}", program.display());
    std::fs::write(out.join("pintle-demo"), std::fs::read(&program).unwrap_or_default()).expect("OUT_DIR is writable");

    let plugins = target.join("plugins");
    println!("cargo:rerun-if-changed={}", plugins.display());
    let mut found: Vec<PathBuf> = std::fs::read_dir(&plugins)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "wasm") && p.with_extension("json").exists())
        .collect();
    found.sort();
    let mut table = String::from("&[\n");
    for file in &found {
        println!("cargo:rerun-if-changed={}", file.display());
        let name = file.file_stem().expect("has a name").to_string_lossy();
        let full = file.canonicalize().expect("was just listed");
        let manifest = full.with_extension("json");
        println!("cargo:rerun-if-changed={}", manifest.display());
        table.push_str(&format!("    ({name:?}, include_bytes!({full:?}).as_slice(), include_str!({manifest:?})),\n"));
    }
    table.push_str("]\n");
    std::fs::write(out.join("plugins.rs"), table).expect("OUT_DIR is writable");
}

/// A binary of this size has 150,000 addresses that the loader puts right, and reading the list of them makes 3.6 MB of it resident for good. Packed,
/// the list is a few pages. A loader knows the packed form from glibc 2.36 on; a binary that is built against an older one keeps the long list.
fn pack_relocations() {
    const SINCE: (u32, u32) = (2, 36);
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|is| is == value);
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") || std::env::var("HOST") != std::env::var("TARGET") {
        return;
    }
    let Ok(told) = std::process::Command::new("getconf").arg("GNU_LIBC_VERSION").output() else { return };
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let version = told.trim().strip_prefix("glibc ").and_then(|version| version.split_once('.'));
    let parsed = version.and_then(|(major, minor)| Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?)));
    if parsed.is_some_and(|version: (u32, u32)| version >= SINCE) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
