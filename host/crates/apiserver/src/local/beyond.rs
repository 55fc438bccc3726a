//! Objects that another server keeps: they are listed and deleted there, in the client's name, after the same authorization as here.
//!
//! No more than that, and of what is listed the metadata alone. Namespaces are emptied through it, by bookkeeping's client; to plugins'
//! clients such resources are not found. Called by [`super`] for a resource that this server does not have.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use pintle_api::Status;
use pintle_api::client::{DeleteOptions, ListOptions, Listed, Result, Served, Target};
use pintle_api::object::ObjectExt;
use serde_json::{Value, json};

use super::LocalClient;
use super::audited::Audited;
use crate::aggregation::Extension;
use crate::auth::Attributes;
use crate::lookup::CacheLookup;
use crate::outbound::Bounds;

/// An object may be large, and all that is asked for is whose it is.
const METADATA: HeaderValue = HeaderValue::from_static("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json");
/// Of one call.
const BOUNDS: Bounds = Bounds::within(Duration::from_secs(30));

/// A resource of a server that extends the API.
pub(super) struct Beyond<'a> {
    client: &'a LocalClient,
    target: &'a Target,
    extension: Arc<Extension>,
}

impl LocalClient {
    /// `None`: this server has the resource, or nobody has.
    pub(super) fn beyond<'a>(&'a self, target: &'a Target) -> Option<Beyond<'a>> {
        if !self.reaches_beyond || self.core.resource(&target.resource).is_ok() {
            return None;
        }
        let extension = self.core.extensions.find(&target.path())?;
        Some(Beyond { client: self, target, extension })
    }
}

impl Beyond<'_> {
    pub async fn list(&self, options: &ListOptions) -> Result<Listed> {
        let audited = self.enter("list", &options.field_selector)?;
        let limit = (options.limit > 0).then(|| options.limit.to_string()).unwrap_or_default();
        let asked = [
            ("labelSelector", &options.label_selector),
            ("fieldSelector", &options.field_selector),
            ("limit", &limit),
            ("continue", &options.continue_token),
            ("resourceVersion", &options.resource_version),
        ];
        let given = asked.into_iter().filter(|(_, value)| !value.is_empty());
        let query: Vec<String> = given.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))).collect();
        let request = http::Request::get(format!("{}?{}", self.target.path(), query.join("&"))).header(ACCEPT, METADATA).body(Full::default());
        let list = match self.ask(request).await {
            Ok(list) if list.get("items").is_some() => list,
            Ok(_) => return Err(audited.refused(Status::internal("a list without items"))),
            Err(status) => return Err(audited.refused(status)),
        };
        audited.answered(200);
        let items = list.list_at(&["items"]).iter().map(served).collect::<Result<_>>()?;
        Ok(Listed { items, revision: revision(&list), continue_token: list.str_at(&["metadata", "continue"]).to_owned() })
    }

    pub async fn delete(&self, options: &DeleteOptions) -> Result<Option<Served>> {
        // The other server says what they are: one that is another path would be another request.
        let name = self.target.name.as_deref().unwrap_or_default();
        if matches!(name, "" | "." | "..") || name.contains(['/', '%', '?', '#']) {
            return Err(Status::bad_request(format!("{name:?} is no name of an object")));
        }
        let audited = self.enter("delete", "")?;
        let mut body = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if let Some(seconds) = options.grace_period_seconds {
            body["gracePeriodSeconds"] = json!(seconds);
        }
        if !options.propagation_policy.is_empty() {
            body["propagationPolicy"] = json!(options.propagation_policy);
        }
        if options.uid.is_some() || options.resource_version.is_some() {
            body["preconditions"] = json!({"uid": options.uid, "resourceVersion": options.resource_version});
        }
        if options.dry_run {
            body["dryRun"] = json!(["All"]);
        }
        let json = HeaderValue::from_static("application/json");
        let request = http::Request::delete(self.target.path()).header(CONTENT_TYPE, json).body(Full::new(Bytes::from(body.to_string())));
        let deleted = match self.ask(request).await {
            Ok(deleted) => deleted,
            Err(status) => return Err(audited.refused(status)),
        };
        audited.answered(200);
        // A `Status`, or the object as it was: only one that is marked stays for a while.
        deleted.is_being_deleted().then(|| served(&deleted)).transpose()
    }

    fn enter(&self, verb: &'static str, field_selector: &str) -> Result<Audited> {
        let Target { resource, namespace, name, subresource } = self.target;
        let (namespace, name) = (namespace.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default());
        let asked = Attributes::of_resource(&self.client.user, verb, &resource.group, &resource.version, &resource.resource, namespace, name);
        let asked = asked.with_subresource(subresource.as_deref().unwrap_or_default());
        self.client.admit(&Attributes { field_selector, ..asked })
    }

    async fn ask(&self, request: http::Result<http::Request<Full<Bytes>>>) -> Result<Value> {
        let request = request.map_err(Status::internal)?;
        let core = &self.client.core;
        let table = core.resources.load_full();
        let objects = CacheLookup { cache: &core.cache, table: &table };
        let body = self.extension.ask(&objects, &self.client.user, request, BOUNDS).await?;
        serde_json::from_slice(&body).map_err(Status::internal)
    }
}

fn served(object: &Value) -> Result<Served> {
    Ok(Served { json: serde_json::to_vec(object).map_err(Status::internal)?.into(), revision: revision(object) })
}

/// Its meaning is the other server's own.
fn revision(object: &Value) -> u64 {
    object.resource_version().parse().unwrap_or(0)
}
