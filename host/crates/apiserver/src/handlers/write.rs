//! Creation, and the parts of the write pipeline that creation and update share.

use std::sync::Arc;

use pintle_api::metadata::seconds;
use pintle_api::names::NameRule;
use pintle_api::object::ObjectExt;
use pintle_api::resource::GroupVersion;
use pintle_api::schema::Duplicates;
use pintle_api::{Cause, GroupVersionKind, Object, Status, metadata, schema};
use pintle_registry::{Part, WriteContext};
use pintle_store::{Error as StoreError, Expect};
use rand::Rng as _;
use serde_json::json;

use super::{Core, FieldValidation, Scope, WriteOptions, Written, cells, managed};
use crate::admission::request::Request;
use crate::admission::{AdmissionAttributes, Operation, webhook};
use crate::cache::{is_clash, stored};
use crate::resources::Resource;

/// A generated name that is taken is drawn again this often.
const GENERATE_NAME_TRIES: usize = 8;
/// A creation that clashed with another server's is judged again this often.
const CLASH_TRIES: usize = 20;
/// What random endings are made of: no vowels and nothing that looks like another character.
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const NAME_ENDING: usize = 5;
/// Added to what says that a name is taken when the object came with a `generateName`.
const UNGENERATED: &str = ", the server was not able to generate a unique name for the object";

impl Core {
    /// Creates the object in the scope's namespace. The scope's name is empty, or the name that an update asked for.
    pub async fn create(&self, scope: &Scope, object: Object, options: &WriteOptions) -> Result<Written, Status> {
        self.create_tracked(scope, object, options, false).await
    }

    /// The same for an object whose managedFields server-side apply has made.
    pub async fn create_applied(&self, scope: &Scope, object: Object, options: &WriteOptions) -> Result<Written, Status> {
        self.create_tracked(scope, object, options, true).await
    }

    async fn create_tracked(&self, scope: &Scope, mut object: Object, options: &WriteOptions, tracked: bool) -> Result<Written, Status> {
        let resource = &scope.resource;
        check_identity(scope, &object)?;
        metadata::align_namespace(&mut object, if resource.is_namespaced() { &scope.namespace } else { "" })?;
        if !scope.name.is_empty() && object.name() != scope.name {
            return Err(name_differs(object.name(), &scope.name));
        }
        let prefixed = !object.str_at(&["metadata", "generateName"]).is_empty();
        let generated = object.name().is_empty() && prefixed;
        let (mut names, mut clashes) = (1, 0);
        // Kept where it may be needed once more.
        let written = loop {
            if !generated && !self.cache.store().is_shared() {
                break self.create_once(scope, object, options, generated, tracked).await;
            }
            match self.create_once(scope, object.clone(), options, generated, tracked).await {
                Err(taken) if generated && taken.is(pintle_api::Reason::AlreadyExists) && names < GENERATE_NAME_TRIES => names += 1,
                Ok(None) if clashes < CLASH_TRIES => clashes += 1,
                written => break written,
            }
        };
        written.and_then(|written| written.ok_or_else(clashed)).map_err(|mut failed| {
            if prefixed && failed.is(pintle_api::Reason::AlreadyExists) {
                failed.message.push_str(UNGENERATED);
            }
            failed
        })
    }

    /// `None`: another server took what this creation counted on.
    async fn create_once(
        &self,
        scope: &Scope,
        mut object: Object,
        options: &WriteOptions,
        generate: bool,
        tracked: bool,
    ) -> Result<Option<Written>, Status> {
        let turn = self.turn(scope, true).await?;
        if generate {
            let name = metadata::generated_name(object.str_at(&["metadata", "generateName"]), &random_ending());
            object.set_at(&["metadata", "name"], json!(name));
        }
        let Admitted { warnings, managers } = self.admit_create(scope, &mut object, options, tracked).await?;
        let (resource, name) = (&scope.resource, object.name().to_owned());
        let key = resource.key(&scope.namespace, &name);
        let exists = || Status::already_exists(&resource.def().group, &resource.def().resource, &name);
        if options.dry_run {
            if self.cache.get(&resource.slot, &key).is_some() {
                return Err(exists().warned(&warnings));
            }
            return Ok(Some(Written { json: stored::encode_with(&object, &managers), revision: 0, created: true, warnings }));
        }
        let object = Arc::new(object);
        let kept = match resource.stored_form(&object).await {
            Ok(kept) => kept,
            Err(why) => {
                self.with_context(&scope.user, false, |context| resource.strategy.after_commit(None, Some(&object), context));
                return Err(why);
            }
        };
        let value = stored::encode_with(&kept, &managers);
        let outcome = self.cache.put_in_turn(&resource.slot, &key, Expect::Absent, &kept, value, &turn).await;
        if let Err(unknown @ StoreError::Unknown(_)) = outcome {
            // The claims stay: releasing what may have been written would hand a number out twice.
            return Err(store_error(unknown));
        }
        self.with_context(&scope.user, false, |context| match &outcome {
            Ok(_) => resource.strategy.after_commit(Some(&object), None, context),
            Err(_) => resource.strategy.after_commit(None, Some(&object), context),
        });
        match outcome {
            Ok(Some(stored)) => {
                cells::keep(resource, &stored, &kept);
                resource.make_ready([&*stored]).await?;
                Ok(Some(Written { json: resource.wire(&stored)?, revision: stored.revision, created: true, warnings }))
            }
            Ok(None) => Err(Status::internal("a creation left nothing")),
            Err(clash) if is_clash(&clash) => Ok(None),
            Err(StoreError::Conflict { .. }) => Err(exists().warned(&warnings)),
            Err(other) => Err(store_error(other)),
        }
    }
}

impl Core {
    /// Everything between decoding and the commit of a creation.
    async fn admit_create(&self, scope: &Scope, object: &mut Object, options: &WriteOptions, tracked: bool) -> Result<Admitted, Status> {
        let mut creation = Creation { core: self, scope, name: object.name().to_owned(), options, tracking: Tracking::Inside };
        if tracked {
            creation.tracking = Tracking::Done;
        }
        if self.hooks.is_empty() {
            // Nobody looks at the list on its way, and nothing but its text is kept of it.
            if !tracked && !scope.resource.converts {
                creation.tracking = Tracking::Beside;
            }
            return self.with_context(&scope.user, options.dry_run, |context| {
                let managers = creation.begin(object, context)?;
                let warnings = creation.make(object, context)?;
                Ok(Admitted { warnings: creation.finish(object, warnings, context)?, managers })
            });
        }
        let request = Request {
            name: &creation.name,
            options: webhook::options("CreateOptions", options.dry_run, &options.field_manager),
            dry_run: options.dry_run,
            ..self.asking(scope, Operation::Create)
        };
        self.with_context(&scope.user, options.dry_run, |context| creation.begin(object, context))?;
        let mut warnings = self.hooks.mutate(&request, object).await?;
        super::patch::checked(scope, object, &Duplicates::default(), FieldValidation::Ignore)?;
        warnings.extend(self.with_context(&scope.user, options.dry_run, |context| creation.make(object, context))?);
        warnings.extend(self.hooks.validate(&request, Some(object)).await.map_err(|refused| refused.warned(&warnings))?);
        let warnings = self.with_context(&scope.user, options.dry_run, |context| creation.finish(object, warnings, context))?;
        Ok(Admitted { warnings, managers: String::new() })
    }
}

/// What an admitted creation has besides its object.
struct Admitted {
    warnings: Vec<String>,
    /// Its `managedFields` as text, where they are not in the object.
    managers: String,
}

/// Where a creation's `managedFields` are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tracking {
    /// Server-side apply has made them.
    Done,
    /// In the object, where all see them.
    Inside,
    /// As text beside it.
    Beside,
}

/// One creation on its way, in the three steps between which webhooks are asked.
struct Creation<'a> {
    core: &'a Core,
    scope: &'a Scope,
    name: String,
    options: &'a WriteOptions,
    tracking: Tracking,
}

impl Creation<'_> {
    fn attributes(&self) -> AdmissionAttributes<'_> {
        let Scope { resource, namespace, .. } = self.scope;
        let pod_security = &self.core.pod_security;
        AdmissionAttributes { operation: Operation::Create, resource, subresource: "", namespace, name: &self.name, old: None, pod_security }
    }

    /// Up to built-in mutation. The text of what is tracked beside the object.
    fn begin(&self, object: &mut Object, context: &WriteContext<'_>) -> Result<String, Status> {
        self.scope.resource.stamp(object);
        metadata::prepare_create(object, &uuid::Uuid::new_v4().to_string(), &seconds(context.now));
        self.scope.resource.strategy.default(object);
        // What the server itself adds from here on is nobody's.
        let beside = match self.tracking {
            Tracking::Beside => managed::track_create(self.scope, object, self.options, context.now),
            Tracking::Done | Tracking::Inside => None,
        };
        if beside.is_none() && self.tracking != Tracking::Done {
            managed::track(self.scope, None, object, self.options, context.now);
        }
        self.core.admission.mutate(object, &self.attributes(), context)?;
        Ok(beside.unwrap_or_default())
    }

    /// The object as it is to be, and whether it is valid; what the kind warns of.
    fn make(&self, object: &mut Object, context: &WriteContext<'_>) -> Result<Vec<String>, Status> {
        let (resource, strategy) = (&self.scope.resource, &self.scope.resource.strategy);
        strategy.default(object);
        let mut warnings = strategy.early_warnings(object);
        strategy.prepare_create(object, context);
        strategy.claimable(object, context)?;
        if strategy.has_generation() {
            object.set_at(&["metadata", "generation"], json!(1));
        }
        let mut causes =
            metadata::validate_create(object, resource.is_namespaced(), name_rule(resource), strategy.metadata_repeats(Part::Main).own_finalizers);
        causes.extend(strategy.validate_create(object));
        causes.extend(strategy.validate_rules(object, None, &causes));
        refuse_invalid(self.scope, &self.name, causes).map_err(|refused| refused.warned(&warnings))?;
        warnings.extend(strategy.warnings(object, None));
        resource.leave_out_empties(object);
        Ok(warnings)
    }

    /// What may still refuse it, and the claims that the commit confirms. Warnings so far are told either way.
    fn finish(&self, object: &mut Object, mut warnings: Vec<String>, context: &WriteContext<'_>) -> Result<Vec<String>, Status> {
        let (strategy, attributes) = (&self.scope.resource.strategy, self.attributes());
        let outcome = self.core.admission.validate(object, &attributes, context).and_then(|more| {
            warnings.extend(more);
            self.core.gate(context.user, Some(object), &attributes)?;
            strategy.before_commit(object, None, context)
        });
        outcome.map_err(|refused| refused.warned(&warnings))?;
        Ok(warnings)
    }
}

/// Roles are named like the users and groups that they are for: any path segment.
pub fn name_rule(resource: &Resource) -> NameRule {
    if resource.def().group == "rbac.authorization.k8s.io" { NameRule::PathSegment } else { resource.strategy.name_rule() }
}

/// The kind in the body must be the one of the path.
pub fn check_identity(scope: &Scope, object: &Object) -> Result<(), Status> {
    let def = scope.resource.def();
    let (api_version, kind) = (object.api_version(), object.kind());
    if kind.is_empty() || api_version.is_empty() || (kind == def.kind && api_version == scope.resource.api_version) {
        return Ok(());
    }
    let version = version_of(api_version);
    let is_custom = scope.resource.has_own_schema();
    if !is_custom && !is_builtin(api_version, kind) {
        return Err(Status::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {}: no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/runtime/scheme.go:111\"",
            def.kind
        )));
    }
    if is_custom && kind != def.kind && api_version == scope.resource.api_version {
        // Read without its type, and refused when it is judged.
        let cause = Cause::invalid("kind", &kind.into(), &format!("must be {}", def.kind));
        return Err(Status::invalid(&def.group, kind, object.name(), vec![cause]));
    }
    if kind != def.kind && !is_custom {
        return Err(Status::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {}: converting ({version}.{kind}) to ({}.{}): unknown conversion",
            def.kind,
            package_of(&def.group),
            def.kind,
        )));
    }
    let message = format!("the API version in the data ({api_version}) does not match the expected API version ({})", scope.resource.api_version);
    Err(Status::bad_request(message))
}

fn is_builtin(api_version: &str, kind: &str) -> bool {
    let version = GroupVersion::parse(api_version);
    schema::builtin().for_kind(&GroupVersionKind::new(version.group, version.version, kind.to_owned())).is_some()
}

/// The package of upstream's internal types of a group.
fn package_of(group: &str) -> &str {
    match group.split('.').next() {
        None | Some("" | "events") => "core",
        Some(package) => package,
    }
}

pub fn name_missing(url: &str) -> Status {
    Status::bad_request(format!("the name of the object ({url} based on URL) was undeterminable: name must be provided"))
}

pub fn name_differs(have: &str, want: &str) -> Status {
    Status::bad_request(format!("the name of the object ({have}) does not match the name on the URL ({want})"))
}

pub fn refuse_invalid(scope: &Scope, name: &str, causes: Vec<Cause>) -> Result<(), Status> {
    let def = scope.resource.def();
    if causes.is_empty() {
        return Ok(());
    }
    let (group, kind) = match (&*def.group, &*scope.subresource) {
        // What is wrong about a custom object is told of it, not of its scale.
        (_, "scale") if !scope.resource.custom => ("autoscaling", "Scale"),
        // Both APIs of events check one internal kind.
        ("events.k8s.io", _) => ("", "Event"),
        (group, _) => (group, &*def.kind),
    };
    Err(Status::invalid(group, kind, name, causes))
}

fn clashed() -> Status {
    Status::too_many_requests("too many servers create such objects at once, please try again later", 1)
}

pub fn store_error(error: StoreError) -> Status {
    match error {
        StoreError::TooLarge { size, limit } => Status::new(
            413,
            pintle_api::Reason::RequestEntityTooLarge,
            format!("Request entity too large: the object has {size} bytes, the limit is {limit}"),
        ),
        StoreError::Unavailable(why) => {
            let mut status = Status::unavailable(format!("storage unavailable: {why}"));
            // Nothing was written: a client may ask again.
            status.details_mut().retry_after_seconds = 1;
            status
        }
        StoreError::Unknown(why) => Status::new(504, pintle_api::Reason::Timeout, format!("outcome unknown: {why}")),
        other => Status::internal(other),
    }
}

fn version_of(api_version: &str) -> &str {
    api_version.rsplit('/').next().unwrap_or(api_version)
}

fn random_ending() -> String {
    let mut rng = rand::rng();
    (0..NAME_ENDING).map(|_| char::from(NAME_ALPHABET[rng.random_range(0..NAME_ALPHABET.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_registered_kinds() {
        assert_eq!(["", "apps", "rbac.authorization.k8s.io", "events.k8s.io"].map(package_of), ["core", "apps", "rbac", "core"]);
        assert!(is_builtin("v1", "Secret") && is_builtin("apps/v1", "Deployment"));
        assert!(!is_builtin("v2", "Secret") && !is_builtin("v1", "secret") && !is_builtin("apps/v1", "Secret"));
    }
}
