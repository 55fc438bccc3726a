//! For tests: the embedded engine over a disk that loses power.
//!
//! [`Disk`] is memory that behaves as a disk with a volatile write cache: what was written since the last sync may be
//! there, be missing, or be torn at a sector's border after a crash, in any mixture; a sync may fail. All from one
//! seed, which [`Disk`] prints with `Debug`, so a failure can be run again.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::embedded::{self, Embedded, Options};
use crate::Result;

/// A write is torn only between these.
const SECTOR_BYTES: usize = 512;

/// When the disk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Power is lost instead of the n-th write or sync from now (0: the next).
    PowerLoss { after: u64 },
    /// The n-th sync from now fails once; what was written is in doubt, and the disk lives on.
    FailedSync { after: u64 },
}

/// A handle; clones are the same disk.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<State>>);

struct State {
    seed: u64,
    random: StdRng,
    /// What a power loss cannot take.
    durable: Vec<u8>,
    /// What reads see: `durable` with `pending` over it.
    seen: Vec<u8>,
    pending: Vec<Pending>,
    fault: Option<Fault>,
    powered: bool,
    steps: u64,
}

enum Pending {
    Write { offset: usize, data: Vec<u8> },
    SetLength(usize),
}

/// Opens the engine on the disk.
pub fn open(disk: &Disk, options: Options) -> Result<Arc<Embedded>> {
    embedded::open_backend(disk.clone(), options)
}

impl Disk {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            seed,
            random: StdRng::seed_from_u64(seed),
            durable: Vec::new(),
            seen: Vec::new(),
            pending: Vec::new(),
            fault: None,
            powered: true,
            steps: 0,
        })))
    }

    pub fn inject(&self, fault: Fault) {
        self.lock().fault = Some(fault);
    }

    /// Writes and syncs so far.
    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    pub fn is_powered(&self) -> bool {
        self.lock().powered
    }

    /// Takes the power from every open engine, and gives what a machine would find on the disk afterwards.
    pub fn reboot(&self) -> Disk {
        let mut state = self.lock();
        state.powered = false;
        let survivors = state.crash();
        let seed = state.random.random();
        drop(state);
        let disk = Disk::new(seed);
        {
            let mut fresh = disk.lock();
            fresh.seen = survivors.clone();
            fresh.durable = survivors;
        }
        disk
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts a step; an error is the fault that strikes here.
    fn step(&mut self, is_sync: bool) -> io::Result<()> {
        if !self.powered {
            return Err(io::Error::other("injected: no power"));
        }
        self.steps += 1;
        match &mut self.fault {
            Some(Fault::PowerLoss { after: 0 }) => {
                self.powered = false;
                Err(io::Error::other("injected: power lost"))
            }
            Some(Fault::FailedSync { after: 0 }) if is_sync => {
                self.fault = None;
                // As the kernel does: the pages count as clean afterwards, whether or not they were written.
                self.durable = self.crash();
                self.pending.clear();
                Err(io::Error::other("injected: sync failed"))
            }
            Some(Fault::PowerLoss { after }) => {
                *after -= 1;
                Ok(())
            }
            Some(Fault::FailedSync { after }) if is_sync => {
                *after -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The durable bytes with a random part of the pending writes.
    fn crash(&mut self) -> Vec<u8> {
        let mut image = self.durable.clone();
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                // A file's length is kept by the file system's journal, in order.
                Pending::SetLength(length) => image.resize(length, 0),
                Pending::Write { offset, data } => {
                    let whole = self.random.random_bool(0.5);
                    for (sector, part) in data.chunks(SECTOR_BYTES).enumerate() {
                        if whole || self.random.random_bool(0.5) {
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

impl redb::StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.lock();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let found = state.seen.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let length = usize::try_from(len).map_err(io::Error::other)?;
        let mut state = self.lock();
        state.step(false)?;
        state.seen.resize(length, 0);
        state.pending.push(Pending::SetLength(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.step(true)?;
        let state = &mut *state;
        for pending in state.pending.drain(..) {
            match pending {
                Pending::SetLength(length) => state.durable.resize(length, 0),
                Pending::Write { offset, data } => write_at(&mut state.durable, offset, &data),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let mut state = self.lock();
        state.step(false)?;
        write_at(&mut state.seen, offset, data);
        state.pending.push(Pending::Write { offset, data: data.to_vec() });
        Ok(())
    }
}

fn write_at(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if image.len() < offset + data.len() {
        image.resize(offset + data.len(), 0);
    }
    image[offset..offset + data.len()].copy_from_slice(data);
}
