//! Streams and proxies to nodes, pods and services.

use pintle_api::Status;

use super::Scope;
use crate::http::Response;
use crate::http::rest::Call;

/// Subresources that are passed on instead of answered.
pub const SUBRESOURCES: [&str; 5] = ["log", "exec", "attach", "portforward", "proxy"];

pub async fn serve(_call: Call, _scope: Scope) -> Result<Response, Status> {
    Err(Status::unavailable("no node"))
}
