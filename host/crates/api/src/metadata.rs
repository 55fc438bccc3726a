//! The metadata that all kinds share: what a server fills in, what a client may not change, and every fault with its field.
//!
//! The registry calls `prepare_*` before and `validate_*` after a strategy's own preparation. Names, uids and times come
//! from the caller. A field of the wrong JSON type reads as absent here: decoding has refused it before.

use serde_json::{Map, Value, json};

use crate::Status;
use crate::names::{self, NameRule};
use crate::object::ObjectExt;
use crate::selector::validate_labels;
use crate::status::Cause;

/// Keys and values of all annotations together, in bytes.
pub const ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;
/// In bytes.
pub const FIELD_MANAGER_MAX: usize = 128;
const SUBRESOURCE_MAX: usize = 256;
/// A generated name fits a DNS label: 63 less the five characters that are added.
const GENERATE_NAME_MAX: usize = 58;

/// Sets the object's namespace to the request's, or refuses one that differs. `namespace` is empty for cluster-scoped kinds.
pub fn align_namespace(object: &mut Value, namespace: &str) -> Result<(), Status> {
    match (object.namespace(), namespace) {
        (own, asked) if own == asked => {}
        ("", asked) => object.set_at(&["metadata", "namespace"], json!(asked)),
        (_, "") => {
            object.remove_at(&["metadata", "namespace"]);
        }
        _ => return Err(Status::bad_request("the namespace of the provided object does not match the namespace sent on the request")),
    }
    Ok(())
}

/// The name for `generateName`, with the caller's five random characters.
pub fn generated_name(base: &str, random: &str) -> String {
    let mut end = base.len().min(GENERATE_NAME_MAX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{random}", &base[..end])
}

/// RFC 3339 in whole seconds, as all timestamps of metadata are.
pub fn seconds(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Fills in what the server sets on creation and drops what a client may not. `now` in RFC 3339, whole seconds.
pub fn prepare_create(object: &mut Value, uid: &str, now: &str) {
    let metadata = metadata_mut(object);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"] {
        metadata.remove(field);
    }
    metadata.insert("uid".to_owned(), json!(uid));
    metadata.insert("creationTimestamp".to_owned(), json!(now));
}

/// Restores what an update may not change silently; what it may not change at all is left for [`validate_update`] to refuse.
pub fn prepare_update(new: &mut Value, old: &Value) {
    let Some(before) = old.map_at(&["metadata"]) else { return };
    let metadata = metadata_mut(new);
    metadata.remove("selfLink");
    restore(metadata, before, "generation", true);
    restore(metadata, before, "uid", metadata.get("uid").and_then(Value::as_str).is_none_or(str::is_empty));
    for field in ["creationTimestamp", "deletionTimestamp"] {
        restore(metadata, before, field, is_present(before.get(field)));
    }
    restore(metadata, before, "deletionGracePeriodSeconds", !is_present(metadata.get("deletionGracePeriodSeconds")));
}

/// The checks of a new object's metadata, after its name was generated.
pub fn validate_create(object: &Value, namespaced: bool, rule: NameRule, own_finalizers: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    let generate_name = object.str_at(&["metadata", "generateName"]);
    if !generate_name.is_empty() {
        push_faults(&mut causes, "metadata.generateName", generate_name, rule.check(generate_name, true));
    }
    match object.name() {
        "" => causes.push(Cause::required("metadata.name", "name or generateName is required")),
        name => push_faults(&mut causes, "metadata.name", name, rule.check(name, false)),
    }
    validate_namespace(object, namespaced, &mut causes);
    if object.i64_at(&["metadata", "generation"]).is_some_and(|generation| generation < 0) {
        causes.push(Cause::invalid("metadata.generation", &object["metadata"]["generation"], "must be greater than or equal to 0"));
    }
    validate_common(object, &mut causes);
    validate_finalizers(object, &mut causes);
    if own_finalizers {
        validate_known_finalizers(object, &mut causes);
    }
    causes
}

/// How often a kind's own checks of an update look at the metadata again: upstream tells a fault as often as it finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeats {
    /// The checks of any object.
    pub object: usize,
    /// The checks that an update adds, which look at labels, annotations and owners too.
    pub update: usize,
    /// Finalizers must be qualified or among those that the server knows, as in all kinds but custom ones.
    pub own_finalizers: bool,
}

impl Repeats {
    /// Most built-in kinds.
    pub const BOTH: Self = Self { object: 1, update: 1, own_finalizers: true };
    /// Kinds whose update looks at the spec alone, and all writes of a status.
    pub const UPDATE: Self = Self { object: 0, update: 1, own_finalizers: true };
    pub const CUSTOM: Self = Self { object: 0, update: 1, own_finalizers: false };
}

/// The checks of an update's metadata, after [`prepare_update`] and with the resource version set.
pub fn validate_update(new: &Value, old: &Value, namespaced: bool, rule: NameRule, own: Repeats) -> Vec<Cause> {
    let (mut object, mut update) = (Vec::new(), Vec::new());
    match new.name() {
        "" => object.push(Cause::required("metadata.name", "name or generateName is required")),
        name => push_faults(&mut object, "metadata.name", name, names::path_segment(name, false)),
    }
    validate_namespace(new, namespaced, &mut object);
    if unless_equal(new, old, "finalizers") {
        validate_finalizers(new, &mut object);
    }
    validate_kept(new, old, &mut update);
    let changed = validate_changed(new, old);
    update.extend_from_slice(&changed);
    object.extend(changed);
    let mut causes = repeated(object, 1 + own.object);
    causes.extend(repeated(update, 1 + own.update));
    if own.own_finalizers && unless_equal(new, old, "finalizers") {
        let mut unknown = Vec::new();
        validate_known_finalizers(new, &mut unknown);
        causes.extend(repeated(unknown, own.object + own.update));
    }
    let generate_name = new.str_at(&["metadata", "generateName"]);
    if own.object > 0 && !generate_name.is_empty() && unless_equal(new, old, "generateName") {
        push_faults(&mut causes, "metadata.generateName", generate_name, rule.check(generate_name, true));
    }
    causes
}

fn repeated(causes: Vec<Cause>, times: usize) -> Vec<Cause> {
    if causes.is_empty() { causes } else { causes.iter().cycle().take(causes.len() * times).cloned().collect() }
}

/// What an update may not touch.
fn validate_kept(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    if old.is_being_deleted() {
        validate_no_new_finalizers(new, old, causes);
    }
    if new.resource_version().is_empty() {
        causes.push(Cause::invalid("metadata.resourceVersion", &json!(""), "must be specified for an update"));
    }
    let generation = |object: &Value| object.i64_at(&["metadata", "generation"]).unwrap_or(0);
    if generation(new) < generation(old) {
        causes.push(Cause::invalid("metadata.generation", &json!(generation(new)), "must not be decremented"));
    }
    for field in ["name", "namespace", "uid"] {
        let (text, before) = (new.str_at(&["metadata", field]), old.str_at(&["metadata", field]));
        if text != before {
            causes.push(Cause::invalid(format!("metadata.{field}"), &json!(text), "field is immutable"));
        }
    }
    for field in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (value, before) = (new.at(&["metadata", field]).unwrap_or(&Value::Null), old.at(&["metadata", field]).unwrap_or(&Value::Null));
        if value != before {
            causes.push(Cause::invalid(format!("metadata.{field}"), value, "field is immutable"));
        }
    }
}

pub fn validate_annotations(annotations: &Map<String, Value>, path: &str, causes: &mut Vec<Cause>) {
    let mut bytes = 0;
    for (key, value) in annotations {
        bytes += key.len() + value.as_str().map_or(0, str::len);
        let faults =
            if key.bytes().any(|b| b.is_ascii_uppercase()) { names::qualified_name(&key.to_lowercase()) } else { names::qualified_name(key) };
        push_faults(causes, path, key, faults);
    }
    if bytes > ANNOTATIONS_MAX_BYTES {
        causes.push(Cause::too_long(path, ANNOTATIONS_MAX_BYTES));
    }
}

/// The `fieldManager` of a request, or the manager of an entry.
pub fn validate_field_manager(manager: &str, path: &str, causes: &mut Vec<Cause>) {
    if manager.len() > FIELD_MANAGER_MAX {
        causes.push(Cause::too_long(path, FIELD_MANAGER_MAX));
    }
    for (index, c) in manager.char_indices().filter(|(_, c)| c.is_control()) {
        let detail = format!("invalid character U+{:04X} (at position {index})", c as u32);
        causes.push(Cause::invalid(path, &json!(manager), &detail));
    }
}

fn validate_namespace(object: &Value, namespaced: bool, causes: &mut Vec<Cause>) {
    match (object.namespace(), namespaced) {
        ("", true) => causes.push(Cause::required("metadata.namespace", "")),
        (namespace, true) => push_faults(causes, "metadata.namespace", namespace, names::dns1123_label(namespace)),
        ("", false) => {}
        (_, false) => causes.push(Cause::forbidden("metadata.namespace", "not allowed on this type")),
    }
}

fn validate_common(object: &Value, causes: &mut Vec<Cause>) {
    if let Some(labels) = object.map_at(&["metadata", "labels"]) {
        validate_labels(labels, "metadata.labels", causes);
    }
    if let Some(annotations) = object.map_at(&["metadata", "annotations"]) {
        validate_annotations(annotations, "metadata.annotations", causes);
    }
    validate_owner_references(object, causes);
    validate_managed_fields(object, causes);
}

/// Stored metadata was valid, so only what differs is looked at: most updates touch none of it.
fn validate_changed(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if let Some(labels) = new.map_at(&["metadata", "labels"]).filter(|_| unless_equal(new, old, "labels")) {
        validate_labels(labels, "metadata.labels", &mut causes);
    }
    if let Some(annotations) = new.map_at(&["metadata", "annotations"]).filter(|_| unless_equal(new, old, "annotations")) {
        validate_annotations(annotations, "metadata.annotations", &mut causes);
    }
    if unless_equal(new, old, "ownerReferences") {
        validate_owner_references(new, &mut causes);
    }
    if unless_equal(new, old, "managedFields") {
        validate_managed_fields(new, &mut causes);
    }
    causes
}

fn unless_equal(new: &Value, old: &Value, field: &str) -> bool {
    new.at(&["metadata", field]) != old.at(&["metadata", field])
}

fn validate_owner_references(object: &Value, causes: &mut Vec<Cause>) {
    const PATH: &str = "metadata.ownerReferences";
    let references = object.list_at(&["metadata", "ownerReferences"]);
    let mut controller: Option<String> = None;
    for reference in references {
        let text = |field: &str| reference.str_at(&[field]);
        let version = text("apiVersion");
        if version.is_empty() || version.ends_with('/') || version.matches('/').count() > 1 {
            causes.push(Cause::invalid(format!("{PATH}.apiVersion"), &json!(version), "version must not be empty"));
        }
        for field in ["kind", "name", "uid"].into_iter().filter(|field| text(field).is_empty()) {
            causes.push(Cause::invalid(format!("{PATH}.{field}"), &json!(""), "must not be empty"));
        }
        if (version, text("kind")) == ("v1", "Event") {
            causes.push(Cause::invalid_shown(PATH, &shown_reference(reference), "/v1, Kind=Event is disallowed from being an owner"));
        }
        if reference.bool_at(&["controller"]) {
            let this = format!("{}/{}", text("kind"), text("name"));
            match &controller {
                None => controller = Some(this),
                Some(first) => {
                    let detail = format!("Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}");
                    let shown: Vec<String> = references.iter().map(shown_reference).collect();
                    causes.push(Cause::invalid_shown(PATH, &format!("[{}]", shown.join(",")), &detail));
                }
            }
        }
    }
}

/// As upstream prints one: all four texts, and the flags that are set, in the order of the type.
fn shown_reference(reference: &Value) -> String {
    let texts = ["apiVersion", "kind", "name", "uid"].map(|field| (field, Some(json!(reference.str_at(&[field])))));
    let flags = ["controller", "blockOwnerDeletion"].map(|field| (field, reference.get(field).filter(|v| !v.is_null()).cloned()));
    let parts: Vec<String> = texts.into_iter().chain(flags).filter_map(|(field, value)| Some(format!("{field:?}:{}", value?))).collect();
    format!("{{{}}}", parts.join(","))
}

/// Names without a domain are the server's own.
fn validate_known_finalizers(object: &Value, causes: &mut Vec<Cause>) {
    for (index, finalizer) in object.list_at(&["metadata", "finalizers"]).iter().enumerate() {
        let name = finalizer.as_str().unwrap_or("");
        if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(Cause::invalid(format!("metadata.finalizers[{index}]"), &json!(name), detail));
        }
    }
}

fn validate_finalizers(object: &Value, causes: &mut Vec<Cause>) {
    const PATH: &str = "metadata.finalizers";
    let finalizers = object.list_at(&["metadata", "finalizers"]);
    for finalizer in finalizers.iter().map(|f| f.as_str().unwrap_or("")) {
        push_faults(causes, PATH, finalizer, names::qualified_name(finalizer));
    }
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    if has("orphan") && has("foregroundDeletion") {
        causes.push(Cause::invalid(PATH, &json!(finalizers), "finalizer orphan and foregroundDeletion cannot be both set"));
    }
}

fn validate_no_new_finalizers(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let before = old.list_at(&["metadata", "finalizers"]);
    let mut added: Vec<&str> = new.list_at(&["metadata", "finalizers"]).iter().filter(|f| !before.contains(f)).filter_map(Value::as_str).collect();
    if added.is_empty() {
        return;
    }
    added.sort_unstable();
    added.dedup();
    let listed: Vec<String> = added.iter().map(|name| format!("{name:?}")).collect();
    let detail = format!("no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}", listed.join(", "));
    causes.push(Cause::forbidden("metadata.finalizers", &detail));
}

fn validate_managed_fields(object: &Value, causes: &mut Vec<Cause>) {
    for (index, entry) in object.list_at(&["metadata", "managedFields"]).iter().enumerate() {
        let path = format!("metadata.managedFields[{index}]");
        let operation = entry.str_at(&["operation"]);
        if !matches!(operation, "Apply" | "Update") {
            causes.push(Cause::invalid(format!("{path}.operation"), &json!(operation), "must be `Apply` or `Update`"));
        }
        let fields_type = entry.str_at(&["fieldsType"]);
        if !matches!(fields_type, "" | "FieldsV1") {
            causes.push(Cause::invalid(format!("{path}.fieldsType"), &json!(fields_type), "must be `FieldsV1`"));
        }
        validate_field_manager(entry.str_at(&["manager"]), &format!("{path}.manager"), causes);
        if entry.str_at(&["subresource"]).len() > SUBRESOURCE_MAX {
            causes.push(Cause::too_long(format!("{path}.subresource"), SUBRESOURCE_MAX));
        }
    }
}

fn push_faults(causes: &mut Vec<Cause>, path: &str, value: &str, faults: Vec<String>) {
    causes.extend(faults.iter().map(|fault| Cause::invalid(path, &Value::from(value), fault)));
}

fn is_present(value: Option<&Value>) -> bool {
    value.is_some_and(|value| !value.is_null())
}

fn restore(metadata: &mut Map<String, Value>, before: &Map<String, Value>, field: &str, when: bool) {
    match before.get(field) {
        _ if !when => {}
        Some(value) => {
            metadata.insert(field.to_owned(), value.clone());
        }
        None => {
            metadata.remove(field);
        }
    }
}

fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    let metadata = &mut object["metadata"];
    if !metadata.is_object() {
        *metadata = json!({});
    }
    metadata.as_object_mut().expect("made an object above")
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(causes: Vec<Cause>, expected: Expect) {
        let lines: Vec<String> = causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn a_bad_creation_is_told_in_full() {
        let object = json!({"metadata": {
            "name": "Web", "namespace": "a.b", "labels": {"app": "a b"}, "annotations": {"UP/x": "", "/": ""},
            "finalizers": ["orphan", "foregroundDeletion"],
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "1", "controller": true},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "", "controller": true},
            ],
            "managedFields": [{"operation": "Guess", "manager": "m\n"}],
        }});
        check(
            validate_create(&object, true, NameRule::Label, true),
            expect![[r#"
                metadata.name: Invalid value: "Web": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
                metadata.namespace: Invalid value: "a.b": must not contain dots
                metadata.labels: Invalid value: "a b": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
                metadata.annotations: Invalid value: "/": prefix part must be non-empty
                metadata.annotations: Invalid value: "/": name part must be non-empty
                metadata.annotations: Invalid value: "/": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
                metadata.ownerReferences: Invalid value: {"apiVersion":"v1","kind":"Event","name":"e","uid":"1","controller":true}: /v1, Kind=Event is disallowed from being an owner
                metadata.ownerReferences.uid: Invalid value: "": must not be empty
                metadata.ownerReferences: Invalid value: [{"apiVersion":"v1","kind":"Event","name":"e","uid":"1","controller":true},{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"r","uid":"","controller":true}]: Only one reference can have Controller set to true. Found "true" in references for Event/e and ReplicaSet/r
                metadata.managedFields[0].operation: Invalid value: "Guess": must be `Apply` or `Update`
                metadata.managedFields[0].manager: Invalid value: "m\n": invalid character U+000A (at position 1)
                metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: finalizer orphan and foregroundDeletion cannot be both set"#]],
        );
        check(
            validate_create(&json!({"metadata": {"namespace": "x"}}), false, NameRule::Subdomain, true),
            expect![[r#"
                metadata.name: Required value: name or generateName is required
                metadata.namespace: Forbidden: not allowed on this type"#]],
        );
    }

    #[test]
    fn annotations_have_a_size_limit() {
        let at_limit = json!({"metadata": {"name": "a", "annotations": {"k": "v".repeat(ANNOTATIONS_MAX_BYTES - 1)}}});
        check(validate_create(&at_limit, false, NameRule::Label, true), expect![""]);
        let over = json!({"metadata": {"name": "a", "annotations": {"k": "v".repeat(ANNOTATIONS_MAX_BYTES)}}});
        check(validate_create(&over, false, NameRule::Label, true), expect!["metadata.annotations: Too long: may not be more than 262144 bytes"]);
    }

    #[test]
    fn updates_keep_identity() {
        let old = json!({"metadata": {"name": "a", "namespace": "n", "uid": "1", "creationTimestamp": "t0", "generation": 3,
            "deletionTimestamp": "t1", "deletionGracePeriodSeconds": 30, "finalizers": ["x/y"], "resourceVersion": "5"}});
        let mut quiet = json!({"metadata": {"name": "a", "namespace": "n", "creationTimestamp": null, "resourceVersion": "5", "generation": 9}});
        prepare_update(&mut quiet, &old);
        check(validate_update(&quiet, &old, true, NameRule::Label, Repeats::BOTH), expect![""]);
        assert_eq!(quiet["metadata"]["uid"], "1");
        assert_eq!(quiet["metadata"]["generation"], 3);

        let mut loud =
            json!({"metadata": {"name": "b", "namespace": "n", "uid": "2", "deletionGracePeriodSeconds": 1, "finalizers": ["x/y", "new/one"]}});
        prepare_update(&mut loud, &old);
        check(
            validate_update(&loud, &old, true, NameRule::Label, Repeats::UPDATE),
            expect![[r#"
                metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"new/one"}
                metadata.resourceVersion: Invalid value: "": must be specified for an update
                metadata.name: Invalid value: "b": field is immutable
                metadata.uid: Invalid value: "2": field is immutable
                metadata.deletionGracePeriodSeconds: Invalid value: 1: field is immutable
                metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"new/one"}
                metadata.resourceVersion: Invalid value: "": must be specified for an update
                metadata.name: Invalid value: "b": field is immutable
                metadata.uid: Invalid value: "2": field is immutable
                metadata.deletionGracePeriodSeconds: Invalid value: 1: field is immutable"#]],
        );
    }

    #[test]
    fn names_and_namespaces_are_filled_in() {
        assert_eq!(generated_name(&"x".repeat(70), "abcde").len(), 63);
        let mut object = json!({"metadata": {"name": "a"}});
        align_namespace(&mut object, "n").unwrap();
        assert_eq!(object["metadata"]["namespace"], "n");
        assert_eq!(align_namespace(&mut object, "m").unwrap_err().code, 400);
    }
}
