//! How often pods were looked at, and how it ended, as Prometheus text under upstream's names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use super::levels::{Asked, Level};
use crate::admission::{AdmissionAttributes, Operation};

/// Versions after it have no rules of their own.
const NEWEST_MINOR: u32 = 36;

/// One of a server. Asked for by `/metrics`.
#[derive(Default)]
pub struct Tally {
    evaluations: Mutex<BTreeMap<Evaluation, u64>>,
    errors: Mutex<BTreeMap<Request, u64>>,
    exemptions: Mutex<BTreeMap<Request, u64>>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Evaluation {
    allowed: bool,
    mode: &'static str,
    level: Level,
    version: Version,
    of: Request,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    operation: &'static str,
    resource: &'static str,
    subresource: String,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    Minor(u32),
    Future,
    Latest,
}

impl Tally {
    /// `mode`: `enforce`, `audit` or `warn`.
    pub fn evaluated(&self, allowed: bool, mode: &'static str, asked: Asked, attributes: &AdmissionAttributes<'_>) {
        let version = match asked.minor {
            _ if asked.level == Level::Privileged => Version::Latest,
            None => Version::Latest,
            Some(minor) if minor > NEWEST_MINOR => Version::Future,
            Some(minor) => Version::Minor(minor),
        };
        let key = Evaluation { allowed, mode, level: asked.level, version, of: Request::of(attributes) };
        *self.evaluations.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
    }

    /// Somebody was not asked.
    pub fn exempted(&self, attributes: &AdmissionAttributes<'_>) {
        *self.exemptions.lock().unwrap_or_else(PoisonError::into_inner).entry(Request::of(attributes)).or_default() += 1;
    }

    /// The namespace's labels say nothing known.
    pub fn misread(&self, attributes: &AdmissionAttributes<'_>) {
        *self.errors.lock().unwrap_or_else(PoisonError::into_inner).entry(Request::of(attributes)).or_default() += 1;
    }

    pub fn render(&self) -> String {
        let mut out = String::new();
        let mut line = |text: std::fmt::Arguments<'_>| out.write_fmt(text).expect("a string takes all");
        line(format_args!("# HELP pod_security_evaluations_total Evaluations of pods and templates by outcome.\n"));
        line(format_args!("# TYPE pod_security_evaluations_total counter\n"));
        for (Evaluation { allowed, mode, level, version, of }, count) in self.evaluations.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let decision = if *allowed { "allow" } else { "deny" };
            let version = match version {
                Version::Minor(minor) => format!("v1.{minor}"),
                Version::Future => "future".to_owned(),
                Version::Latest => "latest".to_owned(),
            };
            let policy = format!("policy_level=\"{level}\",policy_version=\"{version}\"");
            line(format_args!("pod_security_evaluations_total{{decision=\"{decision}\",mode=\"{mode}\",{policy},{}}} {count}\n", of.labels()));
        }
        line(format_args!("# HELP pod_security_errors_total Faults in what namespaces ask for.\n# TYPE pod_security_errors_total counter\n"));
        for (request, count) in self.errors.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            line(format_args!("pod_security_errors_total{{fatal=\"false\",{}}} {count}\n", request.labels()));
        }
        line(format_args!("# HELP pod_security_exemptions_total Requests that were exempt.\n# TYPE pod_security_exemptions_total counter\n"));
        let exemptions = self.exemptions.lock().unwrap_or_else(PoisonError::into_inner);
        // Upstream shows these four from the start.
        let always = [("create", "controller"), ("create", "pod"), ("update", "controller"), ("update", "pod")];
        let always: Vec<_> = always.map(|(operation, resource)| Request { operation, resource, subresource: String::new() }).into();
        let shown: BTreeSet<&Request> = exemptions.keys().chain(&always).collect();
        for request in shown {
            let count = exemptions.get(request).copied().unwrap_or_default();
            line(format_args!("pod_security_exemptions_total{{{}}} {count}\n", request.labels()));
        }
        out
    }
}

impl Request {
    fn of(attributes: &AdmissionAttributes<'_>) -> Self {
        let operation = if attributes.operation == Operation::Create { "create" } else { "update" };
        let resource = if attributes.is("", "pods") { "pod" } else { "controller" };
        Self { operation, resource, subresource: attributes.subresource.to_owned() }
    }

    fn labels(&self) -> String {
        format!("request_operation=\"{}\",resource=\"{}\",subresource=\"{}\"", self.operation, self.resource, self.subresource)
    }
}
