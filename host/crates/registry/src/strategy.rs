//! What the generic machinery asks of one resource. One file a resource implements it; custom resources share one
//! implementation made from their definition.
//!
//! Order of calls. Create: decode -> mutating admission -> `default` -> `prepare_create` -> `claimable` -> `validate_create` ->
//! validating admission -> `before_commit` -> commit -> `after_commit`. Update and patch: `default` -> `prepare_update` -> `validate_update` ->
//! `before_commit` -> commit -> `after_commit`. All are synchronous and pure over their arguments, but for [`Strategy::before_commit`], which
//! may allocate (cluster IPs, node ports) and whose claims are released when the commit fails.

use pintle_api::metadata::Repeats;
use pintle_api::{Cause, Object, ResourceDef, Status};
use serde_json::Value;

use super::context::WriteContext;
use super::kind::SelectableFields;
use pintle_partial::{Needed, WITHOUT_MANAGERS};

/// What is written: the object itself, or which of its subresources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The main resource: `spec` and metadata; `status` stays as it was where the kind has a status subresource.
    Main,
    Status,
    Scale,
    /// `pods/ephemeralcontainers`, `pods/resize`, `certificatesigningrequests/approval`, `namespaces/finalize`, ...
    Other(&'static str),
}

/// A column of `kubectl get`, as `meta.k8s.io/v1 TableColumnDefinition` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `date`, ...
    pub kind: &'static str,
    /// `name` for the column that names the object, else empty.
    pub format: &'static str,
    pub description: &'static str,
    /// 0 shows always, 1 only with `-o wide`.
    pub priority: i32,
}

/// Where the `scale` subresource finds its numbers, as a CustomResourceDefinition writes such paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    pub spec: String,
    pub status: String,
    pub selector: Option<String>,
}

pub trait Strategy: Send + Sync + 'static {
    /// Discovery's description: names, scope, verbs and subresources.
    fn def(&self) -> &ResourceDef;

    /// Fills in upstream's defaults. Idempotent; runs on every decoded object, also on stored ones that are read by a newer version.
    fn default(&self, _object: &mut Object) {}

    /// Clears what a client may not set on creation (status, generation) and fills in what the server sets.
    /// Metadata common to all kinds (uid, creationTimestamp, generation 1) was set by the machinery.
    fn prepare_create(&self, _object: &mut Object, _context: &WriteContext<'_>) {}

    /// Restores from `old` what this part may not change. The machinery bumps `generation` when `spec` differs.
    fn prepare_update(&self, _new: &mut Object, _old: &Object, _part: Part, _context: &WriteContext<'_>) {}

    /// Every fault with its field's path. Metadata was checked by the machinery.
    fn validate_create(&self, _object: &Object) -> Vec<Cause> {
        Vec::new()
    }
    fn validate_update(&self, _new: &Object, _old: &Object, _part: Part) -> Vec<Cause> {
        Vec::new()
    }

    /// What is asked only of an object whose other faults are known, those of its metadata among them.
    fn validate_rules(&self, _new: &Object, _old: Option<&Object>, _found: &[Cause]) -> Vec<Cause> {
        Vec::new()
    }

    /// How often the kind's own checks of an update look at the metadata again.
    fn metadata_repeats(&self, part: Part) -> Repeats {
        if part == Part::Main { Repeats::BOTH } else { Repeats::UPDATE }
    }

    /// Texts for the `Warning` header that are told of a creation even if it is refused. Before [`Strategy::prepare_create`].
    fn early_warnings(&self, _new: &Object) -> Vec<String> {
        Vec::new()
    }

    /// Texts for the `Warning` header, of an object that is valid.
    fn warnings(&self, _new: &Object, _old: Option<&Object>) -> Vec<String> {
        Vec::new()
    }

    /// Whether what a creation will claim can be had: upstream tells that before anything else. Claims nothing.
    fn claimable(&self, _new: &Object, _context: &WriteContext<'_>) -> Result<(), Status> {
        Ok(())
    }

    /// Checks and claims that need other objects or allocators. Runs after validation, right before the commit.
    fn before_commit(&self, _new: &mut Object, _old: Option<&Object>, _context: &WriteContext<'_>) -> Result<(), Status> {
        Ok(())
    }

    /// Runs after a commit succeeded. `new` is `None` after a deletion from the store: release claims here.
    fn after_commit(&self, _new: Option<&Object>, _old: Option<&Object>, _context: &WriteContext<'_>) {}

    /// Before a deletion is carried out: seconds of grace that the object gets (`None`: deleted at once). Pods say 30 or their own;
    /// namespaces are held by `spec.finalizers` instead.
    fn grace_period_seconds(&self, _object: &Object, _asked: Option<i64>) -> Option<i64> {
        None
    }

    /// The fields that a field selector may name besides `metadata.name` and `metadata.namespace`, and their value in an object.
    fn selectable_fields(&self) -> SelectableFields {
        &[]
    }

    /// The columns after `Name`, before `Age`; both are added by the machinery unless [`Strategy::whole_table`] says otherwise.
    fn columns(&self) -> &[Column] {
        &[]
    }
    /// What [`Strategy::cells`] looks at, beside name and age; the rest is not parsed.
    fn cells_need(&self) -> Needed {
        WITHOUT_MANAGERS
    }
    /// True: the cells are made with each write and not when the first table is asked for. For kinds of which there are thousands that
    /// people list.
    fn cells_with_write(&self) -> bool {
        false
    }
    /// One cell for each of `columns`.
    fn cells(&self, _object: &Object, _now: jiff::Timestamp) -> Vec<Value> {
        Vec::new()
    }
    /// True: `columns` and `cells` hold the whole row, with Name and Age.
    fn whole_table(&self) -> bool {
        false
    }

    /// The type, for patches and the tracking of fields.
    fn schema(&self) -> pintle_api::schema::TypeRef<'_> {
        pintle_api::schema::builtin().for_kind(&self.def().gvk()).unwrap_or_else(pintle_api::schema::TypeRef::unknown)
    }

    /// The `openAPIV3Schema` of a custom resource's version.
    fn openapi_schema(&self) -> Option<&Value> {
        None
    }

    /// Of kinds with a `scale` subresource.
    fn scale_paths(&self) -> ScalePaths {
        ScalePaths { spec: ".spec.replicas".into(), status: ".status.replicas".into(), selector: Some(".spec.selector".into()) }
    }

    /// What a name must look like. Services want a DNS-1035 label, namespaces a DNS-1123 one, roles any path segment.
    fn name_rule(&self) -> pintle_api::names::NameRule {
        use pintle_api::names::NameRule;
        match (&*self.def().group, &*self.def().resource) {
            ("rbac.authorization.k8s.io", _) | ("certificates.k8s.io", _) | ("", "events") | ("events.k8s.io", _) => NameRule::PathSegment,
            ("", "services") => NameRule::Label1035,
            ("", "namespaces") => NameRule::Label,
            _ => NameRule::Subdomain,
        }
    }

    /// The names in [`Strategy::selectable_fields`], for kinds that know theirs only at run time too.
    fn selectable_names(&self) -> Vec<String> {
        self.selectable_fields().iter().map(|(name, _)| (*name).to_owned()).collect()
    }
    /// The values, in the same order.
    fn selectable_values(&self, object: &Object) -> Vec<String> {
        self.selectable_fields().iter().map(|(_, value)| value(object)).collect()
    }
    /// [`Strategy::columns`] as a table has them.
    fn column_definitions(&self) -> Vec<Value> {
        let definition = |c: &Column| serde_json::json!({"name": c.name, "type": c.kind, "format": c.format, "description": c.description, "priority": c.priority});
        self.columns().iter().map(definition).collect()
    }
    /// Removes what the schema of a custom kind does not name, and tells what that was. `None`: a built-in kind.
    fn prune(&self, _object: &mut Object) -> Option<pintle_api::schema::Findings> {
        None
    }

    /// True where `PUT` to a name that does not exist makes the object (leases, endpoints, events, ...).
    fn allow_create_on_update(&self) -> bool {
        false
    }
    /// True where an update without `metadata.resourceVersion` is taken as unconditional.
    fn allow_unconditional_update(&self) -> bool {
        true
    }
    /// Whether the kind has `metadata.generation`.
    fn has_generation(&self) -> bool {
        false
    }
    /// Where the objects lie when another group or version stores them (`events.k8s.io` events are core events, HPA v1 is
    /// HPA v2). `None`: under this resource's own name.
    fn storage(&self) -> Option<pintle_api::GroupVersionResource> {
        None
    }
    /// Turns an object of this group and version into the stored one, `apiVersion` included. Runs last before the commit.
    fn to_storage(&self, _object: &mut Object) {}
    /// The reverse, on every read, before the answer and before columns and selectable fields are taken.
    #[expect(clippy::wrong_self_convention, reason = "the pair of `to_storage`: it changes the object, not the strategy")]
    fn from_storage(&self, _object: &mut Object) {}
    /// `Background` unless the kind's old versions orphaned.
    fn default_propagation(&self) -> &'static str {
        "background"
    }
}
