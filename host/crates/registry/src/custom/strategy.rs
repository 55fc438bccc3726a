//! The strategy of one version of a custom resource, made from its definition.

use std::borrow::Cow;

use pintle_api::metadata::Repeats;
use pintle_api::object::ObjectExt;
use pintle_api::resource::SubresourceDef;
use pintle_api::schema::structural::Structural;
use pintle_api::schema::{Findings, TypeRef};
use pintle_api::{Cause, CauseKind, GroupVersionKind, GroupVersionResource, Object, ResourceDef};
use serde_json::{Value, json};

use super::column::PrinterColumn;
use super::definition::Definition;
use super::rules::Rules;
use super::scale;
use crate::kind::restore;
use crate::strategy::ScalePaths;
use crate::{Part, Strategy, WriteContext};

pub struct CustomStrategy {
    def: ResourceDef,
    schema: Option<Structural>,
    rules: Rules,
    raw: Value,
    columns: Vec<PrinterColumn>,
    /// Paths that field selectors may name.
    fields: Vec<String>,
    scale: Option<ScalePaths>,
    has_status: bool,
    /// Set where objects may lie in another version's form.
    storage: Option<GroupVersionResource>,
    stored_api_version: String,
}

/// One strategy for each served version.
pub fn of(definition: &Definition) -> Vec<CustomStrategy> {
    let served = definition.versions().iter().enumerate().filter(|(_, v)| v.bool_at(&["served"]));
    served.map(|(at, v)| CustomStrategy::new(definition, at, v)).collect()
}

impl CustomStrategy {
    fn new(definition: &Definition, at: usize, version: &Value) -> Self {
        let raw = version.at(&["schema", "openAPIV3Schema"]).cloned().unwrap_or(Value::Null);
        let path = format!("spec.versions[{at}].schema.openAPIV3Schema");
        let schema = Structural::from_json(&raw, &path).map_err(|why| tracing::warn!(?why, "a schema of a custom resource")).ok();
        let has_status = version.at(&["subresources", "status"]).is_some_and(|s| !s.is_null());
        let scale = version.at(&["subresources", "scale"]).filter(|s| !s.is_null()).map(|s| ScalePaths {
            spec: s.str_at(&["specReplicasPath"]).to_owned(),
            status: s.str_at(&["statusReplicasPath"]).to_owned(),
            selector: Some(s.str_at(&["labelSelectorPath"]).to_owned()).filter(|p| !p.is_empty()),
        });
        let name = version.str_at(&["name"]);
        let several = definition.versions().len() > 1 || definition.object.list_at(&["status", "storedVersions"]).len() > 1;
        // Objects from before a default was added show it all the same.
        let has_defaults = raw.to_string().contains("\"default\":");
        // Named like no version: even objects of this version may lie in the form of one that stored them before.
        let storage = (several || has_defaults).then(|| GroupVersionResource::new(definition.group.clone(), "*", definition.plural.clone()));
        Self {
            def: def(definition, name, has_status, scale.is_some()),
            schema,
            rules: Rules::of(&raw),
            columns: PrinterColumn::all(version.list_at(&["additionalPrinterColumns"])),
            fields: version.list_at(&["selectableFields"]).iter().map(|f| f.str_at(&["jsonPath"]).trim_start_matches('.').to_owned()).collect(),
            raw,
            scale,
            has_status,
            storage,
            stored_api_version: format!("{}/{}", definition.group, definition.storage_version()),
        }
    }
}

/// All of them, in the order in which upstream tells those of custom kinds.
const VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

fn def(definition: &Definition, version: &str, has_status: bool, has_scale: bool) -> ResourceDef {
    let words = |words: &[&'static str]| -> Vec<Cow<'static, str>> { words.iter().map(|w| Cow::Borrowed(*w)).collect() };
    let mut subresources = Vec::new();
    if has_status {
        subresources.push(SubresourceDef { name: "status".into(), kind: None, verbs: words(&["get", "patch", "update"]).into() });
    }
    if has_scale {
        let kind = Some(GroupVersionKind::new("autoscaling", "v1", "Scale"));
        subresources.push(SubresourceDef { name: "scale".into(), kind, verbs: words(&["get", "patch", "update"]).into() });
    }
    let mut verbs = words(VERBS);
    if definition.object.is_being_deleted() {
        // What ends takes nothing new.
        verbs.retain(|v| v != "create");
    }
    ResourceDef {
        group: definition.group.clone().into(),
        version: version.to_owned().into(),
        resource: definition.plural.clone().into(),
        singular: definition.singular().into(),
        kind: definition.kind().to_owned().into(),
        scope: definition.scope,
        short_names: definition.strings("shortNames").into_iter().map(Cow::Owned).collect::<Vec<_>>().into(),
        categories: definition.strings("categories").into_iter().map(Cow::Owned).collect::<Vec<_>>().into(),
        verbs: verbs.into(),
        subresources: subresources.into(),
    }
}

impl CustomStrategy {
    fn check_scale(&self, object: &Object, part: Part) -> Vec<Cause> {
        let Some(paths) = &self.scale else { return Vec::new() };
        let mut causes = if part == Part::Status { Vec::new() } else { scale::check_spec(object, paths) };
        causes.extend(scale::check_status(object, paths));
        causes
    }
}

impl Strategy for CustomStrategy {
    /// What the rules say. They are for values of the right form: some faults leave them unasked.
    fn validate_rules(&self, new: &Object, old: Option<&Object>, found: &[Cause]) -> Vec<Cause> {
        let unusable = |cause: &Cause| {
            use CauseKind::{FieldValueNotSupported, FieldValueRequired, FieldValueTooLong, FieldValueTooMany, FieldValueTypeInvalid};
            matches!(cause.reason, FieldValueNotSupported | FieldValueRequired | FieldValueTooLong | FieldValueTooMany | FieldValueTypeInvalid)
        };
        if !self.rules.any() {
            return Vec::new();
        }
        if found.iter().any(unusable) {
            let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            return vec![Cause::invalid("<nil>", &Value::Null, why)];
        }
        self.rules.check(new, old)
    }
    fn metadata_repeats(&self, _part: Part) -> Repeats {
        Repeats::CUSTOM
    }
    fn def(&self) -> &ResourceDef {
        &self.def
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn default(&self, object: &mut Object) {
        if let Some(schema) = &self.schema {
            schema.default(object);
        }
    }
    fn prune(&self, object: &mut Object) -> Option<Findings> {
        self.schema.as_ref().map(|schema| schema.prune(object))
    }
    fn prepare_create(&self, object: &mut Object, _context: &WriteContext<'_>) {
        if self.has_status {
            object.remove_at(&["status"]);
        }
    }
    fn prepare_update(&self, new: &mut Object, old: &Object, part: Part, _context: &WriteContext<'_>) {
        match part {
            Part::Main if self.has_status => restore(new, old, "status"),
            Part::Status => {
                let status = new.get("status").cloned();
                let metadata = new.get("metadata").cloned();
                *new = old.clone();
                for (field, value) in [("status", status), ("metadata", metadata)] {
                    match value {
                        Some(value) => new.set_at(&[field], value),
                        None => drop(new.remove_at(&[field])),
                    }
                }
            }
            _ => {}
        }
    }
    fn validate_create(&self, object: &Object) -> Vec<Cause> {
        let mut causes = self.schema.as_ref().map(|schema| schema.validate(object)).unwrap_or_default();
        causes.extend(self.check_scale(object, Part::Main));
        causes
    }
    fn validate_update(&self, new: &Object, old: &Object, part: Part) -> Vec<Cause> {
        let check = |schema: &Structural| if part == Part::Status { schema.validate_status(new, old) } else { schema.validate_update(new, old) };
        let mut causes = self.schema.as_ref().map(check).unwrap_or_default();
        causes.extend(self.check_scale(new, part));
        causes
    }
    fn schema(&self) -> TypeRef<'_> {
        self.schema.as_ref().map_or_else(TypeRef::unknown, Structural::type_ref)
    }
    fn openapi_schema(&self) -> Option<&Value> {
        Some(&self.raw)
    }
    fn scale_paths(&self) -> ScalePaths {
        self.scale.clone().unwrap_or_else(|| ScalePaths { spec: ".spec.replicas".into(), status: ".status.replicas".into(), selector: None })
    }
    fn selectable_names(&self) -> Vec<String> {
        self.fields.clone()
    }
    fn selectable_values(&self, object: &Object) -> Vec<String> {
        let value = |path: &String| match object.at(&path.split('.').collect::<Vec<_>>()) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        self.fields.iter().map(value).collect()
    }
    fn column_definitions(&self) -> Vec<Value> {
        self.columns.iter().map(|c| c.definition.clone()).collect()
    }
    fn cells(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        self.columns.iter().map(|c| c.cell(object, now)).collect()
    }
    fn whole_table(&self) -> bool {
        true
    }
    fn has_generation(&self) -> bool {
        true
    }
    fn storage(&self) -> Option<GroupVersionResource> {
        self.storage.clone()
    }
    fn to_storage(&self, object: &mut Object) {
        object.set_at(&["apiVersion"], json!(self.stored_api_version));
    }
    fn from_storage(&self, object: &mut Object) {
        self.default(object);
    }
}
