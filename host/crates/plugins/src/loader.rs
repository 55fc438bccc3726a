//! The thread that reads, digests and loads components, and gives back what old instances held: milliseconds each, in which the runtime's
//! own threads go on.
//!
//! One thread for the process and not the runtime's blocking ones: the allocator keeps pages for each thread that allocated much, and of
//! those there are as many as ever had something to do at a time. Components that were not compiled before are not loaded here, for that
//! takes seconds. Called by sources, actors, and whoever is done with an instance.

use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;

use tokio::sync::{mpsc, oneshot};

use crate::load::LoadError;

/// Pieces of work that wait: each plugin waits for one at a time, and lets go of an instance at a reload or fault.
const MAX_WAITING: usize = 256;

type Work = Box<dyn FnOnce() + Send>;

/// `None` where the thread could not be started.
static QUEUE: LazyLock<Option<mpsc::Sender<Work>>> = LazyLock::new(|| {
    let (queue, mut waiting) = mpsc::channel::<Work>(MAX_WAITING);
    let serve = move || {
        while let Some(work) = waiting.blocking_recv() {
            // Who waits for it hears that nothing came; the others have their turn.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(work));
        }
    };
    std::thread::Builder::new().name("components".to_owned()).spawn(serve).is_ok().then_some(queue)
});

/// Has the work done, after what came before it. It is done also when nobody waits for its answer any more.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LoadError> {
    let (sender, answer) = oneshot::channel();
    let work: Work = Box::new(move || drop(sender.send(work())));
    match &*QUEUE {
        Some(queue) => drop(queue.send(work).await),
        None => drop(tokio::task::spawn_blocking(work)),
    }
    answer.await.map_err(|_| LoadError::Start("loading it panicked".to_owned()))
}

/// Lets go of what holds much memory: giving an instance's back takes milliseconds, in which its owner may decide.
pub fn retire(gone: impl Send + 'static) {
    let work: Work = Box::new(move || drop(gone));
    let left = match &*QUEUE {
        Some(queue) => queue.try_send(work).err().map(mpsc::error::TrySendError::into_inner),
        None => Some(work),
    };
    if let Some(work) = left {
        drop(tokio::task::spawn_blocking(work));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn what_panics_is_told_and_the_next_one_has_its_turn_on_the_same_thread() {
        let name = || std::thread::current().name().map(str::to_owned);
        let broken: Result<(), _> = run(|| panic!("as this test wants it")).await;
        assert!(matches!(broken, Err(LoadError::Start(_))));
        assert_eq!(run(name).await, Ok(Some("components".to_owned())));
        let held = Arc::new(());
        retire(held.clone());
        run(|| ()).await.expect("its turn");
        assert_eq!(Arc::strong_count(&held), 1, "what came before is done");
    }
}
