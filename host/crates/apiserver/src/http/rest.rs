//! Requests for resources: from path, query, headers and body to a handler, and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::Method;
use http::header::USER_AGENT;
use http::request::Parts;
use pintle_api::metadata;
use pintle_api::object::ObjectExt;
use pintle_api::{Cause, GroupVersionKind, Object, Reason, Status};
use serde_json::json;

use super::frames::SharedFrames;
use super::incoming::{Held, Room};
use super::metrics::Metrics;
use super::negotiate::{self, Form, Media, Shape};
use super::packs::Packs;
use super::path::{self, ResourcePath};
use super::stream::{self, Lines};
use super::unread::Asking;
use super::websocket::Wish;
use super::{Response, answer, connect, plugins, protobuf};
use crate::audit::Record;
use crate::audit::policy::Level;
use crate::auth::{User, token_request};
use crate::handlers::delete::DeleteOptions;
use crate::handlers::field_validation::{check_custom, check_fields};
use crate::handlers::list::{ListQuery, Match};
use crate::handlers::patch::PatchKind;
use crate::handlers::watch::WatchQuery;
use crate::handlers::{Core, FieldValidation, Scope, SubresourceCall, WriteOptions, Written, no_such_resource};

const MANAGER_MAX_BYTES: usize = 128;

pub struct Call {
    pub core: Arc<Core>,
    pub metrics: Arc<Metrics>,
    pub frames: Arc<SharedFrames>,
    pub packs: Arc<Packs>,
    pub user: Arc<User>,
    pub path: ResourcePath,
    pub verb: &'static str,
    pub query: Vec<(String, String)>,
    pub parts: Parts,
    pub body: Asking,
    pub room: Room,
    /// The body was read: from here on a write is not given up.
    pub begun: Arc<AtomicBool>,
    /// Where the request is written down, if it is.
    pub record: Option<Arc<Record>>,
}

/// Streams of which nobody knows when they end: no time-out, and not counted as in flight.
pub fn is_long_running(verb: &str, subresource: &str) -> bool {
    verb == "watch" || matches!(subresource, "log" | "exec" | "attach" | "portforward" | "proxy")
}

impl Call {
    pub async fn serve(self) -> Result<Response, Status> {
        let Some(warning) = deprecation(&self.path) else { return self.answer().await };
        let media = negotiate::Media::plain(&self.parts.headers);
        let mut response = self.answer().await.unwrap_or_else(|failed| answer::status(&failed, media));
        answer::add_warnings(&mut response, &[warning.to_owned()]);
        Ok(response)
    }

    /// What is larger than a read stands on the heap: a future is moved several times before it runs, whichever of these it may become.
    async fn answer(mut self) -> Result<Response, Status> {
        let scope = self.scope()?;
        if connect::SUBRESOURCES.contains(&scope.subresource.as_str()) {
            return Box::pin(connect::serve(self, scope)).await;
        }
        self.check_verb(&scope)?;
        let form = self.form(&scope)?;
        match self.verb {
            "get" => self.read(&scope, form).await,
            "list" if plugins::are_decisions(&scope) => {
                let decisions = Box::pin(plugins::list_decisions(&self, &scope)).await?;
                answer::made(&scope.resource, &decisions, form)
            }
            "list" => {
                let list = self.core.list(&scope, &self.list_query()?).await?;
                answer::list(&scope.resource, list, form, negotiate::takes_gzip(&self.parts.headers).then_some(&self.packs))
            }
            "watch" => Box::pin(self.watch(&scope, form)).await,
            "create" => Box::pin(self.create(scope, form)).await,
            "update" => Box::pin(self.update(&scope, form)).await,
            "patch" => Box::pin(self.patch(&scope, form)).await,
            "delete" => {
                let options = self.delete_options().await?;
                let (code, body) = Box::pin(self.core.delete(&scope, &options)).await?.answer(&scope, &options)?;
                answer::whole(code, body, Media::plain(&self.parts.headers))
            }
            "deletecollection" => {
                let options = self.delete_options().await?;
                let deleted = Box::pin(self.core.delete_collection(&scope, &self.list_query()?, &options)).await?;
                answer::list(&scope.resource, deleted, form, None)
            }
            _ => Err(no_such_resource()),
        }
    }

    /// The form of the answer, which is settled before anything is done.
    fn form(&self, scope: &Scope) -> Result<Form, Status> {
        let (headers, watches) = (&self.parts.headers, self.verb == "watch");
        let lists = matches!(self.verb, "list" | "deletecollection");
        if !scope.resource.custom {
            negotiate::check_route(headers, watches || self.verb == "list")?;
        }
        let form = Form::of(headers, watches, || protobuf::is_known(scope))?.with_rows(self.get("includeObject"))?;
        if !watches {
            form.check_number(lists, || protobuf::go_type(scope, lists))?;
        }
        Ok(form)
    }

    fn scope(&self) -> Result<Scope, Status> {
        let path = &self.path;
        let table = self.core.resources.load();
        let resource = table.get(&path.group, &path.version, &path.resource).cloned().ok_or_else(no_such_resource)?;
        let namespaced = resource.is_namespaced();
        if namespaced && path.namespace.is_empty() && !path.name.is_empty() {
            return Err(no_such_resource());
        }
        let of_namespace = resource.def().resource == "namespaces" && resource.def().group.is_empty();
        if !namespaced && !path.namespace.is_empty() && !of_namespace {
            return Err(no_such_resource());
        }
        let namespace = if namespaced { path.namespace.clone() } else { String::new() };
        Ok(Scope { user: self.user.clone(), resource, namespace, name: path.name.clone(), subresource: path.subresource.clone() })
    }

    fn check_verb(&self, scope: &Scope) -> Result<(), Status> {
        let def = scope.resource.def();
        let allowed = if scope.subresource.is_empty() {
            scope.resource.has_verb(self.verb)
        } else {
            let Some(sub) = def.subresources.iter().find(|s| s.name == scope.subresource) else { return Err(no_such_resource()) };
            sub.verbs.iter().any(|v| v == self.verb)
        };
        // Only what is passed on to others can be asked for its head.
        if !allowed || self.parts.method == http::Method::HEAD {
            let mut status = Status::new(405, Reason::MethodNotAllowed, "the server does not allow this method on the requested resource");
            status.details_mut();
            return Err(status);
        }
        if scope.resource.is_namespaced() && scope.namespace.is_empty() && self.verb == "create" {
            return Err(Status::bad_request("the server does not allow this method on the requested resource: a namespace is required"));
        }
        Ok(())
    }

    async fn read(&self, scope: &Scope, form: Form) -> Result<Response, Status> {
        let stored = self.core.get_at(scope, self.get("resourceVersion")).await?;
        if scope.subresource == "scale" {
            let object = scope.resource.parse(&stored)?;
            return answer::scale(&crate::handlers::scale::of(scope, &object)?, form);
        }
        answer::object(200, &scope.resource, scope.resource.wire(&stored)?, form)
    }

    async fn watch(&mut self, scope: &Scope, form: Form) -> Result<Response, Status> {
        let socket = Wish::take(&mut self.parts)?;
        let watch = match self.core.watch(scope, &self.watch_query()?).await {
            Ok(watch) => watch,
            // The stream itself tells that it cannot begin there, as clients expect it.
            Err(old) if old.is(Reason::Expired) => {
                let line = format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", old.to_value());
                let line = Bytes::from(line);
                let said = Lines::of(&self.frames, &scope.resource, form)?.in_form(&scope.resource, line, true);
                return Ok(stream::sent(futures::stream::once(async { Ok(said) }).boxed(), form.media, socket));
            }
            Err(other) => return Err(other),
        };
        let lines = Lines::of(&self.frames, &scope.resource, form)?;
        Ok(stream::sent(stream::chunks(watch, lines, self.metrics.clone()), form.media, socket))
    }

    async fn create(&mut self, mut scope: Scope, form: Form) -> Result<Response, Status> {
        let options = self.write_options()?;
        let body = self.read_body().await?;
        let def = scope.resource.def();
        let (group, resource, sub) = (def.group.to_string(), def.resource.to_string(), scope.subresource.clone());
        let handler = self.core.special.iter().find(|((g, r, s), _)| *g == group && *r == resource && *s == sub).map(|(_, h)| h.clone());
        if let Some(handler) = handler {
            if form.shape != Shape::Whole {
                return Err(negotiate::not_acceptable(false));
            }
            let (object, warnings) = self.decode(&scope, &body.bytes, &options)?;
            self.note(&scope, &object);
            self.core.cache.catch_up().await?;
            let call = SubresourceCall { core: self.core.clone(), scope, object, options };
            call.gate()?;
            let warnings = [warnings, call.ask_hooks().await?].concat();
            let (code, object) = handler.create(call).await?;
            if let (Some(record), Some(id)) = (&self.record, token_request::id_of(&object)) {
                record.annotate("authentication.kubernetes.io/issued-credential-id", id);
            }
            let mut response = answer::value_in(code, &object, form.media)?;
            answer::add_warnings(&mut response, &warnings);
            return Ok(response);
        }
        if !scope.subresource.is_empty() || !scope.resource.is_stored() {
            return Err(Status::method_not_allowed(&scope.resource.def().group, &scope.resource.def().resource, "create"));
        }
        let (object, warnings) = self.decode(&scope, &body.bytes, &options)?;
        self.note(&scope, &object);
        scope.name.clear();
        let written = self.core.create(&scope, object, &options).await.map_err(|failed| failed.warned(&warnings))?;
        written_answer(&scope, written, warnings, form)
    }

    async fn update(&mut self, scope: &Scope, form: Form) -> Result<Response, Status> {
        let options = self.write_options()?;
        let body = self.read_body().await?;
        let (object, warnings) = self.decode(scope, &body.bytes, &options)?;
        self.note(scope, &object);
        if scope.subresource == "scale" {
            let scale = self.core.update_scale(scope, object, &options).await?;
            return answer::scale(&scale, form);
        }
        let written = self.core.update(scope, object, &options).await.map_err(|failed| failed.warned(&warnings))?;
        written_answer(scope, written, warnings, form)
    }

    async fn patch(&mut self, scope: &Scope, form: Form) -> Result<Response, Status> {
        let mut options = self.write_options()?;
        options.force = self.flag("force");
        let kind = PatchKind::of(negotiate::content_type(&self.parts.headers), scope.resource.custom)?;
        if kind == PatchKind::Apply && self.get("fieldManager").is_empty() {
            let cause = Cause::required("fieldManager", "is required for apply patch");
            return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", vec![cause]));
        }
        if kind != PatchKind::Apply && !self.get("force").is_empty() {
            let cause = Cause::forbidden("force", "may not be specified for non-apply patch");
            return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", vec![cause]));
        }
        let body = self.read_body().await?;
        let patch = if kind == PatchKind::Apply {
            negotiate::applied(&body.bytes, options.validation == FieldValidation::Strict)
        } else {
            negotiate::patch_json(&body.bytes, kind == PatchKind::Strategic, options.validation != FieldValidation::Ignore)
        };
        let (patch, doubled) = patch?;
        options.doubled = doubled;
        if let Some(record) = &self.record {
            record.sent_patch(&patch);
        }
        if scope.subresource == "scale" {
            let scale = self.core.patch_scale(scope, kind, patch, &options).await?;
            return answer::scale(&scale, form);
        }
        let written = self.core.patch(scope, kind, patch, &options).await?;
        written_answer(scope, written, Vec::new(), form)
    }

    /// The body as an object of the kind that the scope takes, and warnings about its fields.
    fn decode(&self, scope: &Scope, body: &Bytes, options: &WriteOptions) -> Result<(Object, Vec<String>), Status> {
        let gvk = kind_of(scope);
        let (mut object, duplicates) = negotiate::decode(&self.parts.headers, body, &gvk, options.validation != FieldValidation::Ignore)?;
        negotiate::check_type(&mut object, body, &gvk.kind)?;
        if scope.resource.has_own_schema() && scope.subresource != "scale" {
            let warnings = check_custom(scope, &mut object, &duplicates.told_first(), options.validation)?;
            return Ok((object, warnings));
        }
        let warnings = check_fields(&mut object, &kind_of(scope), &duplicates, options.validation)?;
        Ok((object, warnings))
    }

    fn list_query(&self) -> Result<ListQuery, Status> {
        let limit = self.get("limit");
        Ok(ListQuery {
            label_selector: self.get("labelSelector").to_owned(),
            field_selector: self.get("fieldSelector").to_owned(),
            limit: page_limit(limit)?,
            continue_token: self.get("continue").to_owned(),
            resource_version: self.get("resourceVersion").to_owned(),
            version_match: Match::parse(self.get("resourceVersionMatch"))?,
        })
    }

    fn watch_query(&self) -> Result<WatchQuery, Status> {
        let timeout = self.get("timeoutSeconds");
        let seconds = if timeout.is_empty() { None } else { Some(timeout.parse::<u64>().map_err(|_| bad_parameter("timeoutSeconds", timeout))?) };
        Ok(WatchQuery {
            label_selector: self.get("labelSelector").to_owned(),
            field_selector: self.get("fieldSelector").to_owned(),
            resource_version: self.get("resourceVersion").to_owned(),
            version_match: Match::parse(self.get("resourceVersionMatch"))?,
            send_initial_events: match self.get("sendInitialEvents") {
                "" => None,
                _ => Some(self.flag("sendInitialEvents")),
            },
            bookmarks: self.flag("allowWatchBookmarks"),
            timeout: seconds.filter(|s| *s > 0).map(Duration::from_secs),
        })
    }

    fn write_options(&self) -> Result<WriteOptions, Status> {
        let validation = match self.get("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Strict" => FieldValidation::Strict,
            "Ignore" => FieldValidation::Ignore,
            other => {
                let cause = Cause::not_supported("fieldValidation", &json!(other), &["", "Ignore", "Strict", "Warn"]);
                return Err(self.invalid_options(vec![cause]));
            }
        };
        let asked = self.get("fieldManager");
        let mut causes = Vec::new();
        metadata::validate_field_manager(asked, "fieldManager", &mut causes);
        if !causes.is_empty() {
            return Err(self.invalid_options(causes));
        }
        let field_manager = if asked.is_empty() { self.agent() } else { asked.to_owned() };
        Ok(WriteOptions { dry_run: self.dry_run()?, field_manager, validation, ..WriteOptions::default() })
    }

    fn dry_run(&self) -> Result<bool, Status> {
        let values: Vec<&str> = self.query.iter().filter(|(k, _)| k == "dryRun").map(|(_, v)| v.as_str()).collect();
        self.check_dry_run(&values)?;
        Ok(values.contains(&"All"))
    }

    fn check_dry_run(&self, values: &[&str]) -> Result<(), Status> {
        if values.iter().all(|v| matches!(*v, "All" | "")) {
            return Ok(());
        }
        Err(self.invalid_options(vec![Cause::not_supported("dryRun", &json!(values), &["All"])]))
    }

    fn invalid_options(&self, causes: Vec<Cause>) -> Status {
        let kind = match self.parts.method {
            Method::PUT => "UpdateOptions",
            Method::PATCH => "PatchOptions",
            Method::DELETE => "DeleteOptions",
            _ => "CreateOptions",
        };
        Status::invalid("meta.k8s.io", kind, "", causes)
    }

    async fn delete_options(&mut self) -> Result<DeleteOptions, Status> {
        let body = self.read_body().await?;
        if !body.bytes.is_empty() {
            let kind = GroupVersionKind::new("meta.k8s.io", "v1", "DeleteOptions");
            let (object, _) = negotiate::decode_options(&self.parts.headers, &body.bytes, &kind)?;
            if let Some(record) = &self.record {
                record.sent(&object);
            }
            if !matches!(object.kind(), "" | "DeleteOptions") {
                let (kind, version) = (object.kind(), object.api_version());
                return Err(Status::bad_request(format!(
                    "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/runtime/scheme.go:111\""
                )));
            }
            let mut options: DeleteOptions =
                serde_json::from_value(object).map_err(|e| Status::bad_request(format!("invalid DeleteOptions: {e}")))?;
            self.check_dry_run(&options.dry_run.iter().map(String::as_str).collect::<Vec<_>>())?;
            if self.dry_run()? {
                options.dry_run = vec!["All".to_owned()];
            }
            return Ok(options);
        }
        let text = |key: &str| Some(self.get(key)).filter(|v| !v.is_empty()).map(str::to_owned);
        let grace = text("gracePeriodSeconds");
        Ok(DeleteOptions {
            grace_period_seconds: grace.map(|g| g.parse().map_err(|_| bad_parameter("gracePeriodSeconds", &g))).transpose()?,
            propagation_policy: text("propagationPolicy"),
            orphan_dependents: text("orphanDependents").map(|_| self.flag("orphanDependents")),
            preconditions: None,
            dry_run: if self.dry_run()? { vec!["All".to_owned()] } else { Vec::new() },
        })
    }

    /// For the audit log: what was sent, as upstream decodes it, with the kind's defaults.
    fn note(&self, scope: &Scope, object: &Object) {
        let Some(record) = &self.record else { return };
        if !record.wants(Level::Request) {
            return record.sent(object);
        }
        let mut object = object.clone();
        let kind = kind_of(scope);
        if kind == scope.resource.def().gvk() {
            scope.resource.strategy.default(&mut object);
        }
        object.set_at(&["apiVersion"], json!(kind.api_version()));
        object.set_at(&["kind"], json!(kind.kind));
        record.sent(&object);
    }

    pub fn get(&self, key: &str) -> &str {
        self.query.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v)
    }

    pub fn flag(&self, key: &str) -> bool {
        path::flag(&self.query, key)
    }

    /// The first word of the user agent stands for the manager where none is named.
    fn agent(&self) -> String {
        let agent = self.parts.headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("unknown");
        let name = agent.split('/').next().unwrap_or("unknown");
        name.chars().filter(|c| !c.is_control()).take(MANAGER_MAX_BYTES).collect()
    }

    async fn read_body(&mut self) -> Result<Held, Status> {
        let body = self.room.read(&mut self.body).await;
        self.begun.store(body.is_ok(), Ordering::Relaxed);
        body
    }
}

/// What upstream says on every request for a resource that has a successor.
fn deprecation(path: &ResourcePath) -> Option<&'static str> {
    match (&*path.group, &*path.version, &*path.resource) {
        ("", "v1", "endpoints") => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        ("", "v1", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        _ => None,
    }
}

pub fn kind_of(scope: &Scope) -> GroupVersionKind {
    let def = scope.resource.def();
    let sub = def.subresources.iter().find(|s| !scope.subresource.is_empty() && s.name == scope.subresource);
    sub.and_then(|s| s.kind.clone()).unwrap_or_else(|| def.gvk())
}

fn written_answer(scope: &Scope, written: Written, mut warnings: Vec<String>, form: Form) -> Result<Response, Status> {
    let code = if written.created { 201 } else { 200 };
    warnings.extend(written.warnings);
    let mut response = answer::object(code, &scope.resource, written.json, form)?;
    answer::add_warnings(&mut response, &warnings);
    Ok(response)
}

/// How many at once; all of them where that is not positive, as upstream has it.
fn page_limit(text: &str) -> Result<usize, Status> {
    match text.parse::<i64>() {
        _ if text.is_empty() => Ok(0),
        Ok(limit) => Ok(usize::try_from(limit).unwrap_or(0)),
        Err(_) => Err(Status::bad_request(format!("strconv.ParseInt: parsing {}: invalid syntax", pintle_api::status::quoted(text)))),
    }
}

fn bad_parameter(name: &str, value: &str) -> Status {
    Status::bad_request(format!("invalid value {value:?} of the parameter {name}"))
}
