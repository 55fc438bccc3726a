//! A candidate policy that looks on: asked after the live one about the same request, under the same moment, over what the live one read.
//! What it says is compared and goes nowhere.
//!
//! It runs in a task of its own, so no request waits for it; where it is too slow, requests are skipped and counted. A request that the live
//! one could not answer is not compared.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use pintle_api::admission::Verdict;
use pintle_plugin_bindings::admission::pintle::admission::types::Request;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::compare::compare;
use super::holder::{Answer, Holder};
use super::rules::want;
use super::witness::{Notes, Witness};
use crate::guest::Moment;
use crate::shared::Shared;
use crate::stages::Trial;

/// Requests that wait for the shadow; more are skipped.
const MAX_WAITING: usize = 256;
/// Bytes that those may have together, with what was read for them.
const MAX_WAITING_BYTES: usize = 32 << 20;

/// The request's end.
pub struct Shadow {
    trial: Arc<Trial<Arc<Holder>>>,
    messages: mpsc::Sender<Answered>,
    bytes: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Drop for Shadow {
    /// What still waits is of no use to anybody.
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Answered {
    request: Request,
    moment: Moment,
    notes: Notes,
    verdict: Verdict,
    bytes: usize,
}

impl Shadow {
    /// Looks on for as long as this is held.
    pub fn start(shared: Weak<Shared>, trial: Arc<Trial<Arc<Holder>>>) -> Self {
        let (messages, received) = mpsc::channel(MAX_WAITING);
        let bytes = Arc::<AtomicUsize>::default();
        let follower = Follower { shared, trial: trial.clone(), bytes: bytes.clone(), rest_until: None };
        let task = tokio::spawn(follower.run(received)).abort_handle();
        Self { trial, messages, bytes, task }
    }

    pub fn answered(&self, request: Request, answer: &mut Answer) {
        let notes = std::mem::take(&mut answer.notes);
        let bytes = request.object.len() + request.old_object.len() + request.options.len() + notes.bytes;
        let waiting = self.bytes.load(Ordering::Relaxed);
        if notes.too_large || waiting + bytes > MAX_WAITING_BYTES {
            return self.trial.tally.skipped();
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let answered = Answered { request, moment: answer.moment, notes, verdict: answer.verdict.clone(), bytes };
        if self.messages.try_send(answered).is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.trial.tally.skipped();
        }
    }
}

/// The task's end.
struct Follower {
    shared: Weak<Shared>,
    trial: Arc<Trial<Arc<Holder>>>,
    bytes: Arc<AtomicUsize>,
    rest_until: Option<Instant>,
}

impl Follower {
    async fn run(mut self, mut messages: mpsc::Receiver<Answered>) {
        while let Some(answered) = messages.recv().await {
            let bytes = answered.bytes;
            let Some(shared) = self.shared.upgrade() else { return };
            self.follow(&shared, answered).await;
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    async fn follow(&mut self, shared: &Shared, answered: Answered) {
        let Answered { request, moment, notes, verdict: live, .. } = answered;
        let Trial { holder, tally, .. } = &*self.trial;
        if self.rest_until.is_some_and(|until| Instant::now() < until) {
            return tally.skipped();
        }
        let candidate = if want(&holder.rules, &request) {
            match holder.call(shared, &request, moment, Witness::Answers(notes)).await {
                Ok(Answer { verdict, fuel, .. }) => {
                    holder.revision.health.returned();
                    tally.fuel(fuel);
                    verdict
                }
                Err(fault) => {
                    self.rest_until = Some(Instant::now() + holder.failed(&request, &fault, Some(tally)));
                    return;
                }
            }
        } else {
            Verdict::default()
        };
        match compare(&request, &live, &candidate) {
            None => tally.agreed(),
            Some(difference) => tally.disagreed(difference),
        }
    }
}
