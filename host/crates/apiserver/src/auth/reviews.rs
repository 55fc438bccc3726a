//! The virtual resources that answer questions about identity and rights: TokenReview, the access reviews, SelfSubjectReview.
//!
//! Each takes the posted object and gives it back with its status; nothing is stored. The handlers call [`review`] after
//! the request itself was authorized.

use pintle_api::object::ObjectExt;
use pintle_api::{Cause, Object, Status};
use serde_json::{Map, Value, json};

use super::rules::{Rule, strings};
use super::{Attributes, Auth, Authorizer, Decision, User};

const AUTHORIZATION: &str = "authorization.k8s.io";

/// Answers a `create` of one of the review resources. `namespace` is the request's, empty for cluster-scoped ones.
pub fn review(auth: &Auth, resource: &str, namespace: &str, user: &User, object: Object) -> Result<Object, Status> {
    match resource {
        "tokenreviews" => token_review(auth, object),
        "selfsubjectreviews" => Ok(self_subject_review(user, object)),
        "subjectaccessreviews" => subject_access_review(auth, "SubjectAccessReview", object),
        "localsubjectaccessreviews" => local_subject_access_review(auth, namespace, object),
        "selfsubjectaccessreviews" => self_subject_access_review(auth, user, object),
        "selfsubjectrulesreviews" => self_subject_rules_review(auth, user, object),
        other => Err(Status::not_found("", other, "")),
    }
}

pub fn token_review(auth: &Auth, mut object: Object) -> Result<Object, Status> {
    let token = object.str_at(&["spec", "token"]).to_owned();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let mut audiences = strings(object.at(&["spec"]).unwrap_or(&Value::Null), "audiences");
    if audiences.is_empty() {
        audiences = auth.settings.audiences.clone();
    }
    let status = match auth.authenticate_token(&token, &audiences) {
        Ok(identity) => json!({"authenticated": true, "user": user_info(&identity.user), "audiences": identity.audiences}),
        Err(why) => json!({"user": {}, "error": format!("[invalid bearer token, {why}]")}),
    };
    object.set_at(&["status"], status);
    Ok(object)
}

pub fn self_subject_review(user: &User, mut object: Object) -> Object {
    object.set_at(&["metadata", "creationTimestamp"], json!(jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
    object.set_at(&["status"], json!({"userInfo": user_info(user)}));
    object
}

pub fn subject_access_review(auth: &Auth, kind: &str, mut object: Object) -> Result<Object, Status> {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let user = User {
        name: spec.str_at(&["user"]).to_owned(),
        uid: spec.str_at(&["uid"]).to_owned(),
        groups: strings(spec, "groups"),
        extra: extra_of(spec),
    };
    let mut causes = check_spec(spec);
    if user.name.is_empty() && user.groups.is_empty() {
        causes.push(Cause::invalid("spec.user", &json!(""), "at least one of user or group must be specified"));
    }
    if !causes.is_empty() {
        return Err(Status::invalid(AUTHORIZATION, kind, "", causes));
    }
    let status = decide(auth, &user, spec);
    object.set_at(&["status"], status);
    Ok(object)
}

pub fn local_subject_access_review(auth: &Auth, namespace: &str, object: Object) -> Result<Object, Status> {
    let asked = object.str_at(&["spec", "resourceAttributes", "namespace"]);
    if object.at(&["spec", "resourceAttributes"]).is_none() {
        return Err(Status::bad_request("spec.resourceAttributes is required for a LocalSubjectAccessReview"));
    }
    if asked != namespace {
        let message = format!("spec.resourceAttributes.namespace must match namespace: {namespace}");
        return Err(Status::bad_request(message));
    }
    subject_access_review(auth, "LocalSubjectAccessReview", object)
}

pub fn self_subject_access_review(auth: &Auth, user: &User, mut object: Object) -> Result<Object, Status> {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let causes = check_spec(spec);
    if !causes.is_empty() {
        return Err(Status::invalid(AUTHORIZATION, "SelfSubjectAccessReview", "", causes));
    }
    let status = decide(auth, user, spec);
    object.set_at(&["status"], status);
    Ok(object)
}

pub fn self_subject_rules_review(auth: &Auth, user: &User, mut object: Object) -> Result<Object, Status> {
    let namespace = object.str_at(&["spec", "namespace"]).to_owned();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let rules = auth.rbac.rules_of(user, &namespace);
    let (urls, resources): (Vec<Rule>, Vec<Rule>) = rules.into_iter().partition(|r| r.resources.is_empty() && !r.non_resource_urls.is_empty());
    let values = |rules: &[Rule]| -> Vec<Value> { rules.iter().map(Rule::to_value).collect() };
    // What a node may do depends on its pods and cannot be listed.
    let incomplete = super::node::node_name(user).is_some();
    let mut status = json!({"resourceRules": values(&resources), "nonResourceRules": values(&urls), "incomplete": incomplete});
    if incomplete {
        status["evaluationError"] = json!("node authorizer does not support user rule resolution");
    }
    object.set_at(&["status"], status);
    Ok(object)
}

/// `authentication.k8s.io UserInfo`
pub fn user_info(user: &User) -> Value {
    let mut info = Map::new();
    info.insert("username".into(), json!(user.name));
    if !user.uid.is_empty() {
        info.insert("uid".into(), json!(user.uid));
    }
    if !user.groups.is_empty() {
        info.insert("groups".into(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        info.insert("extra".into(), json!(user.extra));
    }
    Value::Object(info)
}

fn decide(auth: &Auth, user: &User, spec: &Value) -> Value {
    let of = spec.at(&["resourceAttributes"]);
    let attributes = match of {
        Some(of) => Attributes {
            subresource: of.str_at(&["subresource"]),
            field_selector: of.str_at(&["fieldSelector", "rawSelector"]),
            ..Attributes::of_resource(
                user,
                of.str_at(&["verb"]),
                of.str_at(&["group"]),
                of.str_at(&["version"]),
                of.str_at(&["resource"]),
                of.str_at(&["namespace"]),
                of.str_at(&["name"]),
            )
        },
        None => Attributes::of_path(user, spec.str_at(&["nonResourceAttributes", "verb"]), spec.str_at(&["nonResourceAttributes", "path"])),
    };
    match auth.authorize(&attributes) {
        Decision::Allow => match auth.reason(&attributes) {
            reason if reason.is_empty() => json!({"allowed": true}),
            reason => json!({"allowed": true, "reason": reason}),
        },
        Decision::Deny(reason) if !reason.is_empty() => json!({"allowed": false, "reason": reason}),
        _ => json!({"allowed": false}),
    }
}

fn check_spec(spec: &Value) -> Vec<Cause> {
    let (resource, path) = (spec.at(&["resourceAttributes"]).is_some(), spec.at(&["nonResourceAttributes"]).is_some());
    let detail = match (resource, path) {
        (true, true) => "cannot be specified in combination with resourceAttributes",
        (false, false) => "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        _ => return Vec::new(),
    };
    vec![Cause::invalid(if resource { "spec.nonResourceAttributes" } else { "spec.resourceAttributes" }, &Value::Null, detail)]
}

fn extra_of(spec: &Value) -> std::collections::BTreeMap<String, Vec<String>> {
    let extra = spec.map_at(&["extra"]).into_iter().flatten();
    extra.map(|(key, _)| (key.to_lowercase(), strings(&spec["extra"], key))).collect()
}
