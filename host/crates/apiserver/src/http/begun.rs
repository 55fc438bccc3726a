//! Writes that go to their end.
//!
//! A connection drops a request whose client has hung up, and whoever waits gives up at the time limit. A write that was dropped between its commit and
//! what follows it (ports that are claimed or given back, quota) would leave that undone. Until its body was read it may go: a client that sends
//! slowly holds nothing. Called by `serve`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pintle_api::Status;
use tokio::task::AbortHandle;

use super::Response;

/// The work is done also when this is dropped, once `begun` says so.
pub async fn to_its_end(work: impl Future<Output = Result<Response, Status>> + Send + 'static, begun: Arc<AtomicBool>) -> Result<Response, Status> {
    /// Ends what has not begun with whoever waits for it.
    struct Waiting(AbortHandle, Arc<AtomicBool>);
    impl Drop for Waiting {
        fn drop(&mut self) {
            if !self.1.load(Ordering::Relaxed) {
                self.0.abort();
            }
        }
    }
    let work = tokio::spawn(work);
    let _waiting = Waiting(work.abort_handle(), begun);
    match work.await {
        Ok(answer) => answer,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Status::unavailable("the server is shutting down")),
        },
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// Whether work goes on that was dropped when it had begun, or had not.
    async fn goes_on(begun: bool) -> bool {
        let (go, started) = oneshot::channel::<()>();
        let (done, ended) = oneshot::channel();
        let work = async move {
            let _ = started.await;
            let _ = done.send(());
            Err(Status::unavailable("nobody hears this"))
        };
        let mut write = Box::pin(to_its_end(work, Arc::new(AtomicBool::new(begun))));
        assert!(futures::poll!(&mut write).is_pending());
        drop(write);
        let _ = go.send(());
        ended.await.is_ok()
    }

    #[tokio::test]
    async fn a_write_that_has_begun_is_done_also_for_a_client_that_hangs_up() {
        assert!(goes_on(true).await);
        assert!(!goes_on(false).await);
    }
}
