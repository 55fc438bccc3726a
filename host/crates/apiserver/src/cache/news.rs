//! How the watchers of one resource hear that its log has grown: at once, or gathered.
//!
//! Waking a watcher costs several times what one more event costs it. Those that answer a client over a connection hear
//! of the first event at once and of those that follow closely together, which under load makes one piece of many.
//! Watchers inside the process, on which decisions wait, always hear at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch::{Receiver, Sender};
use tokio::time::Instant;

/// Gathered news is told no more often than this: what an event may wait that follows another one.
const GATHER: Duration = Duration::from_millis(5);

#[derive(Default)]
pub struct News {
    at_once: Sender<()>,
    gathered: Sender<()>,
    pace: Mutex<Pace>,
}

#[derive(Default)]
struct Pace {
    /// When gathered news was told last.
    told: Option<Instant>,
    /// It will be told again when its time has come.
    due: bool,
}

impl News {
    pub fn at_once(&self) -> Receiver<()> {
        self.at_once.subscribe()
    }
    pub fn gathered(&self) -> Receiver<()> {
        self.gathered.subscribe()
    }

    /// The log has grown. Who subscribes later than it grew finds what is new without being told.
    pub fn tell(self: &Arc<Self>) {
        self.at_once.send_replace(());
        if self.gathered.receiver_count() == 0 {
            return;
        }
        let now = Instant::now();
        let mut pace = self.pace();
        if pace.due {
            return;
        }
        match pace.told.map(|told| told + GATHER).filter(|next| *next > now) {
            None => {
                pace.told = Some(now);
                drop(pace);
                self.gathered.send_replace(());
            }
            Some(next) => {
                pace.due = true;
                tokio::spawn(self.clone().tell_at(next));
            }
        }
    }

    async fn tell_at(self: Arc<Self>, next: Instant) {
        tokio::time::sleep_until(next).await;
        // Before it is told: what comes from now on is told the next time.
        *self.pace() = Pace { told: Some(Instant::now()), due: false };
        self.gathered.send_replace(());
    }

    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_follows_closely_is_told_together() {
        let news = Arc::<News>::default();
        let (mut quick, mut gathered) = (news.at_once(), news.gathered());
        let start = Instant::now();
        news.tell();
        gathered.changed().await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO, "the first is told at once");
        for _ in 0..3 {
            news.tell();
            assert!(quick.has_changed().unwrap());
            quick.mark_unchanged();
            assert!(!gathered.has_changed().unwrap());
        }
        gathered.changed().await.unwrap();
        assert!((GATHER..GATHER + Duration::from_millis(2)).contains(&start.elapsed()), "{:?}", start.elapsed());
        tokio::time::sleep(3 * GATHER).await;
        assert!(!gathered.has_changed().unwrap(), "three were told once");
        news.tell();
        assert!(gathered.has_changed().unwrap(), "nothing was told for a while");
    }
}
