//! The pods of a StatefulSet in order: what is missing is made, what is too much goes, what is old is replaced. One after the other, or
//! all at once with `podManagementPolicy: Parallel`.

use pintle_controller_common::fields::Fields;
use pintle_controller_common::numbers::resolve;
use pintle_controller_common::{pods, resources};
use pintle_sdk::controller::{Api, ApiError, DeleteOptions, EventType, Failure};
use serde_json::Value;

use crate::claims;
use crate::identity::{self, ordinal_in, revision_of};

pub struct Replicas<'a> {
    pub api: &'a dyn Api,
    pub set: &'a Value,
    pub now: i64,
    pub min_ready: i64,
    pub current: &'a Value,
    pub update: &'a Value,
    /// One for each wanted ordinal, ascending; without a uid: not made yet.
    pub wanted: Vec<Value>,
    /// Beyond the wanted ones, descending.
    pub condemned: Vec<Value>,
}

/// Whether the next pod may be looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    On,
    Wait,
}

impl<'a> Replicas<'a> {
    pub fn new(api: &'a dyn Api, set: &'a Value, current: &'a Value, update: &'a Value, owned: Vec<Value>, now: i64) -> Self {
        let ordinal = |pod: &Value| ordinal_in(set.name(), pod.name()).unwrap_or(-1);
        let (mut there, mut condemned): (Vec<Value>, Vec<Value>) = owned.into_iter().partition(|p| identity::is_in_range(set, ordinal(p)));
        condemned.sort_by_key(|p| std::cmp::Reverse(ordinal(p)));
        let first = identity::start(set);
        let wanted = (first..first + identity::replicas(set)).map(|o| {
            let found = there.iter().position(|p| ordinal(p) == o);
            found.map_or_else(|| identity::pod(set, template_for(set, current, update, o), o), |place| there.swap_remove(place))
        });
        let min_ready = set.integer(&["spec", "minReadySeconds"]).unwrap_or(0);
        Self { wanted: wanted.collect(), api, set, now, min_ready, current, update, condemned }
    }

    /// Everything that can be done now.
    pub fn bring_about(&mut self) -> Result<(), Failure> {
        let ordered = self.set.text(&["spec", "podManagementPolicy"]) != "Parallel";
        let sick = self.first_unavailable();
        let mut refused = Ok(());
        for at in 0..self.wanted.len() {
            match self.tend(at, ordered) {
                Ok(Step::Wait) if ordered => return Ok(()),
                Ok(_) => {}
                Err(failure) if ordered => return Err(failure),
                Err(failure) => refused = Err(failure),
            }
        }
        refused?;
        for pod in &self.condemned {
            if !claims::match_policy(self.api, self.set, pod)? {
                claims::apply_policy(self.api, self.set, pod)?;
            }
        }
        for at in 0..self.condemned.len() {
            if self.remove(at, ordered, &sick)? == Step::Wait && ordered {
                return Ok(());
            }
        }
        self.roll()
    }

    fn tend(&mut self, at: usize, ordered: bool) -> Result<Step, Failure> {
        let (api, set) = (self.api, self.set);
        let pod = &self.wanted[at];
        if pods::is_finished(pod) {
            if !pod.deleting() {
                self.wanted[at] = self.delete(&pod.clone())?;
            }
            return Ok(Step::Wait);
        }
        if !is_made(pod) {
            if claims::are_stale(api, set, pod)? {
                return Ok(Step::Wait);
            }
            self.wanted[at] = self.create(&pod.clone())?;
            if ordered {
                return Ok(Step::Wait);
            }
        }
        let pod = &self.wanted[at];
        if pods::phase(pod) == "Pending" {
            claims::create(api, set, pod)?;
            claims::apply_policy(api, set, pod)?;
        }
        if ordered && (pod.deleting() || !is_running_and_ready(pod) || !self.is_available(pod)) {
            return Ok(Step::Wait);
        }
        self.wanted[at] = self.mend(&pod.clone())?;
        Ok(Step::On)
    }

    /// Gives back the identity and the volumes that somebody took from the pod.
    fn mend(&self, pod: &Value) -> Result<Value, Failure> {
        let Some(ordinal) = ordinal_in(self.set.name(), pod.name()) else { return Ok(pod.clone()) };
        let mut next = pod.clone();
        if !identity::has_identity(self.set, pod) {
            identity::give_identity(&mut next, ordinal);
        }
        if !identity::has_volumes(self.set, pod, ordinal) {
            identity::give_volumes(self.set, &mut next, ordinal);
            claims::create(self.api, self.set, pod)?;
        }
        if !claims::match_policy(self.api, self.set, pod)? {
            claims::apply_policy(self.api, self.set, pod)?;
        }
        if next == *pod {
            return Ok(next);
        }
        let updated = self.api.update(resources::PODS, pod.namespace(), pod.name(), &next);
        self.tell("Update", pod, updated.as_ref().err());
        updated.map_err(Failure::from)
    }

    fn remove(&mut self, at: usize, ordered: bool, sick: &str) -> Result<Step, Failure> {
        let pod = self.condemned[at].clone();
        let waits = pod.deleting() || ordered && pod.name() != sick && !(is_running_and_ready(&pod) && self.is_available(&pod));
        if waits {
            return Ok(Step::Wait);
        }
        self.condemned[at] = self.delete(&pod)?;
        Ok(Step::Wait)
    }

    /// Replaces old pods from the highest ordinal down to the partition. A pod that is not available uses up what may be unavailable.
    fn roll(&mut self) -> Result<(), Failure> {
        if self.set.text(&["spec", "updateStrategy", "type"]) == "OnDelete" {
            return Ok(());
        }
        let rolling = |field: &str| self.set.at(&["spec", "updateStrategy", "rollingUpdate", field]);
        let partition = rolling("partition").and_then(Value::as_i64).unwrap_or(0);
        let lowest = usize::try_from(partition).unwrap_or(0);
        let total = i64::try_from(self.wanted.len()).unwrap_or(i64::MAX);
        let mut left = resolve(rolling("maxUnavailable"), total, false).unwrap_or(1).max(1);
        for at in (lowest..self.wanted.len()).rev() {
            let pod = self.wanted[at].clone();
            if is_made(&pod) && !pod.deleting() && revision_of(&pod) != self.update.name() {
                self.wanted[at] = self.delete(&pod)?;
            } else if is_made(&pod) && !pod.deleting() && self.is_available(&pod) {
                continue;
            }
            left -= 1;
            if left == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    fn create(&self, pod: &Value) -> Result<Value, Failure> {
        claims::create(self.api, self.set, pod)?;
        match self.api.create(resources::PODS, self.set.namespace(), pod) {
            Ok(created) => {
                claims::apply_policy(self.api, self.set, &created)?;
                self.tell("Create", pod, None);
                Ok(created)
            }
            Err(error) => {
                // A stranger has the name, or the cache is behind; either passes without a word.
                if !matches!(error, ApiError::AlreadyExists(_)) {
                    self.tell("Create", pod, Some(&error));
                }
                Err(Failure::Retry(error.to_string()))
            }
        }
    }

    /// Returns the pod as it then is; without a uid when it is gone.
    fn delete(&self, pod: &Value) -> Result<Value, Failure> {
        match self.api.delete(resources::PODS, pod.namespace(), pod.name(), &DeleteOptions { uid: pod.uid(), ..DeleteOptions::default() }) {
            Ok(()) | Err(ApiError::NotFound(_)) => self.tell("Delete", pod, None),
            Err(error) => {
                self.tell("Delete", pod, Some(&error));
                return Err(Failure::Retry(error.to_string()));
            }
        }
        let left = self.api.get(resources::PODS, pod.namespace(), pod.name()).ok().filter(|p| p.uid() == pod.uid());
        Ok(left.unwrap_or_else(|| {
            let mut gone = pod.clone();
            gone["metadata"]["uid"] = Value::Null;
            gone
        }))
    }

    fn tell(&self, verb: &str, pod: &Value, error: Option<&ApiError>) {
        let (kind, outcome, end) = match error {
            None => (EventType::Normal, "Successful", "successful".to_owned()),
            Some(error) => (EventType::Warning, "Failed", format!("failed error: {error}")),
        };
        let message = format!("{verb} Pod {} in StatefulSet {} {end}", pod.name(), self.set.name());
        self.api.event(resources::STATEFUL_SETS, self.set.namespace(), self.set.name(), kind, &format!("{outcome}{verb}"), &message);
    }

    pub fn is_available(&self, pod: &Value) -> bool {
        pods::availability(pod, self.min_ready, self.now).is_ok()
    }

    /// Its name; the lowest ordinal first, then the condemned from the lowest.
    fn first_unavailable(&self) -> String {
        let mut all = self.wanted.iter().chain(self.condemned.iter().rev());
        all.find(|p| p.deleting() || !self.is_available(p)).map_or_else(String::new, |p| p.name().to_owned())
    }
}

/// While a partition holds or a roll-out goes on, low ordinals keep the current revision.
fn template_for<'a>(set: &Value, current: &'a Value, update: &'a Value, ordinal: i64) -> &'a Value {
    let keeps = match set.at(&["spec", "updateStrategy", "rollingUpdate"]).filter(|r| !r.is_null()) {
        Some(rolling) => rolling.integer(&["partition"]).unwrap_or(0),
        None if set.text(&["spec", "updateStrategy", "type"]) == "RollingUpdate" => set.integer(&["status", "currentReplicas"]).unwrap_or(0),
        None => 0,
    };
    if ordinal < identity::start(set) + keeps { current } else { update }
}

pub fn is_made(pod: &Value) -> bool {
    !pod.uid().is_empty()
}

pub fn is_running_and_ready(pod: &Value) -> bool {
    pods::phase(pod) == "Running" && pods::is_ready(pod)
}
