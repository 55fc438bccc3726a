//! Which of several servers runs the loops that only one may run: the holder of a Lease in kube-system, with upstream's fields
//! and times.
//!
//! A holder that cannot renew stops before anyone else may begin: it gives up [`RENEW_DEADLINE`] after it last asked with success,
//! others wait [`LEASE_DURATION`] after they last saw the lease change, each by its own clock. So clocks may differ, but not run at
//! different speeds. A server that ends cleanly gives the lease back.

use std::sync::Arc;
use std::time::Duration;

use pintle_api::client::{Target, WriteOptions};
use pintle_api::object::ObjectExt;
use pintle_api::{Client, GroupVersionResource, Object, Reason, Status};
use rand::Rng as _;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

const LEASES: GroupVersionResource = GroupVersionResource::constant("coordination.k8s.io", "v1", "leases");
const NAMESPACE: &str = "kube-system";
/// The lease of the scheduler, the controllers and the bookkeeping, which move together.
pub const NAME: &str = "pintle-controllers";
/// As client-go has them.
const LEASE_DURATION: Duration = Duration::from_secs(15);
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// Candidates spread their attempts by up to this factor.
const JITTER: f64 = 1.2;

/// One candidate's view of the lease.
struct Election {
    me: String,
    /// The spec as it was last seen, and when this candidate saw it change.
    seen: Value,
    seen_at: Instant,
}

/// What a candidate does about the lease it just read.
#[derive(Debug, PartialEq)]
enum Step {
    Create(Value),
    Update(Value),
    /// Somebody else holds it.
    Wait,
}

impl Election {
    fn new(me: String, now: Instant) -> Self {
        Self { me, seen: Value::Null, seen_at: now }
    }

    fn step(&mut self, lease: Option<&Object>, now: Instant, time: &str) -> Step {
        let Some(spec) = lease.map(|l| l.get("spec").cloned().unwrap_or(Value::Null)) else {
            return Step::Create(self.spec(time, time, 0));
        };
        if spec != self.seen {
            (self.seen, self.seen_at) = (spec.clone(), now);
        }
        let transitions = spec.i64_at(&["leaseTransitions"]).unwrap_or(0);
        let holder = spec.str_at(&["holderIdentity"]);
        if holder == self.me {
            return Step::Update(self.spec(spec.str_at(&["acquireTime"]), time, transitions));
        }
        let seconds = spec.i64_at(&["leaseDurationSeconds"]).and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
        if !holder.is_empty() && now < self.seen_at + Duration::from_secs(seconds) {
            return Step::Wait;
        }
        Step::Update(self.spec(time, time, transitions + 1))
    }

    fn spec(&self, acquired: &str, renewed: &str, transitions: i64) -> Value {
        json!({
            "holderIdentity": self.me, "leaseDurationSeconds": LEASE_DURATION.as_secs(), "acquireTime": acquired, "renewTime": renewed,
            "leaseTransitions": transitions,
        })
    }
}

/// A candidate. Tells through `leads` whether the loops may run.
pub struct Candidate {
    client: Arc<dyn Client>,
    election: Election,
    leads: watch::Sender<bool>,
}

impl Candidate {
    /// `host` is what people recognise the server by; what is added makes it the only one of that name.
    pub fn new(client: Arc<dyn Client>, host: &str, leads: watch::Sender<bool>) -> Self {
        let me = format!("{host}_{}", uuid::Uuid::new_v4());
        Self { client, election: Election::new(me, Instant::now()), leads }
    }

    /// Runs until `stop` is raised, then gives the lease back.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut renewed: Option<Instant> = None;
        loop {
            let asked = Instant::now();
            let limit = renewed.map_or(RENEW_DEADLINE, |at| (at + RENEW_DEADLINE).saturating_duration_since(asked));
            let attempt = tokio::select! {
                attempt = tokio::time::timeout(limit, self.attempt()) => attempt,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match attempt {
                Ok(Ok(true)) => renewed = Some(asked),
                Ok(Ok(false)) => renewed = None,
                Ok(Err(why)) => tracing::debug!(%why, "the lease was not renewed"),
                Err(_) => {}
            }
            renewed = renewed.filter(|at| at.elapsed() < RENEW_DEADLINE);
            self.tell(renewed.is_some());
            let pause = match renewed {
                Some(at) => (at + RENEW_DEADLINE).saturating_duration_since(Instant::now()).min(RETRY_PERIOD),
                None => RETRY_PERIOD.mul_f64(rand::rng().random_range(1.0..JITTER)),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        let led = *self.leads.borrow();
        self.tell(false);
        if led && let Err(why) = self.give_back().await {
            tracing::debug!(%why, "the lease was not given back; it will expire");
        }
    }

    fn tell(&self, leads: bool) {
        let changed = self.leads.send_if_modified(|now| std::mem::replace(now, leads) != leads);
        if changed {
            tracing::info!(lease = NAME, identity = self.election.me, leads, "leadership changed");
        }
    }

    /// Whether this candidate holds the lease now.
    async fn attempt(&mut self) -> Result<bool, Status> {
        let lease = self.read().await?;
        let time = now();
        let written = match self.election.step(lease.as_ref(), Instant::now(), &time) {
            Step::Wait => return Ok(false),
            Step::Create(spec) => {
                let lease = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NAME, "namespace": NAMESPACE}, "spec": spec,
                });
                self.client.create(&Target::collection(LEASES, Some(NAMESPACE)), lease, &WriteOptions::default()).await
            }
            Step::Update(spec) => self.update(lease.unwrap_or_default(), spec).await,
        };
        match written {
            Ok(_) => Ok(true),
            // Somebody was faster.
            Err(lost) if lost.is(Reason::Conflict) || lost.is(Reason::AlreadyExists) => Ok(false),
            Err(other) => Err(other),
        }
    }

    async fn read(&self) -> Result<Option<Object>, Status> {
        match self.client.get(&target()).await {
            Ok(served) => served.parse().map(Some),
            Err(none) if none.is(Reason::NotFound) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// On the condition that the lease is as it was read.
    async fn update(&self, mut lease: Object, spec: Value) -> Result<pintle_api::client::Served, Status> {
        lease.set_at(&["spec"], spec);
        self.client.update(&target(), lease, &WriteOptions::default()).await
    }

    async fn give_back(&self) -> Result<(), Status> {
        let Some(lease) = self.read().await?.filter(|l| l.str_at(&["spec", "holderIdentity"]) == self.election.me) else { return Ok(()) };
        let time = now();
        let spec = json!({
            "holderIdentity": "", "leaseDurationSeconds": 1, "acquireTime": time, "renewTime": time,
            "leaseTransitions": lease.i64_at(&["spec", "leaseTransitions"]).unwrap_or(0),
        });
        self.update(lease, spec).await.map(drop)
    }
}

fn target() -> Target {
    Target::object(LEASES, Some(NAMESPACE), NAME)
}

/// As a `MicroTime` is written.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, renewed: &str, transitions: i64) -> Object {
        json!({"spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "acquireTime": "a", "renewTime": renewed, "leaseTransitions": transitions}})
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_taken_when_it_is_free_or_was_not_renewed_for_its_whole_duration() {
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let spec = |l: Object| l["spec"].clone();
        let mut me = Election::new("me".into(), start);
        let mut created = lease("me", "t", 0);
        created["spec"]["acquireTime"] = json!("t");
        assert_eq!(me.step(None, start, "t"), Step::Create(spec(created)));

        assert_eq!(me.step(Some(&lease("other", "1", 3)), after(0), "t"), Step::Wait);
        assert_eq!(me.step(Some(&lease("other", "1", 3)), after(14), "t"), Step::Wait);
        assert_eq!(me.step(Some(&lease("other", "2", 3)), after(15), "t"), Step::Wait, "it was renewed");
        assert_eq!(me.step(Some(&lease("other", "2", 3)), after(29), "t"), Step::Wait);
        let mut taken = lease("me", "t", 4);
        taken["spec"]["acquireTime"] = json!("t");
        assert_eq!(me.step(Some(&lease("other", "2", 3)), after(30), "t"), Step::Update(spec(taken.clone())));
        assert_eq!(me.step(Some(&lease("", "3", 3)), after(31), "t"), Step::Update(spec(taken)), "it was given back");
        assert_eq!(me.step(Some(&lease("me", "4", 4)), after(32), "t"), Step::Update(spec(lease("me", "t", 4))), "renewed, not acquired anew");
    }
}
