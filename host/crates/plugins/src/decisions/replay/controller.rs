//! Reconciles made again: each question gets the recorded answer. A write that was never made is answered as if it had succeeded, a read
//! that was never made from what the call is known to have seen; where that does not tell, the candidate hears that it is unavailable.

use std::collections::HashMap;

use bytes::Bytes;
use pintle_api::client::Served;
use pintle_api::patch::{json, merge};
use pintle_plugin_bindings::common::types::{ResourceId, Summary};
use pintle_plugin_bindings::controller::Key;
use pintle_plugin_bindings::controller::pintle::controller::objects::{self, Host};
use pintle_plugin_bindings::controller::pintle::controller::types::ApiError;
use serde_json::Value;
use wasmtime::component::HasSelf;

use super::words;
use super::{Digested, Makers, Outcome, WorldPlayer};
use crate::controller::versions::{self, Answering, Exports};
use crate::controller::world;
use crate::decisions::notes::taken;
use crate::decisions::offline::{Then, refuel};
use crate::decisions::record::{Answer, Decision, Heard, Question, Ref, Reply, Session, Verb};
use crate::decisions::tap::patch_verb;
use crate::guest::{Fault, Guest, HostState};
use crate::index::Entry;

/// Instances that are kept; one that was dropped begins anew.
const MAX_INSTANCES: usize = 64;

/// The cluster as one call saw it.
#[derive(Default)]
pub struct Past {
    contents: HashMap<u64, Bytes>,
    /// What the recorded call was told.
    heard: Vec<Heard>,
    /// What the candidate wrote.
    written: Vec<Question>,
    unknown: Vec<String>,
}

type State = HostState<Past>;
type Instance = Guest<Past, Exports>;

#[derive(Default)]
pub struct Player {
    /// By the recorded instance.
    instances: HashMap<u64, Instance>,
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
        let heard = decision.heard.clone();
        let complete = decision.refs().all(|id| contents.contains_key(&id));
        if !decision.intact || !complete {
            return Outcome::Skipped;
        }
        let (then, subject) = (Then::of(&decision, decision.heard.clone()), decision.subject.clone());
        let Some(recorded) = decision.what.reconcile() else { return Outcome::Skipped };
        let before: Vec<&Question> = questions(&heard).collect();
        let made = match self.instances.remove(&recorded.instance) {
            Some(instance) => Ok(instance),
            None => instantiate(makers, session).await,
        };
        let mut instance = match made {
            Ok(instance) => instance,
            Err(fault) => {
                digest.fault(&fault);
                let after = format!("failed: {fault}");
                return Outcome::Changed { kind: "fails", before: words::reconcile(&recorded.answer, &before), after, reasons: Vec::new() };
            }
        };
        let state = instance.store.data_mut();
        state.world = Past { contents: std::mem::take(contents), heard: heard.clone(), ..Past::default() };
        then.apply(state);
        let key = Key { namespace: subject.namespace.to_string(), name: subject.name.to_string() };
        let call = refuel(&mut instance);
        let answer = instance.exports.call_reconcile(&mut instance.store, &key).await;
        let answer = instance.end(call, answer);
        let past = std::mem::take(&mut instance.store.data_mut().world);
        *contents = past.contents;
        match &answer {
            Ok(_) if self.instances.len() < MAX_INSTANCES => drop(self.instances.insert(recorded.instance, instance)),
            Ok(_) => {}
            Err(fault) => digest.fault(fault),
        }
        let answer = taken(&answer);
        digest.add(&answer);
        digest.add(&past.written);
        let after: Vec<&Question> = past.written.iter().collect();
        let same_writes = before.len() == after.len() && before.iter().zip(&after).all(|(a, b)| a.is_answered_by(b));
        if same_writes && answer == recorded.answer {
            return Outcome::Identical;
        }
        let kind = match (same_writes, &answer) {
            (_, Answer::Fault(_)) => "fails",
            (true, _) => "other outcome",
            (false, _) => "other writes",
        };
        let reasons = past.unknown.iter().map(|what| format!("asked what the recording does not tell: {what}")).collect();
        Outcome::Changed { kind, before: words::reconcile(&recorded.answer, &before), after: words::reconcile(&answer, &after), reasons }
    }
}

/// What a call wrote.
fn questions(heard: &[Heard]) -> impl Iterator<Item = &Question> {
    heard.iter().filter_map(|heard| match heard {
        Heard::Asked(question, _) if question.verb.is_write() => Some(&**question),
        _ => None,
    })
}

async fn instantiate(makers: &Makers, session: &Session) -> Result<Instance, Fault> {
    let (maker, machine) = (makers.of(session), &makers.machine);
    let exports = versions::link::<_, HasSelf<State>>(machine, &maker.loaded).map_err(|e| Fault::Trap(format!("{e:#}")))?;
    maker.guest(Past::default(), session, async |store| exports.instantiate_async(store).await).await
}

type Answered<T> = Result<T, ApiError>;

impl Answering<Past> for HasSelf<State> {
    fn of(state: &mut State) -> &mut State {
        state
    }
}

impl Host for State {
    async fn get(&mut self, resource: ResourceId, namespace: String, name: String) -> Answered<objects::Object> {
        self.get_as(Verb::Get, &resource, &namespace, &name)
    }

    async fn get_live(&mut self, resource: ResourceId, namespace: String, name: String) -> Answered<objects::Object> {
        self.get_as(Verb::GetLive, &resource, &namespace, &name)
    }

    async fn list(&mut self, query: objects::Query) -> Answered<Vec<objects::Object>> {
        self.find(&Question::list(Verb::List, &query))?.into_iter().map(|r| self.world.object(r)).collect()
    }

    async fn list_summaries(&mut self, query: objects::Query) -> Answered<Vec<Summary>> {
        let found = self.find(&Question::list(Verb::ListSummaries, &query))?;
        found.into_iter().map(|r| Ok(world::summary(&*self.world.entry(r)?))).collect()
    }

    async fn create(
        &mut self,
        resource: ResourceId,
        namespace: String,
        name: String,
        subresource: String,
        json: Vec<u8>,
    ) -> Answered<objects::Object> {
        self.write(Question::write(Verb::Create, &resource, &namespace, &name, &subresource, &json))
    }

    async fn update(
        &mut self,
        resource: ResourceId,
        namespace: String,
        name: String,
        subresource: String,
        json: Vec<u8>,
    ) -> Answered<objects::Object> {
        self.write(Question::write(Verb::Update, &resource, &namespace, &name, &subresource, &json))
    }

    async fn patch(
        &mut self,
        resource: ResourceId,
        namespace: String,
        name: String,
        subresource: String,
        kind: objects::PatchType,
        body: Vec<u8>,
    ) -> Answered<objects::Object> {
        self.write(Question::write(patch_verb(kind), &resource, &namespace, &name, &subresource, &body))
    }

    async fn delete(&mut self, resource: ResourceId, namespace: String, name: String, options: objects::DeleteOptions) -> Answered<()> {
        let question = Question::delete(&resource, &namespace, &name, &options);
        self.world.written.push(question.clone());
        match self.recorded(&question) {
            Some(Reply::Error(error)) => Err(error),
            _ => Ok(()),
        }
    }

    async fn event(&mut self, _: ResourceId, _: String, _: String, _: String, _: String, _: String) {}
}

impl State {
    fn recorded(&mut self, question: &Question) -> Option<Reply> {
        self.tape.player()?.reply(question)
    }

    fn get_as(&mut self, verb: Verb, resource: &ResourceId, namespace: &str, name: &str) -> Answered<objects::Object> {
        let question = Question::new(verb, resource, namespace, name);
        match self.recorded(&question) {
            Some(Reply::Object(found)) => self.world.object(found),
            Some(Reply::Error(error)) => Err(error),
            _ => match self.world.seen(&question) {
                Some(found) => self.world.object(found),
                None => Err(self.world.unknown(&question)),
            },
        }
    }

    fn find(&mut self, question: &Question) -> Answered<Vec<Ref>> {
        match self.recorded(question) {
            Some(Reply::Objects(found)) => Ok(found),
            Some(Reply::Error(error)) => Err(error),
            _ => match self.world.listed(question) {
                Some(found) => Ok(found),
                None => Err(self.world.unknown(question)),
            },
        }
    }

    fn write(&mut self, question: Question) -> Answered<objects::Object> {
        self.world.written.push(question.clone());
        match self.recorded(&question) {
            Some(Reply::Written(written, _) | Reply::Object(written)) => self.world.object(written),
            Some(Reply::Error(error)) => Err(error),
            _ => self.world.as_if_written(&question),
        }
    }
}

impl Past {
    fn entry(&self, of: Ref) -> Answered<std::sync::Arc<Entry>> {
        let json = self.contents.get(&of.id).cloned().unwrap_or_default();
        Entry::parse(Served { json, revision: of.revision }).ok_or_else(|| ApiError::Unavailable("a version that the recording lost".to_owned()))
    }

    fn object(&self, of: Ref) -> Answered<objects::Object> {
        let json = self.contents.get(&of.id).map(|json| json.to_vec()).unwrap_or_default();
        Ok(objects::Object { json, revision: of.revision })
    }

    /// The newest version of the object that the recorded call was shown.
    fn seen(&self, question: &Question) -> Option<Ref> {
        let shown = self.heard.iter().rev().filter_map(|heard| match heard {
            Heard::Asked(asked, reply) if asked.resource == question.resource => Some(reply.refs()),
            _ => None,
        });
        let is_it = |r: &&Ref| self.entry(**r).is_ok_and(|e| *e.meta.name == *question.name && *e.meta.namespace == *question.namespace);
        shown.flatten().find(is_it).copied()
    }

    /// The same list, whether it was asked for whole or in summaries.
    fn listed(&self, question: &Question) -> Option<Vec<Ref>> {
        self.heard.iter().find_map(|heard| match heard {
            Heard::Asked(asked, Reply::Objects(found))
                if (&asked.resource, &asked.namespace, &asked.options) == (&question.resource, &question.namespace, &question.options) =>
            {
                Some(found.clone())
            }
            _ => None,
        })
    }

    fn unknown(&mut self, question: &Question) -> ApiError {
        let Question { verb, namespace, name, options: [labels, fields, owner], .. } = question;
        let words = [verb.name(), &question.qualified_resource(), namespace, name, labels, fields, owner];
        let what = words.into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
        self.unknown.push(what.clone());
        ApiError::Unavailable(format!("the recording does not tell: {what}"))
    }

    /// What the server would have answered, about: the identity and the revision are made up, the same each time.
    fn as_if_written(&mut self, question: &Question) -> Answered<objects::Object> {
        let body: Value = serde_json::from_slice(&question.body).map_err(|e| ApiError::Invalid(format!("the body is no JSON: {e}")))?;
        let known = self.seen(question).and_then(|r| self.contents.get(&r.id)).and_then(|json| serde_json::from_slice::<Value>(json).ok());
        let patched = match (known, question.verb) {
            // Lists of a strategic patch or an apply are replaced, not merged: the kind's schema is not known here.
            (Some(known), Verb::PatchMerge | Verb::PatchStrategic | Verb::PatchApply) => merge::apply(known, body),
            (Some(known), Verb::PatchJson) => json::apply(known, &body),
            _ => Ok(body),
        };
        let mut object = patched.map_err(|status| ApiError::Invalid(status.message))?;
        let revision = self.written.len() as u64;
        if !object["metadata"].is_object() {
            object["metadata"] = Value::Object(Default::default());
        }
        let metadata = &mut object["metadata"];
        if !question.namespace.is_empty() {
            metadata["namespace"] = question.namespace.as_str().into();
        }
        if metadata["name"].as_str().is_none_or(str::is_empty) {
            let prefix = metadata["generateName"].as_str().unwrap_or(&question.name);
            metadata["name"] = if question.verb == Verb::Create { format!("{prefix}replay{revision}").into() } else { question.name.as_str().into() };
        }
        if metadata["uid"].is_null() {
            metadata["uid"] = format!("replay-{revision}").into();
        }
        metadata["resourceVersion"] = revision.to_string().into();
        Ok(objects::Object { json: object.to_string().into_bytes(), revision })
    }
}
