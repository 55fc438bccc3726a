//! What drivers write down about a call, in their terms.

use std::sync::Arc;
use std::time::Duration;

use pintle_plugin_bindings::controller::Failure;
use pintle_plugin_bindings::ingress::pintle::ingress::types::RouteTable;
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Attempt, Outcome, Pod, Ranking as Ranks, Scope};
use sha2::{Digest, Sha256};

use super::log::{Stream, encoded};
use super::record::{Answer, Compile, INGRESSES, Placement, Ranking, Reconcile, Subject, Table, Tried, Verdict, Weighed, What};
use super::tape::Recording;
use crate::guest::Fault;
use crate::index::Entry;

/// Ranked nodes whose names are written down: a profile of several components ranks all that fit.
const MAX_NAMED: usize = 10;

/// A placement that is being decided.
pub struct PlacementNote {
    subject: Subject,
    took: Duration,
    recording: Recording,
    tried: Option<Recording>,
    placement: Placement,
}

impl PlacementNote {
    /// Before the call: the pod as the component gets it.
    pub fn new(pod: &Pod, scope: Scope, nodes: usize) -> Self {
        Self {
            subject: subject(pod),
            took: Duration::ZERO,
            recording: Recording::default(),
            tried: None,
            placement: Placement {
                pod: encoded(pod),
                scope,
                nodes: u32::try_from(nodes).unwrap_or(u32::MAX),
                answer: Answer::Fault(String::new()),
                names: Vec::new(),
                preemption: None,
                weighed: None,
                verdict: Verdict::NoRoom,
            },
        }
    }

    /// After it. `name` finds a node's name.
    pub fn answered<'a>(
        &mut self,
        took: Duration,
        recording: Recording,
        answer: &Result<Result<Outcome, String>, Fault>,
        name: impl Fn(u32) -> Option<&'a str>,
    ) {
        (self.took, self.recording) = (took, recording);
        self.placement.answer = taken(answer);
        if let Ok(Ok(Outcome::Fits(choice))) = answer {
            self.placement.names = choice.ranked.iter().take(MAX_NAMED).map(|r| name(r.node).unwrap_or_default().to_owned()).collect();
        }
    }

    /// The component was asked whom to evict.
    pub fn preempted(&mut self, recording: Recording, among: Option<Vec<u32>>, answer: &Result<Result<Attempt, String>, Fault>) {
        self.tried = Some(recording);
        self.placement.preemption = Some(Tried { heard: Vec::new(), among, answer: taken(answer), node: String::new(), victims: Vec::new() });
    }

    /// Extenders had their say.
    pub fn weighed(&mut self, weighed: Weighed) {
        self.placement.weighed = Some(weighed);
    }

    pub fn evicts(&mut self, node: &str, victims: Vec<String>) {
        if let Some(tried) = &mut self.placement.preemption {
            (tried.node, tried.victims) = (node.to_owned(), victims);
        }
    }

    pub fn finish(self, stream: &Stream, verdict: Verdict) {
        let Self { subject, took, recording, tried, mut placement } = self;
        placement.verdict = verdict;
        stream.decided(subject, took, recording, tried, What::Placement(placement));
    }
}

impl Stream {
    /// `name` finds a node's name.
    pub fn ranked<'n>(
        &self,
        pod: &Pod,
        nodes: &[u32],
        took: Duration,
        recording: Recording,
        answer: &Result<Result<Ranks, String>, Fault>,
        name: impl Fn(u32) -> Option<&'n str>,
    ) {
        let mut best: Vec<(i64, u32)> = answer.iter().flatten().flat_map(|r| &r.ranked).map(|r| (-r.score, r.node)).collect();
        best.sort_unstable();
        let best = best.into_iter().take(MAX_NAMED).map(|(score, node)| (name(node).unwrap_or_default().to_owned(), -score)).collect();
        let ranking = Ranking { pod: encoded(pod), nodes: nodes.to_vec(), answer: taken(answer), best };
        self.decided(subject(pod), took, recording, None, What::Ranking(ranking));
    }

    pub fn reconciled(
        &self,
        subject: Subject,
        instance: u64,
        took: Duration,
        recording: Recording,
        answer: &Result<Result<Option<u64>, Failure>, Fault>,
    ) {
        self.decided(subject, took, recording, None, What::Reconcile(Reconcile { instance, answer: taken(answer) }));
    }

    pub fn compiled(
        &self,
        objects: &[(&str, Arc<Entry>)],
        took: Duration,
        mut recording: Recording,
        answer: &Result<Result<RouteTable, String>, Fault>,
    ) {
        let mut kinds: Vec<(String, u32)> = Vec::new();
        for (kind, _) in objects {
            match kinds.last_mut() {
                Some((last, count)) if last == kind => *count += 1,
                _ => kinds.push(((*kind).to_owned(), 1)),
            }
        }
        let refs = objects.iter().map(|(kind, entry)| recording.entry(entry, *kind == "Secret")).collect();
        let answer = match answer {
            Ok(Ok(table)) => Answer::Returned(Ok(outline(table))),
            Ok(Err(why)) => Answer::Returned(Err(why.clone())),
            Err(fault) => Answer::Fault(fault.to_string()),
        };
        let subject = Subject { resource: INGRESSES.into(), ..Subject::default() };
        self.decided(subject, took, recording, None, What::Compile(Compile { kinds, front: 0, back: 0, objects: refs, answer }));
    }
}

fn subject(pod: &Pod) -> Subject {
    let [namespace, name, uid] = [&pod.namespace, &pod.name, &pod.uid].map(|text| Arc::from(text.as_str()));
    Subject { resource: PODS.into(), namespace, name, uid }
}

pub fn taken<T: Clone>(answer: &Result<T, Fault>) -> Answer<T> {
    match answer {
        Ok(value) => Answer::Returned(value.clone()),
        Err(fault) => Answer::Fault(fault.to_string()),
    }
}

/// The table's digest leaves out what comes from Secrets: the log does not hold their values, so a replay could not have them.
pub fn outline(table: &RouteTable) -> Table {
    let mut open = table.clone();
    for certificate in &mut open.certificates {
        certificate.chain.clear();
        certificate.key.clear();
    }
    for auth in open.hosts.iter_mut().flat_map(|h| &mut h.routes).filter_map(|r| r.auth.as_mut()) {
        auth.users.clear();
    }
    let mut hash = [0; 16];
    hash.copy_from_slice(&Sha256::digest(encoded(&open))[..16]);
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Table {
        hash,
        hosts: count(open.hosts.len()),
        routes: count(open.hosts.iter().map(|h| h.routes.len()).sum()),
        backends: count(open.backends.len()),
        certificates: count(open.certificates.len()),
        served: open.served,
        problems: open.problems,
    }
}

const PODS: &str = "pods";
