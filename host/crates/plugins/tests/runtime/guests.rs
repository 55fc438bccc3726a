//! The SDK's example guests as components, built once a test run.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

pub fn admission() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| build("admission"))
}

pub fn controller() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| build("controller"))
}

/// Says what it reads, and logs what it is asked about.
pub fn reading() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| example("controller", "probe_reading"))
}

/// Built against the controller's contract as it was released as 0.1.0.
pub fn controller_0_1() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| example("released", "probe_controller_0_1"))
}

pub fn scheduler() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| build("scheduler"))
}

/// Built against the scheduler's contract as it was released as 0.2.0.
pub fn scheduler_0_2() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| example("released", "probe_scheduler_0_2"))
}

pub fn ingress() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| build("ingress"))
}

/// The core module before it becomes a component.
pub fn core_module() -> Vec<u8> {
    controller();
    std::fs::read(module("controller")).expect("the core module")
}

/// A default plugin, by its crate.
pub fn plugin(package: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let target = "wasm32-unknown-unknown";
    let output = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["build", "--quiet", "--package", package, "--lib", "--target", target, "--profile", "plugin"])
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let core = std::fs::read(built(&format!("{}.wasm", package.replace('-', "_")))).expect("the core module");
    let mut encoder = wit_component::ComponentEncoder::default();
    encoder.module(&core).expect("a module with its world").validate(true).encode().expect("a component")
}

/// A component in the text format, as bytes.
pub fn from_text(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("a component")
}

fn build(world: &str) -> Vec<u8> {
    example(world, &format!("probe_{world}"))
}

fn example(feature: &str, name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let output = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["build", "--quiet", "--package", "pintle-sdk", "--features", feature, "--example", name])
        .args(["--target", "wasm32-unknown-unknown", "--profile", "plugin"])
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let core = std::fs::read(built(&format!("examples/{name}.wasm"))).expect("the core module");
    let mut encoder = wit_component::ComponentEncoder::default();
    encoder.module(&core).expect("a module with its world").validate(true).encode().expect("a component")
}

fn module(world: &str) -> std::path::PathBuf {
    built(&format!("examples/probe_{world}.wasm"))
}

fn built(file: &str) -> std::path::PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target"), Into::into);
    target.join("wasm32-unknown-unknown/plugin").join(file)
}
