//! A second instance beside the one that decides, so that after a fault only the last changes are fed and not the whole cluster.
//!
//! It stands ready where the cluster is so large that feeding it anew would take long, and is told of changes in batches, aside: it costs
//! its memory and each change being fed twice. One that fails on its way is dropped and brought up again later; the revision is not
//! blamed for it, for whoever decides was not harmed. Called by deciders.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Holder;
use super::cluster::Cluster;
use super::nursery::{MAX_NEWS, Misfortune, News, Nursery};
use crate::loader::retire;
use crate::revision::pause_after;
use crate::stages::metrics::Meter;

/// Nodes and pods on them from which on a spare is worth its memory: fewer are fed in some 50 ms.
pub const SPARE_FROM: usize = 2_000;
/// With fewer it goes, so that one pod more or less does not raise and drop it.
const SPARE_UNTIL: usize = SPARE_FROM / 2;
/// Changes that wait for it at most before it is told of them.
const MAX_BACKLOG: usize = 1_000;
/// The longest that a change waits for it.
const LINGER: Duration = Duration::from_millis(250);

#[derive(Default)]
pub struct Spare {
    nursery: Option<Nursery>,
    /// Held while it knows all but the last changes.
    ready: Option<Ready>,
    /// When the oldest change that it was not told came.
    untold: Option<Instant>,
    /// Faults since one of them was of use, and when the next one is begun.
    faults: u32,
    rest_until: Option<Instant>,
}

impl Spare {
    /// What changed, in order; it is fed later.
    pub fn tell(&mut self, news: &News) {
        if let Some(nursery) = self.nursery.as_mut().filter(|_| !news.is_empty()) {
            nursery.tell(news);
            self.untold.get_or_insert_with(Instant::now);
        }
    }

    /// There is one, or will be soon.
    pub fn is_there(&self) -> bool {
        self.nursery.is_some()
    }

    /// For who lost their instance.
    pub fn take(&mut self, holder: &Holder) -> Option<Nursery> {
        let mut nursery = self.nursery.take()?;
        if let Err(misfortune) = nursery.is_grown() {
            self.failed(holder, &misfortune);
            return None;
        }
        nursery.awaited();
        *self = Self::default();
        Some(nursery)
    }

    /// One that is not ready yet makes room for something more urgent.
    pub fn make_room(&mut self) {
        if self.ready.is_none()
            && let Some(nursery) = self.nursery.take()
        {
            self.untold = None;
            retire(nursery);
        }
    }

    /// When there is something to do for it, as far as time tells.
    pub fn due(&self) -> Option<Instant> {
        let waits = self.nursery.as_ref().is_some_and(|nursery| !nursery.is_growing());
        self.rest_until.or_else(|| self.untold.filter(|_| waits).map(|since| since + LINGER))
    }

    /// Has it told, brought up or dropped, as it is time. `may_begin`: nothing more urgent is brought up.
    pub fn keep(&mut self, holder: &Arc<Holder>, cluster: &mut Cluster, may_begin: bool, wake: &Arc<Notify>) {
        let now = Instant::now();
        let size = cluster.size();
        let Some(mut nursery) = self.nursery.take() else {
            let rested = self.rest_until.is_none_or(|until| now >= until);
            if rested {
                self.rest_until = None;
            }
            if rested && may_begin && size >= SPARE_FROM {
                self.nursery = Some(Nursery::start(holder.clone(), cluster.snapshot(), wake.clone()));
            }
            return;
        };
        if size < SPARE_UNTIL {
            (self.ready, self.untold) = (None, None);
            return retire(nursery);
        }
        let grown = nursery.is_grown();
        if matches!(grown, Ok(true)) {
            self.ready.get_or_insert_with(|| Ready::new(&holder.revision.meter));
        }
        match grown {
            Err(misfortune) => self.failed(holder, &misfortune),
            Ok(false) if nursery.behind() > MAX_NEWS => {
                retire(nursery);
                self.rest();
            }
            Ok(true) if nursery.behind() >= MAX_BACKLOG || self.untold.is_some_and(|since| now >= since + LINGER) => {
                self.untold = None;
                self.nursery = Some(nursery.catch_up());
            }
            Ok(_) => self.nursery = Some(nursery),
        }
    }

    fn failed(&mut self, holder: &Holder, (fault, what): &Misfortune) {
        holder.revision.log.write("warn", &format!("the spare instance: {what}: {fault}"));
        self.rest();
    }

    /// It was of no use: the next one waits as an instance does that keeps failing.
    fn rest(&mut self) {
        self.faults += 1;
        self.rest_until = Some(Instant::now() + pause_after(self.faults + 1));
        (self.ready, self.untold) = (None, None);
    }
}

/// One more on the meter for as long as it is held.
struct Ready(Arc<Meter>);

impl Ready {
    fn new(meter: &Arc<Meter>) -> Self {
        meter.spare_is_ready(1);
        Self(meter.clone())
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.0.spare_is_ready(-1);
    }
}
