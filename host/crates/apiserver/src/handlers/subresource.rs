//! Plugs for what is no plain read or write: bindings, evictions, token requests, reviews.

use std::sync::Arc;

use pintle_api::client::BoxFuture;
use pintle_api::{Object, Status};

use super::{Core, Scope, WriteOptions};
use crate::admission::request::Request;
use crate::admission::{Operation, webhook};

/// A creation on a subresource, or of a kind that is never stored.
pub struct SubresourceCall {
    pub core: Arc<Core>,
    pub scope: Scope,
    pub object: Object,
    pub options: WriteOptions,
}

impl SubresourceCall {
    /// Asks the webhooks about what is posted, which they may refuse but not change; their warnings.
    pub async fn ask_hooks(&self) -> Result<Vec<String>, Status> {
        if self.core.hooks.is_empty() {
            return Ok(Vec::new());
        }
        let request = Request {
            options: webhook::options("CreateOptions", self.options.dry_run, &self.options.field_manager),
            dry_run: self.options.dry_run,
            ..self.core.asking(&self.scope, Operation::Create)
        };
        self.core.hooks.permit(&request, Some(&self.object)).await
    }
}

/// Answers with the object for the client and its status code (201, or 200).
pub trait SubresourceHandler: Send + Sync + 'static {
    fn create(&self, call: SubresourceCall) -> BoxFuture<'static, Result<(u16, Object), Status>>;
}

impl<F> SubresourceHandler for F
where
    F: Fn(SubresourceCall) -> BoxFuture<'static, Result<(u16, Object), Status>> + Send + Sync + 'static,
{
    fn create(&self, call: SubresourceCall) -> BoxFuture<'static, Result<(u16, Object), Status>> {
        self(call)
    }
}
