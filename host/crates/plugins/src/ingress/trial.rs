//! A candidate ingress controller beside the live one: compiles the same objects, and its table is compared, or its routes stand in for a
//! share of the Ingresses. In the shadow nothing waits for it but the next compilation.

use std::sync::Arc;

use super::compare::{Contrast, compare};
use super::merge::merge;
use super::types::{Object, RouteTable};
use super::{Holder, Inputs, Instance, NoTable, compile};
use crate::decisions::Log;
use crate::stages::Trial;
use crate::stages::spec::{Difference, Stage};

pub struct Candidate {
    trial: Arc<Trial<Arc<Holder>>>,
    instance: Option<(Arc<Holder>, Instance)>,
    /// The objects that it compiled last, by their sum: without a change there is nothing new to compare.
    compiled: Option<u64>,
}

impl Candidate {
    /// The candidate that is to be followed now, if there is one; it keeps its instance where it is the same.
    pub fn follow(kept: &mut Option<Self>, trial: Option<&Arc<Trial<Arc<Holder>>>>) {
        match (&kept, trial) {
            (Some(known), Some(trial)) if Arc::ptr_eq(&known.trial, trial) => {}
            (_, trial) => *kept = trial.map(|trial| Self { trial: trial.clone(), instance: None, compiled: None }),
        }
    }

    /// There was nothing to compile for a while: the next compilation takes a fresh instance.
    pub fn rest(&mut self) {
        self.instance = None;
    }

    pub fn stage(&self) -> Stage {
        self.trial.stage
    }

    /// The table to publish with a canary: the live one's, but for its share.
    pub async fn take_part(&mut self, live: RouteTable, inputs: &Inputs<'_>, log: &Log) -> RouteTable {
        match compile(&self.trial.holder, &mut self.instance, inputs, Some(log)).await {
            Ok(table) => {
                self.trial.tally.agreed();
                merge(live, table, |namespace, id| self.trial.share.holds(namespace, id))
            }
            Err(why) => {
                self.told(why);
                live
            }
        }
    }

    /// What a shadow would have published.
    pub async fn look_on(&mut self, live: &RouteTable, inputs: &Inputs<'_>) {
        let sum = sum(&inputs.objects);
        if self.compiled.replace(sum) == Some(sum) {
            return;
        }
        let candidate = compile(&self.trial.holder, &mut self.instance, inputs, None).await;
        if let Some((_, instance)) = &self.instance {
            self.trial.tally.fuel(instance.fuel());
        }
        match candidate {
            Ok(table) => self.contrast(live, &table),
            Err(why) => self.told(why),
        }
    }

    /// One compilation is one decision, however many of its routes differ.
    fn contrast(&self, live: &RouteTable, candidate: &RouteTable) {
        let mut differences = compare(live, candidate).into_iter().map(|Contrast { subject, kind, live, candidate }| Difference {
            subject,
            kind: kind.to_owned(),
            live,
            candidate,
            ..Difference::default()
        });
        match differences.next() {
            None => self.trial.tally.agreed(),
            Some(first) => {
                self.trial.tally.disagreed(first);
                differences.for_each(|more| self.trial.tally.note(more));
            }
        }
    }

    fn told(&self, why: NoTable) {
        let of = |kind: &str, candidate: String| Difference {
            subject: "all routes".to_owned(),
            kind: kind.to_owned(),
            live: "a table".to_owned(),
            candidate,
            ..Difference::default()
        };
        match why {
            NoTable::Refused(why) => self.trial.tally.disagreed(of("Refused", why)),
            NoTable::Fault(fault) => self.trial.tally.fault(of("Fault", fault.to_string())),
        }
    }
}

fn sum(objects: &[Object]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for object in objects {
        (&object.kind, &object.json).hash(&mut hasher);
    }
    hasher.finish()
}
