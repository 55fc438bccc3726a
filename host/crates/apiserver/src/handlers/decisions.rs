//! `decisions` of `pintle.dev`: what plugins decided, on what grounds. Read-only, never stored: whoever runs the plugins in this process
//! hands a source in, as for their logs. Two ways lead here: the resource `decisions`, by namespace or for the whole cluster, and the
//! subresource `plugins/NAME/decisions`, which also exports what a replay needs.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use pintle_api::Status;
use pintle_api::client::BoxFuture;
use pintle_api::selector::FieldSelector;
use serde_json::Value;

use super::Scope;
use crate::http::rest::Call;
use crate::http::{Body, Response};

/// Decisions of an answer when nobody says how many.
const DEFAULT_LIMIT: usize = 50;
const EXPORT: &str = "application/vnd.pintle.decisions";

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

    fn source(&self) -> Result<Arc<dyn Source>, Status> {
        self.present().ok_or_else(|| Status::unavailable("no plugins run in this server"))
    }
}

/// The resource whose lists are made here.
pub fn is_asked_for(scope: &Scope) -> bool {
    let def = scope.resource.def();
    def.group == "pintle.dev" && def.resource == "decisions"
}

pub async fn list(call: &Call, scope: &Scope) -> Result<Vec<Value>, Status> {
    let question = question(call, scope)?;
    call.core.decisions.source()?.find(question).await
}

/// `plugins/NAME/decisions`: its decisions, or with `export=true` its part of the log.
pub async fn serve(call: &Call, scope: &Scope) -> Result<Response, Status> {
    call.core.read(&Scope { subresource: String::new(), ..scope.clone() })?;
    let source = call.core.decisions.source()?;
    if call.flag("export") {
        let chunks = source.export(&scope.name).map(Ok).boxed();
        return Ok(crate::http::answer::bytes(200, http::HeaderValue::from_static(EXPORT), Body::Stream(chunks)));
    }
    let mut question = question(call, scope)?;
    question.plugin.clone_from(&scope.name);
    let items = source.find(question).await?;
    let list = serde_json::json!({"apiVersion": "pintle.dev/v1alpha1", "kind": "DecisionList", "metadata": {}, "items": items});
    Ok(crate::http::answer::value(200, &list))
}

fn question(call: &Call, scope: &Scope) -> Result<Question, Status> {
    let mut question = Question { namespace: scope.namespace.clone(), limit: DEFAULT_LIMIT, ..Question::default() };
    let selector = FieldSelector::parse(call.get("fieldSelector")).map_err(|e| Status::bad_request(e.to_string()))?;
    for term in selector.terms() {
        let place = match (term.field.as_str(), term.equal) {
            ("plugin", true) => &mut question.plugin,
            ("regarding.resource", true) => &mut question.resource,
            ("regarding.namespace", true) if scope.namespace.is_empty() => &mut question.namespace,
            ("regarding.name", true) => &mut question.name,
            (field, true) => return Err(Status::bad_request(format!("field label not supported: {field}"))),
            (field, false) => return Err(Status::bad_request(format!("decisions are selected by equality alone: {field}!="))),
        };
        place.clone_from(&term.value);
    }
    match call.get("limit") {
        "" | "0" => {}
        text => question.limit = text.parse().map_err(|_| Status::bad_request(format!("invalid limit {text:?}")))?,
    }
    question.explain = match call.get("explain") {
        "" | "false" => Explain::No,
        "true" => Explain::Summed,
        "nodes" => Explain::EachNode,
        other => return Err(Status::bad_request(format!("explain is true, false or nodes, not {other:?}"))),
    };
    Ok(question)
}
