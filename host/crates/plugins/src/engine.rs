//! The WebAssembly engine of the process, its clock of epochs, and the cache of compiled components on disk.
//!
//! Instances are allocated on demand: a plugin's instance lives for days, so a pool would only reserve address space. Refuses to load
//! a compiled file that pintle did not write. Called by `load` and the drivers.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use wasmtime::component::Component;
use wasmtime::{Config, Engine};

use crate::compiler::{CompileError, Compiler};

/// One epoch. A guest that runs longer yields to the runtime; its deadline is looked at then.
pub const EPOCH: Duration = Duration::from_millis(10);
/// Compiled components that the cache keeps, and their bytes: those of a cluster's plugins with the revisions that they may go back to. Others are
/// compiled again when they are needed.
const MAX_CACHED: usize = 200;
const MAX_CACHED_BYTES: u64 = 1 << 30;

const COMPILED: &str = "cwasm";
/// What a digest begins with.
const DIGEST: &str = "sha256:";
/// The folder in the cache where the compiler's process keeps single functions.
const FUNCTIONS: &str = "functions";

/// The engine, shared by all plugins.
#[derive(Clone)]
pub struct Machine {
    engine: Engine,
    cache: Arc<Path>,
    /// The compiler uses all cores by itself, and much memory.
    compiling: Arc<Mutex<()>>,
    ticker: Arc<Ticker>,
    compiler: Option<Compiler>,
    bounds: Bounds,
}

/// What calls are measured by, which is compiled into a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// The live revisions': the clock ends a call.
    Time,
    /// A candidate's in the shadow: the clock ends a call, and its instructions are counted, which costs 15 to 27 %.
    TimeAndFuel,
    /// A replay's: a call takes as many instructions as it takes, whatever the machine does besides.
    Fuel,
}

/// Counts the calls under way; epochs advance only while there are any, so an idle process sleeps.
struct Ticker {
    running: AtomicUsize,
    thread: std::thread::Thread,
}

/// Held during a call into a guest.
pub struct Running(Arc<Ticker>);

impl Machine {
    /// `cache` is made when it is missing and must belong to this process's user alone.
    pub fn new(cache: PathBuf) -> Result<Self, EngineError> {
        Self::with(cache, Bounds::Time)
    }

    /// The same, with components compiled by another process.
    pub fn with_compiler(self, compiler: Option<Compiler>) -> Self {
        Self { compiler, ..self }
    }

    /// For replays.
    pub fn deterministic(cache: PathBuf) -> Result<Self, EngineError> {
        Self::with(cache, Bounds::Fuel)
    }

    /// For the shadow. Its components are compiled apart, into the same cache.
    pub fn counting_fuel(&self) -> Result<Self, EngineError> {
        Ok(Self::with(self.cache.to_path_buf(), Bounds::TimeAndFuel)?.with_compiler(self.compiler.clone()))
    }

    fn with(cache: PathBuf, bounds: Bounds) -> Result<Self, EngineError> {
        let engine = Engine::new(&bounds.settings()).map_err(EngineError::Engine)?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&cache).map_err(|e| EngineError::Cache(cache.clone(), e))?;
        let ticker = start_ticker(&engine).map_err(EngineError::Thread)?;
        Ok(Self { engine, cache: cache.into(), compiling: Arc::default(), ticker, compiler: None, bounds })
    }

    pub fn counts_fuel(&self) -> bool {
        self.bounds == Bounds::TimeAndFuel
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Counts fuel instead of time.
    pub fn is_deterministic(&self) -> bool {
        self.bounds == Bounds::Fuel
    }

    pub fn enter(&self) -> Running {
        if self.ticker.running.fetch_add(1, Ordering::AcqRel) == 0 {
            self.ticker.thread.unpark();
        }
        Running(self.ticker.clone())
    }

    /// Compiles, or maps what an earlier start compiled. Takes long the first time: call it on a blocking thread.
    pub fn compile(&self, bytes: &[u8]) -> Result<Component, wasmtime::Error> {
        self.compile_digested(bytes, &digest(bytes))
    }

    /// The same where the digest is known.
    pub fn compile_digested(&self, bytes: &[u8], digest: &str) -> Result<Component, wasmtime::Error> {
        let path = self.cache.join(self.cache_name(digest));
        if let Some(component) = self.cached(&path) {
            return Ok(component);
        }
        let _one_at_a_time = self.compiling.lock().unwrap_or_else(|e| e.into_inner());
        let compiled = self.produce(bytes)?;
        let stored = store(&path, &compiled);
        self.prune(&path, MAX_CACHED, MAX_CACHED_BYTES);
        match stored {
            // From the file, so that its pages are the kernel's to drop and not ours to hold.
            Ok(()) => {
                if let Some(component) = self.cached(&path) {
                    return Ok(component);
                }
            }
            Err(error) => tracing::warn!(path = %path.display(), %error, "cannot keep a compiled plugin"),
        }
        // SAFETY: these bytes come from the engine itself, a few lines above.
        #[allow(unsafe_code)]
        unsafe {
            Component::deserialize(&self.engine, &compiled)
        }
    }

    /// Whether it needs only be mapped, as far as one sees without reading it.
    pub fn is_compiled(&self, digest: &str) -> bool {
        let path = self.cache.join(self.cache_name(digest));
        path.exists() && checksum_path(&path).exists()
    }

    /// In the compiler's process where there is one: a first start would keep its memory for ever.
    fn produce(&self, bytes: &[u8]) -> Result<Vec<u8>, wasmtime::Error> {
        match self.compiler.as_ref().map(|compiler| compiler.compile(self.bounds, &self.cache.join(FUNCTIONS), bytes)) {
            Some(Ok(compiled)) => return Ok(compiled),
            Some(Err(CompileError::Refused(why))) => return Err(wasmtime::Error::msg(why)),
            Some(Err(error)) => tracing::warn!(%error, "compiling in this process instead"),
            None => {}
        }
        self.engine.precompile_component(bytes)
    }

    fn cached(&self, path: &Path) -> Option<Component> {
        let sum = checksum_path(path);
        if !is_ours(path) || !is_ours(&sum) {
            return None;
        }
        let mut hasher = Sha256::new();
        std::io::copy(&mut std::fs::File::open(path).ok()?, &mut hasher).ok()?;
        if std::fs::read(sum).ok()? != hasher.finalize()[..] {
            return None;
        }
        // Those that were not used for the longest time go first.
        let _ = std::fs::File::options().write(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
        // SAFETY: the file lies in a folder that only this user may write, belongs to this user, and its checksum holds:
        // `store` wrote it, from this engine's own output, and never writes to it again. Another version's output is refused
        // by wasmtime's header check.
        #[allow(unsafe_code)]
        unsafe {
            Component::deserialize_file(&self.engine, path).ok()
        }
    }

    /// Drops the files beyond the limits. Who has one mapped keeps it.
    fn prune(&self, newest: &Path, most: usize, most_bytes: u64) {
        let Ok(folder) = std::fs::read_dir(&self.cache) else { return };
        let compiled = |path: &PathBuf| path.extension().is_some_and(|e| e == COMPILED) && path != newest;
        let file = |path: PathBuf| path.metadata().and_then(|m| Ok((m.modified()?, m.len(), path))).ok();
        let mut files: Vec<_> = folder.flatten().map(|entry| entry.path()).filter(compiled).filter_map(file).collect();
        files.sort_unstable_by(|a, b| b.cmp(a));
        let mut bytes = newest.metadata().map_or(0, |m| m.len());
        for (at, (_, size, path)) in files.iter().enumerate() {
            bytes += size;
            if at + 1 >= most || bytes > most_bytes {
                let _ = std::fs::remove_file(checksum_path(path));
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Digest of the component, and of everything in the engine that decides how it is compiled.
    fn cache_name(&self, digest: &str) -> String {
        let mut hasher = DefaultHasher::new();
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        format!("{}-{:016x}.{COMPILED}", digest.trim_start_matches(DIGEST), hasher.finish())
    }
}

impl Bounds {
    pub const ALL: [Self; 3] = [Self::Time, Self::TimeAndFuel, Self::Fuel];

    /// How the compiler's process is told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::TimeAndFuel => "time-and-fuel",
            Self::Fuel => "fuel",
        }
    }

    pub fn settings(self) -> Config {
        let mut config = Config::new();
        // Without component-model async (not compiled in) and the support for it, an empty call costs a third.
        config.wasm_component_model(true).concurrency_support(false);
        match self {
            Self::Time => config.epoch_interruption(true),
            Self::TimeAndFuel => config.epoch_interruption(true).consume_fuel(true),
            Self::Fuel => config.consume_fuel(true).cranelift_nan_canonicalization(true),
        };
        config
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(wasmtime::Error),
    #[error("the cache folder {0}: {1}")]
    Cache(PathBuf, std::io::Error),
    #[error("the epoch thread does not start: {0}")]
    Thread(std::io::Error),
}

/// `sha256:` and the digest in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    format!("{DIGEST}{}", hex(&Sha256::digest(bytes)))
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn start_ticker(engine: &Engine) -> std::io::Result<Arc<Ticker>> {
    let engine = engine.weak();
    let (sender, receiver) = std::sync::mpsc::sync_channel::<std::sync::Weak<Ticker>>(1);
    let thread = std::thread::Builder::new().name("epochs".to_owned()).spawn(move || {
        let Ok(ticker) = receiver.recv() else { return };
        loop {
            let Some(running) = ticker.upgrade().map(|t| t.running.load(Ordering::Acquire)) else { return };
            if running == 0 {
                std::thread::park_timeout(Duration::from_secs(60));
                continue;
            }
            std::thread::sleep(EPOCH);
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
        }
    })?;
    let ticker = Arc::new(Ticker { running: AtomicUsize::new(0), thread: thread.thread().clone() });
    let _ = sender.send(Arc::downgrade(&ticker));
    Ok(ticker)
}

pub(crate) fn is_ours(path: &Path) -> bool {
    let Ok(file) = path.symlink_metadata() else { return false };
    let Ok(own) = std::fs::metadata("/proc/self") else { return false };
    file.is_file() && file.uid() == own.uid() && file.mode() & 0o022 == 0
}

fn checksum_path(path: &Path) -> PathBuf {
    path.with_extension("sha256")
}

/// The checksum last: without it the file does not count.
fn store(path: &Path, compiled: &[u8]) -> std::io::Result<()> {
    write(path, compiled)?;
    write(&checksum_path(path), &Sha256::digest(compiled))
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    // A new file in place of an old one: whoever has the old one mapped keeps it.
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_keeps_what_was_used_last_and_the_newest() {
        let folder = tempfile::tempdir().expect("a folder");
        let machine = Machine::new(folder.path().join("cache")).expect("an engine");
        let component = |n: usize| wat::parse_str(format!("(component $c{n} (core module $m{n}))")).expect("a component");
        let path = |n: usize| machine.cache.join(machine.cache_name(&digest(&component(n))));
        for n in 0..4 {
            machine.compile(&component(n)).expect("compiled");
            let age = Duration::from_secs(100 - n as u64);
            let file = std::fs::File::options().write(true).open(path(n)).expect("the file");
            file.set_modified(SystemTime::now() - age).expect("its time");
        }
        machine.compile(&component(0)).expect("from the cache");
        machine.prune(&path(3), 2, u64::MAX);
        assert_eq!([0, 1, 2, 3].map(|n| path(n).exists()), [true, false, false, true]);
        assert_eq!(std::fs::read_dir(&machine.cache).expect("the folder").count(), 4, "with their checksums");
        machine.prune(&path(3), 2, 0);
        assert_eq!([0, 3].map(|n| path(n).exists()), [false, true]);
    }

    #[test]
    fn a_compiled_file_that_pintle_did_not_write_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let machine = Machine::new(folder.path().join("cache")).expect("an engine");
        let bytes = wat::parse_str("(component)").expect("a component");
        assert!(!machine.is_compiled(&digest(&bytes)));
        machine.compile(&bytes).expect("compiled");
        assert!(machine.is_compiled(&digest(&bytes)));
        let path = machine.cache.join(machine.cache_name(&digest(&bytes)));
        assert!(machine.cached(&path).is_some());
        let mut spoilt = std::fs::read(&path).expect("the file");
        let last = spoilt.len() - 1;
        spoilt[last] ^= 1;
        std::fs::remove_file(&path).expect("removed");
        std::fs::write(&path, &spoilt).expect("written");
        assert!(machine.cached(&path).is_none(), "its checksum is another");
        machine.compile(&bytes).expect("compiled again");
        assert!(machine.cached(&path).is_some());
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("permissions");
        assert!(machine.cached(&path).is_none(), "others may write to it");
    }
}
