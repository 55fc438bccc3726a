//! Runs an ingress controller: gathers what it compiles, hands the route table to the data plane, writes the Ingresses' status.
//!
//! Changes are gathered for a moment before they are compiled. A compilation that fails, traps or is refused leaves the table before in
//! force. One ingress plugin serves at a time, the newest. A candidate's table is compared with the live one's ([`compare`]), or the routes
//! of a share of the Ingresses come from it ([`merge`]). Called by the manager; the data plane reads [`crate::Handle::routes`].

mod compare;
mod merge;
mod publish;
mod trial;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pintle_api::GroupVersionResource;
pub use pintle_plugin_bindings::ingress::pintle::ingress::types::{self, RouteTable};
use pintle_plugin_bindings::ingress::{Ingress, IngressPre};
use tokio::sync::Notify;
use tokio::time::Instant;
use wasmtime::component::{Component, HasSelf};

use crate::decisions::{Log, Stream};
use crate::engine::Machine;
use crate::grants::allows;
use crate::guest::{self, Fault, Guest, HostState};
use crate::index::{Entry, Informer, Listener, Subject};
use crate::load::{LoadError, World};
use crate::plugin::Metadata;
use crate::revision::Revision;
use crate::seats::{Rank, Seats};
use crate::shared::Shared;
use crate::stages::Trial;
use crate::stages::spec::Stage;
use trial::Candidate;

/// For one compilation of everything.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// Changes are gathered for so long after the first one.
const GATHER: Duration = Duration::from_millis(30);
/// Compilations begin at most so often, so that a rollout does not keep a core busy.
const PACE: Duration = Duration::from_millis(200);
/// An instance that had nothing to compile for so long is dropped with its memory.
const IDLE: Duration = Duration::from_secs(60);
/// A failed compilation is tried again after so long, even if nothing changes.
const RETRY: Duration = Duration::from_secs(5);

const fn core(name: &'static str) -> GroupVersionResource {
    GroupVersionResource::constant("", "v1", name)
}
const fn networking(name: &'static str) -> GroupVersionResource {
    GroupVersionResource::constant("networking.k8s.io", "v1", name)
}

/// What the world is fed, by kind.
static INPUTS: [(&str, GroupVersionResource); 5] = [
    ("Ingress", networking("ingresses")),
    ("IngressClass", networking("ingressclasses")),
    ("Service", core("services")),
    ("EndpointSlice", GroupVersionResource::constant("discovery.k8s.io", "v1", "endpointslices")),
    ("Secret", core("secrets")),
];

type Instance = Guest<(), Ingress>;

/// A table without routes: everything is 404.
pub fn empty_table() -> RouteTable {
    RouteTable { hosts: Vec::new(), backends: Vec::new(), certificates: Vec::new(), fallback: None, served: Vec::new(), problems: Vec::new() }
}

pub struct Prepared {
    rank: Rank,
    holder: Arc<Holder>,
}

pub struct Holder {
    revision: Arc<Revision>,
    /// Opened when it compiles for the first time.
    decisions: OnceLock<Stream>,
    exports: IngressPre<HostState<()>>,
}

pub struct Seat {
    rank: Rank,
    live: Arc<Holder>,
}

/// The live revision, and a candidate beside it.
struct Team {
    live: Arc<Holder>,
    trial: Option<Arc<Trial<Arc<Holder>>>>,
}

#[derive(Default)]
pub struct Ingresses {
    seats: Seats<Team>,
    driven: AtomicBool,
}

impl Ingresses {
    pub fn leave(&self, seat: &Seat) {
        self.seats.leave(&seat.rank);
    }
    pub fn is_serving(&self, seat: &Seat) -> bool {
        self.seats.serves(&seat.rank)
    }
    /// Puts a candidate beside the live revision, or takes it away.
    pub fn set_trial(&self, seat: &Seat, trial: Option<Trial<Arc<Holder>>>) {
        self.seats.take(seat.rank.clone(), Arc::new(Team { live: seat.live.clone(), trial: trial.map(Arc::new) }));
    }
}

pub async fn prepare(revision: Arc<Revision>, meta: &Metadata) -> Result<Prepared, LoadError> {
    for (_, resource) in &INPUTS {
        if !allows(&revision.grants, "list", resource, "", "") {
            return Err(LoadError::MissingGrant { verb: "list", resource: resource.to_string(), why: "it compiles".to_owned() });
        }
    }
    let exports = link(&revision.machine, &revision.loaded.component).map_err(|e| LoadError::Mismatch(World::Ingress, format!("{e:#}")))?;
    let holder = Arc::new(Holder { revision, exports, decisions: OnceLock::new() });
    instantiate(&holder).await.map_err(|f| LoadError::Start(f.to_string()))?;
    let rank = Rank { created: meta.creation_timestamp.clone(), plugin: holder.revision.plugin.clone() };
    Ok(Prepared { rank, holder })
}

pub fn link(machine: &Machine, component: &Component) -> wasmtime::Result<IngressPre<HostState<()>>> {
    let mut linker = guest::linker::<()>(machine, component)?;
    types::add_to_linker::<_, HasSelf<HostState<()>>>(&mut linker, |state| state)?;
    IngressPre::new(linker.instantiate_pre(component)?)
}

impl types::Host for HostState<()> {}

impl Prepared {
    pub fn take_seat(self, shared: &Arc<Shared>) -> Seat {
        let seats = &shared.ingresses;
        seats.seats.take(self.rank.clone(), Arc::new(Team { live: self.holder.clone(), trial: None }));
        if !seats.driven.swap(true, Ordering::AcqRel) {
            // Weak, for the driver lives as long as somebody else holds the shared parts.
            tokio::spawn(drive(Arc::downgrade(shared)));
        }
        Seat { rank: self.rank, live: self.holder }
    }

    /// What runs a candidate.
    pub fn into_holder(self) -> Arc<Holder> {
        self.holder
    }
}

async fn instantiate(holder: &Holder) -> Result<Instance, Fault> {
    let Revision { config, log, limits, machine, meter, .. } = &*holder.revision;
    let mut store = HostState::new((), config.clone(), log.clone(), *limits).metered(meter).into_store(machine);
    let call = guest::begin(machine, &mut store, limits.deadline);
    let exports = holder.exports.instantiate_async(&mut store).await;
    let exports = guest::end(&store, call, exports)?;
    Ok(Guest::new(machine, store, exports))
}

struct Dirty(Arc<Notify>);

impl Listener for Dirty {
    fn changed(&self, _: usize, _: Option<&Arc<Entry>>, _: Option<&Arc<Entry>>) {
        self.0.notify_one();
    }
}

async fn drive(weak: std::sync::Weak<Shared>) {
    let Some(shared) = weak.upgrade() else { return };
    let informers: Vec<(&str, Arc<Informer>)> =
        INPUTS.iter().map(|(kind, resource)| (*kind, shared.informers.informer(&Subject::all(resource.clone())))).collect();
    let mut serving = shared.ingresses.seats.serving();
    drop(shared);
    let dirty = Arc::new(Notify::new());
    let listener: Arc<dyn Listener> = Arc::new(Dirty(dirty.clone()));
    for (_, informer) in &informers {
        informer.synced().await;
        informer.subscribe(0, &listener);
    }
    let mut publisher = publish::Publisher::default();
    let mut instance: Option<(Arc<Holder>, Instance)> = None;
    let mut candidate: Option<Candidate> = None;
    dirty.notify_one();
    let mut retry = None;
    loop {
        tokio::select! {
            () = dirty.notified() => tokio::time::sleep(GATHER).await,
            changed = serving.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {}
            () = tokio::time::sleep(IDLE), if instance.is_some() => {
                instance = None;
                candidate.iter_mut().for_each(Candidate::rest);
                continue;
            }
        }
        let Some(shared) = weak.upgrade() else { return };
        let team = serving.borrow_and_update().clone();
        let Some(team) = team else {
            // No ingress plugin, no routes.
            shared.routes.send_replace(Arc::new(empty_table()));
            (instance, candidate) = (None, None);
            continue;
        };
        Candidate::follow(&mut candidate, team.trial.as_ref());
        let begun = Instant::now();
        let inputs = gather(&informers);
        match compile(&team.live, &mut instance, &inputs, Some(&shared.decisions)).await {
            Ok(table) => {
                retry = None;
                let (ingresses, revision) = (&informers[0].1, &team.live.revision);
                match &mut candidate {
                    Some(canary) if canary.stage() == Stage::Canary => {
                        let table = canary.take_part(table, &inputs, &shared.decisions).await;
                        publisher.publish(&shared, revision, table, ingresses).await;
                    }
                    Some(shadow) => {
                        publisher.publish(&shared, revision, table.clone(), ingresses).await;
                        shadow.look_on(&table, &inputs).await;
                    }
                    None => publisher.publish(&shared, revision, table, ingresses).await,
                }
            }
            Err(_) => retry = Some(Instant::now() + RETRY),
        }
        drop(shared);
        tokio::time::sleep_until(begun + PACE).await;
    }
}

/// Why there is no table.
pub enum NoTable {
    /// The component's own word: the objects are refused as they are.
    Refused(String),
    Fault(Fault),
}

/// What a compilation is made of.
struct Inputs<'a> {
    entries: Vec<(&'a str, Arc<Entry>)>,
    objects: Vec<types::Object>,
}

/// With a log the decision is written down: a shadow's is none.
async fn compile(
    holder: &Arc<Holder>,
    kept: &mut Option<(Arc<Holder>, Instance)>,
    inputs: &Inputs<'_>,
    log: Option<&Log>,
) -> Result<RouteTable, NoTable> {
    let Revision { log: lines, health, limits, meter, .. } = &*holder.revision;
    let fault = |what: &str, fault: Fault| {
        lines.write("error", &format!("{what}: {fault}"));
        health.failed(&fault);
        NoTable::Fault(fault)
    };
    let mut instance = match kept.take() {
        Some((of, instance)) if Arc::ptr_eq(&of, holder) => instance,
        _ => instantiate(holder).await.map_err(|f| fault("instantiate", f))?,
    };
    let begun = Instant::now();
    instance.store.data_mut().tape.start();
    let call = instance.begin(limits.deadline);
    let answer = instance.exports.call_compile(&mut instance.store, &inputs.objects).await;
    let answer = instance.end(call, answer);
    let recording = instance.store.data_mut().tape.stop();
    if let Some(log) = log {
        let stream = holder.decisions.get_or_init(|| log.open(&holder.revision, ""));
        stream.compiled(&inputs.entries, begun.elapsed(), recording, &answer);
    }
    let answer = answer.map_err(|f| fault("compile", f))?;
    health.returned();
    *kept = Some((holder.clone(), instance));
    answer.map_err(|why| {
        // One bad object refuses everything: it says nothing of the revision's health.
        lines.write("warn", &format!("the change is refused, the table before stays: {why}"));
        meter.failed();
        NoTable::Refused(why)
    })
}

fn gather<'a>(informers: &[(&'a str, Arc<Informer>)]) -> Inputs<'a> {
    let entries: Vec<_> = informers.iter().flat_map(|(kind, informer)| informer.all().into_iter().map(|entry| (*kind, entry))).collect();
    let objects = entries.iter().map(|(kind, e)| types::Object { kind: (*kind).to_owned(), json: e.json.to_vec() }).collect();
    Inputs { entries, objects }
}

/// `namespace/name` to entry.
fn by_path(entries: &[Arc<Entry>]) -> BTreeMap<String, &Arc<Entry>> {
    entries.iter().map(|e| (format!("{}/{}", e.meta.namespace, e.meta.name), e)).collect()
}
