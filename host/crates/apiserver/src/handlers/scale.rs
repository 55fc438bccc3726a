//! `autoscaling/v1 Scale` of whatever has replicas.

use pintle_api::object::ObjectExt;
use pintle_api::{Cause, Object, Status};
use serde_json::{Value, json};

use super::patch::PatchKind;
use super::update::{Change, Changed};
use super::write::refuse_invalid;
use super::{Core, Scope, WriteOptions, managed};

/// The scale of an object.
pub fn of(scope: &Scope, object: &Object) -> Result<Object, Status> {
    let metadata = object.map_at(&["metadata"]).cloned().unwrap_or_default();
    let keep = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"];
    let metadata: serde_json::Map<String, Value> = metadata.into_iter().filter(|(key, _)| keep.contains(&key.as_str())).collect();
    let paths = scope.resource.strategy.scale_paths();
    let at = |path: &str| object.at(&segments(path));
    let replicas = |path: &str| at(path).and_then(Value::as_i64).unwrap_or(0);
    let mut status = json!({"replicas": replicas(&paths.status)});
    let selector = paths.selector.as_deref().and_then(at).map(selector_text).unwrap_or_default();
    if !selector.is_empty() {
        status["selector"] = json!(selector);
    }
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {}, "status": status,
    });
    // A zero is left out, as Go's encoder leaves it.
    let wanted = replicas(&paths.spec);
    if wanted != 0 {
        scale["spec"]["replicas"] = json!(wanted);
    }
    Ok(scale)
}

impl Core {
    pub async fn update_scale(&self, scope: &Scope, scale: Object, options: &WriteOptions) -> Result<Object, Status> {
        if !scale.name().is_empty() && scale.name() != scope.name {
            return Err(super::write::name_differs(scale.name(), &scope.name));
        }
        self.change_scale(scope, options, &|_| Ok(scale.clone())).await
    }

    pub async fn patch_scale(&self, scope: &Scope, kind: PatchKind, patch: Value, options: &WriteOptions) -> Result<Object, Status> {
        if kind == PatchKind::Apply {
            return self.apply_scale(scope, &patch, options).await;
        }
        let asks_version = !patch.str_at(&["metadata", "resourceVersion"]).is_empty();
        let change = |old: &Object| {
            let mut new = match kind {
                PatchKind::Json => pintle_api::patch::json::apply(old.clone(), &patch)?,
                _ => pintle_api::patch::merge::apply(old.clone(), patch.clone())?,
            };
            if !asks_version {
                new.remove_at(&["metadata", "resourceVersion"]);
            }
            Ok(new)
        };
        self.change_scale(scope, options, &change).await
    }

    async fn apply_scale(&self, scope: &Scope, config: &Value, options: &WriteOptions) -> Result<Object, Status> {
        let paths = scope.resource.strategy.scale_paths();
        if !config.name().is_empty() && config.name() != scope.name {
            return Err(super::write::name_differs(config.name(), &scope.name));
        }
        let apply = |old: &Object| {
            refuse_negative(scope, config)?;
            managed::apply_scale(scope, old, config, options, &segments(&paths.spec)).map(|object| Changed { object, tracked: true })
        };
        self.scale_written(scope, options, &apply).await
    }

    async fn change_scale(
        &self,
        scope: &Scope,
        options: &WriteOptions,
        change: &(dyn Fn(&Object) -> Result<Object, Status> + Send + Sync),
    ) -> Result<Object, Status> {
        let paths = scope.resource.strategy.scale_paths();
        let apply = |old: &Object| {
            let scale = change(&of(scope, old)?)?;
            refuse_negative(scope, &scale)?;
            let replicas = scale.i64_at(&["spec", "replicas"]).unwrap_or(0);
            let mut object = old.clone();
            object.set_at(&segments(&paths.spec), json!(replicas));
            match scale.resource_version() {
                "" => drop(object.remove_at(&["metadata", "resourceVersion"])),
                asked => object.set_at(&["metadata", "resourceVersion"], json!(asked)),
            }
            Ok(Changed { object, tracked: false })
        };
        self.scale_written(scope, options, &apply).await
    }

    async fn scale_written(&self, scope: &Scope, options: &WriteOptions, change: &Change<'_>) -> Result<Object, Status> {
        let written = self.change(scope, options, change).await?;
        let object = serde_json::from_slice(&written.json).map_err(Status::internal)?;
        of(scope, &object)
    }
}

fn refuse_negative(scope: &Scope, scale: &Object) -> Result<(), Status> {
    match scale.i64_at(&["spec", "replicas"]) {
        // A custom kind's own places are checked with the object.
        Some(replicas) if replicas < 0 && !scope.resource.custom => {
            let cause = Cause::invalid("spec.replicas", &json!(replicas), "must be greater than or equal to 0");
            refuse_invalid(scope, &scope.name, vec![cause])
        }
        _ => Ok(()),
    }
}

/// Either form of a selector as text: a plain map (replication controllers), a `LabelSelector`, or a text itself.
fn selector_text(selector: &Value) -> String {
    use pintle_api::selector::LabelSelector;
    if let Some(text) = selector.as_str() {
        return text.to_owned();
    }
    let is_spec = selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some();
    let parsed = if is_spec { LabelSelector::from_spec(Some(selector)).ok() } else { selector.as_object().map(LabelSelector::from_map) };
    parsed.map(|s| s.to_string()).unwrap_or_default()
}

/// `.spec.replicas` as a path.
fn segments(path: &str) -> Vec<&str> {
    path.split('.').filter(|s| !s.is_empty()).collect()
}
