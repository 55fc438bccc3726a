//! Python: componentize-py, in a virtual environment of the project's own, makes the component; pytest runs the tests in CPython.
//!
//! An entry of the SDK (`worlds/WORLD_entry.py`) is what the component runs; it imports the project's `policy`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use super::{File, Language, embedded, exit_code, run, world_of};
use crate::cli::plugin::World;

/// Pinned, for a component's size, speed and imports come from them.
const TOOLS: &[&str] = &["componentize-py==0.25.1", "pytest==9.2.0"];
/// In the project's folder, when it has other packages to bundle. They must be pure Python.
const REQUIREMENTS: &str = "requirements.txt";

const SDK: &[File] = embedded![
    "sdk/python/pintle/__init__.py",
    "sdk/python/pintle/controller.py",
    "sdk/python/pintle/domains.py",
    "sdk/python/pintle/env.py",
    "sdk/python/pintle/fake.py",
    "sdk/python/pintle/ingress.py",
    "sdk/python/pintle/objects.py",
    "sdk/python/pintle/preempt.py",
    "sdk/python/pintle/rules.py",
    "sdk/python/pintle/scheduler.py",
    "sdk/python/pintle/selector.py",
    "sdk/python/pintle/snapshot.py",
    "sdk/python/pintle/testing.py",
    "sdk/python/worlds/controller_entry.py",
    "sdk/python/worlds/host_env.py",
    "sdk/python/worlds/ingress_entry.py",
    "sdk/python/worlds/scheduler_entry.py",
];

pub struct Python;

impl Language for Python {
    fn name(&self) -> &'static str {
        "python"
    }

    fn template(&self, world: World) -> Option<Vec<File>> {
        let (policy, test) = match world {
            World::Scheduler => (include_str!("../templates/python/scheduler.py"), include_str!("../templates/python/test_scheduler.py")),
            World::Controller => (include_str!("../templates/python/controller.py"), include_str!("../templates/python/test_controller.py")),
            World::Ingress => (include_str!("../templates/python/ingress.py"), include_str!("../templates/python/test_ingress.py")),
            World::Admission => return None,
        };
        Some(vec![
            ("policy.py", policy),
            ("tests/test_policy.py", test),
            ("pyproject.toml", include_str!("../templates/python/pyproject.toml")),
            (".gitignore", include_str!("../templates/python/gitignore")),
        ])
    }

    fn sdk(&self) -> Vec<File> {
        SDK.to_vec()
    }

    fn build(&self, folder: &Path) -> Result<Vec<u8>> {
        let world = world_of(folder)?.name();
        let tools = tools(folder)?;
        let made = tempfile::NamedTempFile::with_suffix(".wasm").context("a temporary file")?;
        let home = folder.join(".pintle");
        let mut command = Command::new(tools.join("bin/componentize-py"));
        // Packages of the environment are bundled where they are imported. Of a fault the traceback says all, not the tool's own stack.
        command.env("VIRTUAL_ENV", &tools).env("RUST_BACKTRACE", "0").env("PYTHONDONTWRITEBYTECODE", "1");
        command.arg("--quiet");
        for package in ["host", world] {
            command.arg("--wit-path").arg(home.join("wit").join(package));
        }
        command.arg("--world").arg(format!("pintle:{world}/{world}"));
        // Without --stub-wasi a component imports files, clocks and sockets, and the host refuses it.
        command.args(["componentize", "--stub-wasi"]);
        for path in [folder.to_owned(), home.join("sdk/python"), home.join("sdk/python/worlds")] {
            command.arg("--python-path").arg(path);
        }
        command.arg("--output").arg(made.path()).arg(format!("{world}_entry"));
        run(&mut command, "a policy is imported when it is built: the traceback above says what failed there")?;
        std::fs::read(made.path()).context("reading the component")
    }

    fn test(&self, folder: &Path) -> Result<ExitCode> {
        let tools = tools(folder)?;
        exit_code(Command::new(tools.join("bin/python")).args(["-m", "pytest"]).current_dir(folder))
    }
}

/// The project's environment with the tools, the SDK and the project's own requirements in it; made when anything of that changed.
fn tools(folder: &Path) -> Result<PathBuf> {
    let folder = folder.canonicalize().with_context(|| format!("the folder {}", folder.display()))?;
    let environment = folder.join(".venv");
    let stamp = environment.join("pintle-tools.txt");
    let own = folder.join(REQUIREMENTS);
    // An environment knows its own path: one that was moved is made anew.
    let wanted = format!("{}\n{}\n{}", folder.display(), TOOLS.join("\n"), std::fs::read_to_string(&own).unwrap_or_default());
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(environment);
    }
    let advice = "Python 3.10 or later with its venv module is needed (Debian: apt install python3-venv)";
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment), advice)?;
    let mut install = Command::new(environment.join("bin/python"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(TOOLS);
    if own.exists() {
        install.arg("--requirement").arg(&own);
    }
    run(&mut install, "the tools come from the Python package index")?;
    share(&environment, &folder.join(".pintle/sdk/python"))?;
    std::fs::write(&stamp, wanted).with_context(|| format!("writing {}", stamp.display()))?;
    Ok(environment)
}

/// Makes the SDK importable in the environment, for tests and editors.
fn share(environment: &Path, sdk: &Path) -> Result<()> {
    let query = ["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"];
    let output = Command::new(environment.join("bin/python")).args(query).output().context("running python")?;
    let packages = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    std::fs::write(packages.join("pintle-sdk.pth"), format!("{}\n", sdk.display())).context("writing pintle-sdk.pth")
}
