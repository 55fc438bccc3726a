//! Which objects belong to a controller: it adopts orphans that its selector matches and releases its own that no longer match.

use pintle_sdk::controller::{Api, ApiError, Failure, PatchType, Query, Resource};
use pintle_sdk::selector::Selector;
use serde_json::{Value, json};

use crate::fields::Fields;
use crate::template::controller_reference;

/// Who claims: the object as read from the cache, and how it is referred to.
pub struct Claimant<'a> {
    pub resource: Resource,
    pub object: &'a Value,
    pub api_version: &'a str,
    pub kind: &'a str,
    pub selector: &'a Selector,
}

/// The objects of `resource` in the claimant's namespace that are its own after adoption and release.
pub fn claim(api: &dyn Api, claimant: &Claimant<'_>, resource: Resource) -> Result<Vec<Value>, Failure> {
    claim_with(api, claimant, resource, "", &|_| true)
}

/// The same, for objects that bear a finalizer for as long as they belong to the claimant.
pub fn claim_marked(api: &dyn Api, claimant: &Claimant<'_>, resource: Resource, finalizer: &str) -> Result<Vec<Value>, Failure> {
    claim_with(api, claimant, resource, finalizer, &|_| true)
}

/// The same, for owners that know their own by name as well.
pub fn claim_members(api: &dyn Api, claimant: &Claimant<'_>, resource: Resource, is_member: &dyn Fn(&str) -> bool) -> Result<Vec<Value>, Failure> {
    claim_with(api, claimant, resource, "", is_member)
}

fn claim_with(
    api: &dyn Api,
    claimant: &Claimant<'_>,
    resource: Resource,
    finalizer: &str,
    is_member: &dyn Fn(&str) -> bool,
) -> Result<Vec<Value>, Failure> {
    let owner = claimant.object;
    let namespace = owner.namespace();
    let mut owned = Vec::new();
    for object in api.list(resource, &Query { namespace, owner_uid: owner.uid(), ..Query::default() })? {
        if claimant.selector.matches(object.labels()) && is_member(object.name()) {
            owned.push(object);
        } else if !owner.deleting() {
            ignore_gone(release(api, owner.uid(), &object, resource, finalizer))?;
        }
    }
    if owner.deleting() || claimant.selector.is_empty() {
        return Ok(owned);
    }
    let matching = Query { namespace, label_selector: claimant.selector.to_string(), ..Query::default() };
    let mut certain = false;
    // Summaries: most that match are owned already, and those were read above.
    for summary in api.list_summaries(resource, &matching)? {
        if summary.controller.is_some() || summary.deleting || !is_member(&summary.name) {
            continue;
        }
        // The cache may be behind: never adopt for an owner that is being deleted or was replaced.
        if !certain {
            let live = api.get_live(claimant.resource, namespace, owner.name())?;
            if live.uid() != owner.uid() || live.deleting() {
                return Ok(owned);
            }
            certain = true;
        }
        let object = match api.get(resource, namespace, &summary.name) {
            Ok(object) => object,
            Err(ApiError::NotFound(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        if let Some(adopted) = ignore_gone(adopt(api, claimant, &object, resource, finalizer))? {
            owned.push(adopted);
        }
    }
    Ok(owned)
}

fn adopt(api: &dyn Api, claimant: &Claimant<'_>, object: &Value, resource: Resource, finalizer: &str) -> Result<Value, ApiError> {
    let reference = controller_reference(claimant.object, claimant.api_version, claimant.kind);
    let mut references = object.items(&["metadata", "ownerReferences"]).to_vec();
    references.push(reference);
    let mut finalizers = object.items(&["metadata", "finalizers"]).to_vec();
    if !finalizers.iter().any(|f| f == finalizer) {
        finalizers.push(json!(finalizer));
    }
    patch(api, object, resource, json!(references), (!finalizer.is_empty()).then_some(finalizers))
}

fn release(api: &dyn Api, owner_uid: &str, object: &Value, resource: Resource, finalizer: &str) -> Result<Value, ApiError> {
    let kept: Vec<&Value> = object.items(&["metadata", "ownerReferences"]).iter().filter(|r| r.text(&["uid"]) != owner_uid).collect();
    let finalizers = object.items(&["metadata", "finalizers"]);
    let marked = !finalizer.is_empty() && finalizers.iter().any(|f| f == finalizer);
    let left = marked.then(|| finalizers.iter().filter(|f| *f != finalizer).cloned().collect());
    patch(api, object, resource, json!(kept), left)
}

fn patch(api: &dyn Api, object: &Value, resource: Resource, references: Value, finalizers: Option<Vec<Value>>) -> Result<Value, ApiError> {
    let mut body =
        json!({"metadata": {"uid": object.uid(), "resourceVersion": object.text(&["metadata", "resourceVersion"]), "ownerReferences": references}});
    if let Some(finalizers) = finalizers {
        body["metadata"]["finalizers"] = json!(finalizers);
    }
    api.patch(resource, object.namespace(), object.name(), "", PatchType::Merge, &body)
}

/// An object that went away or was replaced meanwhile needs neither.
fn ignore_gone(result: Result<Value, ApiError>) -> Result<Option<Value>, Failure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(ApiError::NotFound(_) | ApiError::Invalid(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
