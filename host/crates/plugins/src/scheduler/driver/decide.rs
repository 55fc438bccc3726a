//! One decision: the pod as the component sees it, the component's answer, what the host makes of it.
//!
//! An answer that cannot come from what was fed costs the instance, as a trap does. Called by the driver's loop.

use std::collections::HashSet;
use std::time::Duration;

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Attempt, Choice, Outcome, Pod, Rejection, Scope};
use tokio::time::Instant;

use super::super::cluster::Uid;
use super::super::commit::Victim;
use super::super::decider::{Asked, nonsense};
use super::super::desk::Who;
use super::super::message::{self, Preemption};
use super::super::queue::{ANYTHING, Happened, NODE_CHANGED, POD_CHANGED, POD_GONE, VOLUME_CHANGED};
use super::super::volumes::Needs;
use super::super::wish::wish;
use super::Driver;
use crate::decisions::notes::PlacementNote;
use crate::decisions::record::Verdict;
use crate::guest::{Fault, Moment};
use crate::loader::retire;

/// A decision that takes longer is written to the plugin's log.
const SLOW: Duration = Duration::from_millis(100);
/// Nodes that the component gives back, best first: the next ones stand in when the host refuses the best.
pub(super) const TOP: u32 = 3;
/// More ranked nodes than this, and than there are, are no answer to the question.
const MAX_RANKED: usize = 1000;
/// Below so many nodes every one is looked at; above, a share that shrinks from half to a twentieth. Upstream's figures.
const LOOK_AT_ALL: u32 = 100;

impl Driver {
    pub(super) async fn decide(&mut self, uid: Uid) {
        let Some(waiting) = self.queue.get(&uid) else { return };
        let (pod, needs) = match wish(&waiting.spec, &waiting.entry, &self.cluster, &self.volumes, &self.defaults) {
            Ok(asked) => asked,
            Err(why) => return self.hold_back(&uid, message::blocked(self.cluster.nodes(), &why), VOLUME_CHANGED | NODE_CHANGED, None),
        };
        let moment = Moment::present();
        let scope = self.scope(moment.seed);
        let Some(desk) = &mut self.desk else { return };
        let who = desk.who(&pod);
        let decider = desk.decider(who);
        let mut note = PlacementNote::new(&pod, scope, self.cluster.nodes());
        let Some(mut question) = decider.question(moment) else { return };
        let outcome = question.instance.exports.call_schedule(&mut question.instance.store, &pod, scope).await;
        let Asked { answer: outcome, took, recording } = decider.answered(question, outcome, |_| None);
        note.answered(took, recording, &outcome, |id| self.cluster.name(id));
        if took > SLOW {
            let line = format!("{}/{} took {} ms to decide", pod.namespace, pod.name, took.as_millis());
            decider.holder.revision.log.write("warn", &line);
        }
        match outcome {
            Err(fault) => {
                desk.fault(who, &fault, &format!("schedule {}/{}", pod.namespace, pod.name));
                self.note(who, note, Verdict::Failed(fault.to_string()));
                self.queue.back_off(&uid, Instant::now());
            }
            Ok(answer) => {
                if let (Who::Live, Some(shadow)) = (who, &desk.shadow) {
                    shadow.decided(&pod, scope, moment, &answer);
                }
                let alone = desk.extenders.is_empty();
                let answer = match answer {
                    Ok(Outcome::Fits(choice)) if !alone && self.nonsense(&choice).is_none() => {
                        match self.weigh(who, &pod, moment, choice, &mut note).await {
                            Ok(weighed) => Ok(weighed),
                            Err(why) => {
                                let verdict = self.could_not_decide(&uid, who, why);
                                return self.note(who, note, verdict);
                            }
                        }
                    }
                    other => other,
                };
                let Some(desk) = &mut self.desk else { return };
                let verdict = match answer {
                    Ok(Outcome::Fits(choice)) => match self.nonsense(&choice) {
                        None => self.fits(uid, who, pod, needs, choice),
                        Some(why) => self.spent(&uid, who, &Fault::Answer(why), &format!("schedule {}/{}", pod.namespace, pod.name)),
                    },
                    Ok(Outcome::None(rejections)) => {
                        desk.decided(who, false);
                        self.fits_nowhere(uid, who, pod, rejections, &mut note).await
                    }
                    Err(why) => {
                        desk.decided(who, true);
                        self.could_not_decide(&uid, who, why)
                    }
                };
                self.note(who, note, verdict);
            }
        }
    }

    fn note(&mut self, who: Who, note: PlacementNote, verdict: Verdict) {
        if let Some(decisions) = self.desk.as_mut().and_then(|desk| desk.decider(who).decisions.as_ref()) {
            note.finish(decisions, verdict);
        }
    }

    /// Whether a choice cannot come from what was fed. That the host finds no room on a node is not that: sums may differ.
    fn nonsense(&self, choice: &Choice) -> Option<String> {
        if choice.ranked.len() > MAX_RANKED.max(self.cluster.nodes()) {
            return Some(format!("{} ranked nodes", choice.ranked.len()));
        }
        let (mut seen, was_fed) = (HashSet::new(), |node| self.cluster.name(node).is_some());
        nonsense(&choice.ranked, |node| was_fed(node) && seen.insert(node), was_fed, "was never fed")
    }

    /// An instance that answers nonsense has lost its state: it goes as after a trap.
    fn spent(&mut self, uid: &Uid, who: Who, fault: &Fault, what: &str) -> Verdict {
        if let Some(desk) = &mut self.desk {
            retire(desk.decider(who).instance.take());
            desk.fault(who, fault, what);
        }
        self.queue.back_off(uid, Instant::now());
        Verdict::Failed(fault.to_string())
    }

    fn scope(&self, seed: u64) -> Scope {
        // Extenders have a say in all nodes that fit.
        let top = if self.desk.as_ref().is_none_or(|desk| desk.extenders.is_empty()) { TOP } else { u32::MAX };
        Scope { start: self.start, limit: enough(u32::try_from(self.cluster.nodes()).unwrap_or(u32::MAX)), top, seed }
    }

    fn fits(&mut self, uid: Uid, who: Who, pod: Pod, needs: Needs, choice: Choice) -> Verdict {
        self.start = choice.next_start;
        let Some(desk) = &mut self.desk else { return Verdict::NoRoom };
        let node = choice.ranked.iter().map(|r| r.node).find(|id| self.cluster.admits(*id, &pod));
        desk.decided(who, node.is_none());
        let Some(node) = node else {
            let line = format!("{}/{}: the host knows none of the chosen nodes to have room; the pod is tried again", pod.namespace, pod.name);
            desk.decider(who).holder.revision.log.write("warn", &line);
            self.queue.back_off(&uid, Instant::now());
            return Verdict::NoRoom;
        };
        let (Some(name), Some(waiting)) = (self.cluster.name(node).map(str::to_owned), self.queue.get(&uid)) else { return Verdict::NoRoom };
        if needs.to_select.is_empty() {
            desk.committer.bind(waiting.entry.clone(), name.clone());
            let (scored_milli_cpu, scored_memory) = waiting.spec.scored_in_place;
            if (scored_milli_cpu, scored_memory) == (pod.scored_milli_cpu, pod.scored_memory) {
                desk.decider(who).assumes(&pod.uid);
            }
            self.cluster.assume(Pod { scored_milli_cpu, scored_memory, ..pod }, node);
            Verdict::Placed(name)
        } else {
            // The claims are bound near the node first; the pod comes back when they are.
            desk.committer.select_node(&pod.namespace, needs.to_select, name.clone());
            self.queue.park(&uid, VOLUME_CHANGED, Instant::now());
            Verdict::BindsVolumes(name)
        }
    }

    async fn fits_nowhere(&mut self, uid: Uid, who: Who, pod: Pod, rejections: Vec<Rejection>, note: &mut PlacementNote) -> Verdict {
        let (preemption, victims) = self.preempt(&uid, who, &pod, &rejections, note).await;
        let nodes = self.cluster.nodes();
        let mut nominated = None;
        if let Some((node, victims)) = victims
            && let Some(name) = self.cluster.name(node).map(str::to_owned)
            && let Some(desk) = &self.desk
        {
            self.evicting.insert(uid.clone(), victims.iter().map(|v| v.uid.clone()).collect());
            note.evicts(&name, victims.iter().map(|v| format!("{}/{}", v.namespace, v.name)).collect());
            self.cluster.nominate(&pod, node);
            desk.committer.evict(victims, &pod, &name);
            nominated = Some(name);
        }
        // Nobody is evicted for it: it waits for no certain node any more.
        if nominated.is_none() && matches!(preemption, Preemption::NoVictims(_)) {
            nominated = Some(String::new());
        }
        let why = message::unschedulable(nodes, &rejections, &preemption);
        self.hold_back(&uid, why.clone(), what_helps(&rejections), nominated);
        Verdict::Unschedulable(why)
    }

    /// Asks whom to evict, and checks that each may be.
    async fn preempt(
        &mut self,
        uid: &Uid,
        who: Who,
        pod: &Pod,
        rejections: &[Rejection],
        note: &mut PlacementNote,
    ) -> (Preemption, Option<(u32, Vec<Victim>)>) {
        if !pod.may_preempt {
            return (Preemption::Never, None);
        }
        if let Some(victims) = self.evicting.get(uid)
            && victims.iter().any(|v| self.cluster.is_placed(v))
        {
            return (Preemption::Terminating, None);
        }
        self.evicting.remove(uid);
        self.cluster.withdraw(uid);
        let nobody = || (Preemption::NoVictims(Vec::new()), None);
        if !rejections.iter().any(|r| r.resolvable) {
            return nobody();
        }
        let among = match self.permitted(pod).await {
            Ok(Some(none)) if none.is_empty() => return nobody(),
            Ok(among) => among,
            Err(why) => {
                tracing::debug!(pod = %pod.name, why, "nobody is evicted: an extender could not be asked");
                return nobody();
            }
        };
        let Some(desk) = &mut self.desk else { return nobody() };
        let decider = desk.decider(who);
        let Some(mut question) = decider.question(Moment::present()) else { return nobody() };
        let moment = question.moment;
        let answer = question.instance.exports.call_preempt(&mut question.instance.store, pod, among.as_deref()).await;
        let Asked { answer, recording, .. } = decider.answered(question, answer, |_| None);
        note.preempted(recording, among.clone(), &answer);
        match answer {
            Err(fault) => {
                desk.fault(who, &fault, &format!("preempt for {}/{}", pod.namespace, pod.name));
                nobody()
            }
            Ok(answer) => {
                if let (Who::Live, Some(shadow)) = (who, &desk.shadow) {
                    shadow.preempted(pod, among, moment, &answer);
                }
                let log = desk.decider(who).holder.revision.log.clone();
                match answer {
                    Ok(Attempt::Evict(choice)) => match self.cluster.victims(&choice, pod.priority) {
                        Some(victims) => (Preemption::NotTried, Some((choice.node, victims))),
                        None => {
                            log.write("warn", &format!("{}/{}: the chosen victims may not be evicted for it", pod.namespace, pod.name));
                            nobody()
                        }
                    },
                    Ok(Attempt::None(tried)) => (Preemption::NoVictims(tried), None),
                    Err(why) => {
                        log.write("warn", &format!("preempt for {}/{}: {why}", pod.namespace, pod.name));
                        nobody()
                    }
                }
            }
        }
    }

    fn could_not_decide(&mut self, uid: &Uid, who: Who, why: String) -> Verdict {
        let now = Instant::now();
        if let (Some(desk), Some(waiting)) = (&mut self.desk, self.queue.get_mut(uid)) {
            desk.decider(who).holder.revision.log.write("warn", &format!("{}/{}: {why}", waiting.spec.pod.namespace, waiting.spec.pod.name));
            desk.committer.not_scheduled(waiting, "SchedulerError", why.clone(), None);
        }
        self.queue.back_off(uid, now);
        Verdict::Failed(why)
    }

    /// Says why and waits for what helps.
    fn hold_back(&mut self, uid: &Uid, why: String, helps: Happened, nominated: Option<String>) {
        if let (Some(desk), Some(waiting)) = (&self.desk, self.queue.get_mut(uid)) {
            desk.committer.not_scheduled(waiting, "Unschedulable", why, nominated);
        }
        self.queue.park(uid, helps, Instant::now());
    }
}

/// How many nodes that fit are enough, of so many; 0 for all.
fn enough(nodes: u32) -> u32 {
    if nodes <= LOOK_AT_ALL {
        return 0;
    }
    let percent = 50u32.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(LOOK_AT_ALL)
}

/// What could make the filters that refused pass.
fn what_helps(rejections: &[Rejection]) -> Happened {
    let of = |filter: &str| match filter {
        "NodeResourcesFit" | "NodePorts" => NODE_CHANGED | POD_GONE,
        "NodeAffinity" | "NodeName" | "NodeUnschedulable" | "TaintToleration" => NODE_CHANGED,
        "VolumeBinding" | "VolumeZone" => NODE_CHANGED | VOLUME_CHANGED,
        "InterPodAffinity" | "PodTopologySpread" => NODE_CHANGED | POD_GONE | POD_CHANGED,
        _ => ANYTHING,
    };
    // Without nodes only a node helps.
    rejections.iter().fold(NODE_CHANGED, |all, r| all | of(&r.filter))
}

#[cfg(test)]
mod tests {
    #[test]
    fn sampling_looks_at_all_of_few_and_at_a_share_of_many() {
        assert_eq!([50, 100, 101, 1000, 5000, 15000].map(super::enough), [0, 0, 100, 420, 500, 750]);
    }
}
