//! `decisions` of `pintle.dev`: what plugins decided, on what grounds. Read-only, never stored: whoever runs the plugins in this process
//! hands a source in, as for their logs. Two ways lead here: the resource `decisions`, by namespace or for the whole cluster, and the
//! subresource `plugins/NAME/decisions`, which also exports what a replay needs.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::BoxStream;
use pintle_api::Status;
use pintle_api::client::BoxFuture;
use serde_json::Value;

/// Which decisions are wanted. Empty text: any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    pub plugin: String,
    pub namespace: String,
    /// `pods`, `deployments.apps`.
    pub resource: String,
    pub name: String,
    pub limit: usize,
    pub explain: Explain,
}

/// How much shall be found out about placements beyond what was written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Explain {
    #[default]
    No,
    Summed,
    EachNode,
}

pub trait Source: Send + Sync {
    /// The newest first, as objects of the kind `Decision`.
    fn find(&self, question: Question) -> BoxFuture<'static, Result<Vec<Value>, Status>>;
    /// What was recorded of a plugin, for a replay.
    fn export(&self, plugin: &str) -> BoxStream<'static, Bytes>;
    /// Prometheus text.
    fn metrics(&self) -> String;
}

/// Set when plugins start in this process.
#[derive(Default)]
pub struct Decisions(Mutex<Option<Arc<dyn Source>>>);

impl Decisions {
    /// From now on decisions are looked up here.
    pub fn serve_from(&self, source: Arc<dyn Source>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
    }
    fn present(&self) -> Option<Arc<dyn Source>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn metrics(&self) -> String {
        self.present().map(|source| source.metrics()).unwrap_or_default()
    }

    pub fn source(&self) -> Result<Arc<dyn Source>, Status> {
        self.present().ok_or_else(|| Status::unavailable("no plugins run in this server"))
    }
}
