//! The handlers that plug into subresources and virtual resources.

use std::collections::HashMap;
use std::sync::Arc;

use pintle_api::Object;
use pintle_api::Status;
use pintle_api::client::BoxFuture;
use pintle_api::object::ObjectExt;

use super::binding::Binding;
use super::eviction::Eviction;
use super::{SubresourceCall, SubresourceHandler};
use crate::auth::{Auth, reviews, token_request};

pub type Special = HashMap<(&'static str, &'static str, &'static str), Arc<dyn SubresourceHandler>>;

const REVIEWS: [(&str, &str); 6] = [
    ("authentication.k8s.io", "tokenreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
];

type Answer = BoxFuture<'static, Result<(u16, Object), Status>>;

pub fn all(auth: &Arc<Auth>) -> Special {
    let mut all: Special = HashMap::new();
    for (group, resource) in REVIEWS {
        let auth = auth.clone();
        let handler = move |call: SubresourceCall| -> Answer {
            let auth = auth.clone();
            Box::pin(async move {
                if let Some(fetch) = (resource == "tokenreviews").then(|| auth.prepare_token(call.object.str_at(&["spec", "token"]))).flatten() {
                    fetch.await;
                }
                let mut object = reviews::review(&auth, resource, &call.scope.namespace, &call.scope.user, call.object)?;
                call.scope.resource.stamp(&mut object);
                Ok((201, object))
            })
        };
        all.insert((group, resource, ""), Arc::new(handler));
    }
    let auth = auth.clone();
    let token = move |call: SubresourceCall| -> Answer {
        let auth = auth.clone();
        Box::pin(async move {
            let scope = &call.scope;
            let answer = token_request::create(&auth, &scope.namespace, &scope.name, call.object, jiff::Timestamp::now())?;
            Ok((201, answer))
        })
    };
    all.insert(("", "serviceaccounts", "token"), Arc::new(token));
    all.insert(("", "pods", "binding"), Arc::new(Binding));
    all.insert(("", "bindings", ""), Arc::new(Binding));
    all.insert(("", "pods", "eviction"), Arc::new(Eviction));
    all
}
