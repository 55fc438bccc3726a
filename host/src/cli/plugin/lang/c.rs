//! C: bindings from the WIT, `zig cc` for wasm32 with its C library, and the module into a component. Tests are compiled for this machine.
//!
//! Zig comes as one package with compiler, linker and C library; it is kept once for a user, for it takes 400 MB.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow, bail};
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;

use super::{File, Language, embedded, exit_code, run, world_of};
use crate::cli::plugin::World;

const ZIG: &str = "0.17.1";

const SDK: &[File] = embedded![
    "sdk/c/src/pintle_cluster.c",
    "sdk/c/src/pintle_cluster.h",
    "sdk/c/src/pintle_domains.c",
    "sdk/c/src/pintle_map.c",
    "sdk/c/src/pintle_map.h",
    "sdk/c/src/pintle_rules.c",
    "sdk/c/src/pintle_scheduler.c",
    "sdk/c/src/pintle_scheduler.h",
    "sdk/c/src/pintle_testing.c",
    "sdk/c/src/pintle_testing.h",
    "sdk/c/src/wasi.c",
];
/// What both a component and its tests are made of.
const SCHEDULER: &[&str] = &["pintle_cluster.c", "pintle_domains.c", "pintle_map.c", "pintle_rules.c", "pintle_scheduler.c"];

const FLAGS: &[&str] = &["-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fno-strict-aliasing"];
/// Without debugging data, the C library's included, a component is a thirtieth of the size. The stack would be of 16 MiB.
const FOR_WASM: &[&str] = &["-target", "wasm32-wasi", "-mexec-model=reactor", "-O2", "-Wl,--strip-debug", "-Wl,-z,stack-size=1048576"];
/// The bindings' attributes mean something to wasm alone.
const FOR_TESTS: &[&str] = &["-O1", "-g", "-Wno-unknown-attributes"];

pub struct C;

impl Language for C {
    fn name(&self) -> &'static str {
        "c"
    }

    fn template(&self, world: World) -> Option<Vec<File>> {
        match world {
            World::Scheduler => Some(vec![
                ("policy.c", include_str!("../templates/c/scheduler.c")),
                ("tests/test_policy.c", include_str!("../templates/c/test_scheduler.c")),
                (".gitignore", include_str!("../templates/c/gitignore")),
            ]),
            World::Admission | World::Controller | World::Ingress => None,
        }
    }

    fn sdk(&self) -> Vec<File> {
        SDK.to_vec()
    }

    fn build(&self, folder: &Path) -> Result<Vec<u8>> {
        let project = Project::open(folder)?;
        let module = project.build.join("policy.wasm");
        let mut command = project.compiler(FOR_WASM);
        command.args(sources(folder)?).args(project.sdk(&["wasi.c"])).args(project.bindings(&["scheduler.c", "scheduler_component_type.o"]));
        run(command.arg("-o").arg(&module), "the messages above are the compiler's")?;
        let core = std::fs::read(&module).with_context(|| format!("reading {}", module.display()))?;
        wit_component::ComponentEncoder::default()
            .module(&core)?
            .validate(true)
            .encode()
            .context("making the component: it may import nothing but its world's packages, so no files and no sockets")
    }

    fn test(&self, folder: &Path) -> Result<ExitCode> {
        let project = Project::open(folder)?;
        let tests = project.build.join("tests");
        let mut command = project.compiler(FOR_TESTS);
        command.args(sources(folder)?).args(sources(&folder.join("tests"))?);
        command.args(project.sdk(&["pintle_testing.c"])).args(project.bindings(&["scheduler.c"]));
        run(command.arg("-o").arg(&tests), "the messages above are the compiler's")?;
        exit_code(Command::new(&tests).current_dir(folder))
    }
}

/// A project whose bindings are made and whose compiler is there.
struct Project {
    zig: PathBuf,
    home: PathBuf,
    /// Where everything that is made goes.
    build: PathBuf,
}

impl Project {
    fn open(folder: &Path) -> Result<Self> {
        let world = world_of(folder)?;
        if world != World::Scheduler {
            bail!("the SDK for C has no {} yet", world.name());
        }
        let home = folder.canonicalize().with_context(|| format!("the folder {}", folder.display()))?.join(".pintle");
        let build = folder.canonicalize()?.join("build");
        bindings(&home.join("wit"), world, &build.join("bindings"))?;
        Ok(Self { zig: zig()?, home, build })
    }

    fn compiler(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(&self.zig);
        command.arg("cc").args(flags).args(FLAGS);
        command.arg("-I").arg(self.home.join("sdk/c/src")).arg("-I").arg(self.build.join("bindings"));
        command.args(self.sdk(SCHEDULER));
        command
    }

    fn sdk(&self, files: &[&str]) -> Vec<PathBuf> {
        files.iter().map(|file| self.home.join("sdk/c/src").join(file)).collect()
    }

    fn bindings(&self, files: &[&str]) -> Vec<PathBuf> {
        files.iter().map(|file| self.build.join("bindings").join(file)).collect()
    }
}

/// The C sources in a folder, in order.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>()?;
    found.retain(|path| path.extension().is_some_and(|e| e == "c"));
    found.sort();
    if found.is_empty() {
        bail!("there is no C source in {}", folder.display());
    }
    Ok(found)
}

/// Writes the header, the glue and the description of the world, each only when it changed: the compiler caches by content.
fn bindings(wit: &Path, world: World, to: &Path) -> Result<()> {
    let mut resolve = Resolve::default();
    let mut package = None;
    for name in ["host", world.name()] {
        let (id, _) = resolve.push_dir(wit.join(name)).map_err(|e| anyhow!("{e:#}")).with_context(|| format!("the WIT of {name}"))?;
        package = Some(id);
    }
    let package = package.context("a package")?;
    let id = resolve.select_world(&[package], Some(world.name())).map_err(|e| anyhow!("{e:#}"))?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default().build().generate(&mut resolve, id, &mut files).map_err(|e| anyhow!("{e:#}")).context("making the bindings")?;
    std::fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for (name, content) in files.iter() {
        let path = to.join(name);
        if std::fs::read(&path).ok().as_deref() != Some(content) {
            std::fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    Ok(())
}

/// The compiler: the machine's when it is the right one, else from the Python package index, once.
fn zig() -> Result<PathBuf> {
    let version = Command::new("zig").arg("version").output();
    if version.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).trim() == ZIG) {
        return Ok(PathBuf::from("zig"));
    }
    let tools = cache()?.join("pintle/tools");
    let folder = tools.join(format!("zig-{ZIG}"));
    let zig = folder.join("ziglang/zig");
    if zig.exists() {
        return Ok(zig);
    }
    eprintln!("fetching zig {ZIG}, once for this user");
    std::fs::create_dir_all(&tools).with_context(|| format!("making {}", tools.display()))?;
    // Whole or not at all, also when two builds fetch it at a time.
    let partial = tools.join(format!("zig-{ZIG}.partial-{}", std::process::id()));
    let mut install = Command::new("python3");
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore", "--no-deps", "--target"]);
    install.arg(&partial).arg(format!("ziglang=={ZIG}"));
    run(&mut install, "Python 3 with pip is needed (Debian: apt install python3-pip), or zig of this version on the PATH")?;
    if std::fs::rename(&partial, &folder).is_err() {
        std::fs::remove_dir_all(&partial).with_context(|| format!("removing {}", partial.display()))?;
    }
    Ok(zig)
}

fn cache() -> Result<PathBuf> {
    let given = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    given.or(home).context("neither XDG_CACHE_HOME nor HOME is set")
}
