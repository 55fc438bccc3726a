//! The thread that writes: takes what waits, commits it as one group, tells the watchers, answers the callers.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::file::File;
use crate::watch_log::WatchLog;
use crate::{Error, Result, Revision, Transaction};

/// Transactions in one fsync. Bounds how long the first of them waits for the last.
const GROUP_COMMITS: usize = 1024;

/// Bytes of one group, beyond which no further transaction joins it: bounds the pages held before they are written.
const GROUP_BYTES: usize = 8 << 20;

pub(super) enum Job {
    Commit(Transaction, oneshot::Sender<Result<Revision>>),
    Close(oneshot::Sender<Result<()>>),
}

type Waiting = (Transaction, oneshot::Sender<Result<Revision>>);

pub(super) struct Writer {
    pub file: Arc<File>,
    pub log: Arc<WatchLog>,
}

impl Writer {
    /// Ends after a close, or when the last handle of the store is gone.
    pub fn run(self, mut jobs: mpsc::Receiver<Job>) {
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
            self.commit(&mut group);
            if closing.is_some() {
                break;
            }
        }
        self.finish(jobs, closing);
    }

    fn commit(&self, group: &mut Vec<Waiting>) {
        if group.is_empty() {
            return;
        }
        let transactions: Vec<&Transaction> = group.iter().map(|(transaction, _)| transaction).collect();
        match self.file.apply(&transactions) {
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
                let why = format!("stopped after a failed write: {error}");
                if self.file.stop(&why) {
                    tracing::error!(%error, "the store cannot write and stops");
                    self.log.end(&why);
                }
                for (_, reply) in group.drain(..) {
                    let _ = reply.send(Err(repeat(&error)));
                }
            }
        }
    }

    fn finish(&self, mut jobs: mpsc::Receiver<Job>, closing: Option<oneshot::Sender<Result<()>>>) {
        jobs.close();
        self.log.end("the store is closed");
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
        self.log.end("the store's writer is gone");
        self.file.stop("the store's writer is gone");
    }
}

fn size(transaction: &Transaction) -> usize {
    transaction.ops.iter().map(|op| op.parts()).map(|(key, value)| key.len() + value.map_or(0, |v| v.len())).sum()
}

fn repeat(error: &Error) -> Error {
    match error {
        Error::Unknown(why) => Error::Unknown(why.clone()),
        Error::Corrupt(why) => Error::Corrupt(why.clone()),
        other => Error::Unavailable(other.to_string()),
    }
}
