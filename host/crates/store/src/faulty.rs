//! For tests: the embedded engine over a disk that loses power, fills up, fails to sync or takes its time.
//!
//! [`Disk`] is memory that behaves as a disk with a volatile write cache: what was written since the last sync may be
//! there, be missing, or be torn at a sector's border after a crash, in any mixture. The engine's two files lie on it. All from one
//! seed, which [`Disk`] prints with `Debug`, so a failure can be run again.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::Result;
use crate::embedded::{self, Embedded, Options};

/// A write is torn only between these.
const SECTOR_BYTES: usize = 512;

/// When the disk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Power is lost instead of the n-th write or sync from now (0: the next).
    PowerLoss { after: u64 },
    /// The process ends instead of the n-th write or sync: what it wrote before, the kernel has.
    ProcessLost { after: u64 },
    /// The n-th sync from now fails once; what was written is in doubt, and the disk lives on.
    FailedSync { after: u64 },
    /// From the n-th write on there is no room, until [`Disk::make_room`].
    Full { after: u64 },
}

/// A handle; clones are the same disk.
#[derive(Clone)]
pub struct Disk(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Rung when syncs may go on.
    released: Condvar,
}

struct State {
    seed: u64,
    random: StdRng,
    files: [Contents; 2],
    fault: Option<Fault>,
    struck: bool,
    powered: bool,
    /// What was written outlives the process that ended.
    kernel_lives: bool,
    full: bool,
    syncs_held: bool,
    syncs_waiting: usize,
    steps: u64,
}

/// One of the files.
#[derive(Clone, Copy, Debug)]
enum Name {
    Tree,
    Journal,
}

#[derive(Default)]
struct Contents {
    /// What a power loss cannot take.
    durable: Vec<u8>,
    /// What reads see: `durable` with `pending` over it.
    seen: Vec<u8>,
    pending: Vec<Pending>,
}

impl Contents {
    fn durable(bytes: Vec<u8>) -> Self {
        Self { durable: bytes.clone(), seen: bytes, pending: Vec::new() }
    }
}

/// A file of the disk, as the engine opens it.
#[derive(Debug)]
struct OnDisk {
    disk: Disk,
    name: Name,
}

enum Pending {
    Write { offset: usize, data: Vec<u8> },
    SetLength(usize),
}

/// Opens the engine on the disk.
pub fn open(disk: &Disk, options: Options) -> Result<Arc<Embedded>> {
    embedded::open_backends(disk.file(Name::Tree), disk.file(Name::Journal), options)
}

impl Disk {
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Default::default())
    }

    fn with(seed: u64, files: [Contents; 2]) -> Self {
        let state = State {
            seed,
            random: StdRng::seed_from_u64(seed),
            files,
            fault: None,
            struck: false,
            powered: true,
            kernel_lives: false,
            full: false,
            syncs_held: false,
            syncs_waiting: 0,
            steps: 0,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), released: Condvar::new() }))
    }

    pub fn inject(&self, fault: Fault) {
        let mut state = self.lock();
        (state.fault, state.struck) = (Some(fault), false);
    }

    /// Whether the fault that was injected last has come.
    pub fn was_struck(&self) -> bool {
        self.lock().struck
    }

    /// Writes and syncs so far.
    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    pub fn is_powered(&self) -> bool {
        self.lock().powered
    }

    /// Something else than a crash takes a sector of the journal: the n-th that has anything.
    pub fn damage_journal(&self, n: usize) {
        let file = &mut self.lock().files[Name::Journal as usize];
        let mut written =
            file.seen.chunks_mut(SECTOR_BYTES).zip(file.durable.chunks_mut(SECTOR_BYTES)).filter(|(seen, _)| seen.iter().any(|&b| b != 0));
        if let Some((seen, durable)) = written.nth(n) {
            seen.fill(0xdb);
            durable.fill(0xdb);
        }
    }

    /// There is room again.
    pub fn make_room(&self) {
        let mut state = self.lock();
        (state.full, state.fault) = (false, None);
    }

    /// From now on a sync does not return, until [`Disk::release_syncs`] or the next [`Disk::reboot`].
    pub fn hold_syncs(&self) {
        self.lock().syncs_held = true;
    }

    pub fn release_syncs(&self) {
        self.lock().syncs_held = false;
        self.0.released.notify_all();
    }

    /// Syncs that were begun and are held.
    pub fn syncs_waiting(&self) -> usize {
        self.lock().syncs_waiting
    }

    /// Takes the power from every open engine, and gives what a machine would find on the disk afterwards. Where the process alone was lost, the next one
    /// finds all that was written, and it may still go with the power.
    pub fn reboot(&self) -> Disk {
        let mut state = self.lock();
        let State { files, random, kernel_lives, .. } = &mut *state;
        let survivors = files.each_mut().map(|file| if *kernel_lives { std::mem::take(file) } else { Contents::durable(file.crash(random)) });
        (state.powered, state.syncs_held) = (false, false);
        let seed = state.random.random();
        drop(state);
        self.0.released.notify_all();
        Self::with(seed, survivors)
    }

    fn file(&self, name: Name) -> OnDisk {
        OnDisk { disk: self.clone(), name }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts a step of the file; an error is the fault that strikes here.
    fn step(&mut self, name: Name, is_sync: bool) -> io::Result<()> {
        if !self.powered {
            return Err(io::Error::other("injected: no power"));
        }
        self.steps += 1;
        let strikes = match &mut self.fault {
            None => return self.room(is_sync),
            Some(Fault::FailedSync { .. }) if !is_sync => return Ok(()),
            Some(Fault::Full { .. }) if is_sync => return Ok(()),
            Some(Fault::PowerLoss { after } | Fault::ProcessLost { after } | Fault::FailedSync { after } | Fault::Full { after }) => {
                let strikes = *after == 0;
                *after = after.saturating_sub(1);
                strikes
            }
        };
        self.struck |= strikes;
        match self.fault.filter(|_| strikes) {
            None => self.room(is_sync),
            Some(Fault::PowerLoss { .. }) => {
                self.powered = false;
                Err(io::Error::other("injected: power lost"))
            }
            Some(Fault::ProcessLost { .. }) => {
                (self.powered, self.kernel_lives) = (false, true);
                Err(io::Error::other("injected: process lost"))
            }
            Some(Fault::FailedSync { .. }) => {
                self.fault = None;
                // As the kernel does: the pages count as clean afterwards, whether or not they were written.
                let file = &mut self.files[name as usize];
                file.durable = file.crash(&mut self.random);
                Err(io::Error::other("injected: sync failed"))
            }
            Some(Fault::Full { .. }) => {
                self.full = true;
                self.room(is_sync)
            }
        }
    }

    fn room(&self, is_sync: bool) -> io::Result<()> {
        if self.full && !is_sync { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Contents {
    /// The durable bytes with a random part of the pending writes.
    fn crash(&mut self, random: &mut StdRng) -> Vec<u8> {
        let mut image = self.durable.clone();
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                // A file's length is kept by the file system's journal, in order.
                Pending::SetLength(length) => image.resize(length, 0),
                Pending::Write { offset, data } => {
                    let whole = random.random_bool(0.5);
                    for (sector, part) in data.chunks(SECTOR_BYTES).enumerate() {
                        if whole || random.random_bool(0.5) {
                            write_at(&mut image, offset + sector * SECTOR_BYTES, part);
                        }
                    }
                }
            }
        }
        image
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        write!(f, "Disk {{ seed: {}, steps: {}, fault: {:?} }}", state.seed, state.steps, state.fault)
    }
}

impl redb::StorageBackend for OnDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().files[self.name as usize].seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.disk.lock();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let found = state.files[self.name as usize].seen.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let length = usize::try_from(len).map_err(io::Error::other)?;
        let mut state = self.disk.lock();
        state.step(self.name, false)?;
        let file = &mut state.files[self.name as usize];
        file.seen.resize(length, 0);
        file.pending.push(Pending::SetLength(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.syncs_waiting += 1;
        while state.syncs_held {
            state = self.disk.0.released.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.syncs_waiting -= 1;
        state.step(self.name, true)?;
        let file = &mut state.files[self.name as usize];
        for pending in file.pending.drain(..) {
            match pending {
                Pending::SetLength(length) => file.durable.resize(length, 0),
                Pending::Write { offset, data } => write_at(&mut file.durable, offset, &data),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let mut state = self.disk.lock();
        state.step(self.name, false)?;
        let file = &mut state.files[self.name as usize];
        write_at(&mut file.seen, offset, data);
        file.pending.push(Pending::Write { offset, data: data.to_vec() });
        Ok(())
    }
}

fn write_at(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if image.len() < offset + data.len() {
        image.resize(offset + data.len(), 0);
    }
    image[offset..offset + data.len()].copy_from_slice(data);
}
