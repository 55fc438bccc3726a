//! Route tables compiled again.

use std::collections::HashMap;

use bytes::Bytes;
use pintle_plugin_bindings::ingress::pintle::ingress::types::Object;

use super::words;
use super::{Digested, Makers, Outcome, WorldPlayer};
use crate::decisions::notes::outline;
use crate::decisions::offline::{OfflineIngress, Then};
use crate::decisions::record::{Answer, Compile, Decision, Ref, Session, Table};
use crate::decisions::splice::unsplice;

#[derive(Default)]
pub struct Player {
    instances: HashMap<u64, OfflineIngress>,
    /// The versions of a session's last compilation.
    objects: HashMap<u64, Vec<Ref>>,
}

impl WorldPlayer for Player {
    async fn decide(
        &mut self,
        makers: &Makers,
        session: &Session,
        decision: Decision,
        contents: &mut HashMap<u64, Bytes>,
        digest: &mut Digested,
    ) -> Outcome {
        let (intact, then) = (decision.intact, Then::of(&decision, decision.heard.clone()));
        let Some(recorded) = decision.what.compile() else { return Outcome::Skipped };
        let refs = self.objects.entry(session.id).or_default();
        let whole = unsplice(&recorded, refs).is_some();
        let Some(objects) = gather(&recorded, refs, contents).filter(|_| intact && whole) else { return Outcome::Skipped };
        let mut instance = match self.instances.remove(&session.id) {
            Some(instance) => instance,
            None => match makers.of(session).ingress(session).await {
                Ok(instance) => instance,
                Err(why) => return changed(&recorded, Answer::Fault(why)),
            },
        };
        let answer = instance.compile(&objects, then).await;
        match &answer {
            Ok(_) => drop(self.instances.insert(session.id, instance)),
            Err(fault) => digest.fault(fault),
        }
        digest.add(&answer.as_ref().ok());
        let answer = match answer {
            Ok(Ok(table)) => Answer::Returned(Ok(outline(&table))),
            Ok(Err(why)) => Answer::Returned(Err(why)),
            Err(fault) => Answer::Fault(fault.to_string()),
        };
        if answer == recorded.answer { Outcome::Identical } else { changed(&recorded, answer) }
    }
}

fn gather(recorded: &Compile, refs: &[Ref], contents: &HashMap<u64, Bytes>) -> Option<Vec<Object>> {
    let kinds = recorded.kinds.iter().flat_map(|(kind, count)| std::iter::repeat_n(kind, *count as usize));
    refs.iter().zip(kinds).map(|(r, kind)| Some(Object { kind: kind.clone(), json: contents.get(&r.id)?.to_vec() })).collect()
}

fn changed(recorded: &Compile, answer: Answer<Result<Table, String>>) -> Outcome {
    let mut reasons = Vec::new();
    if let (Answer::Returned(Ok(old)), Answer::Returned(Ok(new))) = (&recorded.answer, &answer) {
        let missing = |from: &Table, of: &Table| of.served.iter().filter(|s| !from.served.contains(s)).cloned().collect::<Vec<_>>();
        let (lost, gained) = (missing(new, old), missing(old, new));
        reasons.extend((!lost.is_empty()).then(|| format!("no longer served: {}", lost.join(", "))));
        reasons.extend((!gained.is_empty()).then(|| format!("newly served: {}", gained.join(", "))));
        let fresh = new.problems.iter().filter(|p| !old.problems.contains(p));
        reasons.extend(fresh.map(|p| format!("{} {}/{}: {}", p.kind, p.namespace, p.name, p.message)));
    }
    Outcome::Changed { kind: "other table", before: words::table(&recorded.answer), after: words::table(&answer), reasons }
}
