//! A live copy of a collection, over any [`Client`]: one watch that starts with the present objects, resumes from where
//! it broke, and starts anew when the server has forgotten that place.
//!
//! [`Snapshot`]s are persistent maps: taking one costs nothing and holds up nobody. A subscriber gets the difference between
//! what it saw last and what is there now, so it may be as slow as it likes without a queue growing: it then sees
//! fewer steps between, never a wrong end. An object that was deleted and made again is told as both.

mod machine;
mod snapshot;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use pintle_api::Status;
use pintle_api::client::{Client, Result, Served, Target, WatchEvent, WatchOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use machine::{Effect, Input, Machine};
pub use snapshot::{Change, Snapshot};

/// Events taken together into one new snapshot, when they are there already.
const BATCH_EVENTS: usize = 256;

/// Part of the objects only.
#[derive(Clone, Debug, Default)]
pub struct Selectors {
    pub labels: String,
    pub fields: String,
}

/// Stops when dropped; subscriptions then end.
pub struct Informer {
    present: watch::Receiver<Snapshot>,
    task: JoinHandle<()>,
}

impl Informer {
    /// Must be called inside a tokio runtime. The target is a collection; a name in it narrows the copy to that object.
    pub fn start(client: Arc<dyn Client>, target: Target, selectors: Selectors) -> Self {
        let (publish, present) = watch::channel(Snapshot::default());
        let driver = Driver { client, target, selectors, publish };
        Self { present, task: tokio::spawn(driver.run()) }
    }

    /// Waits until the first complete state is here. False: the informer ended before.
    pub async fn wait_synced(&self) -> bool {
        self.present.clone().wait_for(Snapshot::is_synced).await.is_ok()
    }

    pub fn is_synced(&self) -> bool {
        self.present.borrow().is_synced()
    }

    /// The namespace is empty for a cluster-scoped object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Served> {
        self.present.borrow().get(namespace, name).cloned()
    }

    /// Everything as of now. Empty until synced.
    pub fn snapshot(&self) -> Snapshot {
        self.present.borrow().clone()
    }

    /// From nothing: an `Added` for each present object once synced, then every change.
    pub fn subscribe(&self) -> BoxStream<'static, Change> {
        self.subscribe_after(Snapshot::default())
    }

    /// Changes after a snapshot that the caller has dealt with.
    pub fn subscribe_after(&self, seen: Snapshot) -> BoxStream<'static, Change> {
        let present = self.present.clone();
        stream::unfold((present, seen, true), |(mut present, seen, at_once)| async move {
            if !at_once {
                present.changed().await.ok()?;
            }
            let now = present.borrow_and_update().clone();
            let changes = if now.is_synced() { now.changes_since(&seen) } else { Vec::new() };
            let seen = if now.is_synced() { now } else { seen };
            Some((stream::iter(changes), (present, seen, false)))
        })
        .flatten()
        .boxed()
    }
}

impl Drop for Informer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Driver {
    client: Arc<dyn Client>,
    target: Target,
    selectors: Selectors,
    publish: watch::Sender<Snapshot>,
}

impl Driver {
    async fn run(self) {
        let mut machine = Machine::new();
        loop {
            let failure = match self.open(machine.resume_from()).await {
                Ok(events) => self.follow(&mut machine, events).await,
                Err(status) => Some(status),
            };
            if let Some(status) = &failure {
                tracing::debug!(resource = %self.target.resource.resource, %status, "a watch ended");
            }
            let delay = machine.ended(failure);
            tokio::time::sleep(jittered(delay)).await;
        }
    }

    async fn open(&self, from_revision: Option<u64>) -> Result<BoxStream<'static, Result<WatchEvent>>> {
        let options = WatchOptions { label_selector: self.selectors.labels.clone(), field_selector: self.selectors.fields.clone(), from_revision };
        self.client.watch(&self.target, &options).await
    }

    /// To the stream's end; `None` where the server closed it in peace.
    async fn follow(&self, machine: &mut Machine, events: BoxStream<'static, Result<WatchEvent>>) -> Option<Status> {
        let mut batches = events.ready_chunks(BATCH_EVENTS);
        while let Some(batch) = batches.next().await {
            let mut effects = Vec::with_capacity(batch.len());
            let mut failure = None;
            for event in batch {
                match event.and_then(Input::read) {
                    Ok(input) => effects.extend(machine.step(input)),
                    Err(status) => {
                        failure = Some(status);
                        break;
                    }
                }
            }
            self.apply(effects);
            if failure.is_some() {
                return failure;
            }
        }
        None
    }

    fn apply(&self, effects: Vec<Effect>) {
        if effects.is_empty() {
            return;
        }
        self.publish.send_modify(|snapshot| effects.into_iter().for_each(|effect| snapshot.apply(effect)));
    }
}

/// Half to one and a half times the delay, so that many clients do not come back together.
fn jittered(delay: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) % 1000;
    delay.mul_f64(0.5 + random as f64 / 1000.0)
}

#[cfg(test)]
mod tests;
