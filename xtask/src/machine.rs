//! What the machine must have, and its installation on Debian.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::programs::run;

/// A file that shows that a Debian package is installed.
struct Package {
    name: &'static str,
    proof: &'static [&'static str],
}

const fn package(name: &'static str, proof: &'static [&'static str]) -> Package {
    Package { name, proof }
}

/// Compiling the CRI, containerd and etcd clients needs protoc, and etcd's the well-known types, which stand in a package of their own.
const BUILD: &[Package] =
    &[package("protobuf-compiler", &["/usr/bin/protoc"]), package("libprotobuf-dev", &["/usr/include/google/protobuf/descriptor.proto"])];

const NODE: &[Package] = &[
    package("containerd", &["/usr/bin/containerd"]),
    package("runc", &["/usr/sbin/runc", "/usr/bin/runc"]),
    package("containernetworking-plugins", &["/usr/lib/cni/bridge"]),
    package("iptables", &["/usr/sbin/iptables"]),
    package("conntrack", &["/usr/sbin/conntrack"]),
    package("iproute2", &["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"]),
    package("util-linux", &["/usr/bin/nsenter"]),
    package("busybox-static", &["/usr/bin/busybox", "/bin/busybox"]),
];

/// What only tests use: a real etcd, a client for what pods serve, what policies in Python, C and JavaScript are built with, and
/// what clients in Python, JavaScript and Go, and the registry of components, are.
const TESTS: &[Package] = &[
    package("etcd-server", &["/usr/bin/etcd"]),
    package("curl", &["/usr/bin/curl"]),
    package("python3-venv", &["/usr/share/doc/python3-venv"]),
    package("python3-pip", &["/usr/bin/pip3"]),
    package("nodejs", &["/usr/bin/node"]),
    package("npm", &["/usr/bin/npm"]),
    package("golang-go", &["/usr/bin/go", "/usr/local/go/bin/go"]),
];

const RUST_TARGETS: &[&str] = &["wasm32-unknown-unknown", crate::programs::DEMO_TARGET];

pub fn require_build_tools() -> Result<()> {
    install(BUILD)?;
    require_rust_targets()
}

pub fn require_node_packages() -> Result<()> {
    install(NODE)
}

pub fn require_test_packages() -> Result<()> {
    install(TESTS)
}

fn require_rust_targets() -> Result<()> {
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).output().context("rustup is needed")?;
    let installed = String::from_utf8_lossy(&installed.stdout).into_owned();
    for target in RUST_TARGETS.iter().filter(|t| !installed.lines().any(|l| l == **t)) {
        println!("installing Rust target {target}");
        run("rustup", &["target", "add", target])?;
    }
    Ok(())
}

/// What reads the counts of a profile, of the compiler's own version.
pub fn require_profiler() -> Result<()> {
    run("rustup", &["component", "add", "llvm-tools"])
}

/// Where the compiler's own programs lie.
pub fn rust_programs() -> Result<String> {
    let told = |what: &str| -> Result<String> {
        let told = Command::new("rustc").args(["--print", what]).output().context("rustc is needed")?;
        Ok(String::from_utf8_lossy(&told.stdout).trim().to_owned())
    };
    Ok(format!("{}/lib/rustlib/{}/bin", told("sysroot")?, told("host-tuple")?))
}

fn install(packages: &[Package]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().filter(|p| !p.proof.iter().any(|f| Path::new(f).exists())).map(|p| p.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("these programs are missing, and this is no Debian to install them from: {list}");
    }
    if !is_root() {
        bail!("these packages are missing, and only root can install them: {list}");
    }
    println!("installing {list}");
    let install = |quiet: &str| {
        let mut args = vec!["install", "-y", "--no-install-recommends", quiet];
        args.extend(&missing);
        // The distribution's own containerd service is of no use here: pintle starts one of its own.
        Command::new("apt-get").args(&args).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1").status()
    };
    if install("-qq")?.success() {
        return Ok(());
    }
    run("apt-get", &["update", "-qq"])?;
    if !install("-qq")?.success() {
        bail!("apt-get could not install {list}");
    }
    Ok(())
}

pub fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.trim_ascii() == b"0")
}
