//! The API in process: authorization, admission and registry as for a request over the network, without its encoding.
//!
//! Objects that are read or watched share the cache's bytes. One client acts as one user.

mod audited;
mod beyond;

use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use pintle_api::client::{BoxFuture, DeleteOptions, ListOptions, Listed, Patch, Result, Served, Target, WatchEvent, WatchOptions, WriteOptions};
use pintle_api::schema::Duplicates;
use pintle_api::{Client, Reason, Status};
use serde_json::Value;
use tokio::sync::watch;

use audited::Audited;

use crate::auth::{Attributes, User};
use crate::cache::{Kind, Stored};
use crate::handlers::delete::{self, Deleted, Preconditions};
use crate::handlers::field_validation::check_fields;
use crate::handlers::list::ListQuery;
use crate::handlers::patch::PatchKind;
use crate::handlers::watch::{Said, Watch, WatchQuery};
use crate::handlers::{self, Core, FieldValidation, Scope, SubresourceCall, Written};
use crate::resources::Resource;

#[derive(Clone)]
pub struct LocalClient {
    core: Arc<Core>,
    user: Arc<User>,
    leads: Option<watch::Receiver<bool>>,
    /// Whether it lists and deletes what other servers keep.
    reaches_beyond: bool,
}

impl LocalClient {
    pub(crate) fn new(core: Arc<Core>, user: User) -> Self {
        Self { core, user: Arc::new(user), leads: None, reaches_beyond: false }
    }
    /// From now on it writes only while this server leads: what still runs when another one has taken over changes nothing.
    pub fn while_leading(self, leads: watch::Receiver<bool>) -> Self {
        Self { leads: Some(leads), ..self }
    }
    /// Resources of the API's extensions are listed and deleted as well; to others they are not found.
    pub(crate) fn reaching_beyond(self) -> Self {
        Self { reaches_beyond: true, ..self }
    }
    pub fn user(&self) -> &User {
        &self.user
    }

    fn scope(&self, target: &Target) -> Result<Scope> {
        let resource = self.core.resource(&target.resource)?;
        let namespace = if resource.is_namespaced() { target.namespace.clone().unwrap_or_default() } else { String::new() };
        Ok(Scope {
            user: self.user.clone(),
            resource,
            namespace,
            name: target.name.clone().unwrap_or_default(),
            subresource: target.subresource.clone().unwrap_or_default(),
        })
    }

    /// Resolves and authorizes, and begins the audit event where one is wanted.
    fn enter(&self, target: &Target, verb: &'static str, field_selector: &str) -> Result<(Scope, Audited)> {
        let scope = self.scope(target)?;
        let audited = self.admit(&Attributes { field_selector, ..scope.attributes(verb) })?;
        Ok((scope, audited))
    }

    /// Authorizes, and begins the audit event where one is wanted.
    fn admit(&self, asked: &Attributes<'_>) -> Result<Audited> {
        let writes = !matches!(asked.verb, "get" | "list" | "watch");
        if writes && self.leads.as_ref().is_some_and(|leads| !*leads.borrow()) {
            return Err(Status::unavailable("this server does not lead any more"));
        }
        let audited = Audited::begin(&self.core, asked)?;
        match self.core.authorize_noting(asked, audited.record()) {
            Ok(()) => Ok(audited),
            Err(status) => Err(audited.refused(status)),
        }
    }

    fn options(&self, options: &WriteOptions) -> handlers::WriteOptions {
        let field_manager = if options.field_manager.is_empty() { self.user.name.clone() } else { options.field_manager.clone() };
        let (dry_run, force, validation) = (options.dry_run, options.force, FieldValidation::Ignore);
        handlers::WriteOptions { dry_run, field_manager, force, validation, ..handlers::WriteOptions::default() }
    }

    async fn create_in(&self, scope: Scope, mut object: Value, options: handlers::WriteOptions) -> Result<Served> {
        let def = scope.resource.def();
        let sub = scope.subresource.clone();
        let handler = self.core.special.iter().find(|((g, r, s), _)| *g == def.group && *r == def.resource && *s == sub).map(|(_, h)| h.clone());
        if let Some(handler) = handler {
            self.core.cache.catch_up().await?;
            let call = SubresourceCall { core: self.core.clone(), scope, object, options };
            call.gate()?;
            call.ask_hooks().await?;
            let (_, object) = handler.create(call).await?;
            return Ok(Served { json: serde_json::to_vec(&object).map_err(Status::internal)?.into(), revision: 0 });
        }
        if !sub.is_empty() || !scope.resource.is_stored() {
            return Err(Status::method_not_allowed(&def.group, &def.resource, "create"));
        }
        if !scope.resource.custom {
            check_fields(&mut object, &def.gvk(), &Duplicates::default(), options.validation)?;
        }
        let scope = Scope { name: String::new(), ..scope };
        self.core.create(&scope, object, &options).await.map(written)
    }
}

impl LocalClient {
    async fn get_in(&self, scope: &Scope) -> Result<Served> {
        let stored = self.core.get_ready(scope).await?;
        if scope.subresource == "scale" {
            let scale = handlers::scale::of(scope, &scope.resource.parse(&stored)?)?;
            return Ok(Served { json: serde_json::to_vec(&scale).map_err(Status::internal)?.into(), revision: stored.revision });
        }
        served(&scope.resource, &stored)
    }

    async fn update_in(&self, scope: &Scope, mut object: Value, options: &handlers::WriteOptions) -> Result<Served> {
        if scope.subresource == "scale" {
            return made(&self.core.update_scale(scope, object, options).await?);
        }
        if !scope.resource.custom {
            check_fields(&mut object, &scope.resource.def().gvk(), &Duplicates::default(), options.validation)?;
        }
        self.core.update(scope, object, options).await.map(written)
    }

    async fn patch_in(&self, scope: &Scope, kind: PatchKind, patch: Value, options: &handlers::WriteOptions) -> Result<Served> {
        if scope.subresource == "scale" {
            return made(&self.core.patch_scale(scope, kind, patch, options).await?);
        }
        self.core.patch(scope, kind, patch, options).await.map(written)
    }
}

impl Client for LocalClient {
    fn get<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Served>> {
        Box::pin(async move {
            let (scope, audited) = self.enter(target, "get", "")?;
            audited.served(200, self.get_in(&scope).await)
        })
    }

    fn list<'a>(&'a self, target: &'a Target, options: &'a ListOptions) -> BoxFuture<'a, Result<Listed>> {
        Box::pin(async move {
            if let Some(beyond) = self.beyond(target) {
                return beyond.list(options).await;
            }
            let (scope, audited) = self.enter(target, "list", &options.field_selector)?;
            let query = ListQuery {
                label_selector: options.label_selector.clone(),
                field_selector: options.field_selector.clone(),
                limit: usize::try_from(options.limit).unwrap_or(0),
                continue_token: options.continue_token.clone(),
                resource_version: options.resource_version.clone(),
                ..ListQuery::default()
            };
            let list = match self.core.list(&scope, &query).await {
                Ok(list) => list,
                Err(status) => return Err(audited.refused(status)),
            };
            audited.answered(200);
            let items = list.items.iter().map(|stored| served(&scope.resource, stored)).collect::<Result<_>>()?;
            Ok(Listed { items, revision: list.revision, continue_token: list.continue_token })
        })
    }

    fn watch<'a>(&'a self, target: &'a Target, options: &'a WatchOptions) -> BoxFuture<'a, Result<BoxStream<'static, Result<WatchEvent>>>> {
        Box::pin(async move {
            let (scope, audited) = self.enter(target, "watch", &options.field_selector)?;
            let initial = options.from_revision.is_none();
            let query = WatchQuery {
                label_selector: options.label_selector.clone(),
                field_selector: options.field_selector.clone(),
                resource_version: options.from_revision.map(|r| r.to_string()).unwrap_or_default(),
                version_match: handlers::list::Match::NotOlderThan,
                send_initial_events: Some(initial),
                bookmarks: true,
                timeout: None,
            };
            let watch = match self.core.watch(&scope, &query).await {
                Ok(watch) => watch,
                Err(status) => return Err(audited.refused(status)),
            };
            let stream = futures::stream::unfold(Some((watch, audited.streams())), |state| async {
                let (mut watch, audited) = state?;
                match watch.next().await? {
                    Ok(said) => Some((event(&watch, said), Some((watch, audited)))),
                    Err(why) => Some((Err(why), None)),
                }
            });
            Ok(stream.boxed())
        })
    }

    fn create<'a>(&'a self, target: &'a Target, object: Value, options: &'a WriteOptions) -> BoxFuture<'a, Result<Served>> {
        Box::pin(async move {
            let (scope, audited) = self.enter(target, "create", "")?;
            audited.sent(&object);
            let made = audited.around(Box::pin(self.create_in(scope, object, self.options(options)))).await;
            audited.served(201, made)
        })
    }

    fn update<'a>(&'a self, target: &'a Target, object: Value, options: &'a WriteOptions) -> BoxFuture<'a, Result<Served>> {
        Box::pin(async move {
            let (scope, audited) = self.enter(target, "update", "")?;
            audited.sent(&object);
            let written = audited.around(Box::pin(self.update_in(&scope, object, &self.options(options)))).await;
            audited.served(200, written)
        })
    }

    fn patch<'a>(&'a self, target: &'a Target, patch: Patch, options: &'a WriteOptions) -> BoxFuture<'a, Result<Served>> {
        Box::pin(async move {
            let (scope, audited) = self.enter(target, "patch", "")?;
            let (kind, patch) = match patch {
                Patch::Json(patch) => (PatchKind::Json, patch),
                Patch::Merge(patch) => (PatchKind::Merge, patch),
                Patch::Strategic(patch) => (PatchKind::Strategic, patch),
                Patch::Apply(patch) => (PatchKind::Apply, patch),
            };
            audited.sent_patch(&patch);
            let written = audited.around(Box::pin(self.patch_in(&scope, kind, patch, &self.options(options)))).await;
            audited.served(200, written)
        })
    }

    fn delete<'a>(&'a self, target: &'a Target, options: &'a DeleteOptions) -> BoxFuture<'a, Result<Option<Served>>> {
        Box::pin(async move {
            if let Some(beyond) = self.beyond(target) {
                return beyond.delete(options).await;
            }
            let (scope, audited) = self.enter(target, "delete", "")?;
            let conditional = options.uid.is_some() || options.resource_version.is_some();
            let options = delete::DeleteOptions {
                grace_period_seconds: options.grace_period_seconds,
                propagation_policy: Some(options.propagation_policy.clone()).filter(|p| !p.is_empty()),
                orphan_dependents: None,
                preconditions: conditional.then(|| Preconditions { uid: options.uid.clone(), resource_version: options.resource_version.clone() }),
                dry_run: if options.dry_run { vec!["All".to_owned()] } else { Vec::new() },
            };
            match self.core.delete(&scope, &options).await {
                Ok(deleted) => {
                    audited.answered(200);
                    match deleted {
                        Deleted::Gone(_) | Deleted::Would(_) => Ok(None),
                        Deleted::Waits(stored) => served(&scope.resource, &stored).map(Some),
                    }
                }
                Err(status) => Err(audited.refused(status)),
            }
        })
    }
}

fn served(resource: &Resource, stored: &Stored) -> Result<Served> {
    Ok(Served { json: resource.wire(stored)?, revision: stored.revision })
}

fn written(written: Written) -> Served {
    Served { json: written.json, revision: written.revision }
}

fn made(object: &Value) -> Result<Served> {
    Ok(Served { json: serde_json::to_vec(object).map_err(Status::internal)?.into(), revision: 0 })
}

fn event(watch: &Watch, said: Said) -> Result<WatchEvent> {
    let resource = &watch.resource;
    match said {
        Said::Initial(stored) => Ok(WatchEvent::Added(served(resource, &stored)?)),
        Said::Synced(revision) => Ok(WatchEvent::Synced { revision }),
        Said::Bookmark(revision) => Ok(WatchEvent::Bookmark { revision }),
        Said::Event(kind, event) => {
            let served = Served { json: resource.wire_of(&event, kind)?, revision: event.revision };
            match kind {
                Kind::Added => Ok(WatchEvent::Added(served)),
                Kind::Modified => Ok(WatchEvent::Modified(served)),
                Kind::Deleted => Ok(WatchEvent::Deleted(served)),
            }
        }
    }
}

/// An error that means: list again.
pub fn must_list_again(status: &Status) -> bool {
    status.is(Reason::Expired) || status.is(Reason::Gone)
}
