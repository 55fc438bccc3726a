//! Placements made again: an instance a session, fed as the recorded one was.

use std::collections::HashMap;

use bytes::Bytes;
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Attempt, Outcome as Placed, Pod, Ranking as Ranks};

use super::words;
use super::{Digested, Makers, Outcome, WorldPlayer};
use crate::decisions::fold::State;
use crate::decisions::notes::taken;
use crate::decisions::offline::{OfflineScheduler, Then};
use crate::decisions::record::{Answer, Decision, Fed, Feed, Placement, Ranking, Session, What};
use crate::guest::Fault;

#[derive(Default)]
pub struct Player {
    sessions: HashMap<u64, Desk>,
}

/// A session under way.
#[derive(Default)]
struct Desk {
    state: State,
    /// `None` when it faulted, or has not begun.
    instance: Option<OfflineScheduler>,
    fed: bool,
    takes_checkpoint: bool,
}

impl WorldPlayer for Player {
    async fn fed(&mut self, makers: &Makers, session: &Session, fed: Fed) {
        let desk = self.sessions.entry(session.id).or_default();
        if fed.feed == Feed::Checkpoint {
            // Of use only to who does not know it all.
            desk.takes_checkpoint = !desk.fed;
        }
        let takes = match fed.feed {
            Feed::Fresh => true,
            Feed::More => desk.fed,
            Feed::Checkpoint | Feed::CheckpointGoesOn => desk.takes_checkpoint,
        };
        if !takes {
            return;
        }
        desk.state.apply(fed.feed.is_whole(), fed.deltas.clone());
        if fed.feed == Feed::Checkpoint {
            // The rest of it comes in further records; the instance is fed when it is asked.
            desk.instance = None;
        }
        if fed.feed == Feed::Fresh {
            desk.instance = makers.of(session).scheduler(session).await.ok();
        }
        desk.fed = true;
        let then = Then { heard: fed.heard, ..Then::beginning(session) };
        if let Some(instance) = &mut desk.instance
            && instance.feed(&fed.deltas, then).await.is_err()
        {
            desk.instance = None;
        }
    }

    async fn decide(
        &mut self,
        makers: &Makers,
        session: &Session,
        decision: Decision,
        _: &mut HashMap<u64, Bytes>,
        digest: &mut Digested,
    ) -> Outcome {
        let Some(desk) = self.sessions.get_mut(&session.id).filter(|d| d.fed && decision.intact) else { return Outcome::Skipped };
        let then = Then::of(&decision, decision.heard.clone());
        let mut aside = Then::of(&decision, Vec::new());
        let recorded = match decision.what {
            What::Placement(recorded) => recorded,
            What::Ranking(recorded) => return desk.rank(makers, session, &recorded, then, digest).await,
            What::Reconcile(_) | What::Compile(_) => return Outcome::Skipped,
        };
        let Ok(pod) = postcard::from_bytes::<Pod>(&recorded.pod) else { return Outcome::Skipped };
        let answer = match desk.ready(makers, session).await {
            Ok(instance) => instance.schedule(&pod, recorded.scope, then).await,
            Err(fault) => Err(fault),
        };
        let mut preempted = None;
        if let Ok(Ok(Placed::None(rejections))) = &answer {
            let resolvable = pod.may_preempt && rejections.iter().any(|r| r.resolvable);
            let was_asked = recorded.preemption.is_some();
            // Where it fitted, nobody knows whether the host had asked; it does where a pod of lower priority could go.
            if (was_asked || (resolvable && fits(&recorded)))
                && let Some(instance) = &mut desk.instance
            {
                let among = recorded.preemption.as_ref().and_then(|t| t.among.clone());
                aside.heard = recorded.preemption.as_ref().map_or_else(Vec::new, |t| t.heard.clone());
                preempted = Some(instance.preempt(&pod, among.as_deref(), aside).await);
            }
        }
        for fault in [answer.as_ref().err(), preempted.as_ref().and_then(|p| p.as_ref().err())].into_iter().flatten() {
            digest.fault(fault);
            desk.instance = None;
        }
        let (answer, preempted) = (taken(&answer), preempted.as_ref().map(taken));
        digest.add(&answer);
        digest.add(&preempted);
        desk.judge(&recorded, &answer, preempted.as_ref())
    }
}

/// The nodes that pass, best first.
fn order(answer: &Answer<Result<Ranks, String>>) -> Vec<u32> {
    let Answer::Returned(Ok(ranks)) = answer else { return Vec::new() };
    let mut nodes: Vec<(i64, u32)> = ranks.ranked.iter().map(|r| (-r.score, r.node)).collect();
    nodes.sort_unstable();
    nodes.into_iter().map(|(_, node)| node).collect()
}

type Preempted = Answer<Result<Attempt, String>>;

fn fits(recorded: &Placement) -> bool {
    matches!(recorded.answer, Answer::Returned(Ok(Placed::Fits(_))))
}

impl Desk {
    /// The instance, or a new one that is fed all.
    async fn ready(&mut self, makers: &Makers, session: &Session) -> Result<&mut OfflineScheduler, Fault> {
        if self.instance.is_none() {
            let mut fresh = makers.of(session).scheduler(session).await.map_err(Fault::Trap)?;
            fresh.feed(&self.state.clone().into_deltas(), Then::beginning(session)).await?;
            self.instance = Some(fresh);
        }
        self.instance.as_mut().ok_or_else(|| Fault::Trap("no instance".to_owned()))
    }

    /// A ranking, made again.
    async fn rank(&mut self, makers: &Makers, session: &Session, recorded: &Ranking, then: Then, digest: &mut Digested) -> Outcome {
        let Ok(pod) = postcard::from_bytes::<Pod>(&recorded.pod) else { return Outcome::Skipped };
        let answer = match self.ready(makers, session).await {
            Ok(instance) => instance.rank(&pod, &recorded.nodes, then).await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = &answer {
            digest.fault(fault);
            self.instance = None;
        }
        let answer = taken(&answer);
        digest.add(&answer);
        if answer == recorded.answer {
            return Outcome::Identical;
        }
        let failed = |a: &Answer<Result<Ranks, String>>| matches!(a, Answer::Fault(_) | Answer::Returned(Err(_)));
        let kind = match (order(&recorded.answer), order(&answer)) {
            _ if failed(&answer) && !failed(&recorded.answer) => "fails",
            (before, after) if before == after => return Outcome::Same,
            (mut before, mut after) => {
                before.sort_unstable();
                after.sort_unstable();
                if before == after { "other order" } else { "other nodes" }
            }
        };
        let text = |answer: &Answer<Result<Ranks, String>>| words::ranking(answer, recorded.nodes.len(), |id| self.state.node_name(id));
        Outcome::Changed { kind, before: text(&recorded.answer), after: text(&answer), reasons: Vec::new() }
    }

    fn judge(&self, recorded: &Placement, answer: &Answer<Result<Placed, String>>, preempted: Option<&Preempted>) -> Outcome {
        let tried = recorded.preemption.as_ref().map(|t| &t.answer);
        if *answer == recorded.answer && preempted == tried {
            return Outcome::Identical;
        }
        let chosen = |answer: &Answer<Result<Placed, String>>| match answer {
            Answer::Returned(Ok(Placed::Fits(choice))) => choice.ranked.first().map(|r| self.state.node_name(r.node)),
            _ => None,
        };
        let (before, after) = (chosen(&recorded.answer), chosen(answer));
        let victims = |answer: Option<&Preempted>| match answer {
            Some(Answer::Returned(Ok(Attempt::Evict(preemption)))) => Some((preemption.node, preemption.victims.clone())),
            _ => None,
        };
        let same_victims = victims(tried) == victims(preempted);
        let failed = |a: &Answer<Result<Placed, String>>| matches!(a, Answer::Fault(_) | Answer::Returned(Err(_)));
        let kind = match (&before, &after) {
            _ if failed(answer) && !failed(&recorded.answer) => "fails",
            (Some(a), Some(b)) if a == b => return Outcome::Same,
            (None, None) if same_victims && failed(answer) == failed(&recorded.answer) => return Outcome::Same,
            (Some(_), Some(_)) => "other node",
            (Some(_), None) => "no longer fits",
            (None, Some(_)) => "now fits",
            (None, None) => "other victims",
        };
        let mut reasons = match answer {
            Answer::Returned(Ok(Placed::None(rejections))) => words::rejected(rejections),
            Answer::Returned(Ok(Placed::Fits(choice))) => {
                choice.ranked.iter().map(|r| format!("{} scores {}", self.state.node_name(r.node), r.score)).collect()
            }
            _ => Vec::new(),
        };
        if !same_victims {
            reasons.push(format!("victims before: {}; after: {}", self.victims(tried), self.victims(preempted)));
        }
        let texts = [words::placement(&recorded.answer, before.as_deref()), words::placement(answer, after.as_deref())];
        let [before, after] = texts;
        Outcome::Changed { kind, before, after, reasons }
    }

    fn victims(&self, answer: Option<&Preempted>) -> String {
        let Some(Answer::Returned(Ok(Attempt::Evict(preemption)))) = answer else { return "none".to_owned() };
        let name = |uid: &String| self.state.placed.get(uid).map_or_else(|| uid.clone(), |p| format!("{}/{}", p.pod.namespace, p.pod.name));
        let names: Vec<String> = preemption.victims.iter().map(name).collect();
        format!("{} on {}", names.join(", "), self.state.node_name(preemption.node))
    }
}
