//! [`pintle_api::Client`] over HTTP.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use http::Method;
use pintle_api::Status;
use pintle_api::client::{
    BoxFuture, Client, DeleteOptions, ListOptions, Listed, Patch, Result, Served, Target, WatchEvent, WatchOptions, WriteOptions,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::body;
use crate::http::{HttpClient, json_headers};
use crate::query;
use crate::watch::{self, Head};

/// The server gives up after a minute; a little more lets its own answer arrive.
const CALL_TIMEOUT: Duration = Duration::from_secs(65);
/// One answer. A list of 5,000 pods has 19 MB; callers with more use pages.
const MAX_ANSWER_BYTES: usize = 512 << 20;

const JSON: &str = "application/json";

impl HttpClient {
    /// A request that is answered as a whole: the body, or the server's Status.
    pub async fn call(&self, method: Method, path_and_query: &str, content_type: &'static str, body: Bytes) -> Result<Bytes> {
        let exchange = async {
            let response = self.request(method, path_and_query, json_headers(content_type), body).await?;
            let status = response.status();
            let body = body::collect(response.into_body(), MAX_ANSWER_BYTES).await?;
            if status.is_success() { Ok(body) } else { Err(Status::from_body(status.as_u16(), &body)) }
        };
        match tokio::time::timeout(CALL_TIMEOUT, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::unavailable(format!("{} gave no answer within {CALL_TIMEOUT:?}", self.server()))),
        }
    }

    async fn object(&self, method: Method, path: &str, content_type: &'static str, body: Bytes) -> Result<Served> {
        served(self.call(method, path, content_type, body).await?)
    }

    async fn open_watch(&self, target: &Target, options: &WatchOptions) -> Result<BoxStream<'static, Result<WatchEvent>>> {
        let path = query::watch(target, options);
        let opening = self.stream(&path, json_headers(""));
        let response = match tokio::time::timeout(CALL_TIMEOUT, opening).await {
            Ok(response) => response?,
            Err(_) => return Err(Status::unavailable(format!("{} opened no watch within {CALL_TIMEOUT:?}", self.server()))),
        };
        let status = response.status();
        if !status.is_success() {
            let body = body::collect(response.into_body(), MAX_ANSWER_BYTES).await?;
            return Err(Status::from_body(status.as_u16(), &body));
        }
        Ok(watch::events(response.into_body()))
    }
}

impl Client for HttpClient {
    fn get<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Served>> {
        Box::pin(async move {
            named(target)?;
            self.object(Method::GET, &query::object(target), "", Bytes::new()).await
        })
    }

    fn list<'a>(&'a self, target: &'a Target, options: &'a ListOptions) -> BoxFuture<'a, Result<Listed>> {
        Box::pin(async move { listed(&self.call(Method::GET, &query::list(target, options), "", Bytes::new()).await?) })
    }

    fn watch<'a>(&'a self, target: &'a Target, options: &'a WatchOptions) -> BoxFuture<'a, Result<BoxStream<'static, Result<WatchEvent>>>> {
        Box::pin(self.open_watch(target, options))
    }

    fn create<'a>(&'a self, target: &'a Target, object: Value, options: &'a WriteOptions) -> BoxFuture<'a, Result<Served>> {
        Box::pin(async move {
            let mut target = target.clone();
            // A new object is posted to its collection; a subresource (a binding, a token) to its object.
            if target.subresource.is_none() {
                target.name = None;
            }
            self.object(Method::POST, &query::write(&target, options, false), JSON, encode(&object)?).await
        })
    }

    fn update<'a>(&'a self, target: &'a Target, object: Value, options: &'a WriteOptions) -> BoxFuture<'a, Result<Served>> {
        Box::pin(async move {
            named(target)?;
            self.object(Method::PUT, &query::write(target, options, false), JSON, encode(&object)?).await
        })
    }

    fn patch<'a>(&'a self, target: &'a Target, patch: Patch, options: &'a WriteOptions) -> BoxFuture<'a, Result<Served>> {
        Box::pin(async move {
            let (content_type, body) = match &patch {
                Patch::Json(body) => ("application/json-patch+json", body),
                Patch::Merge(body) => ("application/merge-patch+json", body),
                Patch::Strategic(body) => ("application/strategic-merge-patch+json", body),
                // JSON is YAML.
                Patch::Apply(body) => ("application/apply-patch+yaml", body),
            };
            let is_apply = matches!(patch, Patch::Apply(_));
            named(target)?;
            self.object(Method::PATCH, &query::write(target, options, is_apply), content_type, encode(body)?).await
        })
    }

    fn delete<'a>(&'a self, target: &'a Target, options: &'a DeleteOptions) -> BoxFuture<'a, Result<Option<Served>>> {
        Box::pin(async move {
            named(target)?;
            let body = encode(&delete_body(options))?;
            remaining(self.call(Method::DELETE, &query::object(target), JSON, body).await?)
        })
    }
}

/// Without a name the path is the collection's: to delete there is to delete everything.
fn named(target: &Target) -> Result<()> {
    match target.name.as_deref() {
        None | Some("") => Err(Status::bad_request("resource name may not be empty")),
        Some(_) => Ok(()),
    }
}

fn encode(value: &Value) -> Result<Bytes> {
    serde_json::to_vec(value).map(Bytes::from).map_err(Status::internal)
}

fn delete_body(options: &DeleteOptions) -> Value {
    let mut body = json!({ "kind": "DeleteOptions", "apiVersion": "v1" });
    if let Some(seconds) = options.grace_period_seconds {
        body["gracePeriodSeconds"] = seconds.into();
    }
    if !options.propagation_policy.is_empty() {
        body["propagationPolicy"] = options.propagation_policy.as_str().into();
    }
    if let Some(uid) = &options.uid {
        body["preconditions"]["uid"] = uid.as_str().into();
    }
    if let Some(version) = &options.resource_version {
        body["preconditions"]["resourceVersion"] = version.as_str().into();
    }
    if options.dry_run {
        body["dryRun"] = json!(["All"]);
    }
    body
}

fn served(json: Bytes) -> Result<Served> {
    Ok(Served { revision: Head::read(&json)?.revision()?, json })
}

/// An answer to a deletion is a Status, or the object: one that waits for something, or the last state of one that is gone.
fn remaining(json: Bytes) -> Result<Option<Served>> {
    let head = Head::read(&json)?;
    let metadata = &head.metadata;
    let waits_for_somebody = metadata.finalizers.as_ref().is_some_and(|f| !f.is_empty());
    let waits_for_time = metadata.deletion_grace_period_seconds.is_some_and(|seconds| seconds > 0);
    let is_deleted = metadata.deletion_timestamp.is_some_and(|time| time.get() != "null");
    if head.kind == "Status" || !is_deleted || !(waits_for_somebody || waits_for_time) {
        return Ok(None);
    }
    let revision = head.revision()?;
    Ok(Some(Served { json, revision }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    metadata: ListMetadata,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    r#continue: String,
}

/// Cuts the items out of the list without parsing them.
fn listed(body: &Bytes) -> Result<Listed> {
    let list: List<'_> = serde_json::from_slice(body).map_err(|error| Status::internal(format!("unreadable list: {error}")))?;
    let items = list.items.unwrap_or_default();
    let mut listed = Listed {
        items: Vec::with_capacity(items.len()),
        revision: watch::revision(&list.metadata.resource_version)?,
        continue_token: list.metadata.r#continue,
    };
    for item in items {
        let json = body.slice_ref(item.get().as_bytes());
        let head = Head::read(&json)?;
        let revision = head.revision()?;
        let json = if head.kind.is_empty() { with_type(&json, &list.api_version, &list.kind) } else { json.clone() };
        listed.items.push(Served { json, revision });
    }
    Ok(listed)
}

/// Items of built-in kinds may come without the type that their list names.
fn with_type(json: &[u8], api_version: &str, list_kind: &str) -> Bytes {
    let kind = list_kind.strip_suffix("List").unwrap_or(list_kind);
    let rest = json.strip_prefix(b"{").unwrap_or(json).trim_ascii_start();
    let comma = if rest.starts_with(b"}") { "" } else { "," };
    let head = format!("{{\"kind\":{},\"apiVersion\":{}{comma}", Value::from(kind), Value::from(api_version));
    [head.as_bytes(), rest].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_list_is_cut_into_objects_with_their_type() {
        let body = Bytes::from_static(
            br#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"9","continue":"c"},"items":[
                {"metadata":{"name":"a","resourceVersion":"3"}}, {"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"4"}}]}"#,
        );
        let listed = listed(&body).unwrap();
        expect![[r#"
            Listed {
                items: [
                    Served {
                        json: b"{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"3\"}}",
                        revision: 3,
                    },
                    Served {
                        json: b"{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"4\"}}",
                        revision: 4,
                    },
                ],
                revision: 9,
                continue_token: "c",
            }
        "#]]
        .assert_debug_eq(&listed);
    }

    #[test]
    fn an_object_without_a_name_is_not_asked_for() {
        let pods = pintle_api::GroupVersionResource::new("", "v1", "pods");
        let refused = [Target::collection(pods.clone(), Some("ns")), Target::object(pods.clone(), Some("ns"), "")];
        assert!(refused.iter().all(|target| named(target).is_err()));
        assert!(named(&Target::object(pods, Some("ns"), "a")).is_ok());
    }

    #[test]
    fn a_deletion_leaves_an_object_only_while_it_waits() {
        let waits = |json: &'static str| remaining(Bytes::from_static(json.as_bytes())).unwrap().map(|s| s.revision);
        assert_eq!(waits(r#"{"kind":"Status","metadata":{},"status":"Success"}"#), None);
        assert_eq!(waits(r#"{"kind":"Pod","metadata":{"resourceVersion":"4"}}"#), None);
        let pod = r#"{"kind":"Pod","metadata":{"resourceVersion":"4","deletionTimestamp":"t","deletionGracePeriodSeconds":30}}"#;
        assert_eq!(waits(pod), Some(4));
        let gone = r#"{"kind":"Pod","metadata":{"resourceVersion":"4","deletionTimestamp":"t","deletionGracePeriodSeconds":0}}"#;
        assert_eq!(waits(gone), None);
        let held = r#"{"kind":"Job","metadata":{"resourceVersion":"4","deletionTimestamp":"t","deletionGracePeriodSeconds":0,"finalizers":["x"]}}"#;
        assert_eq!(waits(held), Some(4));
    }
}
