//! Reads the runtime's log files: `TIME STREAM P|F TEXT`, one record a line, long lines in several partial ones.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

/// Bytes read at once while the last lines are looked for.
const BLOCK_BYTES: u64 = 64 << 10;
/// Longest record, in bytes; the runtime splits lines at 16 KiB.
const MAX_RECORD_BYTES: u64 = 1 << 20;
/// Text gathered before it is handed on, in bytes.
const CHUNK_BYTES: usize = 32 << 10;
/// Pause between looks at a log that is followed, in milliseconds.
const FOLLOW_MS: u64 = 100;

#[derive(Clone, Debug, Default)]
pub struct Options {
    pub follow: bool,
    pub timestamps: bool,
    pub tail_lines: Option<u64>,
    pub limit_bytes: Option<u64>,
    pub since: Option<Timestamp>,
    /// `Stdout` or `Stderr`; empty: both.
    pub stream: String,
}

impl Options {
    pub fn since_seconds(&mut self, seconds: i64, now: Timestamp) {
        self.since = now.checked_sub(SignedDuration::from_secs(seconds)).ok();
    }
}

/// Sends a log's text until its end, or, following, until `running` says no and all is sent.
pub async fn send(path: &Path, options: Options, running: impl Fn() -> bool, tx: mpsc::Sender<io::Result<Bytes>>) {
    if let Err(error) = try_send(path, options, running, &tx).await {
        tx.send(Err(error)).await.ok();
    }
}

async fn try_send(path: &Path, options: Options, running: impl Fn() -> bool, tx: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    let mut file = File::open(path)?;
    if let Some(lines) = options.tail_lines {
        let start = start_of_last(&mut file, lines)?;
        file.seek(SeekFrom::Start(start))?;
    }
    let mut reader = BufReader::new(file);
    let mut left = options.limit_bytes.unwrap_or(u64::MAX);
    let mut record = Vec::new();
    let mut out = Vec::new();
    loop {
        let was_running = running();
        loop {
            let read = (&mut reader).take(MAX_RECORD_BYTES).read_until(b'\n', &mut record)?;
            if read == 0 || !record.ends_with(b"\n") {
                break;
            }
            append(&record, &options, &mut out);
            record.clear();
            if out.len() >= CHUNK_BYTES && !flush(&mut out, &mut left, tx).await {
                return Ok(());
            }
        }
        if !flush(&mut out, &mut left, tx).await || !options.follow {
            return Ok(());
        }
        // Set aside because it grew too large: the text goes on in a new file of the same name.
        if let Some(next) = successor(reader.get_ref(), path) {
            reader = BufReader::new(next);
            continue;
        }
        if !was_running {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(FOLLOW_MS)) => {}
            () = tx.closed() => return Ok(()),
        }
    }
}

/// The file that now has the log's name, if it is another one.
fn successor(now: &File, path: &Path) -> Option<File> {
    let (open, named) = (now.metadata().ok()?, std::fs::metadata(path).ok()?);
    if open.ino() == named.ino() { None } else { File::open(path).ok() }
}

/// The text of raw records, without their heads.
pub fn contents_of(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for record in raw.split_inclusive(|b| *b == b'\n') {
        append(record, &Options::default(), &mut out);
    }
    out
}

fn append(record: &[u8], options: &Options, out: &mut Vec<u8>) {
    let mut parts = record.splitn(4, |b| *b == b' ');
    let (Some(time), Some(stream), Some(tag), Some(text)) = (parts.next(), parts.next(), parts.next(), parts.next()) else { return };
    if !options.stream.is_empty() && !options.stream.as_bytes().eq_ignore_ascii_case(stream) {
        return;
    }
    if let Some(since) = options.since {
        let at: Option<Timestamp> = std::str::from_utf8(time).ok().and_then(|t| t.parse().ok());
        if at.is_none_or(|at| at < since) {
            return;
        }
    }
    if options.timestamps {
        out.extend_from_slice(time);
        out.push(b' ');
    }
    let partial = tag.first() == Some(&b'P');
    out.extend_from_slice(if partial { text.strip_suffix(b"\n").unwrap_or(text) } else { text });
}

async fn flush(out: &mut Vec<u8>, left: &mut u64, tx: &mpsc::Sender<io::Result<Bytes>>) -> bool {
    let most = usize::try_from(*left).unwrap_or(usize::MAX);
    out.truncate(most);
    *left -= out.len() as u64;
    if !out.is_empty() && tx.send(Ok(Bytes::from(std::mem::take(out)))).await.is_err() {
        return false;
    }
    *left > 0 && !tx.is_closed()
}

/// Where the last `lines` lines begin.
fn start_of_last(file: &mut File, lines: u64) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    if lines == 0 {
        return Ok(end);
    }
    let mut seen = 0;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        file.take(end - start).read_to_end(&mut block)?;
        for (at, byte) in block.iter().enumerate().rev() {
            if *byte == b'\n' {
                seen += 1;
                // The last line's own end is the first one met.
                if seen > lines {
                    return Ok(start + at as u64 + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str =
        "2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:01Z stderr P tw\n2026-01-01T00:00:01Z stderr F o\n2026-01-01T00:00:02Z stdout F three\n";

    async fn read(options: Options) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let (tx, mut rx) = mpsc::channel(16);
        send(&path, options, || false, tx).await;
        let mut out = Vec::new();
        while let Some(chunk) = rx.recv().await {
            out.extend_from_slice(&chunk.unwrap());
        }
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn options_select_text() {
        assert_eq!(read(Options::default()).await, "one\ntwo\nthree\n");
        assert_eq!(read(Options { tail_lines: Some(1), timestamps: true, ..Options::default() }).await, "2026-01-01T00:00:02Z three\n");
        assert_eq!(read(Options { since: "2026-01-01T00:00:01Z".parse().ok(), ..Options::default() }).await, "two\nthree\n");
        assert_eq!(read(Options { limit_bytes: Some(5), follow: true, ..Options::default() }).await, "one\nt");
        assert_eq!(read(Options { stream: "Stderr".into(), ..Options::default() }).await, "two\n");
    }
}
