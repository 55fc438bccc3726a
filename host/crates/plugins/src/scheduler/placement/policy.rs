//! Who is asked: the policy's crate, called as a library, or its component in the host's engine.

use std::sync::Arc;

use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Attempt, Delta, Outcome, Pod, Reason, Scope};
use pintle_scheduler_default::DefaultScheduler;
use pintle_sdk::scheduler::Scheduler;
use pintle_sdk::{Env, Level};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::decisions::offline::{Maker, OfflineScheduler, Then};
use crate::decisions::record::Session;
use crate::engine::Machine;
use crate::load::World;

pub trait Policy {
    /// Forgets all and is fed this.
    fn know(&mut self, deltas: Vec<Delta>);
    fn schedule(&mut self, pod: &Pod, scope: Scope) -> Outcome;
    fn preempt(&mut self, pod: &Pod) -> Attempt;
    fn explain(&mut self, pod: &Pod, node: u32) -> Vec<Reason>;
}

#[derive(Default)]
pub struct Native(DefaultScheduler);

struct Always;

impl Env for Always {
    fn now_nanoseconds(&self) -> u64 {
        0
    }
    fn random(&self, count: u32) -> Vec<u8> {
        vec![1; count as usize]
    }
    fn log(&self, _level: Level, _message: &str) {}
    fn config(&self) -> String {
        String::new()
    }
}

/// The host's types and the SDK's are of one WIT: what one writes, the other reads.
fn across<A: Serialize, B: DeserializeOwned>(value: &A) -> B {
    let bytes = postcard::to_stdvec(value).expect("values of the WIT serialise");
    postcard::from_bytes(&bytes).expect("both are made of the same WIT")
}

impl Policy for Native {
    fn know(&mut self, deltas: Vec<Delta>) {
        self.0.reset();
        self.0.feed(&Always, across(&deltas));
    }
    fn schedule(&mut self, pod: &Pod, scope: Scope) -> Outcome {
        across(&self.0.schedule(&Always, across(pod), across(&scope)).expect("decides"))
    }
    fn preempt(&mut self, pod: &Pod) -> Attempt {
        across(&self.0.preempt(&Always, across(pod), None).expect("decides"))
    }
    fn explain(&mut self, pod: &Pod, node: u32) -> Vec<Reason> {
        across(&self.0.explain(&Always, across(pod), node))
    }
}

pub struct Wasm {
    runtime: tokio::runtime::Runtime,
    maker: Maker,
    session: Session,
    instance: Option<OfflineScheduler>,
    _cache: tempfile::TempDir,
}

impl Wasm {
    /// Builds the policy's component and compiles it as the host does.
    pub fn load() -> Self {
        let cache = tempfile::tempdir().expect("a folder");
        let machine = Machine::new(cache.path().to_owned()).expect("an engine");
        let loaded = crate::load::load(&machine, &super::guests::plugin("pintle-scheduler-default"), World::Scheduler).expect("a scheduler");
        let session = Session {
            id: 1,
            plugin: Arc::from("scheduler-default"),
            digest: loaded.digest.clone(),
            revision: 1,
            world: World::Scheduler,
            config: Arc::from(""),
            task: Arc::from("default-scheduler"),
        };
        let maker = Maker::new(&machine, loaded, Arc::from(""));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { runtime, maker, session, instance: None, _cache: cache }
    }

    fn ask<T>(&mut self, question: impl AsyncFnOnce(&mut OfflineScheduler, Then) -> T) -> T {
        let then = Then::beginning(&self.session);
        let instance = self.instance.as_mut().expect("was fed");
        self.runtime.block_on(question(instance, then))
    }
}

impl Policy for Wasm {
    fn know(&mut self, deltas: Vec<Delta>) {
        self.instance = Some(self.runtime.block_on(self.maker.scheduler(&self.session)).expect("an instance"));
        self.ask(async |instance, then| instance.feed(&deltas, then).await).expect("takes the feed");
    }
    fn schedule(&mut self, pod: &Pod, scope: Scope) -> Outcome {
        self.ask(async |instance, then| instance.schedule(pod, scope, then).await).expect("answers").expect("decides")
    }
    fn preempt(&mut self, pod: &Pod) -> Attempt {
        self.ask(async |instance, then| instance.preempt(pod, None, then).await).expect("answers").expect("decides")
    }
    fn explain(&mut self, pod: &Pod, node: u32) -> Vec<Reason> {
        self.ask(async |instance, _| instance.explain(pod, node).await).expect("answers")
    }
}
