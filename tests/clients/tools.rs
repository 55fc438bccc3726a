//! Builds the clients' programs and upstream's kubectl with the tools of their languages, at the versions that their lock files name.
//!
//! What is built lies under `target/clients`; Go's and npm's own caches of downloads stay where these tools have them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::e2e::run::{output, workspace};

fn built() -> PathBuf {
    let folder = workspace().join("target/clients");
    std::fs::create_dir_all(&folder).expect("target is writable");
    folder
}

pub fn sources(language: &str) -> PathBuf {
    workspace().join("tests/clients").join(language)
}

/// kubectl of the version that pintle follows, whatever the machine has.
pub fn kubectl() -> PathBuf {
    go().join("kubectl")
}

/// That one and the machine's own, where it has one.
pub fn every_kubectl() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let machines = std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|file| file.exists());
    std::iter::once(kubectl()).chain(machines).collect()
}

/// The folder with the programs written in Go.
pub fn go() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let bin = built().join("bin");
        // Debian keeps Go out of the way, and the Go project's own archive is unpacked here.
        let path = format!("{}:/usr/local/go/bin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("go");
        command
            .args(["build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags=-s -w", "-o"])
            .arg(format!("{}/", bin.display()))
            .arg("./...");
        command.current_dir(sources("go")).env("PATH", path).env("CGO_ENABLED", "0").env("GOCACHE", built().join("go-build"));
        output(&mut command).ok();
        bin
    })
}

/// A Python with the Kubernetes client.
pub fn python() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let environment = built().join("python");
        let python = environment.join("bin/python");
        let wanted = sources("python").join("requirements.txt");
        once(&environment, &wanted, || {
            output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment)).ok();
            output(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--no-deps", "-r"]).arg(&wanted)).ok();
        });
        python
    })
}

/// A folder with the Kubernetes client for Node.js and the program that uses it.
pub fn node() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let (folder, from) = (built().join("node"), sources("node"));
        std::fs::create_dir_all(&folder).expect("target is writable");
        for file in ["package.json", "package-lock.json", "client.mjs"] {
            std::fs::copy(from.join(file), folder.join(file)).expect("is writable");
        }
        once(&folder, &from.join("package-lock.json"), || {
            output(Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder)).ok();
        });
        folder
    })
}

/// Installs into the folder unless it was done for the same lock file.
fn once(folder: &Path, lock: &Path, install: impl FnOnce()) {
    let done = folder.join(".installed");
    let wanted = std::fs::read(lock).expect("a lock file");
    if std::fs::read(&done).is_ok_and(|have| have == wanted) {
        return;
    }
    let _ = std::fs::remove_file(&done);
    install();
    std::fs::write(done, wanted).expect("is writable");
}
