//! A candidate that reconciles a share of the keys in the live revision's place. Both take from one queue, which hands out a key once at a
//! time, so no key is ever reconciled by both; while the candidate rests after a fault, its keys wait for it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::queue::{Key, Queue};
use super::router::{Router, id_of, key_of};
use super::{CANARY_WATCHES, Crew, Instance, Job, Member, Prepared, lock};
use crate::guest::Fault;
use crate::index::{Informer, Listener};
use crate::stages::share::Share;
use crate::stages::spec::Difference;
use crate::stages::tally::Tally;

/// Work that is put off waits at least so long, so that nothing spins.
const MIN_PAUSE: Duration = Duration::from_millis(5);

pub struct Canary {
    member: Member,
    share: Share,
    tally: Arc<Tally>,
    rest_until: Mutex<Option<Instant>>,
    /// Hears of what the candidate watches and the live revision does not.
    _listener: Arc<dyn Listener>,
    _informers: Vec<Arc<Informer>>,
}

impl Canary {
    /// `extra`: places of the watches that the live revision does not have.
    pub fn new(member: Member, share: Share, tally: Arc<Tally>, queue: &Arc<Queue>, prepared: &Prepared, extra: &[usize]) -> Self {
        let router = Router::of_share(queue.clone(), member.watches.clone(), CANARY_WATCHES, share.clone());
        let listener: Arc<dyn Listener> = Arc::new(router);
        for at in extra {
            prepared.informers[*at].subscribe(*at, &listener);
        }
        Self { member, share, tally, rest_until: Mutex::default(), _listener: listener, _informers: prepared.informers.clone() }
    }

    pub fn holds(&self, key: &Key) -> bool {
        self.share.holds(&key.namespace, &id_of(key))
    }

    pub fn member(&self) -> &Member {
        &self.member
    }

    /// One piece of work with the instance that a worker kept, or a fresh one.
    pub async fn serve(&self, crew: &Crew, kept: Option<Instance>, job: Job) -> Option<Instance> {
        if let Some(pause) = self.rests() {
            put_off(crew, job, pause);
            return None;
        }
        let instance = match kept {
            Some(instance) => instance,
            None => match self.member.instantiate().await {
                Ok(instance) => instance,
                Err(fault) => {
                    let pause = self.member.failed("instantiate", &fault);
                    self.fault("instantiate", &fault, pause);
                    put_off(crew, job, pause);
                    return None;
                }
            },
        };
        crew.serve(&self.member, instance, job, Some(self)).await
    }

    pub fn decided(&self, failed: bool) {
        if failed { self.tally.failed() } else { self.tally.agreed() }
    }

    pub fn fault(&self, what: &str, fault: &Fault, pause: Duration) {
        *lock(&self.rest_until) = Some(Instant::now() + pause);
        self.tally.fault(Difference { subject: what.to_owned(), kind: "Fault".to_owned(), candidate: fault.to_string(), ..Difference::default() });
    }

    fn rests(&self) -> Option<Duration> {
        let until = (*lock(&self.rest_until))?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

/// The work comes back after the pause, whoever does it then.
fn put_off(crew: &Crew, job: Job, pause: Duration) {
    let pause = pause.max(MIN_PAUSE);
    match job {
        Job::Reconcile(key) => {
            crew.queue.done(key.clone(), false);
            crew.queue.add_after(key, pause);
        }
        Job::Route(change, _) => {
            let queue = crew.queue.clone();
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                if let Some(entry) = change.after.as_ref().or(change.before.as_ref()) {
                    queue.put_back(key_of(entry), change);
                }
            });
        }
    }
}
