//! The thread that writes: takes what waits, commits it as one group, tells the watchers, answers the callers. When the journal has
//! enough it starts a checkpoint on a thread of its own and goes on; only where the journal's other half is full too does it wait.
//!
//! There is no checkpoint for lack of work: a cluster at rest writes a lease now and then, and each would pay for a commit of the tree.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::file::{File, size};
use super::journal::HALF_BYTES;
use crate::watch_log::WatchLog;
use crate::{Error, MAX_TRANSACTION_BYTES, Result, Revision, Transaction};

/// Transactions in one record of the journal and one sync. Bounds how long the first of them waits for the last.
const GROUP_COMMITS: usize = 1024;

/// Bytes of one group, beyond which no further transaction joins it: with the largest of all it must fit into a half of the journal.
const GROUP_BYTES: usize = 256 << 10;
const _: () = assert!(GROUP_BYTES + MAX_TRANSACTION_BYTES + (64 << 10) < HALF_BYTES);

pub(super) enum Job {
    Commit(Transaction, oneshot::Sender<Result<Revision>>),
    Close(oneshot::Sender<Result<()>>),
}

type Waiting = (Transaction, oneshot::Sender<Result<Revision>>);

pub(super) struct Writer {
    file: Arc<File>,
    log: Arc<WatchLog>,
    /// Bytes of the journal that a checkpoint begins at.
    checkpoint_bytes: usize,
    checkpoint: Option<JoinHandle<()>>,
    /// What the journal had when it was opened waits for the tree.
    recovering: bool,
}

impl Writer {
    pub fn new(file: Arc<File>, log: Arc<WatchLog>, checkpoint_bytes: usize) -> Self {
        Self { file, log, checkpoint_bytes, checkpoint: None, recovering: true }
    }

    /// Ends after a close, or when the last handle of the store is gone.
    pub fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut group: Vec<Waiting> = Vec::new();
        let mut closing = None;
        while let Some(job) = jobs.blocking_recv() {
            let mut next = Some(job);
            let mut bytes = 0;
            while let Some(job) = next.take() {
                match job {
                    Job::Commit(transaction, reply) => {
                        bytes += size(&transaction);
                        group.push((transaction, reply));
                    }
                    Job::Close(reply) => {
                        closing = Some(reply);
                        break;
                    }
                }
                if group.len() < GROUP_COMMITS && bytes < GROUP_BYTES {
                    next = jobs.try_recv().ok();
                }
            }
            self.commit(&mut group, bytes);
            if closing.is_some() {
                break;
            }
        }
        self.finish(jobs, closing);
    }

    fn commit(&mut self, group: &mut Vec<Waiting>, bytes: usize) {
        if group.is_empty() {
            return;
        }
        let transactions: Vec<&Transaction> = group.iter().map(|(transaction, _)| transaction).collect();
        match self.make_room(bytes).and_then(|()| self.file.apply(&transactions)) {
            Ok(applied) => {
                if !applied.changes.is_empty() {
                    self.log.append(applied.changes, applied.newest);
                }
                for ((_, reply), outcome) in group.drain(..).zip(applied.outcomes) {
                    // A caller who went away needs no answer.
                    let _ = reply.send(outcome);
                }
            }
            Err(error) => {
                fail(&self.file, &self.log, &error);
                for (_, reply) in group.drain(..) {
                    let _ = reply.send(Err(repeat(&error)));
                }
            }
        }
        let is_due = self.file.journaled() >= self.checkpoint_bytes;
        if is_due && self.checkpoint.as_ref().is_none_or(JoinHandle::is_finished) {
            self.begin_checkpoint();
        }
    }

    /// Waits only where the checkpoint before is slower than the writers.
    fn make_room(&mut self, bytes: usize) -> Result<()> {
        if self.recovering {
            self.file.checkpoint()?;
            self.recovering = false;
        }
        if !self.file.has_room(bytes) {
            self.begin_checkpoint();
        }
        Ok(())
    }

    /// Failures stop the store; whoever writes next is told.
    fn begin_checkpoint(&mut self) {
        self.end_checkpoint();
        if self.file.turn().is_err() {
            return;
        }
        let (file, log) = (self.file.clone(), self.log.clone());
        let begun = std::thread::Builder::new().name("store-checkpoint".into()).spawn(move || checkpoint(&file, &log));
        match begun {
            Ok(thread) => self.checkpoint = Some(thread),
            Err(_) => checkpoint(&self.file, &self.log),
        }
    }

    fn end_checkpoint(&mut self) {
        if self.checkpoint.take().is_some_and(|thread| thread.join().is_err()) {
            fail(&self.file, &self.log, &Error::Unavailable("a checkpoint ended early".into()));
        }
    }

    /// What cannot go to the tree now stays in the journal, for the next who opens the store.
    fn settle(&mut self) {
        self.end_checkpoint();
        if self.file.check().is_err() {
            return;
        }
        // The journal's old generation, where nothing was written since it was opened, then the present one.
        let settled = self.file.checkpoint().and_then(|()| self.file.turn()).and_then(|()| self.file.checkpoint());
        if let Err(error) = settled {
            tracing::warn!(%error, "the store closes with its journal as it is");
        }
    }

    fn finish(&mut self, mut jobs: mpsc::Receiver<Job>, closing: Option<oneshot::Sender<Result<()>>>) {
        jobs.close();
        self.log.end("the store is closed");
        self.settle();
        self.file.stop("the store is closed");
        if let Some(reply) = closing {
            let _ = reply.send(Ok(()));
        }
        while let Some(job) = jobs.blocking_recv() {
            match job {
                Job::Commit(_, reply) => drop(reply.send(Err(Error::Unavailable("the store is closed".into())))),
                Job::Close(reply) => drop(reply.send(Ok(()))),
            }
        }
    }
}

/// However the thread ends, nobody waits for it.
impl Drop for Writer {
    fn drop(&mut self) {
        self.end_checkpoint();
        self.log.end("the store's writer is gone");
        self.file.stop("the store's writer is gone");
    }
}

fn checkpoint(file: &File, log: &WatchLog) {
    if let Err(error) = file.checkpoint() {
        fail(file, log, &error);
    }
}

fn fail(file: &File, log: &WatchLog, error: &Error) {
    let why = format!("stopped after a failed write: {error}");
    if file.stop(&why) {
        tracing::error!(%error, "the store cannot write and stops");
        log.end(&why);
    }
}

fn repeat(error: &Error) -> Error {
    match error {
        Error::Unknown(why) => Error::Unknown(why.clone()),
        Error::Corrupt(why) => Error::Corrupt(why.clone()),
        other => Error::Unavailable(other.to_string()),
    }
}
