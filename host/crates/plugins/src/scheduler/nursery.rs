//! Brings a scheduler's instance up beside whoever decides: it is fed the cluster as it stood in a task of its own, then what changed
//! meanwhile, and only the last few changes while no pod is decided.
//!
//! So a reload stops decisions for no longer than one small feed takes, however large the cluster is, and after a fault the driver goes on
//! taking changes in. A nursery that falls too far behind says so, and its owner starts another. Called by deciders and their spares.

use std::sync::Arc;

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::Delta;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;

use super::cluster::Snapshot;
use super::decider::{FEED_BATCH, feed};
use super::{Holder, Instance};
use crate::decisions::tape::Recording;
use crate::guest::Fault;
use crate::pieces::some_of;

/// Changes that may wait for an instance; with more, taking the cluster anew is cheaper.
pub const MAX_NEWS: usize = 50_000;
/// Changes that are fed while no pod is decided: a millisecond. With more of them the instance catches up in its task once more.
const LAST_CHANGES: usize = 100;
/// Batches of the snapshot that are spelled out ahead of the one that is fed.
const AHEAD: usize = 2;
/// What an instance heard from the host while it was fed, in bytes: beyond, it is left out of the decision log.
const MAX_HEARD: usize = 1 << 20;

pub type News = Arc<Vec<Delta>>;
/// What went wrong, and while what was done.
pub type Misfortune = (Fault, &'static str);

pub struct Nursery {
    state: State,
    /// What the instance was not told yet, in order, and how many changes that is.
    backlog: Vec<News>,
    behind: usize,
    /// Changes that it was or is being fed since somebody waits for it.
    fed: usize,
    wake: Arc<Notify>,
}

enum State {
    /// In its task: from the beginning, or once more for what changed.
    Growing {
        grown: oneshot::Receiver<Result<Grown, Misfortune>>,
        _task: Task,
    },
    Grown(Box<Grown>),
}

/// Ends with its owner.
struct Task(AbortHandle);

/// An instance, and what it heard from the host while it was fed.
struct Grown {
    instance: Instance,
    recording: Recording,
}

/// An instance that knows everything.
pub struct Raised {
    pub instance: Instance,
    pub recording: Recording,
    /// How many changes it was fed while somebody waited for it.
    pub fed: usize,
}

/// What a look into the nursery finds.
pub enum Look {
    Growing(Nursery),
    Raised(Box<Raised>),
    /// Too much changed meanwhile.
    Behind,
}

impl Nursery {
    /// `wake` is told when there is something to find.
    pub fn start(holder: Arc<Holder>, snapshot: Snapshot, wake: Arc<Notify>) -> Self {
        let fed = snapshot.len();
        let state = State::growing(wake.clone(), async move { raise(&holder, snapshot).await });
        Self { state, backlog: Vec::new(), behind: 0, fed, wake }
    }

    /// What changed since the snapshot, in order.
    pub fn tell(&mut self, news: &News) {
        if !news.is_empty() {
            self.behind += news.len();
            self.backlog.push(news.clone());
        }
    }

    /// Changes that it was not told yet.
    pub fn behind(&self) -> usize {
        self.behind
    }

    /// Somebody waits for it from now on.
    pub fn awaited(&mut self) {
        if !self.is_growing() {
            self.fed = 0;
        }
    }

    pub fn is_growing(&self) -> bool {
        matches!(self.state, State::Growing { .. })
    }

    /// Whether the instance knows all but what waits for it.
    pub fn is_grown(&mut self) -> Result<bool, Misfortune> {
        if let State::Growing { grown, .. } = &mut self.state {
            match grown.try_recv() {
                Ok(grown) => self.state = State::Grown(Box::new(grown?)),
                Err(oneshot::error::TryRecvError::Empty) => return Ok(false),
                Err(oneshot::error::TryRecvError::Closed) => return Err((Fault::Trap("its task ended".to_owned()), "start")),
            }
        }
        Ok(true)
    }

    /// Has the grown instance told, aside, what waits for it.
    pub fn catch_up(self) -> Self {
        match self.state {
            State::Grown(grown) => {
                let Self { backlog, behind, fed, wake, .. } = self;
                let state = State::growing(wake.clone(), async move { grown.told(backlog).await });
                Self { state, backlog: Vec::new(), behind: 0, fed: fed + behind, wake }
            }
            State::Growing { .. } => self,
        }
    }

    /// Takes the instance out once it is grown, after feeding it the last changes.
    pub async fn look(mut self) -> Result<Look, Misfortune> {
        if !self.is_grown()? {
            return Ok(if self.behind > MAX_NEWS { Look::Behind } else { Look::Growing(self) });
        }
        if self.behind > LAST_CHANGES {
            return Ok(Look::Growing(self.catch_up()));
        }
        let Self { state: State::Grown(grown), backlog, behind, fed, .. } = self else { return Ok(Look::Behind) };
        let Grown { instance, recording } = grown.told(backlog).await?;
        Ok(Look::Raised(Box::new(Raised { instance, recording, fed: fed + behind })))
    }
}

impl State {
    fn growing(wake: Arc<Notify>, work: impl Future<Output = Result<Grown, Misfortune>> + Send + 'static) -> Self {
        let (sender, grown) = oneshot::channel();
        let task = tokio::spawn(async move {
            let _ = sender.send(work.await);
            wake.notify_one();
        });
        Self::Growing { grown, _task: Task(task.abort_handle()) }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Grown {
    async fn told(mut self, news: Vec<News>) -> Result<Self, Misfortune> {
        self.instance.store.data_mut().tape.start();
        let mut batch = Vec::new();
        for changes in news {
            batch.extend(Arc::unwrap_or_clone(changes));
            if batch.len() >= FEED_BATCH {
                self.feed(&mut batch).await?;
            }
        }
        self.feed(&mut batch).await?;
        self.heard();
        Ok(self)
    }

    async fn feed(&mut self, batch: &mut Vec<Delta>) -> Result<(), Misfortune> {
        feed(&mut self.instance, batch).await.map_err(|fault| (fault, "feed"))?;
        batch.clear();
        Ok(())
    }

    fn heard(&mut self) {
        let Recording { heard, contents, weight } = self.instance.store.data_mut().tape.stop();
        if self.recording.weight + weight <= MAX_HEARD {
            self.recording.heard.extend(heard);
            self.recording.contents.extend(contents);
            self.recording.weight += weight;
        }
    }
}

async fn raise(holder: &Holder, snapshot: Snapshot) -> Result<Grown, Misfortune> {
    let mut batches = spell_out(snapshot);
    let instance = holder.instantiate().await.map_err(|error| (Fault::Trap(error.to_string()), "start"))?;
    let mut grown = Grown { instance, recording: Recording::default() };
    grown.instance.store.data_mut().tape.start();
    while let Some(mut batch) = batches.recv().await {
        grown.feed(&mut batch).await?;
    }
    grown.heard();
    Ok(grown)
}

/// Objects are read on one processor while what was read is fed on another, and no more of them than two batches lie around. A batch is
/// read in a millisecond: on a thread of its own the allocator would keep a share for that thread, and there are many such threads.
pub fn spell_out(snapshot: Snapshot) -> mpsc::Receiver<Vec<Delta>> {
    let (sender, batches) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let mut deltas = snapshot.deltas();
        loop {
            let batch = some_of(&mut deltas, FEED_BATCH);
            if batch.is_empty() || sender.send(batch).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    batches
}
