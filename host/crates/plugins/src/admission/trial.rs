//! A candidate policy beside the live one: looks on, or answers for a share of the requests. A canary that fails is stood in for by the live
//! revision, so whoever asked never notices.

use std::sync::Arc;

use pintle_api::admission::Verdict;
use pintle_plugin_bindings::admission::pintle::admission::types::Request;

use super::compare::identity;
use super::holder::Holder;
use super::rules::{differ, want};
use super::shadow::Shadow;
use super::witness::Witness;
use crate::guest::Fault;
use crate::shared::Shared;
use crate::stages::Trial;
use crate::stages::spec::Stage;

/// The plugin's live revision, and what stands beside it.
pub struct Team {
    pub live: Arc<Holder>,
    candidate: Option<Candidate>,
}

enum Candidate {
    Shadow(Shadow),
    Canary(Arc<Trial<Arc<Holder>>>),
}

impl Team {
    pub fn alone(live: Arc<Holder>) -> Self {
        Self { live, candidate: None }
    }

    pub fn with(live: Arc<Holder>, shared: &Arc<Shared>, trial: Trial<Arc<Holder>>) -> Self {
        differ(&live.rules, &trial.holder.rules).into_iter().for_each(|difference| trial.tally.note(difference));
        let trial = Arc::new(trial);
        let candidate = match trial.stage {
            Stage::Shadow => Some(Candidate::Shadow(Shadow::start(Arc::downgrade(shared), trial))),
            Stage::Canary => Some(Candidate::Canary(trial)),
            Stage::Live => None,
        };
        Self { live, candidate }
    }

    pub async fn ask(&self, shared: &Shared, request: Request) -> Result<Verdict, Fault> {
        let shadow = match &self.candidate {
            Some(Candidate::Shadow(shadow)) => Some(shadow),
            Some(Candidate::Canary(trial)) => match take_part(shared, trial, &request).await {
                Some(verdict) => return Ok(verdict),
                None => None,
            },
            None => None,
        };
        let witness = if shadow.is_some() { Witness::Notes(Default::default()) } else { Witness::None };
        let mut answer = self.live.ask(shared, &request, witness, None).await?;
        if let Some(shadow) = shadow {
            shadow.answered(request, &mut answer);
        }
        Ok(answer.verdict)
    }
}

/// The canary's answer, where the request is of its share and it has one.
async fn take_part(shared: &Shared, trial: &Trial<Arc<Holder>>, request: &Request) -> Option<Verdict> {
    if !trial.share.holds(&request.namespace, &identity(request)) {
        return None;
    }
    if !want(&trial.holder.rules, request) {
        return Some(Verdict::default());
    }
    let answer = trial.holder.ask(shared, request, Witness::None, Some(&trial.tally)).await.ok()?;
    trial.tally.agreed();
    Some(answer.verdict)
}
