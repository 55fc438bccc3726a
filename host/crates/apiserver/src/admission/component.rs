//! Admission by components: policies that run in this process and are asked as webhooks are, just before them.
//!
//! Which policies there are, and what they want to see, stands in the Plugin objects: the rules in their status, for the component
//! says them when it is loaded, everything else in `spec.admission`. So a policy counts from the server's start on, before its
//! component is loaded again, and its `failurePolicy` says what becomes of requests until then. Plugin objects and what the server
//! itself writes are asked about of nobody, and the namespace kube-system only of policies that want it: a broken policy must not
//! keep people from taking it away, nor the cluster from starting.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use pintle_api::admission::{Change, Phase, Policies, Refusal as Words, Review, Verdict as Answer};
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Reason, Status};
use serde_json::{Value, json};

use super::request::Request;
use super::webhook::{Hook, Refusal, Set, Verdict, request_of};
use crate::audit::annotating::annotate;
use crate::auth::User;
use crate::cache::Cache;
use crate::resources::{Resource, Table};

const PLUGINS: GroupVersionResource = GroupVersionResource::constant("pintle.dev", "v1alpha1", "plugins");
const SYSTEM_NAMESPACE: &str = "kube-system";
/// Warnings of one answer that are passed on, and the bytes of each.
const MAX_WARNINGS: usize = 16;
const MAX_WARNING_BYTES: usize = 1024;

/// The policies of the cluster, and who runs them.
#[derive(Default)]
pub struct Components {
    pub mutating: Arc<Set>,
    pub validating: Arc<Set>,
    runner: OnceLock<Arc<dyn Policies>>,
}

impl Components {
    /// Follows the Plugin objects.
    pub fn observing(cache: &Cache, table: &Table) -> Self {
        let all = Self::default();
        if let Some(resource) = table.find(&PLUGINS) {
            for (phase, set) in [(Phase::Mutate, &all.mutating), (Phase::Validate, &all.validating)] {
                let set = set.clone();
                cache.observe(
                    &resource.slot,
                    Arc::new(move |_, name, plugin| set.replace(name, plugin.and_then(|p| hook_of(p, phase)).into_iter().collect())),
                );
            }
        }
        all
    }

    /// Hands in who runs policies; until then each is a failure. Later calls change nothing.
    pub fn run_by(&self, runner: Arc<dyn Policies>) {
        let _ = self.runner.set(runner);
    }

    pub fn is_empty(&self) -> bool {
        self.mutating.is_empty() && self.validating.is_empty()
    }

    /// Asks the policy. The objects are in the form of `seen`.
    pub async fn ask(
        &self,
        request: &Request<'_>,
        hook: &Hook,
        phase: Phase,
        seen: &Resource,
        objects: [Option<&Object>; 2],
    ) -> Result<Verdict, Refusal> {
        let runner = self.runner.get().ok_or_else(|| Refusal::Failed("no plugins run in this server".to_owned()))?;
        let [object, old_object] = objects.map(|o| o.map(|o| Bytes::from(o.to_string())));
        let review = Review { phase, request: request_of(request, seen), object, old_object };
        let answer = match tokio::time::timeout(hook.timeout, runner.ask(&hook.name, review)).await {
            Ok(answer) => answer.map_err(Refusal::Failed)?,
            Err(_) => return Err(Refusal::Failed(format!("it did not answer within {} s", hook.timeout.as_secs()))),
        };
        for (key, value) in &answer.audit_annotations {
            annotate(&format!("{}/{key}", hook.name), || Some(value.clone()));
        }
        read(hook, phase, answer)
    }
}

fn read(hook: &Hook, phase: Phase, answer: Answer) -> Result<Verdict, Refusal> {
    if let Some(words) = answer.refusal {
        return Err(Refusal::Denied(denied(&hook.name, words)));
    }
    if phase == Phase::Validate && answer.change != Change::None {
        return Err(Refusal::Failed("it changes the object while validating".to_owned()));
    }
    let (patch, object) = match answer.change {
        Change::None => (None, None),
        Change::Patch(patch) => (Some(patch), None),
        Change::Object(object) => (None, Some(object)),
    };
    let warnings = answer.warnings.into_iter().take(MAX_WARNINGS).map(|w| w[..w.floor_char_boundary(MAX_WARNING_BYTES)].to_owned());
    Ok(Verdict { patch, object, warnings: warnings.collect() })
}

fn denied(plugin: &str, words: Words) -> Status {
    let by = format!("admission plugin {plugin:?} denied the request");
    let code = Some(words.code).filter(|c| (400..600).contains(c)).unwrap_or(403);
    let message = if words.message.is_empty() { format!("{by} without explanation") } else { format!("{by}: {}", words.message) };
    let reason = match words.reason.as_str() {
        "" if code == 403 => Reason::Forbidden,
        reason => serde_json::from_value(reason.into()).unwrap_or(Reason::Unknown),
    };
    Status::new(code, reason, message)
}

/// The policy as the hook that it is in this phase; `None`: it does not ask for it, or does not decide.
fn hook_of(plugin: &Object, phase: Phase) -> Option<Arc<Hook>> {
    if plugin.str_at(&["spec", "world"]) != "admission" || plugin.bool_at(&["spec", "paused"]) {
        return None;
    }
    let in_phase = |rule: &&Value| rule.list_at(&["phases"]).iter().any(|p| p == phase.name());
    let rules: Vec<&Value> = plugin.list_at(&["status", "admission", "rules"]).iter().filter(in_phase).collect();
    if rules.is_empty() {
        return None;
    }
    let mut hook = plugin.at(&["spec", "admission"]).filter(|a| a.is_object()).cloned().unwrap_or_else(|| json!({}));
    let system = hook.bool_at(&["includeKubeSystem"]);
    hook["name"] = plugin.name().into();
    hook["rules"] = json!(rules);
    Some(Arc::new(Hook::of_component(&hook, phase, system)))
}

/// What no policy is asked about, or only those that want it.
pub fn is_exempt(request: &Request<'_>, wants_system: bool) -> bool {
    let system = || request.namespace() == Some(SYSTEM_NAMESPACE) || request.is_namespace() && request.name == SYSTEM_NAMESPACE;
    request.scope.resource.def().group == PLUGINS.group || *request.scope.user == User::loopback() || !wants_system && system()
}
