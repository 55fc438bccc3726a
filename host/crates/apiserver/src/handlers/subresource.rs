//! Plugs for what is no plain read or write: bindings, evictions, token requests, reviews.

use std::sync::Arc;

use pintle_api::client::BoxFuture;
use pintle_api::{Object, Status};

use super::{Core, Scope, WriteOptions};

/// A creation on a subresource, or of a kind that is never stored.
pub struct SubresourceCall {
    pub core: Arc<Core>,
    pub scope: Scope,
    pub object: Object,
    pub options: WriteOptions,
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
