//! Requests for a part of the API that another server serves, and for its OpenAPI document.

use http::request::Parts;
use pintle_api::{Reason, Status};
use pintle_registry::Lookup;

use super::Response;
use super::proxy::{self, Backend};
use super::unread::Asking;
use crate::aggregation::{Extension, name_user};
use crate::auth::User;

/// Passes a request on in the user's name.
pub async fn pass(extension: &Extension, objects: &dyn Lookup, mut parts: Parts, body: Asking, user: &User) -> Result<Response, Status> {
    let unavailable = |why: String| {
        tracing::debug!(extension = extension.name, %why, "an extension of the API does not answer");
        Status::new(503, Reason::ServiceUnavailable, "service unavailable")
    };
    let remote = extension.remote().map_err(unavailable)?;
    let (host, port) = remote.resolve(objects).map_err(unavailable)?;
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    name_user(&mut parts.headers, user);
    let backend = Backend { host, port, tls: Some(remote.tls.clone()), server_name: Some(remote.server_name()), path };
    proxy::pass(parts, body, &backend)
        .await
        .map_err(|why| Status::new(503, Reason::ServiceUnavailable, format!("error trying to reach service: {why}")))
}
