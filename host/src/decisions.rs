//! Lets the API server ask the plugins of this process what they decided.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use pintle_api::Status;
use pintle_api::client::BoxFuture;
use pintle_apiserver::handlers::decisions::{Explain, Question, Source};
use pintle_plugins::{Asked, Decisions, Wanted};
use serde_json::Value;

pub struct FromPlugins(pub Decisions);

impl Source for FromPlugins {
    fn find(&self, question: Question) -> BoxFuture<'static, Result<Vec<Value>, Status>> {
        let decisions = self.0.clone();
        let Question { plugin, namespace, resource, name, limit, explain } = question;
        let explain = match explain {
            Explain::No => pintle_plugins::Explain::No,
            Explain::Summed => pintle_plugins::Explain::Summed,
            Explain::EachNode => pintle_plugins::Explain::EachNode,
        };
        let asked = Asked { wanted: Wanted { plugin, namespace, resource, name, limit }, explain };
        Box::pin(async move { decisions.find(asked).await.map_err(|e| Status::internal(e.to_string())) })
    }

    fn export(&self, plugin: &str) -> BoxStream<'static, Bytes> {
        let chunks = self.0.export(plugin);
        futures::stream::unfold(chunks, |mut chunks| async move { chunks.recv().await.map(|chunk| (Bytes::from(chunk), chunks)) }).boxed()
    }

    fn metrics(&self) -> String {
        self.0.metrics()
    }
}

/// For [`pintle_apiserver::handlers::decisions::Decisions::serve_from`].
pub fn source(plugins: &pintle_plugins::Handle) -> Arc<dyn Source> {
    Arc::new(FromPlugins(plugins.decisions().clone()))
}
