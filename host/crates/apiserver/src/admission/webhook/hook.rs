//! One webhook as its configuration describes it, and which requests it wants to see. A policy that runs in process is the same with
//! nobody to call.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pintle_api::admission::Phase;
use pintle_api::object::ObjectExt;
use pintle_api::{Object, Status};
use pintle_cel::Variables;
use serde_json::Value;

use crate::admission::component;
use crate::admission::matching::{Conditions, Matcher, conditions_hold, conditions_of};
use crate::admission::request::Request;
use crate::outbound::Remote;
use crate::resources::Resource;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

pub struct Hook {
    pub name: String,
    pub timeout: Duration,
    /// Whether a call that fails lets the request pass.
    pub ignores_failure: bool,
    /// Called again when a later hook changed the object.
    pub again: bool,
    pub by: By,
    matcher: Matcher,
    /// Compiled when first needed, not where the cache is fed.
    conditions: OnceLock<Conditions>,
    source: Value,
    remote: OnceLock<Result<Arc<Remote>, String>>,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Webhook,
    /// A Plugin of the hook's name, in this of its turns.
    Component {
        phase: Phase,
        wants_system: bool,
    },
}

impl Hook {
    /// A policy in process; `policy` has what a webhook's configuration has.
    pub fn of_component(policy: &Value, phase: Phase, wants_system: bool) -> Self {
        Self { by: By::Component { phase, wants_system }, ..Self::of(policy) }
    }

    pub fn of(webhook: &Value) -> Self {
        let seconds = webhook.i64_at(&["timeoutSeconds"]).and_then(|s| u64::try_from(s).ok());
        Self {
            name: webhook.str_at(&["name"]).to_owned(),
            timeout: seconds.map_or(DEFAULT_TIMEOUT, Duration::from_secs),
            ignores_failure: webhook.str_at(&["failurePolicy"]) == "Ignore",
            again: webhook.str_at(&["reinvocationPolicy"]) == "IfNeeded",
            by: By::Webhook,
            matcher: Matcher::of(webhook, "rules"),
            conditions: OnceLock::new(),
            source: webhook.clone(),
            remote: OnceLock::new(),
        }
    }

    pub fn remote(&self) -> Result<Arc<Remote>, String> {
        self.remote.get_or_init(|| Remote::from_client_config(self.source.get("clientConfig").unwrap_or(&Value::Null)).map(Arc::new)).clone()
    }

    /// In which version the hook wants to see the request; `None`: not at all.
    pub fn wants(&self, request: &Request<'_>, object: Option<&Object>) -> Result<Option<Arc<Resource>>, Status> {
        if let By::Component { wants_system, .. } = self.by
            && component::is_exempt(request, wants_system)
        {
            return Ok(None);
        }
        self.matcher.wants(request, object)
    }

    /// For messages.
    pub fn title(&self) -> String {
        let what = if self.by == By::Webhook { "webhook" } else { "admission plugin" };
        format!("{what} {:?}", self.name)
    }

    /// Whether all match conditions hold.
    pub fn conditions_hold(&self, variables: impl FnOnce() -> Variables<'static>) -> Result<bool, String> {
        let conditions = self.conditions.get_or_init(|| conditions_of(&self.source));
        if conditions.is_empty() { Ok(true) } else { conditions_hold(conditions, &variables()) }
    }
}
