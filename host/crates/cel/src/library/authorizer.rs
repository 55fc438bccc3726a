//! `authorizer`: what whoever asks (or a service account) may do.
//!
//! `authorizer.group('apps').resource('deployments').namespace('x').check('create').allowed()`. A check asks the server's own chain of
//! authorizers and costs so much that an expression can make two. Selectors are part of the question where the verb is list, watch or
//! deletecollection; ours are asked with the field selector alone.

use std::fmt::{self, Debug};
use std::sync::Arc;

use cel::common::types::{CelBool, CelString};
use cel::{DeclarationError, Env, ExecutionError};
use pintle_api::names;

use super::{failed, opaque};
use crate::meter::{charge, charge_text};

/// As upstream has it, of a budget of a million a call.
const CHECK_COST: u64 = 350_000;

/// What a check asks. Without a resource it is about a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Namespace and name of the service account that is asked about; `None`: whoever makes the request.
    pub account: Option<(String, String)>,
    pub path: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub verb: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub allowed: bool,
    pub reason: String,
}

/// Who answers.
pub trait Authorize: Send + Sync + 'static {
    fn answer(&self, question: &Question) -> Answer;
}

#[derive(Clone)]
struct Asked {
    who: Arc<dyn Authorize>,
    question: Question,
}

impl Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.question.fmt(f)
    }
}

impl PartialEq for Asked {
    fn eq(&self, other: &Self) -> bool {
        self.question == other.question
    }
}

impl Asked {
    fn with(&self, change: impl FnOnce(&mut Question)) -> Self {
        let mut asked = self.clone();
        change(&mut asked.question);
        asked
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Authorizer(Asked);
#[derive(Clone, Debug, PartialEq)]
pub struct PathCheck(Asked);
#[derive(Clone, Debug, PartialEq)]
pub struct GroupCheck(Asked);
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceCheck(Asked);
#[derive(Clone, Debug, PartialEq)]
pub struct Decision(Answer);

opaque!(Authorizer, "kubernetes.authorization.Authorizer");
opaque!(PathCheck, "kubernetes.authorization.PathCheck");
opaque!(GroupCheck, "kubernetes.authorization.GroupCheck");
opaque!(ResourceCheck, "kubernetes.authorization.ResourceCheck");
opaque!(Decision, "kubernetes.authorization.Decision");

impl Authorizer {
    pub fn new(who: Arc<dyn Authorize>) -> Self {
        Self(Asked { who, question: Question::default() })
    }
    /// The check of the resource that a request is about: `authorizer.requestResource`.
    pub fn of_resource(who: Arc<dyn Authorize>, question: Question) -> ResourceCheck {
        ResourceCheck(Asked { who, question })
    }
}

pub fn register(env: &mut Env) -> Result<(), DeclarationError> {
    cel::add_member_overload!(env, fn path: (Authorizer, CelString) -> Result<PathCheck>)?;
    cel::add_member_overload!(env, fn group: (Authorizer, CelString) -> GroupCheck)?;
    cel::add_member_overload!(env, fn service_account: (Authorizer, CelString, CelString) -> Result<Authorizer>)?;
    cel::add_member_overload!(env, fn resource: (GroupCheck, CelString) -> Result<ResourceCheck>)?;
    cel::add_member_overload!(env, fn subresource: (ResourceCheck, CelString) -> ResourceCheck)?;
    cel::add_member_overload!(env, fn namespace: (ResourceCheck, CelString) -> ResourceCheck)?;
    cel::add_member_overload!(env, fn name: (ResourceCheck, CelString) -> ResourceCheck)?;
    cel::add_member_overload!(env, fn field_selector: (ResourceCheck, CelString) -> Result<ResourceCheck>)?;
    cel::add_member_overload!(env, fn label_selector: (ResourceCheck, CelString) -> Result<ResourceCheck>)?;
    cel::add_member_overload!(env, fn check_path: (PathCheck, CelString) -> Result<Decision>, name = "check")?;
    cel::add_member_overload!(env, fn check_resource: (ResourceCheck, CelString) -> Result<Decision>, name = "check")?;
    cel::add_member_overload!(env, fn allowed: (Decision) -> CelBool)?;
    cel::add_member_overload!(env, fn reason: (Decision) -> CelString)?;
    cel::add_member_overload!(env, fn errored: (Decision) -> CelBool)?;
    cel::add_member_overload!(env, fn error: (Decision) -> CelString)
}

fn path(all: &Authorizer, path: &CelString<'_>) -> Result<PathCheck, ExecutionError> {
    if path.inner().trim().is_empty() {
        return Err(failed("path", "path must not be empty"));
    }
    Ok(PathCheck(all.0.with(|q| path.inner().clone_into(&mut q.path))))
}

fn group(all: &Authorizer, group: &CelString<'_>) -> GroupCheck {
    GroupCheck(all.0.with(|q| group.inner().clone_into(&mut q.group)))
}

fn service_account(all: &Authorizer, namespace: &CelString<'_>, name: &CelString<'_>) -> Result<Authorizer, ExecutionError> {
    if !names::dns1123_subdomain(name.inner()).is_empty() {
        return Err(failed("serviceAccount", "Invalid service account name"));
    }
    if !names::dns1123_label(namespace.inner()).is_empty() {
        return Err(failed("serviceAccount", "Invalid service account namespace"));
    }
    Ok(Authorizer(all.0.with(|q| q.account = Some((namespace.inner().to_owned(), name.inner().to_owned())))))
}

fn resource(check: &GroupCheck, resource: &CelString<'_>) -> Result<ResourceCheck, ExecutionError> {
    if resource.inner().trim().is_empty() {
        return Err(failed("resource", "resource must not be empty"));
    }
    Ok(ResourceCheck(check.0.with(|q| resource.inner().clone_into(&mut q.resource))))
}

fn subresource(check: &ResourceCheck, subresource: &CelString<'_>) -> ResourceCheck {
    ResourceCheck(check.0.with(|q| subresource.inner().clone_into(&mut q.subresource)))
}

fn namespace(check: &ResourceCheck, namespace: &CelString<'_>) -> ResourceCheck {
    ResourceCheck(check.0.with(|q| namespace.inner().clone_into(&mut q.namespace)))
}

fn name(check: &ResourceCheck, name: &CelString<'_>) -> ResourceCheck {
    ResourceCheck(check.0.with(|q| name.inner().clone_into(&mut q.name)))
}

fn field_selector(check: &ResourceCheck, selector: &CelString<'_>) -> Result<ResourceCheck, ExecutionError> {
    charge_text(selector.inner())?;
    Ok(ResourceCheck(check.0.with(|q| selector.inner().clone_into(&mut q.field_selector))))
}

fn label_selector(check: &ResourceCheck, selector: &CelString<'_>) -> Result<ResourceCheck, ExecutionError> {
    charge_text(selector.inner())?;
    Ok(check.clone())
}

fn check(asked: &Asked, verb: &CelString<'_>) -> Result<Decision, ExecutionError> {
    charge(CHECK_COST)?;
    let question = Question { verb: verb.inner().to_owned(), ..asked.question.clone() };
    Ok(Decision(asked.who.answer(&question)))
}

fn check_path(asked: &PathCheck, verb: &CelString<'_>) -> Result<Decision, ExecutionError> {
    check(&asked.0, verb)
}

fn check_resource(asked: &ResourceCheck, verb: &CelString<'_>) -> Result<Decision, ExecutionError> {
    check(&asked.0, verb)
}

fn allowed(decision: &Decision) -> CelBool {
    decision.0.allowed.into()
}

fn reason(decision: &Decision) -> CelString<'static> {
    decision.0.reason.clone().into()
}

/// Our authorizers decide from what the server holds: they have no way to fail.
fn errored(_: &Decision) -> CelBool {
    false.into()
}

fn error(_: &Decision) -> CelString<'static> {
    CelString::from(String::new())
}
