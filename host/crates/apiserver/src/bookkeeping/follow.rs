//! Watching one resource for ever: the loops' shared way of hearing of changes.
//!
//! A watch that ends is resumed after the last revision seen; when history no longer reaches that far, it starts over and
//! says so with [`Change::Restart`]. It keeps no objects.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt};
use pintle_api::client::{Served, Target, WatchEvent, WatchOptions};
use pintle_api::{Client, Reason};
use tokio::time::Instant;

/// Between attempts to open a watch that fails; doubled for each time that it failed again, up to the longest. An object that a webhook
/// should convert and cannot, ends a watch wherever it begins, and each beginning tells everything.
const RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(10);
/// A resource that is not served (any more) is looked for this often.
const RETRY_ABSENT: Duration = Duration::from_secs(5);
/// Changes that follow one another this closely are heard of together.
const GATHER: Duration = Duration::from_millis(10);

pub enum Change<'a> {
    /// What follows up to `Synced` is the whole state; what does not come again is gone.
    Restart,
    /// Added or modified.
    Now(&'a Served),
    Gone(&'a Served),
    Synced,
}

/// Which objects to watch.
#[derive(Clone, Debug)]
pub struct Interest {
    pub target: Target,
    pub field_selector: String,
}

impl Interest {
    /// All objects of a resource, in all namespaces.
    pub fn all(resource: pintle_api::GroupVersionResource) -> Self {
        Self { target: Target::collection(resource, None), field_selector: String::new() }
    }
    pub fn fields(mut self, selector: &str) -> Self {
        selector.clone_into(&mut self.field_selector);
        self
    }
}

/// Runs until it is dropped.
pub async fn follow(client: Arc<dyn Client>, interest: Interest, mut each: impl FnMut(Change<'_>) + Send) {
    let (mut from, mut failures) = (None, 0u32);
    loop {
        if from.is_none() {
            each(Change::Restart);
        }
        let begun = Instant::now();
        let end = watch_once(&client, &interest, &mut from, &mut each).await;
        if begun.elapsed() > LONGEST_RETRY {
            failures = 0;
        }
        let pause = match end {
            End::Ran => RETRY,
            End::Absent => RETRY_ABSENT,
            End::Failed => {
                failures += 1;
                (RETRY * 2u32.saturating_pow(failures - 1)).min(LONGEST_RETRY)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Why a watch is over.
enum End {
    /// It can go on where it was.
    Ran,
    /// The resource is not served.
    Absent,
    Failed,
}

/// One watch until it ends.
async fn watch_once(client: &Arc<dyn Client>, interest: &Interest, from: &mut Option<u64>, each: &mut (impl FnMut(Change<'_>) + Send)) -> End {
    let options = WatchOptions { field_selector: interest.field_selector.clone(), from_revision: *from, ..WatchOptions::default() };
    let mut stream = match client.watch(&interest.target, &options).await {
        Ok(stream) => stream,
        Err(status) => {
            *from = None;
            return if status.is(Reason::NotFound) { End::Absent } else { End::Failed };
        }
    };
    // Until the first state is complete there is no revision to resume from.
    let mut synced = from.is_some();
    while let Some(event) = leisurely(&mut stream).await {
        match event {
            Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                each(Change::Now(&object));
                resume_at(from, synced, object.revision);
            }
            Ok(WatchEvent::Deleted(object)) => {
                each(Change::Gone(&object));
                resume_at(from, synced, object.revision);
            }
            Ok(WatchEvent::Synced { revision }) => {
                each(Change::Synced);
                synced = true;
                resume_at(from, synced, revision);
            }
            Ok(WatchEvent::Bookmark { revision }) => resume_at(from, synced, revision),
            Err(status) => {
                tracing::debug!(target = %interest.target.path(), error = %status, "watch ended");
                *from = None;
                return End::Failed;
            }
        }
    }
    End::Ran
}

/// The next event. Who has just been told of one waits a little for those that come with it: a thread that is woken for each costs more than
/// the events do.
async fn leisurely(stream: &mut BoxStream<'static, pintle_api::client::Result<WatchEvent>>) -> Option<pintle_api::client::Result<WatchEvent>> {
    match stream.next().now_or_never() {
        Some(event) => event,
        None => {
            tokio::time::sleep(GATHER).await;
            stream.next().await
        }
    }
}

fn resume_at(from: &mut Option<u64>, synced: bool, revision: u64) {
    if synced {
        *from = Some(from.unwrap_or_default().max(revision));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use pintle_api::client::{BoxFuture, DeleteOptions, ListOptions, Listed, Patch, WriteOptions};
    use pintle_api::{GroupVersionResource, Object, Status};

    use super::*;

    type Answer<'a, T> = BoxFuture<'a, Result<T, Status>>;

    /// Notes when a watch was asked for, and has none.
    struct Away {
        begun: Instant,
        asked: Mutex<Vec<u128>>,
    }

    impl Client for Away {
        fn watch<'a>(&'a self, _: &'a Target, _: &'a WatchOptions) -> Answer<'a, BoxStream<'static, Result<WatchEvent, Status>>> {
            self.asked.lock().unwrap().push(self.begun.elapsed().as_millis() / 100);
            Box::pin(async { Err(Status::internal("away")) })
        }
        fn get<'a>(&'a self, _: &'a Target) -> Answer<'a, Served> {
            unreachable!("only watched")
        }
        fn list<'a>(&'a self, _: &'a Target, _: &'a ListOptions) -> Answer<'a, Listed> {
            unreachable!("only watched")
        }
        fn create<'a>(&'a self, _: &'a Target, _: Object, _: &'a WriteOptions) -> Answer<'a, Served> {
            unreachable!("only watched")
        }
        fn update<'a>(&'a self, _: &'a Target, _: Object, _: &'a WriteOptions) -> Answer<'a, Served> {
            unreachable!("only watched")
        }
        fn patch<'a>(&'a self, _: &'a Target, _: Patch, _: &'a WriteOptions) -> Answer<'a, Served> {
            unreachable!("only watched")
        }
        fn delete<'a>(&'a self, _: &'a Target, _: &'a DeleteOptions) -> Answer<'a, Option<Served>> {
            unreachable!("only watched")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_fails_again_waits_longer() {
        let client = Arc::new(Away { begun: Instant::now(), asked: Mutex::default() });
        let pods = Interest::all(GroupVersionResource::constant("", "v1", "pods"));
        let _ = tokio::time::timeout(Duration::from_secs(50), follow(client.clone(), pods, |_| {})).await;
        assert_eq!(*client.asked.lock().unwrap(), [0, 2, 6, 14, 30, 62, 126, 226, 326, 426], "in tenths of a second");
    }
}
