//! `pods/eviction`: a deletion that asks the pod's disruption budget first.

use pintle_api::client::BoxFuture;
use pintle_api::object::ObjectExt;
use pintle_api::selector::LabelSelector;
use pintle_api::{Cause, CauseKind, GroupVersionResource, Object, Reason, Status};
use serde_json::{Value, json};

use super::delete::DeleteOptions;
use super::{Core, Scope, SubresourceCall, SubresourceHandler};
use crate::cache::Filter;
use pintle_api::metadata::seconds;

const BUDGETS: GroupVersionResource = GroupVersionResource::constant("policy", "v1", "poddisruptionbudgets");
/// Evictions of pods whose deletion is not yet seen by the budget's controller.
const MAX_DISRUPTED_PODS: usize = 2000;
/// When the budget's controller has not looked at the newest budget yet, in seconds.
const RETRY_AFTER: u32 = 10;
/// A pod that changes under its judgement is judged again this often.
const CONFLICT_RETRIES: usize = 20;

pub struct Eviction;

impl SubresourceHandler for Eviction {
    fn create(&self, call: SubresourceCall) -> BoxFuture<'static, Result<(u16, Object), Status>> {
        Box::pin(async move {
            let SubresourceCall { core, scope, object, options } = call;
            if !object.name().is_empty() && object.name() != scope.name {
                return Err(Status::bad_request("name in URL does not match name in Eviction object"));
            }
            let mut deletion: DeleteOptions = match object.at(&["deleteOptions"]) {
                Some(value) if !value.is_null() => {
                    serde_json::from_value(value.clone()).map_err(|e| Status::bad_request(format!("invalid deleteOptions: {e}")))?
                }
                _ => DeleteOptions::default(),
            };
            if options.dry_run {
                deletion.dry_run = vec!["All".to_owned()];
            }
            let pod_scope = Scope { subresource: String::new(), ..scope };
            let dry_run = super::delete::is_dry_run(&deletion.dry_run);
            let insists = deletion.preconditions.as_ref().is_some_and(|p| p.resource_version.is_some());
            let Some(pod) = evict_beside_budgets(&core, &pod_scope, &deletion, insists, dry_run).await? else { return Ok(evicted()) };
            let unguarded = take_from_budget(&core, &pod_scope, &pod, dry_run).await?;
            if unguarded.is_some() && !insists {
                // Let go for not being ready: only as long as it still is not.
                deletion = only_at(&deletion, &pod);
            }
            match (evict(&core, &pod_scope, deletion, dry_run).await, unguarded) {
                (Err(changed), Some(budget)) if changed.is(Reason::Conflict) && !insists => {
                    return Err(refused(format!("The disruption budget {budget} is still being processed by the server."), RETRY_AFTER));
                }
                (outcome, _) => outcome?,
            }
            Ok(evicted())
        })
    }
}

fn evicted() -> (u16, Object) {
    (201, json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))
}

/// Evicts a pod that serves nobody. One that has not begun may begin meanwhile: it goes only as it was judged, and is judged again when
/// it changed. The pod, when its budget is to be asked.
async fn evict_beside_budgets(core: &Core, scope: &Scope, deletion: &DeleteOptions, insists: bool, dry_run: bool) -> Result<Option<Object>, Status> {
    let mut changed = None;
    for _ in 0..CONFLICT_RETRIES {
        let pod = core.read(scope)?;
        if !ignores_budgets(&pod) {
            return Ok(Some(pod));
        }
        let deletion = if may_begin(&pod) && !insists { only_at(deletion, &pod) } else { deletion.clone() };
        match evict(core, scope, deletion, dry_run).await {
            Err(status) if status.is(Reason::Conflict) && !insists => changed = Some(status),
            outcome => return outcome.map(|()| None),
        }
    }
    Err(changed.unwrap_or_else(|| scope.stale()))
}

fn only_at(deletion: &DeleteOptions, pod: &Object) -> DeleteOptions {
    let mut deletion = deletion.clone();
    deletion.preconditions.get_or_insert_default().resource_version = Some(pod.resource_version().to_owned());
    deletion
}

/// Says on the pod why it goes, then deletes it.
async fn evict(core: &Core, scope: &Scope, mut deletion: DeleteOptions, dry_run: bool) -> Result<(), Status> {
    if !dry_run {
        let status = Scope { subresource: "status".to_owned(), ..scope.clone() };
        let revision = core
            .rewrite(&status, &|pod| {
                super::delete::check_preconditions(scope, pod, &deletion)?;
                set_disrupted(pod);
                Ok(())
            })
            .await?;
        if let Some(version) = deletion.preconditions.as_mut().and_then(|p| p.resource_version.as_mut()) {
            *version = revision.to_string();
        }
    }
    core.delete(scope, &deletion).await.map(drop)
}

fn set_disrupted(pod: &mut Object) {
    const KIND: &str = "DisruptionTarget";
    let mut conditions = pod.list_at(&["status", "conditions"]).to_vec();
    let before = conditions.iter().position(|c| c["type"] == KIND).map(|at| conditions.remove(at));
    let since = before.filter(|c| c["status"] == "True").and_then(|c| c.get("lastTransitionTime").cloned());
    conditions.push(json!({
        "type": KIND, "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting", "lastProbeTime": null,
        "lastTransitionTime": since.unwrap_or_else(|| json!(seconds(jiff::Timestamp::now()))),
    }));
    pod.set_at(&["status", "conditions"], Value::Array(conditions));
}

/// A pod that serves nobody: it has ended, has not begun, or goes already.
fn ignores_budgets(pod: &Object) -> bool {
    pod.is_being_deleted() || matches!(pod.str_at(&["status", "phase"]), "Succeeded" | "Failed" | "Pending")
}

/// Of a pod that ignores budgets: it may not for long.
fn may_begin(pod: &Object) -> bool {
    pod.str_at(&["status", "phase"]) == "Pending" && !pod.is_being_deleted()
}

fn is_ready(pod: &Object) -> bool {
    pod.list_at(&["status", "conditions"]).iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Takes one disruption from the pod's budget. The budget's name when it was not asked, for the pod is not ready anyway.
async fn take_from_budget(core: &Core, scope: &Scope, pod: &Object, dry_run: bool) -> Result<Option<String>, Status> {
    let resource = core.resource(&BUDGETS)?;
    let all = core.cache.snapshot(&resource.slot).page(&Filter::everything(&scope.namespace), None, 0).items;
    let mut matching = Vec::new();
    for stored in all {
        let budget = resource.parse(&stored)?;
        let selector = LabelSelector::from_spec(budget.at(&["spec", "selector"])).map_err(|e| Status::internal(e.to_string()))?;
        if selector.matches(pod.map_at(&["metadata", "labels"])) {
            matching.push(budget);
        }
    }
    let budget = match matching.as_slice() {
        [] => return Ok(None),
        [one] => one,
        _ => return Err(Status::internal("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.")),
    };
    // An unhealthy pod may go where the budget says so, or where enough others are healthy.
    if !is_ready(pod) {
        let status = |field: &str| budget.i64_at(&["status", field]).unwrap_or(0);
        let enough = status("currentHealthy") >= status("desiredHealthy") && status("desiredHealthy") > 0;
        if budget.str_at(&["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow" || enough {
            return Ok(Some(budget.name().to_owned()));
        }
    }
    let budget_scope = Scope { resource, name: budget.name().to_owned(), subresource: "status".to_owned(), ..scope.clone() };
    if dry_run {
        return take(&mut budget.clone(), &scope.name).map(|()| None);
    }
    core.rewrite(&budget_scope, &|budget| take(budget, &scope.name)).await.map(|_| None)
}

fn take(budget: &mut Object, pod: &str) -> Result<(), Status> {
    let generation = budget.i64_at(&["metadata", "generation"]).unwrap_or(0);
    let name = budget.name().to_owned();
    if budget.i64_at(&["status", "observedGeneration"]).unwrap_or(0) < generation {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(why, RETRY_AFTER));
    }
    let allowed = budget.i64_at(&["status", "disruptionsAllowed"]).unwrap_or(0);
    if allowed < 1 {
        let have = budget.i64_at(&["status", "currentHealthy"]).unwrap_or(0);
        let want = budget.i64_at(&["status", "desiredHealthy"]).unwrap_or(0);
        return Err(refused(format!("The disruption budget {name} needs {want} healthy pods and has {have} currently"), 0));
    }
    if budget.map_at(&["status", "disruptedPods"]).is_some_and(|pods| pods.len() > MAX_DISRUPTED_PODS) {
        return Err(Status::forbidden(
            "policy",
            "poddisruptionbudgets",
            &name,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ));
    }
    budget.set_at(&["status", "disruptionsAllowed"], json!(allowed - 1));
    budget.set_at(&["status", "disruptedPods", pod], json!(seconds(jiff::Timestamp::now())));
    Ok(())
}

fn refused(cause: String, retry_after: u32) -> Status {
    let mut status = Status::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", retry_after);
    status.details_mut().causes = vec![Cause::new(CauseKind::DisruptionBudget, "", cause)];
    status
}
