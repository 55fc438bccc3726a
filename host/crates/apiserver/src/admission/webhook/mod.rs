//! Admission by webhooks: who is asked about a write, in which order, and what becomes of the answers. Admission policies in CEL
//! have their turn here as well, before the webhooks, and between the two policies that are components.
//!
//! The hooks follow their configurations, which the cache tells of before the write that changed them returns. Mutating hooks
//! are asked one after another, for each sees what the one before made; validating ones all at once. The configurations
//! themselves, and admission policies, are asked about by nobody, or a broken hook could not be taken away again.

mod hook;
mod review;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use futures::future;
use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Status};
use pintle_cel::Variables;
use serde_json::{Value, json};

use super::authorizing::authorizing;
use super::component::Components;
use super::policy::Policies;
use super::request::Request;
use crate::cache::Cache;
use crate::resources::{Resource, Table};
use crate::scope::Scope;

pub use hook::Hook;
pub use review::{Refusal, Verdict, request_of};

const MUTATING: GroupVersionResource = GroupVersionResource::constant("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations");
const VALIDATING: GroupVersionResource = GroupVersionResource::constant("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations");

/// All hooks of the cluster.
#[derive(Default)]
pub struct Hooks {
    mutating: Arc<Set>,
    validating: Arc<Set>,
    policies: Policies,
    pub components: Components,
}

/// The hooks of one kind of configuration, by configuration.
#[derive(Default)]
pub struct Set {
    configurations: Mutex<BTreeMap<String, Vec<Arc<Hook>>>>,
    /// In the order in which they are asked.
    hooks: ArcSwap<Vec<Arc<Hook>>>,
}

impl Hooks {
    /// Follows the configurations.
    pub fn observing(cache: &Cache, table: &Table) -> Self {
        let hooks = Self { policies: Policies::observing(cache, table), components: Components::observing(cache, table), ..Self::default() };
        for (gvr, set) in [(MUTATING, &hooks.mutating), (VALIDATING, &hooks.validating)] {
            let Some(resource) = table.find(&gvr) else { continue };
            let set = set.clone();
            cache.observe(&resource.slot, Arc::new(move |_, name, configuration| set.put(name, configuration)));
        }
        hooks
    }

    /// Whether nobody is to be asked about anything, which costs nothing to know.
    pub fn is_empty(&self) -> bool {
        self.mutating.is_empty() && self.validating.is_empty() && self.policies.is_empty() && self.components.is_empty()
    }

    /// Lets the mutating hooks change the object; their warnings.
    pub async fn mutate(&self, request: &Request<'_>, object: &mut Object) -> Result<Vec<String>, Status> {
        if is_exempt(request.scope) {
            return Ok(Vec::new());
        }
        self.policies.mutate(request, object).await?;
        let mut warnings = Vec::new();
        // Hooks that want to see what those after them changed, with what they saw.
        let mut again = Vec::new();
        let (components, webhooks) = (self.components.mutating.hooks.load_full(), self.mutating.hooks.load_full());
        for hook in components.iter().chain(webhooks.iter()) {
            let asked = ask_to_mutate(&self.components, request, hook, object, &mut warnings).await?;
            if asked && hook.again {
                again.push((hook, object.clone()));
            }
        }
        for (hook, seen) in again {
            if seen != *object {
                ask_to_mutate(&self.components, request, hook, object, &mut warnings).await?;
            }
        }
        Ok(warnings)
    }

    /// Asks the mutating and validating hooks about what they cannot change: deletions and connections.
    pub async fn permit(&self, request: &Request<'_>, object: Option<&Object>) -> Result<Vec<String>, Status> {
        if self.is_empty() || is_exempt(request.scope) {
            return Ok(Vec::new());
        }
        let mut warnings = Vec::new();
        let (components, webhooks) = (self.components.mutating.hooks.load_full(), self.mutating.hooks.load_full());
        for hook in components.iter().chain(webhooks.iter()) {
            warnings.extend(ask(&self.components, request, hook, object).await?.map(|(verdict, _)| verdict.warnings).unwrap_or_default());
        }
        warnings.extend(self.validate(request, object).await?);
        Ok(warnings)
    }

    /// Asks the validating hooks; their warnings.
    pub async fn validate(&self, request: &Request<'_>, object: Option<&Object>) -> Result<Vec<String>, Status> {
        if is_exempt(request.scope) {
            return Ok(Vec::new());
        }
        let mut warnings = self.policies.validate(request, object).await?;
        let (components, webhooks) = (self.components.validating.hooks.load_full(), self.validating.hooks.load_full());
        let verdicts = future::join_all(components.iter().chain(webhooks.iter()).map(|hook| ask(&self.components, request, hook, object))).await;
        for verdict in verdicts {
            warnings.extend(verdict?.map(|(verdict, _)| verdict.warnings).unwrap_or_default());
        }
        Ok(warnings)
    }
}

impl Set {
    pub fn is_empty(&self) -> bool {
        self.hooks.load().is_empty()
    }

    fn put(&self, name: &str, configuration: Option<&Object>) {
        let webhooks = configuration.map_or_else(Vec::new, |o| o.list_at(&["webhooks"]).iter().map(|w| Arc::new(Hook::of(w))).collect());
        self.replace(name, webhooks);
    }

    /// What one configuration consists of now.
    pub fn replace(&self, name: &str, hooks: Vec<Arc<Hook>>) {
        let mut configurations = self.configurations.lock().unwrap_or_else(PoisonError::into_inner);
        match hooks.is_empty() {
            false => drop(configurations.insert(name.to_owned(), hooks)),
            true => drop(configurations.remove(name)),
        }
        self.hooks.store(Arc::new(configurations.values().flatten().cloned().collect()));
    }
}

async fn ask_to_mutate(
    components: &Components,
    request: &Request<'_>,
    hook: &Hook,
    object: &mut Object,
    warnings: &mut Vec<String>,
) -> Result<bool, Status> {
    let Some((verdict, seen)) = ask(components, request, hook, Some(object)).await? else { return Ok(false) };
    warnings.extend(verdict.warnings);
    let changed = match (verdict.patch, verdict.object) {
        (Some(patch), _) => {
            let shown = request.shown(&seen, object).await?;
            Some(review::patched(&shown, &patch).map_err(|why| Status::internal(format!("failed calling {}: {why}", hook.title())))?)
        }
        (None, whole) => whole,
    };
    if let Some(changed) = changed {
        *object = request.taken_back(&seen, changed).await?;
    }
    Ok(true)
}

type Asked = (Verdict, Arc<Resource>);

/// `None`: the hook does not care. The verdict comes with the version that the hook saw.
async fn ask(components: &Components, request: &Request<'_>, hook: &Hook, object: Option<&Object>) -> Result<Option<Asked>, Status> {
    let Some(seen) = hook.wants(request, object)? else { return Ok(None) };
    let outcome = match prepared(request, hook, &seen, object).await? {
        Ok(Some((object, old))) => review::ask(components, request, hook, &seen, object.as_ref(), old.as_ref()).await,
        Ok(None) => return Ok(None),
        Err(why) => Err(Refusal::Failed(why)),
    };
    match outcome {
        Ok(verdict) => Ok(Some((verdict, seen))),
        Err(Refusal::Denied(status)) => Err(status),
        Err(Refusal::Failed(why)) if hook.ignores_failure => {
            tracing::warn!(hook = hook.name, %why, "an admission hook failed; the request goes on without it");
            Ok(None)
        }
        Err(Refusal::Failed(why)) => Err(Status::internal(format!("failed calling {}: {why}", hook.title()))),
    }
}

type Both = (Option<Object>, Option<Object>);

/// The objects in the version that the hook sees; `None` where its match conditions say no.
async fn prepared(request: &Request<'_>, hook: &Hook, seen: &Arc<Resource>, object: Option<&Object>) -> Result<Result<Option<Both>, String>, Status> {
    let shown = async |object: Option<&Object>| match object {
        Some(object) => request.shown(seen, object).await.map(Some),
        None => Ok(None),
    };
    let (object, old) = (shown(object).await?, shown(request.old).await?);
    let variables = || {
        let mut all = Variables::new()
            .with("object", object.as_ref().unwrap_or(&Value::Null))
            .with("oldObject", old.as_ref().unwrap_or(&Value::Null))
            .with("request", &review::request_of(request, seen));
        authorizing(request, &mut all);
        all
    };
    Ok(match hook.conditions_hold(variables) {
        Ok(true) => Ok(Some((object, old))),
        Ok(false) => Ok(None),
        Err(why) => Err(why),
    })
}

/// The configurations of admission itself.
fn is_exempt(scope: &Scope) -> bool {
    let def = scope.resource.def();
    def.group == "admissionregistration.k8s.io"
}

/// `{"kind": "CreateOptions", ...}`, as hooks see what was asked along.
pub fn options(kind: &str, dry_run: bool, field_manager: &str) -> Value {
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if dry_run {
        options["dryRun"] = json!(["All"]);
    }
    if !field_manager.is_empty() {
        options["fieldManager"] = json!(field_manager);
    }
    options
}
