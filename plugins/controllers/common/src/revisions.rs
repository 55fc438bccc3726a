//! ControllerRevisions: the history of a pod template, for kinds whose pods carry a revision's hash (DaemonSet, StatefulSet).

use pintle_sdk::controller::{Api, ApiError, DeleteOptions, Failure};
use serde_json::{Value, json};

use crate::claim::{Claimant, claim};
use crate::fields::Fields;
use crate::hash;
use crate::resources::CONTROLLER_REVISIONS;
use crate::template::controller_reference;

/// The owner's revisions, oldest first.
pub fn list(api: &dyn Api, claimant: &Claimant<'_>) -> Result<Vec<Value>, Failure> {
    let mut revisions = claim(api, claimant, CONTROLLER_REVISIONS)?;
    revisions.sort_by_key(|r| (number(r), r.created(), r.name().to_owned()));
    Ok(revisions)
}

pub fn number(revision: &Value) -> i64 {
    revision.integer(&["revision"]).unwrap_or(0)
}

/// What a revision of this owner holds: the template, as a patch that puts it back.
pub fn data(owner: &Value) -> Value {
    let mut template = owner["spec"]["template"].clone();
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

/// Finds or makes the revision that holds the owner's present template, makes it the newest, and puts it into `revisions`. `labels`: what
/// the selector asks for. Returns its place, and the count of name collisions, which belongs into the owner's status.
pub fn current(api: &dyn Api, claimant: &Claimant<'_>, revisions: &mut Vec<Value>, labels: &Value, label_key: &str) -> Result<(usize, i64), Failure> {
    let owner = claimant.object;
    let wanted = data(owner);
    let newest = revisions.last().map_or(0, number);
    let mut collisions = owner.integer(&["status", "collisionCount"]).unwrap_or(0);
    if let Some(place) = revisions.iter().rposition(|r| r["data"] == wanted) {
        if number(&revisions[place]) == newest {
            return Ok((place, collisions));
        }
        let mut revived = revisions.remove(place);
        revived["revision"] = json!(newest + 1);
        let revived = api.update(CONTROLLER_REVISIONS, owner.namespace(), revived.name(), &revived)?;
        revisions.push(revived);
        return Ok((revisions.len() - 1, collisions));
    }
    loop {
        let hash = hash::of(&wanted, collisions);
        let name = format!("{}-{hash}", owner.name());
        let mut labels = labels.clone();
        labels[label_key] = json!(hash);
        let revision = json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision",
            "metadata": {
                "name": name, "namespace": owner.namespace(), "labels": labels,
                "annotations": owner["metadata"]["annotations"],
                "ownerReferences": [controller_reference(owner, claimant.api_version, claimant.kind)],
            },
            "data": wanted, "revision": newest + 1,
        });
        match api.create(CONTROLLER_REVISIONS, owner.namespace(), &revision) {
            Ok(created) => {
                revisions.push(created);
                return Ok((revisions.len() - 1, collisions));
            }
            Err(ApiError::AlreadyExists(message)) => {
                let there = api.get_live(CONTROLLER_REVISIONS, owner.namespace(), &name)?;
                if there["data"] == wanted && there.is_controlled_by(owner.uid()) {
                    revisions.push(there);
                    return Ok((revisions.len() - 1, collisions));
                }
                if collisions > 100 {
                    return Err(Failure::Retry(message));
                }
                collisions += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The hash in a revision's label.
pub fn hash_of<'a>(revision: &'a Value, label_key: &str) -> &'a str {
    let label = revision.label(label_key);
    if label.is_empty() { revision.name().rsplit('-').next().unwrap_or("") } else { label }
}

/// Deletes the oldest revisions that nothing uses, down to the owner's `revisionHistoryLimit` (10).
pub fn truncate(api: &dyn Api, owner: &Value, revisions: &[Value], in_use: impl Fn(&Value) -> bool) -> Result<(), Failure> {
    let limit = usize::try_from(owner.integer(&["spec", "revisionHistoryLimit"]).unwrap_or(10)).unwrap_or(10);
    let idle: Vec<&Value> = revisions.iter().filter(|r| !in_use(r)).collect();
    for revision in idle.iter().take(idle.len().saturating_sub(limit)) {
        match api.delete(CONTROLLER_REVISIONS, owner.namespace(), revision.name(), &DeleteOptions { uid: revision.uid(), ..DeleteOptions::default() })
        {
            Ok(()) | Err(ApiError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
