//! The actor's dealings with a candidate: loads it beside the live revision, puts it to work in its stage, promotes it when it may be,
//! withdraws a canary that keeps failing. A candidate that cannot be had leaves the live revision as it is.

use std::sync::Arc;
use std::time::Duration;

use pintle_api::client::{Patch, Target, WriteOptions};
use pintle_api::{Reason, Status as ApiStatus};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Trial;
use super::share::Share;
use super::spec::{Candidate, CandidateStatus, Stage};
use super::sums::Sums;
use super::tally::Tally;
use crate::actor::{Actor, short, turned};
use crate::driver::Prepared;
use crate::load::LoadError;
use crate::plugin::{PLUGINS, Spec};
use crate::revision::{Revision, State};

/// How often counts and differences are written, when they changed.
pub const TICK: Duration = Duration::from_secs(1);
/// How soon a load is tried again whose fault may pass.
const RETRY: Duration = Duration::from_secs(15);
/// How the API says that a patch's own test failed, as it says of no fault in the object.
const PATCH_REFUSED: &str = "the server rejected our request";
const CONDITION: &str = "CandidateReady";

/// A candidate at work.
pub struct Active {
    revision: Arc<Revision>,
    stage: Stage,
    tally: Arc<Tally>,
    told: State,
}

/// What tells that a look at the candidate is worth while.
pub struct News {
    tally: Arc<Tally>,
    health: Option<watch::Receiver<State>>,
    told: State,
}

impl Active {
    pub fn follow(&self) -> News {
        News { tally: self.tally.clone(), health: Some(self.revision.health.state()), told: self.told }
    }

    /// Waits for a decision or a fault that matters; for ever without a candidate.
    pub async fn news(followed: &mut Option<News>) {
        let Some(News { tally, health, told }) = followed else { return std::future::pending().await };
        tokio::select! {
            () = tally.promotable.notified() => {}
            _ = turned(health, *told) => {}
        }
    }
}

impl Actor {
    /// Puts the candidate beside the live revision, or takes it away. `tried` stood there before. `known`: the object was acted upon before
    /// this process started.
    pub async fn try_candidate(&mut self, candidate: Option<Candidate>, tried: Option<Candidate>, known: bool) {
        self.drop_candidate();
        self.forget_sums();
        let Some(candidate) = candidate else {
            self.status.candidate = None;
            return self.status.conditions.retain(|c| c.kind != CONDITION);
        };
        // What a candidate did in its stage is told when it is promoted.
        let promoted = candidate.stage == Stage::Live && tried.is_some_and(|tried| tried.is_same_revision(&candidate));
        let before = self.status.candidate.take().filter(|_| known || promoted).unwrap_or_default();
        if known && before.stage == "RolledBack" {
            self.status.candidate = Some(before);
            return;
        }
        if let Err(error) = self.start_candidate(&candidate, before).await {
            let message = error.to_string();
            self.status.candidate.get_or_insert_default().stage = "Failed".to_owned();
            self.status.candidate.get_or_insert_default().message.clone_from(&message);
            self.set(CONDITION, false, error.reason(), &message);
            self.event("Warning", error.reason(), &format!("candidate: {message}"));
            if matches!(error, LoadError::Start(_) | LoadError::Source(_)) {
                self.retry_at = Some(Instant::now() + RETRY);
            }
        }
    }

    async fn start_candidate(&mut self, candidate: &Candidate, before: CandidateStatus) -> Result<(), LoadError> {
        let live = self.live_spec.clone().ok_or_else(|| LoadError::Start("there is no live revision to compare it with".to_owned()))?;
        let spec = spec_of(candidate, live);
        let revision = self.load(&spec, candidate.stage).await?;
        let prepared = Prepared::prepare(&self.shared, revision.clone(), &spec, &self.meta).await?;
        let stage = candidate.stage;
        let digest = revision.loaded.digest.to_string();
        let tally = Arc::new(Tally::new(candidate.promote_when.clone()));
        let mut status =
            CandidateStatus { digest: digest.clone(), stage: stage.name().to_owned(), since: crate::events::time(), ..CandidateStatus::default() };
        if stage == Stage::Live && before.digest == digest {
            self.status.candidate = Some(before);
            self.set(CONDITION, true, stage.name(), "");
            return self.promote("asked for").await;
        }
        if before.digest == digest && before.stage == status.stage {
            tally.resume(&match &self.shared.peers {
                Some(_) => self.counted_before().cloned().unwrap_or_default(),
                None => Sums::of(&before),
            });
            status.since = before.since;
        }
        self.status.candidate = Some(status);
        self.set(CONDITION, true, stage.name(), "");
        if stage == Stage::Live {
            return self.promote("asked for").await;
        }
        let trial = Trial { stage, share: Share::of(candidate.canary.as_ref()), tally: tally.clone(), holder: prepared };
        if let Some((_, running)) = &mut self.live {
            running.set_trial(&self.shared, Some(trial));
        }
        self.shared.metrics.tally(&self.name, Some((stage, tally.clone())));
        self.event("Normal", stage.name(), &format!("candidate {} is in stage {}", short(&digest), stage.name()));
        self.candidate = Some(Active { revision, stage, tally, told: State::Good });
        self.count_candidate();
        Ok(())
    }

    /// Counts, and what follows from them.
    pub async fn look_at_candidate(&mut self) {
        let sums = self.count_candidate();
        if self.candidate.as_ref().is_some_and(|a| a.stage == Stage::Canary)
            && let Some(trouble) = self.withdrawn_elsewhere()
        {
            return self.withdraw(&trouble);
        }
        let Some(active) = &mut self.candidate else { return };
        let state = *active.revision.health.state().borrow();
        let turned = std::mem::replace(&mut active.told, state) != state;
        let trouble = active.revision.health.trouble().map(|t| t.message).unwrap_or_default();
        let (stage, digest) = (active.stage, active.revision.loaded.digest.clone());
        match state {
            State::Broken if turned && stage == Stage::Canary => return self.withdraw(&trouble),
            State::Broken if turned => {
                self.set(CONDITION, false, "KeepsFailing", &trouble);
                self.event("Warning", "CandidateKeepsFailing", &format!("candidate {} keeps failing: {trouble}", short(&digest)));
            }
            State::Faulty if turned => self.event("Warning", "CandidateFaulty", &format!("candidate {} {trouble}", short(&digest))),
            State::Good if turned => self.set(CONDITION, true, stage.name(), ""),
            _ => {}
        }
        if self.leads()
            && self.candidate.as_ref().is_some_and(|a| a.tally.may_promote_by(&sums))
            && let Err(error) = self.promote("promoteWhen holds").await
        {
            tracing::warn!(plugin = %self.name, %error, "a candidate was not promoted; trying again");
        }
    }

    /// The candidate becomes what the spec asks for: the change of the object does the rest, as if somebody had written it.
    async fn promote(&mut self, why: &str) -> Result<(), LoadError> {
        let Some(entry) = self.desired.borrow().clone() else { return Ok(()) };
        let Some(candidate) = self.seen.as_ref().and_then(|s| s.candidate.clone()) else { return Ok(()) };
        let refused = |status: &ApiStatus| LoadError::Start(format!("the spec was not written: {status}"));
        let mut object: Value = serde_json::from_slice(&entry.json).map_err(|e| LoadError::Start(e.to_string()))?;
        let tried = self.status.candidate.as_ref().map(|c| c.digest.clone()).unwrap_or_default();
        let patch = json!([
            {"op": "test", "path": "/metadata/generation", "value": self.meta.generation},
            {"op": "replace", "path": "/spec", "value": promoted(object["spec"].take(), candidate, &tried)},
        ]);
        let target = Target::object(PLUGINS, None, &self.name);
        match self.shared.client.patch(&target, Patch::Json(patch), &WriteOptions::default()).await {
            Ok(_) => {}
            // Somebody changed the object meanwhile, which the next look takes in.
            Err(status) if status.is(Reason::Conflict) || status.is(Reason::Invalid) && status.message.starts_with(PATCH_REFUSED) => return Ok(()),
            Err(status) => return Err(refused(&status)),
        }
        let status = self.status.candidate.get_or_insert_default();
        let message = format!("candidate {} is promoted: {why}{}", short(&status.digest), record_of(status));
        status.stage = "Promoting".to_owned();
        self.event("Normal", "Promoted", &message);
        self.shared.metrics.promoted(&self.name);
        self.drop_candidate();
        Ok(())
    }

    /// A canary that keeps failing decides nothing more.
    fn withdraw(&mut self, trouble: &str) {
        self.drop_candidate();
        self.note_withdrawal(trouble);
        let status = self.status.candidate.get_or_insert_default();
        let message = format!("candidate {} keeps failing: {trouble}; its share went back to the live revision", short(&status.digest));
        status.stage = "RolledBack".to_owned();
        status.message.clone_from(&message);
        self.set(CONDITION, false, "RolledBack", &message);
        self.event("Warning", "RolledBack", &message);
        self.shared.metrics.rolled_back(&self.name);
    }

    /// Stops the candidate, and nothing else.
    pub fn drop_candidate(&mut self) {
        self.count_candidate();
        if self.candidate.take().is_some() {
            self.shared.metrics.tally(&self.name, None);
            if let Some((_, running)) = &mut self.live {
                running.set_trial(&self.shared, None);
            }
        }
    }

    /// The retry that is due is the candidate's.
    pub fn failed_candidate(&self) -> bool {
        self.live.is_some() && self.status.candidate.as_ref().is_some_and(|c| c.stage == "Failed")
    }

    /// Gives what all servers counted together.
    fn count_candidate(&mut self) -> Sums {
        let Some(counted) = self.candidate.as_ref().map(|active| active.tally.sums()) else { return Sums::default() };
        let sums = self.add_up(counted);
        if let Some(status) = &mut self.status.candidate {
            sums.clone().write(status);
        }
        sums
    }
}

/// How it fared in the stage that it leaves.
fn record_of(status: &CandidateStatus) -> String {
    let CandidateStatus { compared, agreed, .. } = *status;
    match status.stage.as_str() {
        _ if compared == 0 => String::new(),
        "Canary" => format!("; as a canary it made {compared} decisions, {} failed", compared - agreed),
        _ => format!("; {agreed} of {compared} decisions agreed"),
    }
}

/// The spec that the candidate would be live with.
fn spec_of(candidate: &Candidate, live: Spec) -> Spec {
    let Candidate { source, digest, config, limits, .. } = candidate.clone();
    Spec { source, digest, config: config.unwrap_or(live.config), limits: limits.unwrap_or(live.limits), candidate: None, ..live }
}

/// The same on the object's JSON, where everything else stays as its author wrote it. `tried`: the digest of the bytes that were tried; a tag
/// of a registry may mean others by now, and those are refused.
fn promoted(mut spec: Value, candidate: Candidate, tried: &str) -> Value {
    let Candidate { source, mut digest, config, limits, .. } = candidate;
    if digest.is_empty() && source.oci.is_some() {
        digest = tried.to_owned();
    }
    let Some(fields) = spec.as_object_mut() else { return spec };
    fields.remove("candidate");
    fields.remove("digest");
    fields.insert("source".to_owned(), json!(source));
    if !digest.is_empty() {
        fields.insert("digest".to_owned(), digest.into());
    }
    if let Some(config) = config {
        fields.insert("config".to_owned(), config.into());
    }
    if let Some(limits) = limits {
        fields.insert("limits".to_owned(), json!(limits));
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_promotion_moves_the_candidates_fields_and_no_others() {
        let spec = json!({"world": "scheduler", "source": {"embedded": "s"}, "digest": "sha256:old", "config": "a", "schedulerName": "mine",
            "limits": {"memory": "1Gi"}, "candidate": {"source": {"inline": "AA=="}, "config": "b", "stage": "Shadow"}});
        let candidate: Candidate = serde_json::from_value(spec["candidate"].clone()).expect("a candidate");
        expect![[r#"{"config":"b","limits":{"memory":"1Gi"},"schedulerName":"mine","source":{"inline":"AA=="},"world":"scheduler"}"#]]
            .assert_eq(&promoted(spec.clone(), candidate.clone(), "sha256:tried").to_string());
        let source = crate::plugin::Source {
            oci: Some(crate::plugin::OciSource { reference: "r/p:v1".to_owned(), ..Default::default() }),
            ..Default::default()
        };
        assert_eq!(promoted(spec, Candidate { source, ..candidate }, "sha256:tried")["digest"], "sha256:tried", "the tag may move");
    }
}
