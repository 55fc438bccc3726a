//! Compiles components in a process of its own, which gives its memory back when it ends and leaves the processors to whoever serves.
//!
//! The process is this same program, called with [`ARGUMENT`], the name of the [`Bounds`] to compile for, and the folder where compiled functions
//! are kept (`functions`): a component on standard input, the compiled form on standard output.
//! Refuses nothing by itself: what comes back is checked by the engine that asked. Called by `engine` and, in the child, by `main`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::Engine;

use crate::engine::Bounds;
use crate::functions::Functions;
use crate::load::MAX_COMPONENT_BYTES;

/// The hidden command of the program that compiles.
pub const ARGUMENT: &str = "compile-component";
/// A component of 18 MB takes 16 s on an idle machine.
const TIMEOUT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(20);

/// The program to call.
#[derive(Clone, Debug)]
pub struct Compiler(Arc<Path>);

#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The component is at fault.
    #[error("{0}")]
    Refused(String),
    /// The compiler is: compile here instead.
    #[error("the compiler process: {0}")]
    Process(String),
}

impl Compiler {
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self(program.into().into())
    }

    /// Takes seconds: call it on a blocking thread.
    pub fn compile(&self, bounds: Bounds, functions: &Path, bytes: &[u8]) -> Result<Vec<u8>, CompileError> {
        let failed = |e: std::io::Error| CompileError::Process(e.to_string());
        let mut command = Command::new(&*self.0);
        command.args([ARGUMENT, bounds.name()]).arg(functions).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        std::thread::scope(|scope| {
            let feed = scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(bytes)));
            let compiled = scope.spawn(move || read_all(stdout));
            let complaint = scope.spawn(move || read_all(stderr));
            let status = wait(&mut child).map_err(failed)?;
            let joined = (feed.join(), compiled.join(), complaint.join());
            let (Ok(_), Ok(compiled), Ok(complaint)) = joined else { return Err(CompileError::Process("its pipes broke".to_owned())) };
            match status.code() {
                Some(0) => compiled.map_err(failed),
                Some(code) if code == i32::from(REFUSED) => {
                    Err(CompileError::Refused(String::from_utf8_lossy(&complaint.unwrap_or_default()).trim().to_owned()))
                }
                _ => Err(CompileError::Process(status.to_string())),
            }
        })
    }
}

/// What the child ends with when the component is at fault.
const REFUSED: u8 = 3;

/// The child's side: from standard input to standard output; the exit code. Without a folder of functions, or with one that cannot be used,
/// every function is compiled.
pub fn serve(bounds: &str, functions: Option<&Path>) -> u8 {
    let Some(bounds) = Bounds::ALL.into_iter().find(|b| b.name() == bounds) else {
        eprintln!("there are no bounds {bounds:?}");
        return 1;
    };
    let functions = functions.and_then(|folder| Functions::open(folder).ok()).map(Arc::new);
    let made = compile_input(bounds, functions.clone());
    let Err((code, error)) = made else {
        // What is not kept is compiled again, that is all.
        let _ = functions.map(|functions| functions.keep());
        return 0;
    };
    eprintln!("{error}");
    code
}

/// The exit code and the words where it fails.
fn compile_input(bounds: Bounds, functions: Option<Arc<Functions>>) -> Result<(), (u8, String)> {
    let failed = |error: &dyn std::fmt::Display| (1, format!("{error:#}"));
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(MAX_COMPONENT_BYTES as u64).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    let mut settings = bounds.settings();
    if let Some(functions) = functions {
        settings.enable_incremental_compilation(functions).map_err(|e| failed(&e))?;
    }
    let engine = Engine::new(&settings).map_err(|e| failed(&e))?;
    let compiled = engine.precompile_component(&bytes).map_err(|error| (REFUSED, format!("{error:#}")))?;
    std::io::stdout().lock().write_all(&compiled).map_err(|e| failed(&e))
}

fn read_all(pipe: Option<impl Read>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes))?;
    Ok(bytes)
}

fn wait(child: &mut std::process::Child) -> std::io::Result<std::process::ExitStatus> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if begun.elapsed() > TIMEOUT {
            child.kill()?;
            return child.wait();
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_that_cannot_be_called_or_dies_is_told_from_a_bad_component() {
        let ends = |script: &str| {
            let folder = tempfile::tempdir().expect("a folder");
            let program = folder.path().join("compiler");
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).expect("permissions");
            Compiler::new(program).compile(Bounds::TimeAndFuel, folder.path(), b"component")
        };
        assert!(matches!(Compiler::new("/nonexistent").compile(Bounds::Time, Path::new("/nonexistent"), b""), Err(CompileError::Process(_))));
        assert!(matches!(ends("cat > /dev/null; kill -9 $$"), Err(CompileError::Process(_))));
        assert!(matches!(ends("cat > /dev/null; echo no component >&2; exit 3"), Err(CompileError::Refused(why)) if why == "no component"));
        assert_eq!(ends("printf \"$2\"-; cat").expect("compiled"), b"time-and-fuel-component");
    }
}
