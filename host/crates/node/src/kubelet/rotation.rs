//! Keeps container logs from filling the disk: a log that grew too large is set aside and the runtime opens a new one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::cri::Cri;
use super::pods::Table;
use super::volumes::blocking;
use super::{paths::Paths, paths::log_file};

/// Size at which a log is set aside, in bytes.
const MAX_BYTES: u64 = 10 << 20;
/// Logs of one instance that are kept, the present one among them.
const MAX_FILES: usize = 5;
/// How often sizes are looked at, in seconds.
const LOOK_SECONDS: u64 = 10;

/// Runs until dropped.
pub async fn run(cri: Cri, table: Table, paths: Paths) {
    let mut every = tokio::time::interval(Duration::from_secs(LOOK_SECONDS));
    loop {
        every.tick().await;
        for state in table.all() {
            let dir = paths.pod_logs(&state.pod);
            for c in &state.containers {
                let Some(id) = c.running_id() else { continue };
                let log = dir.join(log_file(&c.name, c.restarts));
                let outcome = blocking(move || set_aside(&log)).await;
                let reopened = match outcome {
                    Ok(true) => cri.reopen_log(id).await.map_err(|e| e.to_string()),
                    Ok(false) => Ok(()),
                    Err(error) => Err(error),
                };
                if let Err(error) = reopened {
                    tracing::warn!(container = c.name, error, "log not rotated");
                }
            }
        }
    }
}

/// Whether the log was renamed, so that a new one must be opened.
fn set_aside(log: &Path) -> io::Result<bool> {
    let Ok(meta) = fs::metadata(log) else { return Ok(false) };
    if meta.len() < MAX_BYTES {
        return Ok(false);
    }
    let mut old = earlier(log)?;
    while old.len() + 2 > MAX_FILES {
        fs::remove_file(old.remove(0))?;
    }
    fs::rename(log, format!("{}.{}", log.display(), Timestamp::now().strftime("%Y%m%d-%H%M%S")))?;
    Ok(true)
}

/// Logs set aside before, the oldest first.
fn earlier(log: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name()) else { return Ok(Vec::new()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let entries = fs::read_dir(dir)?.flatten().filter(|e| e.file_name().to_string_lossy().starts_with(&prefix));
    let mut found: Vec<PathBuf> = entries.map(|e| e.path()).collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_logs_go_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log");
        fs::write(&log, b"small").unwrap();
        assert!(!set_aside(&log).unwrap());
        for n in 0..5 {
            fs::write(dir.path().join(format!("0.log.2020010{n}-000000")), b"").unwrap();
        }
        fs::File::options().write(true).open(&log).unwrap().set_len(MAX_BYTES).unwrap();
        assert!(set_aside(&log).unwrap());
        assert!(!log.exists() && !dir.path().join("0.log.20200101-000000").exists());
        assert_eq!(earlier(&log).unwrap().len(), MAX_FILES - 1);
    }
}
