//! A server of its own for a run of a tool: a free port, an empty data folder, and nothing left of it afterwards.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const ENDS_WITHIN: Duration = Duration::from_secs(20);

pub struct Started {
    server: Child,
    folder: TempDir,
}

impl Started {
    /// `target/release/pintle`, or what `PINTLE_BIN` names; `more` are arguments of `pintle server`.
    pub fn new(more: &[&str]) -> Result<Self, String> {
        let binary = std::env::var_os("PINTLE_BIN").map_or_else(|| "target/release/pintle".into(), PathBuf::from);
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let log = std::fs::File::create(folder.path().join("log")).map_err(|e| e.to_string())?;
        let mut command = Command::new(&binary);
        command.args(["server", "--listen", "127.0.0.1:0", "--data-dir"]).arg(folder.path().join("data"));
        command.arg("--kubeconfig-out").arg(folder.path().join("kubeconfig")).args(more);
        let server = command.stderr(log).spawn().map_err(|e| format!("{}: {e}; build it with `cargo xtask build`", binary.display()))?;
        Ok(Self { server, folder })
    }

    /// Written when the server listens.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    #[allow(dead_code, reason = "of the tools, only the benchmark counts processor time")]
    pub fn pid(&self) -> u32 {
        self.server.id()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It ends by itself, so that one that counts what it executes can write that down.
        let _ = Command::new("kill").arg(self.server.id().to_string()).status();
        let until = Instant::now() + ENDS_WITHIN;
        while matches!(self.server.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
