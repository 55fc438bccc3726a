//! A DaemonSet's nodes and the pods on each: what is missing, what is too much.

use std::collections::BTreeMap;

use pintle_controller_common::fields::Fields;
use pintle_controller_common::{pod_control, pods, resources};
use pintle_sdk::controller::{Api, EventType, Failure, Key};
use serde_json::Value;

use crate::HASH_LABEL;
use crate::backoff::Backoff;
use crate::placement::{Placement, target};
use crate::rolling::allows_surge;

/// Most pods made, and most deleted, in one go; the rest follows at once in the next.
const BURST: usize = 250;

pub struct Fleet<'a> {
    pub api: &'a dyn Api,
    pub set: &'a Value,
    pub hash: String,
    pub now: i64,
    pub min_ready: i64,
    placement: Placement<'a>,
    /// By name: should run, may stay.
    pub nodes: BTreeMap<String, (bool, bool)>,
    /// By the node that they run or are meant to run on.
    pub by_node: BTreeMap<String, Vec<Value>>,
}

#[derive(Default)]
pub struct Plan {
    /// Names of nodes.
    pub create: Vec<String>,
    pub delete: Vec<Value>,
    /// Seconds until a failed pod may be replaced.
    pub wait: Option<i64>,
}

impl<'a> Fleet<'a> {
    pub fn new(api: &'a dyn Api, set: &'a Value, hash: String, owned: Vec<Value>, all: &[Value]) -> Self {
        let placement = Placement::of(set);
        let nodes = all.iter().map(|n| (n.name().to_owned(), placement.judge(n))).collect();
        let mut by_node: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        // Ended and deleted: only a finalizer keeps it, and nothing is left to do for it.
        for pod in owned.into_iter().filter(|p| !(pods::is_finished(p) && p.deleting())) {
            by_node.entry(target(&pod).to_owned()).or_default().push(pod);
        }
        for pods in by_node.values_mut() {
            sort(pods);
        }
        let min_ready = set.integer(&["spec", "minReadySeconds"]).unwrap_or(0);
        Self { api, set, hash, now: crate::now(api), min_ready, placement, nodes, by_node }
    }

    pub fn pods(&self) -> impl Iterator<Item = &Value> {
        self.by_node.values().flatten()
    }

    pub fn is_available(&self, pod: &Value) -> bool {
        pods::availability(pod, self.min_ready, self.now).is_ok()
    }

    pub fn plan(&self, backoff: &mut Backoff) -> Plan {
        let mut plan = Plan::default();
        for (node, (should_run, may_stay)) in &self.nodes {
            let there = self.by_node.get(node);
            match there {
                None if *should_run => plan.create.push(node.clone()),
                None => {}
                Some(pods) if *may_stay => self.plan_node(&mut plan, node, pods, *should_run, backoff),
                Some(pods) => plan.delete.extend(pods.iter().filter(|p| !p.deleting()).cloned()),
            }
        }
        // Never placed, and the node that they wait for is gone.
        for (_, pods) in self.by_node.iter().filter(|(node, _)| !self.nodes.contains_key(*node)) {
            plan.delete.extend(pods.iter().filter(|p| p.text(&["spec", "nodeName"]).is_empty() && !p.deleting()).cloned());
        }
        plan
    }

    fn plan_node(&self, plan: &mut Plan, node: &str, there: &[Value], should_run: bool, backoff: &mut Backoff) {
        let mut running = Vec::new();
        for pod in there.iter().filter(|p| !p.deleting()) {
            let what = match pods::phase(pod) {
                "Failed" => {
                    let key = Key { namespace: self.set.namespace().to_owned(), name: self.set.name().to_owned() };
                    if let Err(seconds) = backoff.allow(key, node, self.now) {
                        plan.wait = Some(plan.wait.map_or(seconds, |w| w.min(seconds)));
                        continue;
                    }
                    (EventType::Warning, "FailedDaemonPod", "failed", "kill")
                }
                "Succeeded" => (EventType::Normal, "SucceededDaemonPod", "succeeded", "delete"),
                _ => {
                    running.push(pod);
                    continue;
                }
            };
            let (kind, reason, state, verb) = what;
            let message = format!("Found {state} daemon pod {}/{} on node {node}, will try to {verb} it", pod.namespace(), pod.name());
            self.api.event(resources::DAEMON_SETS, self.set.namespace(), self.set.name(), kind, reason, &message);
            plan.delete.push(pod.clone());
        }
        if !allows_surge(self.set) {
            plan.delete.extend(running.into_iter().skip(1).cloned());
            return;
        }
        if running.is_empty() && should_run {
            plan.create.push(node.to_owned());
        }
        if running.len() > 1 {
            self.thin_out(plan, &running);
        }
    }

    /// While surging a node may have two pods: the newest template's, not yet available, beside an older one that is still ready.
    fn thin_out(&self, plan: &mut Plan, running: &[&Value]) {
        let (new, old): (Vec<&Value>, Vec<&Value>) = running.iter().partition(|p| p.label(HASH_LABEL) == self.hash);
        plan.delete.extend(new.iter().skip(1).chain(old.iter().skip(1)).map(|p| (*p).clone()));
        if let (Some(new), Some(old)) = (new.first(), old.first())
            && (!pods::is_ready(old) || self.is_available(new))
        {
            plan.delete.push((*old).clone());
        }
    }

    /// True when there was anything to do.
    pub fn carry_out(&mut self, plan: Plan) -> Result<bool, Failure> {
        let any = !plan.create.is_empty() || !plan.delete.is_empty();
        for node in plan.create.into_iter().take(BURST) {
            let pod = self.placement.pod(self.set, &node, &self.hash);
            let created = pod_control::create(self.api, resources::DAEMON_SETS, self.set, &pod)?;
            let there = self.by_node.entry(node).or_default();
            there.push(created);
            sort(there);
        }
        for pod in plan.delete.into_iter().take(BURST) {
            pod_control::delete(self.api, resources::DAEMON_SETS, self.set, &pod)?;
            self.take_out(&pod);
        }
        Ok(any)
    }

    /// A deleted pod counts until it is gone, as the cluster then shows it.
    fn take_out(&mut self, pod: &Value) {
        let left = self.api.get(resources::PODS, pod.namespace(), pod.name()).ok().filter(|p| p.uid() == pod.uid());
        let Some(there) = self.by_node.get_mut(target(pod)) else { return };
        there.retain(|p| p.uid() != pod.uid());
        there.extend(left);
        sort(there);
        if there.is_empty() {
            self.by_node.remove(target(pod));
        }
    }
}

/// The placed before the others, then the oldest first.
fn sort(pods: &mut [Value]) {
    pods.sort_by(|a, b| {
        let rank = |p: &Value| (p.text(&["spec", "nodeName"]).is_empty(), p.created());
        rank(a).cmp(&rank(b)).then_with(|| a.name().cmp(b.name()))
    });
}
