//! The call of a webhook: the review that it gets, and what its answer means.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pintle_api::object::ObjectExt;
use pintle_api::patch::json;
use pintle_api::{Object, Reason, Status};
use serde_json::{Value, json};

use super::hook::{By, Hook};
use crate::admission::component::Components;
use crate::admission::request::Request;
use crate::audit::annotating::annotate;
use crate::lookup::CacheLookup;
use crate::outbound::gvr_value;
use crate::resources::Resource;

/// What a webhook said to a request that it lets pass.
#[derive(Default)]
pub struct Verdict {
    pub patch: Option<Value>,
    /// The whole object instead of a patch.
    pub object: Option<Object>,
    pub warnings: Vec<String>,
}

/// Why a request does not go on.
pub enum Refusal {
    /// The hook said no.
    Denied(Status),
    /// The hook could not be asked.
    Failed(String),
}

/// Asks the hook. `object` and the request's old object are in the form of `seen`.
pub async fn ask(
    components: &Components,
    request: &Request<'_>,
    hook: &Hook,
    seen: &Resource,
    object: Option<&Object>,
    old: Option<&Object>,
) -> Result<Verdict, Refusal> {
    if let By::Component { phase, .. } = hook.by {
        return components.ask(request, hook, phase, seen, [object, old]).await;
    }
    let uid = uuid::Uuid::new_v4().to_string();
    let review = review(request, seen, object, old, &uid);
    let table = request.resources.load_full();
    let objects = CacheLookup { cache: request.cache, table: &table };
    let remote = hook.remote().map_err(Refusal::Failed)?;
    let query = format!("?timeout={}s", hook.timeout.as_secs());
    let (code, body) =
        remote.post(&objects, &query, &review, hook.timeout).await.map_err(|why| Refusal::Failed(format!("failed to call webhook: {why}")))?;
    if !(200..300).contains(&code) {
        let text = String::from_utf8_lossy(&body[..body.len().min(1024)]).into_owned();
        return Err(Refusal::Failed(format!(
            "failed to call webhook: an error on the server ({text:?}) has prevented the request from succeeding, code {code}"
        )));
    }
    let answer: Value = serde_json::from_slice(&body).map_err(|why| Refusal::Failed(format!("received invalid webhook response: {why}")))?;
    read(hook, &answer, &uid)
}

fn review(request: &Request<'_>, seen: &Resource, object: Option<&Object>, old: Option<&Object>, uid: &str) -> Value {
    let asked = &request.scope.resource;
    let kind = |resource: &Resource| {
        let def = resource.def();
        let sub = def.subresources.iter().find(|s| !request.scope.subresource.is_empty() && s.name == request.scope.subresource);
        let kind = sub.and_then(|s| s.kind.clone()).unwrap_or_else(|| def.gvk());
        json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
    };
    let user = &request.scope.user;
    let mut user_info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        user_info["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        user_info["extra"] = json!(user.extra);
    }
    let mut body = json!({
        "uid": uid, "kind": kind(seen), "resource": gvr_value(&seen.def().gvr()),
        "requestKind": kind(asked), "requestResource": gvr_value(&asked.def().gvr()),
        "operation": request.operation.name(), "userInfo": user_info,
        "object": object.unwrap_or(&Value::Null), "oldObject": old.unwrap_or(&Value::Null),
        "dryRun": request.dry_run, "options": request.options,
    });
    let sub = &request.scope.subresource;
    if !sub.is_empty() {
        body["subResource"] = json!(sub);
        body["requestSubResource"] = json!(sub);
    }
    for (field, value) in
        [("name", request.name), ("namespace", request.namespace().unwrap_or(if request.is_namespace() { request.name } else { "" }))]
    {
        if !value.is_empty() {
            body[field] = json!(value);
        }
    }
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": body})
}

/// The request as match conditions see it: without the objects, which have names of their own.
pub fn request_of(request: &Request<'_>, seen: &Resource) -> Value {
    let mut review = review(request, seen, None, None, "");
    let mut body = review["request"].take();
    for field in ["object", "oldObject", "uid"] {
        body.remove_at(&[field]);
    }
    body
}

fn read(hook: &Hook, answer: &Value, uid: &str) -> Result<Verdict, Refusal> {
    let invalid = |why: &str| Refusal::Failed(format!("received invalid webhook response: {why}"));
    let response = answer.get("response").filter(|r| r.is_object()).ok_or_else(|| invalid("webhook response was absent"))?;
    if answer.str_at(&["apiVersion"]) == "admission.k8s.io/v1" && response.str_at(&["uid"]) != uid {
        return Err(invalid(&format!("expected response.uid={uid:?}, got {:?}", response.str_at(&["uid"]))));
    }
    for (key, value) in response.map_at(&["auditAnnotations"]).into_iter().flatten() {
        annotate(&format!("{}/{key}", hook.name), || value.as_str().map(str::to_owned));
    }
    let warnings = response.list_at(&["warnings"]).iter().filter_map(|w| w.as_str().map(str::to_owned)).collect();
    if !response.bool_at(&["allowed"]) {
        return Err(Refusal::Denied(denied(&hook.name, response.get("status").unwrap_or(&Value::Null))));
    }
    let packed = response.str_at(&["patch"]);
    if packed.is_empty() {
        return Ok(Verdict { warnings, ..Verdict::default() });
    }
    if response.str_at(&["patchType"]) != "JSONPatch" && answer.str_at(&["apiVersion"]) == "admission.k8s.io/v1" {
        return Err(invalid("response.patchType must be JSONPatch"));
    }
    let plain = STANDARD.decode(packed).map_err(|why| invalid(&why.to_string()))?;
    let patch = serde_json::from_slice(&plain).map_err(|why| invalid(&why.to_string()))?;
    Ok(Verdict { patch: Some(patch), warnings, object: None })
}

/// A hook's own status, under its name, and never one that says success.
fn denied(hook: &str, status: &Value) -> Status {
    let by = format!("admission webhook {hook:?} denied the request");
    let code = status.i64_at(&["code"]).and_then(|c| u16::try_from(c).ok()).filter(|c| (400..600).contains(c)).unwrap_or(400);
    let mut body = status.as_object().cloned().unwrap_or_default();
    body.insert("kind".into(), json!("Status"));
    body.insert("status".into(), json!("Failure"));
    body.insert("code".into(), json!(code));
    let mut refused = Status::from_body(code, Value::Object(body).to_string().as_bytes());
    let reason = status.str_at(&["reason"]);
    refused.message = match (status.str_at(&["message"]), reason) {
        ("", "") => format!("{by} without explanation"),
        ("", reason) => format!("{by}: {reason}"),
        (message, _) => format!("{by}: {message}"),
    };
    if reason.is_empty() {
        refused.reason = Reason::Unknown;
    }
    refused
}

pub fn patched(object: &Object, patch: &Value) -> Result<Object, Status> {
    json::apply(object.clone(), patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: Value) -> Result<Verdict, String> {
        let hook = Hook::of(&json!({"name": "a.b.c"}));
        read(&hook, &answer, "1").map_err(|refusal| match refusal {
            Refusal::Denied(status) => format!("{} {:?} {}", status.code, status.reason, status.message),
            Refusal::Failed(why) => why,
        })
    }

    #[test]
    fn answers_are_read() {
        let answer = |response: Value| json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        assert!(check(answer(json!({"uid": "1", "allowed": true}))).unwrap().patch.is_none());
        let patch = STANDARD.encode(r#"[{"op": "add", "path": "/data/x", "value": "y"}]"#);
        let verdict = check(answer(json!({"uid": "1", "allowed": true, "patchType": "JSONPatch", "patch": patch, "warnings": ["w"]}))).unwrap();
        assert_eq!(patched(&json!({"data": {}}), &verdict.patch.unwrap()).unwrap(), json!({"data": {"x": "y"}}));
        assert_eq!(verdict.warnings, ["w"]);
        let said = |response: Value| check(answer(response)).err().unwrap();
        assert_eq!(said(json!({"uid": "1", "allowed": false})), "400 Unknown admission webhook \"a.b.c\" denied the request without explanation");
        let refused = json!({"uid": "1", "allowed": false, "status": {"message": "no", "code": 403, "reason": "Forbidden"}});
        assert_eq!(said(refused), "403 Forbidden admission webhook \"a.b.c\" denied the request: no");
        assert!(said(json!({"uid": "2", "allowed": true})).contains("expected response.uid"));
        assert_eq!(check(json!({})).err().unwrap(), "received invalid webhook response: webhook response was absent");
    }
}
