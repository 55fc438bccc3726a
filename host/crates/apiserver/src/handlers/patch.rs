//! The four kinds of patch, each made again on the newest object when somebody else wrote in between.

use pintle_api::object::ObjectExt;
use pintle_api::patch::shown::{no_object, shown as printed};
use pintle_api::patch::{json, merge, strategic};
use pintle_api::schema::Duplicates;
use pintle_api::{Cause, Object, Reason, Status};
use serde_json::Value;

use super::update::Changed;
use super::{Core, FieldValidation, Scope, WriteOptions, Written, managed};
use crate::handlers::field_validation::{Misfit, check_custom, check_fields};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl PatchKind {
    pub fn of(content_type: &str, custom: bool) -> Result<Self, Status> {
        match content_type {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            "application/apply-patch+yaml" => Ok(Self::Apply),
            _ if custom => Err(unknown_to_custom_kinds()),
            // Upstream's router refuses it before the handler that knows which ones there are.
            _ => Err(Status::new(415, Reason::UnsupportedMediaType, "415: Unsupported Media Type")),
        }
    }
}

fn unknown_to_custom_kinds() -> Status {
    let known = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
    let message = format!("the body of the request was in an unknown format - accepted media types include: {known}");
    Status::new(415, Reason::UnsupportedMediaType, message)
}

impl Core {
    pub async fn patch(&self, scope: &Scope, kind: PatchKind, patch: Value, options: &WriteOptions) -> Result<Written, Status> {
        if kind == PatchKind::Strategic && scope.resource.custom {
            return Err(unknown_to_custom_kinds());
        }
        if kind == PatchKind::Apply {
            return self.apply(scope, patch, options).await;
        }
        // Who has fields checked has the patch decoded for it first.
        if kind == PatchKind::Merge && options.validation != FieldValidation::Ignore && !patch.is_object() && !patch.is_null() {
            return Err(Status::bad_request(format!("error decoding patch: {}", no_object(&patch))));
        }
        let warnings = std::sync::Mutex::new(Vec::new());
        let change = |old: &Object| {
            let mut object = patched(scope, kind, old, &patch)?;
            // An unchanged version is no wish of the patch's author.
            if object.resource_version() == old.resource_version() && patch.str_at(&["metadata", "resourceVersion"]).is_empty() {
                object.remove_at(&["metadata", "resourceVersion"]);
            }
            check_kind_kept(scope, kind, &mut object, &patch)?;
            check_identity_kept(scope, &object, old)?;
            let found = checked(scope, &mut object, &options.doubled, options.validation)
                .map_err(|misfit| refused(&shown(kind, &object, &patch), misfit.told_of(kind)))?;
            *warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = found;
            Ok(Changed { object, tracked: false })
        };
        let mut written = self.change(scope, options, &change).await?;
        written.warnings.append(&mut warnings.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner));
        Ok(written)
    }

    /// Server-side apply: an object that does not exist is created.
    async fn apply(&self, scope: &Scope, config: Value, options: &WriteOptions) -> Result<Written, Status> {
        if !config.is_object() {
            let why = format!("error decoding YAML: error unmarshaling JSON: while decoding JSON: {}", no_object(&config));
            return Err(Status::bad_request(why));
        }
        check_applied(scope, &config)?;
        for _ in 0..2 {
            let exists = self.exists(scope).await?;
            let answer = if exists {
                let change = |old: &Object| applied(scope, Some(old), &config, options).map(|object| Changed { object, tracked: true });
                self.change(scope, options, &change).await
            } else if scope.subresource.is_empty() {
                if config.name().is_empty() {
                    return Err(super::write::name_missing(&scope.name));
                }
                self.authorize_creation(scope)?;
                let object = applied(scope, None, &config, options)?;
                self.create_applied(scope, object, options).await
            } else {
                Err(scope.not_found())
            };
            match answer {
                Err(raced) if raced.is(Reason::AlreadyExists) && !exists => {}
                Err(raced) if raced.is(Reason::NotFound) && exists && scope.subresource.is_empty() => {}
                Err(other) => return Err(other),
                Ok(written) => return Ok(written),
            }
        }
        Err(scope.stale())
    }
}

/// What a patch makes must still be of the kind that was asked for. A strategic one is merged into that kind's type, so its word on the kind is passed over.
fn check_kind_kept(scope: &Scope, kind: PatchKind, object: &mut Object, patch: &Value) -> Result<(), Status> {
    let def = scope.resource.def();
    if object.kind() == def.kind && object.api_version() == scope.resource.api_version {
        return Ok(());
    }
    if kind == PatchKind::Strategic {
        object.set_at(&["kind"], Value::from(def.kind.as_ref()));
        object.set_at(&["apiVersion"], Value::from(scope.resource.api_version.as_str()));
        return Ok(());
    }
    let version = |api_version: &str| api_version.rsplit('/').next().unwrap_or("").to_owned();
    let internal = if def.group.is_empty() { "core" } else { def.group.split('.').next().unwrap_or("") };
    let why = format!("converting ({}.{}) to ({internal}.{}): unknown conversion", version(object.api_version()), object.kind(), def.kind);
    Err(refused(&shown(kind, object, patch), &why))
}

impl Misfit {
    /// A strategic patch is applied to maps, and the type filled from them.
    fn told_of(&self, kind: PatchKind) -> &str {
        self.unconverted.as_deref().filter(|_| kind == PatchKind::Strategic).unwrap_or(&self.why)
    }
}

/// What a patch led to cannot be read as the kind: upstream names no object here.
fn refused(shown: &str, why: &str) -> Status {
    Status::invalid("", "", "", vec![Cause::invalid("patch", &shown.into(), why)])
}

/// The object that a patch made; of a strategic one the patch alone, as Go prints a map.
fn shown(kind: PatchKind, object: &Object, patch: &Value) -> String {
    if kind == PatchKind::Strategic { printed(patch) } else { object.to_string() }
}

/// A patch may change neither name nor uid.
fn check_identity_kept(scope: &Scope, new: &Object, old: &Object) -> Result<(), Status> {
    if !new.name().is_empty() && new.name() != scope.name {
        return Err(super::write::name_differs(new.name(), &scope.name));
    }
    if !new.uid().is_empty() && new.uid() != old.uid() {
        let cause = Cause::invalid("metadata.uid", &new.uid().into(), "field is immutable");
        return super::write::refuse_invalid(scope, &scope.name, vec![cause]);
    }
    Ok(())
}

fn patched(scope: &Scope, kind: PatchKind, old: &Object, patch: &Value) -> Result<Object, Status> {
    if kind == PatchKind::Strategic && !patch.is_object() {
        let found = match patch {
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Bool(_) => "bool",
            _ => "number",
        };
        return Err(Status::bad_request(format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}")));
    }
    match kind {
        PatchKind::Json => json::apply(old.clone(), patch),
        PatchKind::Merge => merge::apply(old.clone(), patch.clone()),
        _ => strategic::apply(old.clone(), patch.clone(), scope.resource.strategy.schema()),
    }
}

/// Unknown fields were refused while the fields' owners were worked out; what remains is brought into normal form.
fn applied(scope: &Scope, old: Option<&Object>, config: &Value, options: &WriteOptions) -> Result<Object, Status> {
    let mut object = managed::apply(scope, old, config, options)?;
    // Told after all that is wrong with what it says.
    if let Some(doubled) = options.doubled.in_text() {
        return Err(Status::bad_request(format!("error strict decoding YAML: error converting YAML to JSON: {doubled}")));
    }
    checked(scope, &mut object, &Duplicates::default(), FieldValidation::Ignore)?;
    Ok(object)
}

pub fn checked(scope: &Scope, object: &mut Object, doubled: &Duplicates, validation: FieldValidation) -> Result<Vec<String>, Misfit> {
    if scope.resource.has_own_schema() {
        return check_custom(scope, object, doubled, validation);
    }
    check_fields(object, &scope.resource.def().gvk(), doubled, validation)
}

fn check_applied(scope: &Scope, config: &Value) -> Result<(), Status> {
    if config.at(&["metadata", "managedFields"]).is_some_and(|v| !v.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let name = config.name();
    if !name.is_empty() && name != scope.name {
        return Err(super::write::name_differs(name, &scope.name));
    }
    Ok(())
}
