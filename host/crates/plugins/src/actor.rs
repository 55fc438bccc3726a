//! One plugin's life: what the Plugin object asks for, against what runs.
//!
//! A new revision is loaded, checked, linked and warmed beside the running one and takes over only when all of that went well; what goes
//! wrong is a condition on the object, and the running one stays. A revision that keeps failing gives way to the one before it. Called by
//! the manager; ends when the object is gone.

use std::sync::Arc;
use std::time::Duration;

use pintle_api::client::{Patch, Target, WriteOptions};
use pintle_api::quantity::Quantity;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::admission;
use crate::controller;
use crate::driver::{Prepared, Running};
use crate::events::{Event, Regarding};
use crate::guest::{DEFAULT_MEMORY_BYTES, Limits, PluginLog};
use crate::index::Entry;
use crate::load::{LoadError, World, load};
use crate::loader;
use crate::plugin::{API_VERSION, AdmissionStatus, Condition, KIND, MAX_REVISIONS, Metadata, PLUGINS, Plugin, RevisionStatus, Spec, Status};
use crate::revision::{Health, Revision, State};
use crate::scheduler;
use crate::shared::{Shared, raised};
use crate::source::Fetched;
use crate::stages::candidate::{Active, TICK};
use crate::stages::peers::Ledger;
use crate::stages::spec::{Candidate, LastRollback, Stage};
use crate::throttle::{Throttle, WRITES_PER_SECOND};

/// How often counters are written, when they changed.
const COUNTERS: Duration = Duration::from_secs(60);
/// How soon a load is tried again whose fault may pass.
const RETRY: Duration = Duration::from_secs(15);
/// The least and the most memory that an instance may be given.
const MEMORY_RANGE: std::ops::RangeInclusive<usize> = (1 << 20)..=(4 << 30);
/// Instances of one controller or admission policy.
const MAX_INSTANCES: u32 = 16;

/// What [`crate::stages::candidate`] sees, it continues this.
pub struct Actor {
    pub shared: Arc<Shared>,
    pub name: Arc<str>,
    log: Arc<PluginLog>,
    pub desired: watch::Receiver<Option<Arc<Entry>>>,
    pub meta: Metadata,
    /// The last spec that was acted upon, whether it worked or not.
    pub seen: Option<Spec>,
    pub live: Option<(Arc<Revision>, Running)>,
    /// What ran before and would take over.
    previous: Option<Spec>,
    pub live_spec: Option<Spec>,
    /// The last candidate that was acted upon, and the one at work.
    pub tried: Option<Candidate>,
    pub candidate: Option<Active>,
    pub status: Status,
    written: Status,
    pub retry_at: Option<Instant>,
    /// The live revision's health as the conditions have it.
    told: State,
    writes: Arc<Throttle>,
    /// Whether the conditions say that writes are held back.
    told_held_back: bool,
    pub ledger: Ledger,
}

impl Actor {
    pub fn new(shared: Arc<Shared>, name: Arc<str>, log: Arc<PluginLog>, desired: watch::Receiver<Option<Arc<Entry>>>) -> Self {
        Self {
            shared,
            name,
            log,
            desired,
            meta: Metadata::default(),
            seen: None,
            live: None,
            previous: None,
            live_spec: None,
            tried: None,
            candidate: None,
            status: Status::default(),
            written: Status::default(),
            retry_at: None,
            told: State::Good,
            writes: Arc::default(),
            told_held_back: false,
            ledger: Ledger::default(),
        }
    }

    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut counters = tokio::time::interval_at(Instant::now() + COUNTERS, COUNTERS);
        let mut candidate = tokio::time::interval(TICK);
        candidate.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.desired.mark_changed();
        loop {
            let mut held_back = self.writes.held_back();
            let mut health = self.live.as_ref().map(|(revision, _)| revision.health.state());
            let mut trial = self.candidate.as_ref().map(Active::follow);
            tokio::select! {
                changed = self.desired.changed() => {
                    let entry = self.desired.borrow_and_update().clone();
                    match entry {
                        // Loading may take long; nothing is worth finishing when the process ends.
                        Some(entry) if changed.is_ok() => tokio::select! {
                            () = self.adopt(&entry) => {}
                            () = raised(&mut stop) => break,
                        },
                        _ => break,
                    }
                }
                state = turned(&mut health, self.told) => self.health_changed(state).await,
                () = Active::news(&mut trial) => self.look_at_candidate().await,
                _ = candidate.tick(), if self.candidate.is_some() => self.look_at_candidate().await,
                held = flipped(&mut held_back, self.told_held_back) => self.tell_held_back(held),
                () = until(self.retry_at) => {
                    self.retry_at = None;
                    match self.failed_candidate() {
                        true => self.tried = None,
                        false => self.seen = None,
                    }
                    self.desired.mark_changed();
                }
                _ = counters.tick() => {
                    self.count();
                    self.writes.look();
                }
                () = raised(&mut stop) => break,
            }
            self.write_status().await;
            self.write_sums().await;
        }
        self.drop_candidate();
        self.stop_live().await;
    }

    /// The object changed, perhaps only its status.
    async fn adopt(&mut self, entry: &Entry) {
        let plugin: Plugin = match serde_json::from_slice(&entry.json) {
            Ok(plugin) => plugin,
            Err(error) => return tracing::error!(plugin = %self.name, %error, "a Plugin that cannot be read"),
        };
        let mut status = plugin.status;
        self.ledger.entries = std::mem::take(&mut status.candidate_by_server);
        if self.meta.uid != plugin.metadata.uid {
            self.status = status.clone();
            self.status.stage = String::new();
            self.written = status;
        }
        self.meta = plugin.metadata;
        let candidate = plugin.spec.candidate.clone();
        if self.seen.as_ref() == Some(&plugin.spec) && self.tried == candidate {
            return;
        }
        let before = self.seen.replace(plugin.spec.clone());
        self.retry_at = None;
        let known = std::mem::replace(&mut self.status.observed_generation, self.meta.generation) == self.meta.generation;
        if self.meta.deletion_timestamp.is_some() || plugin.spec.paused {
            self.tried = candidate;
            self.drop_candidate();
            if let Some(candidate) = &mut self.status.candidate {
                candidate.stage = "Paused".to_owned();
            }
            return self.pause().await;
        }
        let spec = plugin.spec.without_candidate();
        let renewed = before.map(Spec::without_candidate).as_ref() != Some(&spec);
        if renewed {
            // It is the live revision's companion: the next one gets its own.
            self.drop_candidate();
            match self.given_up(&spec).filter(|_| known && self.live.is_none()) {
                Some(other) => self.replace_quietly(other).await,
                None => self.replace(spec).await,
            }
        } else {
            // What was found of the live revision holds for the new generation as well.
            self.status.conditions.iter_mut().for_each(|c| c.observed_generation = self.meta.generation);
        }
        if renewed || self.tried != candidate {
            let tried = std::mem::replace(&mut self.tried, candidate.clone());
            self.try_candidate(candidate, tried, known).await;
        }
    }

    async fn pause(&mut self) {
        self.stop_live().await;
        self.live_spec = None;
        self.status.stage = "Paused".to_owned();
        self.set("Ready", false, "Paused", "the plugin is paused");
        self.set("Degraded", false, "Paused", "");
    }

    async fn replace(&mut self, spec: Spec) {
        match self.make_live(&spec).await {
            Ok(revision) => {
                self.set("Degraded", false, "AsExpected", "");
                let message = format!("revision {} ({}) is live", revision.number, short(&revision.loaded.digest));
                self.event("Normal", "Live", &message);
            }
            Err(error) => self.refuse(&error),
        }
    }

    /// After a restart: what was rolled back before stays so until the spec changes.
    async fn replace_quietly(&mut self, spec: Spec) {
        if let Err(error) = self.make_live(&spec).await {
            self.refuse(&error);
        }
    }

    /// The spec of the revision that took over when this generation of the spec was rolled back.
    fn given_up(&self, spec: &Spec) -> Option<Spec> {
        let rollback = self.status.last_rollback.as_ref().filter(|r| r.generation == self.meta.generation)?;
        let to = self.status.revisions.iter().find(|r| r.revision == rollback.to_revision)?;
        Some(spec.clone().with(to))
    }

    /// Loads the spec's revision, warms it, and puts it in the place of the running one.
    async fn make_live(&mut self, spec: &Spec) -> Result<Arc<Revision>, LoadError> {
        let revision = self.load(spec, Stage::Live).await?;
        let prepared = Prepared::prepare(&self.shared, revision.clone(), spec, &self.meta).await?;
        let rules = prepared.admission_rules().map(|rules| AdmissionStatus { rules: rules.to_vec() });
        let old = self.live.take();
        if let (Some((old, _)), Some(old_spec)) = (&old, self.live_spec.take())
            && (old.loaded.digest != revision.loaded.digest || old.config != revision.config)
        {
            self.previous = Some(old_spec);
        }
        let running = prepared.start(&self.shared, old.map(|(_, running)| running)).await;
        self.live = Some((revision.clone(), running));
        self.told = State::Good;
        self.live_spec = Some(spec.clone());
        self.status.admission = rules;
        self.record(&revision, spec);
        Ok(revision)
    }

    pub async fn load(&self, spec: &Spec, stage: Stage) -> Result<Arc<Revision>, LoadError> {
        let limits = limits(spec)?;
        let Fetched { bytes, digest, resolved, keys } = self.shared.sources.fetch(spec, self.status.source.as_ref()).await?;
        let components = self.shared.sources.folder.clone();
        // A shadow decides nothing that anybody would go back to, and an author makes one with each save; what was fetched is kept anyway.
        let (source, world) = (&spec.source, spec.world);
        let fetched = source.https.is_some() || source.oci.is_some();
        let kept = fetched || source.embedded.is_empty() && source.digest.is_empty() && stage != Stage::Shadow;
        let machine = match stage {
            Stage::Shadow => self.shared.shadow_machine().map_err(|e| LoadError::Start(e.to_string()))?,
            Stage::Canary | Stage::Live => self.shared.machine.clone(),
        };
        let engine = machine.clone();
        let work = move || {
            let loaded = load(&engine, &bytes, world)?;
            if kept {
                components.keep(&bytes, &loaded.digest, &keys).map_err(|e| LoadError::Source(format!("cannot be kept: {e}")))?;
            }
            Ok(loaded)
        };
        let compiled = machine.clone();
        let loaded = match loader::run(move || if compiled.is_compiled(&digest) { Ok(work()) } else { Err(Box::new(work)) }).await? {
            Ok(loaded) => loaded?,
            // The loader's thread has others to serve.
            Err(work) => tokio::task::spawn_blocking(work).await.map_err(|e| LoadError::Start(e.to_string()))??,
        };
        Ok(Arc::new(Revision {
            plugin: self.name.clone(),
            number: self.number_of(&loaded.digest, &spec.config),
            loaded,
            machine,
            meter: self.shared.metrics.meter(&self.name, stage),
            config: spec.config.as_str().into(),
            limits,
            instances: spec.limits.instances.unwrap_or(default_instances(spec.world)).clamp(1, MAX_INSTANCES),
            grants: spec.grants.as_slice().into(),
            source: resolved,
            log: self.log.clone(),
            writes: self.writes.clone(),
            health: Health::new(&spec.rollback),
        }))
    }

    /// The number that these bytes and this configuration have already, or the next.
    fn number_of(&self, digest: &str, config: &str) -> i64 {
        let known = self.status.revisions.iter().find(|r| r.digest == digest && r.config == config);
        let next = || self.status.revisions.iter().map(|r| r.revision).max().unwrap_or_default() + 1;
        known.map_or_else(next, |r| r.revision)
    }

    fn record(&mut self, revision: &Revision, spec: &Spec) {
        let digest = revision.loaded.digest.to_string();
        let (status, number) = (&mut self.status, revision.number);
        // A rollback keeps it: going forward again must find the same bytes under a tag.
        if spec.source.digest.is_empty() {
            status.source = revision.source.clone();
        }
        (status.active_revision, status.active_digest) = (number, digest.clone());
        status.contract = revision.loaded.contract.to_string();
        if !status.revisions.iter().any(|r| r.revision == number) {
            status.revisions.push(RevisionStatus { revision: number, digest, time: crate::events::time(), config: spec.config.clone() });
        }
        if status.revisions.len() > MAX_REVISIONS {
            let dropped = status.revisions.remove(0);
            if !status.revisions.iter().any(|r| r.digest == dropped.digest) {
                self.shared.sources.folder.forget(&dropped.digest);
            }
        }
        self.status.stage = "Live".to_owned();
        self.set("Loaded", true, "Loaded", &format!("revision {number}"));
        self.set("Ready", true, "Live", "");
    }

    /// What was asked for cannot be had; what runs goes on.
    fn refuse(&mut self, error: &LoadError) {
        let message = error.to_string();
        self.log.write("error", &message);
        self.set("Loaded", false, error.reason(), &message);
        if self.live.is_none() {
            self.status.stage = "Failed".to_owned();
            self.set("Ready", false, error.reason(), &message);
        }
        self.event("Warning", error.reason(), &message);
        if matches!(error, LoadError::Start(_) | LoadError::Source(_)) {
            self.retry_at = Some(Instant::now() + RETRY);
        }
    }

    async fn health_changed(&mut self, state: State) {
        self.told = state;
        self.count();
        let Some((revision, _)) = &self.live else { return };
        let Some(trouble) = revision.health.trouble().filter(|_| state != State::Good) else {
            return self.set("Degraded", false, "Recovered", "");
        };
        if state == State::Faulty {
            let message = format!("revision {} {}", revision.number, trouble.message);
            self.event("Warning", trouble.reason, &message);
            return self.set("Degraded", true, trouble.reason, &message);
        }
        let message = format!("revision {} keeps failing: {}", revision.number, trouble.message);
        self.event("Warning", "KeepsFailing", &message);
        let (digest, number) = (revision.loaded.digest.clone(), revision.number);
        let Some(spec) = self.spec_before(&digest, number) else {
            return self.set("Degraded", true, "KeepsFailing", &message);
        };
        // It was compared with the revision that goes; it is tried again beside the one that comes.
        self.drop_candidate();
        self.tried = None;
        self.desired.mark_changed();
        match self.make_live(&spec).await {
            Ok(back) => {
                // The one that failed must not become the one to fall back to.
                self.previous = None;
                self.shared.metrics.rolled_back(&self.name);
                self.status.last_rollback = Some(LastRollback {
                    time: crate::events::time(),
                    generation: self.meta.generation,
                    from_digest: digest.to_string(),
                    to_revision: back.number,
                    reason: trouble.reason.to_owned(),
                    message: message.clone(),
                });
                let message = format!("{message}; revision {} took over", back.number);
                self.set("Degraded", true, "RolledBack", &message);
                self.event("Warning", "RolledBack", &message);
            }
            Err(error) => self.set("Degraded", true, "KeepsFailing", &format!("{message}; going back failed: {error}")),
        }
    }

    fn tell_held_back(&mut self, held: bool) {
        self.told_held_back = held;
        if !held {
            return self.set("Throttled", false, "AsExpected", "");
        }
        let message = format!("it writes more than {WRITES_PER_SECOND} times a second; what comes too early waits");
        self.event("Warning", "WritesHeldBack", &message);
        self.set("Throttled", true, "WritesHeldBack", &message);
    }

    /// How the revision before this one was asked for: remembered, or put together from the status after a restart.
    fn spec_before(&mut self, digest: &str, number: i64) -> Option<Spec> {
        if let Some(spec) = self.previous.take() {
            return Some(spec);
        }
        let before = self.status.revisions.iter().rev().find(|r| r.revision < number && r.digest != digest)?;
        Some(self.live_spec.clone()?.with(before))
    }

    async fn stop_live(&mut self) {
        if let Some((_, running)) = self.live.take() {
            running.stop(&self.shared).await;
            (self.status.instances, self.status.memory_bytes) = (0, 0);
        }
    }

    /// Counters change with every call: they are written now and then, not whenever they differ.
    fn count(&mut self) {
        if let Some((revision, _)) = &self.live {
            self.status.calls = revision.health.calls();
            self.status.traps = revision.health.traps();
            (self.status.instances, self.status.memory_bytes) = revision.meter.holds();
        }
    }

    fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.kind == kind)
    }

    pub fn set(&mut self, kind: &str, holds: bool, reason: &str, message: &str) {
        let status = if holds { "True" } else { "False" };
        let before = self.condition(kind).filter(|c| c.status == status).map(|c| c.last_transition_time.clone());
        let condition = Condition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: before.unwrap_or_else(crate::events::time),
            observed_generation: self.meta.generation,
        };
        match self.status.conditions.iter_mut().find(|c| c.kind == kind) {
            Some(old) => *old = condition,
            None => self.status.conditions.push(condition),
        }
    }

    pub fn event(&self, kind: &'static str, reason: &str, note: &str) {
        let regarding = Regarding {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            namespace: String::new(),
            name: self.name.to_string(),
            uid: self.meta.uid.clone(),
            resource_version: self.meta.resource_version.clone(),
        };
        self.shared.recorder.record(Event { regarding, kind, reason: reason.to_owned(), action: "Load".to_owned(), note: note.to_owned() });
    }

    async fn write_status(&mut self) {
        if let Some((_, running)) = &self.live {
            self.status.stage = if running.is_standby(&self.shared) { "Standby" } else { "Live" }.to_owned();
        }
        if self.meta.uid.is_empty() || self.status == self.written || !self.leads() {
            return;
        }
        let target = Target::object(PLUGINS, None, &self.name).subresource("status");
        let patch = Patch::Merge(json!({"status": self.status}));
        match self.shared.client.patch(&target, patch, &WriteOptions::default()).await {
            Ok(_) => self.written = self.status.clone(),
            Err(status) => tracing::debug!(plugin = %self.name, %status, "a Plugin's status was not written"),
        }
    }
}

fn limits(spec: &Spec) -> Result<Limits, LoadError> {
    let memory_bytes = match &spec.limits.memory {
        None => DEFAULT_MEMORY_BYTES,
        Some(text) => {
            let quantity = Quantity::parse(text).map_err(|e| LoadError::Configuration(format!("limits.memory: {e}")))?;
            usize::try_from(quantity.value()).unwrap_or_default().clamp(*MEMORY_RANGE.start(), *MEMORY_RANGE.end())
        }
    };
    let default = match spec.world {
        World::Admission => admission::DEADLINE,
        World::Controller => controller::DEADLINE,
        World::Scheduler => scheduler::DEADLINE,
        World::Ingress => crate::ingress::DEADLINE,
    };
    let deadline = spec.limits.deadline_milliseconds.map_or(default, |ms| Duration::from_millis(ms.max(1)));
    Ok(Limits { memory_bytes, deadline })
}

fn default_instances(world: World) -> u32 {
    if world == World::Admission { admission::INSTANCES } else { 1 }
}

/// Waits until the health is another than what was told, for ever when nothing runs.
pub async fn turned(health: &mut Option<watch::Receiver<State>>, told: State) -> State {
    if let Some(health) = health
        && let Ok(state) = health.wait_for(|state| *state != told).await.map(|state| *state)
    {
        return state;
    }
    std::future::pending().await
}

/// Waits until the flag is another than what was told.
async fn flipped(flag: &mut watch::Receiver<bool>, told: bool) -> bool {
    // Nobody can turn it any more.
    if flag.wait_for(|held| *held != told).await.is_err() {
        std::future::pending::<()>().await;
    }
    !told
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

pub fn short(digest: &str) -> &str {
    &digest[..digest.floor_char_boundary("sha256:".len() + 12)]
}
