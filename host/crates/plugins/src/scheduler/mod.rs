//! Runs scheduler components: the queue of pods without a node, the cluster as the components are fed it, assuming, binding.
//!
//! One driver for each scheduler name, whichever plugin serves it. The component decides; the driver checks each decision against what
//! it knows before it binds. A new plugin or revision is fed everything and takes over between two decisions. Called by the manager.

mod amounts;
mod cluster;
mod commit;
mod compare;
mod decider;
mod desk;
mod driver;
mod inbox;
mod members;
mod message;
mod nodespec;
mod nursery;
mod older;
mod pairs;
mod podspec;
mod queue;
mod shadow;
mod spare;
mod spread;
mod storage;
mod understudy;
pub mod versions;
mod volumes;
mod weigh;
mod wish;

#[cfg(test)]
mod placement;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pintle_api::GroupVersionResource;
use tokio::sync::watch;

use self::versions::{Exports, Linked, link};
use crate::grants::allows;
use crate::guest::{self, Fault, Guest, HostState};
use crate::load::{LoadError, World};
use crate::plugin::{Metadata, ProfileRole, ProfileSpec};
use crate::revision::Revision;
use crate::seats::{Rank, Seats};
use crate::shared::Shared;
use crate::stages::Trial;

/// For one decision. Generous, for it runs on the wall's clock and the machine may be busy; slow ones are logged.
pub const DEADLINE: Duration = Duration::from_secs(1);

/// Extenders of one scheduler name that are asked, the oldest first; the others stand by. Each costs a call for every pod.
const MAX_EXTENDERS: usize = 8;

/// A new revision that is not fed by then is called live all the same: it decides as soon as it is.
pub const HANDOVER: Duration = Duration::from_secs(10);

pub type Instance = Guest<(), Exports>;

/// A revision that is linked and took its configuration.
pub struct Prepared {
    seat: Seat,
}

pub struct Holder {
    pub revision: Arc<Revision>,
    linked: Linked,
}

/// Whose pods a plugin places, and its turn among those that would.
#[derive(Clone)]
pub struct Seat {
    /// Names; each has a driver of its own.
    schedulers: Vec<Arc<str>>,
    rank: Rank,
    profile: ProfileSpec,
    live: Arc<Holder>,
}

/// Who sits in a seat: the live revision, and a candidate beside it.
pub struct Team {
    live: Arc<Holder>,
    weight: u32,
    trial: Option<Arc<Trial<Arc<Holder>>>>,
    /// Whether it decides, or failed before it could.
    took_over: watch::Sender<bool>,
}

/// A component that has a say in another one's decisions.
pub struct Extender {
    holder: Arc<Holder>,
    weight: u32,
    ignorable: bool,
    trial: Option<Arc<Trial<Arc<Holder>>>>,
}

pub type Extenders = Arc<[Arc<Extender>]>;

/// The drivers by scheduler name; one that was started stays, and waits when no plugin serves.
#[derive(Default)]
pub struct Schedulers(Mutex<HashMap<Arc<str>, Arc<Profile>>>);

/// Who has to do with a scheduler name: those that would decide, of whom one does, and its extenders.
#[derive(Default)]
struct Profile {
    seats: Seats<Team>,
    extenders: Mutex<BTreeMap<Rank, Arc<Extender>>>,
    asked: watch::Sender<Extenders>,
}

impl Schedulers {
    pub fn leave(&self, seat: &Seat) {
        seat.schedulers.iter().for_each(|scheduler| self.leave_one(seat, scheduler));
    }

    /// The same plugin sits elsewhere now: it leaves where the new seat is not.
    pub fn succeed(&self, old: &Seat, new: &Seat) {
        let stays = |scheduler: &Arc<str>| old.rank == new.rank && old.profile.role == new.profile.role && new.schedulers.contains(scheduler);
        old.schedulers.iter().filter(|s| !stays(s)).for_each(|scheduler| self.leave_one(old, scheduler));
    }

    fn leave_one(&self, seat: &Seat, scheduler: &str) {
        if let Some(profile) = self.profile(scheduler) {
            match seat.profile.role {
                ProfileRole::Primary => profile.seats.leave(&seat.rank),
                ProfileRole::Extender => profile.change_extenders(|all| drop(all.remove(&seat.rank))),
            }
        }
    }

    /// It has a say somewhere.
    pub fn is_serving(&self, seat: &Seat) -> bool {
        let mut profiles = seat.schedulers.iter().filter_map(|scheduler| self.profile(scheduler));
        profiles.any(|profile| match seat.profile.role {
            ProfileRole::Primary => profile.seats.serves(&seat.rank),
            ProfileRole::Extender => profile.asked.borrow().iter().any(|e| Arc::ptr_eq(&e.holder, &seat.live)),
        })
    }

    /// Puts a candidate beside the live revision, or takes it away.
    pub fn set_trial(&self, seat: &Seat, trial: Option<Trial<Arc<Holder>>>) {
        let trial = trial.map(Arc::new);
        for profile in seat.schedulers.iter().filter_map(|scheduler| self.profile(scheduler)) {
            match seat.profile.role {
                ProfileRole::Primary => profile.seats.take(seat.rank.clone(), Team::new(seat, trial.clone())),
                ProfileRole::Extender => profile.change_extenders(|all| drop(all.insert(seat.rank.clone(), Extender::new(seat, trial.clone())))),
            }
        }
    }

    fn profile(&self, scheduler: &str) -> Option<Arc<Profile>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).get(scheduler).cloned()
    }
}

pub async fn prepare(revision: Arc<Revision>, schedulers: &[&str], profile: &ProfileSpec, meta: &Metadata) -> Result<Prepared, LoadError> {
    require_grants(&revision, profile.role)?;
    let linked = link(&revision.machine, &revision.loaded).map_err(|e| LoadError::Mismatch(World::Scheduler, format!("{e:#}")))?;
    let rank = Rank { created: meta.creation_timestamp.clone(), plugin: revision.plugin.clone() };
    let holder = Arc::new(Holder { revision, linked });
    holder.instantiate().await?;
    let schedulers = schedulers.iter().map(|name| Arc::from(*name)).collect();
    Ok(Prepared { seat: Seat { schedulers, rank, profile: profile.clone(), live: holder } })
}

impl Prepared {
    /// The seat, and what becomes true when it decides, for each scheduler name whose turn is its.
    pub fn take_seat(self, shared: &Arc<Shared>) -> (Seat, Vec<watch::Receiver<bool>>) {
        let Self { seat } = self;
        let mut drivers = shared.schedulers.0.lock().unwrap_or_else(|e| e.into_inner());
        let took_over = seat.schedulers.iter().filter_map(|scheduler| {
            let profile = drivers.entry(scheduler.clone()).or_insert_with(|| {
                let profile = Arc::new(Profile::default());
                let (serving, extenders) = (profile.seats.serving(), profile.asked.subscribe());
                tokio::spawn(driver::drive(Arc::downgrade(shared), scheduler.clone(), serving, extenders));
                profile
            });
            profile.seat(&seat)
        });
        let took_over = took_over.collect();
        drop(drivers);
        (seat, took_over)
    }
}

impl Prepared {
    /// What runs a candidate.
    pub fn into_holder(self) -> Arc<Holder> {
        self.seat.live
    }
}

impl Team {
    fn new(seat: &Seat, trial: Option<Arc<Trial<Arc<Holder>>>>) -> Arc<Self> {
        Arc::new(Self { live: seat.live.clone(), weight: seat.weight(), trial, took_over: watch::Sender::new(false) })
    }

    pub fn takes_over(&self) {
        self.took_over.send_replace(true);
    }
}

impl Extender {
    fn new(seat: &Seat, trial: Option<Arc<Trial<Arc<Holder>>>>) -> Arc<Self> {
        Arc::new(Self { holder: seat.live.clone(), weight: seat.weight(), ignorable: seat.profile.ignorable, trial })
    }
}

impl Seat {
    fn weight(&self) -> u32 {
        self.profile.weight.unwrap_or(1)
    }
}

impl Profile {
    /// What becomes true when it decides; an extender is asked once it is fed, and nobody waits for its turn.
    fn seat(&self, seat: &Seat) -> Option<watch::Receiver<bool>> {
        match seat.profile.role {
            ProfileRole::Primary => {
                let team = Team::new(seat, None);
                let took_over = team.took_over.subscribe();
                self.seats.take(seat.rank.clone(), team);
                self.seats.serves(&seat.rank).then_some(took_over)
            }
            ProfileRole::Extender => {
                self.change_extenders(|all| drop(all.insert(seat.rank.clone(), Extender::new(seat, None))));
                None
            }
        }
    }

    fn change_extenders(&self, change: impl FnOnce(&mut BTreeMap<Rank, Arc<Extender>>)) {
        let mut all = self.extenders.lock().unwrap_or_else(|e| e.into_inner());
        change(&mut all);
        self.asked.send_replace(all.values().take(MAX_EXTENDERS).cloned().collect());
    }
}

impl Holder {
    /// A fresh instance, configured and not fed.
    pub async fn instantiate(&self) -> Result<Instance, LoadError> {
        let start = |fault: Fault| LoadError::Start(fault.to_string());
        let Revision { config, log, limits, machine, meter, .. } = &*self.revision;
        let mut store = HostState::new((), config.clone(), log.clone(), *limits).metered(meter).into_store(machine);
        let call = guest::begin(machine, &mut store, limits.deadline);
        let exports = self.linked.instantiate_async(&mut store).await;
        let exports = guest::end(&store, call, exports).map_err(start)?;
        let mut instance = Guest::new(machine, store, exports);
        let call = instance.begin(limits.deadline);
        let answer = instance.exports.call_configure(&mut instance.store, config).await;
        instance.end(call, answer).map_err(start)?.map_err(LoadError::Configuration)?;
        Ok(instance)
    }
}

/// What the driver does on the component's behalf. An extender is shown the cluster and writes nothing.
fn require_grants(revision: &Revision, role: ProfileRole) -> Result<(), LoadError> {
    let needed: [(&'static str, &'static str, &str); 4] =
        [("list", "nodes", ""), ("list", "pods", ""), ("create", "pods", "binding"), ("patch", "pods", "status")];
    let needed = if role == ProfileRole::Extender { &needed[..2] } else { &needed };
    for &(verb, resource, subresource) in needed {
        if !allows(&revision.grants, verb, &GroupVersionResource::constant("", "v1", resource), subresource, "") {
            let resource = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
            return Err(LoadError::MissingGrant { verb, resource, why: "scheduling needs".to_owned() });
        }
    }
    Ok(())
}
