//! [`Kind`]: the strategy of a built-in resource as a struct of functions, so that a resource's file holds only what is its own.
//!
//! What nearly all kinds share lives here: the status is the server's on creation and on writes of the main part, a
//! write of the status changes nothing else, and an update is validated whole only when more than its metadata differs.
//! Called by the resource files (to build) and by the generic machinery (through [`Strategy`]).

use pintle_api::metadata::Repeats;
use pintle_api::names::NameRule;
use pintle_api::object::ObjectExt;
use pintle_api::schema::structural::Structural;
use pintle_api::schema::{self, Findings, TypeRef};
use pintle_api::{Cause, GroupVersionResource, Object, ResourceDef, Status};
use serde_json::{Value, json};

use super::context::WriteContext;
use super::def::Def;
use super::faults::Faults;
use super::podspec::disabled;
use super::print;
use super::strategy::{Column, Part, Strategy};
use pintle_partial::{Needed, WITHOUT_MANAGERS};

pub type SelectableFields = &'static [(&'static str, fn(&Object) -> String)];
type Cells = fn(&Object, jiff::Timestamp) -> Vec<Value>;

pub struct Kind {
    pub def: ResourceDef,
    pub default: fn(&mut Object),
    /// Runs after the status was cleared.
    pub create: fn(&mut Object, &WriteContext<'_>),
    /// Runs after the parts that [`Part`] leaves alone were restored.
    pub update: fn(&mut Object, &Object, Part, &WriteContext<'_>),
    pub validate: fn(&Object, &mut Faults),
    /// Only what a creation adds.
    pub validate_new: fn(&Object, &mut Faults),
    /// Only what an update adds: immutable fields and the like.
    pub validate_change: fn(&Object, &Object, Part, &mut Faults),
    /// Of an update of the main part.
    pub repeats: Repeats,
    /// Where a template of pods lies, as a JSON pointer; empty where there is none.
    pub template: &'static str,
    /// Told of a creation even if it is refused.
    pub warn_early: fn(&Object) -> Vec<String>,
    pub warn: fn(&Object, Option<&Object>) -> Vec<String>,
    /// Of a creation, before it is validated.
    pub claimable: fn(&Object, &WriteContext<'_>) -> Result<(), Status>,
    pub before_commit: fn(&mut Object, Option<&Object>, &WriteContext<'_>) -> Result<(), Status>,
    pub after_commit: fn(Option<&Object>, Option<&Object>, &WriteContext<'_>),
    pub grace: fn(&Object, Option<i64>) -> Option<i64>,
    pub fields: SelectableFields,
    pub columns: Vec<Column>,
    pub cells: Cells,
    pub cells_need: Needed,
    pub cells_with_write: bool,
    pub whole_table: bool,
    pub names: NameRule,
    pub create_on_update: bool,
    pub unconditional_update: bool,
    pub generation: bool,
    /// Nodes may bring their status along when they are made.
    pub keeps_status_on_create: bool,
    pub propagation: &'static str,
    pub storage: Option<GroupVersionResource>,
    pub to_storage: fn(&mut Object),
    pub from_storage: fn(&mut Object),
    /// From the description.
    pub has_status: bool,
    /// Of kinds that are not among upstream's types: their own schema.
    pub own_schema: Option<fn() -> &'static OwnSchema>,
}

/// A schema as a definition of custom resources would hold it.
pub struct OwnSchema {
    raw: Value,
    structural: Structural,
}

impl OwnSchema {
    /// From JSON that is part of the program; a test parses each.
    pub fn parse(json: &str) -> Self {
        let raw: Value = serde_json::from_str(json).expect("a schema of the program's own is JSON");
        let structural = Structural::from_json(&raw, "schema").expect("a schema of the program's own is structural");
        Self { raw, structural }
    }
}

impl Kind {
    pub fn new(def: Def) -> Self {
        let def = def.build();
        Self {
            has_status: def.subresources.iter().any(|s| s.name == "status"),
            def,
            default: |_| {},
            create: |_, _| {},
            update: |_, _, _, _| {},
            validate: |_, _| {},
            validate_new: |_, _| {},
            validate_change: |_, _, _, _| {},
            repeats: Repeats::BOTH,
            template: "",
            warn_early: |_| Vec::new(),
            warn: |_, _| Vec::new(),
            claimable: |_, _| Ok(()),
            before_commit: |_, _, _| Ok(()),
            after_commit: |_, _, _| {},
            grace: |_, _| None,
            fields: &[],
            columns: print::PLAIN.to_vec(),
            cells: print::plain_cells,
            cells_need: WITHOUT_MANAGERS,
            cells_with_write: false,
            whole_table: true,
            names: NameRule::Subdomain,
            create_on_update: false,
            unconditional_update: true,
            generation: false,
            keeps_status_on_create: false,
            propagation: "background",
            storage: None,
            to_storage: |_| {},
            from_storage: |_| {},
            own_schema: None,
        }
    }

    /// The whole row of `kubectl get`, Name and Age included.
    pub fn table(mut self, columns: &[Column], cells: Cells) -> Self {
        (self.columns, self.cells, self.whole_table) = (columns.to_vec(), cells, true);
        self
    }

    /// What the cells look at: rows of kinds that are listed by the thousand are made of a few fields, and with each write.
    pub fn cells_need(mut self, needed: Needed) -> Self {
        (self.cells_need, self.cells_with_write) = (needed, true);
        self
    }

    fn validate_by_schema(&self, object: &Object, faults: &mut Faults) {
        if let Some(schema) = self.own_schema {
            schema().structural.validate(object).into_iter().for_each(|cause| faults.push(cause));
        }
    }

    /// Fields of features that are off, in the template of pods.
    fn take_disabled(&self, new: &mut Object, old: Option<&Object>) {
        if let Some(template) = new.pointer_mut(self.template).filter(|_| !self.template.is_empty()) {
            disabled::take_from(template, old.and_then(|old| old.pointer(self.template)));
        }
    }

    pub fn boxed(self) -> Box<dyn Strategy> {
        Box::new(self)
    }
}

impl Strategy for Kind {
    fn def(&self) -> &ResourceDef {
        &self.def
    }
    fn default(&self, object: &mut Object) {
        (self.default)(object);
    }
    fn prepare_create(&self, object: &mut Object, context: &WriteContext<'_>) {
        if self.has_status && !self.keeps_status_on_create {
            object.set_at(&["status"], json!({}));
        }
        self.take_disabled(object, None);
        (self.create)(object, context);
    }
    fn prepare_update(&self, new: &mut Object, old: &Object, part: Part, context: &WriteContext<'_>) {
        match part {
            Part::Main if self.has_status => restore(new, old, "status"),
            Part::Status => keep_only_status(new, old),
            _ => {}
        }
        if part == Part::Main {
            self.take_disabled(new, Some(old));
        }
        (self.update)(new, old, part, context);
    }
    fn validate_create(&self, object: &Object) -> Vec<Cause> {
        let mut faults = Faults::default();
        (self.validate)(object, &mut faults);
        (self.validate_new)(object, &mut faults);
        self.validate_by_schema(object, &mut faults);
        faults.into_causes()
    }
    fn validate_update(&self, new: &Object, old: &Object, part: Part) -> Vec<Cause> {
        let mut faults = Faults::default();
        if part != Part::Status && differs_beyond_metadata(new, old) {
            (self.validate)(new, &mut faults);
            self.validate_by_schema(new, &mut faults);
        }
        (self.validate_change)(new, old, part, &mut faults);
        faults.into_causes()
    }
    fn metadata_repeats(&self, part: Part) -> Repeats {
        match part {
            Part::Main => self.repeats,
            _ if self.repeats == Repeats::CUSTOM => Repeats::CUSTOM,
            _ => Repeats::UPDATE,
        }
    }
    fn early_warnings(&self, new: &Object) -> Vec<String> {
        (self.warn_early)(new)
    }

    fn warnings(&self, new: &Object, old: Option<&Object>) -> Vec<String> {
        (self.warn)(new, old)
    }
    fn claimable(&self, new: &Object, context: &WriteContext<'_>) -> Result<(), Status> {
        (self.claimable)(new, context)
    }
    fn before_commit(&self, new: &mut Object, old: Option<&Object>, context: &WriteContext<'_>) -> Result<(), Status> {
        (self.before_commit)(new, old, context)
    }
    fn after_commit(&self, new: Option<&Object>, old: Option<&Object>, context: &WriteContext<'_>) {
        (self.after_commit)(new, old, context);
    }
    fn grace_period_seconds(&self, object: &Object, asked: Option<i64>) -> Option<i64> {
        (self.grace)(object, asked)
    }
    fn selectable_fields(&self) -> SelectableFields {
        self.fields
    }
    fn schema(&self) -> TypeRef<'_> {
        match self.own_schema {
            Some(schema) => schema().structural.type_ref(),
            None => schema::builtin().for_kind(&self.def.gvk()).unwrap_or_else(TypeRef::unknown),
        }
    }
    fn openapi_schema(&self) -> Option<&Value> {
        self.own_schema.map(|schema| &schema().raw)
    }
    fn prune(&self, object: &mut Object) -> Option<Findings> {
        self.own_schema.map(|schema| schema().structural.prune(object))
    }
    fn columns(&self) -> &[Column] {
        &self.columns
    }
    fn cells_need(&self) -> Needed {
        self.cells_need
    }
    fn cells_with_write(&self) -> bool {
        self.cells_with_write
    }
    fn cells(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        (self.cells)(object, now)
    }
    fn whole_table(&self) -> bool {
        self.whole_table
    }
    fn name_rule(&self) -> NameRule {
        self.names
    }
    fn allow_create_on_update(&self) -> bool {
        self.create_on_update
    }
    fn allow_unconditional_update(&self) -> bool {
        self.unconditional_update
    }
    fn has_generation(&self) -> bool {
        self.generation
    }
    fn default_propagation(&self) -> &'static str {
        self.propagation
    }
    fn storage(&self) -> Option<GroupVersionResource> {
        self.storage.clone()
    }
    fn to_storage(&self, object: &mut Object) {
        (self.to_storage)(object);
    }
    fn from_storage(&self, object: &mut Object) {
        (self.from_storage)(object);
    }
}

/// Gives `new` the field as `old` has it, or takes it away.
pub fn restore(new: &mut Object, old: &Object, field: &str) {
    match old.get(field) {
        // Comparing costs far less than a copy.
        Some(value) if new.get(field) == Some(value) => {}
        Some(value) => new.set_at(&[field], value.clone()),
        None => {
            new.remove_at(&[field]);
        }
    }
}

fn keep_only_status(new: &mut Object, old: &Object) {
    let (Some(new), Some(old)) = (new.as_object_mut(), old.as_object()) else { return };
    let mine = |key: &str| matches!(key, "apiVersion" | "kind" | "metadata" | "status");
    new.retain(|key, value| mine(key) || old.get(key) == Some(value));
    for (key, value) in old {
        if !mine(key) && !new.contains_key(key) {
            new.insert(key.clone(), value.clone());
        }
    }
}

fn differs_beyond_metadata(new: &Object, old: &Object) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return true };
    let counts = |key: &str| !matches!(key, "apiVersion" | "kind" | "metadata" | "status");
    new.iter().any(|(key, value)| counts(key) && old.get(key) != Some(value)) || old.keys().any(|key| counts(key) && !new.contains_key(key))
}
