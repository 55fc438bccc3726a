//! Brings a scheduler's fresh instance up beside whoever decides: it is fed the cluster as it stood in a task of its own, then what changed
//! meanwhile, and only the last of that while no pod is decided.
//!
//! So a reload stops decisions for no longer than one feed takes, however large the cluster is, and after a fault the driver goes on
//! taking changes in. A nursery that falls too far behind says so, and its owner starts another. Called by the desk.

use std::sync::Arc;

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::Delta;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;

use super::cluster::Snapshot;
use super::desk::{FEED_BATCH, feed};
use super::{Holder, Instance};
use crate::decisions::tape::Recording;
use crate::guest::Fault;

/// Changes that may come while an instance is brought up; with more, taking the cluster anew is cheaper.
const MAX_NEWS: usize = 50_000;
/// Batches of the snapshot that are spelled out ahead of the one that is fed.
const AHEAD: usize = 2;

type News = Arc<Vec<Delta>>;
/// What went wrong, and while what was done.
pub type Misfortune = (Fault, &'static str);

pub struct Nursery {
    news: mpsc::UnboundedSender<News>,
    told: usize,
    grown: oneshot::Receiver<Result<Grown, Misfortune>>,
    task: AbortHandle,
}

/// An instance that knows everything, what it was told, and what it heard from the host meanwhile.
pub struct Raised {
    pub instance: Instance,
    pub recording: Recording,
    pub told: Vec<Delta>,
}

/// One that knows all but the last changes.
struct Grown {
    instance: Instance,
    told: Vec<Delta>,
    news: mpsc::UnboundedReceiver<News>,
}

/// What a look into the nursery finds.
pub enum Look {
    /// It goes on growing.
    Growing(Nursery),
    Raised(Box<Raised>),
    /// Too much changed meanwhile.
    Behind,
}

impl Nursery {
    /// `done` is told when there is something to find.
    pub fn start(holder: Arc<Holder>, snapshot: Snapshot, done: Arc<Notify>) -> Self {
        let (news, received) = mpsc::unbounded_channel();
        let (sender, grown) = oneshot::channel();
        let task = tokio::spawn(async move {
            let _ = sender.send(raise(&holder, snapshot, received).await);
            done.notify_one();
        });
        Self { news, told: 0, grown, task: task.abort_handle() }
    }

    /// What changed since the snapshot, in order.
    pub fn tell(&mut self, news: &News) {
        if !news.is_empty() {
            self.told += news.len();
            let _ = self.news.send(news.clone());
        }
    }

    /// Takes the instance out once it is grown, after feeding it the last changes.
    pub async fn look(mut self) -> Result<Look, Misfortune> {
        if self.told > MAX_NEWS {
            return Ok(Look::Behind);
        }
        let Grown { mut instance, mut told, mut news } = match self.grown.try_recv() {
            Ok(grown) => grown?,
            Err(oneshot::error::TryRecvError::Empty) => return Ok(Look::Growing(self)),
            Err(oneshot::error::TryRecvError::Closed) => return Err((Fault::Trap("its task ended".to_owned()), "start")),
        };
        catch_up(&mut instance, &mut told, &mut news).await?;
        let recording = instance.store.data_mut().tape.stop();
        Ok(Look::Raised(Box::new(Raised { instance, recording, told })))
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn raise(holder: &Holder, snapshot: Snapshot, mut news: mpsc::UnboundedReceiver<News>) -> Result<Grown, Misfortune> {
    let mut told = Vec::with_capacity(snapshot.len());
    let mut batches = spell_out(snapshot);
    let mut instance = holder.instantiate().await.map_err(|error| (Fault::Trap(error.to_string()), "start"))?;
    instance.store.data_mut().tape.start();
    while let Some(batch) = batches.recv().await {
        feed(&mut instance, &batch).await.map_err(|fault| (fault, "feed"))?;
        told.extend(batch);
    }
    catch_up(&mut instance, &mut told, &mut news).await?;
    Ok(Grown { instance, told, news })
}

/// Objects are read on one processor while what was read is fed on another.
fn spell_out(snapshot: Snapshot) -> mpsc::Receiver<Vec<Delta>> {
    let (sender, batches) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut deltas = snapshot.deltas();
        loop {
            let batch: Vec<Delta> = deltas.by_ref().take(FEED_BATCH).collect();
            if batch.is_empty() || sender.blocking_send(batch).is_err() {
                return;
            }
        }
    });
    batches
}

async fn catch_up(instance: &mut Instance, told: &mut Vec<Delta>, news: &mut mpsc::UnboundedReceiver<News>) -> Result<(), Misfortune> {
    while let Ok(changes) = news.try_recv() {
        feed(instance, &changes).await.map_err(|fault| (fault, "feed"))?;
        told.extend(Arc::unwrap_or_clone(changes));
    }
    Ok(())
}
