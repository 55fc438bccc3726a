//! Programs as a user runs them: output and exit code looked at, conditions waited for with a deadline.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often a condition is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What a program gave.
#[derive(Debug)]
pub struct Output {
    pub stdout: String,
    pub stderr: String,
    pub success: bool,
}

/// The binary under test.
pub fn pintle() -> PathBuf {
    let binary = std::env::var_os("PINTLE_BIN").map_or_else(|| workspace().join("target/release/pintle"), PathBuf::from);
    assert!(binary.exists(), "{} is missing: run `cargo xtask build`", binary.display());
    binary
}

/// The real kubectl; on a machine without it pintle itself, which has the same verbs and words.
pub fn kubectl() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|file| file.exists());
    installed.unwrap_or_else(pintle)
}

pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

pub fn output(command: &mut Command) -> Output {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("starting {shown}: {e}"));
    read(&output)
}

/// The same with something on standard input.
pub fn output_with_input(command: &mut Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    child.stdin.take().expect("was piped").write_all(input.as_bytes()).expect("reads its input");
    read(&child.wait_with_output().expect("ends"))
}

fn read(output: &std::process::Output) -> Output {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Output { stdout: text(&output.stdout), stderr: text(&output.stderr), success: output.status.success() }
}

impl Output {
    /// Standard output of a success.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.success, "failed: {}{}", self.stdout, self.stderr);
        self.stdout
    }
    /// Standard error of a failure.
    #[track_caller]
    pub fn refused(self) -> String {
        assert!(!self.success, "did not fail: {}", self.stdout);
        self.stderr
    }
}

/// Waits until `look` gives something. `Err` tells what was seen instead, for the message when time is over.
#[track_caller]
pub fn wait<T>(what: &str, seconds: u64, mut look: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if Instant::now() >= end => {
                let mut message = format!("{what}: not within {seconds} s; last seen:\n");
                let _ = write!(message, "{seen}");
                panic!("{message}");
            }
            Err(_) => std::thread::sleep(LOOK_AGAIN),
        }
    }
}
