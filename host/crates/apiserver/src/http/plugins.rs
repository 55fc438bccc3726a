//! What plugins said and decided, over HTTP: `plugins/NAME/log`, `plugins/NAME/decisions` and the resource `decisions`.

use bytes::Bytes;
use futures::StreamExt as _;
use pintle_api::Status;
use pintle_api::selector::FieldSelector;
use serde_json::Value;

use super::rest::Call;
use super::{Body, Response, answer};
use crate::handlers::Scope;
use crate::handlers::decisions::{Explain, Question};

/// Decisions of an answer when nobody says how many.
const DEFAULT_LIMIT: usize = 50;
const EXPORT: &str = "application/vnd.pintle.decisions";

pub fn log(call: &Call, scope: &Scope) -> Result<Response, Status> {
    call.core.read(&Scope { subresource: String::new(), ..scope.clone() })?;
    let reader = call.core.plugin_logs.reader().ok_or_else(|| Status::unavailable("no plugins run in this server"))?;
    let text = reader(&scope.name).unwrap_or_default();
    let mut response = Response::new(Body::Full(Bytes::from(text)));
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// The resource whose lists are made here.
pub fn are_decisions(scope: &Scope) -> bool {
    let def = scope.resource.def();
    def.group == "pintle.dev" && def.resource == "decisions"
}

pub async fn list_decisions(call: &Call, scope: &Scope) -> Result<Vec<Value>, Status> {
    let question = question(call, scope)?;
    call.core.decisions.source()?.find(question).await
}

/// `plugins/NAME/decisions`: its decisions, or with `export=true` its part of the log.
pub async fn decisions(call: &Call, scope: &Scope) -> Result<Response, Status> {
    call.core.read(&Scope { subresource: String::new(), ..scope.clone() })?;
    let source = call.core.decisions.source()?;
    if call.flag("export") {
        let chunks = source.export(&scope.name).map(Ok).boxed();
        return Ok(answer::bytes(200, http::HeaderValue::from_static(EXPORT), Body::Stream(chunks)));
    }
    let mut question = question(call, scope)?;
    question.plugin.clone_from(&scope.name);
    let items = source.find(question).await?;
    let list = serde_json::json!({"apiVersion": "pintle.dev/v1alpha1", "kind": "DecisionList", "metadata": {}, "items": items});
    Ok(answer::value(200, &list))
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
