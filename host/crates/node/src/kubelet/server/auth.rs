//! Who calls, by client certificate, and whether they may.

use std::sync::Arc;

use http::Method;
use pintle_api::GroupVersionResource;
use pintle_api::client::{Target, WriteOptions};
use pintle_api::object::ObjectExt;
use rustls::pki_types::CertificateDer;
use serde_json::json;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::super::context::Context;

const REVIEWS: GroupVersionResource = GroupVersionResource::constant("authorization.k8s.io", "v1", "subjectaccessreviews");

pub struct Identity {
    pub user: String,
    pub groups: Vec<String>,
}

/// Common name and organizations, as the API server reads them.
pub fn identity(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let (_, parsed) = X509Certificate::from_der(certificate.as_ref()).ok()?;
    let subject = parsed.subject();
    let user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    Some(Identity { user, groups })
}

/// The administrators' group passes; anybody else is asked about.
pub async fn is_allowed(context: &Arc<Context>, identity: &Identity, method: &Method, sub: &str) -> bool {
    if identity.groups.iter().any(|g| g == "system:masters") {
        return true;
    }
    let verb = match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    };
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {
            "user": identity.user, "groups": identity.groups,
            "resourceAttributes": {"verb": verb, "resource": "nodes", "subresource": sub, "name": context.node_name, "version": "v1"},
        },
    });
    let target = Target::collection(REVIEWS, None);
    let answer = context.client.create(&target, review, &WriteOptions::default()).await.and_then(|s| s.parse());
    answer.is_ok_and(|a| a.bool_at(&["status", "allowed"]))
}
