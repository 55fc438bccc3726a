//! `serviceaccounts/token`: a token for an account, bound to a pod, secret or node when asked.
//!
//! The handler calls [`create`] after authorization and NodeRestriction. It reads live objects and stores nothing.

use jiff::Timestamp;
use pintle_api::object::ObjectExt;
use pintle_api::{Cause, GroupVersionResource, Object, Status};
use serde_json::{Value, json};

use super::Auth;
use super::rules::strings;
use super::tokens::{Bound, Claims, Reference};

const GROUP: &str = "authentication.k8s.io";
const DEFAULT_SECONDS: i64 = 3600;
const SHORTEST_SECONDS: i64 = 600;
const LONGEST_SECONDS: i64 = 1 << 32;
/// A pod's token asked for with this lifetime is refreshed by its kubelet, but old clients read the file once:
/// such a token is good for a year, with the asked time as the one to warn after.
const WARN_ONLY_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

const SERVICE_ACCOUNTS: GroupVersionResource = GroupVersionResource::constant("", "v1", "serviceaccounts");

pub fn create(auth: &Auth, namespace: &str, name: &str, mut request: Object, now: Timestamp) -> Result<Object, Status> {
    for (field, wanted) in [("name", name), ("namespace", namespace)] {
        let given = request.str_at(&["metadata", field]);
        if !given.is_empty() && given != wanted {
            let detail = format!("must match the service account {field} if specified");
            let cause = Cause::invalid(format!("metadata.{field}"), &json!(given), &detail);
            return Err(Status::invalid(GROUP, "TokenRequest", name, vec![cause]));
        }
    }
    let account = auth.objects.get(&SERVICE_ACCOUNTS, Some(namespace), name).ok_or_else(|| Status::not_found("", "serviceaccounts", name))?;
    let uid = request.uid();
    if !uid.is_empty() && uid != account.uid() {
        let why = format!("the UID in the token request ({uid}) does not match the UID of the service account ({})", account.uid());
        return Err(Status::conflict(GROUP, "TokenRequest", name, &why));
    }
    let mut audiences = strings(request.at(&["spec"]).unwrap_or(&Value::Null), "audiences");
    if audiences.is_empty() {
        audiences = auth.settings.audiences.clone();
    }
    let seconds = request.i64_at(&["spec", "expirationSeconds"]).unwrap_or(DEFAULT_SECONDS);
    check_lifetime(seconds)?;
    let mut bound = Bound {
        namespace: namespace.to_owned(),
        serviceaccount: Reference { name: name.to_owned(), uid: account.uid().to_owned() },
        ..Bound::default()
    };
    if let Some(to) = request.at(&["spec", "boundObjectRef"]).filter(|r| !r.is_null()) {
        bind(auth, &mut bound, to)?;
    }
    let extend = bound.pod.is_some() && seconds == WARN_ONLY_SECONDS && audiences.iter().all(|a| auth.settings.audiences.contains(a));
    bound.warnafter = extend.then(|| now.as_second() + seconds);
    let token = auth
        .tokens
        .issue(bound, &audiences, now.as_second(), if extend { EXTENDED_SECONDS } else { seconds })
        .map_err(|e| Status::internal(format!("failed to generate token: {e}")))?;
    let ends = Timestamp::from_second(now.as_second() + seconds).unwrap_or(Timestamp::MAX);
    let created = Timestamp::from_second(now.as_second()).unwrap_or(now);
    request.set_at(&["apiVersion"], json!("authentication.k8s.io/v1"));
    request.set_at(&["kind"], json!("TokenRequest"));
    request.set_at(&["metadata"], json!({"name": name, "namespace": namespace, "uid": account.uid(), "creationTimestamp": created.to_string()}));
    request.set_at(&["spec", "audiences"], json!(audiences));
    request.set_at(&["spec", "expirationSeconds"], json!(seconds));
    request.set_at(&["status"], json!({"token": token, "expirationTimestamp": ends.to_string()}));
    Ok(request)
}

/// `JTI=...` of an answered request, by which audit events name its token.
pub fn id_of(answer: &Object) -> Option<String> {
    let token = answer.str_at(&["status", "token"]);
    let claims: Claims = jsonwebtoken::dangerous::insecure_decode_claims(token).ok()?;
    (answer.str_at(&["kind"]) == "TokenRequest" && !claims.jti.is_empty()).then(|| format!("JTI={}", claims.jti))
}

fn check_lifetime(seconds: i64) -> Result<(), Status> {
    let detail = match seconds {
        s if s < SHORTEST_SECONDS => "may not specify a duration less than 10 minutes",
        s if s > LONGEST_SECONDS => "may not specify a duration larger than 2^32 seconds",
        _ => return Ok(()),
    };
    let cause = Cause::invalid("spec.expirationSeconds", &json!(seconds), detail);
    Err(Status::invalid(GROUP, "TokenRequest", "", vec![cause]))
}

/// Looks the object up and notes its identity in the binding.
fn bind(auth: &Auth, bound: &mut Bound, to: &Value) -> Result<(), Status> {
    let (version, kind, name) = (to.str_at(&["apiVersion"]), to.str_at(&["kind"]), to.str_at(&["name"]));
    let resource = match (version, kind) {
        ("v1", "Pod") => "pods",
        ("v1", "Node") => "nodes",
        ("v1", "Secret") => "secrets",
        _ => {
            // Of the group without a name, what stands before the version is nothing.
            let slash = if version.contains('/') { "" } else { "/" };
            return Err(Status::bad_request(format!("cannot bind token to object of type {slash}{version}, Kind={kind}")));
        }
    };
    let namespace = (resource != "nodes").then_some(bound.namespace.as_str());
    let find = |resource: &'static str, namespace: Option<&str>, name: &str| {
        auth.objects.get(&GroupVersionResource::constant("", "v1", resource), namespace, name)
    };
    let live = find(resource, namespace, name).ok_or_else(|| Status::not_found("", resource, name))?;
    let asked_uid = to.str_at(&["uid"]);
    if !asked_uid.is_empty() && asked_uid != live.uid() {
        let why = format!(
            "the UID in the bound object reference ({asked_uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict("", kind, name, &why));
    }
    let reference = Reference { name: name.to_owned(), uid: live.uid().to_owned() };
    match resource {
        "pods" => {
            if live.str_at(&["spec", "serviceAccountName"]) != bound.serviceaccount.name {
                let account = &bound.serviceaccount.name;
                let message = format!("cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name.");
                return Err(Status::bad_request(message));
            }
            let node = live.str_at(&["spec", "nodeName"]);
            if !node.is_empty() {
                let uid = find("nodes", None, node).map(|n| n.uid().to_owned()).unwrap_or_default();
                bound.node = Some(Reference { name: node.to_owned(), uid });
            }
            bound.pod = Some(reference);
        }
        "nodes" => bound.node = Some(reference),
        _ => bound.secret = Some(reference),
    }
    Ok(())
}
