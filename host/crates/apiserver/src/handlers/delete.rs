//! Deletion: at once, after a grace period, or when the finalizers are gone.

use std::sync::Arc;

use futures::TryStreamExt as _;
use pintle_api::metadata::seconds;
use pintle_api::object::ObjectExt;
use pintle_api::{Object, Status};
use pintle_store::{Error as StoreError, Expect};
use serde::Deserialize;
use serde_json::{Value, json};

use super::list::ListQuery;
use super::update::namespace_is_held;
use super::write::store_error;
use super::{Core, Scope, cells};
use crate::admission::request::Request;
use crate::admission::{AdmissionAttributes, Operation, webhook};
use crate::auth::User;
use crate::cache::{Stored, stored};
use crate::resources::Resource;

/// A deletion without preconditions is tried again on the newest object this often.
const CONFLICT_RETRIES: usize = 10;
/// Objects of a collection that are deleted at a time.
const DELETIONS_AT_ONCE: usize = 64;
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub propagation_policy: Option<String>,
    pub orphan_dependents: Option<bool>,
    pub preconditions: Option<Preconditions>,
    pub dry_run: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

pub enum Deleted {
    /// Gone; the last state.
    Gone(Object),
    /// Waits for its finalizers or its grace period.
    Waits(std::sync::Arc<Stored>),
    /// A dry run.
    Would(Object),
}

enum Step {
    Remove,
    /// Store this object, which is now marked.
    Mark(Object),
    /// It waits already, and nothing is to change.
    Nothing,
}

impl Core {
    pub async fn delete(&self, scope: &Scope, options: &DeleteOptions) -> Result<Deleted, Status> {
        check_options(options)?;
        for _ in 0..CONFLICT_RETRIES {
            if let Some(done) = self.delete_once(scope, options).await? {
                return Ok(done);
            }
        }
        Err(scope.stale())
    }

    /// Deletes an object because its kind ends. Nobody is asked and nothing is converted, for whoever would answer may be gone before:
    /// upstream deletes these in its storage, too. It may wait for its finalizers; one that changed meanwhile is left.
    pub async fn delete_as_stored(&self, resource: &Arc<Resource>, stored: &Stored) -> Result<(), Status> {
        let old = stored.parse()?;
        let scope = Scope {
            user: Arc::new(User::loopback()),
            resource: resource.clone(),
            namespace: stored.namespace().to_owned(),
            name: stored.name().to_owned(),
            subresource: String::new(),
        };
        let marked = match step(&scope, &old, &DeleteOptions::default()) {
            Step::Nothing => return Ok(()),
            Step::Remove => None,
            Step::Mark(object) => Some(Arc::new(object)),
        };
        match self.cache.commit(&resource.slot, &scope.key(), Expect::At(stored.revision), marked.as_ref()).await {
            Ok(_) => {
                self.with_context(&scope.user, false, |context| resource.strategy.after_commit(marked.as_deref(), Some(&old), context));
                Ok(())
            }
            Err(StoreError::Conflict { .. }) => Ok(()),
            Err(other) => Err(store_error(other)),
        }
    }

    /// Asks the webhooks. What ends already is asked about as well: a shorter grace period is a deletion, too.
    async fn permit_deletion(&self, scope: &Scope, old: &Object, options: &DeleteOptions, dry_run: bool) -> Result<(), Status> {
        if self.hooks.is_empty() {
            return Ok(());
        }
        let mut asked = webhook::options("DeleteOptions", dry_run, "");
        if let Some(seconds) = options.grace_period_seconds {
            asked["gracePeriodSeconds"] = json!(seconds);
        }
        if let Some(policy) = &options.propagation_policy {
            asked["propagationPolicy"] = json!(policy);
        }
        let request = Request { old: Some(old), options: asked, dry_run, ..self.asking(scope, Operation::Delete) };
        self.hooks.permit(&request, None).await.map(drop)
    }

    /// `None`: the object changed meanwhile.
    async fn delete_once(&self, scope: &Scope, options: &DeleteOptions) -> Result<Option<Deleted>, Status> {
        let resource = &scope.resource;
        let present = self.get_ready(scope).await?;
        let mut old = resource.parse(&present)?;
        check_preconditions(scope, &old, options)?;
        let dry_run = is_dry_run(&options.dry_run);
        self.with_context(&scope.user, dry_run, |context| {
            let name = scope.name.clone();
            let attributes = AdmissionAttributes {
                operation: Operation::Delete,
                resource,
                subresource: "",
                namespace: &scope.namespace,
                name: &name,
                old: Some(&old),
                pod_security: &self.pod_security,
            };
            let mut seen = old.clone();
            self.admission.mutate(&mut seen, &attributes, context)?;
            self.admission.validate(&seen, &attributes, context)?;
            self.gate(context.user, None, &attributes)
        })?;
        self.permit_deletion(scope, &old, options, dry_run).await?;
        let step = step(scope, &old, options);
        if dry_run {
            return Ok(Some(Deleted::Would(if let Step::Mark(marked) = step { marked } else { old })));
        }
        let marked = match &step {
            Step::Nothing => return Ok(Some(Deleted::Waits(present))),
            Step::Remove => None,
            Step::Mark(object) => Some(resource.stored_form(&Arc::new(object.clone())).await?),
        };
        match self.cache.commit(&resource.slot, &scope.key(), Expect::At(present.revision), marked.as_ref()).await {
            Ok(Some(stored)) => {
                marked.iter().for_each(|marked| cells::keep(resource, &stored, marked));
                let Step::Mark(new) = step else { return Err(Status::internal("a removal left an object")) };
                self.with_context(&scope.user, false, |context| resource.strategy.after_commit(Some(&new), Some(&old), context));
                Ok(Some(Deleted::Waits(stored)))
            }
            Ok(None) => {
                self.with_context(&scope.user, false, |context| resource.strategy.after_commit(None, Some(&old), context));
                if resource.strategy.grace_period_seconds(&old, options.grace_period_seconds).is_some() {
                    old.set_at(&["metadata", "deletionGracePeriodSeconds"], json!(0));
                    if !old.is_being_deleted() {
                        old.set_at(&["metadata", "deletionTimestamp"], json!(seconds(jiff::Timestamp::now())));
                    }
                }
                Ok(Some(Deleted::Gone(old)))
            }
            Err(StoreError::Conflict { found: None, .. }) => Err(scope.not_found()),
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(other) => Err(store_error(other)),
        }
    }

    /// Deletes what a list finds; returns what was found. One that is gone meanwhile is no error.
    pub async fn delete_collection(&self, scope: &Scope, query: &ListQuery, options: &DeleteOptions) -> Result<super::list::List, Status> {
        let found = self.list(scope, query).await?;
        let deletions = found.items.iter().map(|stored| async {
            let one = Scope { name: stored.name().to_owned(), namespace: stored.namespace().to_owned(), ..scope.clone() };
            match self.delete(&one, options).await {
                Err(gone) if gone.is(pintle_api::Reason::NotFound) => Ok(()),
                other => other.map(drop),
            }
        });
        // Together, so that they share the disk's syncs.
        futures::stream::iter(deletions.map(Ok)).try_for_each_concurrent(DELETIONS_AT_ONCE, |deletion| deletion).await?;
        Ok(found)
    }
}

impl Deleted {
    /// Code and body of the answer.
    pub fn answer(self, scope: &Scope, options: &DeleteOptions) -> Result<(u16, bytes::Bytes), Status> {
        let def = scope.resource.def();
        let returns = def.gives_back_what_was_deleted();
        let accepted = options.propagation_policy.is_none() && options.orphan_dependents == Some(false);
        match self {
            Self::Gone(object) | Self::Would(object) if returns => Ok((200, stored::encode_wire(&object))),
            Self::Gone(object) | Self::Would(object) => Ok((200, success(scope, &object))),
            Self::Waits(stored) => Ok((if accepted { 202 } else { 200 }, scope.resource.wire(&stored)?)),
        }
    }
}

pub fn is_dry_run(values: &[String]) -> bool {
    values.iter().any(|v| v == "All")
}

fn success(scope: &Scope, object: &Object) -> bytes::Bytes {
    let def = scope.resource.def();
    let mut details = json!({"name": scope.name, "kind": def.resource, "uid": object.uid()});
    if !def.group.is_empty() {
        details["group"] = json!(def.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}).to_string().into()
}

fn check_options(options: &DeleteOptions) -> Result<(), Status> {
    let invalid = |field: &str, value: Value, why: &str| {
        let cause = pintle_api::Cause::invalid(field, &value, why);
        Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", vec![cause]))
    };
    if let Some(policy) = &options.propagation_policy {
        if options.orphan_dependents.is_some() {
            return invalid("propagationPolicy", json!(policy), "orphanDependents and deletionPropagation cannot be both set");
        }
        if !matches!(policy.as_str(), "Background" | "Foreground" | "Orphan") {
            let cause = pintle_api::Cause::not_supported("propagationPolicy", &json!(policy), &["Foreground", "Background", "Orphan", "nil"]);
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", vec![cause]));
        }
    }
    for value in &options.dry_run {
        if value != "All" {
            let cause = pintle_api::Cause::not_supported("dryRun", &json!(value), &["All"]);
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", vec![cause]));
        }
    }
    Ok(())
}

pub fn check_preconditions(scope: &Scope, object: &Object, options: &DeleteOptions) -> Result<(), Status> {
    let Some(wanted) = &options.preconditions else { return Ok(()) };
    let def = scope.resource.def();
    // Named by its kind, which upstream has at hand there.
    let refused = |what: &str, wanted: &str, have: &str, guess: &str| {
        let why =
            format!("the {what} in the precondition ({wanted}) does not match the {what} in record ({have}). The object might have been {guess}");
        Err(Status::conflict(&def.group, &def.kind, &scope.name, &why))
    };
    if let Some(uid) = wanted.uid.as_deref().filter(|uid| *uid != object.uid()) {
        return refused("UID", uid, object.uid(), "deleted and then recreated");
    }
    if let Some(version) = wanted.resource_version.as_deref().filter(|v| *v != object.resource_version()) {
        return refused("ResourceVersion", version, object.resource_version(), "modified");
    }
    Ok(())
}

/// What a deletion does to this object now.
fn step(scope: &Scope, old: &Object, options: &DeleteOptions) -> Step {
    let asked = options.grace_period_seconds.map(|seconds| seconds.max(0));
    let grace = scope.resource.strategy.grace_period_seconds(old, asked).unwrap_or(0).max(0);
    let mut new = old.clone();
    set_finalizers(&mut new, scope, options);
    let held = !new.list_at(&["metadata", "finalizers"]).is_empty() || namespace_is_held(&new);
    if old.is_being_deleted() {
        let present = old.i64_at(&["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0);
        // Only a shorter period counts; without a wish the first one stays.
        let shorter = asked.is_some() && grace < present;
        if shorter && grace > 0 {
            set_deadline(&mut new, grace, Some(present));
            return Step::Mark(new);
        }
        if !held && (grace == 0 && (shorter || present == 0)) {
            return Step::Remove;
        }
        if shorter {
            set_deadline(&mut new, 0, Some(present));
        }
        return if new == *old { Step::Nothing } else { Step::Mark(new) };
    }
    if grace == 0 && !held {
        return Step::Remove;
    }
    set_deadline(&mut new, grace, None);
    if scope.resource.def().resource == "namespaces" && scope.resource.def().group.is_empty() {
        new.remove_at(&["metadata", "deletionGracePeriodSeconds"]);
    }
    if let Some(generation) = new.i64_at(&["metadata", "generation"]).filter(|g| *g > 0) {
        new.set_at(&["metadata", "generation"], json!(generation + 1));
    }
    if scope.resource.def().resource == "namespaces" && scope.resource.def().group.is_empty() {
        new.set_at(&["status", "phase"], json!("Terminating"));
    }
    Step::Mark(new)
}

/// `before`: the period that the present deadline was made with.
fn set_deadline(object: &mut Object, grace: i64, before: Option<i64>) {
    let now = jiff::Timestamp::now();
    let start = match before {
        Some(before) => object
            .str_at(&["metadata", "deletionTimestamp"])
            .parse::<jiff::Timestamp>()
            .ok()
            .and_then(|t| t.checked_sub(jiff::SignedDuration::from_secs(before)).ok())
            .unwrap_or(now),
        None => now,
    };
    let end = start.checked_add(jiff::SignedDuration::from_secs(grace)).unwrap_or(now);
    object.set_at(&["metadata", "deletionTimestamp"], json!(seconds(end)));
    object.set_at(&["metadata", "deletionGracePeriodSeconds"], json!(grace));
}

/// The propagation policy as the garbage collector's finalizers.
fn set_finalizers(object: &mut Object, scope: &Scope, options: &DeleteOptions) {
    let has = |name: &str| object.list_at(&["metadata", "finalizers"]).iter().any(|f| f == name);
    let (orphan, foreground) = match (options.propagation_policy.as_deref(), options.orphan_dependents) {
        (Some("Orphan"), _) | (None, Some(true)) => (true, false),
        (Some("Foreground"), _) => (false, true),
        (Some(_), _) | (None, Some(false)) => (false, false),
        (None, None) if has(ORPHAN) => (true, false),
        (None, None) if has(FOREGROUND) => (false, true),
        (None, None) => (scope.resource.strategy.default_propagation().eq_ignore_ascii_case("orphan"), false),
    };
    let mut finalizers: Vec<Value> =
        object.list_at(&["metadata", "finalizers"]).iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).cloned().collect();
    let def = scope.resource.def();
    if def.resource == "customresourcedefinitions"
        && def.group == "apiextensions.k8s.io"
        && !finalizers.iter().any(|f| f == pintle_registry::custom::CLEANUP)
    {
        // The definition goes last, after the objects that it defines.
        finalizers.push(json!(pintle_registry::custom::CLEANUP));
    }
    if orphan {
        finalizers.push(json!(ORPHAN));
    }
    if foreground {
        finalizers.push(json!(FOREGROUND));
    }
    if finalizers.is_empty() {
        object.remove_at(&["metadata", "finalizers"]);
    } else {
        object.set_at(&["metadata", "finalizers"], Value::Array(finalizers));
    }
}
