//! Updates: one loop of read, change, prepare, validate and compare-and-swap for PUT, all patches and subresources.

use std::sync::Arc;

use pintle_api::object::ObjectExt;
use pintle_api::schema::Duplicates;
use pintle_api::{Object, Reason, Status, metadata};
use pintle_registry::{Part, WriteContext};
use pintle_store::{Error as StoreError, Expect};
use serde_json::{Value, json};

use super::write::{check_identity, name_differs, name_missing, name_rule, refuse_invalid, store_error};
use super::{Core, FieldValidation, Scope, WriteOptions, Written, cells, managed};
use crate::admission::request::Request;
use crate::admission::{AdmissionAttributes, Operation, webhook};
use crate::cache::{is_clash, stored};

/// A change that asked for no revision is made again on the newest object this often.
const CONFLICT_RETRIES: usize = 10;

/// What a change made of the object, and how the change wants to be tracked.
pub struct Changed {
    pub object: Object,
    /// Server-side apply keeps its own managedFields.
    pub tracked: bool,
}

/// Makes the new object from the present one. Called again after a conflict.
pub type Change<'a> = dyn Fn(&Object) -> Result<Changed, Status> + Send + Sync + 'a;

impl Core {
    /// PUT. Where the kind allows it, a name that does not exist is created.
    pub async fn update(&self, scope: &Scope, object: Object, options: &WriteOptions) -> Result<Written, Status> {
        check_identity(scope, &object)?;
        let mut object = object;
        let resource = &scope.resource;
        metadata::align_namespace(&mut object, if resource.is_namespaced() { &scope.namespace } else { "" })?;
        if object.name() != scope.name {
            if object.name().is_empty() {
                return Err(name_missing(&scope.name));
            }
            return Err(name_differs(object.name(), &scope.name));
        }
        let may_create = scope.subresource.is_empty() && resource.strategy.allow_create_on_update() && object.resource_version().is_empty();
        if may_create && !self.exists(scope).await? {
            self.authorize_creation(scope)?;
            match self.create(scope, object.clone(), options).await {
                Err(taken) if taken.is(Reason::AlreadyExists) => {}
                answer => return answer,
            }
        }
        if object.resource_version().is_empty() && !resource.strategy.allow_unconditional_update() {
            let cause = pintle_api::Cause::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
            // It names the resource where other refusals name the kind.
            let def = resource.def();
            return Err(Status::invalid(&def.group, &def.resource, &scope.name, vec![cause]));
        }
        self.change(scope, options, &|_| Ok(Changed { object: object.clone(), tracked: false })).await
    }

    /// Whether there is such an object now, whoever made it.
    pub(super) async fn exists(&self, scope: &Scope) -> Result<bool, Status> {
        self.cache.catch_up().await?;
        Ok(self.cache.get(&scope.resource.slot, &scope.key()).is_some())
    }

    /// Changes the present object. A resourceVersion in the changed object is a condition; without one, conflicts are retried.
    pub async fn change(&self, scope: &Scope, options: &WriteOptions, change: &Change<'_>) -> Result<Written, Status> {
        for _ in 0..CONFLICT_RETRIES {
            if let Some(written) = self.change_once(scope, options, change).await? {
                return Ok(written);
            }
        }
        Err(scope.stale())
    }

    /// Changes the present object by the server's own hand: no admission, no validation, tried again on conflicts. The
    /// revision that came of it.
    pub async fn rewrite(&self, scope: &Scope, change: &(dyn Fn(&mut Object) -> Result<(), Status> + Send + Sync)) -> Result<u64, Status> {
        let resource = &scope.resource;
        for _ in 0..CONFLICT_RETRIES {
            let present = self.get_ready(scope).await?;
            let old = resource.parse(&present)?;
            let mut new = old.clone();
            change(&mut new)?;
            let new = Arc::new(new);
            let kept = resource.stored_form(&new).await?;
            match self.cache.commit(&resource.slot, &scope.key(), Expect::At(present.revision), Some(&kept)).await {
                Ok(stored) => {
                    self.with_context(&scope.user, false, |context| resource.strategy.after_commit(Some(&new), Some(&old), context));
                    return Ok(stored.map_or(present.revision, |s| s.revision));
                }
                Err(StoreError::Conflict { found: None, .. }) => return Err(scope.not_found()),
                Err(StoreError::Conflict { .. }) => {}
                Err(other) => return Err(store_error(other)),
            }
        }
        Err(scope.stale())
    }

    /// `None`: somebody else wrote in between, and the change did not insist on a revision.
    async fn change_once(&self, scope: &Scope, options: &WriteOptions, change: &Change<'_>) -> Result<Option<Written>, Status> {
        let resource = &scope.resource;
        let turn = self.turn(scope, false).await?;
        let present = self.get(scope)?;
        resource.make_ready([&*present]).await?;
        let old = resource.parse(&present)?;
        let Changed { object: mut new, tracked } = change(&old)?;
        let asked = revision_asked(&new)?;
        let conditional = !asked.is_empty() && asked != old.resource_version();
        if conditional {
            return Err(scope.stale());
        }
        check_uid(scope, &new, &old)?;
        let insists = !asked.is_empty() && !tracked;
        let Some(warnings) = self.admit_update(scope, &mut new, &old, options, tracked).await? else {
            if !options.dry_run && self.cache.is_stale(&resource.slot, &scope.key()).await {
                return self.write_again(scope, &present).await;
            }
            return Ok(Some(Written { json: resource.wire(&present)?, revision: present.revision, created: false, warnings: Vec::new() }));
        };
        if options.dry_run {
            let json = stored::encode_wire(&new);
            return Ok(Some(Written { json, revision: present.revision, created: false, warnings }));
        }
        let ends = may_go(&new, &old);
        let new = Arc::new(new);
        let kept = match resource.stored_form(&new).await {
            Ok(kept) => kept,
            Err(why) => {
                self.with_context(&scope.user, false, |context| resource.strategy.after_commit(Some(&old), Some(&new), context));
                return Err(why);
            }
        };
        let write = if ends { None } else { Some(&kept) };
        let outcome = self.cache.commit_in_turn(&resource.slot, &scope.key(), Expect::At(present.revision), write, &turn).await;
        match outcome {
            Ok(stored) => {
                self.with_context(&scope.user, false, |context| {
                    resource.strategy.after_commit(if ends { None } else { Some(&new) }, Some(&old), context);
                });
                let (json, revision) = match stored {
                    Some(stored) => {
                        cells::keep(resource, &stored, &kept);
                        resource.make_ready([&*stored]).await?;
                        (resource.wire(&stored)?, stored.revision)
                    }
                    None => (stored::wire(&stored::encode(&new), present.revision), present.revision),
                };
                Ok(Some(Written { json, revision, created: false, warnings }))
            }
            Err(failed) => {
                // What was claimed for `new` goes back, unless it may have been written after all.
                if !matches!(failed, StoreError::Unknown(_)) {
                    self.with_context(&scope.user, false, |context| resource.strategy.after_commit(Some(&old), Some(&new), context));
                }
                match failed {
                    clash if is_clash(&clash) => Ok(None),
                    StoreError::Conflict { found: None, .. } => Err(scope.not_found()),
                    StoreError::Conflict { .. } if insists => Err(scope.stale()),
                    StoreError::Conflict { .. } => Ok(None),
                    other => Err(store_error(other)),
                }
            }
        }
    }
}

impl Core {
    /// Commits what is there, for the sake of how it lies in the store. `None`: somebody else wrote in between.
    async fn write_again(&self, scope: &Scope, present: &crate::cache::Stored) -> Result<Option<Written>, Status> {
        let (resource, object) = (&scope.resource, Arc::new(present.parse()?));
        match self.cache.commit(&resource.slot, &scope.key(), Expect::At(present.revision), Some(&object)).await {
            Ok(Some(stored)) => {
                resource.make_ready([&*stored]).await?;
                Ok(Some(Written { json: resource.wire(&stored)?, revision: stored.revision, created: false, warnings: Vec::new() }))
            }
            Ok(None) | Err(StoreError::Conflict { .. }) => Ok(None),
            Err(other) => Err(store_error(other)),
        }
    }

    /// Everything between the change and the commit of an update; the warnings. `None`: the update changes nothing.
    async fn admit_update(
        &self,
        scope: &Scope,
        new: &mut Object,
        old: &Object,
        options: &WriteOptions,
        tracked: bool,
    ) -> Result<Option<Vec<String>>, Status> {
        let update = Update { core: self, scope, old, options, tracked };
        if self.hooks.is_empty() {
            return self.with_context(&scope.user, options.dry_run, |context| {
                update.begin(new, context)?;
                if !update.make(new, context)? { Ok(None) } else { update.finish(new, context).map(Some) }
            });
        }
        let request = Request {
            old: Some(old),
            options: webhook::options("UpdateOptions", options.dry_run, &options.field_manager),
            dry_run: options.dry_run,
            ..self.asking(scope, Operation::Update)
        };
        self.with_context(&scope.user, options.dry_run, |context| update.begin(new, context))?;
        let mut warnings = self.hooks.mutate(&request, new).await?;
        super::patch::checked(scope, new, &Duplicates::default(), FieldValidation::Ignore)?;
        let changes = self.with_context(&scope.user, options.dry_run, |context| update.make(new, context))?;
        // Asked even about what changes nothing: whether it may be written is theirs to say.
        warnings.extend(self.hooks.validate(&request, Some(new)).await?);
        if !changes {
            return Ok(None);
        }
        warnings.extend(self.with_context(&scope.user, options.dry_run, |context| update.finish(new, context))?);
        Ok(Some(warnings))
    }
}

/// One update on its way, in the three steps between which webhooks are asked.
struct Update<'a> {
    core: &'a Core,
    scope: &'a Scope,
    old: &'a Object,
    options: &'a WriteOptions,
    tracked: bool,
}

impl Update<'_> {
    fn attributes(&self) -> AdmissionAttributes<'_> {
        let Scope { resource, namespace, name, subresource, .. } = self.scope;
        let (old, pod_security) = (Some(self.old), &self.core.pod_security);
        AdmissionAttributes { operation: Operation::Update, resource, subresource, namespace, name, old, pod_security }
    }

    /// Up to built-in mutation.
    fn begin(&self, new: &mut Object, context: &WriteContext<'_>) -> Result<(), Status> {
        self.scope.resource.stamp(new);
        new.set_at(&["metadata", "resourceVersion"], json!(self.old.resource_version()));
        self.scope.resource.strategy.default(new);
        metadata::prepare_update(new, self.old);
        // What the server itself changes from here on is nobody's.
        if !self.tracked {
            managed::track(self.scope, Some(self.old), new, self.options, context.now);
        }
        self.core.admission.mutate(new, &self.attributes(), context)
    }

    /// The object as it is to be, and whether it is valid. False: it is as before.
    fn make(&self, new: &mut Object, context: &WriteContext<'_>) -> Result<bool, Status> {
        let Self { scope, old, .. } = *self;
        let (resource, strategy, part) = (&scope.resource, &scope.resource.strategy, scope.part());
        strategy.default(new);
        metadata::prepare_update(new, old);
        strategy.prepare_update(new, old, part, context);
        if part == Part::Status {
            keep_metadata_of(new, old, managed::status_leaves(scope));
        }
        // Validation may tell an empty list from none; neither content nor store do.
        let mut sent = resource.leave_out_empties(new);
        // What an earlier build stored stays as it lies, or its form alone would be a change of what is immutable, or of a template.
        sent.iter_mut().chain([&mut *new]).for_each(|object| resource.take_over_empties(object, old));
        if strategy.has_generation() && differs_in_content(new, old, resource.has_status()) {
            let next = json!(old.i64_at(&["metadata", "generation"]).unwrap_or(0) + 1);
            for object in sent.iter_mut().chain([&mut *new]) {
                object.set_at(&["metadata", "generation"], next.clone());
            }
        }
        let changes = !same_but_for_times(new, old);
        if !changes && sent.is_none() {
            return Ok(false);
        }
        let beside = sent.as_ref().map(|sent| {
            let mut old = old.clone();
            resource.take_over_empties(&mut old, sent);
            old
        });
        let (new, old) = (sent.as_ref().unwrap_or(new), beside.as_ref().unwrap_or(old));
        let mut causes = metadata::validate_update(new, old, resource.is_namespaced(), name_rule(resource), strategy.metadata_repeats(part));
        causes.extend(strategy.validate_update(new, old, part));
        causes.extend(strategy.validate_rules(new, Some(old), &causes));
        refuse_invalid(scope, &scope.name, causes)?;
        Ok(changes)
    }

    /// What may still refuse it, and the claims that the commit confirms. What the kind warns of is told either way.
    fn finish(&self, new: &mut Object, context: &WriteContext<'_>) -> Result<Vec<String>, Status> {
        let (strategy, attributes) = (&self.scope.resource.strategy, self.attributes());
        let mut warnings = if self.scope.part() == Part::Status { Vec::new() } else { strategy.warnings(new, Some(self.old)) };
        let outcome = self.core.admission.validate(new, &attributes, context).and_then(|more| {
            warnings.extend(more);
            self.core.gate(context.user, Some(new), &attributes)?;
            strategy.before_commit(new, Some(self.old), context)
        });
        outcome.map_err(|refused| refused.warned(&warnings))?;
        Ok(warnings)
    }
}

/// The revision that the new object insists on. Zero insists on none.
fn revision_asked(new: &Object) -> Result<String, Status> {
    let asked = new.resource_version();
    match asked.parse::<u64>() {
        _ if asked.is_empty() => Ok(String::new()),
        Ok(0) => Ok(String::new()),
        Ok(_) => Ok(asked.to_owned()),
        Err(fault) => {
            let why = if *fault.kind() == std::num::IntErrorKind::PosOverflow { "value out of range" } else { "invalid syntax" };
            Err(Status::new(500, Reason::Unknown, format!("strconv.ParseUint: parsing {}: {why}", pintle_api::status::quoted(asked))))
        }
    }
}

fn check_uid(scope: &Scope, new: &Object, old: &Object) -> Result<(), Status> {
    if new.uid().is_empty() || new.uid() == old.uid() {
        return Ok(());
    }
    let place = format!(
        "/{}/{}",
        scope.resource.def().resource,
        if scope.namespace.is_empty() { scope.name.clone() } else { format!("{}/{}", scope.namespace, scope.name) }
    );
    let failed = format!("Precondition failed: UID in precondition: {}, UID in object meta: {}", new.uid(), old.uid());
    Err(scope.conflict(&format!("StorageError: invalid object, Code: 4, Key: {place}, ResourceVersion: 0, AdditionalErrorMsg: {failed}")))
}

/// A write of the status leaves the metadata that is not its own to change.
fn keep_metadata_of(new: &mut Object, old: &Object, fields: &[&str]) {
    for field in fields {
        match old.at(&["metadata", field]) {
            Some(value) => new.set_at(&["metadata", field], value.clone()),
            None => drop(new.remove_at(&["metadata", field])),
        }
    }
}

/// Whether anything differs but the metadata, and but the status where that is written apart.
fn differs_in_content(new: &Object, old: &Object, has_status: bool) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return true };
    let counts = |key: &&String| match key.as_str() {
        "apiVersion" | "kind" | "metadata" => false,
        "status" => !has_status,
        _ => true,
    };
    new.keys().filter(counts).any(|key| new.get(key) != old.get(key)) || old.keys().filter(counts).any(|key| !new.contains_key(key))
}

/// The times in managedFields do not make a write a change.
fn same_but_for_times(new: &Object, old: &Object) -> bool {
    let (Some(a), Some(b)) = (new.as_object(), old.as_object()) else { return false };
    let top = |key: &&String| key.as_str() != "metadata";
    if a.len() != b.len() || a.keys().filter(top).any(|key| a.get(key) != b.get(key)) {
        return false;
    }
    let (Some(a), Some(b)) = (new.map_at(&["metadata"]), old.map_at(&["metadata"])) else { return false };
    let fields = |key: &&String| key.as_str() != "managedFields";
    if a.keys().filter(fields).count() != b.keys().filter(fields).count() || a.keys().filter(fields).any(|key| a.get(key) != b.get(key)) {
        return false;
    }
    let (a, b) = (new.list_at(&["metadata", "managedFields"]), old.list_at(&["metadata", "managedFields"]));
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_but_for_time(a, b))
}

fn same_but_for_time(new: &Value, old: &Value) -> bool {
    let (Some(a), Some(b)) = (new.as_object(), old.as_object()) else { return new == old };
    let untimed = |(field, _): &(&String, &Value)| field.as_str() != "time";
    a.iter().filter(untimed).eq(b.iter().filter(untimed))
}

/// Whether nothing holds an object any more that is being deleted: no finalizer and no grace period left.
pub fn may_go(new: &Object, old: &Object) -> bool {
    let held = |object: &Object| !object.list_at(&["metadata", "finalizers"]).is_empty() || namespace_is_held(object);
    // An ending without finalizers waits for its grace period; it is carried out by a deletion, not by an update.
    new.is_being_deleted() && !held(new) && held(old) && new.i64_at(&["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0) == 0
}

/// Namespaces are held by a list of their own.
pub fn namespace_is_held(object: &Object) -> bool {
    object.kind() == "Namespace" && object.api_version() == "v1" && !object.list_at(&["spec", "finalizers"]).is_empty()
}
