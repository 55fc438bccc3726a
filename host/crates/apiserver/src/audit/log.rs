//! Where audit events go: lines of JSON in a file that is turned over by size, or standard output.
//!
//! In the mode `batch` a thread writes, and a request never waits: what does not fit into the buffer is lost, counted and told of. The
//! blocking modes write before the request goes on. Old files are named, counted and removed as upstream does.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::event::Event;

/// Events that may wait to be written, unless the installation chooses another number.
pub const DEFAULT_BUFFERED_EVENTS: usize = 10_000;
/// Bytes that may wait to be written: events hold whole objects where the policy asks for them.
const MAX_BUFFERED_BYTES: usize = 64 << 20;
/// An event's line, where truncation is on, unless the installation chooses another size.
pub const DEFAULT_MAX_EVENT_BYTES: usize = 100 << 10;
const MEGABYTE: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Losses are told of once, and then each time that so many more were lost.
const TELL_EVERY: u64 = 10_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Written aside; what does not fit into the buffer is lost.
    #[default]
    Batch,
    /// Written before the request goes on; if that fails, it goes on nevertheless.
    Blocking,
    /// The same, and a request whose first event cannot be written is refused.
    BlockingStrict,
}

#[derive(Clone, Debug)]
pub struct LogSettings {
    /// `-`: standard output. Empty: nowhere.
    pub path: PathBuf,
    pub mode: Mode,
    /// Before it is turned over, in megabytes; 0: never.
    pub max_size: u64,
    /// Old files kept; 0: all.
    pub max_backups: usize,
    /// Days that old files are kept; 0: for ever.
    pub max_age: u64,
    /// Old files are packed.
    pub compress: bool,
    pub buffered_events: usize,
    /// Events with longer lines lose their objects, and are lost if that is not enough.
    pub max_event_bytes: Option<usize>,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            mode: Mode::default(),
            max_size: 0,
            max_backups: 0,
            max_age: 0,
            compress: false,
            buffered_events: DEFAULT_BUFFERED_EVENTS,
            max_event_bytes: None,
        }
    }
}

pub struct Log {
    mode: Mode,
    max_event_bytes: Option<usize>,
    target: Arc<Mutex<Target>>,
    queue: RwLock<Option<SyncSender<Vec<u8>>>>,
    queued_bytes: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Log {
    pub fn open(settings: &LogSettings) -> io::Result<Self> {
        let target = Arc::new(Mutex::new(Target::open(settings)?));
        let (queued_bytes, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
        let (mut queue, mut thread) = (None, None);
        if settings.mode == Mode::Batch {
            let (sender, receiver) = sync_channel(settings.buffered_events.max(1));
            let writer = Writer { receiver, target: target.clone(), queued_bytes: queued_bytes.clone(), lost: lost.clone() };
            thread = Some(std::thread::Builder::new().name("audit-log".into()).spawn(move || writer.run())?);
            queue = Some(sender);
        }
        let LogSettings { mode, max_event_bytes, .. } = *settings;
        Ok(Self { mode, max_event_bytes, target, queue: RwLock::new(queue), queued_bytes, lost, thread: Mutex::new(thread) })
    }

    /// False: it is lost, and the request must not go on.
    pub fn write(&self, event: &mut Event) -> bool {
        let mut line = event.line();
        if self.max_event_bytes.is_some_and(|max| line.len() > max) {
            event.truncate();
            line = event.line();
        }
        if self.max_event_bytes.is_some_and(|max| line.len() > max) {
            self.lose("an event is too large");
            return true;
        }
        match self.mode {
            Mode::Batch => self.enqueue(line),
            Mode::Blocking | Mode::BlockingStrict => {
                let mut target = lock(&self.target);
                let written = target.write(&line).and_then(|()| target.flush());
                if let Err(why) = &written {
                    self.lose(&why.to_string());
                }
                return written.is_ok() || self.mode == Mode::Blocking;
            }
        }
        true
    }

    fn enqueue(&self, line: Vec<u8>) {
        let length = line.len();
        if self.queued_bytes.fetch_add(length, Ordering::Relaxed) + length <= MAX_BUFFERED_BYTES {
            let queue = self.queue.read().unwrap_or_else(PoisonError::into_inner);
            if queue.as_ref().is_some_and(|queue| queue.try_send(line).is_ok()) {
                return;
            }
        }
        self.queued_bytes.fetch_sub(length, Ordering::Relaxed);
        self.lose("the buffer is full");
    }

    fn lose(&self, why: &str) {
        tell_of_loss(&self.lost, why);
    }

    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Writes what waits. Events after it are lost.
    pub fn close(&self) {
        self.queue.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

struct Writer {
    receiver: Receiver<Vec<u8>>,
    target: Arc<Mutex<Target>>,
    queued_bytes: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
}

impl Writer {
    fn run(self) {
        while let Ok(first) = self.receiver.recv() {
            let mut target = lock(&self.target);
            let mut next = Some(first);
            while let Some(line) = next {
                self.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
                if let Err(why) = target.write(&line) {
                    tell_of_loss(&self.lost, &why.to_string());
                }
                next = self.receiver.try_recv().ok();
            }
            if let Err(why) = target.flush() {
                tell_of_loss(&self.lost, &why.to_string());
            }
        }
    }
}

fn tell_of_loss(lost: &AtomicU64, why: &str) {
    if lost.fetch_add(1, Ordering::Relaxed).is_multiple_of(TELL_EVERY) {
        tracing::error!(why, "an audit event is lost");
    }
}

enum Target {
    Out(io::Stdout),
    File(LogFile),
}

impl Target {
    fn open(settings: &LogSettings) -> io::Result<Self> {
        if settings.path.as_os_str() == "-" { Ok(Self::Out(io::stdout())) } else { LogFile::open(settings).map(Self::File) }
    }
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Out(out) => out.write_all(line),
            Self::File(file) => file.write(line),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Out(out) => out.flush(),
            Self::File(file) => file.file.flush(),
        }
    }
}

struct LogFile {
    settings: LogSettings,
    file: io::BufWriter<File>,
    size: u64,
}

impl LogFile {
    fn open(settings: &LogSettings) -> io::Result<Self> {
        if let Some(folder) = settings.path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&settings.path)?;
        let size = file.metadata()?.len();
        Ok(Self { settings: settings.clone(), file: io::BufWriter::new(file), size })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let max = self.settings.max_size * MEGABYTE;
        if max > 0 && self.size > 0 && self.size + line.len() as u64 > max {
            self.turn_over()?;
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(())
    }

    /// The file becomes an old one, named by the time.
    fn turn_over(&mut self) -> io::Result<()> {
        self.file.flush()?;
        let name = Name::of(&self.settings.path);
        let mut now = Timestamp::now();
        while self.settings.path.with_file_name(name.old(now)).exists() {
            now += jiff::SignedDuration::from_millis(1);
        }
        let old = self.settings.path.with_file_name(name.old(now));
        std::fs::rename(&self.settings.path, &old)?;
        *self = Self::open(&self.settings)?;
        if self.settings.compress {
            pack(&old)?;
        }
        self.remove_old(&name)
    }

    fn remove_old(&self, name: &Name) -> io::Result<()> {
        let folder = self.settings.path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut old: Vec<(String, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if let Some(time) = entry.file_name().to_str().and_then(|file| name.time_of(file)) {
                old.push((time, entry.path()));
            }
        }
        old.sort();
        let keep = if self.settings.max_backups == 0 { old.len() } else { self.settings.max_backups };
        let too_many = old.len().saturating_sub(keep);
        let oldest = SystemTime::now() - DAY * u32::try_from(self.settings.max_age).unwrap_or(u32::MAX);
        for (at, (_, path)) in old.iter().enumerate() {
            let aged = self.settings.max_age > 0 && std::fs::metadata(path)?.modified()? < oldest;
            if at < too_many || aged {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// `audit.log` turns over to `audit-2026-11-21T16-20-00.000.log`.
struct Name {
    stem: String,
    extension: String,
}

impl Name {
    fn of(path: &Path) -> Self {
        let text = |part: Option<&std::ffi::OsStr>| part.map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
        let extension = path.extension().map(|_| format!(".{}", text(path.extension()))).unwrap_or_default();
        Self { stem: text(path.file_stem()), extension }
    }
    fn old(&self, at: Timestamp) -> String {
        let time = at.strftime("%Y-%m-%dT%H-%M-%S");
        format!("{}-{time}.{:03}{}", self.stem, at.subsec_millisecond(), self.extension)
    }
    /// The time in an old file's name; sorts by age.
    fn time_of(&self, file: &str) -> Option<String> {
        let file = file.strip_suffix(".gz").unwrap_or(file);
        let time = file.strip_prefix(&self.stem)?.strip_prefix('-')?.strip_suffix(&self.extension)?;
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'T' | b'.'));
        (time.len() == "2026-11-21T16-20-00.000".len() && digits(time)).then(|| time.to_owned())
    }
}

fn pack(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    let packed = OpenOptions::new().create_new(true).write(true).mode(0o600).open(PathBuf::from(name))?;
    let mut encoder = flate2::write::GzEncoder::new(packed, flate2::Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    std::fs::remove_file(path)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
