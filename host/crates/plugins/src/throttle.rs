//! How fast a plugin may write: a token bucket for all instances of it, over all its revisions.
//!
//! A write that comes too early waits; it is not refused, for a burst of honest work must not fail. Who has to wait is told of, so that
//! the Plugin's condition says it. Drivers take before each write that a component asks for; events have their own limits (`events`).

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Writes a second that a plugin may make for ever: ten times what upstream allows all its controllers together, a tenth of what the
/// API server can take.
pub const WRITES_PER_SECOND: f64 = 500.0;
/// Writes that it may make at once when it has made none for a while: a large Deployment's pods.
pub const WRITE_BURST: f64 = 1000.0;
/// Writes of one call of a component. Later ones are refused: what needs more can be done in the next call.
pub const MAX_WRITES_PER_CALL: u32 = 10_000;

pub struct Throttle {
    bucket: Mutex<Bucket>,
    held_back: watch::Sender<bool>,
}

struct Bucket {
    /// Below zero: writes that wait.
    tokens: f64,
    at: Instant,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { bucket: Mutex::new(Bucket { tokens: WRITE_BURST, at: Instant::now() }), held_back: watch::Sender::new(false) }
    }
}

impl Throttle {
    /// Returns when the next write may be made.
    pub async fn take(&self) {
        let wait = self.reserve();
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Whether writes had to wait, and the plugin has not been calm since.
    pub fn held_back(&self) -> watch::Receiver<bool> {
        self.held_back.subscribe()
    }

    /// Looks whether it is calm by now; nobody else would tell when writes have ended.
    pub fn look(&self) {
        let mut bucket = self.bucket.lock().unwrap_or_else(|e| e.into_inner());
        bucket.refill();
        self.tell(bucket.tokens);
    }

    fn reserve(&self) -> Duration {
        let mut bucket = self.bucket.lock().unwrap_or_else(|e| e.into_inner());
        bucket.refill();
        bucket.tokens -= 1.0;
        self.tell(bucket.tokens);
        Duration::from_secs_f64((-bucket.tokens).max(0.0) / WRITES_PER_SECOND)
    }

    fn tell(&self, tokens: f64) {
        let calm = tokens >= WRITE_BURST / 2.0;
        self.held_back.send_if_modified(|held| {
            let now = tokens < 0.0 || *held && !calm;
            std::mem::replace(held, now) != now
        });
    }
}

impl Bucket {
    fn refill(&mut self) {
        let now = Instant::now();
        let gained = now.duration_since(self.at).as_secs_f64() * WRITES_PER_SECOND;
        (self.tokens, self.at) = ((self.tokens + gained).min(WRITE_BURST), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_the_rest_at_its_rate() {
        let throttle = Throttle::default();
        let begun = Instant::now();
        for _ in 0..1000 {
            throttle.take().await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(!*throttle.held_back().borrow());
        for _ in 0..500 {
            throttle.take().await;
        }
        let took = begun.elapsed();
        assert!((Duration::from_millis(990)..=Duration::from_millis(1600)).contains(&took), "{took:?}");
        assert!(*throttle.held_back().borrow());
        tokio::time::sleep(Duration::from_millis(500)).await;
        throttle.look();
        assert!(*throttle.held_back().borrow(), "not calm yet");
        tokio::time::sleep(Duration::from_secs(1)).await;
        throttle.look();
        assert!(!*throttle.held_back().borrow());
    }
}
